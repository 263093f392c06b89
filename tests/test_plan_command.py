"""`assay plan` as a user gives it, and the profile that follows it."""

import json
from pathlib import Path

import pytest

from tests.commands import assay, scored


def plan(*arguments: str, cwd: Path) -> str:
    code, out, err = assay("plan", *arguments, cwd=cwd)
    assert (code, err) == (0, "")
    return out


def test_a_size_alone_can_be_planned(tmp_path: Path):
    out = plan("--tasks", "60", "--suite", "gym-2026-02", "--guess", "80", "--trials", "10", cwd=tmp_path)
    for words in ("gate", "passes", "range", "repeats", "gpt-5-nano", "A sound benchmark of 60 tasks", "--pilot"):
        assert words in out
    assert "qwen3-235b-thinking" not in out, "the first tier suffices"


def test_json_holds_everything(tmp_path: Path):
    arguments = ("--tasks", "60", "--suite", "gym-2026-02", "--guess", "80", "--guess", "gpt-5=95", "--trials", "10")
    found = json.loads(plan(*arguments, "--json", cwd=tmp_path))
    assert found["models"]["gpt-5"]["score"] == 0.95 and found["models"]["policy"]["score_from"] == "guess"
    assert found["rollouts"] == sum(model["rollouts"] for model in found["models"].values())
    assert {gate["name"] for gate in found["gates"]} >= {"range", "order", "kinds", "repeats"}


@pytest.mark.heavy
def test_a_profile_makes_exactly_the_rollouts_of_its_plan(tmp_path: Path):
    arguments = ("arithmetic", "--limit", "12")
    forecast = json.loads(plan(*arguments, "--trials", "5", "--guess", "90", "--json", cwd=tmp_path))
    forecast["models"]["policy"]["repeats"] = 3
    del forecast["models"]["micro-thinking"]
    (tmp_path / "plan.json").write_text(json.dumps(forecast))
    code, _, err = assay("profile", *arguments, "--follow-plan=plan.json", "--out", "p", cwd=tmp_path)
    assert code == 0, err
    assert "A sound benchmark of 12 tasks" in err
    runs = tmp_path / "p/runs"
    for name, model in forecast["models"].items():
        assert len(scored(runs / name)) == 12 * model["repeats"], name
    assert not (runs / "micro-thinking").exists()
    profile = json.loads((tmp_path / "p/profile.json").read_text())
    assert profile["forecast"] == forecast
    assert "What was expected before it ran?" in (tmp_path / "p/report.html").read_text()

    code, out, err = assay("certify", "p", cwd=tmp_path)
    code, out, err = assay("verify", "p/certificate.json", cwd=tmp_path)
    assert "forged" not in out + err


def test_nothing_is_forecast_of_models_of_which_no_score_is_known(tmp_path: Path):
    command = ("profile", "arithmetic", "--limit", "10", "--repeats", "1", "--models", "nano-instruct", "--out", "p")
    code, _, err = assay(*command, cwd=tmp_path)
    assert code == 0 and "A sound benchmark" not in err, err
    assert json.loads((tmp_path / "p/profile.json").read_text())["forecast"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--tasks N"),
        (("arithmetic", "--tasks", "3"), "--tasks N"),
        (("--tasks", "0"), "expected at least 1"),
        (("--tasks", "5", "--guess", "policy=much"), "expected MODEL=NUMBER"),
        (("--tasks", "5", "--guess", "gpt-9=80"), "there is no model or kind in suite embedded 'gpt-9'"),
        (("arithmetic", "--models", "gold,null"), "no model to measure"),
    ],
)
def test_what_cannot_be_planned_is_refused(arguments: tuple[str, ...], words: str, tmp_path: Path):
    code, _, err = assay("plan", *arguments, cwd=tmp_path)
    assert code == 2 and words in err


def test_a_plan_of_another_benchmark_is_not_followed(tmp_path: Path):
    (tmp_path / "plan.json").write_text(plan("--tasks", "9", "--trials", "2", "--json", cwd=tmp_path))
    command = ("profile", "arithmetic", "--limit", "12", "--follow-plan=plan.json")
    code, _, err = assay(*command, cwd=tmp_path)
    assert code == 2 and "a forecast of 9 tasks; expected one of 12" in err
    (tmp_path / "plan.json").write_text("{}")
    code, _, err = assay(*command, cwd=tmp_path)
    assert code == 2 and "assay plan --json" in err
