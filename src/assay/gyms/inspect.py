"""Tasks of UK AISI's `inspect_ai` as benchmarks: its samples, solvers, tools and scorers.

A session runs the task's own solvers. The state before their generation is the prompt. At the generation the session
inserts the model's turns, so the scorers see the same state as in the library. A task that would have other prompts or
scores here is refused by name.
"""

import asyncio
import functools
import json
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import copy_context
from copy import deepcopy
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

from assay.benchmark import Benchmark, Environment
from assay.errors import UsageError
from assay.gyms import UNLIMITED, content_of, divided, gold_in, plain, refuse, require, sampling_of
from assay.types import (
    FunctionCall,
    FunctionCallOutput,
    Item,
    Message,
    Reasoning,
    Refusal,
    Response,
    Score,
    Task,
    Tool,
    Turn,
)

GENERATING = frozenset(("inspect_ai/generate", "inspect_ai/multiple_choice"))
PREPARING = frozenset(
    (
        "inspect_ai/system_message",
        "inspect_ai/user_message",
        "inspect_ai/assistant_message",
        "inspect_ai/prompt_template",
        "inspect_ai/chain_of_thought",
        "inspect_ai/use_tools",
    )
)
"""The known solvers. Exactly one solver of a task generates."""

JUDGES = frozenset(("inspect_ai/model_graded_qa", "inspect_ai/model_graded_fact"))
"""Scorers that ask a model which the task doesn't bring."""

FIELDS = (
    "sample_source",
    "cleanup",
    "sandbox",
    "model",
    "model_roles",
    "approval",
    "review",
    "sentinel",
    "early_stopping",
    "on_checkpoint",
    "on_resume",
    "message_limit",
    "token_limit",
    "turn_limit",
    "time_limit",
    "working_limit",
    "cost_limit",
)
"""Settings of a task that change its rollouts and have no equal here."""

TRANSPORT = (
    "max_retries",
    "timeout",
    "attempt_timeout",
    "stream_idle_timeout",
    "max_connections",
    "adaptive_connections",
    "cache",
    "cache_prompt",
    "batch",
    "max_tool_output",
)
"""Settings of a generation that don't change the prompt. `max_tool_output` is used when tools run."""

VALUES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
"""The library's values for words: correct, partial, incorrect, no answer."""

T = TypeVar("T")
Solve = Callable[..., Awaitable[Any]]


def load(name: str) -> Benchmark:
    """The task NAME: PACKAGE/TASK of an installed package, or FILE.py@TASK. Raises UsageError for what can't be had.

    `,gold=FIELD` after it names the field of a sample's metadata with a right answer. Its epochs are the
    repeats, its generation settings the sampling. The reward is its first scorer's value.
    """
    require("inspect_ai", "inspect")
    name, gold = divided(name)
    loader = require("inspect_ai._eval.loader", "inspect")
    try:
        found = loader.load_tasks([name])
    except Exception as error:
        raise UsageError(f"inspect can't load '{name}': {type(error).__name__}: {error}") from error
    if len(found) != 1:
        known = ", ".join(task.name for task in found) or "none"
        raise UsageError(f"'{name}' names {len(found)} Inspect tasks ({known}); expected PACKAGE/TASK or FILE.py@TASK")
    return benchmark_of(f"inspect:{name}", found[0], _version(name, found[0]), gold)


def benchmark_of(title: str, task: Any, of: str, gold: str | None) -> Benchmark:
    """Returns a task of the library's, in the version `of`, as a benchmark. Raises UsageError for what is refused.

    `gold` is the field of a sample's metadata that holds a right answer.
    """
    solvers = _solvers(title, task)
    _check(title, task)
    settings = task.config.model_dump(exclude_none=True) | _settings(title, solvers)
    sampling = sampling_of(title, settings, stop="stop_seqs", ignored=TRANSPORT)
    environment = Inspect(title, task, solvers, of, gold)
    return Benchmark(environment=environment, repeats=task.epochs or 1, sampling=sampling, limits=UNLIMITED)


