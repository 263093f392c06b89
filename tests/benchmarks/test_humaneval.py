import asyncio
import textwrap
from pathlib import Path

import pytest

from assay.benchmark import Benchmark
from assay.benchmark.catalog import load
from assay.benchmark.verify.code import LIMITS, CheckResult, check_code
from assay.benchmarks.arithmetic.benchmark import Arithmetic
from assay.benchmarks.humaneval import benchmark
from assay.benchmarks.humaneval.benchmark import BENCHMARK, HumanEval, readings
from assay.collect.run import RunPlan, collect_run
from assay.config import load_model
from assay.errors import UsageError
from assay.fidelity.original.parity import compare
from assay.fidelity.original.published import published_scores
from assay.fidelity.original.reference import read
from assay.sandbox import SandboxConfig, check_sandbox
from assay.types import Message, Response, Score, Task, Text
from tests.benchmarks.data import beside, prepare, rows


@pytest.fixture(scope="module")
def humaneval(tmp_path_factory: pytest.TempPathFactory):
    try:
        asyncio.run(check_sandbox(LIMITS))
    except UsageError as error:
        pytest.skip(str(error))
    yield from prepare(BENCHMARK, beside("humaneval", "HumanEval.jsonl.gz"), tmp_path_factory.mktemp("data"))


def scores(tasks: list[Task], texts: list[str]) -> list[Score]:
    """What a new environment makes of an answer to each task."""
    environment = HumanEval()

    async def all_of_them() -> list[Score]:
        said = [Response(output=[Message(role="assistant", content=[Text(text=text)])]) for text in texts]
        return await asyncio.gather(*(environment.verify(t, s) for t, s in zip(tasks, said, strict=True)))

    return asyncio.run(all_of_them())


def failed(tasks: list[Task], found: list[Score]) -> list[str]:
    return [task.id for task, score in zip(tasks, found, strict=True) if score.reward != 1]


def body(task: Task) -> str:
    """What follows the prompt in the reference solution."""
    whole = (task.gold or "").removeprefix("```python\n").removesuffix("```")
    assert whole.startswith(task.data["prompt"])
    return whole.removeprefix(task.data["prompt"])


def test_unprepared_it_tells_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ASSAY_DATA", str(tmp_path))
    with pytest.raises(UsageError, match="assay prepare humaneval"):
        list(HumanEval().tasks())


class Elsewhere(Arithmetic):
    """Needs what there is nowhere."""

    async def ready(self) -> None:
        await check_sandbox(SandboxConfig(provider="subprocess"))


def test_where_no_sandbox_is_to_be_had_a_run_says_so_before_it_starts(tmp_path: Path):
    name, server = load_model("gold", None)
    needy = Benchmark(environment=Elsewhere(), repeats=1)
    with pytest.raises(UsageError, match="apt install bubblewrap"):
        asyncio.run(
            collect_run(RunPlan.of(benchmark=needy, name=name, server=server, folder=tmp_path / "run", repeats=1))
        )
    assert not (tmp_path / "run").exists()


def test_164_tasks_and_the_row_in_the_docstring_is_a_real_one(humaneval: Benchmark):
    tasks = list(humaneval.environment.tasks())
    assert [task.id for task in tasks] == [f"HumanEval/{number}" for number in range(164)]
    row, text = tasks[53], benchmark.__doc__ or ""
    assert row.id in text
    assert body(row).strip() in text
    shown = textwrap.dedent(text.partition("asks    ")[2].partition("gold")[0])
    assert [line.strip() for line in shown.split("\n")] == [
        line.strip() for line in row.data["prompt"].strip().split("\n")
    ] + [""]


@pytest.mark.heavy
def test_all_reference_solutions_pass(humaneval: Benchmark):
    tasks = list(humaneval.environment.tasks())
    assert failed(tasks, scores(tasks, [task.gold or "" for task in tasks])) == []


@pytest.mark.slow
def test_all_empty_bodies_fail(humaneval: Benchmark):
    tasks = list(humaneval.environment.tasks())
    found = scores(tasks, [f"```python\n{task.data['prompt']}    pass\n```" for task in tasks])
    assert [task.id for task, score in zip(tasks, found, strict=True) if score.reward != 0] == []


