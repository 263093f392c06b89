"""Failing rollouts to read: those that scored less than full marks, or failed, with why."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from assay.fidelity.record import Reading
from assay.store import progress, read_rollouts, read_tasks
from assay.types import Failure, Item, Message, Rollout, Task


def readings(folder: Path, model: str) -> Iterator[Reading]:
    """Every rollout of a run to read, in the order they ended; failures that a later attempt made good are none."""
    tasks = {task.id: task for task in read_tasks(folder)}
    scored, _ = progress(folder)
    for rollout in read_rollouts(folder):
        outcome = rollout.outcome
        if rollout.key not in scored if isinstance(outcome, Failure) else outcome.reward < 1:
            yield reading(rollout, tasks[rollout.task], model)


def reading(rollout: Rollout, task: Task, model: str) -> Reading:
    """One rollout as a person reads it."""
    score = None if isinstance(rollout.outcome, Failure) else rollout.outcome
    return Reading(
        model=model,
        task=task.id,
        repeat=rollout.repeat,
        category=task.tags.get("category", ""),
        prompt=_text(task.input),
        reasoning="\n\n".join(filter(None, (turn.response.reasoning for turn in rollout.turns))),
        answer_text="\n\n".join(filter(None, (turn.response.text for turn in rollout.turns))),
        answer=score.answer if score else None,
        gold=task.gold,
        reward=score.reward if score else None,
        why=_why(rollout, task),
    )


def _why(rollout: Rollout, task: Task) -> str:
    outcome = rollout.outcome
    if isinstance(outcome, Failure):
        return f"failed in the {outcome.where}: {outcome.kind}: {outcome.message}"
    if rollout.stop == "token_cap":
        return "reached the token cap" + ("" if outcome.answer is None else f" at the answer {outcome.answer}")
    if rollout.stop == "refused":
        return "refused"
    if outcome.answer is None:
        return "no answer was found in the message"
    return f"answered {outcome.answer}" + ("" if task.gold is None else f", gold {task.gold}")


def _text(items: Iterable[Item]) -> str:
    return "\n\n".join(item.text for item in items if isinstance(item, Message))
