import importlib.util

import pytest

from assay.benchmark.catalog import load
from assay.errors import UsageError

# Python itself warns of what some installed benchmarks are written like, when it compiles them.
pytestmark = pytest.mark.filterwarnings("ignore::SyntaxWarning")


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [("verifiers:gsm8k", "verifiers", "verifiers"), ("inspect:inspect_evals/gsm8k", "inspect_ai", "inspect")],
)
def test_a_gym_whose_extra_is_missing_says_how_to_get_it(name: str, module: str, extra: str):
    if importlib.util.find_spec(module):
        pytest.skip(f"the extra `{extra}` is installed")
    with pytest.raises(UsageError, match=rf"pip install 'assay\[{extra}\]'"):
        load(name)


@pytest.mark.parametrize("name", ["verifiers:", "nemo:thing"])
def test_a_prefix_that_is_no_gym_is_told_with_those_that_are(name: str):
    with pytest.raises(
        UsageError, match="mcq:FILE, qa:FILE, harbor:NAME, hf:NAME, inspect:NAME, openenv:NAME, verifiers:NAME"
    ):
        load(name)
