"""Rollouts without a model, which show whether an environment is deterministic and its sessions are independent."""

import asyncio
import collections
import dataclasses
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from assay.agent.loop import ToolLoop
from assay.benchmark import Benchmark, Call, Session
from assay.benchmark.answers import OFF_TOPIC
from assay.benchmark.reference import responses
from assay.collect.deadline import Deadline
from assay.collect.plan import PlannedRollout
from assay.collect.roll import roll
from assay.collect.run import model_of
from assay.config import ModelConfig
from assay.digest import digest, task_digest
from assay.errors import UnknownName
from assay.fidelity.schema.profile import Check
from assay.fidelity.tasks.checks import SHOWN, check_of
from assay.model import Model
from assay.model.builtin.function import FunctionModel
from assay.types import Failure, FunctionCall, Message, Outcome, Request, Response, Score, StopReason, Task, Tool

SEED = 7


@dataclass(frozen=True, slots=True)
class Play:
    """One rollout of a player."""

    digest: str
    """Of all items from the environment, the reward and the answer, without metrics, which may hold times. Empty if the
    rollout failed, because a failure shows nothing."""
    outcome: Outcome
    verified_s: float
    """Seconds from the model's last answer to the score."""


Plays = dict[tuple[str, str], Play]
"""By task and player."""


class Rehearsal:
    """The players of a benchmark: `gold` plays the reference, `null` answers off topic, `fumbler` misuses tools."""

    def __init__(self, benchmark: Benchmark, *, deadline_s: float) -> None:
        """`deadline_s` is the deadline of one rollout."""
        self._benchmark = benchmark
        self._deadline_s = deadline_s
        self._gold = model_of(ModelConfig(dialect="gold"), benchmark)

    async def play(self, tasks: Sequence[Task], *, seconds: float, backwards: bool = False) -> Plays:
        """Returns each player's rollout of each task, one after the other; at least one, and none after `seconds`."""
        plays: Plays = {}
        until = time.monotonic() + seconds
        for task, player, model in self._players(tasks)[:: -1 if backwards else 1]:
            plays[task.id, player] = await self._play(task, model)
            if time.monotonic() >= until:
                break
        return plays

    async def play_at_once(self, tasks: Sequence[Task], *, seconds: float) -> Plays:
        """Returns each player's rollout of each task. The players of two tasks run at once, and take turns."""
        plays: Plays = {}
        until = time.monotonic() + seconds
        for at in range(len(tasks)):
            players = self._players(tasks[at : at + 2])
            coroutines = [self._play(task, _TurnAbout(model)) for task, _, model in players]
            for (task, player, _), play in zip(players, await asyncio.gather(*coroutines), strict=True):
                key = task.id, player
                # A task is played beside the task before it and beside the one after it; a difference is kept.
                if key not in plays or play.digest != plays[key].digest:
                    plays[key] = play
            if time.monotonic() >= until:
                break
        return plays

    def _players(self, tasks: Sequence[Task]) -> list[tuple[Task, str, Model]]:
        environment = self._benchmark.environment
        null: Model = FunctionModel(lambda _: OFF_TOPIC)
        players: list[tuple[Task, str, Model]] = []
        for task in tasks:
            players.append((task, "null", null))
            if environment.solution(task) is not None:
                players.append((task, "gold", self._gold))
            if task.tools:
                players.append((task, "fumbler", FunctionModel(_fumbler(task))))
        return players

    async def _play(self, task: Task, model: Model) -> Play:
        agent = _TimedLoop()
        planned = PlannedRollout(task, task_digest(task), repeat=0, attempt=0, seed=SEED)
        with closing(Deadline(self._deadline_s)) as deadline:
            rollout = await roll(self._benchmark, agent, model, planned, deadline=deadline)
        ended = time.monotonic()
        outcome = rollout.outcome
        turns = [(turn.input, turn.response.output) for turn in rollout.turns]
        said = digest((turns, rollout.stop, outcome.reward, outcome.answer)) if isinstance(outcome, Score) else ""
        return Play(said, outcome, ended - (agent.ended or ended))