class Inspect(Environment):
    """One task of the library's, asked and scored by its own solvers and scorers."""

    def __init__(self, title: str, task: Any, solvers: list[Solve], of: str, gold: str | None) -> None:
        self.name = title
        self.version = f"{of} on inspect_ai {version('inspect_ai')}"
        self._gold_field = gold
        self._task = task
        self._solvers = solvers

    @functools.cached_property
    def _samples(self) -> dict[str, Any]:
        samples = [deepcopy(sample) for sample in self._task.dataset]
        for number, sample in enumerate(samples, 1):
            sample.id = number if sample.id is None else sample.id
            if sample.sandbox or sample.files or sample.setup:
                refuse(self.name, f"sample {sample.id} wants a sandbox")
        found = {str(sample.id): sample for sample in samples}
        if len(found) < len(samples):
            raise UsageError(f"{self.name}: two samples have one id; ids have to be unique")
        return found

    def tasks(self) -> Iterable[Task]:
        return [self._task_of(id, sample) for id, sample in self._samples.items()]

    def _task_of(self, id: str, sample: Any) -> Task:
        """Returns the sample as a task: its solvers run up to the generation."""
        chain = self.solve(sample, _reach)
        try:
            copy_context().run(chain.send, None)
        except _Reached as reached:
            state = reached.args[0]
        else:
            chain.close()
            refuse(self.name, f"the solvers wait for something before they generate (sample {id})")
        if state.tool_choice not in (None, "auto"):
            refuse(self.name, f"it sets the tool choice {state.tool_choice!r}")
        targets = [sample.target] if isinstance(sample.target, str) else list(sample.target)
        return Task(
            id=id,
            input=[item for message in state.messages for item in _items(self.name, message)],
            gold=self._gold(id, targets, sample.metadata or {}),
            data={"target": targets, "choices": sample.choices, "metadata": plain(sample.metadata)},
            tools=[_tool(tool) for tool in state.tools],
        )

    def _gold(self, id: str, targets: list[str], metadata: dict[str, Any]) -> str | None:
        """Returns a right answer: of the named field, or where the form that the first scorer expects is known."""
        if self._gold_field:
            return gold_in(self.name, id, {"target": targets[0], **metadata}, self._gold_field)
        registry = require("inspect_ai._util.registry", "inspect")
        match registry.registry_info(self._task.scorer[0]).name:
            case "inspect_ai/choice":
                return f"ANSWER: {','.join(targets)}"
            case "inspect_ai/answer":
                return f"ANSWER: {targets[0]}"
            case "inspect_ai/match" | "inspect_ai/includes" | "inspect_ai/exact" | "inspect_ai/f1":
                return targets[0]
            case _:
                return None

    async def solve(self, sample: Any, generate: Solve) -> Any:
        """The state after the solvers, in the library's form."""
        states = require("inspect_ai.solver._task_state", "inspect")
        seeded = require("inspect_ai._eval.task.util", "inspect").sample_messages
        state = states.TaskState(
            model=require("inspect_ai.model", "inspect").ModelName("assay/model"),
            sample_id=sample.id,
            epoch=1,
            input=sample.input,
            messages=seeded(sample),
            target=require("inspect_ai.scorer", "inspect").Target(sample.target),
            choices=sample.choices,
            metadata=deepcopy(sample.metadata) or {},
        )
        states.set_sample_state(state)
        require("inspect_ai.util._store", "inspect").init_subtask_store(state.store)
        for solver in self._solvers:
            state = await solver(state, generate)
            if state.completed:
                break
        return state

    @asynccontextmanager
    async def open(self, task: Task, seed: int) -> AsyncGenerator["_Session"]:
        session = _Session(self, self._samples[task.id], self._task)
        try:
            await session.start()
            yield session
        finally:
            await session.stop()


