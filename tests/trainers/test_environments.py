import asyncio
import gc
import inspect
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from assay.benchmark import Benchmark
from assay.benchmark.catalog import load
from assay.benchmark.tools import ToolEnvironment, ToolSession, tool
from assay.errors import UsageError
from assay.trainers.environments import environment, rewards
from assay.types import Message, Score, Task
from tests.commands import until


class Till(ToolSession):
    """A till that has to hold what the task says."""

    def __init__(self, task: Task, seed: int) -> None:
        super().__init__(task, seed)
        self.coins = 0

    @tool
    def put(self, coins: int, currency: str = "euro") -> str:
        """Puts coins into the till.

        Args:
            coins: How many.
            currency: Which.
        """
        if coins < 0:
            raise RuntimeError("the till is stuck")
        self.coins += coins
        return f"{self.coins} {currency}"

    async def score(self, turns: Any) -> Score:
        said = turns[-1].response.text
        return Score(reward=float(self.coins == int(self.task.gold or 0) and said == "done"))


class Tills(ToolEnvironment):
    name, version, session = "till", "1", Till

    def tasks(self):
        return [Task(id=f"t{n}", input=[Message("user", f"Put {n}.")], gold=str(n), tools=self.tools) for n in (3, 5)]


open_tills: list[str] = []


class Watched(Tills):
    @asynccontextmanager
    async def open(self, task: Task, seed: int) -> AsyncGenerator[Any]:  # pyright: ignore
        async with super().open(task, seed) as session:
            open_tills.append(task.id)
            yield session
        open_tills.remove(task.id)


TASKS = [msgspec.json.encode(task).decode() for task in Tills().tasks()]
SAID = [{"role": "assistant", "content": "done"}]


def scored(environments: list[Any], completions: list[Any]) -> list[float | None]:
    return asyncio.run(rewards(environments, completions))


def test_tools_are_methods_with_the_schema_that_the_task_offers():
    factory = environment(Benchmark(environment=Tills(), repeats=1))
    one = factory()
    signature = inspect.signature(one.put)
    assert [(p.name, p.annotation, p.default) for p in signature.parameters.values()] == [
        ("coins", int, inspect.Parameter.empty),
        ("currency", str, "euro"),
    ]
    assert "Args:\n    coins: How many.\n    currency: Which." in (inspect.getdoc(one.put) or "")
    public = [name for name, _ in inspect.getmembers(type(one), inspect.isfunction) if not name.startswith("_")]
    assert public == ["put", "reset"]


def test_rollouts_have_sessions_of_their_own_and_are_scored_at_their_end():
    factory = environment(Benchmark(environment=Tills(), repeats=1))
    first, second = factory(), factory()
    first.reset(task=TASKS[0], prompt="…")
    second.reset(task=TASKS[1])
    assert first.put(coins=1) == "1 euro"
    assert second.put(coins=5, currency="pounds") == "5 pounds"
    assert first.put(coins=2) == "3 euro"
    assert scored([first, second], [SAID, SAID]) == [1.0, 1.0]
    assert scored([first], [[{"role": "assistant", "content": "<think>done</think>no"}]]) == [0.0]
    first.reset(task=TASKS[0])
    assert scored([first], [SAID]) == [0.0]


def test_a_tool_that_breaks_is_no_zero():
    one = environment(Benchmark(environment=Tills(), repeats=1))()
    one.reset(task=TASKS[0])
    with pytest.raises(RuntimeError, match="the till is stuck"):
        one.put(coins=-1)
    assert scored([one], [SAID]) == [None]


def test_a_session_whose_environment_is_dropped_is_closed():
    one = environment(Benchmark(environment=Watched(), repeats=1))()
    one.reset(task=TASKS[0])
    gc.collect()
    assert open_tills == ["t3"]
    assert one.put(coins=3) == "3 euro"
    del one
    gc.collect()
    until(lambda: not open_tills)


LEFT_OPEN = """
import warnings, msgspec
from assay.benchmark.catalog import load
from assay.trainers.environments import environment
warnings.simplefilter("error")
office = load("office")
one = environment("office")()
one.reset(task=msgspec.json.encode(next(iter(office.environment.tasks()))).decode())
"""


def test_a_session_that_is_open_when_python_ends_is_closed():
    command = [sys.executable, "-X", "dev", "-c", LEFT_OPEN]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_benchmark_without_tools_is_refused():
    with pytest.raises(UsageError, match="arithmetic has no tools"):
        environment("arithmetic")


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
def test_transformers_makes_the_same_schema_of_every_tool_of_office():
    from transformers.utils import get_json_schema  # noqa: PLC0415

    office = load("office")
    one = environment("office")()
    for offered in next(iter(office.environment.tasks())).tools:
        made = get_json_schema(getattr(one, offered.name))["function"]
        assert made["name"] == offered.name
        assert set(made["parameters"].get("properties", {})) == set(offered.parameters.get("properties", {}))
        assert made["parameters"].get("required", []) == offered.parameters.get("required", [])
