"""Does reading let a sound benchmark pass, and a broken one not?"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from assay.fidelity.gates.read import read_gate
from assay.fidelity.results.columns import Cell
from assay.fidelity.results.contender import Contender
from assay.fidelity.results.results import Results
from assay.fidelity.review.plants import FOUND, KINDS, REPORTED, Plant
from assay.fidelity.review.review import Material, Progress, material, review
from assay.fidelity.review.sample import MOST, SHORT_RULE, Spot, failing_quota
from assay.fidelity.schema.evidence import Fault, Mark, Remark, Review
from assay.stats.distributions import binomial_lower, binomial_tail, binomial_upper
from assay.types import Message, Task
from studies.draw import generator_of
from studies.row import UNCLAIMED, Row, at_least, at_most, figure, mean, share

TASKS, REPEATS = 198, 1
STRENGTHS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""The solve rates of seven models, on GPQA diamond's number of tasks."""
START = datetime(2026, 1, 1, tzinfo=UTC)
Judge = Callable[[Spot | Plant], Fault]


def reading(trials: int) -> Iterator[Row]:
    """A reader who finds every fault, and benchmarks with faults of known size."""
    few = max(2, 2 * trials // 5)
    yield from _bounds(4 * trials)
    yield from _sound(max(2, trials))
    for rate in (0.02, 0.05, 0.10):
        yield from _wrong_labels(rate, few if rate < 0.05 else few // 2)
    yield from _misread(few)
    yield from _one_model(4 * trials)
    yield from _readers()


def _bounds(trials: int) -> Iterator[Row]:
    """The bounds alone, over all looks, at the limit."""
    generator, limit = generator_of("bounds"), SHORT_RULE.limit
    for what, p, decides, claim in (
        ("5 % of rollouts are at fault, and the bound says fewer", limit, _says_fewer, at_most(0.05)),
        ("5 % of rollouts are at fault, and the bound says more", limit, _says_more, at_most(0.05)),
        ("1 % of rollouts are at fault, and the bound says fewer than 5 %", 0.01, _says_fewer, at_least(0.95)),
        ("10 % of rollouts are at fault, and the bound says more than 5 %", 0.10, _says_more, at_least(0.5)),
    ):
        faults_N = generator.random((trials, SHORT_RULE.looks[-1].rollouts)) < p
        yield share(what, [decides(row) for row in faults_N], claim)


def _verdict(faults_N: np.ndarray) -> int:
    """-1 where the bound is below the limit at a look, 1 where it is above, 0 where no look decides."""
    for rollouts, alpha in SHORT_RULE.looks:
        found = int(faults_N[:rollouts].sum())
        if binomial_upper(found, rollouts, 1 - alpha) < SHORT_RULE.limit:
            return -1
        if binomial_lower(found, rollouts, 1 - alpha) >= SHORT_RULE.limit:
            return 1
    return 0


def _says_fewer(faults_N: np.ndarray) -> bool:
    return _verdict(faults_N) < 0


def _says_more(faults_N: np.ndarray) -> bool:
    return _verdict(faults_N) > 0


@dataclass(frozen=True)
class Bench:
    """A simulated profile: which rollouts are right, and what the verifier gives them."""

    right_MTK: np.ndarray
    rewards_MTK: np.ndarray

    def material(self, *, declared: Iterable[str] = (), mended: datetime | None = None) -> Material:
        contenders = [_contender(m, rewards_TK) for m, rewards_TK in enumerate(self.rewards_MTK)]
        rescored = {one.name: mended for one in contenders} if mended else {}
        return material(contenders, (), declared, rescored)

    def correct(self, tasks: Iterable[str]) -> "Bench":
        """Returns a copy with other gold answers for these tasks: their rollouts get the opposite score."""
        chosen = [int(task[1:]) for task in tasks]
        rewards_MTK = self.rewards_MTK.copy()
        rewards_MTK[:, chosen] = 1 - rewards_MTK[:, chosen]
        return Bench(self.right_MTK, rewards_MTK)

    def is_wrong(self, spot: Spot) -> bool:
        return spot.cell.reward != float(self.right_MTK[int(spot.model), spot.cell.task, spot.cell.repeat])


TASK_LIST = [Task(id=f"t{i}", input=[Message(role="user", content=str(i))], gold=str(i)) for i in range(TASKS)]


def _contender(m: int, rewards_TK: np.ndarray) -> Contender:
    cells = [
        Cell(t, k, float(reward), str(t) if reward else f"{t}?", "completed", 100, (m * TASKS + t) * REPEATS + k)
        for (t, k), reward in np.ndenumerate(rewards_TK)
    ]
    return Contender(str(m), "open", "instruct", 1, Results(TASK_LIST, rewards_TK, cells, {}, 0.0))


def _bench(generator: np.random.Generator) -> np.ndarray:
    """[M, T, K]: which rollouts are right."""
    return generator.random((len(STRENGTHS), TASKS, REPEATS)) < np.array(STRENGTHS)[:, None, None]


def _read(there: Material, judge: Judge, said: list[Remark], at: datetime) -> Review:
    """Returns what comes of reading until nothing is left. The marks are added to `said`."""
    while True:
        progress = Progress(there, said)
        queue = progress.queue("reader")
        if not queue:
            return review(progress)
        said += [_mark(one, judge(one), at) for one in queue]


def _mark(one: Spot | Plant, fault: Fault, at: datetime) -> Mark:
    spot, reward = (one, one.cell.reward) if isinstance(one, Spot) else (one.base, one.reward)
    return Mark(
        model=spot.model,
        task=spot.task.id,
        repeat=spot.cell.repeat,
        content=one.content,
        task_digest=spot.task_digest,
        reward=reward,
        fault=fault,
        by="reader",
        at=at.isoformat(),
    )


def _sound(trials: int) -> Iterator[Row]:
    generator = generator_of("sound reading")
    passed, read = [], []
    for _ in range(trials):
        right_MTK = _bench(generator)
        said: list[Remark] = []
        found = _read(Bench(right_MTK, right_MTK.astype(float)).material(), _all_right, said, START)
        passed.append(read_gate(found).verdict == "pass")
        read.append(len(said))
    yield share("no fault: passes", passed, at_least(0.95))
    yield mean("no fault: rollouts read, planted ones included", read, unit="")


def _all_right(one: Spot | Plant) -> Fault:
    return "model" if isinstance(one, Spot) else "verifier"


def _wrong_labels(rate: float, trials: int) -> Iterator[Row]:
    """Whoever finds a wrong label corrects it, or declares its task, and reads on until nothing is left to find."""
    generator = generator_of(f"wrong labels {rate}")
    corrected, declared, falsely, naive, read = [], [], [], [], []
    for _ in range(trials):
        wrong = {f"t{t}" for t in np.flatnonzero(generator.random(TASKS) < rate)}
        bench = Bench(right := _bench(generator), right.astype(float))
        naive.append(_leaving_out(bench.material(), wrong))
        for verdicts, is_declared in ((corrected, False), (declared, True)):
            said: list[Remark] = []
            passes, found = _read_and_mend(bench, wrong, said, is_declared)
            verdicts.append(passes)
            left = len(wrong if is_declared else wrong - found) / TASKS
            falsely.append(passes and left >= SHORT_RULE.limit)
        read.append(len(said))
    size = f"{100 * rate:.0f} % wrong labels"
    claim = at_least(0.8) if rate < 0.05 else UNCLAIMED
    yield share(f"{size}, those that are found corrected: passes", corrected, claim)
    yield share(f"{size}, those that are found declared: passes", declared)
    yield share(f"{size}: passes although 5 points or more are still at fault", falsely, at_most(0.05))
    yield share(f"for contrast, if what is found leaves the sample: {size}, passes", naive)
    yield mean(f"{size}: rollouts read", read, unit="")


def _read_and_mend(bench: Bench, wrong: set[str], said: list[Remark], declare: bool) -> tuple[bool, set[str]]:
    """Returns whether the gate passes in the end, and the tasks that were found."""
    there, found = bench.material(), set[str]()

    def judge(one: Spot | Plant) -> Fault:
        at_fault = isinstance(one, Spot) and one.task.id in wrong and (declare or one.task.id not in found)
        return "task" if at_fault else _all_right(one)

    state = _read(there, judge, said, START)
    while state.standing:
        found |= {mark.task for mark in state.standing}
        there = bench.material(declared=found) if declare else bench.correct(found).material()
        state = _read(there, judge, said, START)
    return read_gate(state).verdict == "pass", found


def _leaving_out(there: Material, wrong: set[str]) -> bool:
    """Whether it would pass if a declared task left the sample, which is filled up, and counted as known alone."""
    spots, declared = there.population.spots, set[str]()
    for rollouts, alpha in SHORT_RULE.looks:
        while True:
            chosen = [spot for spot in spots if spot.task.id not in declared][:rollouts]
            new = {spot.task.id for spot in chosen} & wrong
            if not new:
                break
            declared |= new
        known = len(declared) / TASKS
        if known + (1 - known) * binomial_upper(0, len(chosen), 1 - alpha) < SHORT_RULE.limit:
            return True
    return False


def _misread(trials: int) -> Iterator[Row]:
    """A verifier misreads one right answer in seven, and is mended in general, or for what was found alone."""
    generator = generator_of("misread")
    passed: dict[str, list[bool]] = {"all of it": [], "what was found alone": []}
    naive = []
    for _ in range(trials):
        right = _bench(generator)
        wrong = generator.random(right.shape) < 1 / 7
        bench = Bench(right, (right & ~wrong).astype(float))

        def judge(one: Spot | Plant, bench: Bench = bench) -> Fault:
            return "verifier" if isinstance(one, Spot) and bench.is_wrong(one) else _all_right(one)

        said: list[Remark] = []
        found = _read(bench.material(), judge, said, START)
        naive.append(len(found.standing) > 0)
        for how, verdicts in passed.items():
            rewards = right.astype(float) if how == "all of it" else bench.rewards_MTK.copy()
            for mark in found.standing:
                rewards[int(mark.model), int(mark.task[1:]), mark.repeat] = 1.0
            mended = Bench(right, rewards)
            again = _read(
                mended.material(mended=START + timedelta(hours=1)),
                lambda one, mended=mended: (
                    "verifier" if isinstance(one, Spot) and mended.is_wrong(one) else _all_right(one)
                ),
                list(said),
                START + timedelta(hours=2),
            )
            verdicts.append(read_gate(again).verdict == "pass")
    yield share("9 % of answers misread, and all mended: passes", passed["all of it"], at_least(0.95))
    yield share("9 % misread, and those mended that were found: passes", passed["what was found alone"], at_most(0.05))
    yield share("for contrast, if mended ones count as no fault and nothing new is read: passes", naive)


def _one_model(trials: int) -> Iterator[Row]:
    """One right answer in ten of one model of seven is misread, so that it fails."""
    for solved in (0.3, 0.5, 0.6, 0.7, 0.8, 0.9):
        generator = generator_of(f"one model {solved}")
        failing = 1 - 0.9 * solved
        drawn = generator.binomial(generator.binomial(72, 1 / 7, trials), failing)
        luck = generator.random(trials)
        quota = failing_quota(round(1000 * failing), round(1000 * (1 - failing)))
        what = f"10 % misread of the right answers of a model that solves {100 * solved:.0f} %: found with"
        claim = at_least(0.95) if quota < MOST else UNCLAIMED
        for count, claimed in ((0, UNCLAIMED), (10, UNCLAIMED), (quota, claim)):
            how = "the main sample alone" if not count else f"10 failing rollouts{', for contrast'}"
            how = f"the {quota} failing rollouts that are read" if count == quota else how
            seen = luck < 1 - (1 - 0.1 * solved / failing) ** np.maximum(drawn, count)
            yield share(f"{what} {how}", seen, claimed)


def _readers() -> Iterator[Row]:
    for finds in (0.98, 0.95, 0.9, 0.8, 0.5):
        claim = at_least(0.95) if finds >= 0.95 else at_most(0.05) if finds <= 0.5 else UNCLAIMED
        relied = binomial_tail(FOUND, len(KINDS), finds)
        yield figure(f"a reader who finds {100 * finds:.0f} % of faults is relied on", relied, claim, "%")
    for reports in (0.02, 0.05, 0.2):
        relied = 1 - binomial_tail(math.floor(REPORTED * 100) + 1, 100, reports)
        yield figure(f"a reader who reports {100 * reports:.0f} % of 100 sound rollouts is relied on", relied, unit="%")