class _Session:
    """One rollout: the solvers wait at their generation until the turns are there."""

    def __init__(self, environment: Inspect, sample: Any, task: Any) -> None:
        self._sample = sample
        self._task = task
        # The library keeps a rollout's store and transcript in context variables. Each rollout has its own.
        self._context = copy_context()
        self._context.run(_new_transcript)
        loop = asyncio.get_running_loop()
        self._reached: asyncio.Future[Any] = loop.create_future()
        self._turns: asyncio.Future[Sequence[Turn]] = loop.create_future()
        self._answers: deque[tuple[str, Any]] = deque()
        self._solving = self._spawn(environment.solve(deepcopy(sample), self._generate))

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        return asyncio.get_running_loop().create_task(work, context=self._context)

    async def start(self) -> None:
        """Return where the solvers ask for a generation. Raises what they raise before."""
        await asyncio.wait((self._solving, self._reached), return_when=asyncio.FIRST_COMPLETED)
        if not self._reached.done():
            await self._solving

    async def stop(self) -> None:
        self._solving.cancel()
        await asyncio.gather(self._solving, return_exceptions=True)

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        """Returns the library's output of a call, or its error message."""
        model, tools = require("inspect_ai.model", "inspect"), require("inspect_ai.tool", "inspect")
        call = tools.ToolCall(id="call", function=name, arguments=arguments)
        message = model.ChatMessageAssistant(content="", tool_calls=[call])
        state = self._reached.result()
        limit = self._task.config.max_tool_output
        result = await self._spawn(model.execute_tools([*state.messages, message], state.tools, limit))
        if result.output is not None or len(result.messages) != 1:
            raise TypeError(f"{name} goes on with the conversation by itself; expected one answer")
        [answer] = result.messages
        if not isinstance(answer.content, str) and any(part.type != "text" for part in answer.content):
            raise TypeError(f"{name} answered with more than text; expected text")
        text = f"Error: {answer.error.message}" if answer.error else answer.text
        self._answers.append((text, answer))
        return text

    async def score(self, turns: Sequence[Turn]) -> Score:
        """The first scorer's value; each scorer's is a metric by its name. Raises ValueError for what is no value."""
        self._turns.set_result(turns)
        state = await self._solving
        return await self._spawn(self._judge(state))

    async def _judge(self, state: Any) -> Score:
        names = require("inspect_ai._util.registry", "inspect").registry_unqualified_name
        metrics: dict[str, float] = {}
        answer = None
        for number, scorer in enumerate(self._task.scorer):
            score = await scorer(state, state.target)
            name = names(scorer)
            if score is None:
                raise ValueError(f"the scorer {name} gave no score")
            if number == 0:
                answer = score.answer
            value: Any = score.value
            values: dict[str, Any] = {"": value} if not hasattr(value, "items") else dict(value)
            if number == 0 and len(values) != 1:
                raise ValueError(f"the scorer {name} gave the values {', '.join(values)}; expected one, the reward")
            for key, value in values.items():
                metrics[_unused(f"{name}.{key}" if key else name, metrics)] = number_of(name, value)
        return Score(reward=next(iter(metrics.values())), metrics=metrics, answer=answer)

    async def _generate(self, state: Any, *_: Any, **__: Any) -> Any:
        """Returns the state after the turns, as the library's tool loop would have left it."""
        self._reached.set_result(state)
        turns = await self._turns
        names: dict[str, str] = {}
        for index, turn in enumerate(turns):
            if index:
                if turn.follows is not None:
                    raise ValueError(f"turn {index} goes on from turn {turn.follows}; expected one conversation")
                outputs = (item for item in turn.input if isinstance(item, FunctionCallOutput))
                state.messages.extend(self._message(item, names) for item in outputs)
            state.output = _output(turn.response)
            state.messages.append(state.output.message)
            names |= {item.call_id: item.name for item in turn.response.output if isinstance(item, FunctionCall)}
        return state

    def _message(self, item: FunctionCallOutput, names: dict[str, str]) -> Any:
        """Returns a tool's output as the library made it. A text of the agent's own takes the library's form."""
        if self._answers and self._answers[0][0] == item.text:
            return self._answers.popleft()[1].model_copy(update={"tool_call_id": item.call_id})
        model = require("inspect_ai.model", "inspect")
        return model.ChatMessageTool(content=item.text, tool_call_id=item.call_id, function=names.get(item.call_id))


class _Reached(Exception):
    """The solvers ask for a generation of this state."""


async def _reach(state: Any, *_: Any, **__: Any) -> Any:
    raise _Reached(state)


def _new_transcript() -> None:
    transcript = require("inspect_ai.log._transcript", "inspect")
    transcript.init_transcript(transcript.Transcript())


def _check(title: str, task: Any) -> None:
    """Raise UsageError for a task whose rollouts would go or score otherwise here."""
    registry = require("inspect_ai._util.registry", "inspect")
    for field in FIELDS:
        if getattr(task, field, None):
            refuse(title, f"it sets {field}={getattr(task, field)!r}")
    if not task.scorer:
        refuse(title, "it has no scorer")
    for scorer in task.scorer:
        if registry.registry_info(scorer).name in JUDGES:
            refuse(title, f"its scorer {registry.registry_unqualified_name(scorer)} asks a judge")
    reducers = [registry.registry_unqualified_name(reducer) for reducer in task.epochs_reducer or ()]
    if (task.epochs or 1) > 1 and reducers not in ([], ["mean"]):
        refuse(title, f"it reduces epochs by {', '.join(reducers)}; expected mean")


def _solvers(title: str, task: Any) -> list[Solve]:
    """The task's solvers in their order. Raises UsageError where one is not among those that are carried over."""
    chains = require("inspect_ai.solver._chain", "inspect")
    registry = require("inspect_ai._util.registry", "inspect")
    solvers: list[Solve] = [*(chains.unroll(task.setup) if task.setup else ()), *chains.unroll(task.solver)]
    names = [registry.registry_info(solver).name for solver in solvers]
    if other := [name for name in names if name not in GENERATING | PREPARING]:
        known = ", ".join(sorted(name.partition("/")[2] for name in GENERATING | PREPARING))
        refuse(title, f"its solver {other[0]} has a loop of its own; expected {known}")
    if (count := sum(name in GENERATING for name in names)) != 1:
        refuse(title, f"its solvers generate {count} times; expected once")
    return solvers


