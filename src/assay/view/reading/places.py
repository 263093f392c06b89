"""Where a rollout's texts have what detectors, the verifier and a search found."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from assay.fidelity.detectors import load_detectors
from assay.fidelity.detectors.detector import RolloutDetector, ScoredRollout
from assay.report.words import legible
from assay.types import Message, Rollout, Score, Task
from assay.view.reading.blocks import Block, Rendering, Span

LEAST = 4
"""The fewest characters of evidence that are looked for in a text."""
MOST_MATCHES = 2000
"""The most places of a search that are marked in one text."""
_QUOTATION = re.compile(r"'([^']+)'|\"([^\"]+)\"")
_ORDER = ("message", "refusal", "reasoning", "call", "output")


@dataclass(frozen=True, slots=True)
class FindingView:
    """What a detector found in a rollout, and the block where it stands."""

    name: str
    evidence: str
    meaning: str
    block: int | None


def findings(rollout: Rollout, task: Task, rendering: Rendering, names: Sequence[str]) -> list[FindingView]:
    """Returns the findings of these detectors in a rollout. Where a text has the evidence, it is marked there."""
    if not isinstance(rollout.outcome, Score):
        return []
    prompt = "\n".join(item.text for item in task.input if isinstance(item, Message))
    one, views = ScoredRollout(rollout, rollout.outcome, task, prompt), list[FindingView]()
    for detector in load_detectors():
        if not isinstance(detector, RolloutDetector) or detector.name not in names:
            continue
        try:
            evidence = detector.spot(one)
        except Exception as error:  # somebody else's code; the index names it, too
            evidence = f"it raised {error!r}"
        if evidence is not None:
            block = _mark(rendering, legible(evidence), detector.name)
            views.append(FindingView(detector.name, evidence, detector.meaning, block))
    return views


def mark_answer(rollout: Rollout, rendering: Rendering) -> None:
    """Marks the last place at which the last messages have the answer that was read."""
    answer = rollout.outcome.answer if isinstance(rollout.outcome, Score) else None
    if not answer or not answer.strip():
        return
    pattern = _pattern(legible(answer))
    for block in reversed(_blocks_of_model(rendering, ("message",))):
        if span := _last(pattern, block):
            block.spans.insert(0, Span(*span, "answer", "read as the answer"))
            return


def mark_search(rendering: Rendering, pattern: re.Pattern[str] | None) -> None:
    """Marks all places that a search finds."""
    if pattern is None:
        return
    for block in rendering.blocks():
        matches = (one for start, end in block.visible for one in pattern.finditer(block.text, start, end))
        block.spans += [Span(*one.span(), "search") for one in islice(matches, MOST_MATCHES)]


def _mark(rendering: Rendering, evidence: str, name: str) -> int | None:
    """Marks the last text that has the evidence, or a part of it. Returns its block's number."""
    for part in _parts(evidence):
        pattern = _pattern(part)
        for voice in _ORDER:
            for block in reversed(_blocks_of_model(rendering, (voice,))):
                if span := _last(pattern, block):
                    block.spans.append(Span(*span, "finding", name))
                    return block.number
    return None


def _parts(evidence: str) -> list[str]:
    """Returns what may be quoted from a text, the longest first: all of it, what follows a colon, what is in quotes."""
    quotations = [one or other for one, other in _QUOTATION.findall(evidence)]
    ends = [evidence.split(": ", n)[-1] for n in range(1, evidence.count(": ") + 1)]
    parts = [part.strip("… ") for part in (evidence, *ends, *quotations)]
    return [part for part in dict.fromkeys(parts) if len(part) >= LEAST]


def _blocks_of_model(rendering: Rendering, voices: Iterable[str]) -> list[Block]:
    """Returns the blocks of the model itself and its tools."""
    turns = [turn for conversation in rendering.conversations for turn in conversation.turns]
    turns.sort(key=lambda turn: turn.number)
    return [block for turn in turns for block in (*turn.input, *turn.output) if block.voice in voices]


def _pattern(text: str) -> re.Pattern[str]:
    """Returns the pattern that finds a text, whatever space there is between its words."""
    before, after = (r"(?<!\w)" if text[:1].isalnum() else "", r"(?!\w)" if text[-1:].isalnum() else "")
    return re.compile(before + r"\s+".join(map(re.escape, text.split())) + after)


def _last(pattern: re.Pattern[str], block: Block) -> tuple[int, int] | None:
    spans = [match.span() for start, end in block.visible for match in pattern.finditer(block.text, start, end)]
    return spans[-1] if spans else None
