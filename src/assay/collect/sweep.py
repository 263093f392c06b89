"""A sweep: many runs at the same time, so that no server waits for the last rollouts of one run before the next begins.

On each server the runs begin one after another: the next one opens while the last rollouts of the one before begin. All
take the same places in turn, so together they have no more rollouts in flight than one run would have.
"""

import asyncio
import dataclasses
from collections.abc import Callable, Hashable, Sequence
from functools import partial

from assay.collect.collect import Interruption, Tally, unstalled_rollouts
from assay.collect.head import Collector
from assay.collect.run import RunPlan, Shared
from assay.errors import AssayError, of_system
from assay.model.wrappers.limit import Limits, server_of


async def collect_all(
    plans: Sequence[RunPlan],
    collector: Collector,
    *,
    interruption: Interruption | None = None,
    watch: Callable[[RunPlan, Tally], None] = lambda plan, tally: None,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[int, AssayError]:
    """Collect what all runs still owe. Returns what ended a run before its end, by its place among the plans.

    The concurrency is that of each server. Where a run can't go on, the others do.
    """
    interruption, limits = interruption or Interruption(), Limits()
    servers: dict[Hashable, list[int]] = {}
    for index, plan in enumerate(plans):
        servers.setdefault(server_of(plan.request.server), []).append(index)
    errors: dict[int, AssayError] = {}

    async def make(index: int, shared: Shared) -> None:
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
            shared.nearly_begun.set()

    async def serve(indices: Sequence[int]) -> None:
        places = asyncio.Semaphore(plans[indices[0]].request.concurrency)
        async with asyncio.TaskGroup() as runs:
            for index in indices:
                if not interruption.stopping:
                    shared = Shared(places, limits, asyncio.Event())
                    runs.create_task(make(index, shared))
                    await shared.nearly_begun.wait()

    with unstalled_rollouts(min((plan.request.server.deadline_s for plan in plans), default=0.0)):
        await asyncio.gather(*map(serve, servers.values()))
    return errors
