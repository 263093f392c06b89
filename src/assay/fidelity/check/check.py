"""`assay check`: checks of a benchmark without a model, within a minute.

Each part has a share of the minute. If all tasks would take longer, a part checks some of them, and says how many.
"""

import asyncio
import os
import time
from collections.abc import Mapping

import msgspec
from msgspec import Struct, structs

from assay.benchmark import Benchmark
from assay.benchmark.catalog import BenchmarkRequest, load
from assay.collect.run import connect_roles
from assay.collect.workers import LostWorker
from assay.collect.workers.process import Processes
from assay.config import ModelConfig
from assay.digest import task_digest
from assay.errors import AssayError
from assay.fidelity.check.card import card_check, published_check, score_check
from assay.fidelity.check.rehearsal import (
    PlayDigests,
    Rehearsal,
    digests_of,
    isolation_check,
    repeat_check,
    time_check,
    tool_check,
)
from assay.fidelity.gates.gold import gold_gate, probes_a_task
from assay.fidelity.gates.tasks import checks_of, defect_check
from assay.fidelity.gates.verifier import verifier_gate
from assay.fidelity.schema.profile import Check, Checked
from assay.fidelity.tasks.checks import SHOWN, digest_check, task_check
from assay.sandbox import Place
from assay.types import Task

MINUTE_S = 60.0
PARTS = {"pace": 3, "gold": 20, "verifier": 15, "first": 5, "again": 5, "at once": 5, "rest": 15}
"""The parts in their order, and the share of the time that each may take, relative to the later parts."""
FEWEST, MOST_PLAYED = 3, 200

REMEDIES = {
    "gold": "See that verify() gives a task's gold answer 1, anything else at most the stated chance.",
    "verifier": "Look for the answer wherever a format puts it, in the message alone; see assay.benchmark.verify.",
}
SERVICE = "assay.fidelity.check.check:PortraitService"
PLAYED = ("gold", "verifier", "determinism", "isolation", "tools", "time")
"""The checks that make rollouts."""


class CheckRequest(Struct, frozen=True):
    """What to check, as data for another process."""

    benchmark: BenchmarkRequest
    roles: dict[str, ModelConfig]
    """The models in its roles that are not the benchmark's own."""
    played: list[str] = []
    """The tasks of which the other process makes rollouts."""
    seconds: float = 0.0
    """Seconds for all rollouts."""
    deadline_s: float = MINUTE_S
    """Seconds for each rollout."""


class Portrait(Struct, frozen=True):
    """What a process finds in a benchmark: digests of its tasks, and of the rollouts of some."""

    tasks: dict[str, str]
    rollouts: PlayDigests


class Clock:
    """The time of a check, divided among its parts. What one part does not need goes to the later ones."""

    def __init__(self, seconds: float) -> None:
        self.started = time.monotonic()
        self.deadline_s = seconds / 8
        """The deadline of one rollout."""
        self._until = self.started + seconds

    @property
    def left_s(self) -> float:
        return max(0.0, self._until - time.monotonic())

    def seconds(self, part: str) -> float:
        """Returns the seconds that a part of `PARTS` may take from now."""
        names = list(PARTS)
        following = names[names.index(part) :]
        return self.left_s * PARTS[part] / sum(PARTS[name] for name in following)


async def check(
    name: str,
    roles: Mapping[str, ModelConfig] | None = None,
    *,
    place: Place | None = None,
    seconds: float = MINUTE_S,
) -> Checked:
    """Checks a benchmark, given by its name or its folder's path, without a model. Returns the checks.

    It takes at most about `seconds`, unless the benchmark blocks the event loop or lists its tasks slowly. Raises
    UsageError if there is no such benchmark or role.
    """
    clock = Clock(seconds)
    benchmark = load(name).with_place(place)
    request = CheckRequest(BenchmarkRequest.of(benchmark), dict(roles or {}), deadline_s=clock.deadline_s)
    found = _list_tasks(benchmark)
    checks = [found] if isinstance(found, Check) else await _checks(request, benchmark, found, clock)
    return Checked(
        benchmark=benchmark.name,
        version=benchmark.version,
        tasks=0 if isinstance(found, Check) else len(found),
        prompt="" if isinstance(found, Check) else found[0].prompt,
        checks=checks,
        wall_s=round(time.monotonic() - clock.started, 3),
    )


def _list_tasks(benchmark: Benchmark) -> list[Task] | Check:
    """Returns the tasks, or a failed check if there are none."""
    try:
        found = list(benchmark.environment.tasks())
    except AssayError:
        raise
    except Exception as error:
        reason = f"tasks() raised {type(error).__name__}: {error}"
        return Check("tasks", "fail", reason, remedy="Call it by itself: list(BENCHMARK.environment.tasks()).")
    checked = task_check(found)
    return checked if checked.verdict == "fail" else found


