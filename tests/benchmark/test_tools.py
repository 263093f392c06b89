"""Tools: what the signature says, what goes back to the model, and what is the environment's own failure."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import date
from typing import Any, Literal

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from assay.agent.loop import ToolLoop
from assay.benchmark import Benchmark
from assay.benchmark.tools import Rejected, ToolEnvironment, ToolSession, tool, tools_of
from assay.collect.plan import PlannedRollout
from assay.collect.roll import roll
from assay.config import ModelConfig
from assay.digest import task_digest
from assay.errors import ToolError, UsageError
from assay.model.builtin.scripted import Scripted
from assay.types import Failure, FunctionCall, FunctionCallOutput, Item, Message, Score, Task, Turn


class Line(Struct):
    item: str
    count: int = 1


class Shop(ToolSession):
    """A session with a tool of every kind."""

    def __init__(self, task: Task, seed: int) -> None:
        super().__init__(task, seed)
        self.ordered: list[Line] = []
        self.number = self.rng.randrange(10**6)
        self.events: list[str] = []

    async def start(self) -> None:
        self.events.append("start")

    async def stop(self) -> None:
        self.events.append("stop")

    @tool
    def order(self, lines: list[Line], speed: Literal["slow", "fast"] = "slow", by: date | None = None) -> str:
        """Order some things.

        They come in one parcel.

        Args:
            lines: What is wanted,
                and how many of each.
            by: The last day on which it is of use.
        """
        if any(line.item == "anvil" for line in lines):
            raise Rejected("anvils are sold out; hammers are not")
        self.ordered += lines
        return f"ordered {len(lines)}, {speed}, {by}"

    @tool
    async def basket(self) -> list[Line]:
        """What is ordered so far."""
        await asyncio.sleep(0)
        return self.ordered

    @tool(blocking=True)
    def weigh(self, item: str, *, scale: float = 1.0) -> str:
        """How heavy something is."""
        return f"{item}: {scale} on {threading.current_thread() is threading.main_thread()}"

    @tool(deadline_s=0.05)
    async def haggle(self) -> str:
        """Talk about the price, for ever."""
        return await asyncio.sleep(60, "never")

    @tool(blocking=True, deadline_s=0.05)
    def count(self) -> str:
        """Count all stock, slowly."""
        time.sleep(0.3)
        return "many"

    @tool
    def burn(self) -> str:
        """Set the shop on fire."""
        raise KeyError("extinguisher")

    @tool
    async def wait(self) -> str:
        """Wait in vain for somebody else."""
        raise TimeoutError("nobody came")

    def helper(self) -> str:
        return "not for the model"

    async def score(self, turns: Sequence[Turn]) -> Score:
        return Score(reward=float(len(self.ordered)))


class Market(ToolEnvironment):
    name, version = "market", "1"
    session = Shop

    def tasks(self) -> Iterable[Task]:
        return [Task(id="t", input=[Message(role="user", content="Buy.")], tools=self.tools)]


MARKET = Benchmark(environment=Market(), repeats=1)
[TASK] = Market().tasks()


def used(use: Callable[[Shop], Awaitable[Any]], seed: int = 7) -> Any:
    async def main() -> Any:
        async with Shop(TASK, seed) as shop:
            return await use(shop)

    return asyncio.run(main())


def called(name: str, **arguments: Any) -> str:
    return used(lambda shop: shop.call(name, arguments))


def rolled(*script: str | list[Item]):
    model = Scripted(ModelConfig(dialect="scripted", script=list(script)))
    return asyncio.run(roll(MARKET, ToolLoop(), model, PlannedRollout(TASK, task_digest(TASK), 0, 0, 7)))


def call(name: str, arguments: str = "{}") -> list[Item]:
    return [FunctionCall(call_id="c", name=name, arguments=arguments)]


def test_the_schema_says_what_the_signature_and_the_docstring_say():
    order = tools_of(Shop)[0]
    assert (order.name, order.description) == ("order", "Order some things. They come in one parcel.")
    assert order.parameters == {
        "type": "object",
        "properties": {
            "lines": {
                "type": "array",
                "items": {"$ref": "#/$defs/Line"},
                "description": "What is wanted, and how many of each.",
            },
            "speed": {"enum": ["fast", "slow"], "default": "slow"},
            "by": {
                "anyOf": [{"type": "string", "format": "date"}, {"type": "null"}],
                "default": None,
                "description": "The last day on which it is of use.",
            },
        },
        "required": ["lines"],
        "additionalProperties": False,
        "$defs": {
            "Line": {
                "title": "Line",
                "type": "object",
                "properties": {"item": {"type": "string"}, "count": {"type": "integer", "default": 1}},
                "required": ["item"],
            }
        },
    }


def test_only_marked_methods_are_tools_in_their_order():
    assert [found.name for found in tools_of(Shop)] == ["order", "basket", "weigh", "haggle", "count", "burn", "wait"]
    for found in tools_of(Shop):
        jsonschema.Draft202012Validator.check_schema(found.parameters)


def test_a_subclass_inherits_overrides_and_withdraws_tools():
    class Kiosk(Shop):
        burn = None  # type: ignore[assignment]

        @tool
        async def basket(self) -> list[Line]:
            """An empty basket."""
            return []

    offered = {found.name: found.description for found in tools_of(Kiosk)}
    assert list(offered) == ["order", "basket", "weigh", "haggle", "count", "wait"]
    assert offered["basket"] == "An empty basket."


ANSWERS = [
    ("order", {"lines": [{"item": "rope"}]}, "ordered 1, slow, None"),
    ("order", {"lines": [], "speed": "fast", "by": "2025-03-01"}, "ordered 0, fast, 2025-03-01"),
    ("basket", {}, "[]"),
    ("weigh", {"item": "rope", "scale": 2}, "rope: 2.0 on False"),
    ("order", {"lines": [{"item": "anvil"}]}, "error: anvils are sold out; hammers are not"),
    ("order", {}, "error: order: Object missing required field `lines`; it takes lines, speed (optional), by (optio"),
    ("order", {"lines": "rope"}, "error: order: lines: Expected `array`, got `str`; it takes lines"),
    ("order", {"lines": [{"item": 3}]}, "error: order: lines[0].item: Expected `str`, got `int`; it takes lines"),
    ("order", {"lines": [], "speed": "now"}, "error: order: speed: Invalid enum value 'now'; it takes"),
    ("order", {"lines": [], "by": "soon"}, "error: order: by: Invalid RFC3339 encoded date; it takes"),
    ("order", {"lines": [], "colour": "red"}, "error: order: Object contains unknown field `colour`; it takes"),
    ("weigh", {"item": "rope", "scale": "2"}, "error: weigh: scale: Expected `float`, got `str`; it takes item"),
    ("basket", {"x": 1}, "error: basket: Object contains unknown field `x`; it takes no arguments"),
    ("steal", {}, "error: there is no tool 'steal' here; the tools are order, basket, weigh, haggle"),
    ("helper", {}, "error: there is no tool 'helper' here; the tools are order"),
    ("__init__", {"task": 1}, "error: there is no tool '__init__' here"),
]


@pytest.mark.parametrize(("name", "arguments", "answer"), ANSWERS)
def test_what_the_model_is_told(name: str, arguments: dict[str, Any], answer: str):
    said = called(name, **arguments)
    assert said.startswith(answer)
    assert said == answer or answer.startswith("error: ")


def test_a_rejected_call_leaves_the_rollout_to_go_on():
    rollout = rolled(call("order", '{"lines": [{"item": "anvil"}]}'), call("order", '{"lines": [{"item": "x"}]}'), "ok")
    assert (rollout.stop, rollout.outcome) == ("completed", Score(reward=1.0))
    told = rollout.turns[1].input[0]
    assert isinstance(told, FunctionCallOutput) and told.text == "error: anvils are sold out; hammers are not"


FAILURES = [
    ("burn", "tool", "the tool burn raised KeyError: 'extinguisher'"),
    ("wait", "tool", "the tool wait raised TimeoutError: nobody came"),
    ("haggle", "tool", "the tool haggle gave no answer within 0.05 s, its deadline"),
    ("count", "tool", "the tool count gave no answer within 0.05 s, its deadline"),
]


@pytest.mark.parametrize(("name", "kind", "message"), FAILURES)
def test_a_tool_that_breaks_or_hangs_is_a_failure_and_never_a_score(name: str, kind: str, message: str):
    outcome = rolled(call(name), "done").outcome
    assert isinstance(outcome, Failure)
    assert (outcome.where, outcome.kind) == ("environment", kind)
    assert outcome.message.startswith(message)


def test_a_session_is_single_use_and_takes_no_calls_outside_of_it():
    async def main() -> None:
        shop = Shop(TASK, 7)
        with pytest.raises(RuntimeError, match="outside of the session"):
            await shop.call("basket", {})
        async with shop:
            pass
        with pytest.raises(RuntimeError, match="outside of the session"):
            await shop.call("basket", {})
        with pytest.raises(RuntimeError, match="single-use"):
            await shop.__aenter__()
        assert shop.events == ["start", "stop"]

    asyncio.run(main())


def test_a_session_that_fails_to_start_is_stopped():
    class Broken(Shop):
        async def start(self) -> None:
            raise OSError("no disk")

    async def main() -> None:
        shop = Broken(TASK, 7)
        with pytest.raises(OSError, match="no disk"):
            await shop.__aenter__()
        assert shop.events == ["stop"]

    asyncio.run(main())


def test_all_randomness_comes_from_the_seed():
    async def number(shop: Shop) -> int:
        return shop.number

    assert used(number, 1) == used(number, 1) != used(number, 2)


def _untyped(self: Any, item) -> str:  # type: ignore[no-untyped-def]
    """Says something."""
    return str(item)


def _undescribed(self: Any, item: str) -> str:
    return item


def _many(self: Any, *items: str) -> str:
    """Says something."""
    return str(items)


def _stranger(self: Any, item: str) -> str:
    """Says something.

    Args:
        thing: What to say.
    """
    return item


def _unknown_type(self: Any, item: threading.Thread) -> str:
    """Says something."""
    return str(item)


REFUSED = [
    (_untyped, "the tool Bad.say: item has no type"),
    (_undescribed, "the tool Bad.say has no docstring"),
    (_many, "can't be given by name"),
    (_stranger, "its docstring describes thing, which is no parameter"),
    (_unknown_type, "the tool Bad.say: "),
]


@pytest.mark.parametrize(("function", "message"), REFUSED)
def test_a_method_that_can_be_no_tool_is_refused_with_its_place(function: Any, message: str):
    bad = type("Bad", (Shop,), {"say": tool(function)})
    with pytest.raises(UsageError, match=message):
        tools_of(bad)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["lines", "speed", "by", "item", "count", "scale"]) | st.text(max_size=5)


@given(st.sampled_from(["order", "basket", "weigh", "none"]), st.dictionaries(NAMES, JSON, max_size=4))
def test_no_arguments_crash_a_tool(name: str, arguments: dict[str, Any]):
    assert isinstance(called(name, **{"name_": 0} if "name" in arguments else arguments), str)


def test_a_tool_error_is_told_once():
    async def main() -> None:
        async with Shop(TASK, 7) as shop:
            with pytest.raises(ToolError, match="no answer within"):
                await shop.call("haggle", {})

    asyncio.run(main())
