"""The conversations of a rollout: turn by turn, each with its blocks of text."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from assay.fidelity.review.transcript import pieces_of
from assay.fidelity.schema.profile import Voice
from assay.model.wrappers.record import turn_before
from assay.report.words import legible
from assay.types import FunctionCall, FunctionCallOutput, InputImage, Item, Message, Rollout, Task, Turn

LONGEST = 20_000
"""The most characters of a text that a page shows at first: half of its beginning and half of its end."""
LEAST, MOST_IN_ALL = 1000, 2_000_000
"""That number is lower in a rollout of many texts: the second one divided by theirs, and at least the first."""
ONE_LINE = 80
"""The most characters of arguments that stand on one line."""
MOST_PRETTY = 200_000
"""The most characters of a call's arguments that are laid out."""
RASTER = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]+")


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a text that means something."""

    start: int
    end: int
    kind: str
    """`answer`, `finding` or `search`."""
    title: str = ""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a text as the page draws it: marked as a span, or a gap where text is left out."""

    text: str
    kind: str = ""
    title: str = ""
    left_out: int = 0


@dataclass(slots=True)
class Block:
    """One text of a conversation: what a message, a thought, a call or a tool's output says."""

    number: int
    """Its place among the rollout's blocks, by which its address has it."""
    voice: Voice
    title: str
    text: str
    """Legible: without control characters and those that turn the direction of text."""
    images: list[str] = field(default_factory=list[str])
    """Data URLs of raster images."""
    images_elsewhere: int = 0
    """Images that stand somewhere else, and are not fetched."""
    spans: list[Span] = field(default_factory=list[Span])
    limit: int = LONGEST

    @property
    def visible(self) -> list[tuple[int, int]]:
        """The places between which the text is shown at first: all of it, or its beginning and its end."""
        half, length = self.limit // 2, len(self.text)
        return [(0, half), (length - half, length)] if self.is_long else [(0, length)]

    @property
    def segments(self) -> list[Segment]:
        """The text, in parts. Of a long one the middle is left out."""
        parts, before = list[Segment](), 0
        for start, end in self.visible:
            if start > before:
                parts.append(Segment("", "gap", left_out=start - before))
            parts += _segments(self.text, start, end, self.spans)
            before = end
        return parts

    @property
    def is_long(self) -> bool:
        return len(self.text) > self.limit


@dataclass(frozen=True, slots=True)
class TurnView:
    """One model call: its new input, its output, and its figures."""

    number: int
    turn: Turn
    input: list[Block]
    output: list[Block]


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns that each continue the one before."""

    title: str
    turns: list[TurnView]


@dataclass(frozen=True, slots=True)
class Rendering:
    """All that a rollout says."""

    prompt: list[Block]
    conversations: list[Conversation]
    roles: dict[str, list[Conversation]]
    """By role, those of other models, such as a judge."""
    program: list[Block]
    """What the agent's program wrote, where that is one."""

    def blocks(self) -> Iterator[Block]:
        """Yields all blocks, in order."""
        yield from self.prompt
        for conversation in [
            *self.conversations,
            *(one for conversations in self.roles.values() for one in conversations),
        ]:
            for turn in conversation.turns:
                yield from turn.input
                yield from turn.output
        yield from self.program


def render(rollout: Rollout, task: Task) -> Rendering:
    """Returns what a rollout says."""
    numbers = iter(range(10**9))
    prompt = _blocks(task.input, numbers)
    conversations = _conversations(rollout.turns, task.input, numbers)
    roles = {role: _conversations(turns, (), numbers) for role, turns in rollout.roles.items()}
    streams = (("stdout", rollout.program.stdout), ("stderr", rollout.program.stderr)) if rollout.program else ()
    program = [Block(next(numbers), "output", name, legible(text)) for name, text in streams if text]
    rendering = Rendering(prompt, conversations, roles, program)
    limit = min(LONGEST, max(LEAST, MOST_IN_ALL // max(1, next(numbers))))
    for block in rendering.blocks():
        block.limit = limit
    return rendering


def _conversations(turns: Sequence[Turn], prompt: Sequence[Item], numbers: Iterator[int]) -> list[Conversation]:
    """Returns the turns by conversation. A turn that continues another than the last one begins a conversation."""
    turns_of: list[list[TurnView]] = []
    origins: list[int] = []
    last: dict[int, int] = {}  # by the last turn of a conversation, that conversation
    for index, turn in enumerate(turns):
        before = turn_before(turn, index)
        place = last.pop(before, None)
        if place is None:
            place = len(turns_of)
            turns_of.append([])
            origins.append(before)
        last[index] = place
        blocks = _blocks([item for item in turn.input if item not in prompt], numbers)
        turns_of[place].append(TurnView(index + 1, turn, blocks, _blocks(turn.response.output, numbers)))
    if len(turns_of) == 1:
        return [Conversation("", turns_of[0])]
    return [
        Conversation(_title(number, origin), views)
        for number, (origin, views) in enumerate(zip(origins, turns_of, strict=True), 1)
    ]


def _title(number: int, origin: int) -> str:
    begins = f"goes on from turn {origin + 1}" if origin >= 0 else "begins anew" if number > 1 else ""
    return f"Conversation {number}" + (f", which {begins}" if begins else "")


def _blocks(items: Iterable[Item], numbers: Iterator[int]) -> list[Block]:
    blocks: list[Block] = []
    for item in items:
        images = list(_images(item))
        here = [one for one in images if RASTER.fullmatch(one)]
        for place, piece in enumerate(pieces_of(item)):
            text = _pretty(piece.text) if isinstance(item, FunctionCall) else piece.text
            block = Block(next(numbers), piece.voice, legible(piece.title), legible(text))
            if images and not place:  # the transcript says that there is one; here it is seen
                block.text = legible(item.text) if isinstance(item, Message | FunctionCallOutput) else ""
                block.images, block.images_elsewhere = here, len(images) - len(here)
            blocks.append(block)
    return blocks


def _images(item: Item) -> Iterator[str]:
    content = item.content if isinstance(item, Message) else item.output if isinstance(item, FunctionCallOutput) else ""
    for part in content if isinstance(content, list) else ():
        if isinstance(part, InputImage):
            yield part.image_url or ""


def _pretty(arguments: str) -> str:
    """Arguments of a call where they are JSON, on several lines unless they fit one; else as the model wrote them."""
    if len(arguments) > MOST_PRETTY:
        return arguments
    try:
        line = msgspec.json.format(arguments, indent=0)
        return line if len(line) <= ONE_LINE else msgspec.json.format(arguments, indent=2)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return arguments


def _segments(text: str, start: int, end: int, spans: Iterable[Span]) -> Iterator[Segment]:
    """The parts of a text between two places. Of spans that overlap, the first one counts."""
    at = start
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        if span.start < at or span.end > end:
            continue
        if span.start > at:
            yield Segment(text[at : span.start])
        yield Segment(text[span.start : span.end], span.kind, span.title)
        at = span.end
    if at < end:
        yield Segment(text[at:end])
