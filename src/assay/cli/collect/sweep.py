"""`assay run` with several benchmarks or models."""

import importlib
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from assay.cli.collect.live import Live, console, drive
from assay.cli.options import Workers
from assay.cli.output import plain_table
from assay.collect.collect import Interruption
from assay.collect.run import RunPlan
from assay.collect.sweep import collect_all

NOTE = "Per cent, with 95 % intervals over other tasks of the same kind; failures are in no score. Runs: {}"


def sweep(plans: Sequence[RunPlan], workers: Workers) -> int:
    """Make all runs, and print a table of their scores. Returns the exit code."""
    interruption = Interruption()
    with workers.collector() as collector, Live() as live:
        work = collect_all(
            plans,
            collector,
            interruption=interruption,
            watch=lambda plan, tally: live.begin(plan.request.name, tally, plan.benchmark.name),
            tell=lambda line: console.print(line, markup=False),
        )
        errors = drive(work, interruption)
    if all(plan.shard.count == 1 for plan in plans):
        # Imported once the rollouts are in: numpy and scipy take longer to load than a first answer takes to come.
        head, *rows = importlib.import_module("assay.library.sweep").Sweep(plans).table()
        scores = plain_table(*map(escape, head))
        for row in rows:
            scores.add_row(*map(Text, row))
        Console(highlight=False).print(scores)
        print(NOTE.format(plans[0].folder.parent.parent))
    return 130 if interruption.stopping else max((error.exit_code for error in errors.values()), default=0)
