"""`import assay`: what it gives, what it costs, and how its objects behave."""

import asyncio
import functools
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Coroutine, Iterator
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

import assay
from assay import Failure, Message, Request, Response, Score, Text, sync
from assay.cli.collect.profile import profile as profile_command
from assay.cli.collect.run import run as run_command
from assay.config import Member, Suite
from assay.errors import ModelError, NothingScored, StoppedEarly
from assay.store import read_record
from tests.endpoint import Endpoint, answering


def on_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """The test as pytest can call it."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


HEAVY = ("numpy", "scipy", "pyreqwest", "polars", "jinja2", "rich", "uvloop")


@pytest.mark.parametrize(
    ("module", "heavy"), [("assay", HEAVY), ("assay.cli.collect.run", ("numpy", "scipy", "jinja2"))]
)
def test_importing_loads_nothing_heavy(module: str, heavy: tuple[str, ...]):
    """Nor does `assay run` load before its first request what only the summary needs."""
    script = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    assert found.stdout.strip() == "[]"


def test_every_public_name_is_there_and_documented():
    for name in assay.__all__:
        assert getattr(assay, name).__doc__, name
        assert name in dir(assay)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = assay.nonsense  # pyright: ignore[reportAttributeAccessIssue]


class Says:
    """A model with nothing but `respond`."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.requests: list[Request] = []

    async def respond(self, request: Request) -> Response:
        self.requests.append(request)
        return Response(output=[Message(role="assistant", content=[Text(text=self._text)])])


class Down:
    async def respond(self, request: Request) -> Response:
        raise ModelError("http_500", "the server is down", retryable=False)


@on_a_loop
async def test_a_model_that_is_an_object():
    model = Says("the answer is 12")
    run = await assay.run("arithmetic", model=model, limit=5, repeats=2)
    assert run.summary.rollouts == 10 and len(model.requests) == 10
    assert run.failures == 0 and run.score is not None
    assert {row["task"] for row in run.rows()} == {task.id for task in run.tasks}
    assert "Run(" in repr(run) and "<table>" in run._repr_html_()  # pyright: ignore[reportPrivateUsage]


@on_a_loop
async def test_a_temporary_run_ends_with_its_object():
    run = await assay.run("arithmetic", model=Says("1"), limit=2, repeats=1)
    folder = run.folder
    assert (folder / "rollouts.jsonl").exists()
    del run
    assert not folder.exists()


@on_a_loop
async def test_a_run_with_a_folder_goes_on(tmp_path: Path):
    model = Says("1")
    await assay.run("arithmetic", model=model, limit=3, repeats=1, out=tmp_path / "runs" / "one")
    again = await assay.run("arithmetic", model=model, limit=3, repeats=2, out=tmp_path / "runs" / "one")
    assert len(model.requests) == 6 and again.summary.rollouts == 6
    assert assay.Run(tmp_path / "runs" / "one").score == again.score


@on_a_loop
async def test_failures_are_no_scores():
    with pytest.raises(NothingScored) as stopped:
        await assay.run("arithmetic", model=Down(), limit=3, repeats=1)
    run = stopped.value.run
    assert isinstance(run, assay.Run)
    assert run.score is None and run.failures == 3
    assert [rollout.outcome for rollout in run.rollouts(failed=False)] == []
    made = await assay.rollouts("arithmetic", model=Down(), tasks=[run.tasks[0].id], repeats=2)
    assert all(isinstance(rollout.outcome, Failure) for rollout in made) and len(made) == 2


@on_a_loop
async def test_rollouts_of_some_tasks_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    ids = [task.id for task in assay.load("arithmetic").environment.tasks()]
    wanted = [ids[7], ids[3]]
    made = await assay.rollouts("arithmetic", model=Says("12"), tasks=wanted, repeats=2)
    assert [(one.task, one.repeat) for one in made] == [(task, repeat) for task in wanted for repeat in (0, 1)]
    assert all(isinstance(one.outcome, Score) for one in made)
    assert os.listdir(tmp_path) == []
    with pytest.raises(assay.UsageError, match="no task 'nonsense'"):
        await assay.rollouts("arithmetic", model=Says("12"), tasks=["nonsense"])


