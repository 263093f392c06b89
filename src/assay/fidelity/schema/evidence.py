"""What a profile rests on beside its rollouts' scores: findings, a person's marks, parity, published scores.

profiles/NAME/
  plan.json               what the profile is a profile of; written first, never changed
  marks.jsonl             what persons said of rollouts and findings; append-only
  runs/MODEL/             a run directory, and beside its files:
    reference.jsonl       the original code's results for this model, as `assay parity` read them
    parity.json           how they compare with what is here
  profile.json            derived from all of the above, like report.html
  certificate.json        derived, with the digest of everything that it rests on
"""

from typing import Any, Literal

from msgspec import Struct

Fault = Literal["model", "verifier", "task", "infrastructure", "unclear"]
"""Whose a failing rollout is."""


class RolloutRef(Struct, frozen=True):
    """Where a rollout can be read: a model's run, a task, a repeat."""

    model: str
    task: str
    repeat: int


class Sighting(Struct, frozen=True):
    """A rollout that a detector named."""

    rollout: RolloutRef
    evidence: str
    """What shows it, in a few words: a piece of the text, the two values that differ."""


class Finding(Struct, frozen=True, kw_only=True):
    """What one detector found in one model's rollouts."""

    detector: str
    model: str
    suspect: Fault
    """Whose it most likely is."""
    reason: str
    """One or two sentences: what was looked at, what was found, what it may mean and what to do."""
    count: int
    """Rollouts that show it."""
    of: int
    """Rollouts that were looked at."""
    spotted: list[Sighting] = []
    """Rollouts that show it, at most 200 of them."""
    meaning: str = ""
    """What it may mean and what to do: the end of `reason`."""
    scope: Literal["rollout", "run", "failure"] = "rollout"
    """What it is about: single rollouts, the run as a whole, or rollouts without a score."""

    @property
    def share(self) -> float:
        return self.count / self.of


class SuspectTask(Struct, frozen=True, kw_only=True):
    """A task that may be wrong itself, by how all models together did on it."""

    task: str
    suspicion: float
    """0 to 1; tasks are ranked by it."""
    signs: list[str]
    """`never solved`, `label suspect`, `weak above strong`."""
    reason: str
    means: dict[str, float | None]
    """Mean reward by model; null where a model has no score."""
    gold: str | None = None
    consensus: str | None = None
    """The answer that strong models agree on, where it is not the gold one."""


class Mark(Struct, frozen=True, kw_only=True, tag="mark"):
    """Whose a person says that a failing rollout is."""

    model: str
    task: str
    repeat: int
    content: str
    """Digest of what was read: a mark holds for the same output and outcome, whenever they were made."""
    fault: Fault
    note: str = ""
    by: str
    at: str
    """ISO 8601, UTC."""
    proposed: bool = False
    """A model said it: it never counts as read."""
    withdrawn: bool = False
    """A person took back what they said of the rollout: it is not read."""


class Explanation(Struct, frozen=True, kw_only=True, tag="explanation"):
    """Why a finding may stand, in a person's words."""

    model: str
    detector: str
    note: str
    by: str
    at: str
    share: float | None = None
    """Of the rollouts that were looked at, those that showed it then: it says nothing of far more. Null for any."""
    withdrawn: bool = False
    """A person took back what they said of the finding."""


Remark = Mark | Explanation
"""A line of `marks.jsonl`. Of two about the same thing, the later one holds."""


class ReviewState(Struct, frozen=True, kw_only=True):
    """How far a model's failing rollouts were read."""

    failing: int
    """Rollouts with less than full marks, or a failure."""
    sample: int
    """Of them, those that are to be read: drawn by chance, the same ones each time."""
    marked: int
    """Of the sample, those that a person marked."""
    faults: dict[Fault, int] = {}
    """Of those, how many are laid to whom."""
    marks: list[Mark] = []
    """A person's marks of this model's rollouts that still hold, the sample's and others: one for each rollout with
    the content that was read, at its own task and repeat."""
    explained: list[Explanation] = []
    made: int = 0
    """Rollouts that scored or failed: what the failing ones are a part of."""
    unread: list[RolloutRef] = []
    """The sample's that nobody marked yet."""


RungName = Literal["data", "prompts", "verifiers", "samples"]
ReproductionResult = Literal["identical", "equivalent", "different", "inconclusive", "refused"]
RungResult = Literal["identical", "equivalent", "different", "inconclusive", "not run"]


class Disagreement(Struct, frozen=True):
    """One place where the original and what is here are not the same."""

    task: str
    repeat: int | None
    there: str
    """In the original."""
    here: str
    why: str = ""


class Rung(Struct, frozen=True, kw_only=True):
    """One step of the parity ladder, each more telling than the next and looked at before it."""

    name: RungName
    verdict: RungResult
    reason: str
    numbers: dict[str, Any] = {}
    disagreements: list[Disagreement] = []
    """All of them, in the tasks' order."""


class OriginalSource(Struct, frozen=True, kw_only=True):
    """The original code's results that were compared with."""

    file: str
    """Its name."""
    sha256: str
    rows: int
    tasks: int
    repeats: int
    """The most rows of one task."""
    score: float
    """The mean over tasks of a task's mean score, a share."""
    settings: dict[str, Any] = {}
    """How they were obtained, as far as it was said: model, temperature, repeats, subset, …"""


class Parity(Struct, frozen=True, kw_only=True):
    """Whether a benchmark here gives what the original code gives: `parity.json`."""

    benchmark: str
    version: str
    tasks_digest: str
    code: str
    """Digest of the verifier's files at the time."""
    model: str | None
    reference: OriginalSource
    margin: float
    """Of the samples' rung, a share: .02 is two points."""
    verdict: RungResult
    """Identical, equivalent, different or inconclusive: what the ladder comes to."""
    reason: str
    ladder: list[Rung]
    at: str


class Reproduced(Struct, frozen=True, kw_only=True):
    """A published score against the original code's runs, and against the run here. Scores are shares."""

    model: str
    """In the profile."""
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
    """Of the original code's runs. `refused` where their settings are not the published ones."""
    reason: str
    reference_score: float | None = None
    reference_se: float | None = None
    here_score: float | None = None
    here_verdict: ReproductionResult | Literal["not run"] = "not run"
    margin: float = 0.02
    repeats: int | None = None
    """k0: as stated, or else the fewest that can print the score."""
    repeats_stated: bool = False
    producible: bool = True
    """Whether any k0 can print the score."""
