"""NeMo Gym's rows: tasks, rollouts and responses in its JSONL files and between its servers.

A row of its input:

    {"responses_create_params": {"input": [{"role": "user", "content": "..."}], "tools": [...]},
     "expected_answer": "B", "agent_ref": {"name": "mcqa_simple_agent"}}

All but `responses_create_params` is for the verifier. Rows that Assay writes hold under `assay` what NeMo Gym has no
name for, so that the task can be read back.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, ValidationError

from assay.digest import digest, task_digest
from assay.errors import InputError, UsageError
from assay.input import BROKEN, open_input
from assay.model.dialects.responses.wire import WireUsage, read_usage, wire_items
from assay.types import (
    Content,
    Format,
    FunctionCall,
    FunctionCallOutput,
    Item,
    Message,
    Reasoning,
    Response,
    Rollout,
    Score,
    Task,
    Text,
    Tool,
    Turn,
    Usage,
)

PARAMS = "responses_create_params"
OWN = "assay"
AGENT = "agent_ref"
TASK_INDEX = "_ng_task_index"
ROLLOUT_INDEX = "_ng_rollout_index"
FAILURE_CLASS = "_ng_failure_class"
Row = dict[str, Any]
_SAID_BY_GYM = {PARAMS, OWN, "response", "reward", "mask_sample", "failure_kind", "failure_reason"}
_HELD_BY_TASK = {"input", "tools", "text", "instructions"}
IDS = ("id", "task_id", "uuid")


class Own(Struct, frozen=True, omit_defaults=True):
    """The parts of a task for which NeMo Gym has no name."""

    id: str
    digest: str
    """The task's, as it was when the row was written."""
    fields: list[str] = []
    """The row's fields that are the task's data. A rollout's row has other fields, too."""
    data: dict[str, Any] = {}
    """The task's data under names that mean something else in a row."""
    gold: str | None = None
    tags: dict[str, str] = {}
    seed: int | None = None
    """The session's seed."""
    training: bool = False
    """Whether it is a training task, which no environment lists: the row holds it whole."""


def reserved(name: str) -> bool:
    """Whether a row's field is NeMo Gym's or ours, and no verifier's."""
    return name in _SAID_BY_GYM or name.startswith("_ng_")


# ---- Tasks


def row_of(task: Task, *, training: bool = False) -> Row:
    """Returns the task as a row, of which `task_of` makes the task again."""
    fields = {name: value for name, value in task.data.items() if not reserved(name)}
    own = Own(
        id=task.id,
        digest=task_digest(task),
        fields=list(fields),
        data={name: value for name, value in task.data.items() if reserved(name)},
        gold=task.gold,
        tags=task.tags,
        training=training,
    )
    return {PARAMS: _params(task), **fields, OWN: msgspec.to_builtins(own)}


def _params(task: Task) -> dict[str, Any]:
    given = task.data.get(PARAMS)
    params: dict[str, Any] = dict(given) if isinstance(given, dict) else {}  # pyright: ignore[reportUnknownArgumentType]
    params["input"] = msgspec.to_builtins(wire_items(task.input, stored=True))
    if task.tools:
        params["tools"] = [_wire_tool(tool) for tool in task.tools]
    if task.format:
        params["text"] = {"format": msgspec.to_builtins(task.format)}
    return params


def _wire_tool(tool: Tool) -> dict[str, Any]:
    return {"type": "function", "strict": None, **msgspec.to_builtins(tool)}


def task_of(row: Row, task_id: str) -> Task:
    """The task that a row holds, under the given id where it is not one of ours. Raises ValidationError.

    Parameters without a place in a task, such as a temperature, stay in its data under `responses_create_params`.
    """
    params = row.get(PARAMS)
    if not isinstance(params, dict) or "input" not in params:
        raise ValidationError(f"no {PARAMS} with an input")
    given: dict[str, Any] = {name: value for name, value in params.items() if value is not None}  # pyright: ignore
    text: dict[str, Any] = given.get("text") or {}
    wanted = text.get("format") or {"type": "text"}
    held: dict[str, Any] = {
        "input": _input(given),
        "tools": [_tool(tool) for tool in given.get("tools", ())],
        "format": None if wanted.get("type") == "text" else msgspec.convert(_without_nulls(wanted), Format),
    }
    if OWN in row:
        own = msgspec.convert(row[OWN], Own)
        if missing := [name for name in own.fields if name not in row]:
            raise ValidationError(f"no field {missing[0]}, which the task's data has")
        data = {name: row[name] for name in own.fields} | own.data
        return Task(id=own.id, gold=own.gold, tags=own.tags, data=data, **held)
    if "response" in row:
        raise ValidationError("a rollout with its response, whose fields may be the task's or the score's")
    data = {name: value for name, value in row.items() if not reserved(name)}
    rest = {name: value for name, value in given.items() if name not in _HELD_BY_TASK}
    return Task(id=task_id, data=data | ({PARAMS: rest} if rest else {}), **held)


