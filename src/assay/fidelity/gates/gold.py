"""The gold gate: whether reference answers get full marks, and wrong ones none."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from assay.benchmark import Benchmark
from assay.benchmark.reference import responses
from assay.fidelity.gates.rule import SHOWN, GateRule
from assay.fidelity.probes import BLIND, BY_CHANCE, FAULTS, Probe, Prober, family
from assay.fidelity.probes.play import reward_of
from assay.fidelity.schema.profile import Gate, Verdict
from assay.stats.distributions import binomial_quantile
from assay.types import Failure, Task

CONFIDENCE = 0.999
"""The probability that a kind of probe stays within its allowance if the verifier is sound."""
LONGEST = 120
"""The most characters of a probe in a reason."""
IN_FULL = 4
"""The most kinds of probe that a reason explains; for the others it gives the numbers."""
AT_ONCE = 8
"""The most rollouts of one task at once, because a verifier may start processes or call a judge."""


@dataclass
class ProbeCounts:
    """The scores of one kind of probe. Those that a declared defect covers are counted separately."""

    n: int = 0
    reward: float = 0.0
    declared: int = 0
    declared_reward: float = 0.0
    scored: list[tuple[str, str, float]] = field(default_factory=list[tuple[str, str, float]])
    """(task, text, reward) of probes with a reward that no defect declares."""

    def add(self, task: Task, probe: Probe, reward: float, *, declared: bool) -> None:
        if declared:
            self.declared += 1
            self.declared_reward += reward
            return
        self.n += 1
        self.reward += reward
        if reward:
            self.scored.append((task.id, probe.text, reward))


async def gold_gate(
    benchmark: Benchmark, tasks: Sequence[Task], seed: int = 0, *, probed: Sequence[Task] | None = None
) -> Gate:
    """Returns the gate: does the reference answer score full marks, and a wrong one none?

    A kind of probe fails if the sum of its rewards is above the .999 quantile of chance: the stated chance for answers
    that don't depend on the task, else nothing. A third of the probes depends on the seed. `probed` are the tasks that
    get probes, by default all.
    """
    chosen = {task.id for task in (tasks if probed is None else probed)}
    prober = Prober(benchmark, tasks, seed)
    gold: dict[str, float | Failure] = {}
    tallies: dict[str, ProbeCounts] = {}
    failures: list[Failure] = []
    for task in tasks:
        if (steps := prober.solutions.get(task.id)) is not None:
            gold[task.id] = await reward_of(benchmark, task, responses(steps))
        probes = prober.probes(task) if task.id in chosen else []
        for probe, reward in zip(probes, await _rewards(benchmark, task, probes), strict=True):
            if isinstance(reward, Failure):
                failures.append(reward)
                continue
            kind = family(probe.kind)
            declared = kind not in BLIND and any(defect.covers(kind, task.id) for defect in benchmark.defects)
            tallies.setdefault(probe.kind, ProbeCounts()).add(task, probe, reward, declared=declared)
    failures = [one for one in gold.values() if isinstance(one, Failure)] + failures
    wrong = [task for task, reward in gold.items() if reward != 1 and not _may_pass(reward)]
    numbers = _numbers(benchmark, tasks, gold, wrong, tallies)
    hopeless = [t for t in tasks if t.id not in gold and any(d.covers("no solution", t.id) for d in benchmark.defects)]
    numbers |= {"without_solution": len(hopeless)}
    numbers |= {"seed": seed, "verifier_failures": len(failures)}
    verdict, reason = _verdict(numbers, failures, tallies)
    known = ", ".join(numbers["declared"])
    return Gate("gold", verdict, reason, numbers, bound=f"known to be rewarded: {known}" if known else "")


def probes_a_task(benchmark: Benchmark, tasks: Sequence[Task]) -> int:
    """Returns about how many rollouts the gate makes of each task."""
    prober, some = Prober(benchmark, tasks, 0), tasks[:: max(1, len(tasks) // 6)]
    return 1 + max(len(prober.probes(task)) for task in some)


async def _rewards(benchmark: Benchmark, task: Task, probes: Sequence[Probe]) -> list[float | Failure]:
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(probe: Probe) -> float | Failure:
        async with limit:
            return await reward_of(benchmark, task, responses(probe.steps))

    return await asyncio.gather(*map(one, probes))


def _numbers(
    benchmark: Benchmark,
    tasks: Sequence[Task],
    gold: dict[str, float | Failure],
    wrong: Sequence[str],
    tallies: dict[str, ProbeCounts],
) -> dict[str, Any]:
    above = {kind: tally for kind, tally in tallies.items() if tally.reward > _allowance(kind, tally, benchmark) + 1e-9}
    guesses = tallies.get("guess")
    return {
        "tasks": len(tasks),
        "with_gold": len(gold),
        "gold_right": sum(reward == 1 for reward in gold.values()),
        "gold_wrong": len(wrong),
        "chance_stated": benchmark.chance,
        "chance_measured": guesses.reward / guesses.n if guesses else None,
        "probes": {
            kind: {"n": tally.n, "reward": tally.reward, "allowed": _allowance(kind, tally, benchmark)}
            for kind, tally in tallies.items()
        },
        "declared": {
            kind: {"n": tally.declared, "reward": tally.declared_reward}
            for kind, tally in tallies.items()
            if tally.declared_reward
        },
        "scored": {
            kind: [{"task": task, "text": text[:LONGEST], "reward": reward} for task, text, reward in tally.scored[:3]]
            for kind, tally in above.items()
        },
        "tasks_gold_wrong": wrong[:SHOWN],
        "tasks_rewarded": list({task: None for tally in above.values() for task, _, _ in tally.scored})[:SHOWN],
    }


def _allowance(kind: str, tally: ProbeCounts, benchmark: Benchmark) -> int:
    rate = benchmark.chance if family(kind) in BY_CHANCE else 0.0
    return binomial_quantile(CONFIDENCE, tally.n, rate)


def _verdict(
    numbers: dict[str, Any], failures: Sequence[Failure], tallies: dict[str, ProbeCounts]
) -> tuple[Verdict, str]:
    with_gold = numbers["with_gold"]
    if broken := next((failure for failure in failures if not failure.retryable), None):
        return "fail", f"The verifier failed on {len(failures):,} right or wrong answers: {broken.message}"
    if wrong := numbers["gold_wrong"]:
        named = ", ".join(numbers["tasks_gold_wrong"][:3])
        such = ", such as" if wrong > 3 else ":"
        return "fail", f"{wrong:,} of {with_gold:,} gold answers are not given full marks{such} {named}."
    if numbers["scored"]:
        kinds = list(numbers["scored"])
        words = [_words(kind, tallies[kind], numbers["probes"][kind]["allowed"]) for kind in kinds[:IN_FULL]]
        rest = [f"{kind} ({tallies[kind].reward:g} of {tallies[kind].n:,})" for kind in kinds[IN_FULL:]]
        also = f" So are: {', '.join(rest)}." if rest else ""
        return "fail", f"Wrong answers are rewarded. {' '.join(words)}{also}"
    if not with_gold:
        return "not run", "No task has a gold answer or a solution, so there is nothing to score."
    if failures:
        return "inconclusive", f"{len(failures):,} answers were not scored: {failures[0].message}"
    made = sum(tally.n for tally in tallies.values())
    reason = f"All {with_gold:,} gold answers score 1. None of {len(tallies)} kinds of wrong answers, {made:,} in all,"
    reason += " scores more than chance allows."
    if declared := numbers["declared"]:
        parts = [f"{kind} ({one['reward']:g} of {one['n']:,})" for kind, one in declared.items()]
        reason += f" Rewarded, and declared as known: {', '.join(parts)}."
    if without := numbers["without_solution"]:
        reason += f" {without:,} tasks have no solution, as is declared."
    missing = numbers["tasks"] - with_gold - numbers["without_solution"]
    return ("inconclusive", f"{reason} {missing:,} tasks have no gold answer.") if missing else ("pass", reason)


def _words(kind: str, tally: ProbeCounts, allowed: int) -> str:
    """Returns a sentence on a kind of probe, with the first that got a reward."""
    task, text, reward = tally.scored[0]
    quoted = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    score = f"{tally.reward:g} of {tally.n:,}, where {allowed:,} {'is' if allowed == 1 else 'are'} allowed"
    name = kind if kind != family(kind) else family(kind)
    return f"{name}: {FAULTS[family(kind)]} ({score}), such as {reward:g} for {quoted!r} in {task}."


def _may_pass(reward: float | Failure) -> bool:
    """Returns whether a failure may pass by itself, so that it shows nothing about the verifier."""
    return isinstance(reward, Failure) and reward.retryable


GATE = GateRule(
    name="gold",
    question="Does the reference answer score full marks, and a wrong one none?",
    needs="the benchmark alone",
    of_benchmark=gold_gate,
)
