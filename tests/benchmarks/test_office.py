"""office: its references solve it, nothing less does, and no session sees another."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.agent.loop import ToolLoop
from assay.benchmark import Call
from assay.benchmark.tools import tools_of
from assay.benchmarks.office import benchmark as module
from assay.benchmarks.office.benchmark import BENCHMARK
from assay.benchmarks.office.session import OfficeSession, judge
from assay.collect.plan import PlannedRollout
from assay.collect.roll import roll
from assay.collect.run import model_of
from assay.config import ModelConfig
from assay.digest import task_digest, tasks_digest
from assay.fidelity.gates.gold import gold_gate
from assay.fidelity.gates.verifier import verifier_gate
from assay.types import Rollout, Score, Task
from tests.commands import assay

ENVIRONMENT = BENCHMARK.environment
TASKS = {task.id: task for task in ENVIRONMENT.tasks()}
READING = {"find_customers", "read_customer", "find_mail", "read_mail", "list_events"}


def calls(task: Task) -> list[Call]:
    found = ENVIRONMENT.solution(task) or ()
    return [call for call in found if isinstance(call, Call)]


def played(task: Task, made: Sequence[Call]) -> tuple[Score, list[str]]:
    """The score of a rollout of these calls, and what the tools said."""

    async def main() -> tuple[Score, list[str]]:
        async with ENVIRONMENT.open(task, 0) as session:
            said = [await session.call(call.name, dict(call.arguments)) for call in made]
            return await session.score([]), said

    return asyncio.run(main())


def rolled(task: Task, dialect: Any, repeat: int = 0) -> Rollout:
    model = model_of(ModelConfig(dialect=dialect), BENCHMARK)
    return asyncio.run(roll(BENCHMARK, ToolLoop(), model, PlannedRollout(task, task_digest(task), repeat, 0, 7)))


def test_60_frozen_tasks_of_1_to_8_steps():
    assert len(TASKS) == 60
    assert tasks_digest(TASKS.values()) == module.DIGEST
    assert set(Counter(int(task.tags["steps"]) for task in TASKS.values())) == {1, 2, 3, 4, 5, 7, 8}
    assert len({task.input[1].text for task in TASKS.values()}) == 60  # type: ignore[union-attr]
    assert 8 <= len(tools_of(OfficeSession)) <= 12


def test_the_row_in_the_docstring_is_a_real_one():
    text = module.__doc__ or ""
    task = next(task for task in TASKS.values() if f" {task.id}\n" in text)
    assert task.input[1].text in text  # type: ignore[union-attr]
    assert all(change in text for change in task.data["changes"])
    assert all(f"{name} {value}" in text for name, value in task.tags.items())
    for call in calls(task):
        assert call.name in text and all(f'"{name}": "{value}"' in text for name, value in call.arguments.items())


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_the_reference_solves_and_every_change_in_it_is_needed(task: Task):
    reference = calls(task)
    score, said = played(task, reference)
    assert (score.reward, score.metrics, score.answer) == (1.0, {"share": 1.0}, "all as asked")
    assert not any(text.startswith("error") for text in said)
    for index, call in enumerate(reference):
        without, _ = played(task, reference[:index] + reference[index + 1 :])
        if call.name in READING:
            assert without.reward == 1.0, f"{call.name} changes something"
        else:
            assert without.reward == 0.0 and without.metrics["share"] < 1.0
            assert without.answer is not None and "missing: " in without.answer


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_gold_scores_1_and_null_0_as_rollouts(task: Task):
    rollout = rolled(task, "gold")
    assert (rollout.stop, len(rollout.turns)) == ("completed", len(calls(task)) + 1)
    assert isinstance(rollout.outcome, Score) and rollout.outcome.reward == 1
    for repeat in (0, 1):
        nothing = rolled(task, "null", repeat).outcome
        assert isinstance(nothing, Score) and (nothing.reward, nothing.metrics) == (0, {"share": 0.0})


def test_one_change_too_many_is_no_solution():
    surplus = Call("send_mail", {"to": "ana@harbourlane.example", "subject": "Hello", "body": "Done"})
    for task in TASKS.values():
        score, _ = played(task, [*calls(task), surplus])
        assert score.reward == 0
        assert score.answer == "not asked for: now: mail to ana@harbourlane.example: hello | done"


def test_the_wrong_one_of_two_namesakes_is_no_solution():
    for task in (task for task in TASKS.values() if task.tags["trap"] == "namesake"):
        find, update = calls(task)
        _, [found] = played(task, [find])
        assert found.count('"id":') == 2
        other = next(part for part in found.split('"') if part.startswith("C-") and part != update.arguments["id"])
        score, _ = played(task, [Call(update.name, {**update.arguments, "id": other})])
        assert score.reward == 0


def test_a_closed_account_refuses_and_a_conflict_is_told():
    [find, _, update] = calls(TASKS["reopen-0"])
    score, said = played(TASKS["reopen-0"], [find, update])
    assert "is closed" in said[1] and score.metrics["share"] == 0
    look, _, second, first = calls(TASKS["swap-0"])
    score, said = played(TASKS["swap-0"], [look, first, second])
    assert said[1].startswith("error: Dario Conti has Stand-up (E-") and score.reward == 0


def test_an_appointment_made_again_elsewhere_is_one_that_was_moved():
    task = TASKS["move-one-0"]
    look, move = calls(task)
    _, [listed] = played(task, [look])
    [entry] = [entry for entry in listed.split("{") if f'"{move.arguments["id"]}"' in entry]
    fields = dict(pair.split('":"') for pair in entry.strip('}],"').split('","'))
    times = {name: move.arguments[name] for name in ("day", "start", "end")}
    again = {"title": fields["title"], "people": fields["people"].split(", "), **times}
    score, _ = played(task, [Call("cancel_event", {"id": fields["id"]}), Call("create_event", again)])
    assert score.reward == 1


def test_sessions_side_by_side_do_not_see_each_other():
    async def main() -> list[Score]:
        tasks = [TASKS["onboarding-0"], TASKS["onboarding-0"], TASKS["complaints-1"]]
        sessions = [ENVIRONMENT.open(task, seed) for seed, task in enumerate(tasks)]
        first, idle, third = [await session.__aenter__() for session in sessions]
        for step in range(8):
            for session, task in ((first, tasks[0]), (third, tasks[2])):
                for call in calls(task)[step : step + 1]:
                    assert not (await session.call(call.name, dict(call.arguments))).startswith("error")
        scores = [await session.score([]) for session in (first, idle, third)]
        for session in sessions:
            await session.__aexit__(None, None, None)
        return scores

    assert [score.reward for score in asyncio.run(main())] == [1, 0, 1]
    assert played(TASKS["onboarding-0"], [])[0].reward == 0


def test_the_gates_pass_by_tool_calls():
    tasks = list(TASKS.values())[::6]
    gold, verifier = asyncio.run(gold_gate(BENCHMARK, tasks)), asyncio.run(verifier_gate(BENCHMARK, tasks))
    assert gold.verdict == "pass" and gold.numbers["gold_wrong"] == 0
    assert all(probe["reward"] == 0 for probe in gold.numbers["probes"].values())
    assert verifier.verdict == "pass"
    assert "no message is rewritten" in verifier.reason


JUDGED = [
    (["now: a"], ["now: a"], 1.0, 1.0),
    (["now: a", "now: b"], ["now: b", "NOW:  a."], 1.0, 1.0),
    (["now: a"], [], 0.0, 0.0),
    (["now: a"], ["now: a", "now: a"], 0.0, 0.5),
    (["now: a", "now: b"], ["now: a", "now: c"], 0.0, 1 / 3),
    ([], [], 1.0, 1.0),
]


@pytest.mark.parametrize(("wanted", "found", "reward", "share"), JUDGED)
def test_what_counts_as_the_same_changes(wanted: list[str], found: list[str], reward: float, share: float):
    score = judge(wanted, found)
    assert (score.reward, score.metrics["share"]) == (reward, pytest.approx(share))


WORDS = ["C-12", "M-3", "E-5", "C-99999999999", "12", "-1", "²", "2025-03-05", "09:30", "23:59", "Ana Ruiz", "closed"]
VALUES = st.sampled_from(WORDS) | st.text(max_size=8)
VALUES = VALUES | st.none() | st.integers() | st.floats() | st.lists(VALUES, max_size=3)
PARAMETERS = sorted({name for tool in tools_of(OfficeSession) for name in tool.parameters["properties"]})
NAMES = st.sampled_from([tool.name for tool in tools_of(OfficeSession)])


@st.composite
def fuzzed(draw: st.DrawFn) -> Call:
    """A call of a tool, with its own parameters or any."""
    name = draw(NAMES)
    own = next(tool.parameters["properties"] for tool in tools_of(OfficeSession) if tool.name == name)
    parameters = st.sampled_from(sorted(own)) | st.sampled_from(PARAMETERS)
    return Call(name, draw(st.dictionaries(parameters, VALUES, max_size=5)))


@given(st.lists(fuzzed(), max_size=6))
def test_no_arguments_crash_a_session(made: list[Call]):
    score, said = played(TASKS["ill-0"], made)
    assert 0 <= score.metrics["share"] <= 1
    assert all(isinstance(text, str) for text in said)


@pytest.mark.heavy
def test_a_profile_of_gold_and_null_runs_as_a_command(tmp_path: Path):
    code, out, err = assay("profile", "office", "--models", "gold,null", "--limit", "6", cwd=tmp_path)
    assert code == 0, err
    found = json.loads((tmp_path / "profiles/office-gold-null-limit6/profile.json").read_text())
    assert {name: model["score"] for name, model in found["models"].items()} == {"gold": 1.0, "null": 0.0}
    verdicts = {gate["name"]: gate["verdict"] for gate in found["gates"]}
    assert [verdicts[name] for name in ("tasks", "gold", "verifier")] == ["pass"] * 3
    code, out, err = assay("profile", "office", "--models", "gold", "--suite", "embedded", cwd=tmp_path)
    assert code == 2 and "give one" in err
    code, out, err = assay("run", "office", "--model", "gold", "--set", "limits.steps=1", cwd=tmp_path)
    assert code == 0 and "score 10.0%" in out, out + err
