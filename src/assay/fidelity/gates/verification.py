"""The gates that need no model: whether a benchmark's verifier tells its own gold answers from what is none."""

import asyncio
import itertools
import random
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import structs

from assay.agent.loop import ToolLoop
from assay.benchmark import Benchmark, Call
from assay.benchmark.reference import DONE, responses
from assay.collect.collect import Planned, roll
from assay.collect.run import OFF_TOPIC
from assay.digest import task_digest
from assay.fidelity.schema.profile import Gate, Verdict
from assay.model.builtin.fixed import Fixed
from assay.stats.estimates import wilson
from assay.types import FunctionCall, Item, Message, Reasoning, ReasoningText, Response, Score, Task, Text

SHOWN = 12
"""Tasks that one gate names at most."""
EXPLORED = "first\nthen"
"""Reasoning without an answer in it, to stand before one."""


async def gold_gate(benchmark: Benchmark, tasks: Sequence[Task]) -> Gate:
    """Does the reference answer score full marks, and an empty or off-topic answer none?"""
    solutions = _solutions(benchmark, tasks)
    gold = {task.id: await _reward(benchmark, task, responses(steps)) for task, steps in solutions}
    nulls = {task.id: [await _reward(benchmark, task, [_response(text)]) for text in ("", OFF_TOPIC)] for task in tasks}
    rng = random.Random(0)
    guesses = [
        await _reward(benchmark, task, [_response(guess)])
        for task in tasks
        for _ in range(4)
        if (guess := benchmark.environment.guess(task, rng)) is not None
    ]
    wrong_gold = [task for task, reward in gold.items() if reward != 1]
    wrong_null = [task for task, rewards in nulls.items() if any(reward != 0 for reward in rewards)]
    broken = [
        words for words in [*gold.values(), *itertools.chain(*nulls.values()), *guesses] if isinstance(words, str)
    ]
    numbers: dict[str, Any] = {
        "tasks": len(tasks),
        "with_gold": len(solutions),
        "gold_right": len(solutions) - len(wrong_gold),
        "null_score": _mean(list(itertools.chain(*nulls.values()))),
        "chance_stated": benchmark.chance,
        "chance_measured": _mean(guesses),
        "guesses": len(guesses),
        "verifier_failures": len(broken),
        "tasks_gold_wrong": wrong_gold[:SHOWN],
        "tasks_null_rewarded": wrong_null[:SHOWN],
    }
    verdict, reason = _gold_verdict(numbers, broken)
    return Gate("gold", verdict, reason, numbers)


def _gold_verdict(numbers: dict[str, Any], broken: Sequence[str]) -> tuple[Verdict, str]:
    with_gold, chance = numbers["with_gold"], numbers["chance_stated"]
    null_score, measured = numbers["null_score"], numbers["chance_measured"]
    if broken:
        return "fail", f"The verifier failed on {len(broken)} gold, empty, off-topic or guessed answers: {broken[0]}"
    if not with_gold:
        return "inconclusive", "No task has a gold answer, so there is nothing to score."
    if wrong := with_gold - numbers["gold_right"]:
        named = ", ".join(numbers["tasks_gold_wrong"][:3])
        such = ", such as" if wrong > 3 else ":"
        return "fail", f"{wrong:,} of {with_gold:,} gold answers are not given full marks{such} {named}."
    if null_score > chance:
        named = ", ".join(numbers["tasks_null_rewarded"][:3])
        return "fail", f"Empty or off-topic answers score {null_score:.1%}, above chance ({chance:.1%}): {named}."
    if measured is not None and wilson(measured, numbers["guesses"], confidence=0.99)[0] > chance:
        return "fail", f"Guesses score {measured:.1%}, above the chance that the benchmark states ({chance:.1%})."
    reason = f"All {with_gold:,} gold answers score 1; empty and off-topic answers score {null_score:.1%}."
    missing = numbers["tasks"] - with_gold
    return ("inconclusive", f"{reason} {missing:,} tasks have no gold answer.") if missing else ("pass", reason)


