"""Profiles end to end: the command, on models that run for real."""

import asyncio
import json
import shutil
from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from assay.benchmark.catalog import load
from assay.collect.collect import Interruption
from assay.collect.run import RunPlan, tasks_of
from assay.config import Member, Suite, load_suite
from assay.errors import DigestMismatch, InputError
from assay.fidelity.gates import GATE_ORDER
from assay.fidelity.profile import ProfilePlan, compute, profile, read_plan
from assay.fidelity.results.results import read
from assay.fidelity.results.summary import summarise, write
from assay.fidelity.schema.profile import Plan, Profile
from assay.model.wrappers.budget import Budget
from assay.score import Selection
from assay.store import read_lines, read_rollouts
from tests.commands import assay
from tests.endpoint import Call, Endpoint, answering, http

BENCHMARK = load("arithmetic")


def suite(**changes: object) -> Suite:
    """Models that answer by dialect alone: gold is a strong closed one, chance a weak open one."""
    models = {
        "strong": Member(dialect="gold", role="closed", kind="thinking"),
        "weak": Member(dialect="chance", role="open", kind="instruct", tier=1),
        "able": Member(dialect="gold", role="open", kind="instruct", tier=2),
        "last": Member(dialect="gold", role="open", kind="instruct", tier=3),
    }
    return Suite(**{"name": "made", "models": models} | changes)  # type: ignore[arg-type]


def made(folder: Path, models: Suite, repeats: int = 2, limit: int | None = 30) -> Profile:
    run = RunPlan.of(BENCHMARK, folder=folder, repeats=repeats, limit=limit)
    plan = ProfilePlan(run=run, suite=models)
    found = asyncio.run(profile(plan, interruption=Interruption()))
    assert found is not None
    return found[0]


def test_the_climb_ends_at_the_first_tier_that_is_in_range(tmp_path: Path):
    found = made(tmp_path, suite())
    assert {name: summary.ran for name, summary in found.models.items()} == {
        "strong": True,
        "weak": True,
        "able": True,
        "last": False,
    }
    assert found.models["last"].score is None
    assert made(tmp_path / "all", suite(tiers="all")).models["last"].ran


def test_gates_wait_for_models_that_were_planned_and_never_begun(tmp_path: Path):
    for tiers, name in (("climb", "weak"), ("all", "last")):
        made(tmp_path / name, suite(tiers=tiers), limit=12)
        shutil.rmtree(tmp_path / name / "runs" / name)
        found = {gate.name: gate for gate in asyncio.run(compute(tmp_path / name)).gates}
        for gate in ("range", "order", "kinds", "repeats"):
            assert found[gate].verdict == "inconclusive", found[gate]
            assert f"owed by {name} (all)" in found[gate].reason


def test_a_rollout_of_no_repeat_is_refused(tmp_path: Path):
    made(tmp_path, suite(), limit=2)
    lines = tmp_path / "runs/able/rollouts.jsonl"
    with lines.open("a") as file:
        file.write(lines.read_text().splitlines()[0].replace('"repeat":0', '"repeat":-1') + "\n")
    with pytest.raises(InputError, match=r"line 5: .*repeat"):
        asyncio.run(compute(tmp_path))


@pytest.mark.heavy
def test_the_record_holds_what_it_promises(tmp_path: Path):
    found = made(tmp_path, suite(), limit=None)
    assert msgspec.json.decode((tmp_path / "profile.json").read_bytes(), type=Profile) == found
    assert [gate.name for gate in found.gates] == list(GATE_ORDER)
    verdicts = {gate.name: gate.verdict for gate in found.gates}
    assert verdicts["gold"] == verdicts["verifier"] == verdicts["range"] == verdicts["order"] == "pass"
    assert verdicts["read"] == verdicts["reproduced"] == verdicts["parity"] == "not run"
    table = tmp_path / str(found.models["able"].per_task)
    assert json.loads(table.read_text().splitlines()[0])["rewards"] == [1, 1]
    assert found.models["able"].pass_at_k == {"1": 1.0, "2": 1.0}
    assert found.benchmark.tasks == 240


