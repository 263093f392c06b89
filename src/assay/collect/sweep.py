"""A sweep: many runs at the same time, so that no server is idle while the last rollouts of a run end.

On each server the runs begin one after another: the next one opens when the last rollouts of the one before begin. They
share their places, so together they have no more rollouts in flight than one run would have.
"""

import asyncio
import dataclasses
from collections.abc import Callable, Hashable, Sequence
from functools import partial

from assay.collect.collect import Interruption, Tally, rollout_stall_alarm
from assay.collect.head import Collector
from assay.collect.run import RunPlan, SharedLimits
from assay.errors import AssayError, of_system
from assay.model.wrappers.limit import ServerLimits, server_of


async def collect_all(
    plans: Sequence[RunPlan],
    collector: Collector,
    *,
    interruption: Interruption | None = None,
    watch: Callable[[RunPlan, Tally], None] = lambda plan, tally: None,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[int, AssayError]:
    """Makes the rollouts that all runs still owe. Returns the errors that ended runs early, by index in `plans`.

    The concurrency is that of each server. If a run can't go on, the others do.
    """
    interruption, limits = interruption or Interruption(), ServerLimits()
    servers: dict[Hashable, list[int]] = {}
    for index, plan in enumerate(plans):
        servers.setdefault(server_of(plan.request.server), []).append(index)
    errors: dict[int, AssayError] = {}

    async def make(index: int, shared: SharedLimits) -> None:
        plan = dataclasses.replace(plans[index], shared=shared)
        try:
            await collector(plan, interruption=interruption, watch=partial(watch, plan), tell=tell)
        except (AssayError, OSError) as error:
            known = error if isinstance(error, AssayError) else of_system(error)
            if known is None:
                raise
            errors[index] = known
            tell(f"{plan.benchmark.name} on {plan.request.name}: {known}")
        finally:
            shared.next_may_open.set()

    async def serve(indices: Sequence[int]) -> None:
        places = asyncio.Semaphore(plans[indices[0]].request.concurrency)
        async with asyncio.TaskGroup() as runs:
            for index in indices:
                if not interruption.stopping:
                    shared = SharedLimits(places, limits, asyncio.Event())
                    runs.create_task(make(index, shared))
                    await shared.next_may_open.wait()

    with rollout_stall_alarm(min((plan.request.server.deadline_s for plan in plans), default=0.0)):
        await asyncio.gather(*map(serve, servers.values()))
    return errors