async def verifier_gate(benchmark: Benchmark, tasks: Sequence[Task]) -> Gate:
    """Does the reward ignore what it should ignore? Every task's gold answer is rewritten in every way."""
    solutions = _solutions(benchmark, tasks)
    wrong: dict[str, list[str]] = {}
    checks = 0
    names: dict[str, None] = {}
    for task, steps in solutions:
        for name, rewritten, expected in rewrites(steps, benchmark.formats):
            first, again = await _reward(benchmark, task, rewritten), await _reward(benchmark, task, rewritten)
            names[name] = None
            checks += 1
            if first != expected:
                wrong.setdefault(name, []).append(task.id)
            if first != again:
                wrong.setdefault("same input, same reward", []).append(task.id)
    numbers: dict[str, Any] = {
        "tasks": len(solutions),
        "rewrites": list(names),
        "checks": checks,
        "wrong": {name: len(ids) for name, ids in wrong.items()},
        "tasks_wrong": {name: ids[:SHOWN] for name, ids in wrong.items()},
    }
    if not solutions:
        return Gate("verifier", "inconclusive", "No task has a gold answer to rewrite.", numbers)
    if wrong:
        words = "; ".join(f"{name}: {len(ids):,} tasks, such as {ids[0]}" for name, ids in wrong.items())
        return Gate("verifier", "fail", f"The reward is not what the rewrite calls for. {words}.", numbers)
    reason = f"{checks:,} rewrites of {len(solutions):,} gold answers, each scored twice, all as they should be."
    if silent := sum(not _speaks(steps) for _, steps in solutions):
        reason += f" Of {silent} that are calls alone, no message is rewritten: there is none to read."
    return Gate("verifier", "pass", reason, numbers)


def rewrites(steps: Sequence[Call | str], formats: Sequence[str]) -> list[tuple[str, list[Response], float]]:
    """(name, responses, the reward that they should get) for one solution, as a model server hands it over."""
    written = "\n".join(step if isinstance(step, str) else _written(step) for step in steps)
    found = [
        ("gold in the reasoning alone", [_response("", reasoning=written)], 0.0),
        ("gold in reasoning left open", [_response(None, reasoning=f"{EXPLORED}: {written}")], 0.0),
        ("gold in reasoning, off-topic message", [_response(OFF_TOPIC, reasoning=written)], 0.0),
        ("gold after reasoning", [_thoughtful(response) for response in responses(steps)], 1.0),
    ]
    if any(isinstance(step, Call) for step in steps):
        found += [
            ("calls written in the message, not made", [_response(written)], 0.0),
            ("calls with spaces in their arguments", [_spaced(response) for response in responses(steps)], 1.0),
        ]
    if _speaks(steps):
        forms = {"gold with spaces and lines around it": "\n\n  {} \n"} | {f"gold as {form}": form for form in formats}
        found += [(name, responses([_formed(step, form) for step in steps]), 1.0) for name, form in forms.items()]
    return found


def _solutions(benchmark: Benchmark, tasks: Sequence[Task]) -> list[tuple[Task, Sequence[Call | str]]]:
    """The tasks that have a reference solution, with it."""
    found = ((task, benchmark.environment.solution(task)) for task in tasks)
    return [(task, steps) for task, steps in found if steps is not None]


def _speaks(steps: Sequence[Call | str]) -> bool:
    return any(isinstance(step, str) for step in steps)


def _formed(step: Call | str, form: str) -> Call | str:
    return form.format(step) if isinstance(step, str) else step


def _written(call: Call) -> str:
    """A call as text, which a model may write without making it."""
    return msgspec.json.encode({"name": call.name, "arguments": call.arguments}).decode()


def _thoughtful(response: Response) -> Response:
    return structs.replace(response, output=[*_reasoning(EXPLORED), *response.output])


def _spaced(response: Response) -> Response:
    """The response with the same arguments, written as another model writes them."""
    calls = [
        structs.replace(item, arguments=msgspec.json.format(item.arguments, indent=4))
        if isinstance(item, FunctionCall)
        else item
        for item in response.output
    ]
    return structs.replace(response, output=calls)


def _response(message: str | None, *, reasoning: str = "") -> Response:
    """What a model thought and said; `None` where it never came to say anything."""
    output = _reasoning(reasoning)
    if message is None:
        return Response(output=output, status="incomplete", incomplete_reason="max_output_tokens")
    return Response(output=[*output, Message(role="assistant", content=[Text(text=message)])])


def _reasoning(text: str) -> list[Item]:
    return [Reasoning(content=[ReasoningText(text=text)])] if text else []


def _mean(rewards: Sequence[float | str]) -> float | None:
    """The mean reward; `None` where the verifier gave none."""
    given = [reward for reward in rewards if not isinstance(reward, str)]
    return sum(given) / len(given) if given else None


async def _reward(benchmark: Benchmark, task: Task, played: Sequence[Response]) -> float | str:
    """The reward of a response a turn, by the way every rollout goes; the failure in words where there was one."""
    planned = Planned(task, task_digest(task), repeat=0, attempt=0, seed=0)
    await asyncio.sleep(0)  # nothing here ever waits: without this, nobody could interrupt it
    rollout = await roll(
        benchmark, ToolLoop(), Fixed(lambda asked: played[asked.turn] if asked.turn < len(played) else DONE), planned
    )
    outcome = rollout.outcome
    return outcome.reward if isinstance(outcome, Score) else f"{task.id}: {outcome.message}"
