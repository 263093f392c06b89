"""Retracing: repeats a recorded rollout without its model, up to the score of today's verifier.

Tools are called again in a new session, so that a session that scores its state has that state again. If today's
session says something other than the recorded one, the model never answered that, and there is no score.
"""

import dataclasses
from collections import defaultdict, deque
from collections.abc import Collection, Mapping, Sequence

import msgspec
from msgspec import structs

from assay.agent.loop import ToolLoop
from assay.benchmark import Benchmark, Session, has_no_state
from assay.collect.plan import PlannedRollout
from assay.collect.roll import roll_with
from assay.digest import task_digest
from assay.errors import ModelError
from assay.model import Model
from assay.model.wrappers.record import conversation
from assay.store import RunRecord
from assay.types import (
    Failure,
    FunctionCallOutput,
    Item,
    Message,
    Request,
    Response,
    Rollout,
    Score,
    StopReason,
    Task,
    Turn,
)

TIMED: tuple[StopReason, ...] = ("wall_time", "tool_time")
"""Stop reasons after which it is unknown how far the last tool came."""
DIFFERS = "replay_differs"
"""The kind of failure of a rollout that can't be repeated."""
MISSING = "missing"
"""The kind of error of a role without a model."""
SHOWN = 80
"""The most characters of a text in a message."""


class Remembering:
    """A model in a role that repeats recorded answers, and passes other requests on."""

    def __init__(self, turns: Sequence[Turn], other: Model) -> None:
        self._other = other
        self._answers: defaultdict[bytes, deque[Response]] = defaultdict(deque)
        for index, turn in enumerate(turns):
            if turn.response.status == "completed":  # any other failed the rollout
                self._answers[_key(conversation(turns, index))].append(turn.response)

    async def respond(self, request: Request) -> Response:
        known = self._answers.get(_key(request.input))
        return known.popleft() if known else await self._other.respond(request)


class Nobody:
    """Stands in a role without a model."""

    def __init__(self, role: str) -> None:
        self._role = role

    async def respond(self, request: Request) -> Response:
        message = f"it was not asked this when the run was made; to ask it now, say --with {self._role}=NAME"
        raise ModelError(MISSING, message, retryable=False)


async def retrace(benchmark: Benchmark, task: Task, made: Rollout, remembered: Collection[str]) -> Rollout | str:
    """Returns the rollout with today's outcome; or, if a model in a role or another try could give it one, why it has
    none.

    `benchmark` has the run's limits, and a model in each role. `remembered` are the roles whose recorded answers are
    used. `task` is today's, with the same question.
    """
    stateless = has_no_state(benchmark.environment)
    if made.stop in TIMED and not stateless:
        return _fail(made, task, f"it ended in {made.stop}: how far its last tool came is not recorded")
    if made.program and not stateless:
        return _fail(made, task, "its agent is a program, whose calls of tools can't be made again")
    # Without a state the session only scores, whatever the agent was.
    told = stateless and made.stop != "failed"
    recorder = _FullRecord(made) if told else _Retracing(made)
    agent = _Over(made.stop) if told else ToolLoop()
    if benchmark.roles:
        benchmark = dataclasses.replace(benchmark, roles=_roles(benchmark, made, remembered))
    planned = PlannedRollout(task, task_digest(task), made.repeat, made.attempt, made.seed)
    found = await roll_with(benchmark, agent, recorder, planned)
    if difference := _difference(made, found, recorder):
        return _fail(made, task, difference)
    outcome = found.outcome
    missing = {f"{role}_{MISSING}" for role in benchmark.roles}
    if isinstance(outcome, Failure) and (outcome.retryable or outcome.kind in missing):
        return outcome.message
    # If they are the same, the old ones, which have the real times.
    roles = made.roles if _answers(found.roles) == _answers(made.roles) else found.roles
    return structs.replace(made, task_digest=planned.task_digest, stop=found.stop, outcome=outcome, roles=roles)


def keep_outcome(made: Rollout, task: Task) -> Rollout:
    """Returns the rollout with its old outcome."""
    return structs.replace(made, task_digest=task_digest(task))


