"""The ladder, on the embedded models' own rollouts as the original's: what is planted is found, and nothing else is."""

import asyncio
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec import structs

from assay.benchmark import Benchmark, Environment
from assay.benchmark.catalog import load
from assay.benchmark.verify.integer import integer
from assay.collect.run import RunPlan, collect_run
from assay.config import ModelConfig, load_model
from assay.errors import UsageError
from assay.fidelity.gates.parity import parity_gate
from assay.fidelity.original.parity import compare, digests_of
from assay.fidelity.original.reference import read, read_parity, read_stored
from assay.fidelity.schema.evidence import Parity, Rung
from assay.store import read_rollouts, read_tasks
from assay.types import Message, Response, Score, Task
from tests.commands import assay

BENCHMARK = load("arithmetic")
Rows = list[dict[str, Any]]


def made(folder: Path, model: str = "nano-instruct", **plan: Any) -> Path:
    """A run of an embedded model."""
    name, server = load_model(model)
    asked = {"benchmark": BENCHMARK, "name": name, "server": server, "folder": folder, "repeats": 4} | plan
    asyncio.run(collect_run(RunPlan.of(**asked)))
    return folder


def rows_of(run: Path) -> Rows:
    """A run's rollouts as the results of an original implementation."""
    tasks = {task.id: task for task in read_tasks(run)}
    rows: Rows = []
    for rollout in read_rollouts(run):
        assert isinstance(rollout.outcome, Score)
        task = tasks[rollout.task]
        item = task.input[0]
        assert isinstance(item, Message)
        rows.append(
            {
                "task": task.id,
                "repeat": rollout.repeat,
                "score": rollout.outcome.reward,
                "output": rollout.turns[0].response.text,
                "prompt": item.text,
                "gold": task.gold,
            }
        )
    return sorted(rows, key=lambda row: (row["repeat"], row["task"]))


def climbed(rows: Rows, folder: Path, settings: dict[str, Any] | None = None, **asked: Any) -> Parity:
    benchmark = asked.pop("benchmark", BENCHMARK)
    file = folder / "original.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return asyncio.run(compare(benchmark, read(file, settings=settings), **asked))


def rungs(parity: Parity) -> dict[str, Rung]:
    return {rung.name: rung for rung in parity.ladder}


def verdicts(parity: Parity) -> list[str]:
    return [rung.verdict for rung in parity.ladder]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The original's run, and a fresh one here."""
    folder = tmp_path_factory.mktemp("runs")
    return made(folder / "there"), made(folder / "here", seed=1)


@pytest.fixture(scope="module")
def rows(runs: tuple[Path, Path]) -> Rows:
    return rows_of(runs[0])


def without(rows: Rows, *columns: str) -> Rows:
    return [{name: value for name, value in row.items() if name not in columns} for row in rows]


