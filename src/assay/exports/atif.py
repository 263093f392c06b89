"""Trajectories in ATIF 1.8, Harbor's format: a file for each rollout of a run, with its tokens and tool calls.

What ATIF has no name for stands under `extra.assay`, so that `assay import atif` makes the same rollouts again.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, structs

from assay.exports import Export
from assay.store import RunRecord, read_record, read_rollouts, read_tasks, write_json
from assay.types import (
    Content,
    FunctionCall,
    FunctionCallOutput,
    InputImage,
    InputText,
    Item,
    Message,
    Reasoning,
    ReasoningText,
    Refusal,
    Response,
    Rollout,
    Task,
    Text,
    TokenIds,
    Turn,
    Usage,
)

VERSION = "ATIF-v1.8"
MEDIA = {"jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif", "webp": "image/webp"}


class Source(Struct, omit_defaults=True):
    """Where an image is."""

    media_type: str
    path: str


class Part(Struct, omit_defaults=True):
    """A piece of a message."""

    type: str
    text: str | None = None
    source: Source | None = None


class Call(Struct):
    """A call of a tool."""

    tool_call_id: str
    function_name: str
    arguments: dict[str, Any]


class Result(Struct, omit_defaults=True):
    """What a tool, or the world, gave back."""

    source_call_id: str | None = None
    content: str | list[Part] | None = None


class Observation(Struct):
    """The results of a step."""

    results: list[Result]


class Metrics(Struct, omit_defaults=True):
    """Tokens of a model call."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    prompt_token_ids: list[int] | None = None
    completion_token_ids: list[int] | None = None
    logprobs: list[float] | None = None


class OwnStep(Struct, omit_defaults=True):
    """What ATIF has no name for in a step."""

    role: str | None = None
    call_id: str | None = None
    started_s: float = 0.0
    wall_s: float = 0.0
    turn: Turn | None = None
    """The whole turn, where the step does not hold all of it."""


class StepExtra(Struct, omit_defaults=True):
    """`extra` of a step."""

    assay: OwnStep | None = None


class Step(Struct, omit_defaults=True):
    """A message, or a call of the model."""

    step_id: int
    source: str
    message: str | list[Part]
    timestamp: str | None = None
    model_name: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[Call] | None = None
    observation: Observation | None = None
    metrics: Metrics | None = None
    is_copied_context: bool | None = None
    llm_call_count: int | None = None
    extra: StepExtra | None = None

    @property
    def own(self) -> OwnStep:
        return (self.extra and self.extra.assay) or OwnStep()

    @property
    def is_call(self) -> bool:
        """Whether it is a call of the model, and nothing that was shown to it."""
        return self.source == "agent" and not self.is_copied_context and self.llm_call_count != 0


class Agent(Struct, omit_defaults=True):
    """What drove the model."""

    name: str
    version: str
    model_name: str | None = None
    tool_definitions: list[dict[str, Any]] | None = None


class Totals(Struct):
    """`final_metrics`."""

    total_prompt_tokens: int | None = None
    total_completion_tokens: int | None = None
    total_cached_tokens: int | None = None


class Own(Struct):
    """What ATIF has no name for in a trajectory."""

    rollout: Rollout
    """Without its turns and roles."""
    task: Task
    record: RunRecord


class Extra(Struct, omit_defaults=True):
    """`extra` of a trajectory."""

    assay: Own | None = None


class Trajectory(Struct, omit_defaults=True):
    """A document of ATIF."""

    schema_version: str
    agent: Agent
    steps: list[Step]
    session_id: str | None = None
    trajectory_id: str | None = None
    final_metrics: Totals | None = None
    extra: Extra | None = None
    subagent_trajectories: list["Trajectory"] | None = None


