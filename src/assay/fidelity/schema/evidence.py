"""The evidence of a profile beside its scores: findings, a person's marks, parity, published scores.

profiles/NAME/
  plan.jsonl              the benchmark, the suite and the settings; written first
  marks.jsonl             the marks and explanations of persons, and the marks that models proposed; append-only
  runs/MODEL/             a run directory, with two more files:
    reference.jsonl       the original code's results for this model, as `assay parity` read them
    parity.json           how they compare with the benchmark here
  profile.json            derived from all of the above, like report.html
  certificate.json        derived, with the digests of all files above
"""

from typing import Any, Literal

from msgspec import Struct

Fault = Literal["model", "verifier", "task", "infrastructure", "unclear"]
"""What is at fault for a failing rollout."""


class RolloutRef(Struct, frozen=True):
    """Where a rollout can be read: a model's run, a task, a repeat."""

    model: str
    task: str
    repeat: int


class Sighting(Struct, frozen=True):
    """A rollout that shows what a detector looks for."""

    rollout: RolloutRef
    evidence: str
    """A few words: a piece of the text, or the two values that differ."""


class Finding(Struct, frozen=True, kw_only=True):
    """The rollouts of one model that show what one detector looks for."""

    detector: str
    model: str
    suspect: Fault
    """What is most likely at fault."""
    reason: str
    """One or two sentences: how many rollouts show what, what it may mean, and what to do."""
    count: int
    """Rollouts that show it."""
    of: int
    """Rollouts that the detector examined."""
    spotted: list[Sighting] = []
    """Rollouts that show it, at most 200 of them."""
    meaning: str = ""
    """What it may mean and what to do: the end of `reason`."""
    scope: Literal["rollout", "run", "failure"] = "rollout"
    """Single rollouts, the run as a whole, or rollouts without a score."""

    @property
    def share(self) -> float:
        return self.count / self.of


class SuspectTask(Struct, frozen=True, kw_only=True):
    """A task that may be wrong itself, judged by the answers of all models."""

    task: str
    suspicion: float
    """The probability that the task is not sound, 0 to 1."""
    signs: list[str]
    """`never solved`, `label suspect`, `weak above strong`."""
    reason: str
    means: dict[str, float | None]
    """Mean reward by model; null where a model has no score."""
    gold: str | None = None
    consensus: str | None = None
    """The answer that strong models agree on, where it is not the gold one."""


class Mark(Struct, frozen=True, kw_only=True, tag="mark"):
    """A person's judgement of what is at fault for a failing rollout."""

    model: str
    task: str
    repeat: int
    content: str
    """Digest of the output and the outcome. A mark holds for every rollout with the same content."""
    fault: Fault
    note: str = ""
    by: str
    at: str
    """ISO 8601, UTC."""
    proposed: bool = False
    """Whether a model made the mark. Such a mark never counts."""
    withdrawn: bool = False
    """Whether the person withdrew the mark of this rollout."""


class Explanation(Struct, frozen=True, kw_only=True, tag="explanation"):
    """A person's reason why a finding is acceptable."""

    model: str
    detector: str
    note: str
    by: str
    at: str
    share: float | None = None
    """The share of rollouts that showed the finding then. It explains up to about twice as many; null explains any."""
    withdrawn: bool = False
    """Whether the person withdrew the explanation of this finding."""


Remark = Mark | Explanation
"""A line of `marks.jsonl`. A later line replaces an earlier one about the same rollout or finding."""


class ReviewState(Struct, frozen=True, kw_only=True):
    """How many of a model's failing rollouts a person has read, and the results."""

    failing: int
    """Rollouts with less than full marks, or a failure."""
    sample: int
    """The number of them to read: a random sample, the same one each time."""
    marked: int
    """The number of the sample that a person marked."""
    faults: dict[Fault, int] = {}
    """The number of these by what is at fault."""
    marks: list[Mark] = []
    """A person's marks that hold for rollouts of this model, in the sample or not: one for each rollout with the
    content that was read, at its own task and repeat."""
    explained: list[Explanation] = []
    made: int = 0
    """All rollouts that scored or failed."""
    unread: list[RolloutRef] = []
    """The rollouts of the sample without a mark."""


RungName = Literal["data", "prompts", "verifiers", "samples"]
ReproductionResult = Literal["identical", "equivalent", "different", "inconclusive", "refused"]
RungResult = Literal["identical", "equivalent", "different", "inconclusive", "not run"]


class Disagreement(Struct, frozen=True):
    """One place where the original and the benchmark here differ."""

    task: str
    repeat: int | None
    there: str
    """The value in the original."""
    here: str
    why: str = ""


class Rung(Struct, frozen=True, kw_only=True):
    """One step of the parity ladder. Each step says more about scores than the one before it."""

    name: RungName
    verdict: RungResult
    reason: str
    numbers: dict[str, Any] = {}
    disagreements: list[Disagreement] = []
    """All of them, in the order of the tasks."""


class OriginalSource(Struct, frozen=True, kw_only=True):
    """The file with the original code's results."""

    file: str
    """The name of the file."""
    sha256: str
    rows: int
    tasks: int
    repeats: int
    """The most rows of one task."""
    score: float
    """The mean over tasks of a task's mean score, a share."""
    settings: dict[str, Any] = {}
    """The settings that were stated: model, temperature, repeats, subset, …"""


class Parity(Struct, frozen=True, kw_only=True):
    """Whether a benchmark here gives what the original code gives: `parity.json`."""

    benchmark: str
    version: str
    tasks_digest: str
    code: str
    """Digest of the code that decides scores, at the time."""
    model: str | None
    reference: OriginalSource
    margin: float
    """The margin of the samples step, a share: .02 is two points."""
    verdict: RungResult
    """The result of the whole ladder: identical, equivalent, different or inconclusive."""
    reason: str
    ladder: list[Rung]
    at: str


class Reproduced(Struct, frozen=True, kw_only=True):
    """A published score against the original code's runs, and against the run here. Scores are shares."""

    model: str
    """The model's name in the profile."""
    published_as: str
    """The model's name where the score was published."""
    score: float
    unit: float
    """The step of its last printed digit: .001 for 92.3 %."""
    subset: str
    settings: dict[str, Any]
    source: str
    date: str
    verdict: ReproductionResult
    """The result of the original code's runs. `refused` where their settings are not the published ones."""
    reason: str
    reference_score: float | None = None
    reference_se: float | None = None
    here_score: float | None = None
    here_verdict: ReproductionResult | Literal["not run"] = "not run"
    margin: float = 0.02
    repeats: int | None = None
    """k0: as stated, or else the smallest number that can give the score."""
    repeats_stated: bool = False
    producible: bool = True
    """Whether any k0 can give the score."""
