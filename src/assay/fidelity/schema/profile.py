"""The structs of `profile.json`."""

from typing import Any, Literal

from msgspec import Struct

from assay.config import LOOP, AgentConfig, Suite
from assay.fidelity.schema.evidence import (
    Explanation,
    Finding,
    Parity,
    Reproduced,
    Review,
    RolloutRef,
    SuspectTask,
)
from assay.fidelity.schema.forecast import Forecast
from assay.score import Selection
from assay.types import Kind, Role

Verdict = Literal["pass", "fail", "inconclusive", "not run"]


class Gate(Struct, frozen=True):
    """One question about fidelity, with its verdict."""

    name: str
    """As `assay.fidelity.gates` lists them."""
    verdict: Verdict
    reason: str
    """One or two sentences: what was compared, and what follows."""
    numbers: dict[str, Any] = {}
    rollouts: list[RolloutRef] = []
    """The rollouts that show it."""
    unseen: str = ""
    """A sentence on what it could not have seen, with the smallest fault that it would have noticed with 80 %."""
    bound: str = ""
    """What a pass bounds, for the first line of the certificate: `at fault < 3.1 points`."""
    explained: list[Explanation] = []
    """Persons' explanations, without which it would not pass."""
    p_fail: float | None = None
    """The p-value of its failure, if it is a test. It fails at 5 %, after Holm's correction over all gates that are."""
    applies: bool = True
    """False where the question does not arise, such as that of a judge where there is none."""

    @property
    def word(self) -> str:
        """The verdict as readers see it: a pass by an explanation is `explained`."""
        return "explained" if self.verdict == "pass" and self.explained else self.verdict


class Check(Struct, frozen=True):
    """One question about a benchmark that needs no model, with its verdict."""

    name: str
    verdict: Verdict
    reason: str
    """What was checked and the result, with the tasks that show it."""
    tasks: list[str] = []
    """Tasks or pairs of tasks that show it. Where there are many, only some."""
    remedy: str | None = None
    """What to do where the verdict is not pass."""


class Checked(Struct, frozen=True, kw_only=True):
    """The result of `assay check`."""

    benchmark: str
    version: str
    tasks: int
    prompt: str
    """The prompt of the first task, as the model reads it."""
    checks: list[Check]
    wall_s: float

    @property
    def failed(self) -> bool:
        return any(check.verdict == "fail" for check in self.checks)


class GroupScore(Struct, frozen=True):
    """The score of a group of tasks."""

    score: float
    tasks: int
    """With a score."""
    interval_task: tuple[float, float] | None = None
    """95 %, over other tasks of the same kind. Null below two tasks."""


class Summary(Struct, frozen=True, kw_only=True):
    """The results of one run: `summary.json`. Scores are shares (0 to 1), not percentages."""

    score: float | None = None
    """The score that `score_is` names. Failures are left out; null where nothing was scored."""
    score_is: str = "mean reward"
    """What the benchmark declares that its score is, such as "mean over subset of the mean reward"."""
    lacking: int = 0
    """Tasks that have scored repeats, but not as many as the score takes: pass^4 takes 4. They are not in the score."""
    se_run: float | None = None
    """Standard error of a second run on the same tasks; at one repeat an upper bound. Where the repeats differ by more
    than sampling (run-effect F, p < .005), it is the error of the run effect, which is larger."""
    se_task: float | None = None
    """Standard error over other tasks of the same kind."""
    interval_run: tuple[float, float] | None = None
    interval_task: tuple[float, float] | None = None
    """95 % intervals that go with the two standard errors; null where fewer than ten tasks have a score."""
    dependence: str | None = None
    """Why the repeats are not independent, so that `se_run` is wrong. Null where they seem independent."""
    repeats: int = 0
    pass_at_k: dict[str, float] = {}
    """pass@k at k = 1, 2, 4 ... and the repeats, over the tasks with k scores, by k."""
    maj_at_k: dict[str, float] = {}
    """maj@k, the score of the most frequent answer. Empty where the verifier reports no answers."""
    rollouts: int = 0
    """Rollouts with a score."""
    owed: int = 0
    """Planned rollouts that were never made, because the run was interrupted or stopped early."""
    failures: int = 0
    """Planned rollouts that failed and have no score from a later attempt."""
    score_failures_zero: float | None = None
    """The score if every failure were a zero. It shows how much the failures could matter."""
    no_answer: float | None = None
    """Share of scored rollouts in which the verifier read no answer. Null where it reports no answers."""
    undecided: float | None = None
    """Share of scored rollouts in which the verifier could not decide what the answer is: its metric `undecided`."""
    token_cap: float | None = None
    """Share of scored rollouts that reached the token cap."""
    grouped_by: list[str] = []
    """The tags that `groups` are of: those of the declared score, else `category`."""
    groups: dict[str, GroupScore] = {}
    """The score of each group; of one within another group the name is `OUTER / INNER`."""
    tokens: dict[str, int] = {}
    """`input`, `output`, `cached` (a part of the input) and `reasoning` (a part of the output), summed over all
    rollouts, failed ones included. `reasoning` is missing where a server reasons and does not count it."""
    cost_usd: float | None = None
    """The cost of these tokens in US dollars, by the prices in the model's configuration. Null without prices."""
    wall_s: float = 0.0
    """Seconds, summed over rollouts. Rollouts run in parallel, so a run takes less."""


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
    """How stable the score of the strongest open model is. SDs are in percentage points of avg@k."""

    model: str
    k_set: int
    k_star: int | None
    """Repeats needed for an SD of one point, by the estimate of the variance within tasks."""
    k_upper: int | None
    """Repeats needed by the upper bound of that variance: the number to run."""
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
    """Digest of the tasks."""
    tasks: int
    code: str = ""
    """Digest of the code that decides its scores."""
    sources: dict[str, str] = {}
    """SHA-256 of each file of that code, and the version of each package."""
    all_tasks: int | None = None
    """All that the benchmark has, where a limit leaves some out."""
    declared: list[str] = []
    """The tasks that the benchmark declares as defective, by id."""