class PlayDigests(Struct, frozen=True):
    """By the name of each rollout, its digest if it was scored, and the failure if it was not."""

    digests: dict[str, str]
    failures: dict[str, str]


def digests_of(plays: Plays) -> PlayDigests:
    """Returns the digests and failures of rollouts."""
    outcomes = {_label(key): play.outcome for key, play in plays.items()}
    return PlayDigests(
        {_label(key): play.digest for key, play in plays.items() if play.digest},
        {name: f"{it.kind}: {it.message}" for name, it in outcomes.items() if isinstance(it, Failure)},
    )


def repeat_check(first: PlayDigests, again: PlayDigests, elsewhere: PlayDigests | Exception) -> Check:
    """Does the same task with the same seed and the same answers give the same rollout?

    `elsewhere` is the result of another process, or its error.
    """
    remedy = "Draw all randomness from open()'s seed, keep no state between rollouts, sort sets, read no clock."
    there = PlayDigests({}, {"another process": str(elsewhere)}) if isinstance(elsewhere, Exception) else elsewhere
    others = {"here a second time": again, "in another process": there}
    said = "played twice here and once in another process: the same to the letter"
    return _compare("determinism", first, others, said, remedy)


def isolation_check(first: PlayDigests, at_once: PlayDigests) -> Check:
    """Does a rollout give the same beside others as alone?"""
    remedy = "Keep a rollout's state in its session alone: nothing on the class, the module or the environment."
    said = "played beside those of the same task and of the next: each as if alone"
    return _compare("isolation", first, {"beside other rollouts": at_once}, said, remedy)


def _compare(name: str, first: PlayDigests, others: Mapping[str, PlayDigests], said: str, remedy: str) -> Check:
    """Returns a check that fails if rollouts differ, and is inconclusive if one failed or none was scored."""
    wrong = {
        f"another course or score {where}": different
        for where, there in others.items()
        if (different := [one for one, it in first.digests.items() if there.digests.get(one, it) != it])
    }
    failures = dict(collections.ChainMap(first.failures, *(there.failures for there in others.values())))
    alike = [one for one in first.digests if all(one in there.digests for there in others.values())]
    if failures and not wrong:
        return _inconclusive(name, failures, f"{len(alike)} rollouts, {said}." if alike else "No rollout was scored.")
    if not alike and not wrong:
        return Check(name, "inconclusive", "There was no time to play one rollout in each way.")
    return check_of(name, wrong, f"{len(alike)} rollouts, {said}.", remedy)


def tool_check(tasks: Sequence[Task], first: Plays) -> Check:
    """Does a tool tell the model about a wrong call?"""
    if not any(task.tools for task in tasks):
        return Check("tools", "pass", "No task offers a tool.")
    play = {task: scene.outcome for (task, player), scene in first.items() if player == "fumbler"}
    failures = {task: outcome for task, outcome in play.items() if isinstance(outcome, Failure)}
    wrong: defaultdict[str, list[str]] = defaultdict(list)
    for task, outcome in failures.items():
        if outcome.kind in ("tool", "exception"):
            wrong[f"{outcome.kind}: {outcome.message}"].append(task)
    count = len(play) - len(failures)
    said = f"Missing, mistyped, extreme and malformed arguments on {count} tasks: told to the model, no crash."
    if failures and not wrong:
        return _inconclusive("tools", {task: f"{one.kind}: {one.message}" for task, one in failures.items()}, said)
    if not play:
        return Check("tools", "inconclusive", "There was no time to call a tool wrongly.")
    remedy = "Tell the model what is wrong with its arguments (raise Rejected from assay.benchmark.tools)."
    return check_of("tools", wrong, said, remedy)


def _inconclusive(name: str, failures: Mapping[str, str], said: str) -> Check:
    one, why = next(iter(failures.items()))
    reason = f"{len(failures)} rollouts failed, which shows nothing. {one}: {why}. {said}"
    return Check(name, "inconclusive", reason, list(failures)[:SHOWN], "Mend what failed, and check again.")