@pytest.mark.heavy
def test_the_whole_ladder_by_the_command(runs: tuple[Path, Path], rows: Rows, tmp_path: Path):
    (tmp_path / "original.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ("parity", "arithmetic", "--reference", "original.jsonl", "--setting", "temperature=1")
    code, out, err = assay(*command, "--run", str(runs[1]), "--margin", "8", cwd=tmp_path)
    assert code == 0 and "equivalent: The same outputs are scored identically" in out, err + out
    found = read_parity(runs[1] / "parity.json")
    assert verdicts(found) == ["identical", "identical", "identical", "equivalent"]
    assert (found.model, found.margin, found.reference.settings) == ("nano-instruct", 0.08, {"temperature": 1})
    kept = read_stored(runs[1])
    assert kept is not None and kept.rows == read(tmp_path / "original.jsonl").rows

    code, out, err = assay(*command, "--run", str(runs[1]), "--margin", "0.5", cwd=tmp_path)
    k = rungs(read_parity(runs[1] / "parity.json"))["samples"].numbers["k_to_decide"]
    assert code == 5 and k > 4 and f"Look again at {k:,} repeats a side" in " ".join(out.split()), err + out

    rows = [*rows[:-1], rows[-1] | {"score": 1 - rows[-1]["score"]}]
    (tmp_path / "original.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, err = assay(*command, cwd=tmp_path)
    assert code == 3 and rows[-1]["task"] in out and "different: Verifiers: 1 of 960" in out, err + out
    assert read_parity(tmp_path / "parity" / "arithmetic-original" / "parity.json").verdict == "different"


def test_each_look_at_more_repeats_has_to_show_more(runs: tuple[Path, Path], rows: Rows, tmp_path: Path):
    few = [row for row in rows if row["repeat"] < 2]
    first = climbed(few, tmp_path, run=runs[1], margin=0.05)
    assert [(look.repeats_there, look.repeats_here) for look in first.looks] == [(2, 4)]
    same = climbed(few, tmp_path, run=runs[1], margin=0.05, earlier=first.looks)
    assert len(same.looks) == 1 and rungs(same)["samples"].verdict == rungs(first)["samples"].verdict
    second = climbed(rows, tmp_path, run=runs[1], margin=0.05, earlier=first.looks)
    assert [look.repeats_there for look in second.looks] == [2, 4]
    assert rungs(second)["samples"].numbers["looks"] == 2


def test_a_replay_is_no_fresh_sample(runs: tuple[Path, Path], rows: Rows, tmp_path: Path):
    found = climbed(rows, tmp_path, run=runs[0])
    assert (found.verdict, verdicts(found)) == ("identical", ["identical", "identical", "identical", "not run"])
    assert "no fresh sample" in found.reason
    replay = made(tmp_path / "replay", f"replay:{runs[0]}")
    assert rungs(climbed(rows, tmp_path, run=replay))["samples"].verdict == "not run"
    scores = climbed(without(rows, "output"), tmp_path, run=replay)
    assert "is a replay" in rungs(scores)["samples"].reason and scores.verdict == "inconclusive"


@pytest.mark.parametrize(
    ("plant", "rung", "there", "here", "why"),
    [
        ({"score": lambda old: 1 - old}, "verifiers", None, None, "read"),
        ({"prompt": lambda old: f" {old}"}, "prompts", "' What is", "'What is", "at character 1"),
        ({"prompt": lambda old: f"{old}\n"}, "prompts", "\\n'", "'", "at character"),
        ({"prompt": lambda old: [{"role": "system", "content": old}]}, "prompts", "system", "user", "in its messages"),
        ({"gold": lambda old: f"{old}0"}, "data", None, None, "another gold answer"),
        ({"task": lambda old: f"{old}x"}, "data", "a task", "no such task", ""),
    ],
)
def test_one_planted_difference_is_found_and_shown(
    rows: Rows,
    tmp_path: Path,
    plant: dict[str, Callable[[Any], Any]],
    rung: str,
    there: str | None,
    here: str | None,
    why: str,
):
    row = next(row for row in rows if row["repeat"] == 0 and row["prompt"].startswith("What is"))
    planted = row | {name: change(row[name]) for name, change in plant.items()}
    found = climbed([planted if one is row else one for one in rows], tmp_path)
    assert found.verdict == rungs(found)[rung].verdict == "different"
    shown = rungs(found)[rung].disagreements
    assert [one.task for one in shown] == [planted["task"]]
    assert there is None or there in shown[0].there
    assert here is None or here in shown[0].here
    assert why in shown[0].why
    others = [one for name, one in rungs(found).items() if name != rung]
    assert all(one.verdict in ("identical", "not run") and not one.disagreements for one in others)


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        (lambda rows: without(rows, "prompt", "gold"), ("identical", ["identical", "not run", "identical", "not run"])),
        (lambda rows: without(rows, "output"), ("inconclusive", ["identical", "identical", "not run", "not run"])),
        (lambda rows: rows[240:] + rows[:239], ("identical", ["identical"] * 3 + ["not run"])),
        (
            lambda rows: [row for row in rows if row["task"] != rows[0]["task"]],
            ("inconclusive", ["inconclusive", "identical", "identical", "not run"]),
        ),
        (
            lambda rows: without(rows[:1], "output") + rows[1:],
            ("inconclusive", ["identical", "identical", "inconclusive", "not run"]),
        ),
        (
            lambda rows: without(rows, "prompt")[:239] + rows[239:240],
            ("inconclusive", ["identical", "inconclusive", "identical", "not run"]),
        ),
    ],
)
def test_what_was_not_given_is_not_claimed(
    rows: Rows, tmp_path: Path, keep: Callable[[Rows], Rows], expected: tuple[str, list[str]]
):
    found = climbed(keep(rows), tmp_path)
    assert (found.verdict, verdicts(found)) == expected


