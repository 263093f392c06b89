"""A profile, as its report shows it, with each rollout that it names at its own page."""

import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from assay.errors import AssayError, text_of
from assay.fidelity.certificate.schema import NAME
from assay.fidelity.certificate.validity import check_files, read_certificate
from assay.fidelity.profile import read_plan
from assay.fidelity.results.repeats import Cost, outlook
from assay.fidelity.results.results import read
from assay.fidelity.schema.evidence import Finding, Mark, RolloutRef
from assay.fidelity.schema.profile import Profile, TaskRow
from assay.report import page as report
from assay.report.cards import Positions
from assay.report.certificate import headline
from assay.report.words import dollars, plural, short_count
from assay.store import read_lines, rollout_files
from assay.view.catalog import Catalog, Entry
from assay.view.frame import View, draw, in_thread, url, view_of
from assay.view.pages.home import READ_S
from assay.view.pages.live import Row, row

CHARTS = (*(f"vendor/{name}.min.js" for name in report.DRAWING), "report/page.js")
"""The scripts that draw a report's charts."""


@dataclass(frozen=True)
class CertificateState:
    """What a profile's certificate says, and whether it still matches the files beside it."""

    line: str
    tone: str = "not-run"
    missing: list[str] = field(default_factory=list[str])


class Pages(Positions):
    """The address of each rollout of a profile in the viewer."""

    def __init__(self, profile: Entry, runs: dict[str, Entry]) -> None:
        super().__init__()
        self._profile, self._runs = profile, runs

    def of(self, ref: RolloutRef | Mark) -> str | None:
        run = self._runs.get(ref.model)
        return run and url("runs", run.name, "rollouts", ref.task, ref.repeat)

    def of_finding(self, finding: Finding) -> str | None:
        run = self._runs.get(finding.model)
        return run and url("runs", run.name, finding=finding.detector)

    def of_task(self, task: str) -> str | None:
        return url("profiles", self._profile.name, "rollouts", task=f"={task}")


def runs_of(catalog: Catalog, entry: Entry, profile: Profile | None) -> dict[str, Entry]:
    """Returns the runs of a profile by model, in the profile's order."""
    found = {run.path.name: run for run in catalog.entries("run") if run.profile == entry.name}
    return {name: found[name] for name in (profile.models if profile else found) if name in found}


def certificate_of(catalog: Catalog, folder: Path) -> CertificateState:
    """Returns the state of a profile's certificate. Its numbers are not computed again."""
    path = folder / NAME
    if not path.exists():
        return CertificateState("There is none. `assay certify` writes it.")
    return catalog.cached("certificate", sorted(folder.rglob("*.json*")), lambda: _certificate(folder))


def _certificate(folder: Path) -> CertificateState:
    certificate, check = read_certificate(folder / NAME)
    if certificate is None or check.answer != "ok":
        return CertificateState(f"It can't be trusted: {check.reason}", "fail")
    files = check_files(folder, certificate)
    line = f"{headline(certificate)}; made {certificate.made[:10]}"
    if files.answer == "forged":
        problem = f"But it does not match the files beside it: {files.reason}"
        return CertificateState(f"{line}. {problem}", "fail")
    tone = "pass" if certificate.verified else "inconclusive"
    return CertificateState(f"{line}. `assay verify` computes its numbers again.", tone, certificate.missing)


def _tables(profile: Profile, folder: Path) -> dict[str, list[TaskRow]]:
    """Returns the models' tables of tasks. One that can't be read is left out, as one that is not there."""
    tables: dict[str, list[TaskRow]] = {}
    for name, model in profile.models.items():
        with suppress(AssayError, OSError):
            tables[name] = [*read_lines(folder / model.per_task, TaskRow)] if model.per_task else []
    return {name: table for name, table in tables.items() if table}


def _costs(catalog: Catalog, profile: Profile, runs: dict[str, Entry]) -> list[Cost]:
    """Returns what more repeats would cost, as far as the run is there."""
    run = runs.get(profile.repeats.model) if profile.repeats else None
    if run is None:
        return []
    try:
        return catalog.cached("costs", rollout_files(run.path), lambda: outlook(run.path, read(run.path)).costs)
    except (AssayError, OSError):
        return []


def _cost(rows: list[Row], profile: Profile | None) -> str:
    costs = [one.progress.cost_usd for one in rows if one.progress and one.progress.cost_usd is not None]
    models = profile.models.values() if profile else ()
    tokens = sum(model.tokens.get(kind, 0) for model in models for kind in ("input", "output"))
    parts = [f"{short_count(tokens)} tokens"] if tokens else []
    if not costs:
        return "; ".join(["Prices are not known", *parts])
    of = "" if len(costs) == len(rows) else f" for {len(costs)} of {plural(len(rows), 'run')}"
    return "; ".join([dollars(sum(costs)) + of, *parts])


def _standing(view: View, entry: Entry, profile: Profile | None) -> dict[str, Any]:
    """Returns what the viewer shows of a profile beside its report."""
    runs, until = runs_of(view.catalog, entry, profile), time.monotonic() + READ_S
    rows = [row(view, run, until) for run in runs.values()]
    plan, no_plan = None, ""
    try:
        plan = view.catalog.cached("plan", [entry.path / "plan.jsonl"], lambda: read_plan(entry.path))
    except (AssayError, OSError, msgspec.MsgspecError) as error:
        no_plan = text_of(error)
    return {
        "entry": entry,
        "runs": runs,
        "rows": rows,
        "ticks": False,
        "query": {},
        "plan": plan,
        "no_plan": no_plan,
        "cost": _cost(rows, profile),
        "certificate": certificate_of(view.catalog, entry.path),
        "folder": str(entry.path),
        "compare": [one.run.name for one in rows if one.progress and one.progress.scored],
    }


def _whole(view: View, entry: Entry, profile: Profile) -> dict[str, Any]:
    runs = runs_of(view.catalog, entry, profile)
    tables, costs = _tables(profile, entry.path), _costs(view.catalog, profile, runs)
    return report.values_of(profile, tables, [], positions=Pages(entry, runs), costs=costs) | _standing(
        view, entry, profile
    )


async def page(request: Request) -> Response:
    """Returns the page; of a profile that is not whole yet, what there is of it."""
    view = view_of(request)
    entry = view.catalog.entry("profile", request.path_params["profile"])
    try:
        profile = await in_thread(lambda: view.catalog.profile(entry))
    except AssayError as error:
        values = await in_thread(lambda: _standing(view, entry, None))
        return draw(request, "profile_begun.html", scripts=("home.js",), problem=str(error), **values)
    values = await in_thread(lambda: _whole(view, entry, profile))
    return draw(request, "profile.html", scripts=("home.js", *CHARTS), **values)


routes = [Route("/profiles/{profile}", page)]
