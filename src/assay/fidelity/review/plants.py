"""Planted faults: real rollouts with a fault put in, which measure a reader.

They are shown among the others and look like them. Which ones they are is not stored, but follows from the rollouts, so
somebody could compute it. They enter no statistic.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from msgspec import structs

from assay.digest import digest
from assay.fidelity.review.sample import Spot
from assay.types import Message, Reasoning, ReasoningText, Rollout, Score, Task

FaultKind = Literal["flipped reward", "wrong gold", "misread answer", "thinking scored"]
KINDS: tuple[tuple[FaultKind, float], ...] = (
    ("flipped reward", 0.0),
    ("wrong gold", 0.0),
    ("misread answer", 0.0),
    ("thinking scored", 1.0),
    ("flipped reward", 1.0),
    ("wrong gold", 1.0),
    ("misread answer", 1.0),
    ("flipped reward", 0.0),
    ("wrong gold", 0.0),
    ("misread answer", 0.0),
    ("thinking scored", 1.0),
    ("flipped reward", 1.0),
)
"""Each planted fault, and the reward that it shows: six failing and six passing ones."""
FOUND = 10
"""The least number of them that a reader has to find."""
REPORTED = 0.1
"""The largest share of sound rollouts in which a reader may report faults."""


@dataclass(frozen=True)
class Plant:
    """A rollout with a planted fault."""

    base: Spot
    kind: FaultKind
    reward: float
    """The shown reward."""
    other: str | None
    """The shown gold answer, or the shown answer."""

    @cached_property
    def content(self) -> str:
        """A digest as long as a real rollout's, so that marks don't show which it is."""
        return digest([self.base.content, self.kind, self.reward, self.other])

    def apply(self, rollout: Rollout, task: Task) -> tuple[Rollout, Task]:
        """Returns the rollout and its task with the fault in them."""
        score = rollout.outcome
        assert isinstance(score, Score)
        answer = score.answer
        match self.kind:
            case "flipped reward":
                pass
            case "wrong gold":
                task = structs.replace(task, gold=self.other)
            case "misread answer":
                answer = self.other
            case "thinking scored":
                rollout = _silence(rollout)
        return structs.replace(rollout, outcome=structs.replace(score, reward=self.reward, answer=answer)), task


def plant(spots: Sequence[Spot], thinking: Collection[str], avoid: Collection[str] = ()) -> list[Plant]:
    """Returns the planted faults of a profile, the same each time.

    `spots` are all rollouts in the order in which they are drawn. Faults are planted in the last ones, so that no
    rollout is shown twice. `thinking` are the models that think, `avoid` the suspect tasks. A fault that can't be
    planted, such as a wrong gold answer without a gold answer, becomes a flipped reward.
    """
    answers = _Answers(spots)
    last = {failing: [spot for spot in reversed(spots) if spot.failing == failing] for failing in (False, True)}
    answered = {key: [spot for spot in some if spot.task.gold and spot.cell.answer] for key, some in last.items()}
    used: set[str] = set(avoid)
    made: dict[str, Plant] = {}
    for kind, reward in KINDS:
        ways: list[tuple[FaultKind, float, Collection[str]]] = [
            (kind, reward, used),
            ("flipped reward", reward, used),
            ("flipped reward", reward, ()),
            ("flipped reward", 1 - reward, ()),
        ]
        every = (one for way in ways for one in _possible(last, answered, *way, thinking, answers))
        if one := next((one for one in every if one.content not in made), None):
            made[one.content] = one
            used.add(one.base.task.id)
    return list(made.values())


class _Answers:
    """Answers that could replace another."""

    def __init__(self, spots: Sequence[Spot]) -> None:
        self._wrong: dict[str, str] = {}
        self._golds = list(dict.fromkeys(spot.task.gold for spot in spots if spot.task.gold))
        for spot in spots:
            if spot.failing and spot.cell.answer:
                self._wrong.setdefault(spot.task.id, spot.cell.answer)

    def wrong(self, task: Task) -> str | None:
        """Returns a wrong answer to a task: a model's, else another task's gold answer."""
        others = (gold for gold in self._golds if gold != task.gold)
        return self._wrong.get(task.id) or next(others, None)


def _possible(
    last: Mapping[bool, Sequence[Spot]],
    answered: Mapping[bool, Sequence[Spot]],
    kind: FaultKind,
    reward: float,
    used: Collection[str],
    thinking: Collection[str],
    answers: _Answers,
) -> Iterator[Plant]:
    """Yields the plants of a kind, from the last rollouts. A thought is scored where the answer is right.

    `last` are the passing and the failing rollouts, `answered` those with an answer of a task with a gold one.
    """
    failing, of_answer = reward == 1 and kind != "thinking scored", kind in ("wrong gold", "misread answer")
    for spot in (answered if of_answer else last)[failing]:
        if spot.task.id in used:
            continue
        if kind == "thinking scored" and thinking and spot.model not in thinking:
            continue
        other = None
        if of_answer:
            right_answer = kind == "misread answer" and failing
            other = spot.task.gold if right_answer else spot.cell.answer if failing else answers.wrong(spot.task)
            if other is None:
                continue
        yield Plant(spot, kind, reward, other)


def _silence(rollout: Rollout) -> Rollout:
    """Returns the rollout without its last message, so that it only has reasoning.

    If it has no reasoning, the message becomes the reasoning.
    """
    last = rollout.turns[-1]
    kept = [item for item in last.response.output if not isinstance(item, Message)]
    if not any(isinstance(item, Reasoning) for item in kept):
        kept.append(Reasoning(content=[ReasoningText(last.response.text)]))
    response = structs.replace(last.response, output=kept)
    return structs.replace(rollout, turns=[*rollout.turns[:-1], structs.replace(last, response=response)])
