"""The lines of a profile's `judge.jsonl`: a judge that is asked again about stored answers, and persons' labels."""

from typing import Any, Literal

from msgspec import Struct

JudgementKind = Literal["again", "second", "plain", "injection"]
"""The judge about a stored answer; a second judge about it; the judge about a wrong answer, without and with a command
to the judge in it."""


class StoredAnswer(Struct, frozen=True, kw_only=True):
    """A rollout's answer that a judge scored."""

    model: str
    task: str
    repeat: int
    content: str
    """Digest of the task and the answer's text."""
    reward: float
    """As it was scored in the run."""

    @property
    def passes(self) -> bool:
        return self.reward >= 0.5


class Panel(Struct, frozen=True, kw_only=True, tag="panel"):
    """What is asked of one judge: the judgements on the lines that follow are about these answers."""

    judge: dict[str, Any]
    """What tells the judge from others: its id and its settings."""
    second: dict[str, Any] | None
    tasks_digest: str
    code: str
    """Digest of the code that decides scores, the rubric included."""
    answers: list[StoredAnswer]
    passing: int
    """Of all rollouts that the judge scored, those that pass."""
    judged: int

    @property
    def base_rate(self) -> float:
        """The share of all judged rollouts that pass."""
        return self.passing / self.judged


class Judgement(Struct, frozen=True, kw_only=True, tag="judgement"):
    """One answer judged once."""

    kind: JudgementKind
    content: str
    """Of the stored answer; of an injection and its plain answer, the task's id."""
    sample: int
    """The number of the judgement; of an injection, the number of the attack."""
    reward: float | None
    """Null where the judge gave none."""
    failure: str = ""


class Label(Struct, frozen=True, kw_only=True, tag="label"):
    """A person's judgement of a stored answer, made without sight of the judge's."""

    content: str
    right: bool
    by: str
    at: str
    """ISO 8601, UTC."""


JudgeLine = Panel | Judgement | Label


class Judging(Struct, frozen=True, kw_only=True):
    """What `judge.jsonl` comes to: the last panel, its judgements, and the last label of each answer."""

    panel: Panel
    judgements: list[Judgement]
    labels: dict[str, Label]
    """By the content of a stored answer."""
    lost: int = 0
    """Answers of the panel that the runs do not hold as they were judged."""
