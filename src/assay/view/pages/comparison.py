"""Runs compared with a baseline: one that `assay compare --json` wrote, or one of the runs that were ticked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from assay.errors import DigestMismatch, UsageError
from assay.fidelity.compare.compare import compare, side_by_side
from assay.fidelity.compare.comparison import Comparison, Side, SideBySide
from assay.report import comparison as report
from assay.store import rollout_files
from assay.view.catalog import Catalog, Entry
from assay.view.frame import draw, in_thread, url, view_of
from assay.view.pages.profile import CHARTS


def _values(catalog: Catalog, comparison: Comparison, read: Sequence[SideBySide]) -> dict[str, Any]:
    names = {run.path.resolve(): run.name for run in catalog.entries("run")}

    def address_of(side: Side, task: str) -> str | None:
        run = names.get(Path(side.folder).resolve())
        return run and url("runs", run, "rollouts", task, 0)

    return report.values_of(comparison, read, address_of=address_of)


def _compare(catalog: Catalog, runs: Sequence[Entry], *, across: bool) -> tuple[Comparison, list[SideBySide]]:
    baseline, *candidates = (run.path for run in runs)
    files = [file for run in runs for file in (run.path / "run.json", *rollout_files(run.path))]

    def make() -> tuple[Comparison, list[SideBySide]]:
        comparison = compare(baseline, candidates, across=across)
        return comparison, side_by_side(comparison)

    return catalog.cached(f"compared {across}", files, make)


async def of_ticks(request: Request) -> Response:
    """Returns the page of the runs that `run` names, the first of which is the baseline."""
    view, query = view_of(request), request.query_params
    runs = [view.catalog.run(name) for name in query.getlist("run")]
    if len(runs) < 2:
        raise UsageError("Tick two runs or more: the first is the baseline, the others are compared with it.")
    across = "across" in query
    try:
        comparison, read = await in_thread(lambda: _compare(view.catalog, runs, across=across))
    except DigestMismatch as error:
        names = [run.name for run in runs]
        return draw(request, "not_alike.html", status=422, message=str(error), runs=names, across=across)
    values = await in_thread(lambda: _values(view.catalog, comparison, read))
    return draw(request, "comparison.html", scripts=CHARTS, **values)


async def of_file(request: Request) -> Response:
    """Returns the page of a comparison that was written."""
    view = view_of(request)
    entry = view.catalog.entry("comparison", request.path_params["comparison"])
    comparison = await in_thread(lambda: view.catalog.comparison(entry))

    def values() -> dict[str, Any]:
        try:
            return _values(view.catalog, comparison, side_by_side(comparison))
        except (UsageError, OSError):  # the runs are elsewhere
            return _values(view.catalog, comparison, [])

    return draw(request, "comparison.html", scripts=CHARTS, **await in_thread(values))


routes = [Route("/compare", of_ticks), Route("/comparisons/{comparison}", of_file)]
