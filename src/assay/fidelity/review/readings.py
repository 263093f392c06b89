"""Rollouts in the form that a person reads, in a review and in the report."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from assay.fidelity.review.marks import Key, Place, content, rollouts_at
from assay.fidelity.review.plants import Plant
from assay.fidelity.review.transcript import attempt, prompt_pieces
from assay.fidelity.schema.evidence import Fault, Mark
from assay.fidelity.schema.profile import Reading
from assay.types import Failure, Rollout, Task


@dataclass(frozen=True, slots=True)
class OpenRollout:
    """A rollout to read. It does not show whether a fault is planted in it."""

    model: str
    rollout: Rollout
    task: Task
    content: str

    @property
    def place(self) -> Place:
        return self.model, self.content

    @property
    def reward(self) -> float | None:
        return None if isinstance(self.rollout.outcome, Failure) else self.rollout.outcome.reward

    def mark(self, fault: Fault, *, by: str, note: str = "") -> Mark:
        """Returns a reader's mark of it, made now."""
        return Mark(
            model=self.model,
            task=self.rollout.task,
            repeat=self.rollout.repeat,
            content=self.content,
            task_digest=self.rollout.task_digest,
            reward=self.reward,
            fault=fault,
            note=note,
            by=by,
            at=now(),
        )

    @property
    def output_tokens(self) -> int:
        return sum(turn.response.usage.output_tokens for turn in self.rollout.turns)


def now() -> str:
    """Returns the time in the format of marks."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def open_rollouts(
    run: Path, model: str, tasks: Sequence[Task], keys: Iterable[Key], plants: Sequence[Plant] = ()
) -> tuple[dict[Key, OpenRollout], dict[str, OpenRollout]]:
    """Returns a model's rollouts at these keys, and those with planted faults by content.

    Raises InputError where the run is damaged.
    """
    by_id, wanted, bases = {task.id: task for task in tasks}, set(keys), {one.base.key for one in plants}
    every = wanted | bases
    found = rollouts_at(run, {task for task, _ in every}, every.__contains__) if every else {}
    real = {
        key: OpenRollout(model, one, by_id[one.task], content(one, by_id[one.task]))
        for key, one in found.items()
        if key in wanted
    }
    planted = {
        one.content: OpenRollout(model, *one.apply(found[one.base.key], one.base.task), one.content)
        for one in plants
        if one.base.key in found
    }
    return real, planted


def readings(run: Path, model: str, tasks: Sequence[Task], keys: Sequence[Key]) -> list[Reading]:
    """Returns the rollouts of a run at these (task, repeat), in order. Raises InputError if the run is damaged."""
    by_id, wanted = {task.id: task for task in tasks}, set(keys)
    found = rollouts_at(run, {task for task, _ in wanted}, wanted.__contains__) if keys else {}
    return [reading(found[key], by_id[key[0]], model) for key in keys if key in found]


def reading(rollout: Rollout, task: Task, model: str) -> Reading:
    """Returns one rollout in the form that a person reads."""
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