@on_a_loop
async def test_no_file_of_the_working_directory_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "assay.toml").write_text('[models.mine]\ndialect = "scripted"\nscript = ["12"]\n')
    with pytest.raises(assay.UsageError, match="no model 'mine'"):
        await assay.run("arithmetic", model="mine", limit=1)
    run = await assay.run("arithmetic", model="mine", limit=1, repeats=1, config=tmp_path / "assay.toml")
    assert run.summary.rollouts == 1


@on_a_loop
async def test_a_live_object_stays_in_this_process():
    with pytest.raises(assay.UsageError, match="processes=1"):
        await assay.run("arithmetic", model=Says("1"), limit=2, processes=2)


@on_a_loop
async def test_a_reached_budget_gives_what_there_is():
    with pytest.raises(StoppedEarly) as stopped:
        await assay.run("arithmetic", model="nano-instruct", limit=40, repeats=4, budget_tokens=2000)
    assert isinstance(stopped.value.run, assay.Run)
    assert 0 < stopped.value.run.summary.rollouts < 160


def test_sync_without_a_loop():
    run = sync.run("arithmetic", model=Says("12"), limit=2, repeats=1)
    assert run.summary.rollouts == 2


@on_a_loop
async def test_sync_within_a_running_loop():
    run = sync.run("arithmetic", model="nano-instruct", limit=2, repeats=1)
    assert run.summary.rollouts == 2


def test_sync_raises_what_the_function_raises():
    with pytest.raises(assay.UsageError, match="no benchmark 'arithmetik'"):
        sync.run("arithmetik", model="nano-instruct")


@on_a_loop
async def test_cancelling_ends_a_run_and_keeps_what_was_made(tmp_path: Path):
    class Slow(Says):
        async def respond(self, request: Request) -> Response:
            if len(self.requests) >= 3:
                await asyncio.Event().wait()
            return await super().respond(request)

    model = Slow("12")
    work = asyncio.create_task(
        assay.run("arithmetic", model=model, limit=10, repeats=1, concurrency=1, out=tmp_path / "runs" / "slow")
    )
    while len(model.requests) < 3 and not work.done():
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert assay.Run(tmp_path / "runs" / "slow").summary.rollouts == 3


@on_a_loop
async def test_a_benchmark_made_in_python_stays_in_this_process():
    made = assay.Benchmark(environment=assay.load("arithmetic").environment, repeats=1)
    with pytest.raises(assay.UsageError, match="processes=1"):
        await assay.run(made, model="nano-instruct", limit=2, processes=2)
    with pytest.raises(assay.UsageError, match="processes=1"):
        await assay.profile(made, models=["nano-instruct"], limit=2, processes=2)


@on_a_loop
async def test_answers_that_are_all_empty_are_warned_of():
    with pytest.warns(UserWarning, match="Says: 10 of 10 answers are empty"):
        await assay.run("arithmetic", model=Says(""), limit=5, repeats=2)
    with pytest.warns(UserWarning, match="Says: 3 of 3 answers are empty"):
        await assay.rollouts("arithmetic", model=Says(" "), tasks=["sums-easy-00", "sums-easy-01", "sums-easy-02"])
    with pytest.warns(UserWarning, match="Says: 5 of 5 answers hold marks of thinking, such as </scratchpad>"):
        await assay.run("arithmetic", model=Says("so</scratchpad>42"), limit=5, repeats=1)


@on_a_loop
async def test_a_profile_warns_of_empty_answers_by_model():
    with Endpoint(answering("")) as endpoint:
        member = Member(dialect="chat", id="m", base_url=endpoint.url, role="open", kind="instruct")
        suite = Suite(name="mine", models={"hollow": member}, tiers="all")
        with pytest.warns(UserWarning, match="hollow: 5 of 5 answers are empty"):
            await assay.profile("arithmetic", suite=suite, limit=5, repeats=1)