@pytest.mark.heavy
def test_a_solution_may_be_written_in_many_ways(humaneval: Benchmark):
    tasks = [
        task for task in humaneval.environment.tasks() if task.id in ("HumanEval/0", "HumanEval/10", "HumanEval/38")
    ]
    ways = {
        "the body as it is": body,
        "the body without its indent": lambda task: textwrap.dedent(body(task)),
        "the body without that of its first line": lambda task: body(task).lstrip(),
        "the body in a block": lambda task: f"The rest:\n```python\n{body(task)}```",
        "the body, stripped, in a block": lambda task: f"```\n{body(task).strip()}\n```",
        "the whole without a block": lambda task: task.data["prompt"] + body(task),
        "the whole, before an example": lambda task: f"{task.gold}\n\nSo:\n```python\nprint(1)\n```",
    }
    for way, text in ways.items():
        assert failed(tasks, scores(tasks, [text(task) for task in tasks])) == [], way


@pytest.mark.slow
def test_gpt_4s_recorded_solutions_are_judged_as_published(humaneval: Benchmark):
    reference = read(beside("recorded", "humaneval", "gpt-4-simple.jsonl.gz"))
    found = asyncio.run(compare(humaneval, reference))
    numbers = {rung.name: rung for rung in found.ladder}["verifiers"].numbers
    assert (found.verdict, numbers["agree"], numbers["left_out"]) == ("identical", 163, 1), found.reason
    stated = published_scores(load("humaneval"))
    assert stated and {score.model: score.score for score in stated.scores}["gpt-4-simple"] == "85.98"
    assert f"{100 * reference.record.score:.2f}" == "85.98"


def test_a_solution_needs_its_own_imports(humaneval: Benchmark):
    tasks = {task.id: task for task in humaneval.environment.tasks()}
    published = {row["task"]: row for row in rows(beside("recorded", "humaneval", "gpt-4-simple.jsonl.gz"))}
    row = published["HumanEval/133"]
    chosen = [tasks["HumanEval/133"]] * 2
    alone, imported = scores(chosen, [row["output"], f"import math\n{row['output']}"])
    assert (row["score"], alone.reward, imported.reward) == (1, 0.0, 1.0)


HOSTILE = {
    "sys.exit": "    import sys\n    sys.exit(0)\n",
    "os._exit": "    import os\n    os._exit(0)\n",
    "passwd": "    return open('/etc/passwd').read()\n",
    "socket": "    import socket\n    return socket.create_connection(('1.1.1.1', 53), 1)\n",
    "outside": "    open('/etc/x', 'w')\n",
    "fork": "    import os\n    while True: os.fork()\n",
    "memory": "    x = []\n    while True: x.append(bytearray(10**7))\n",
    "marker": "    print('passed')\n",
    "equal": "    return type('E', (), {'__eq__': lambda *a: True})()\n",
    "kill": "    import os\n    os.kill(-1, 9)\n",
}


@pytest.mark.heavy
def test_hostile_solutions_score_nothing_and_leave_the_others_their_scores(humaneval: Benchmark):
    tasks = list(humaneval.environment.tasks())
    bad, good = tasks[: len(HOSTILE)], tasks[60:70]
    answers = [f"```python\n{task.data['prompt']}{code}```" for task, code in zip(bad, HOSTILE.values(), strict=True)]
    found = scores(bad + good, answers + [task.gold or "" for task in good])
    assert [score.reward for score in found] == [0.0] * len(bad) + [1.0] * len(good)


def test_the_verdict_is_the_same_again(humaneval: Benchmark):
    task = next(iter(humaneval.environment.tasks()))

    async def again() -> list[CheckResult]:
        read = readings(task.data["prompt"], body(task), task.data["entry_point"])
        facts = {"entry_point": task.data["entry_point"], "setup": task.data["prompt"], "tests": task.data["tests"]}
        return [await check_code(read, **facts) for _ in range(5)]

    assert asyncio.run(again()) == [CheckResult(passed=True, how="passed")] * 5
