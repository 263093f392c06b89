"""`assay check`: what can be known of a benchmark without any model, within a minute."""

import asyncio
import os
import time
from collections.abc import Mapping

import msgspec
from msgspec import Struct, structs

from assay.benchmark import Benchmark
from assay.benchmark.catalog import load
from assay.collect.run import connect_roles
from assay.collect.workers import LostWorker
from assay.collect.workers.process import Processes
from assay.config import ModelConfig
from assay.digest import task_digest
from assay.errors import AssayError
from assay.fidelity.check import rehearsal, tasks
from assay.fidelity.check.rehearsal import Rehearsal
from assay.fidelity.gates.gold import gold_gate
from assay.fidelity.gates.verifier import verifier_gate
from assay.fidelity.schema.profile import Check, Checked, Gate
from assay.types import Task

GOLD_S, VERIFIER_S, PLAY_S = 12.0, 15.0, 4.0
"""What the gates and one pass of the rehearsal may take; where all tasks would take longer, a part of them is taken."""
FEWEST, MOST_PLAYED = 3, 200
ELSEWHERE_S = 40.0

REMEDIES = {
    "gold": "See that verify() gives a task's gold answer 1, anything else at most the stated chance.",
    "verifier": "Look for the answer wherever a format puts it, in the message alone; see assay.benchmark.verify.",
}
SERVICE = "assay.fidelity.check.check:Portraying"
PLAYED = ("gold", "verifier", "determinism", "isolation", "tools", "time")
"""The checks that make rollouts."""


class Asked(Struct, frozen=True):
    """What is checked, so that another process can look at the same."""

    name: str
    """The benchmark's, or the path of its folder."""
    roles: dict[str, ModelConfig]
    """The models that its sessions ask, where it has no own for a role or another is meant."""
    played: list[str] = []
    """The tasks whose rollouts another process makes."""


class Portrait(Struct, frozen=True):
    """What a process finds a benchmark to be: digests of its tasks, and of the rollouts of some."""

    tasks: dict[str, str]
    scenes: dict[str, str]


async def check(name: str, roles: Mapping[str, ModelConfig] | None = None) -> Checked:
    """Everything that can be known of a benchmark without a model to measure, by its name or its folder's path.

    Raises UsageError where there is no such benchmark or role.
    """
    started = time.monotonic()
    asked = Asked(name, dict(roles or {}))
    benchmark = load(name)
    found = _listed(benchmark)
    checks = [found] if isinstance(found, Check) else await _checks(asked, benchmark, found)
    return Checked(
        benchmark=benchmark.name,
        version=benchmark.version,
        tasks=0 if isinstance(found, Check) else len(found),
        prompt="" if isinstance(found, Check) else tasks.prompt_of(found[0]),
        checks=checks,
        wall_s=round(time.monotonic() - started, 3),
    )


def _listed(benchmark: Benchmark) -> list[Task] | Check:
    """The tasks, or why there is nothing to check."""
    try:
        found = list(benchmark.environment.tasks())
    except AssayError:
        raise
    except Exception as error:
        reason = f"tasks() raised {type(error).__name__}: {error}"
        return Check("tasks", "fail", reason, remedy="Call it by itself: list(BENCHMARK.environment.tasks()).")
    checked = tasks.task_check(found)
    return checked if checked.verdict == "fail" else found


async def _checks(asked: Asked, benchmark: Benchmark, found: list[Task]) -> list[Check]:
    empty = [role for role, own in benchmark.roles.items() if own is None and role not in asked.roles]
    if empty:
        portrait = await _elsewhere(asked)
        how = " ".join(f"--with {role}=NAME" for role in empty)
        reason = f"Sessions ask a model in the role {', '.join(empty)}, and none is named."
        unplayed = [Check(name, "not run", reason, remedy=f"Say {how}.") for name in PLAYED]
        return await _read(benchmark, found, portrait) + unplayed
    async with connect_roles(benchmark, asked.roles) as ready:
        await ready.environment.ready()
        troupe = Rehearsal(ready)
        task_s = await _seconds(troupe, found)
        some = _spread(found, min(MOST_PLAYED, int(PLAY_S / task_s)))
        looking = asyncio.create_task(_elsewhere(structs.replace(asked, played=[task.id for task in some])))
        gates = await _gates(ready, found, task_s)
        first = await troupe.play(some)
        again, at_once = await troupe.play(some, backwards=True), await troupe.play_at_once(some)
        portrait = await looking
        return [
            *await _read(benchmark, found, portrait),
            *gates,
            rehearsal.repeat_check(first, again, None if isinstance(portrait, str) else portrait.scenes),
            rehearsal.isolation_check(first, at_once),
            rehearsal.tool_check(first),
            rehearsal.time_check(first),
        ]