def test_scores_alone_are_compared_with_a_fresh_run(runs: tuple[Path, Path], rows: Rows, tmp_path: Path):
    found = climbed(without(rows, "output", "prompt", "gold"), tmp_path, run=runs[1], margin=0.08)
    assert (found.verdict, verdicts(found)) == ("equivalent", ["identical", "not run", "not run", "equivalent"])
    once = climbed(without(rows[:240], "output"), tmp_path, run=runs[1], margin=0.1)
    samples = rungs(once)["samples"]
    assert samples.verdict == "equivalent" and samples.numbers["bounded_there"] and "bounded" in samples.reason
    assert samples.numbers["se"] > rungs(found)["samples"].numbers["se"]
    worse = [row | {"score": 0.0} if i % 2 else row for i, row in enumerate(without(rows, "output"))]
    assert climbed(worse, tmp_path, run=runs[1]).verdict == "different"


def test_samples_have_no_last_word_where_they_are_not_comparable(runs: tuple[Path, Path], rows: Rows, tmp_path: Path):
    here = {"run": runs[1], "margin": 0.5}
    other = rungs(climbed(rows, tmp_path, {"steps": 3, "temperature": 0.3}, **here))["samples"]
    assert other.verdict == "inconclusive" and "steps (3 there, 64 here)" in other.reason
    copies = [row | {"repeat": repeat} for row in rows[:240] for repeat in range(4)]
    greedy = rungs(climbed(copies, tmp_path, **here))["samples"]
    assert greedy.numbers["bounded_there"], "copies are no more than one repeat"
    copied = copies + [row | {"repeat": row["repeat"] + 4} for row in rows if row["repeat"]]
    dependent = rungs(climbed(copied, tmp_path, **here))["samples"]
    assert dependent.verdict == "inconclusive" and "identical texts" in dependent.reason
    (tmp_path / "half.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows_of(runs[1])[:480]))
    failing = made(tmp_path / "failing", f"replay:{tmp_path / 'half.jsonl'}")
    failed = rungs(climbed(rows, tmp_path, run=failing, margin=0.5))["samples"]
    assert failed.verdict == "inconclusive" and "480 of 960 rollouts failed" in failed.reason
    few = made(tmp_path / "few", limit=20, seed=1)
    some = rungs(climbed(rows, tmp_path, run=few, margin=0.9))["samples"]
    assert some.verdict == "inconclusive" and "Only 20 of the 240 tasks" in some.reason


class Fragile(Environment):
    """Its verifier fails on one answer, and its tasks ask by a system message too."""

    name, version = "fragile", "1"

    def tasks(self) -> Iterable[Task]:
        for i in range(6):
            said = [Message(role="system", content="Be brief."), Message(role="user", content=f"{i} + 1?")]
            yield Task(id=f"t{i}", input=[*said], gold=str(i + 1))

    def verify(self, task: Task, response: Response) -> Score:
        if "boom" in response.text:
            raise RuntimeError("no verdict")
        return integer(response, int(task.gold or ""))


FRAGILE = Benchmark(environment=Fragile(), repeats=1)


def results(*outputs: object, score: float = 1) -> Rows:
    said = list(outputs) + [str(i + 1) for i in range(len(outputs), 6)]
    return [{"task": f"t{i}", "score": score if i == 0 else 1, "output": output} for i, output in enumerate(said)]


def test_a_verifier_that_fails_is_a_disagreement_that_says_so(tmp_path: Path):
    found = climbed(results("boom", score=0), tmp_path, benchmark=FRAGILE)
    rung = rungs(found)["verifiers"]
    assert found.verdict == "different" and rung.numbers["failed"] == 1
    assert rung.disagreements[0].here == "failed" and "RuntimeError: no verdict" in rung.disagreements[0].why


@pytest.mark.parametrize(
    ("output", "reasoning", "score"),
    [
        ("<think>It is 1.</think>", "auto", 0),
        ("<think>It is 1.", "tags", 0),
        ("<think>It is 9.</think>1", "auto", 1),
        ("<think>It is 1.", "none", 1),
        (["1"], "auto", 1),
        ([[{"type": "message", "role": "assistant", "content": "1"}]], "auto", 1),
        ("", "auto", 0),
    ],
)
def test_recorded_thinking_is_split_as_the_reference_says(tmp_path: Path, output: Any, reasoning: str, score: float):
    rows = results(output, score=score)
    assert climbed(rows, tmp_path, {"reasoning": reasoning}, benchmark=FRAGILE).verdict == "identical"
    rows[0]["score"] = 1 - score
    assert climbed(rows, tmp_path, {"reasoning": reasoning}, benchmark=FRAGILE).verdict == "different"


def test_prompts_of_several_messages(tmp_path: Path):
    rows = results()
    for row, task in zip(rows, FRAGILE.environment.tasks(), strict=True):
        row["prompt"] = [{"role": item.role, "content": item.text} for item in task.input]  # type: ignore[union-attr]
    assert climbed(rows, tmp_path, benchmark=FRAGILE).verdict == "identical"
    rows[3]["prompt"][1]["content"] = "3 + 1 ?"
    shown = rungs(climbed(rows, tmp_path, benchmark=FRAGILE))["prompts"].disagreements
    assert [(one.task, one.there, one.here, one.why) for one in shown] == [
        ("t3", "'3 + 1 ?'", "'3 + 1?'", "at character 6, message 2")
    ]


def test_what_cannot_be_compared_is_refused(runs: tuple[Path, Path], rows: Rows, tmp_path: Path):
    (tmp_path / "data").write_text("")
    for asked, words in (
        ({"margin": 0.0}, "the margin is 0 points"),
        ({"data": [tmp_path / "data"]}, "states no data file"),
        ({"settings": {"reasoning": "always"}}, "expected one of auto, field, tags, none"),
        ({"benchmark": FRAGILE, "run": runs[1]}, "is no run of fragile as it is now"),
        ({"roles": {"judge": ModelConfig(dialect="local")}}, "judge"),
    ):
        with pytest.raises(UsageError, match=words):
            climbed(rows, tmp_path, **asked)  # type: ignore[arg-type]


def test_the_gate_asks_for_frozen_outputs_and_for_fresh_ones(runs: tuple[Path, Path], rows: Rows, tmp_path: Path):
    frozen = climbed(rows, tmp_path)
    fresh = climbed(without(rows, "output"), tmp_path, run=runs[1], margin=0.05)
    both = climbed(rows, tmp_path, run=runs[1], margin=0.05)
    open_ = climbed(rows, tmp_path, run=runs[1], margin=0.005)
    wide = climbed(rows, tmp_path, run=runs[1], margin=0.5)
    wrong = climbed([rows[0] | {"score": 1 - rows[0]["score"]}, *rows[1:]], tmp_path)
    for parities, verdict, words in (
        ({"m": both}, "pass", "fresh samples are equivalent"),
        ({"m": frozen, "n": fresh}, "pass", "n: There are no outputs to score again"),
        ({"m": frozen}, "inconclusive", "Missing: a fresh run here"),
        ({"m": fresh}, "inconclusive", "Missing: the original's outputs"),
        ({"m": both, "n": open_}, "inconclusive", "repeats a side"),
        ({"m": wide}, "inconclusive", "By a wider margin than was registered: m; expected at most 5 points"),
        ({"m": both, "n": wrong}, "fail", "n: Verifiers: 1 of 960"),
        ({}, "not run", "assay parity"),
        ({"m": structs.replace(both, code="0")}, "not run", "the benchmark's verifier changed"),
        ({"m": structs.replace(wrong, tasks_digest="0"), "n": both}, "pass", "the benchmark's tasks changed"),
    ):
        gate = parity_gate(parities, digests_of(BENCHMARK), 0.05, original=False)
        assert (gate.name, gate.verdict) == ("parity", verdict) and words in gate.reason
        msgspec.json.encode(gate)
        if verdict == "fail":
            assert [(ref.model, ref.task, ref.repeat) for ref in gate.rollouts] == [("n", rows[0]["task"], 0)]
    twice = parity_gate({"m": both, "n": both}, digests_of(BENCHMARK), 0.05, original=False)
    assert twice.reason.startswith("m, n: ") and twice.reason.count(both.reason) == 1
    late = parity_gate({"m": both}, digests_of(BENCHMARK), None, original=False)
    assert late.verdict == "inconclusive" and "No margin was registered before the runs" in late.reason
    passed = parity_gate({"m": both}, digests_of(BENCHMARK), 0.05, original=False)
    assert passed.bound == "parity within 5" and "5 points passes in at most 5 % over all looks" in passed.unseen
    original = parity_gate({}, digests_of(BENCHMARK), None, original=True)
    assert original.verdict == "not run" and "is the original" in original.reason


def test_results_that_were_changed_after_the_comparison_are_refused(rows: Rows, tmp_path: Path):
    (tmp_path / "original.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:240]))
    assert assay("parity", "arithmetic", "--reference", "original.jsonl", "--out", "p", cwd=tmp_path)[0] == 0
    kept = tmp_path / "p" / "reference.jsonl"
    assert read_stored(tmp_path) is None and np.isclose(read_stored(tmp_path / "p").record.score, 0.5, atol=0.5)  # type: ignore[union-attr]
    lines = kept.read_text().splitlines()
    kept.write_text("\n".join(lines[1:]) + "\n")
    with pytest.raises(UsageError, match="other results than parity"):
        read_stored(tmp_path / "p")


def test_outputs_with_the_score_of_all_alone_are_never_identical(rows: Rows, tmp_path: Path):
    score = 100 * np.mean([row["score"] for row in rows])
    file = tmp_path / "original.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in without(rows, "score")))
    with pytest.raises(UsageError, match="--aggregate where only the score of all results is known"):
        read(file)
    for given, verdict in ((f"{score:.2f}", "inconclusive"), (f"{score + 0.02:.2f}", "different")):
        found = asyncio.run(compare(BENCHMARK, read(file, aggregate=given)))
        rung = rungs(found)["verifiers"]
        assert rung.verdict == found.verdict == verdict
        assert f"only the score of all: {given} there, {score:.2f} here" in rung.reason


def test_the_score_of_all_by_the_command(runs: tuple[Path, Path], rows: Rows, tmp_path: Path):
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in without(rows[::2], "score")))
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in without(rows[1::2], "score")))
    command = ("parity", "arithmetic", "--reference", "*.jsonl", "--aggregate")
    code, out, err = assay(*command, "1.00%", cwd=tmp_path)
    assert code == 3 and "The original's judgements were not given, only the score of all: 1.00 there" in " ".join(
        out.split()
    ), err
    code, _, err = assay(*command, "good", cwd=tmp_path)
    assert code == 2 and "expected a score in per cent" in err
    code, _, err = assay(*command, "1", "--run", str(runs[1]), cwd=tmp_path)
    assert code == 2 and "compared task by task" in err
    code, _, err = assay("parity", "arithmetic", "--reference", "none/*.jsonl", cwd=tmp_path)
    assert code == 2 and "there is no file of results" in err