@pytest.mark.heavy
def test_a_profile_is_computed_again_from_its_folder_alone(tmp_path: Path):
    found = made(tmp_path, load_suite("embedded", ["models.micro-thinking.tier=9"]), limit=30)
    (tmp_path / "profile.json").unlink()
    again = asyncio.run(compute(tmp_path))
    assert structs.replace(found, wall_s=None) == again
    assert msgspec.json.decode((tmp_path / "profile.json").read_bytes(), type=Profile) == again


def test_the_report_command_makes_what_profile_made(tmp_path: Path):
    assert (
        assay("profile", "arithmetic", "--models", "gold,null", "--limit", "12", "--out", "made", cwd=tmp_path)[0] == 0
    )
    page = tmp_path / "made/report.html"
    page.unlink()
    code, out, err = assay("report", "made", cwd=tmp_path)
    assert code == 0, err
    assert out.rstrip().endswith("made/report.html") and page.exists()
    code, _, err = assay("report", "made/runs", cwd=tmp_path)
    assert code == 2 and "is not a profile's folder" in err


def test_what_was_asked_for_is_written_down_before_it_runs(tmp_path: Path):
    made(tmp_path, suite(), repeats=1)
    made(tmp_path, suite(), repeats=1)
    made(tmp_path, suite(), repeats=2)
    plans = list(read_lines(tmp_path / "plan.jsonl", Plan))
    assert [plan.repeats for plan in plans] == [1, 2]
    assert plans[0].benchmark.digest == plans[1].benchmark.digest
    assert made(tmp_path, suite(), repeats=2).started == plans[0].started


def test_another_benchmark_is_refused_in_a_profiles_folder(tmp_path: Path):
    made(tmp_path, suite(), limit=20)
    with pytest.raises(DigestMismatch, match=r"tasks: .* there, .* now"):
        made(tmp_path, suite(), limit=30)


def stable(folder: Path, budget: Budget | None = None) -> Profile:
    models = {"nano-instruct": load_suite("embedded").models["nano-instruct"]}
    run = RunPlan.of(BENCHMARK, folder=folder, repeats=2, limit=60, budget=budget)
    plan = ProfilePlan(run=run, suite=Suite(name="one", models=models), until_stable=True)
    found = asyncio.run(profile(plan, interruption=Interruption()))
    assert found is not None
    return found[0]


@pytest.mark.heavy
def test_until_stable_adds_repeats_until_the_score_stands_still(tmp_path: Path):
    found = stable(tmp_path)
    assert found.repeats is not None
    assert 8 < found.repeats.k_set < 60
    assert found.repeats.sd_run_upper <= 1
    assert next(gate for gate in found.gates if gate.name == "repeats").verdict == "pass"
    assert stable(tmp_path).repeats == found.repeats  # nothing to add
    assert asyncio.run(compute(tmp_path)).repeats == found.repeats


def test_until_stable_ends_with_the_budget_and_says_what_is_owed(tmp_path: Path):
    found = stable(tmp_path, Budget(tokens=4_000))
    gate = next(gate for gate in found.gates if gate.name == "repeats")
    assert gate.verdict == "inconclusive" and "still owed" in gate.reason
    assert sum(found.models["nano-instruct"].tokens[kind] for kind in ("input", "output")) <= 4_000


def test_a_profile_given_again_asks_nothing_new(tmp_path: Path):
    first = made(tmp_path, suite())
    before = {path: path.read_bytes() for path in tmp_path.rglob("rollouts.jsonl")}
    second = made(tmp_path, suite())
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("rollouts.jsonl")}
    assert second.gates == first.gates


def test_a_model_that_cannot_be_reached_is_told_and_the_others_go_on(tmp_path: Path):
    models = suite().models | {
        "down": Member(dialect="chat", base_url="http://127.0.0.1:9/v1", attempts=1, role="open", kind="thinking")
    }
    found = made(tmp_path, suite(models=models))
    assert found.models["down"].score is None
    assert found.models["down"].failures > 0
    gate = next(gate for gate in found.gates if gate.name == "kinds")
    assert gate.verdict == "inconclusive"
    assert "down" in gate.reason


