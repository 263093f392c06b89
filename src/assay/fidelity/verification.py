"""The gates that need no model: whether a benchmark's verifier tells its own gold answers from what is none."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from assay.agent.loop import ToolLoop
from assay.collect import Planned, roll
from assay.digest import task_digest
from assay.environment import Benchmark
from assay.fidelity.record import Gate, Verdict
from assay.model.fixed import Fixed
from assay.run import OFF_TOPIC
from assay.stats.estimates import wilson
from assay.types import Score, Task

SHOWN = 12
"""Tasks that one gate names at most."""
EXPLORED = "first\nthen"
"""Reasoning without an answer in it, to stand before one."""


async def gold_gate(benchmark: Benchmark, tasks: Sequence[Task]) -> Gate:
    """Does the reference answer score full marks, and an empty or off-topic answer none?"""
    with_gold = [task for task in tasks if task.gold is not None]
    gold = {task.id: await _reward(benchmark, task, task.gold or "") for task in with_gold}
    nulls = {task.id: [await _reward(benchmark, task, text) for text in ("", OFF_TOPIC)] for task in tasks}
    rng = random.Random(0)
    guesses = [
        await _reward(benchmark, task, guess)
        for task in tasks
        for _ in range(4)
        if (guess := benchmark.environment.guess(task, rng)) is not None
    ]
    wrong_gold = [task for task, reward in gold.items() if reward != 1]
    wrong_null = [task for task, rewards in nulls.items() if any(reward != 0 for reward in rewards)]
    broken = [task for task, rewards in nulls.items() if any(isinstance(reward, str) for reward in rewards)]
    null_score = float(np.mean([r for rewards in nulls.values() for r in rewards if not isinstance(r, str)] or [0.0]))
    guessed = [guess for guess in guesses if not isinstance(guess, str)]
    measured = float(np.mean(guessed)) if guessed else None
    numbers: dict[str, Any] = {
        "tasks": len(tasks),
        "with_gold": len(with_gold),
        "gold_right": len(with_gold) - len(wrong_gold),
        "null_score": null_score,
        "chance_stated": benchmark.chance,
        "chance_measured": measured,
        "tasks_gold_wrong": wrong_gold[:SHOWN],
        "tasks_null_rewarded": wrong_null[:SHOWN],
    }
    said = next((f" {task}: {reward}" for task, reward in gold.items() if isinstance(reward, str)), "")
    verdict, reason = _gold_verdict(numbers, broken, nulls, len(guessed), benchmark.chance)
    reason += said
    return Gate("gold", verdict, reason, numbers)


def _gold_verdict(
    numbers: dict[str, Any], broken: Sequence[str], nulls: dict[str, list[float | str]], guesses: int, chance: float
) -> tuple[Verdict, str]:
    wrong_gold, wrong_null = numbers["tasks_gold_wrong"], numbers["tasks_null_rewarded"]
    wrong, null_score, measured = (
        numbers["with_gold"] - numbers["gold_right"],
        numbers["null_score"],
        numbers["chance_measured"],
    )
    if not numbers["with_gold"]:
        return "inconclusive", "No task has a gold answer, so there is nothing to score."
    if wrong:
        return "fail", f"{wrong} gold answers are not given full marks: {', '.join(wrong_gold[:3])}."
    if broken:
        words = next(reward for reward in nulls[broken[0]] if isinstance(reward, str))
        tasks = f"{len(broken)} tasks, such as {broken[0]}"
        return "fail", f"The verifier fails on empty or off-topic answers to {tasks}: {words}"
    if null_score > chance:
        named = ", ".join(wrong_null[:3])
        return "fail", f"Empty or off-topic answers score {null_score:.1%}, above chance ({chance:.1%}): {named}."
    if measured is not None and wilson(measured, guesses, confidence=0.99)[0] > chance:
        return "fail", f"Guesses score {measured:.1%}, above the chance that the benchmark states ({chance:.1%})."
    reason = f"All {numbers['with_gold']} gold answers score 1; empty and off-topic answers score {null_score:.1%}."
    missing = numbers["tasks"] - numbers["with_gold"]
    return ("inconclusive", f"{reason} {missing} tasks have no gold answer.") if missing else ("pass", reason)


async def verifier_gate(benchmark: Benchmark, tasks: Sequence[Task]) -> Gate:
    """Does the reward ignore what it should ignore? Every task's gold answer is rewritten in every way."""
    with_gold = [task for task in tasks if task.gold is not None]
    wrong: dict[str, list[str]] = {}
    checks = 0
    for task in with_gold:
        for name, text, expected in rewrites(task.gold or "", benchmark.formats):
            first, again = await _reward(benchmark, task, text), await _reward(benchmark, task, text)
            checks += 1
            if first != expected:
                wrong.setdefault(name, []).append(task.id)
            if first != again:
                wrong.setdefault("same input, same reward", []).append(task.id)
    numbers: dict[str, Any] = {
        "tasks": len(with_gold),
        "rewrites": [name for name, _, _ in rewrites("…", benchmark.formats)],
        "checks": checks,
        "wrong": {name: len(ids) for name, ids in wrong.items()},
        "tasks_wrong": {name: ids[:SHOWN] for name, ids in wrong.items()},
    }
    if not with_gold:
        return Gate("verifier", "inconclusive", "No task has a gold answer to rewrite.", numbers)
    if wrong:
        words = "; ".join(f"{name}: {len(ids)} tasks, such as {ids[0]}" for name, ids in wrong.items())
        return Gate("verifier", "fail", f"The reward is not what the rewrite calls for. {words}.", numbers)
    reason = f"{checks} rewrites of {len(with_gold)} gold answers, each scored twice, all as they should be."
    return Gate("verifier", "pass", reason, numbers)


def rewrites(gold: str, formats: Sequence[str]) -> list[tuple[str, str, float]]:
    """(name, raw text as a model would give it, the reward that it should get) for one gold answer."""
    found = [
        ("gold in the reasoning alone", f"<think>{gold}</think>", 0.0),
        ("gold in reasoning left open", f"<think>{EXPLORED}: {gold}", 0.0),
        ("gold in reasoning, off-topic message", f"<think>{gold}</think>{OFF_TOPIC}", 0.0),
        ("gold after reasoning", f"<think>{EXPLORED}</think>{gold}", 1.0),
        ("gold after reasoning the template opened", f"{EXPLORED}</think>\n\n{gold}", 1.0),
        ("gold with spaces and lines around it", f"\n\n  {gold} \n", 1.0),
    ]
    return found + [(f"gold as {form}", form.format(gold), 1.0) for form in formats]


async def _reward(benchmark: Benchmark, task: Task, text: str) -> float | str:
    """The reward of a raw text, by the way every rollout goes; the failure in words where there was one."""
    planned = Planned(task, task_digest(task), repeat=0, attempt=0, seed=0)
    await asyncio.sleep(0)  # nothing here ever waits: without this, nobody could interrupt it
    rollout = await roll(benchmark, ToolLoop(), Fixed(lambda _: text), planned)
    return rollout.outcome.reward if isinstance(rollout.outcome, Score) else rollout.outcome.message