def with_run_limits(benchmark: Benchmark, record: RunRecord) -> Benchmark:
    """Returns the benchmark with the limits of a run, except those of time, and with a model in each role.

    That is the benchmark's own model, unless the run had another one, which it must not replace.
    """
    return dataclasses.replace(
        benchmark,
        limits=structs.replace(record.limits, wall_s=None, tool_s=None),
        roles={
            role: Nobody(role) if own is None or _has_server(record, role) else own
            for role, own in benchmark.roles.items()
        },
    )


def _has_server(record: RunRecord, role: str) -> bool:
    return role in record.roles and bool(record.roles[role].server)


def _roles(benchmark: Benchmark, made: Rollout, remembered: Collection[str]) -> dict[str, Model | None]:
    return {
        role: Remembering(made.roles.get(role, ()), model) if model and role in remembered else model
        for role, model in benchmark.roles.items()
    }


class _FullRecord:
    """A recorder that has all turns from the start."""

    difference: str | None = None

    def __init__(self, made: Rollout) -> None:
        self.turns: list[Turn] = made.turns

    async def respond(self, request: Request) -> Response:
        raise ModelError("not_recorded", "the rollout is over", retryable=False)


class _Retracing(_FullRecord):
    """A recorder that answers as the model did, as long as the requests are the same."""

    def __init__(self, made: Rollout) -> None:
        self._made = made.turns
        self._known = 0  # how many items the conversation had after the last answer
        self.turns: list[Turn] = []

    async def respond(self, request: Request) -> Response:
        index = len(self.turns)
        if index == len(self._made):
            raise self._stop(f"it goes on after its last turn, {index}")
        turn = self._made[index]
        if turn.follows is not None:
            raise self._stop(f"turn {index + 1} goes on from another one: not the tool loop's rollout")
        new = request.input[self._known :]
        if new != turn.input:
            raise self._stop(f"before turn {index + 1} {_first_difference(new, turn.input)}")
        self._known = len(request.input) + len(turn.response.output)
        self.turns.append(turn)
        return turn.response

    def _stop(self, difference: str) -> ModelError:
        self.difference = difference
        return ModelError(DIFFERS, difference, retryable=False)


class _Over:
    """The agent of a rollout that has ended."""

    def __init__(self, stop: StopReason) -> None:
        self._stop: StopReason = stop

    async def run(self, task: Task, model: Model, session: Session) -> StopReason:
        return self._stop


def _difference(made: Rollout, found: Rollout, recorder: _FullRecord) -> str | None:
    if recorder.difference:
        return recorder.difference
    if found.stop == "failed":
        return None  # today's verifier or environment: a failure by its own words
    if len(found.turns) < len(made.turns):
        return f"it ends after turn {len(found.turns)} of {len(made.turns)}"
    if made.stop not in ("failed", found.stop):
        return f"it ends with {found.stop}, where it had ended with {made.stop}"
    return None


def _fail(made: Rollout, task: Task, difference: str) -> Rollout:
    """Returns the rollout with a failure because it can't be repeated; one that failed before keeps its failure."""
    outcome = made.outcome
    if isinstance(outcome, Score):
        message = f"not rescored: {difference}"
        outcome = Failure(where="environment", kind=DIFFERS, message=message, retryable=False)
    return structs.replace(made, task_digest=task_digest(task), stop="failed", outcome=outcome)


def _first_difference(new: Sequence[Item], recorded: Sequence[Item]) -> str:
    for now, then in zip(new, recorded, strict=False):
        if now != then:
            return f"the session says {_text(now)}, and said {_text(then)}"
    return f"the session says {len(new)} things, and said {len(recorded)}"


def _text(item: Item) -> str:
    said = item.text if isinstance(item, Message | FunctionCallOutput) else msgspec.json.encode(item).decode()
    return repr(said if len(said) <= SHOWN else f"{said[:SHOWN]}…")


def _key(items: Sequence[Item]) -> bytes:
    return msgspec.json.encode(items)


def _answers(roles: Mapping[str, Sequence[Turn]]) -> dict[str, list[Response]]:
    return {role: [turn.response for turn in turns] for role, turns in roles.items()}
