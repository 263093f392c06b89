"""Benchmarks by models: the score of each pair, what is verified, and what is missing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from assay.view.catalog import Catalog
from assay.view.frame import View, draw, in_thread, url, view_of
from assay.view.pages.home import ProfileRow, profile_row, rows_of
from assay.view.pages.live import Row
from assay.view.pages.profile import CertificateState, certificate_of

Key = tuple[str, str]
"""A benchmark's name and version."""


@dataclass(frozen=True)
class Square:
    """The runs of one benchmark on one model."""

    row: Row
    """The one with the most rollouts, of several the latest."""
    others: int
    href: str


@dataclass
class Line:
    """A benchmark: its squares by model, and its profiles with the states of their certificates."""

    squares: dict[str, Square] = field(default_factory=dict[str, Square])
    profiles: list[tuple[ProfileRow, CertificateState]] = field(
        default_factory=list[tuple[ProfileRow, CertificateState]]
    )

    @property
    def is_verified(self) -> bool:
        """Whether a certificate says so, and matches the files beside it."""
        return any(state.tone == "pass" for _, state in self.profiles)


def lines_of(view: View) -> dict[Key, Line]:
    """Returns the benchmarks of the folder, by name and version."""
    runs: dict[Key, dict[str, list[Row]]] = {}
    for row in rows_of(view):
        if row.record and row.progress:
            key = row.record.benchmark, row.record.version
            runs.setdefault(key, {}).setdefault(row.record.model, []).append(row)
    profiles = [profile_row(view, one) for one in view.catalog.entries("profile")]
    whole = [one for one in profiles if one.record]
    keys = {*runs, *((one.record.benchmark.name, one.record.benchmark.version) for one in whole if one.record)}
    return {
        key: Line(
            {model: _square(key, model, rows) for model, rows in runs.get(key, {}).items()},
            _profiles(view.catalog, key, whole),
        )
        for key in sorted(keys)
    }


def _square(key: Key, model: str, rows: Sequence[Row]) -> Square:
    best = max(rows, key=lambda row: (row.progress.scored if row.progress else 0, row.record and row.record.started))
    one = url("runs", best.run.name)
    return Square(best, len(rows) - 1, one if len(rows) == 1 else url(benchmark=key[0], model=model))


def _profiles(catalog: Catalog, key: Key, rows: Iterable[ProfileRow]) -> list[tuple[ProfileRow, CertificateState]]:
    return [
        (one, certificate_of(catalog, one.entry.path))
        for one in rows
        if one.record and (one.record.benchmark.name, one.record.benchmark.version) == key
    ]


async def matrix(request: Request) -> Response:
    """Returns the page."""
    view = view_of(request)
    lines = await in_thread(lambda: lines_of(view))
    models = sorted({model for line in lines.values() for model in line.squares})
    missing = sum(len(models) - len(line.squares) for line in lines.values())
    return draw(request, "matrix.html", tab="matrix", lines=lines, models=models, missing=missing)


routes = [Route("/matrix", matrix)]
