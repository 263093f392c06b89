"""`assay train` before it trains: what is refused, and leaves nothing behind."""

import importlib.util
from pathlib import Path

import pytest

from tests.commands import assay


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--steps", "0"], "--steps 0: expected a number above 0"),
        (["--attempts", "0"], "--attempts 0: expected a number above 0"),
        (["--learning-rate", "nan"], "--learning-rate nan: expected a number between 0 and 1"),
        (["--learning-rate", "2"], "--learning-rate 2.0: expected a number between 0 and 1"),
        (["--seed", "-1"], "--seed -1: expected a number from 0 on"),
        (["--model", "local:nowhere"], "there is no local weights 'nowhere'"),
        (["--model", "null"], "only a model that runs here can be trained"),
    ],
)
def test_what_can_not_be_trained_is_refused_and_leaves_nothing(arguments: list[str], said: str, tmp_path: Path):
    code, _, err = assay("train", "arithmetic", *arguments, cwd=tmp_path)
    assert code == 2 and said in err
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="the extra `trl` is installed")
def test_a_missing_extra_is_said_with_its_remedy(tmp_path: Path):
    code, _, err = assay("train", "arithmetic", cwd=tmp_path)
    assert code == 2 and "pip install 'assay[trl]'" in err
    assert not list(tmp_path.iterdir())