def _input(params: dict[str, Any]) -> list[Item]:
    items: list[Item] = []
    if params.get("instructions"):
        items.append(Message(role="system", content=params["instructions"]))
    if isinstance(params["input"], str):
        return [*items, Message(role="user", content=params["input"])]
    return items + msgspec.convert([_item(item) for item in params["input"]], list[Item])


def _item(item: dict[str, Any]) -> dict[str, Any]:
    """Returns the item without nulls. An item without a type is a message."""
    item = {"type": "message", **_without_nulls(item)}
    for name in ("content", "output", "summary"):
        if isinstance(item.get(name), list):
            item[name] = [_without_nulls(part) for part in item[name]]
    return item


def _without_nulls(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _tool(tool: dict[str, Any]) -> Tool:
    if tool.get("type", "function") != "function":
        raise ValidationError(f"a tool of type {tool['type']}; only functions can be called here")
    return msgspec.convert({"parameters": {}, **_without_nulls(tool)}, Tool)


def read_rows(path: Path) -> list[tuple[Task, Row]]:
    """The tasks of a JSONL file, each with its row; rows that are equal but for their indices are one task.

    A task's id is the row's own `id`, `task_id` or `uuid`, where every row has one and no two the same; otherwise
    NeMo Gym's task index, the number of the distinct row. Raises InputError.
    """
    rows: dict[str, tuple[int, Row]] = {}
    for number, row in _lines(path):
        plain = {name: value for name, value in row.items() if not name.startswith("_ng_")}
        rows.setdefault(digest(plain), (number, row))
    ids = _ids([row for _, row in rows.values()])
    found: list[tuple[Task, Row]] = []
    for (number, row), task_id in zip(rows.values(), ids, strict=True):
        try:
            found.append((task_of(row, task_id), row))
        except (ValidationError, AttributeError, TypeError) as error:
            expected = "an input row of NeMo Gym, of messages and calls of functions"
            raise InputError(path, number, str(error), expected) from None
    if not found:
        raise InputError(path, None, "it holds no row", "JSONL, a row of NeMo Gym a line")
    return found


def _lines(path: Path) -> Iterator[tuple[int, Row]]:
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    try:
        with open_input(path) as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    yield number, decode(line)
                except BROKEN as error:
                    raise InputError(path, number, str(error), "a row as one JSON object") from None
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}") from None


def _ids(rows: list[Row]) -> list[str]:
    for name in IDS:
        ids = [str(row[name]) for row in rows if isinstance(row.get(name), str | int)]
        if len(ids) == len(rows) == len({*ids} - {""}):
            return ids
    return [str(index) for index in range(len(rows))]


# ---- Rollouts


def rollout_row(task: Task, index: int, rollout: Rollout, *, agent: str, model: str, created_s: int) -> Row:
    """A rollout as NeMo Gym writes it: its task's row, the response, and the reward or the failure.

    `index` counts tasks; `agent` and `model` are the names where neither the row nor the response gives one. Metrics
    stand at the row's top, except under names that the row has already.
    """
    row = row_of(task)
    row = {AGENT: {"name": agent}, **row, TASK_INDEX: index, ROLLOUT_INDEX: rollout.repeat}
    if rollout.turns:
        row["response"] = response_object(task, rollout.turns, model=model, created_s=created_s)
    outcome = rollout.outcome
    if isinstance(outcome, Score):
        return {**score_fields(outcome), **row, "reward": outcome.reward}
    reason = f"{outcome.where}: {outcome.message}"
    return {**row, FAILURE_CLASS: outcome.kind, "failure_reason": reason, "mask_sample": True}


def score_fields(score: Score) -> Row:
    """Returns the fields that `/verify` adds to a row beside the reward."""
    answer = {} if score.answer is None else {"extracted_answer": score.answer}
    return {name: value for name, value in score.metrics.items() if not reserved(name)} | answer


