"""Environments of `verifiers` up to 0.3: their rows, tools, dialogues and rubrics.

It converts SingleTurnEnv, ToolEnv with its own loop, and every MultiTurnEnv without tools, whose own methods decide
what follows an answer. The library itself makes the rubric's state from our turns. An environment that would score in
another way is refused by name. There is one difference: an answer that its token limit cuts is the last one here.
"""

import functools
import json
import signal
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from copy import deepcopy
from importlib.metadata import packages_distributions, version
from inspect import isawaitable
from typing import Any, Self

from assay.benchmark import Benchmark, Environment
from assay.errors import UsageError
from assay.gyms import UNLIMITED, content_of, gold_in, plain, refuse, require, sampling_of
from assay.types import (
    FunctionCall,
    FunctionCallOutput,
    Item,
    Message,
    Response,
    RolloutLimits,
    Score,
    Task,
    Tool,
    Turn,
)

ROLLOUT = frozenset(("rollout", "run_rollout", "run_group", "get_model_response"))
"""Methods with which an environment calls the model in its own way."""

TOOL_LOOP = ROLLOUT | {"env_response", "get_prompt_messages", "is_completed"}
"""Methods with which it runs tools or ends in its own way. With tools, the loop is ours."""

_raised: ContextVar[list[tuple[str, float, Exception]]] = ContextVar("raised")
"""Name, weight and error of the reward functions that raised. The library makes each of these a zero."""


def load(name: str, gold: str | None) -> Benchmark:
    """The environment that the installed module NAME loads, by its defaults. Raises UsageError for what can't be had.

    One repeat, all rows of its evaluation set (of its training set where there is none), its sampling arguments.
    """
    with _keep_signals():
        try:
            environment = require("verifiers", "verifiers").load_environment(name)
        except Exception as error:
            raise UsageError(f"verifiers can't load '{name}': {error}") from error
    _check(f"verifiers:{name}", environment)
    without_effect: dict[str, Any] = {"n": 1, "extra_body": {}}
    arguments: dict[str, Any] = environment.sampling_args
    settings = {key: value for key, value in arguments.items() if value != without_effect.get(key)}
    return Benchmark(
        environment=Verifiers(name, environment, gold),
        repeats=1,
        sampling=sampling_of(f"verifiers:{name}", settings, stop="stop"),
        limits=RolloutLimits(steps=environment.max_turns) if environment.max_turns > 0 else UNLIMITED,
    )


class Verifiers(Environment):
    """One environment of the library's, asked and scored through it."""

    def __init__(self, name: str, environment: Any, gold: str | None) -> None:
        self._gold_field = gold
        self.name = f"verifiers:{name}"
        self.version = version_of(str(environment.env_id))
        self._environment = environment
        self._types = require("verifiers.types", "verifiers")
        messages = require("verifiers.utils.message_utils", "verifiers")
        self._normalize: Callable[..., Any] = messages.normalize_messages
        # The library makes no state without a client. Nothing listens there: what a rubric asks of it raises.
        clients = require("verifiers.clients", "verifiers")
        nowhere = self._types.ClientConfig(api_base_url="http://127.0.0.1:1/v1", max_retries=0)
        self._client = clients.resolve_client(nowhere)
        for rubric in _rubrics(environment.rubric):
            rubric.funcs[:] = [
                _keep_errors(func, weight) for func, weight in zip(rubric.funcs, rubric.weights, strict=True)
            ]

    @functools.cached_property
    def _rows(self) -> dict[str, dict[str, Any]]:
        return {str(row["example_id"]): row for row in self._environment.get_eval_dataset().to_list()}

    def tasks(self) -> Iterable[Task]:
        return [self._task(id, row) for id, row in self._rows.items()]

    def _task(self, id: str, row: dict[str, Any]) -> Task:
        info: Any = row.get("info")
        info = (json.loads(info) if isinstance(info, str) else info) or {}
        tools = info.get("tool_defs", self._environment.tool_defs)
        if tools and not _has_tools(self._environment):
            refuse(self.name, f"row {id} brings tools of its own (tool_defs)")
        prompt = self._normalize(row["prompt"], field_name="input.prompt")
        data = {key: plain(value) for key, value in row.items() if key not in ("prompt", "example_id")}
        return Task(
            id=id,
            input=[item for message in prompt for item in items_of(self.name, message)],
            gold=gold_in(self.name, id, data | {"info": info}, self._gold_field) if self._gold_field else None,
            data=data,
            tools=[_tool(self._types.Tool.model_validate(tool)) for tool in tools or ()],
        )

    @asynccontextmanager
    async def open(self, task: Task, seed: int) -> AsyncGenerator["_Session"]:
        environment = self._environment
        state = await environment.init_state(deepcopy(self._rows[task.id]), self._client, "assay", None)
        state["timing"].generation.start = time.time()
        asked = deepcopy(state["prompt"])
        state = await environment.setup_state(state) or state
        if state["prompt"] != asked:
            raise ValueError(f"{self.name}: setup_state changes the prompt of task {task.id}, which was asked already")
        if _has_tools(environment):
            yield _Session(self.name, environment, self._types, state)
        else:
            yield await _Dialogue(self.name, environment, self._types, state).begun()