def _settings(title: str, solvers: list[Solve]) -> dict[str, Any]:
    """What the generating solver sets for the generation. Raises UsageError for what changes its course."""
    registry = require("inspect_ai._util.registry", "inspect")
    [solver] = [solver for solver in solvers if registry.registry_info(solver).name in GENERATING]
    settings = {key: value for key, value in registry.registry_params(solver).items() if value is not None}
    if settings.pop("tool_calls", "loop") != "loop":
        refuse(title, "its generate() doesn't loop over tool calls (tool_calls)")
    if settings.pop("shuffle", False):
        refuse(title, "its multiple_choice() shuffles; expected a shuffled dataset (shuffle_choices)")
    for own in ("template", "cot", "multiple_correct"):
        settings.pop(own, None)
    return settings


def _items(title: str, message: Any) -> Iterator[Item]:
    """A message of the prompt as items. Raises UsageError for parts that are neither text nor images by URL."""
    content = content_of(title, message.content if isinstance(message.content, str) else _parts(message.content))
    if message.role == "tool":
        yield FunctionCallOutput(call_id=message.tool_call_id or "", output=content)
        return
    if content or message.role != "assistant":
        # The model's own words are text: few-shot answers come as one string.
        yield Message(role=message.role, content=message.text if message.role == "assistant" else content)
    for call in getattr(message, "tool_calls", None) or ():
        yield FunctionCall(call_id=call.id, name=call.function, arguments=json.dumps(call.arguments))


def _parts(content: Sequence[Any]) -> list[dict[str, Any]]:
    """Content parts in OpenAI's form, where they have one. An image in a file has none."""
    return [
        {"type": "image_url", "image_url": {"url": part.image}}
        if part.type == "image" and part.image.startswith(("http://", "https://", "data:"))
        else {"type": part.type, "text": getattr(part, "text", None)}
        for part in content
    ]


def _tool(tool: Any) -> Tool:
    made = require("inspect_ai.tool", "inspect").ToolDef(tool)
    parameters = made.parameters.model_dump(exclude_none=True)
    return Tool(name=made.name, description=made.description, parameters=parameters)


def _output(response: Response) -> Any:
    """Our response as the library's, with the content that its own providers make of one."""
    model = require("inspect_ai.model", "inspect")
    parse = require("inspect_ai.model._call_tools", "inspect").parse_tool_call
    parts: list[Any] = []
    calls: list[Any] = []
    for item in response.output:
        match item:
            case Reasoning():
                parts.append(model.ContentReasoning(reasoning=item.text))
            case Message(content=str(text)):
                parts.append(model.ContentText(text=text))
            case Message(content=list(said)):
                parts += [
                    model.ContentText(text=part.refusal, refusal=True) for part in said if isinstance(part, Refusal)
                ]
                if item.text:
                    parts.append(model.ContentText(text=item.text))
            case FunctionCall():
                calls.append(parse(item.call_id, item.name, item.arguments))
            case _:
                pass
    text = "\n".join(part.text for part in parts if part.type == "text")
    plain_text = all(part.type == "text" and not part.refusal for part in parts)
    message = model.ChatMessageAssistant(content=text if plain_text else parts, tool_calls=calls or None)
    reason = {"max_output_tokens": "max_tokens", "content_filter": "content_filter"}.get(
        response.incomplete_reason or "", "tool_calls" if calls else "stop"
    )
    usage = model.ModelUsage(
        input_tokens=response.usage.input_tokens,
        output_tokens=response.usage.output_tokens,
        total_tokens=response.usage.input_tokens + response.usage.output_tokens,
    )
    choice = model.ChatCompletionChoice(message=message, stop_reason=reason)
    return model.ModelOutput(model=response.model or "assay/model", choices=[choice], usage=usage)


def number_of(scorer: str, value: Any) -> float:
    """A score's value as the library's own metrics count it. Raises ValueError where they would make a zero of it."""
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, str):
        for word in (value, value.lower()):
            if word in VALUES:
                return VALUES[word]
        with suppress(ValueError):
            return float(value)
    raise ValueError(f"the scorer {scorer} gave the value {value!r}; expected a number, or C, P, I or N")


def _unused(name: str, metrics: dict[str, float]) -> str:
    """The name, numbered where a scorer before has the same."""
    number = 1
    while (numbered := f"{name}{number}" if number > 1 else name) in metrics:
        number += 1
    return numbered


def _version(name: str, task: Any) -> str:
    package = name.partition("/")[0].replace("_", "-")
    try:
        return f"{task.version} of {package} {version(package)}" if "@" not in name else str(task.version)
    except PackageNotFoundError:
        return str(task.version)
