"""Recording: a wrapper that keeps the turns of one rollout, also if its agent crashes."""

import time
from collections.abc import Hashable, Sequence

import msgspec

from assay.model import ContextOverflow, Model
from assay.types import (
    Content,
    FunctionCall,
    FunctionCallOutput,
    InputImage,
    Item,
    Message,
    Reasoning,
    Refusal,
    Request,
    Response,
    Sampling,
    Turn,
    text_of,
)


class Recorder:
    """The model as one rollout's agent sees it: adds the sampling and the seed, and keeps each turn."""

    __slots__ = (
        "_conversations",
        "_in_flight",
        "_model",
        "_repeat",
        "_sampling",
        "_seed",
        "_started",
        "_task",
        "turns",
    )

    def __init__(self, model: Model, *, sampling: Sampling | None, seed: int, task: str, repeat: int) -> None:
        """`sampling` is the protocol's; None leaves each request's own."""
        self._model = model
        self._sampling = sampling
        self._seed = seed
        self._task = task
        self._repeat = repeat
        self._started = time.monotonic()
        self._in_flight = 0
        self._conversations = Conversations()
        self.turns: list[Turn] = []

    async def respond(self, request: Request) -> Response:
        """Returns the model's response. The turn keeps only the input items that the turn before it does not have.

        A request that doesn't fit the context gives an incomplete response, as at the token cap.
        """
        turn = len(self.turns) + self._in_flight
        full = Request(
            input=request.input,
            sampling=request.sampling if self._sampling is None else self._sampling,
            tools=request.tools,
            tool_choice=request.tool_choice,
            parallel_tool_calls=request.parallel_tool_calls,
            format=request.format,
            seed=(self._seed + turn) % 2**31,
            task=self._task,
            repeat=self._repeat,
            turn=turn,
        )
        started = time.monotonic()
        self._in_flight += 1
        try:
            response = await self._model.respond(full)
        except ContextOverflow:
            response = Response(output=[], status="incomplete", incomplete_reason="max_output_tokens")
        finally:
            self._in_flight -= 1
        ended = time.monotonic()
        new, follows = self._conversations.add(request.input, response.output)
        timing = {"started_s": started - self._started, "wall_s": ended - started}
        self.turns.append(Turn(input=new, response=response, follows=follows, **timing))
        return response


class Conversations:
    """The conversations of one rollout, as a tree in which common items occur once.

    A node stands for a conversation up to some item. Agents send their history back changed: without ids or reasoning,
    shortened, or several of them at once. So items are told apart by what was said and called alone.

    Most rollouts are one conversation that only grows, by the very items that were said before. Of these nothing is
    looked up: the tree is made once a request begins otherwise.
    """

    __slots__ = ("_ends", "_grown", "_latest", "_linear", "_next", "_nodes")

    def __init__(self) -> None:
        self._latest: list[Item] = []
        self._grown: list[tuple[int, list[Item]]] = []  # by turn, the one that it follows, and what it adds
        self._linear = True
        self._next: dict[tuple[int, Hashable], int] = {}
        self._nodes: list[int] = []  # by turn, where its conversation ends
        self._ends: dict[int, int] = {}  # by node, the latest turn whose conversation ends there

    def split(self, items: list[Item]) -> tuple[list[Item], int]:
        """The items that are new, and the turn that the rest is the whole conversation of; -1 where all are new."""
        turn, start = self._longest(items)
        return items[start:], turn

    def add(self, items: list[Item], output: list[Item]) -> tuple[list[Item], int | None]:
        """The next turn's `input` and `follows`, by all that was sent and what was answered."""
        turn, start = self._longest(items)
        self._latest = items + output
        self._grown.append((turn, self._latest[start:]))
        self._linear = self._linear and turn == len(self._grown) - 2
        return items[start:], None if turn == len(self._grown) - 2 else turn

    def _longest(self, items: list[Item]) -> tuple[int, int]:
        """The turn with the longest conversation that `items` begin with, and how many items that is."""
        last, length = len(self._grown) - 1, len(self._latest)
        # The tool loop passes the same objects again, so this compares addresses.
        goes_on = items[:length] == self._latest
        if goes_on and self._linear:
            return last, length  # each turn followed the one before: none has a longer conversation
        self._grow_tree()
        node, found = (self._nodes[last], (last, length)) if goes_on and length else (0, (-1, 0))
        for index in range(found[1], len(items)):
            key = _key(items[index])
            if key is None:
                continue
            child = self._next.get((node, key))
            if child is None:
                break
            node = child
            if node in self._ends:
                found = (self._ends[node], index + 1)
        return found

    def _grow_tree(self) -> None:
        for turn in range(len(self._nodes), len(self._grown)):
            follows, added = self._grown[turn]
            node = self._nodes[follows] if follows >= 0 else 0
            for key in filter(None, map(_key, added)):
                node = self._next.setdefault((node, key), len(self._next) + 1)
            self._nodes.append(node)
            self._ends[node] = turn


def conversation(turns: Sequence[Turn], index: int) -> list[Item]:
    """Returns all items that a turn sent: its own, after the whole conversation of the turn that it follows.

    Agents may change items when they send them back; here reasoning, ids and status are as they first were.
    """
    parts = [turns[index].input]
    while (before := turn_before(turns[index], index)) >= 0:
        if before >= index:
            raise ValueError(f"turn {index} follows turn {before}; expected one before it")
        index = before
        parts += [turns[index].response.output, turns[index].input]
    return [item for part in reversed(parts) for item in part]


def turn_before(turn: Turn, index: int) -> int:
    """Returns the index of the turn whose conversation a turn continues; -1 if it begins one."""
    return index - 1 if turn.follows is None else turn.follows


def _key(item: Item) -> Hashable:
    """What tells an item apart, or `None` for what agents leave out: reasoning, and messages that say nothing."""
    match item:
        case Reasoning():
            return None
        case FunctionCall():
            return FunctionCall, item.call_id, item.name, _value(item.arguments)
        case FunctionCallOutput():
            return FunctionCallOutput, item.call_id, _content_key(item.output)
        case Message():
            content = _content_key(item.content)
            return (item.role, content) if content or item.role != "assistant" else None


def _value(arguments: str) -> Hashable:
    """The arguments by their value: agents parse them and write them again, with other spaces."""
    try:
        return msgspec.json.encode(msgspec.json.decode(arguments), order="deterministic")
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return arguments


def _content_key(content: str | list[Content]) -> Hashable:
    """A content by what it says, whether as a string or in parts."""
    if isinstance(content, str) or not any(isinstance(part, Refusal | InputImage) for part in content):
        return text_of(content)
    return tuple(
        (part.image_url, part.file_id, part.detail)
        if isinstance(part, InputImage)
        else (part.refusal,)
        if isinstance(part, Refusal)
        else part.text
        for part in content
    )