async def _checks(request: CheckRequest, benchmark: Benchmark, found: list[Task], clock: Clock) -> list[Check]:
    empty = [role for role, own in benchmark.roles.items() if own is None and role not in request.roles]
    if empty:
        portrait = await _elsewhere(request, clock.left_s)
        how = " ".join(f"--with {role}=NAME" for role in empty)
        reason = f"Sessions ask a model in the role {', '.join(empty)}, and none is named."
        unplayed = [Check(name, "not run", reason, remedy=f"Say {how}.") for name in PLAYED]
        return await _read_tasks(benchmark, found, portrait) + unplayed
    async with connect_roles(benchmark, request.roles) as ready:
        await ready.environment.ready()
        rehearsal = Rehearsal(ready, deadline_s=clock.deadline_s)
        task_s = await _pace(rehearsal, found, clock.seconds("pace"))
        some = _sample(found, min(MOST_PLAYED, int(clock.seconds("first") / task_s)))
        elsewhere = structs.replace(request, played=[task.id for task in some], seconds=clock.seconds("first"))
        looking = asyncio.create_task(_elsewhere(elsewhere, clock.left_s))
        gates = [
            await _gate(name, ready, found, task_s, clock.seconds(name), rollouts)
            for name, rollouts in (
                ("gold", probes_a_task(ready, found)),
                ("verifier", 2 * (5 + len(ready.formats))),
            )
        ]
        first = await rehearsal.play(some, seconds=clock.seconds("first"))
        again = await rehearsal.play(some, seconds=clock.seconds("again"), backwards=True)
        at_once = await rehearsal.play_at_once(some, seconds=clock.seconds("at once"))
        portrait = await looking
    here = digests_of(first)
    played = [
        repeat_check(here, digests_of(again), portrait.rollouts if isinstance(portrait, Portrait) else portrait),
        isolation_check(here, digests_of(at_once)),
        tool_check(some, first),
        time_check(first),
    ]
    count = len({task for task, _ in first})
    return [
        *await _read_tasks(benchmark, found, portrait),
        *gates,
        *(structs.replace(one, reason=one.reason + _part(count, len(found))) for one in played),
    ]


async def _read_tasks(benchmark: Benchmark, found: list[Task], portrait: Portrait | Exception) -> list[Check]:
    """Returns the checks of the tasks' texts."""
    elsewhere = portrait.tasks if isinstance(portrait, Portrait) else portrait
    return [
        task_check(found, benchmark.environment.remark),
        digest_check(found, list(benchmark.environment.tasks()), elsewhere),
        *checks_of(benchmark, found),
        defect_check(benchmark, [task.id for task in found]),
        score_check(benchmark, found),
        published_check(benchmark, list(benchmark.environment.tasks())),
        card_check(benchmark, found),
    ]


async def _gate(
    name: str, benchmark: Benchmark, found: list[Task], task_s: float, seconds: float, rollouts: int
) -> Check:
    """Returns a gate of the benchmark as a check, on as many tasks as there is time for."""
    some = _sample(found, int(seconds / 2 / (task_s * rollouts)))
    gold = _sample(found, int(seconds / 4 / task_s))
    part = _part(len(some), len(found))
    try:
        async with asyncio.timeout(seconds):
            gate = await (gold_gate(benchmark, gold, probed=some) if name == "gold" else verifier_gate(benchmark, some))
    except TimeoutError:
        return Check(name, "inconclusive", f"It took longer than {seconds:.0f} s.{part}")
    if gate.verdict == "pass" and len(some) < len(found):
        return Check(name, "inconclusive", gate.reason + part, remedy="`assay profile` looks at all of them.")
    named = [task for key, ids in gate.numbers.items() if key.startswith("tasks_") for task in _flat(ids)]
    remedy = None if gate.verdict == "pass" else REMEDIES[name]
    return Check(name, gate.verdict, gate.reason + part, list(dict.fromkeys(named))[:SHOWN], remedy)


def _part(some: int, of: int) -> str:
    """Returns how many tasks were checked, if not all were."""
    return f" ({some:,} of {of:,} tasks, for time.)" if some < of else ""


def _flat(ids: list[str] | dict[str, list[str]]) -> list[str]:
    return ids if isinstance(ids, list) else [one for some in ids.values() for one in some]


async def _pace(rehearsal: Rehearsal, found: list[Task], seconds: float) -> float:
    """Returns about how many seconds one rollout takes, at least 20 microseconds."""
    started = time.monotonic()
    plays = await rehearsal.play(_sample(found, FEWEST), seconds=seconds)
    return max(2e-5, (time.monotonic() - started) / len(plays))


def _sample(found: list[Task], count: int) -> list[Task]:
    """Returns `count` tasks, evenly from the first to the last."""
    count = max(FEWEST, count)
    return found if count >= len(found) else [found[at * len(found) // count] for at in range(count)]


class PortraitService:
    """The service that makes a benchmark's portrait in another process."""

    async def begin(self, request: bytes) -> bytes:
        return msgspec.msgpack.encode(await _portrait(msgspec.msgpack.decode(request, type=CheckRequest)))

    async def exchange(self, work: bytes) -> bytes:
        return work

    async def close(self) -> None:
        return None

    def stop(self) -> None:
        os._exit(1)


async def _portrait(request: CheckRequest) -> Portrait:
    benchmark = request.benchmark.load()
    found = {task.id: task for task in benchmark.environment.tasks()}
    digests = {name: task_digest(task) for name, task in found.items()}
    if not request.played:
        return Portrait(digests, PlayDigests({}, {}))
    async with connect_roles(benchmark, request.roles) as ready:
        some = [found[name] for name in request.played if name in found]
        plays = await Rehearsal(ready, deadline_s=request.deadline_s).play(some, seconds=request.seconds)
    return Portrait(digests, digests_of(plays))


async def _elsewhere(request: CheckRequest, seconds: float) -> Portrait | Exception:
    """Returns the portrait that another process makes, with another order of sets, or why it made none."""
    worker = Processes(variables={"PYTHONHASHSEED": "20260101"}, quiet=True).start(SERVICE)
    try:
        async with asyncio.timeout(seconds):
            return msgspec.msgpack.decode(await worker.begin(msgspec.msgpack.encode(request)), type=Portrait)
    except TimeoutError:
        return TimeoutError(f"no end within {seconds:.0f} s")
    except (AssayError, LostWorker) as error:
        return error
    finally:
        await worker.end()
