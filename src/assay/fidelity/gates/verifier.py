"""The verifier gate: whether the reward ignores what it should ignore, by rewriting every reference answer."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import structs

from assay.benchmark import Benchmark, Call
from assay.benchmark.answers import OFF_TOPIC
from assay.benchmark.reference import responses
from assay.fidelity.gates.rule import SHOWN, GateRule
from assay.fidelity.probes.play import reasoning_of, response_of, reward_of, solutions_of
from assay.fidelity.schema.profile import Gate
from assay.types import Failure, FunctionCall, Response, Task

EXPLORED = "first\nthen"
"""Reasoning without an answer, to put before an answer."""
ASIDE = "gold in reasoning, off-topic message"
SPACED = "gold with spaces and lines around it"
"""A rewrite that a benchmark may declare as a known defect, for example if its original reads the first line."""


async def verifier_gate(benchmark: Benchmark, tasks: Sequence[Task]) -> Gate:
    """Returns the gate: does the reward ignore what it should ignore? Each gold answer is rewritten in each way."""
    solutions = solutions_of(benchmark, tasks)
    wrong: dict[str, list[str]] = {}
    passing: list[Failure] = []
    checks = 0
    names: dict[str, None] = {}
    for task, steps in solutions:
        # The gold gate checks answers off topic; here the reasoning must not add to the reward.
        aside = await reward_of(benchmark, task, [response_of(OFF_TOPIC)])
        for name, rewritten, rightly in rewrites(steps, benchmark.formats):
            if name == SPACED and any(defect.covers(SPACED, task.id) for defect in benchmark.defects):
                continue
            expected = aside if name == ASIDE else rightly
            first, again = await reward_of(benchmark, task, rewritten), await reward_of(benchmark, task, rewritten)
            names[name] = None
            checks += 1
            if failed := [one for one in (first, again) if isinstance(one, Failure) and one.retryable]:
                passing += failed
                continue
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
        return Gate("verifier", "not run", "No task has a gold answer or a solution to rewrite.", numbers)
    if wrong:
        words = "; ".join(f"{name}: {len(ids):,} tasks, such as {ids[0]}" for name, ids in wrong.items())
        return Gate("verifier", "fail", f"The reward is not what the rewrite calls for. {words}.", numbers)
    if passing:
        reason = f"{len(passing):,} rollouts of {2 * checks:,} were not scored: {passing[0].message}"
        return Gate("verifier", "inconclusive", reason, numbers)
    reason = f"{checks:,} rewrites of {len(solutions):,} gold answers, each scored twice, all as they should be."
    if silent := sum(not _speaks(steps) for _, steps in solutions):
        reason += f" Of {silent} that are calls alone, no message is rewritten: there is none to read."
    return Gate("verifier", "pass", reason, numbers)


def rewrites(steps: Sequence[Call | str], formats: Sequence[str]) -> list[tuple[str, list[Response], float]]:
    """Returns (name, responses, expected reward) for each rewrite of one solution."""
    written = "\n".join(step if isinstance(step, str) else _as_text(step) for step in steps)
    thought = reasoning_of(EXPLORED)
    found = [
        ("gold in the reasoning alone", [response_of("", reasoning=written)], 0.0),
        ("gold in reasoning left open", [response_of(None, reasoning=f"{EXPLORED}: {written}")], 0.0),
        (ASIDE, [response_of(OFF_TOPIC, reasoning=written)], 0.0),
        ("gold after reasoning", [structs.replace(r, output=[*thought, *r.output]) for r in responses(steps)], 1.0),
    ]
    if any(isinstance(step, Call) for step in steps):
        found += [
            ("calls written in the message, not made", [response_of(written)], 0.0),
            ("calls with spaces in their arguments", [_with_spaces(response) for response in responses(steps)], 1.0),
        ]
    if _speaks(steps):
        forms = {SPACED: "\n\n  {} \n"} | {f"gold as {form}": form for form in formats}
        for name, form in forms.items():
            formed = [form.format(step, json=json.dumps(step)) if isinstance(step, str) else step for step in steps]
            found.append((name, responses(formed), 1.0))
    return found


def _speaks(steps: Sequence[Call | str]) -> bool:
    return any(isinstance(step, str) for step in steps)


def _as_text(call: Call) -> str:
    """Returns a call as text, which a model may write without making it."""
    return msgspec.json.encode({"name": call.name, "arguments": call.arguments}).decode()


def _with_spaces(response: Response) -> Response:
    """Returns the response with the same arguments, with spaces as another model writes them."""
    calls = [
        structs.replace(item, arguments=msgspec.json.format(item.arguments, indent=4))
        if isinstance(item, FunctionCall)
        else item
        for item in response.output
    ]
    return structs.replace(response, output=calls)


GATE = GateRule(
    name="verifier",
    question="Does the reward ignore what it should ignore: reasoning, spaces, formatting?",
    needs="the benchmark alone",
    of_benchmark=lambda benchmark, tasks, seed: verifier_gate(benchmark, tasks),
)
