"""The gold gate: whether reference answers get full marks, and empty or off-topic answers none."""

import itertools
import random
from collections.abc import Sequence
from typing import Any

from assay.benchmark import Benchmark
from assay.benchmark.answers import OFF_TOPIC
from assay.benchmark.reference import responses
from assay.fidelity.gates.played import response_of, reward_of, solutions_of
from assay.fidelity.gates.rule import SHOWN, GateRule
from assay.fidelity.schema.profile import Gate, Verdict
from assay.stats.estimates import wilson
from assay.types import Failure, Task


async def gold_gate(benchmark: Benchmark, tasks: Sequence[Task]) -> Gate:
    """Does the reference answer score full marks, and an empty or off-topic answer none?"""
    solutions = solutions_of(benchmark, tasks)
    gold = {task.id: await reward_of(benchmark, task, responses(steps)) for task, steps in solutions}
    nulls = {
        task.id: [await reward_of(benchmark, task, [response_of(text)]) for text in ("", OFF_TOPIC)] for task in tasks
    }
    rng = random.Random(0)
    guesses = [
        await reward_of(benchmark, task, [response_of(guess)])
        for task in tasks
        for _ in range(4)
        if (guess := benchmark.environment.guess(task, rng)) is not None
    ]
    wrong_gold = [task for task, reward in gold.items() if _is_scored(reward) and reward != 1]
    wrong_null = [task for task, rewards in nulls.items() if any(_is_scored(one) and one != 0 for one in rewards)]
    given = [*gold.values(), *itertools.chain(*nulls.values()), *guesses]
    failures = [one for one in given if isinstance(one, Failure)]
    numbers: dict[str, Any] = {
        "tasks": len(tasks),
        "with_gold": len(solutions),
        "gold_right": sum(reward == 1 for reward in gold.values()),
        "gold_wrong": len(wrong_gold),
        "null_score": _mean(list(itertools.chain(*nulls.values()))),
        "chance_stated": benchmark.chance,
        "chance_measured": _mean(guesses),
        "guesses": sum(not isinstance(guess, Failure) for guess in guesses),
        "verifier_failures": len(failures),
        "tasks_gold_wrong": wrong_gold[:SHOWN],
        "tasks_null_rewarded": wrong_null[:SHOWN],
    }
    verdict, reason = _gold_verdict(numbers, failures)
    return Gate("gold", verdict, reason, numbers)


def _gold_verdict(numbers: dict[str, Any], failures: Sequence[Failure]) -> tuple[Verdict, str]:
    with_gold, chance = numbers["with_gold"], numbers["chance_stated"]
    null_score, measured = numbers["null_score"], numbers["chance_measured"]
    if broken := next((failure for failure in failures if not failure.retryable), None):
        said = f"The verifier failed on {len(failures)} gold, empty, off-topic or guessed answers: {broken.message}"
        return "fail", said
    if not with_gold:
        return "inconclusive", "No task has a gold answer, so there is nothing to score."
    if wrong := numbers["gold_wrong"]:
        named = ", ".join(numbers["tasks_gold_wrong"][:3])
        such = ", such as" if wrong > 3 else ":"
        return "fail", f"{wrong:,} of {with_gold:,} gold answers are not given full marks{such} {named}."
    if null_score is not None and null_score > chance:
        named = ", ".join(numbers["tasks_null_rewarded"][:3])
        return "fail", f"Empty or off-topic answers score {null_score:.1%}, above chance ({chance:.1%}): {named}."
    if measured is not None and wilson(measured, numbers["guesses"], confidence=0.99)[0] > chance:
        return "fail", f"Guesses score {measured:.1%}, above the chance that the benchmark states ({chance:.1%})."
    if failures:
        return "inconclusive", f"{len(failures):,} answers were not scored: {failures[0].message}"
    reason = f"All {with_gold:,} gold answers score 1; empty and off-topic answers score {null_score:.1%}."
    missing = numbers["tasks"] - with_gold
    return ("inconclusive", f"{reason} {missing:,} tasks have no gold answer.") if missing else ("pass", reason)


def _is_scored(reward: float | Failure) -> bool:
    """Whether a reward says something of the verifier: it does not where the failure may pass by itself."""
    return not (isinstance(reward, Failure) and reward.retryable)


def _mean(rewards: Sequence[float | Failure]) -> float | None:
    """Returns the mean reward; None where the verifier gave none."""
    given = [reward for reward in rewards if not isinstance(reward, Failure)]
    return sum(given) / len(given) if given else None


GATE = GateRule(
    name="gold",
    question="Does the reference answer score full marks, and an empty or off-topic answer none?",
    needs="the benchmark alone",
    of_benchmark=gold_gate,
)