def response_object(
    task: Task, turns: Sequence[Turn], *, model: str, created_s: int, tokens: bool = True
) -> dict[str, Any]:
    """Returns all turns of a rollout as one response: the model's and the tools' items after the task's input.

    The usage is that of all turns. Where the turns are several conversations, the items are those of the last one.
    """
    output: list[Any] = []
    for place, index in enumerate(_conversation(turns)):
        turn = turns[index]
        begins = not place and turn.input[: len(task.input)] == task.input
        new = turn.input[len(task.input) :] if begins else turn.input
        output += msgspec.to_builtins(wire_items(new, stored=True))
        output += _output(turn.response, index, tokens=tokens)
    usages = [turn.response.usage for turn in turns]
    total: dict[str, int] = {name: sum(getattr(one, name) for one in usages) for name in Usage.__struct_fields__}
    last = turns[-1].response
    incomplete = last.status == "incomplete"
    return {
        "id": last.id or "resp",
        "object": "response",
        "created_at": created_s,
        "status": last.status,
        "incomplete_details": {"reason": last.incomplete_reason or "max_output_tokens"} if incomplete else None,
        "error": None,
        "model": last.model or model,
        "output": output,
        "usage": {
            "input_tokens": total["input_tokens"],
            # The API's own types have asked for the tokens written to a cache since 2026.
            "input_tokens_details": {"cached_tokens": total["cached_tokens"], "cache_write_tokens": 0},
            "output_tokens": total["output_tokens"],
            "output_tokens_details": {"reasoning_tokens": total["reasoning_tokens"]},
            "total_tokens": total["input_tokens"] + total["output_tokens"],
        },
        "tools": [_wire_tool(tool) for tool in task.tools],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
    }


def _conversation(turns: Sequence[Turn]) -> list[int]:
    """The indices of the last turn and of those that its conversation goes back to, in their order."""
    indices, index = list[int](), len(turns) - 1
    while index >= 0:
        indices.append(index)
        follows = turns[index].follows
        index = index - 1 if follows is None else min(follows, index - 1)
    return indices[::-1]


def _output(response: Response, turn: int, *, tokens: bool) -> list[dict[str, Any]]:
    """The items of one response. Its last holds the token ids, the way NeMo Gym's model servers give them."""
    items = [_output_item(item, f"{turn}_{place}", response.status) for place, item in enumerate(response.output)]
    ids = response.tokens
    if tokens and items and ids and ids.output and len(ids.output_logprobs) == len(ids.output):
        items[-1] |= {
            "prompt_token_ids": ids.prompt,
            "generation_token_ids": ids.output,
            "generation_log_probs": ids.output_logprobs,
        }
    return items


def _output_item(item: Item, place: str, status: str) -> dict[str, Any]:
    """An item with the ids that NeMo Gym's types ask for, made of its place where the model's server gave none."""
    match item:
        case Message():
            content: list[Content] = [Text(item.content)] if isinstance(item.content, str) else item.content
            item = Message(item.role, content, item.id or f"msg_{place}", item.status or status, item.phase)
        case Reasoning():
            item = msgspec.structs.replace(item, id=item.id or f"rs_{place}")
        case FunctionCall() | FunctionCallOutput():
            item = msgspec.structs.replace(item, id=item.id or f"fc_{place}")
    return msgspec.to_builtins(wire_items([item], stored=True)[0])


class _Incomplete(Struct):
    reason: str | None = None


class _WireResponse(Struct):
    output: list[dict[str, Any]]
    status: str | None = None
    incomplete_details: _Incomplete | None = None
    usage: WireUsage | None = None
    model: str | None = None
    id: str | None = None


def turns_of(task: Task, response: Any) -> list[Turn]:
    """Returns the turns of a rollout from one response object of `response_object` or of an agent of NeMo Gym.

    A turn ends where a tool's answer or somebody else's message follows. Usage and status are the last turn's. Raises
    ValidationError.
    """
    wire = msgspec.convert(response, _WireResponse)
    turns = divided(task.input, msgspec.convert([_item(item) for item in wire.output], list[Item]))
    last = Response(
        output=turns[-1][1],
        status="incomplete" if wire.incomplete_details or wire.status == "incomplete" else "completed",
        incomplete_reason=wire.incomplete_details.reason if wire.incomplete_details else None,
        usage=read_usage(wire.usage),
        model=wire.model,
        id=wire.id,
    )
    before = [Turn(input=asked, response=Response(output=said)) for asked, said in turns[:-1]]
    return [*before, Turn(input=turns[-1][0], response=last)]


def divided(asked: Sequence[Item], items: Iterable[Item]) -> list[tuple[list[Item], list[Item]]]:
    """Returns what was new to the model and what it said, turn by turn, of all items that followed what was asked."""
    turns = [(list(asked), list[Item]())]
    for item in items:
        if isinstance(item, FunctionCallOutput) or (isinstance(item, Message) and item.role != "assistant"):
            if turns[-1][1]:
                turns.append(([], []))
            turns[-1][0].append(item)
        else:
            turns[-1][1].append(item)
    return turns
