"""The two kinds of detectors, and their input: a rollout or a run."""

from collections.abc import Callable
from dataclasses import dataclass

from assay.fidelity.results.results import Results
from assay.fidelity.schema.evidence import Fault
from assay.types import FunctionCall, Message, Reasoning, Response, Rollout, Score, Task

Example = tuple[int, int, str]
"""(task's index, repeat, evidence)."""
_NOTHING = Response(output=[])


class ScoredRollout:
    """A rollout with a score, with its texts joined once for all detectors."""

    __slots__ = ("calls", "last", "prompt", "reasonings", "rollout", "score", "task", "texts")

    def __init__(self, rollout: Rollout, score: Score, task: Task, prompt: str) -> None:
        self.rollout, self.score, self.task = rollout, score, task
        self.prompt = prompt
        """The text of the task's messages."""
        self.last = rollout.turns[-1].response if rollout.turns else _NOTHING
        self.calls: list[FunctionCall] = []
        """Every call of a tool, in order."""
        self.texts: list[str] = []
        """By turn, the text that a verifier reads."""
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
        """The text of the refusal parts of the last turn."""
        return " ".join(part for item in self.last.output if isinstance(item, Message) for part in item.refusals)


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutDetector:
    """Searches one scored rollout at a time."""

    name: str
    fault: Fault
    """What is most likely at fault."""
    what: str
    """The end of the sentence "3 of 960 rollouts …"."""
    meaning: str
    """The possible causes, and what to do."""
    spot: Callable[[ScoredRollout], str | None]
    """Returns the evidence in a rollout; None if there is none."""
    needs_answers: bool = False
    """Whether it needs a verifier that reports answers."""

    @property
    def description(self) -> str:
        return f"Rollouts that {self.what}."


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvidence:
    """The evidence of a detector in a run."""

    examples: list[Example]
    of: int
    """The number of rollouts that were searched."""
    what: str
    """The end of the sentence "12 of 960 rollouts …"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDetector:
    """Searches all rollouts of a run together, without their texts."""

    name: str
    fault: Fault
    description: str
    meaning: str
    """The possible causes, and what to do."""
    look: Callable[[Results], RunEvidence | None]


Detector = RolloutDetector | RunDetector