def time_check(first: Plays) -> Check:
    """How long does a verification take?"""
    times_ms = [1000 * scene.verified_s for scene in first.values() if isinstance(scene.outcome, Score)]
    if not times_ms:
        return Check("time", "inconclusive", "Nothing was scored.")
    middle, high = np.percentile(times_ms, [50, 99])
    reason = f"A verification takes {middle:.3g} ms (p50), {high:.3g} ms (p99) over {len(times_ms)} rollouts."
    return Check("time", "pass", reason)


def rehearse(
    benchmark: Benchmark, task_id: str, *steps: Call | str, roles: Mapping[str, Model] | None = None, seed: int = SEED
) -> Score:
    """Returns the score of a rollout with these turns, each a call of a tool or a message. For tests of a benchmark.

    `roles` are the models in the benchmark's roles. Raises UsageError for an unknown task, and AssertionError if the
    rollout failed.
    """
    tasks = {task.id: task for task in benchmark.environment.tasks()}
    task = tasks.get(task_id)
    if task is None:
        raise UnknownName(f"task in benchmark {benchmark.name}", task_id, tasks)
    said = responses(steps)
    model = FunctionModel(lambda request: said[min(request.turn, len(said) - 1)])
    planned = PlannedRollout(task, task_digest(task), repeat=0, attempt=0, seed=seed)
    ready = dataclasses.replace(benchmark, roles={**benchmark.roles, **(roles or {})})
    outcome = asyncio.run(roll(ready, ToolLoop(), model, planned)).outcome
    if isinstance(outcome, Failure):
        raise AssertionError(f"the rollout of {task_id} failed in the {outcome.where}: {outcome.message}")
    return outcome


class _TimedLoop(ToolLoop):
    """The tool loop, with the time at which it ended."""

    ended: float | None = None

    async def run(self, task: Task, model: Model, session: Session) -> StopReason:
        try:
            return await super().run(task, model, session)
        finally:
            self.ended = time.monotonic()


class _TurnAbout:
    """A model that lets other rollouts run before it answers."""

    def __init__(self, model: Model) -> None:
        self._model = model

    async def respond(self, request: Request) -> Response:
        await asyncio.sleep(0)
        return await self._model.respond(request)


def _fumbler(task: Task) -> Callable[[Request], Response]:
    """Returns a function that calls each tool wrongly, then with arguments of the right types, and ends off topic."""
    turns = [
        [("no_such_tool", "{}"), *((tool.name, text) for tool in task.tools for text in _MALFORMED)],
        [(tool.name, _arguments(tool, _MISTYPED)) for tool in task.tools],
        [(tool.name, _arguments(tool, values)) for tool in task.tools for values in (_EXTREME, _PLAIN)],
        [(tool.name, _arguments(tool, _PLAIN)) for tool in task.tools],
    ]

    def answer(request: Request) -> Response:
        if request.turn >= len(turns):
            return Response(output=[Message(role="assistant", content=OFF_TOPIC)])
        calls = enumerate(turns[request.turn])
        return Response(output=[FunctionCall(f"call_{request.turn}_{at}", *call) for at, call in calls])

    return answer


def _arguments(tool: Tool, values: dict[str, Any]) -> str:
    fields: dict[str, dict[str, Any]] = tool.parameters.get("properties", {})
    return msgspec.json.encode({name: _value(field, values) for name, field in fields.items()}).decode()


def _value(field: dict[str, Any], values: dict[str, Any]) -> Any:
    known = field.get("enum") if values is not _MISTYPED else None
    return known[0] if known else values.get(str(field.get("type")))


_MALFORMED = ("{}", "not JSON", "[1]", '{"surprise": 1}')
_MISTYPED: dict[str, Any] = {
    "string": 7,
    "integer": "several",
    "number": "several",
    "boolean": "perhaps",
    "array": "x",
    "object": [3],
}
_EXTREME: dict[str, Any] = {"string": "", "integer": -1, "number": 1e300, "boolean": False, "array": [], "object": {}}
_PLAIN: dict[str, Any] = {"string": "a", "integer": 1, "number": 1.5, "boolean": True, "array": [], "object": {}}


def _label(key: tuple[str, str]) -> str:
    return f"{key[0]} ({key[1]})"