def test_a_summary_is_rebuilt_from_the_files_alone(tmp_path: Path):
    made(tmp_path, suite())
    folder = tmp_path / "runs/weak"
    kept = (folder / "summary.json").read_bytes()
    (folder / "summary.json").unlink()
    assert write(folder) == summarise(read(folder))
    assert (folder / "summary.json").read_bytes() == kept


def test_failures_are_left_out_of_the_score_and_told_beside_it(tmp_path: Path):
    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        gold = next(t.gold for t in BENCHMARK.environment.tasks() if t.input[0].content == call.prompt)  # type: ignore
        broken = call.prompt in first
        writer.write(http(b"down", 500)) if broken else await answering(str(gold))(call, writer)

    drawn = tasks_of(BENCHMARK, Selection(limit=40))
    first = {str(task.input[0].content) for task in drawn[20:30]}  # type: ignore[union-attr]
    with Endpoint(behave) as endpoint:
        models = {"m": Member(dialect="chat", base_url=endpoint.url, attempts=1, role="open", kind="instruct")}
        found = made(tmp_path, Suite(name="one", models=models), limit=40).models["m"]
    assert (found.rollouts, found.failures) == (60, 20)
    assert found.score == pytest.approx(1)
    assert found.score_failures_zero == pytest.approx(0.75)


@pytest.mark.heavy
def test_the_command_on_the_embedded_models(tmp_path: Path):
    command = ["profile", "arithmetic", "--repeats", "2", "--limit", "48", "--out", "made"]
    code, out, err = assay(*command, cwd=tmp_path)
    assert code == 0, err
    assert out.rstrip().endswith("report.html")
    assert (tmp_path / "made/report.html").stat().st_size > 500_000
    found = msgspec.json.decode((tmp_path / "made/profile.json").read_bytes(), type=Profile)
    assert {gate.verdict for gate in found.gates if gate.name in ("gold", "verifier")} == {"pass"}
    thinking = list(read_rollouts(tmp_path / "made/runs/micro-thinking"))
    assert all(rollout.turns[0].response.reasoning for rollout in thinking[:10])
    tokens = thinking[0].turns[0].response.tokens
    assert tokens is not None
    assert len(tokens.output) == len(tokens.output_logprobs) > 10
    assert assay(*command, "--strict", cwd=tmp_path)[0] == (3 if "fail" in {g.verdict for g in found.gates} else 0)


@pytest.mark.heavy
@pytest.mark.parametrize(("limit", "seed"), [(20, 1), (40, 0), pytest.param(60, 2, marks=pytest.mark.slow)])
def test_a_small_honest_profile_is_not_accused_of_copying(tmp_path: Path, limit: int, seed: int):
    run = RunPlan.of(BENCHMARK, folder=tmp_path, repeats=4, limit=limit, seed=seed)
    plan = ProfilePlan(run=run, suite=load_suite("embedded"))
    found = asyncio.run(profile(plan, interruption=Interruption()))
    assert found is not None
    assert next(gate for gate in found[0].gates if gate.name == "repeats").verdict in ("pass", "inconclusive")


@pytest.mark.heavy
def test_the_embedded_models_are_worth_profiling(tmp_path: Path):
    models = made(tmp_path, load_suite("embedded"), repeats=1, limit=None).models
    score = {name: summary.score or 0.0 for name, summary in models.items()}
    assert all(0.3 < score[name] < 0.85 for name in score if models[name].kind == "instruct")
    assert min(score, key=score.__getitem__) == "policy"
    assert max(score.values()) < 1
    for size in ("nano", "micro"):
        assert score[f"{size}-thinking"] > score[f"{size}-instruct"] + 0.1
    for kind in ("instruct", "thinking"):
        assert score[f"micro-{kind}"] > score[f"nano-{kind}"] + 0.05