class _Session:
    """One rollout: tools carried out by the environment, then its state filled with our turns, and its rubric."""

    def __init__(self, name: str, environment: Any, types: Any, state: Any) -> None:
        self._name = name
        self._environment = environment
        self._types = types
        self._state = state
        self._prompt = list(state["prompt"])
        """The conversation so far, in the library's messages."""
        self._heard = 0
        """How many of the model's answers are in the state."""

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        if not hasattr(self._environment, "tool_map"):
            return f"there is no tool '{name}' here"
        call = self._types.ToolCall(id="call", name=name, arguments=json.dumps(arguments))
        message = self._types.AssistantMessage(content=None, tool_calls=[call])
        [answer] = await self._environment.env_response([*self._state["prompt"], message], self._state)
        if not isinstance(answer.content, str):
            raise TypeError(f"{name} answered with parts; expected text")
        return answer.content

    async def score(self, turns: Sequence[Turn]) -> Score:
        """The rubric's reward, and each of its functions as a metric.

        A reward function that raises is an error, where the library counts a zero; a metric that raises is left out.
        """
        environment, state = self._environment, self._state
        await self._hear_rest(turns)
        if not state["is_completed"]:
            await environment.is_completed(state)
        await environment.cleanup(state)
        raised: list[tuple[str, float, Exception]] = []
        token = _raised.set(raised)
        try:
            await environment.rubric.score_rollout(state)
        finally:
            _raised.reset(token)
        await environment.rubric.cleanup(state)
        for name, weight, error in raised:
            # A reward function can't read what was never said: there the library's zero is the score.
            if weight and state["error"] is None:
                raise RuntimeError(f"reward function {name} raised {type(error).__name__}: {error}") from error
        lost = {name for name, _, _ in raised}
        return Score(
            reward=state["reward"],
            metrics={name: value for name, value in state["metrics"].items() if name not in lost},
        )

    async def _hear_rest(self, turns: Sequence[Turn]) -> None:
        """Add the remaining turns to the state, with the tools' outputs between them."""
        for index, turn in enumerate(turns[self._heard :], self._heard):
            if turn.follows is not None and index:
                raise ValueError(f"turn {index} goes on from turn {turn.follows}; expected one conversation")
            if index:
                answers = (item for item in turn.input if isinstance(item, FunctionCallOutput))
                self._prompt += [
                    self._types.ToolMessage(tool_call_id=answer.call_id, content=answer.text) for answer in answers
                ]
            await self._hear(turn.response)

    async def _hear(self, response: Response) -> None:
        """Add one answer to the state as the library's own loop does. An empty answer is an error there."""
        environment, state = self._environment, self._state
        self._heard += 1
        said = self._response(response)
        if said is None:
            errors = require("verifiers.errors", "verifiers")
            state["error"] = errors.EmptyModelResponseError("the model said nothing")
            return
        environment.increment_state_usage_from_response(state, said)
        await environment.add_model_response(state, list(self._prompt), said)
        self._prompt += state["trajectory"][-1]["completion"]

    def _response(self, response: Response) -> Any:
        """Our response as the library's; `None` where nothing was said and nothing called."""
        types, usage = self._types, response.usage
        messages = (item for item in response.output if isinstance(item, Message))
        text = response.text or "".join(refusal for message in messages for refusal in message.refusals)
        calls = [
            types.ToolCall(id=item.call_id, name=item.name, arguments=item.arguments)
            for item in response.output
            if isinstance(item, FunctionCall)
        ]
        if not (text or calls or response.reasoning):
            return None
        cut = response.incomplete_reason == "max_output_tokens"
        message = types.ResponseMessage(
            content=text or None,
            reasoning_content=response.reasoning or None,
            tool_calls=calls or None,
            finish_reason="length" if cut else "tool_calls" if calls else "stop",
            is_truncated=cut,
        )
        counted = types.Usage(
            prompt_tokens=usage.input_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            completion_tokens=usage.output_tokens,
            total_tokens=usage.input_tokens + usage.output_tokens,
        )
        model = response.model or "assay"
        return types.Response(
            id=response.id or "", created=int(time.time()), model=model, usage=counted, message=message
        )


