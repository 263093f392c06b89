"""From an instruct to a thinking model by one line of a suite, over HTTP and in this process."""

from pathlib import Path

import msgspec
import pytest

from assay.config import ModelConfig
from assay.fidelity.schema.profile import Profile
from assay.store import read_record
from tests.commands import assay
from tests.serve.served import serving

SUITE = """
name = "switch"

[models.candidate]
role = "open"
kind = "{kind}"
dialect = "{dialect}"
id = "{model}"
"""


@pytest.mark.heavy
@pytest.mark.parametrize(
    "dialect", ["local", *(pytest.param(name, marks=pytest.mark.slow) for name in ("chat", "responses"))]
)
def test_one_line_of_a_suite_switches_from_instruct_to_thinking(dialect: str, tmp_path: Path):
    scores: dict[str, float] = {}
    for kind in ("instruct", "thinking"):
        model = f"nano-{kind}"
        with serving(ModelConfig(dialect="local", id=model), name=model) as url:
            text = SUITE.format(kind=kind, dialect=dialect, model=model)
            (tmp_path / "suite.toml").write_text(text + (f'base_url = "{url}/v1"\n' if dialect != "local" else ""))
            command = ["profile", "arithmetic", "--suite", "suite.toml", "--repeats", "2", "--out", kind]
            code, _, err = assay(*command, cwd=tmp_path)
        assert code == 0, err
        made = msgspec.json.decode((tmp_path / kind / "profile.json").read_bytes(), type=Profile)
        summary = made.models["candidate"]
        assert summary.score is not None
        assert summary.failures == 0
        assert summary.no_answer is not None
        assert summary.no_answer < 0.05
        assert (summary.tokens.get("reasoning", 0) > 0) == (kind == "thinking")
        scores[kind] = summary.score
    # At four repeats: 55.0 and 85.6, each with a standard error of a point for the same tasks again.
    assert 0.47 < scores["instruct"] < 0.63
    assert 0.79 < scores["thinking"] < 0.92
    records = [read_record(tmp_path / kind / "runs/candidate") for kind in scores]
    assert records[0].tasks_digest == records[1].tasks_digest
    assert records[0].code == records[1].code
