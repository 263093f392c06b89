"""What a profile says: the structs of `profile.json`."""

from typing import Any, Literal

from msgspec import Struct

from assay.config import LOOP, AgentConfig, Suite
from assay.fidelity.schema.evidence import Finding, Parity, Reproduced, ReviewState, RolloutRef, SuspectTask
from assay.types import Kind, Role

Verdict = Literal["pass", "fail", "inconclusive", "not run"]


class Gate(Struct, frozen=True):
    """One question about fidelity, and its answer."""

    name: str
    """As `assay.fidelity.gates` lists them."""
    verdict: Verdict
    reason: str
    """One or two sentences: what was compared with what, and what follows."""
    numbers: dict[str, Any] = {}
    rollouts: list[RolloutRef] = []
    """The rollouts that show it."""


class Check(Struct, frozen=True):
    """One question about a benchmark that needs no model, and its answer."""

    name: str
    verdict: Verdict
    reason: str
    """What was looked at and what was found, with the tasks that show it."""
    tasks: list[str] = []
    """Tasks or pairs of tasks that show it, some of them where there are many."""
    remedy: str | None = None
    """What to do about it, where it isn't passed."""


class Checked(Struct, frozen=True, kw_only=True):
    """What `assay check` says of a benchmark."""

    benchmark: str
    version: str
    tasks: int
    prompt: str
    """The first task's, as the model reads it."""
    checks: list[Check]
    wall_s: float

    @property
    def failed(self) -> bool:
        return any(check.verdict == "fail" for check in self.checks)


class Summary(Struct, frozen=True, kw_only=True):
    """What one run says of its model: `summary.json`. Scores are shares (0 to 1), not percentages."""

    score: float | None = None
    """avg@k: the mean over tasks of a task's mean reward. Failures are left out; null where nothing was scored."""
    se_run: float | None = None
    """Standard error of running again on the same tasks. Null at one repeat. Where the repeats differ by more than
    sampling (run-effect F, p < .005), the error of the run effect, which is larger."""
    se_task: float | None = None
    """Standard error of other tasks of the same kind."""
    interval_run: tuple[float, float] | None = None
    interval_task: tuple[float, float] | None = None
    """95 % intervals that go with the two standard errors."""
    dependence: str | None = None
    """Why the repeats are not independent, so that `se_run` can't be trusted; null where nothing speaks against it."""
    repeats: int = 0
    pass_at_k: dict[str, float] = {}
    """pass@k at k = 1, 2, 4 ... and the repeats, over the tasks with k scores, by k."""
    maj_at_k: dict[str, float] = {}
    """The same for the majority's answer; empty where the verifier does not say what it read as the answer."""
    rollouts: int = 0
    """Rollouts with a score."""
    owed: int = 0
    """Planned rollouts that were never tried: the run was interrupted or stopped early. The rest scored or failed."""
    failures: int = 0
    """Planned rollouts that failed and have no score from a later attempt."""
    score_failures_zero: float | None = None
    """The score if every failure were a zero: how much the failures could matter, never the score itself."""
    no_answer: float | None = None
    """Share of scored rollouts in which the verifier found no answer; null where it does not say what it read."""
    token_cap: float | None = None
    """Share of scored rollouts that reached the token cap."""
    by_category: dict[str, float] = {}
    """Score by the tasks' `category` tag."""
    tokens: dict[str, int] = {}
    """`input`, of it `cached`, `output`, of it `reasoning`, summed over rollouts, failed ones included. Without
    `reasoning` where a server reasons and does not say how much."""
    cost_usd: float | None = None
    """US dollars for these tokens, by the prices in the model server's configuration; null where it has none."""
    wall_s: float = 0.0
    """Seconds, summed over rollouts, which run side by side."""


class ModelSummary(Summary, frozen=True, kw_only=True):
    """One model in a profile."""

    role: Role
    kind: Kind
    tier: int
    ran: bool
    """False where the climb ended below this model's tier; the figures are then null."""
    per_task: str | None = None
    """Path, relative to the profile, of a JSONL table: a row a task with its rewards."""


