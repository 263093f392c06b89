"""What a detector is, and what it is shown of a rollout or of a run."""

from collections.abc import Callable
from dataclasses import dataclass

from assay.fidelity.results.results import Results
from assay.fidelity.schema.evidence import Fault
from assay.types import FunctionCall, Message, Reasoning, Response, Rollout, Score, Task

Shown = tuple[int, int, str]
"""(task's index, repeat, evidence)."""
_NOTHING = Response(output=[])


class ScoredRollout:
    """A rollout with a score, as detectors see it: its texts are put together once for all of them."""

    __slots__ = ("calls", "last", "prompt", "reasonings", "rollout", "score", "task", "texts")

    def __init__(self, rollout: Rollout, score: Score, task: Task, prompt: str) -> None:
        self.rollout, self.score, self.task = rollout, score, task
        self.prompt = prompt
        """The text of the task's messages."""
        self.last = rollout.turns[-1].response if rollout.turns else _NOTHING
        self.calls: list[FunctionCall] = []
        """Every call of a tool, in order."""
        self.texts: list[str] = []
        """By turn, what a verifier reads of it."""
        self.reasonings: list[str] = []
        for turn in rollout.turns:
            said: list[str] = []
            thought: list[str] = []
            for item in turn.response.output:
                if isinstance(item, Message):
                    said.append(item.text)
                elif isinstance(item, Reasoning):
                    thought.append(item.text)
                elif isinstance(item, FunctionCall):
                    self.calls.append(item)
            self.texts.append(said[0] if len(said) == 1 else "\n".join(said))
            self.reasonings.append("\n".join(thought) if thought else "")

    @property
    def text(self) -> str:
        """The last turn's text."""
        return self.texts[-1] if self.texts else ""

    @property
    def reasoning(self) -> str:
        """The last turn's reasoning."""
        return self.reasonings[-1] if self.reasonings else ""

    @property
    def refusal(self) -> str:
        """What stands in the refusal parts of the last turn."""
        return " ".join(part for item in self.last.output if isinstance(item, Message) for part in item.refusals)


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutDetector:
    """Looks at one scored rollout at a time."""

    name: str
    fault: Fault
    """Whose such a rollout most likely is."""
    what: str
    """What such rollouts did, after "3 of 960 rollouts"."""
    meaning: str
    """What it may mean, and what to do."""
    spot: Callable[[ScoredRollout], str | None]
    """The evidence in a rollout; None where it does not show this."""
    needs_answers: bool = False
    """Whether it says nothing of a run whose verifier never names what it read as the answer."""

    @property
    def description(self) -> str:
        return f"Rollouts that {self.what}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a detector sees in a run."""

    shown: list[Shown]
    of: int
    """Rollouts that were looked at."""
    what: str
    """What was seen, after "12 of 960 rollouts"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDetector:
    """Looks at all rollouts of a run together, by their light columns alone."""

    name: str
    fault: Fault
    description: str
    meaning: str
    """What it may mean, and what to do."""
    look: Callable[[Results], Seen | None]


Detector = RolloutDetector | RunDetector