class Plan(Struct, frozen=True, kw_only=True):
    """The settings of one command: a line of `plan.jsonl`, written before anything runs."""

    source: str
    """The benchmark's name in the command."""
    benchmark: BenchmarkRecord
    chance: float
    """The score of a guess, as the benchmark states it."""
    hard: str = ""
    """Why no open model masters it, as the benchmark declares; empty where it declares nothing."""
    suite: Suite
    """Without the values of headers, which may be secrets."""
    margins: dict[str, float] = {}
    """By gate, the margin that the registry holds since before the first run, as a share."""
    selection: Selection = Selection()
    """The tasks that were asked for."""
    repeats: int
    """Of each model, if the forecast is not followed."""
    forecast: Forecast | None = None
    """What `assay plan` said when the command began. Null where no model is measured."""
    follows: bool = False
    """Whether exactly the forecast's rollouts are made."""
    until_stable: bool = False
    """Whether the strongest open model gets more repeats until its score is stable."""
    seed: int
    agent: AgentConfig = LOOP
    versions: dict[str, str]
    started: str
    """ISO 8601, UTC."""

    def repeats_of(self, model: str) -> int:
        """Returns the repeats that are planned of a model: 0 if the forecast is followed and does without it."""
        if not (self.forecast and self.follows) or self.suite.models[model].answers_tasks:
            return self.repeats
        return self.forecast.repeats.get(model, 0)


class Profile(Struct, frozen=True):
    """All results of one benchmark on one suite: `profile.json`."""

    benchmark: BenchmarkRecord
    suite: str
    models: dict[str, ModelSummary]
    gates: list[Gate]
    repeats: Repeats | None
    versions: dict[str, str]
    started: str
    """ISO 8601, UTC."""
    wall_s: float | None = None
    """Seconds of the command that ran the models. Null where the profile was computed again."""
    findings: list[Finding] = []
    """The detectors' findings in each model's rollouts."""
    suspects: list[SuspectTask] = []
    """Tasks that may be wrong themselves, the most suspect first."""
    review: Review = Review()
    """How many rollouts were read, and what the readers found."""
    parity: dict[str, Parity] = {}
    """By model, how the original code's results compare with the benchmark here."""
    reproduced: list[Reproduced] = []
    """Published scores, compared with the original code's runs and the runs here."""
    original: bool = False
    """Whether the benchmark states that there is no other code to compare it with."""
    forecast: Forecast | None = None
    """What was expected of the gates before anything ran."""


class TaskRow(Struct, frozen=True):
    """A task in a model's per-task table."""

    task: str
    category: str
    rewards: list[float | None]
    """By repeat; null where the rollout failed or was not run."""
    output_tokens: list[int | None]


Voice = Literal["prompt", "reasoning", "message", "refusal", "call", "output", "role"]
"""The kind of a piece: the prompt; the model's reasoning, message, refusal or call; the output of a tool; or the answer
of a model in a role, such as a judge."""


class Piece(Struct, frozen=True):
    """One piece of a rollout's transcript."""

    voice: Voice
    title: str
    """For example `turn 2: call of get_mail`. A model may have written the names in it."""
    text: str


class Reading(Struct, frozen=True):
    """A rollout to read in the report."""

    model: str
    task: str
    repeat: int
    category: str
    asked: list[Piece]
    """The pieces of the prompt."""
    said: list[Piece]
    """All later pieces, in order."""
    answer: str | None
    """The answer that the verifier read."""
    gold: str | None
    reward: float | None
    """Null where the rollout failed."""
    why: str
    """Why it is shown: 'answered 41, gold 42', 'reached the token cap', 'failed: http_500 …'."""