class Repeats(Struct, frozen=True):
    """Does the score stand still: of the strongest open model. SDs are in percentage points of avg@k."""

    model: str
    k_set: int
    k_star: int | None
    """Repeats needed for an SD of one point, by the estimate of the variance within tasks."""
    k_upper: int | None
    """The same by that variance's upper bound: how many to run."""
    sd_run: float
    """SD of avg@k at k_set."""
    sd_run_upper: float
    curve: list[tuple[int, float, float]] = []
    """(k, SD, upper bound of the SD), for the chart."""


class BenchmarkRecord(Struct, frozen=True):
    """The benchmark that was profiled."""

    name: str
    version: str
    digest: str
    """Of the tasks."""
    tasks: int
    code: str = ""
    """Digest of the code that decides its scores."""
    sources: dict[str, str] = {}
    """What that is: SHA-256 by file, and the version of each package."""


class Plan(Struct, frozen=True, kw_only=True):
    """What a command asked a profile to be: a line of `plan.jsonl`, written before anything runs."""

    source: str
    """How the command named the benchmark."""
    benchmark: BenchmarkRecord
    chance: float
    """The score that guessing is stated to reach."""
    suite: Suite
    """Without the values of headers, which may be secrets."""
    limit: int | None
    """Only so many tasks, from the first; null for all."""
    repeats: int
    until_stable: bool = False
    """Whether the strongest open model was given more repeats, until its score stood still."""
    seed: int
    agent: AgentConfig = LOOP
    versions: dict[str, str]
    started: str
    """ISO 8601, UTC."""


class Profile(Struct, frozen=True):
    """One benchmark on one suite: everything computed. `profile.json` is this struct."""

    benchmark: BenchmarkRecord
    suite: str
    models: dict[str, ModelSummary]
    gates: list[Gate]
    repeats: Repeats | None
    versions: dict[str, str]
    started: str
    """ISO 8601, UTC."""
    wall_s: float | None = None
    """Of the command that ran the models; null where the profile was computed again."""
    findings: list[Finding] = []
    """What the detectors found in each model's rollouts."""
    suspects: list[SuspectTask] = []
    """Tasks that may be wrong themselves, the most suspect first."""
    review: dict[str, ReviewState] = {}
    """By model, how far its failing rollouts were read by a person."""
    parity: dict[str, Parity] = {}
    """By model, how the original code's results compare with what is here."""
    reproduced: list[Reproduced] = []
    """Published scores against the original code's runs, and the runs here."""
    original: bool = False
    """Whether the benchmark states that there is no other code to compare it with."""


class TaskRow(Struct, frozen=True):
    """A task in a model's per-task table."""

    task: str
    category: str
    rewards: list[float | None]
    """By repeat; null where the rollout failed or was not run."""
    output_tokens: list[int | None]


Voice = Literal["prompt", "reasoning", "message", "refusal", "call", "output", "role"]
"""Whose a piece is: what the model was given; what it thought, said, declined, called; what a tool answered; what a
model in a role, such as a judge, said."""


class Piece(Struct, frozen=True):
    """One thing that somebody said in a rollout."""

    voice: Voice
    title: str
    """Such as `turn 2: call of get_mail`. Names in it may be the model's own words."""
    text: str


class Reading(Struct, frozen=True):
    """A rollout to read in the report."""

    model: str
    task: str
    repeat: int
    category: str
    asked: list[Piece]
    """What the model was given at first."""
    said: list[Piece]
    """All that came after, in its order."""
    answer: str | None
    """What the verifier read as the answer."""
    gold: str | None
    reward: float | None
    """Null where the rollout failed."""
    why: str
    """Why it is here, in words: 'answered 41, gold 42', 'reached the token cap', 'failed: http_500 …'."""