@on_a_loop
async def test_a_report_takes_the_results_that_the_profile_has_read(tmp_path: Path):
    made = await assay.profile("arithmetic", models=["gold"], limit=3, repeats=1, out=tmp_path / "p")
    page = made.report().read_bytes()
    (tmp_path / "p/runs/gold/rollouts.jsonl").unlink()
    assert made.report().read_bytes() == page


@pytest.mark.parametrize("limit", [None, 2])
def test_tasks_are_listed_once_for_a_run(limit: int | None, tmp_path: Path):
    """The benchmark that counts how often it is asked for its tasks."""
    listed: list[int] = []

    class Counting(assay.Environment):
        name, version = "counting", "1"

        def tasks(self) -> Iterator[assay.Task]:
            listed.append(1)
            yield from (assay.Task(id=str(n), input=[Message(role="user", content="?")], gold="1") for n in range(3))

        def verify(self, task: assay.Task, response: Response) -> Score:
            return Score(reward=1.0)

    counting = assay.Benchmark(environment=Counting(), repeats=1)
    sync.run(counting, model=Says("1"), limit=limit, out=tmp_path / "run")
    assert len(listed) == 1
    assert read_record(tmp_path / "run").all_tasks == (limit and 3)


ELSEWHERE = {
    **dict.fromkeys(("column", "gold_field", "network", "image"), "in the benchmark's name"),
    **dict.fromkeys(("sandbox", "unsafe"), "assay.load"),
    "assign": "sampling, limits, a ModelConfig and a Suite",
    "role": "roles",
    "ray_cpus": "[ray] of the file that `config` names",
    "sbatch": "a job of a shell",
    "strict": "the gates' verdicts",
    "announce": "a post before a command is given",
}
"""Options of commands, and what there is in their place: docs/python.md says so."""


@pytest.mark.parametrize(
    ("command", "own"),
    [
        (run_command, signature(assay.run).parameters.keys() | {"models"}),  # several models are a sweep
        (profile_command, signature(assay.profile).parameters.keys()),
    ],
)
def test_python_can_do_what_the_command_can(command: Callable[..., int], own: Collection[str]):
    options = signature(command, eval_str=True).parameters
    kinds = {name: getattr(one.default, "__dataclass_fields__", {name: one}) for name, one in options.items()}
    assert {name for fields in kinds.values() for name in fields} - set(own) == ELSEWHERE.keys() & {
        name for fields in kinds.values() for name in fields
    }


def test_a_run_is_made_in_parts(tmp_path: Path):
    for part in ("1/2", "2/2"):
        made = sync.run("arithmetic", model="gold", limit=5, repeats=1, shard=part, out=tmp_path / "run")
    assert (made.summary.rollouts, made.summary.owed, made.score) == (5, 0, 1.0)
    assert {path.name for path in (tmp_path / "run").glob("rollouts*")} == {
        "rollouts-1-of-2.jsonl",
        "rollouts-2-of-2.jsonl",
    }


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: sync.run("arithmetic", model="gold", limit="3"), r"limit: Expected `int \| null`, got `str`"),
        (lambda: sync.run("arithmetic", model="gold", seed="x"), "seed: Expected `int`, got `str`"),
        (lambda: sync.profile("arithmetic", models=["gold"], repeats=1.5), "repeats: Expected `int`, got `float`"),
        (lambda: sync.run("arithmetic", model=3), "model 3: expected a name, a ModelConfig, or an object"),
        (lambda: sync.run("arithmetic", model=Says), "Says'>: expected a name, a ModelConfig, or an object"),
        (lambda: sync.run("arithmetic", model="gold", agent=3), "agent 3: expected a name, or an object"),
        (lambda: sync.profile("arithmetic", models="gold"), r"models: expected a list of names, such as \['gold'\]"),
        (lambda: sync.sweep("arithmetic", models=["gold"]), "benchmarks: expected a list of names"),
        (lambda: sync.rollouts("arithmetic", model="gold", tasks="t"), "tasks: expected a list of names"),
        (lambda: assay.Run("nowhere"), "nowhere is not a run directory: it has no run.json"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_runs(call: Callable[[], object], words: str):
    with pytest.raises(assay.UsageError, match=words):
        call()