class _Dialogue(_Session):
    """One rollout of an environment without tools: its own methods say what comes next, and when it ends."""

    async def begun(self) -> Self:
        """Returns the session after the environment's steps before the first turn."""
        if await self._environment.is_completed(self._state):
            raise ValueError(f"{self._name} ends before the first turn ({self._state['stop_condition']})")
        if await self._next():
            raise ValueError(f"{self._name} asks more than the row's prompt in the first turn")
        return self

    async def reply(self, response: Response) -> list[Item] | None:
        await self._hear(response)
        if await self._environment.is_completed(self._state):
            return None
        said = await self._next()
        return None if self._state["final_env_response"] is not None else said

    async def _next(self) -> list[Item]:
        """Returns the environment's new messages. Raises ValueError if it changes earlier ones."""
        normalize = require("verifiers.utils.message_utils", "verifiers").maybe_normalize_messages
        messages = normalize(await self._environment.get_prompt_messages(self._state), field_name="prompt_messages")
        before = len(self._prompt)
        if self._state["final_env_response"] is None and messages[:before] != self._prompt:
            raise ValueError(f"{self._name} changes what was said before")
        self._prompt = list(messages)
        return [item for message in messages[before:] for item in items_of(self._name, message)]

    async def _hear_rest(self, turns: Sequence[Turn]) -> None:
        # The last answer gets no reply where it was cut or refused.
        if len(turns) > self._heard + 1:
            raise ValueError(f"{self._name}: the model called a tool, and there is none")
        if len(turns) > self._heard:
            await self._hear(turns[-1].response)


def _check(name: str, environment: Any) -> None:
    """Raise UsageError for an environment whose rollouts would go or score otherwise here."""
    if not hasattr(environment, "max_turns"):
        refuse(name, f"it is a {type(environment).__name__}; expected a MultiTurnEnv, such as SingleTurnEnv or ToolEnv")
    kept = TOOL_LOOP | {stop.__name__ for stop in environment._stop_conditions} if _has_tools(environment) else ROLLOUT
    for cls in type(environment).__mro__:
        if cls.__name__ in ("ToolEnv", "SingleTurnEnv", "MultiTurnEnv") and cls.__module__.startswith("verifiers."):
            break
        if own := kept & vars(cls).keys():
            refuse(name, f"{cls.__name__} has its own {', '.join(sorted(own))}")
    if environment.message_type != "chat":
        refuse(name, f"its messages are of the type '{environment.message_type}'; expected chat")
    if getattr(environment, "timeout_seconds", None) or getattr(environment, "max_total_completion_tokens", -1) > 0:
        refuse(name, "it ends rollouts by their time or their tokens (timeout_seconds, max_total_completion_tokens)")
    if not environment.score_rollouts:
        refuse(name, "it doesn't score its rollouts (score_rollouts)")
    if environment.rubric.has_group_rewards or environment.rubric.has_advantages:
        refuse(name, "its rubric scores rollouts in groups")


def _has_tools(environment: Any) -> bool:
    return bool(environment.tool_defs) or hasattr(environment, "tool_map")


def _rubrics(rubric: Any) -> Iterator[Any]:
    """The rubric and all that it groups."""
    yield rubric
    for part in getattr(rubric, "rubrics", ()):
        yield from _rubrics(part)


def _keep_errors(func: Callable[..., Any], weight: float) -> Callable[..., Awaitable[float]]:
    """Returns the reward function with its errors recorded. The library only logs them."""

    @functools.wraps(func)
    async def call(*args: Any, **kwargs: Any) -> float:
        try:
            value = func(*args, **kwargs)
            return float(await value if isawaitable(value) else value)
        except Exception as error:
            if (raised := _raised.get(None)) is not None:
                raised.append((getattr(func, "__name__", repr(func)), weight, error))
            raise

    return call


def items_of(name: str, message: Any) -> Iterator[Item]:
    """A prompt's message as items. Content parts are read in their wire form."""
    raw = message.model_dump(exclude_none=True)
    content = content_of(name, raw.get("content"))
    if raw["role"] == "tool":
        yield FunctionCallOutput(call_id=raw["tool_call_id"], output=content)
        return
    if content or raw["role"] != "assistant":
        yield Message(role="user" if raw["role"] == "text" else raw["role"], content=content)
    for call in raw.get("tool_calls", ()):
        yield FunctionCall(call_id=call["id"], name=call["name"], arguments=call["arguments"])


def _tool(tool: Any) -> Tool:
    return Tool(name=tool.name, description=tool.description, parameters=dict(tool.parameters), strict=tool.strict)


def version_of(name: str) -> str:
    """Returns the version of the package that a name of an environment leads to, and of the library."""
    root = name.replace("-", "_").rpartition("/")[2].partition(".")[0].partition("@")[0]
    package = next(iter(packages_distributions().get(root, ())), None)
    return f"{version(package) if package else 'local'} on verifiers {version('verifiers')}"


@contextmanager
def _keep_signals() -> Generator[None]:
    """Restore the signal handlers, which every environment of the library replaces when it is made."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