def test_a_profile_of_nothing_but_failures_exits_4(tmp_path: Path):
    (tmp_path / "down.toml").write_text(
        'name="d"\n[models.a]\ndialect="chat"\nid="m"\nbase_url="http://127.0.0.1:9/v1"\nattempts=1\n'
        'role="open"\nkind="instruct"\n'
    )
    code, out, err = assay("profile", "arithmetic", "--suite", "down.toml", "--limit", "3", cwd=tmp_path)
    assert code == 4, err
    assert "is the server running?" in err
    assert out.rstrip().endswith("arithmetic-d-limit3/report.html")


def test_strict_exits_3_where_a_gate_fails(tmp_path: Path):
    (tmp_path / "null.toml").write_text('name="n"\n[models.a]\ndialect="null"\nrole="open"\nkind="instruct"\n')
    command = ["profile", "arithmetic", "--suite", "null.toml", "--repeats", "2", "--limit", "40"]
    assert assay(*command, cwd=tmp_path)[0] == 0
    assert assay(*command, "--strict", cwd=tmp_path)[0] == 3


def test_a_profile_without_models_to_measure_hints_at_some(tmp_path: Path):
    code, _, err = assay("profile", "office", "--models", "gold,null", "--repeats", "1", "--limit", "5", cwd=tmp_path)
    assert code == 0 and "Next: assay profile office --suite SUITE, with models to measure" in " ".join(err.split())


def test_guessing_is_refused_where_there_is_nothing_to_guess(tmp_path: Path):
    code, _, err = assay("run", "office", "--model", "chance", cwd=tmp_path)
    assert code == 2 and "benchmark office has nothing to guess" in err
    assert not (tmp_path / "runs").exists()
    code, _, err = assay("profile", "office", "--models", "gold,chance", "--out", "p", cwd=tmp_path)
    assert code == 2 and "has nothing to guess" in err
    assert not (tmp_path / "p").exists()


QUIZ = """
from assay.benchmark import Benchmark, Environment
from assay.benchmark.verify.text import normalised
from assay.types import Message, Task


class Quiz(Environment):
    name, version = "quiz", "1"

    def tasks(self):
        return [Task(id=f"t{n}", input=[Message(role="user", content=f"{n}?")], gold=f"answer {n}") for n in range(4)]

    def verify(self, task, response):
        return normalised(response, [task.gold])


BENCHMARK = Benchmark(environment=Quiz(), repeats=2)
"""


def test_a_benchmark_named_by_its_path_is_found_from_any_directory(tmp_path: Path):
    (tmp_path / "here/arithmetic").mkdir(parents=True)  # a folder with the name of a benchmark that ships
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "here/arithmetic/benchmark.py").write_text(QUIZ)
    code, _, err = assay("profile", "./arithmetic", "--models", "gold", "--out", "p", cwd=tmp_path / "here")
    assert code == 0, err
    for command in (("report", "../here/p"), ("certify", "../here/p"), ("rescore", "../here/p", "--out", "q")):
        code, _, err = assay(*command, cwd=tmp_path / "elsewhere")
        assert code == 0, err
    assert read_plan(tmp_path / "here/p").source == "../arithmetic"
    assert assay("certify", "elsewhere/q", cwd=tmp_path)[0] == 0
    code, out, err = assay("verify", "p/certificate.json", "--benchmark", "./arithmetic", cwd=tmp_path / "here")
    assert code == 0 and out.startswith("valid: quiz 1"), err


def test_four_tasks_are_too_few_for_an_interval(tmp_path: Path):
    run = ("run", "arithmetic", "--model", "gold", "--repeats", "2")
    code, out, err = assay(*run, "--limit", "4", "--out", "few", cwd=tmp_path)
    assert code == 0, err
    assert "too few tasks for an interval (4)" in out and " to " not in out
    assert "too few" not in assay(*run, "--limit", "10", "--out", "enough", cwd=tmp_path)[1]
    summary = write(tmp_path / "few")
    assert summary.interval_run is summary.interval_task is None
