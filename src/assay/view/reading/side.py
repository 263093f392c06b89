"""Two rollouts of one task side by side, with what differs marked."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from assay.view.reading.blocks import LONGEST, Block, Segment

MOST_WORDS = 3000
"""The most words of a text that are compared word by word; of a longer one, lines are compared."""
LEAST_ALIKE = 0.35
"""The share that two texts have to have in common. Below, marks would cover all of both."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A block of each side, in parts; None where a side has none."""

    left: Block | None
    right: Block | None
    left_segments: list[Segment]
    right_segments: list[Segment]
    alike: bool
    """Whether both say the same."""


def pairs(left: Sequence[Block], right: Sequence[Block]) -> list[Pair]:
    """Returns the blocks of two rollouts beside each other: those of one kind, in order."""
    kinds = [[(block.voice, block.title) for block in side] for side in (left, right)]
    pairs_of_blocks: list[Pair] = []
    for name, a, b, c, d in SequenceMatcher(None, kinds[0], kinds[1], autojunk=False).get_opcodes():
        if name == "equal":
            pairs_of_blocks += [_pair(one, other) for one, other in zip(left[a:b], right[c:d], strict=True)]
        else:
            pairs_of_blocks += [_pair(one, None) for one in left[a:b]] + [_pair(None, one) for one in right[c:d]]
    return pairs_of_blocks


def _pair(left: Block | None, right: Block | None) -> Pair:
    if left is None or right is None or left.text == right.text:
        alike = left is not None and right is not None
        return Pair(left, right, left.segments if left else [], right.segments if right else [], alike)
    if max(len(left.text), len(right.text)) > LONGEST:
        return Pair(left, right, left.segments, right.segments, False)
    return Pair(left, right, *_differences(left.text, right.text), False)


def _differences(left: str, right: str) -> tuple[list[Segment], list[Segment]]:
    """Both texts, with what only one of them has marked as `different`. The space between words makes no difference."""
    words = [re.findall(r"\s*(?:\w+|[^\w\s]|\Z)", text) for text in (left, right)]
    if max(map(len, words)) > MOST_WORDS:
        words = [text.splitlines(keepends=True) for text in (left, right)]
    mine, theirs = ([word.strip() for word in side] for side in words)
    matcher = SequenceMatcher(None, mine, theirs)
    if matcher.quick_ratio() < LEAST_ALIKE or matcher.ratio() < LEAST_ALIKE:
        return [Segment(left)], [Segment(right)]
    sides: tuple[list[Segment], list[Segment]] = ([], [])
    for name, a, b, c, d in matcher.get_opcodes():
        for side, text in ((0, "".join(words[0][a:b])), (1, "".join(words[1][c:d]))):
            words_of_text = text.lstrip()
            sides[side].append(Segment(text[: len(text) - len(words_of_text)]))
            if words_of_text:
                sides[side].append(Segment(words_of_text, "" if name == "equal" else "different"))
    return sides