async def _read(benchmark: Benchmark, found: list[Task], portrait: Portrait | str) -> list[Check]:
    """What reading the tasks tells."""
    elsewhere = portrait if isinstance(portrait, str) else portrait.tasks
    return [
        tasks.task_check(found),
        tasks.digest_check(found, list(benchmark.environment.tasks()), elsewhere),
        tasks.duplicate_check(benchmark.environment, found),
        tasks.prompt_check(found),
        tasks.leak_check(found),
    ]


async def _gates(benchmark: Benchmark, found: list[Task], task_s: float) -> list[Check]:
    checks: list[Check] = []
    for gate, budget_s, rollouts in (
        (gold_gate, GOLD_S, 7),
        (verifier_gate, VERIFIER_S, 2 * (5 + len(benchmark.formats))),
    ):
        some = _spread(found, int(budget_s / (task_s * rollouts)))
        checks.append(_of(await gate(benchmark, some), len(some), len(found)))
    return checks


def _of(gate: Gate, some: int, of: int) -> Check:
    """The gate as a check."""
    part = f" ({some:,} of {of:,} tasks, for time.)" if some < of else ""
    named = [task for key, ids in gate.numbers.items() if key.startswith("tasks_") for task in _flat(ids)]
    remedy = None if gate.verdict == "pass" else REMEDIES[gate.name]
    return Check(gate.name, gate.verdict, gate.reason + part, list(dict.fromkeys(named))[: tasks.SHOWN], remedy)


def _flat(ids: list[str] | dict[str, list[str]]) -> list[str]:
    return ids if isinstance(ids, list) else [one for some in ids.values() for one in some]


async def _seconds(troupe: Rehearsal, found: list[Task]) -> float:
    """How long one rollout takes, roughly; at least 20 microseconds."""
    started = time.monotonic()
    scenes = await troupe.play(_spread(found, FEWEST))
    return max(2e-5, (time.monotonic() - started) / len(scenes))


def _spread(found: list[Task], count: int) -> list[Task]:
    """So many tasks, evenly from the first to the last."""
    count = max(FEWEST, count)
    return found if count >= len(found) else [found[at * len(found) // count] for at in range(count)]


class Portraying:
    """The service: a benchmark's portrait, from its process."""

    async def begin(self, request: bytes) -> bytes:
        return msgspec.msgpack.encode(await _portrait(msgspec.msgpack.decode(request, type=Asked)))

    async def exchange(self, work: bytes) -> bytes:
        return work

    async def close(self) -> None:
        return None

    def stop(self) -> None:
        os._exit(1)


async def _portrait(asked: Asked) -> Portrait:
    benchmark = load(asked.name)
    found = {task.id: task for task in benchmark.environment.tasks()}
    digests = {name: task_digest(task) for name, task in found.items()}
    if not asked.played:
        return Portrait(digests, {})
    async with connect_roles(benchmark, asked.roles) as ready:
        scenes = await Rehearsal(ready).play([found[name] for name in asked.played if name in found])
    return Portrait(digests, rehearsal.digests(scenes))


async def _elsewhere(asked: Asked) -> Portrait | str:
    """Returns the portrait that another process makes, with another order of sets, or why it made none."""
    worker = Processes(variables={"PYTHONHASHSEED": "20260101"}, quiet=True).start(SERVICE)
    try:
        async with asyncio.timeout(ELSEWHERE_S):
            return msgspec.msgpack.decode(await worker.begin(msgspec.msgpack.encode(asked)), type=Portrait)
    except TimeoutError:
        return f"no end within {ELSEWHERE_S:g} s"
    except (AssayError, LostWorker) as error:
        return str(error)
    finally:
        await worker.end()
