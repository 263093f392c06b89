"""`assay rescore`."""

from pathlib import Path

from rich.table import Table
from rich.text import Text

from assay.benchmark import Benchmark
from assay.cli.collect.live import Live, console, drive
from assay.cli.collect.profile import report
from assay.cli.options import Code, Roles
from assay.cli.output import plain_table, share
from assay.collect.collect import Interruption
from assay.errors import UsageError
from assay.fidelity.profile import read_plan, source_of
from assay.fidelity.rescore.rescore import CHANGES, Change, RescorePlan, Rescoring
from assay.fidelity.rescore.rescore import rescore as rescore_run
from assay.fidelity.rescore.rescore_profile import rescore_profile
from assay.input import is_present
from assay.store import read_record
from assay.types import Failure, Outcome, Score

MOST = 20
"""Changes that are shown; all are in the file."""
KINDS = {
    "score": "scored otherwise",
    "answer": "read another answer at the same score",
    "mended": "failed before and have a score now",
    "broken": "had a score and failed now",
    "owed": "could not be rescored",
}


def rescore(
    run: Path,
    *,
    benchmark: str | None = None,
    processes: int = 1,
    concurrency: int = 64,
    out: Path | None = None,
    roles: Roles = Roles(),
    code: Code = Code(),
) -> int:
    """Score the rollouts of a run again with the verifier as it is now, without the model.

    Takes a profile too, and then scores all its runs. The old run stays as it is; the new scores are written to a run
    (or profile) beside it, which every command takes. Tools are called again, to bring back the state that a verifier
    looks at. The same command continues where an earlier one stopped.

    Exits 4 if a rollout that had a score has none now.

    Parameters
    ----------
    run
        A run directory, or a profile's.
    benchmark
        The benchmark's name or the path of its folder. Default: the name that the run has.
    processes
        Number of processes, for a verifier that computes. For one that waits, as for a sandbox, raise --concurrency.
    concurrency
        Rollouts in flight at most.
    out
        The new directory. Default: RUN-rescored-VERIFIER, where VERIFIER is a digest of the verifier.
    """
    if processes < 1 or concurrency < 1:
        raise UsageError("nothing to do: --processes and --concurrency have to be at least 1")
    whole = is_present(run / "plan.jsonl")
    source = benchmark or (source_of(run, read_plan(run)) if whole else read_record(run).benchmark)
    plan = RescorePlan(
        run=run,
        benchmark=_load(code, source, run, is_named=benchmark is not None),
        folder=out,
        concurrency=concurrency,
        processes=processes,
        roles=roles.configs(),
    )
    interruption = Interruption()
    with Live() as live:
        if whole:
            outcome = drive(rescore_profile(plan, interruption=interruption, watch=live.begin), interruption)
            folder, rescorings = outcome or (None, {})
        else:
            one = drive(rescore_run(plan, interruption=interruption, watch=live.begin), interruption)
            folder, rescorings = None, {run.resolve().name: one} if one else {}
    if not rescorings:
        return 130
    for name, rescored in rescorings.items():
        _show(name, rescored)
    if folder:
        report(folder)
    changes = [change for rescored in rescorings.values() for change in rescored.changes]
    return 4 if any(isinstance(c.before, Score) and not isinstance(c.after, Score) for c in changes) else 0


def _load(code: Code, source: str, run: Path, *, is_named: bool) -> Benchmark:
    try:
        return code.load(source)
    except UsageError as error:
        if is_named:
            raise
        raise UsageError(f"{error}\n  {run} is of {source}: say where that is with --benchmark PATH") from None


def _show(name: str, rescoring: Rescoring) -> None:
    changes = rescoring.changes
    points = "" if None in (rescoring.before, rescoring.after) else f" ({_points(rescoring):+.1f} points)"
    print(
        f"{name}: score {share(rescoring.before)} → {share(rescoring.after)}{points}, {rescoring.rollouts:,} rescored"
    )
    for kind, meaning in KINDS.items():
        if count := sum(change.kind == kind for change in changes):
            print(f"  {count:,} {meaning}")
    for tasks, words in (
        (rescoring.relabelled, "tasks have another gold answer or other data"),
        (rescoring.asked_otherwise, "tasks ask something else today, so their rollouts are no answer to them"),
        (rescoring.gone, "tasks are not in today's benchmark"),
    ):
        if tasks:
            more = f" and {len(tasks) - 8:,} more" if len(tasks) > 8 else ""
            print(f"  {len(tasks):,} {words}: {', '.join(tasks[:8])}{more}")
    if rescoring.new:
        print(f"  {rescoring.new:,} tasks of today's benchmark are not in the run")
    if changes:
        console.print(_table(changes[:MOST]))
        print(f"  all {len(changes):,} are in {rescoring.folder / CHANGES}")
    print(rescoring.folder)


def _points(rescoring: Rescoring) -> float:
    return 100 * ((rescoring.after or 0.0) - (rescoring.before or 0.0))


def _table(changes: list[Change]) -> Table:
    rows = plain_table("task", "repeat", "before", "after", right=["repeat"])
    for change in changes:
        after = Text(change.reason or "not rescored") if change.after is None else _outcome(change.after)
        rows.add_row(Text(change.task), str(change.repeat), _outcome(change.before), after)
    return rows


def _outcome(outcome: Outcome) -> Text:
    if isinstance(outcome, Failure):
        return Text(f"failed in the {outcome.where}: {outcome.kind}: {outcome.message[:120]}")
    answer = "no answer" if outcome.answer is None else outcome.answer[:60]
    return Text(f"{outcome.reward:g}  {answer}")
