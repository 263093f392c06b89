"""Checks rollouts for contradictions: what the tool loop and the plan can't have made.

Everything here can be computed without a model: the prompt is the task's input, the stop reason follows from the turns
and the limits, the seed from the run's seed, and an embedded model counts its own tokens.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from msgspec import Struct

from assay.agent.loop import stop_after
from assay.collect.plan import seed_of
from assay.config import FROM_TASKS, LOOP, Member
from assay.fidelity.schema.profile import Plan
from assay.store import RunRecord, read_rollouts, read_tasks
from assay.types import (
    Failure,
    FunctionCall,
    FunctionCallOutput,
    Response,
    Rollout,
    RolloutLimits,
    StopReason,
    Task,
    Turn,
)

NAMELESS = (*FROM_TASKS, "scripted")
"""Dialects whose responses name no model."""
Flaw = tuple[str, str]
"""The kind of a flaw, and what is wrong."""


class RunFlaws(Struct, frozen=True):
    """The flaws of a run's rollouts."""

    wrong: list[str]
    """Each kind of flaw once, with the first rollout that shows it."""
    models: list[str]
    """Names of models in answers that are not in the plan. A server may have two names for one model."""


def look_through(run: Path, record: RunRecord, plan: Plan, plans: Sequence[Plan], *, stateless: bool) -> RunFlaws:
    """Returns the flaws of a run's rollouts. `stateless` says that the benchmark's sessions only score.

    Raises InputError for a damaged file.
    """
    most = None if any(line.until_stable for line in plans) else max(line.repeats_of(run.name) for line in plans)
    member, tasks = plan.suite.models[run.name], {task.id: task for task in read_tasks(run)}
    others = {other.id for other in plan.suite.models.values() if other.id and not member.id.endswith(other.id)}
    if member.dialect == "replay":
        others.clear()  # it may replay another model's answers
    wrong: dict[str, str] = {}
    names: dict[str, None] = {}
    for made in read_rollouts(run, list(tasks.values())):
        flaws = [*_of_plan(made, record, most), *_of_models(made, member, others)]
        if record.agent == LOOP:
            flaws += _of_loop(made, tasks[made.task], record.limits, stateless=stateless)
        for kind, what in flaws:
            wrong.setdefault(kind, f"runs/{run.name}, {made.task}, repeat {made.repeat}: {what}")
        names.update(dict.fromkeys(turn.response.model for turn in made.turns if turn.response.model))
    unlike = [name for name in names if member.dialect != "replay" and not is_alike(member.id, name)]
    return RunFlaws(list(wrong.values()), unlike)


def is_alike(asked: str, said: str) -> bool:
    """Returns whether a server's name may be that of the requested model, as `gpt-4o-2024-08-06` for `gpt-4o`."""
    one, other = (
        re.sub(r"[^a-z0-9]", "", name.rpartition("/")[2].lower().removesuffix("-latest")) for name in (asked, said)
    )
    return one in other or other in one


def _of_plan(made: Rollout, record: RunRecord, most: int | None) -> Iterator[Flaw]:
    if made.seed != (expected := seed_of(record.seed, made.task, made.repeat)):
        yield "seed", f"seed {made.seed}, and {expected} from the run's seed, task and repeat"
    if most is not None and made.repeat >= most:
        yield "repeat", f"a repeat that plan.jsonl, which has {most}, never asked for"


def _of_models(made: Rollout, member: Member, others: set[str]) -> Iterator[Flaw]:
    known = {"local": member.id, **dict.fromkeys(NAMELESS)}
    # A prompt beyond the context has no answer of the model, and so no name.
    for response in (turn.response for turn in made.turns if turn.response.output):
        if response.model in others:
            yield "model", f"answered by {response.model}, another model of the suite"
        elif member.dialect in known and response.model != known[member.dialect]:
            yield "model", f"answered by {response.model}, and by {member.id or member.dialect} in plan.jsonl"
        if member.dialect == "local" and not _counts_agree(response):
            yield "usage", "its usage is not the number of its token ids"


def _counts_agree(response: Response) -> bool:
    ids, usage = response.tokens, response.usage
    return bool(ids) and (len(ids.prompt), len(ids.output)) == (usage.input_tokens, usage.output_tokens)


def _of_loop(made: Rollout, task: Task, limits: RolloutLimits, *, stateless: bool) -> Iterator[Flaw]:
    turns, failure = made.turns, made.outcome if isinstance(made.outcome, Failure) else None
    if turns and turns[0].input != task.input:
        yield "prompt", "its prompt is not its task's"
    if any(turn.follows is not None for turn in turns) or not all(
        _goes_on(before.response, turn, stateless=stateless) for before, turn in pairwise(turns)
    ):
        yield "turns", "its turns do not follow from each other"
    if failure and failure.where == "model" and stateless and turns and stop_after(turns[-1].response):
        yield "outcome", "a failure of the model, and its answer"
    expected = {"failed"} if failure else _stops(turns, limits, stateless=stateless)
    if made.stop not in expected:
        yield "stop", f"stop {made.stop}, and {' or '.join(sorted(expected)) or 'no end'} from its turns"


def _goes_on(before: Response, turn: Turn, *, stateless: bool) -> bool:
    """Returns whether a turn may follow a response: with an output for each call, or with a reply of the session."""
    calls = [item.call_id for item in before.output if isinstance(item, FunctionCall)]
    outputs = [item.call_id for item in turn.input if isinstance(item, FunctionCallOutput)]
    if before.status == "incomplete" or calls != outputs:
        return False
    return len(turn.input) == len(calls) if calls else not stateless


def _stops(turns: Sequence[Turn], limits: RolloutLimits, *, stateless: bool) -> set[StopReason]:
    """Returns the stop reasons that the loop may have after these turns."""
    if not turns:
        return set()
    end = stop_after(turns[-1].response)
    # A session with a state may end a rollout at a call.
    found: set[StopReason] = {end} if end else set() if stateless else {"completed"}
    if turns[-1].response.status == "incomplete" or (end and stateless):
        return found
    if len(turns) >= limits.steps:
        found.add("steps")
    if limits.output_tokens and sum(turn.response.usage.output_tokens for turn in turns) >= limits.output_tokens:
        found.add("tokens")
    if limits.wall_s:
        found.add("wall_time")
    if limits.tool_s:
        found.add("tool_time")
    return found
