"""hf:ORG/NAME, a data set with an eval.yaml, against a hub on loopback and in the real inspect_ai."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from assay.benchmark.catalog import load
from assay.errors import UsageError
from assay.exports.eval_yaml import _check
from assay.types import Message, Response, Score, Task, Turn
from tests.commands import assay
from tests.hub import COMMIT, DataSet, Hub

pytest.importorskip("inspect_ai", reason="needs the extra `inspect`")
pytestmark = pytest.mark.filterwarnings("ignore")  # the library's own warnings are no errors of ours
ROWS = [
    {
        "problem": f"{n} + {n}?",
        "solution": str(2 * n),
        "options": [str(2 * n), "7", "9"],
        "right": 0,
        "hint": {"full": f"It is {2 * n}."},
    }
    for n in range(1, 21)
]
TASKS = """
name: Sums
evaluation_framework: inspect-ai
tasks:
  - id: sums
    split: test
    field_spec: {input: problem, target: solution, metadata: [hint]}
    solvers:
      - {name: prompt_template, args: {template: "{prompt} Say ANSWER: N."}}
      - {name: generate}
    scorers: [{name: match, args: {numeric: true}}]
  - id: choices
    field_spec: {input: problem, target: right, choices: options}
    shuffle_choices: true
    epochs: 2
    solvers: [{name: multiple_choice}]
    scorers: [{name: choice}]
  - id: read
    field_spec: {input: problem, target: solution, metadata: [hint]}
    solvers: [{name: generate}]
    scorers: [{name: pattern, args: {pattern: 'is (\\d+)'}}]
  - id: judged
    field_spec: {input: problem, target: solution}
    solvers: [{name: generate}]
    scorers: [{name: model_graded_qa}]
  - id: missing
    field_spec: {input: question, target: solution}
    solvers: [{name: generate}]
    scorers: [{name: exact}]
  - id: wrong
    field_spec: {input: problem, target: solution}
    solvers: [{name: generate}]
    scorers: [{name: exact, args: {colour: red}}]
