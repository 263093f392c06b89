"""The evidence of a profile beside its scores: findings, readers' marks, parity, published scores.

profiles/NAME/
  plan.jsonl              the benchmark, the suite and the settings; written first
  marks.jsonl             the marks and explanations of readers; append-only
  runs/MODEL/             a run directory, with two more files:
    reference.jsonl       the original code's results for this model, as `assay parity` read them
    parity.json           how they compare with the benchmark here
  profile.json            derived from all of the above, like report.html
  certificate.json        derived, with the digests of all files above
"""

from typing import Any, Literal

from msgspec import Struct

Fault = Literal["model", "verifier", "task", "environment", "unclear"]
"""What a reward is owed to. `model`: the reward is right, whatever it is. The next three are faults of the
benchmark."""


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
    """A reader's judgement of one rollout: whether its reward is right, and if not, what is at fault."""

    model: str
    task: str
    repeat: int
    content: str
    """Digest of what was asked and of all that the model wrote. A mark holds for every rollout with this content."""
    task_digest: str
    """Of the task as it was, its gold answer included."""
    reward: float | None
    """The reward that the reader saw; null for a rollout without a score."""
    fault: Fault
    note: str = ""
    by: str
    """The reader. A model's name stands behind `model:`."""
    at: str
    """ISO 8601, UTC."""
    withdrawn: bool = False
    """Whether the reader withdrew the mark of this rollout."""


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
"""A line of `marks.jsonl`. Of two lines of one reader about the same rollout or finding, the later counts."""


class Reader(Struct, frozen=True, kw_only=True):
    """One reader: what was read, when, and how many planted faults were found."""

    read: int
    """Rollouts with a mark, planted ones included."""
    first: str
    last: str
    """When the first and the last mark was made; ISO 8601, UTC."""
    minutes: float
    """The time between marks, without pauses."""
    planted: int = 0
    """Planted faults that this reader read. 0 until everything is read, as for the next three."""
    found: int = 0
    sound: int = 0
    """Real rollouts that this reader read and that are right by the last word on them."""
    reported: int = 0
    """Those of them in which this reader reported a fault."""


class ModelReview(Struct, frozen=True, kw_only=True):
    """What was read of one model's rollouts."""

    made: int
    """Rollouts with a score."""
    failing: int
    """Those of them with less than full marks."""
    sample: int
    """The number to read, planted faults included."""
    marked: int
    """The number of these that a reader marked."""
    faults: dict[Fault, int] = {}
    """The marks of real rollouts by what is at fault. Empty until everything is read, as the next field is."""
    marks: list[Mark] = []
    """The marks that hold for real rollouts, the last word on each."""
    explained: list[Explanation] = []
    settled: list[str] = []
    """The findings that need no more attention, by detector."""


class Review(Struct, frozen=True, kw_only=True):
    """How many rollouts of a profile were read, and what the readers found. Shares are of rollouts."""

    made: int = 0
    """Rollouts with a score, but for those of declared tasks."""
    declared: int = 0
    """Rollouts with a score of tasks that the benchmark declares as defective."""
    limit: float = 0.05
    """The share at fault that has to be ruled out."""
    sample: int = 0
    """The number of the main sample to read: drawn at random from all models' rollouts, failing and passing."""
    at_fault: int = 0
    """The number of the main sample that was found at fault, or is unclear. 0 until everything is read."""
    bounds: tuple[float, float] | None = None
    """Lower and upper bound of the share at fault, all rollouts of declared tasks counted as at fault in the upper one.
    Null until everything is read."""
    fresh: bool = False
    """Whether the main sample began anew, with unread rollouts, after a verifier was mended."""
    left: int = 0
    """Rollouts that are still to be read, planted ones included."""
    minutes: float = 0.0
    """About how long that takes."""
    standing: list[Mark] = []
    """Faults that were reported and are neither mended nor declared."""
    unclear: list[Mark] = []
    """Rollouts that need a second reader."""
    waiting: list[Finding] = []
    """Findings that nobody explained, declared, mended, or found to be the model's."""
    readers: dict[str, Reader] = {}
    """By name."""
    models: dict[str, ModelReview] = {}

    @property
    def finished(self) -> bool:
        """Whether everything is read."""
        return not self.left


RungName = Literal["data", "prompts", "verifiers", "samples"]
ReproductionResult = Literal["identical", "equivalent", "different", "inconclusive", "refused", "another score"]
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
    aggregate: str | None = None
    """The score of all results in per cent, as it is printed, where no result has a score of its own."""
    log: str | None = None
    """The harness whose log it is."""
    remarks: list[str] = []
    """How rows were matched with tasks, and what was left out."""


class SampleLook(Struct, frozen=True, kw_only=True):
    """One comparison of fresh samples with the original's: later ones at more repeats have to show more."""

    at: str
    difference: float
    """Here less there."""
    se: float
    repeats_here: int
    repeats_there: int


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
    looks: list[SampleLook] = []
    """All comparisons of fresh samples of this run, in their order; the last is the ladder's."""
    at: str


class Reproduced(Struct, frozen=True, kw_only=True):
    """A published score against the original code's runs, and against the run here. Scores are shares."""

    model: str
    """The model's name in the profile."""
    published_as: str
    """The model's name where the score was published, with what tells several scores of it apart."""
    score: float
    unit: float
    """The step of its last printed digit: .001 for 92.3 %."""
    subset: str
    settings: dict[str, Any]
    source: str
    date: str
    verdict: ReproductionResult
    """The result of the original code's runs. `refused` where their settings are not the published ones, and `another
    score` where the published one is aggregated in another way than the benchmark's."""
    reason: str
    reference_score: float | None = None
    reference_se: float | None = None
    """Of the difference from the published score: with the published side's noise and rounding. None where the same
    outputs are compared, or the noise is not known."""
    here_score: float | None = None
    here_se: float | None = None
    here_verdict: ReproductionResult | Literal["not run"] = "not run"
    margin: float = 0.02
    repeats: int | None = None
    """k0: as stated, or else the smallest number that can give the score."""
    repeats_stated: bool = False
    producible: bool = True
    """Whether any k0 can give the score."""
    whole: bool = True
    """Whether it is the declared score of all tasks: only those are pooled over models."""
    aggregation: str | None = None
    """How the published score is aggregated, where that is not the benchmark's way."""