def trajectory(rollout: Rollout, task: Task, record: RunRecord) -> Trajectory:
    """Returns a rollout as a trajectory. Models in roles are trajectories inside, as subagents are."""
    began = datetime.fromisoformat(record.started)
    tools = [{"type": "function", "function": msgspec.to_builtins(tool)} for tool in task.tools]
    usages = [turn.response.usage for turn in rollout.turns]
    inside = [
        Trajectory(VERSION, Agent(role, record.version), steps_of(turns, began), trajectory_id=role)
        for role, turns in rollout.roles.items()
        if turns
    ]
    return Trajectory(
        schema_version=VERSION,
        session_id=record.id or record.started,
        trajectory_id=f"{rollout.task}/{rollout.repeat}",
        agent=Agent(record.agent.agent, record.versions.get("assay", "0"), record.model, tools or None),
        steps=steps_of(rollout.turns, began) or [Step(1, "system", "(the model was not called)")],
        final_metrics=Totals(
            sum(one.input_tokens for one in usages),
            sum(one.output_tokens for one in usages),
            sum(one.cached_tokens for one in usages),
        ),
        extra=Extra(
            Own(structs.replace(rollout, turns=[], roles={}), task, structs.replace(record, sources={})),
        ),
        subagent_trajectories=inside or None,
    )


def steps_of(turns: Sequence[Turn], began: datetime) -> list[Step]:
    """Returns turns as steps. What tools said is an observation in the step that called them."""
    steps: list[Step] = []
    for turn in turns:
        step_of_call = {call.tool_call_id: step for step in steps for call in step.tool_calls or ()}
        for item in turn.input:
            if isinstance(item, FunctionCallOutput) and (step := step_of_call.get(item.call_id)):
                step.observation = step.observation or Observation([])
                step.observation.results.append(Result(item.call_id, _content(item.output)))
            elif new_step := _step(len(steps) + 1, item):
                steps.append(new_step)
        steps.append(_agent_step(len(steps) + 1, turn, began))
    calls = [step for step in steps if step.is_call]
    for turn, rebuilt, step in zip(turns, turns_of(steps), calls, strict=True):
        if rebuilt != turn:
            step.own.turn = turn
    return steps


def _step(number: int, item: Item) -> Step | None:
    """What a model was shown before it was called; None for reasoning, which ATIF has in calls of the model alone."""
    match item:
        case Message(role="assistant"):
            return Step(number, "agent", _content(item.content), is_copied_context=True)
        case Message(role="user" | "system"):
            return Step(number, item.role, _content(item.content))
        case Message():
            return Step(number, "system", _content(item.content), extra=StepExtra(OwnStep(role=item.role)))
        case FunctionCall():
            return Step(number, "agent", "", tool_calls=[_call(item)], is_copied_context=True)
        case FunctionCallOutput():
            return Step(number, "user", _content(item.output), extra=StepExtra(OwnStep(call_id=item.call_id)))
        case Reasoning():
            return None


def _agent_step(number: int, turn: Turn, began: datetime) -> Step:
    response, usage = turn.response, turn.response.usage
    metrics = Metrics(usage.input_tokens, usage.output_tokens, usage.cached_tokens)
    if response.tokens:
        metrics.prompt_token_ids = response.tokens.prompt
        metrics.completion_token_ids = response.tokens.output
        metrics.logprobs = response.tokens.output_logprobs
    return Step(
        step_id=number,
        source="agent",
        message=response.text,
        timestamp=(began + timedelta(seconds=turn.started_s)).isoformat(),
        model_name=response.model,
        reasoning_content=response.reasoning or None,
        tool_calls=[_call(item) for item in response.output if isinstance(item, FunctionCall)] or None,
        metrics=metrics,
        llm_call_count=1,
        extra=StepExtra(OwnStep(started_s=turn.started_s, wall_s=turn.wall_s)),
    )