"""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)
    sets = {
        "mine/sums": DataSet({"eval.yaml": TASKS.encode(), "test.jsonl": lines}),
        "mine/one": DataSet({"eval.yaml": TASKS[: TASKS.index("  - id: choices")].encode(), "test.jsonl": lines}),
        "mine/plain": DataSet({"test.jsonl": lines}),
        "mine/broken": DataSet({"eval.yaml": b"tasks: [{id: 3", "test.jsonl": lines}),
        "mine/odd": DataSet({"eval.yaml": b"tasks: [{id: a, solvers: [{name: dance}]}]", "test.jsonl": lines}),
    }
    with Hub(sets) as served:
        served.variables |= {"HF_HOME": str(tmp_path / "hf"), "ASSAY_DATA": str(tmp_path / "data")}
        for name, value in served.variables.items():
            monkeypatch.setenv(name, value)
        yield served


def test_a_data_set_runs_as_its_eval_yaml_says(hub: Hub, tmp_path: Path):
    code, out, err = assay("run", "hf:mine/one", "--model", "gold", "--out", "r", cwd=tmp_path, **hub.variables)
    assert code == 0 and "avg@1 of 20 rollouts" in out and "100.0" in out, err + out
    assert f"may change. Today it is hf:mine/one@{COMMIT}" in err
    record = json.loads((tmp_path / "r/run.json").read_text())
    assert {name for name in record["sources"] if name.startswith("hf:")} == {
        f"hf:mine/one@{COMMIT}/eval.yaml",
        f"hf:mine/one@{COMMIT}/test.jsonl",
    }
    assert record["version"].startswith(f"{COMMIT[:12]} on inspect_ai ")
    task = json.loads((tmp_path / "r/tasks.jsonl").read_text().splitlines()[0])
    assert task["input"][0]["content"] == "1 + 1? Say ANSWER: N."


def reward(name: str, text: str) -> float:
    environment = load(name).environment
    [task, *_] = environment.tasks()

    async def scored() -> Score:
        async with environment.open(task, 0) as session:
            return await session.score(
                [Turn(input=[], response=Response(output=[Message(role="assistant", content=text)]))]
            )

    return asyncio.run(scored()).reward


def test_choices_are_shuffled_in_the_same_way_each_time(hub: Hub):
    benchmarks = [load(f"hf:mine/sums@{COMMIT}#choices") for _ in range(2)]
    first, second = (list(one.environment.tasks()) for one in benchmarks)
    assert first == second and benchmarks[0].repeats == 2 and benchmarks[0].environment.remark == ""
    assert len({task.gold for task in first}) == 3
    assert reward(f"hf:mine/sums@{COMMIT}#choices", first[0].gold or "") == 1


def test_a_field_gives_the_golds_where_the_scorer_does_not(hub: Hub, tmp_path: Path):
    assert {task.gold for task in load("hf:mine/sums#read").environment.tasks()} == {None}
    [task, *_] = load("hf:mine/sums#read,gold=hint.full").environment.tasks()
    assert (task.gold, reward("hf:mine/sums#read", task.gold or "")) == ("It is 2.", 1)
    arguments = ("hf:mine/sums#read", "--gold-field", "hint.full")
    code, out, err = assay("run", *arguments, "--model", "gold", cwd=tmp_path, **hub.variables)
    assert code == 0 and "100.0" in out, err
    code, _, err = assay("check", "hf:mine/sums#read", "--gold-field", "hint.half", cwd=tmp_path, **hub.variables)
    assert code == 2 and "the field hint.half of task 1 is None" in err and "target, hint.full" in err
    code, _, err = assay("check", "arithmetic", "--gold-field", "answer", cwd=tmp_path)
    assert code == 2 and "arithmetic states its golds itself; expected hf:NAME, inspect:NAME, verifiers:NAME" in err


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hf:mine/sums", "has 6 tasks; name one of them: #sums, #choices"),
        ("hf:mine/sums#sum", "no task 'sum'"),
        ("hf:mine/sums#judged", "its scorer model_graded_qa asks a judge"),
        ("hf:mine/sums#missing", "no 'question'\n  expected: for eval.yaml, one of problem, solution"),
        ("hf:mine/sums#wrong", "exact: .*colour"),
        ("hf:mine/plain", "no one part #eval.yaml"),
        ("hf:mine/broken", "an eval.yaml with tasks"),
        ("hf:mine/odd", "field_spec"),
        ("hf:mine/nothing", "no data set mine/nothing"),
        ("hf:mine/one,golden=x", "no setting 'golden'; expected gold=FIELD"),
        ("hf:mine", "expected hf:ORG/NAME"),
    ],
)
def test_what_cannot_be_had_is_refused(hub: Hub, name: str, words: str):
    with pytest.raises(UsageError, match=words):
        list(load(name).environment.tasks())


def test_an_exported_benchmark_is_a_data_set_that_gives_the_same_rewards(hub: Hub, tmp_path: Path):
    code, out, err = assay("export", "arithmetic", "--format", "eval-yaml", "--out", "out", cwd=tmp_path)
    assert code == 0 and "240 tasks are in out, scored by Inspect's match" in out, err
    files = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert b"path: test.jsonl" in files["README.md"] and b"'**X**'" in files["README.md"]
    hub.sets["mine/arithmetic"] = DataSet(files)
    ours = list(load("arithmetic").environment.tasks())
    benchmark = load(f"hf:mine/arithmetic@{COMMIT}")
    theirs = list(benchmark.environment.tasks())
    assert benchmark.repeats == 4
    assert [(task.input[0].text, task.gold) for task in theirs] == [(task.input[0].text, task.gold) for task in ours]  # type: ignore
    name = f"hf:mine/arithmetic@{COMMIT}"
    assert [reward(name, f"It is {answer}.") for answer in (ours[0].gold, f"1{ours[0].gold}", "nothing")] == [1, 0, 0]


@pytest.mark.parametrize(
    ("name", "words"),
    [("ifeval", "no reference answer"), ("office", "hold state, tools"), ("humaneval", "in a sandbox")],
)
def test_what_an_eval_yaml_cannot_hold_is_refused(name: str, words: str, tmp_path: Path):
    benchmark = load(name)
    tasks = [Task(id="1", input=[Message(role="user", content="?")])]
    with pytest.raises(UsageError, match=words):
        _check(benchmark, tasks)
