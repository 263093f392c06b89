"""Rollouts as a person reads them in a report, each with the reason why it is there."""

from collections.abc import Sequence
from pathlib import Path

from assay.fidelity.review.marks import Key, rollouts_at
from assay.fidelity.review.transcript import attempt, prompt_pieces
from assay.fidelity.schema.profile import Reading
from assay.types import Failure, Rollout, Task


def readings(run: Path, model: str, tasks: Sequence[Task], keys: Sequence[Key]) -> list[Reading]:
    """Returns the rollouts of a run at these (task, repeat), in order. Raises InputError where the run is damaged."""
    by_id, wanted = {task.id: task for task in tasks}, set(keys)
    found = rollouts_at(run, {task for task, _ in wanted}, wanted.__contains__) if keys else {}
    return [reading(found[key], by_id[key[0]], model) for key in keys if key in found]


def reading(rollout: Rollout, task: Task, model: str) -> Reading:
    """Returns one rollout as a person reads it."""
    score = None if isinstance(rollout.outcome, Failure) else rollout.outcome
    return Reading(
        model=model,
        task=task.id,
        repeat=rollout.repeat,
        category=task.tags.get("category", ""),
        asked=prompt_pieces(task),
        said=attempt(rollout, task),
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
    if rollout.stop != "completed":
        return f"ended by the limit of {rollout.stop.replace('_', ' ')}"
    if task.gold is None:
        return f"scored {outcome.reward:g}" + ("" if outcome.answer is None else f": {outcome.answer}")
    if outcome.answer is None:
        return "no answer was found in the message"
    return f"answered {outcome.answer}, gold {task.gold}"