def _call(call: FunctionCall) -> Call:
    """Returns a call. Arguments that are no JSON object become the argument `arguments`."""
    try:
        arguments = msgspec.json.decode(call.arguments, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        arguments = {"arguments": call.arguments}
    return Call(call.call_id, call.name, arguments)


def _content(content: str | list[Content]) -> str | list[Part]:
    if isinstance(content, str) or not any(isinstance(part, InputImage) for part in content):
        return content if isinstance(content, str) else "".join(map(_text, content))
    return [_image(part) if isinstance(part, InputImage) else Part("text", _text(part)) for part in content]


def _text(part: Content) -> str:
    match part:
        case Text() | InputText():
            return part.text
        case Refusal():
            return part.refusal
        case InputImage():
            return ""


def _image(part: InputImage) -> Part:
    path = part.image_url or part.file_id or ""
    media_type = path[5:].partition(";")[0] if path.startswith("data:") else MEDIA.get(path.rpartition(".")[2].lower())
    return Part("image", source=Source(media_type or "image/png", path))


def turns_of(steps: Sequence[Step]) -> Iterator[Turn]:
    """Yields a turn for each call of the model. What follows the last one is in none. Raises ValueError for audio."""
    context: list[Item] = []
    for step in steps:
        if not step.is_call:
            context += _context_items(step)
            continue
        own = step.own
        yield own.turn or Turn(context, _response(step), started_s=own.started_s, wall_s=own.wall_s)
        context = list(_tool_outputs(step))


def _context_items(step: Step) -> Iterator[Item]:
    content = _read(step.message)
    if step.own.call_id:
        yield FunctionCallOutput(call_id=step.own.call_id, output=content)
    elif content or not step.tool_calls:
        role = step.own.role or ("assistant" if step.source == "agent" else step.source)
        yield Message(role=role, content=content)
    yield from _tool_calls(step)
    yield from _tool_outputs(step)


def _tool_outputs(step: Step) -> Iterator[Item]:
    for result in step.observation.results if step.observation else ():
        content = _read(result.content or "")
        call = result.source_call_id
        yield FunctionCallOutput(call_id=call, output=content) if call else Message(role="user", content=content)


def _tool_calls(step: Step) -> Iterator[FunctionCall]:
    for call in step.tool_calls or ():
        arguments = msgspec.json.encode(call.arguments).decode()
        yield FunctionCall(call_id=call.tool_call_id, name=call.function_name, arguments=arguments)


def _response(step: Step) -> Response:
    output: list[Item] = []
    if step.reasoning_content:
        output.append(Reasoning(content=[ReasoningText(text=step.reasoning_content)]))
    if message := _read(step.message):
        output.append(Message("assistant", [Text(message)] if isinstance(message, str) else message))
    output += _tool_calls(step)
    metrics = step.metrics or Metrics()
    tokens = None
    if metrics.completion_token_ids:
        tokens = TokenIds(metrics.prompt_token_ids or [], metrics.completion_token_ids, metrics.logprobs or [])
    usage = Usage(metrics.prompt_tokens or 0, metrics.completion_tokens or 0, metrics.cached_tokens or 0)
    return Response(output=output, usage=usage, model=step.model_name, tokens=tokens)


def _read(content: str | list[Part]) -> str | list[Content]:
    return content if isinstance(content, str) else list(_parts(content))


def _parts(parts: Iterable[Part]) -> Iterator[Content]:
    for part in parts:
        if part.text is not None:
            yield InputText(part.text)
        elif part.type == "image" and part.source:
            yield InputImage(part.source.path)
        else:
            raise ValueError(f"a content of the type {part.type!r}; expected text or image")


def _write(folder: Path, place: Path) -> str:
    record, tasks = read_record(folder), read_tasks(folder)
    places = {task.id: (number, task) for number, task in enumerate(tasks)}
    place.mkdir(parents=True, exist_ok=True)
    count = 0
    for rollout in read_rollouts(folder, tasks):
        number, task = places[rollout.task]
        # Ids are names of tasks, not of files.
        write_json(place / f"{number:05}-{rollout.repeat}-{rollout.attempt}.json", trajectory(rollout, task, record))
        count += 1
    return f"{count} trajectories are in {place}"


EXPORT = Export(run=_write)
