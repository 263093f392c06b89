"""`assay.Profile`: one benchmark on a suite of models, with its gates."""

import importlib
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from assay.fidelity.schema.profile import Gate, ModelSummary
from assay.fidelity.schema.profile import Profile as Record
from assay.library.run import Run

if TYPE_CHECKING:
    from assay.fidelity.results.results import Results


class Profile:
    """A profile: what its gates say, each model's figures, its runs, and its report.

    Example::

        profile = await assay.profile("arithmetic", suite="embedded", out="profiles/arithmetic")
        profile.gates["order"].verdict      # "pass"
        profile.models["policy"].score      # 0.38
        profile.report()                    # the path of an HTML page that opens offline
    """

    def __init__(
        self,
        folder: str | Path,
        record: Record,
        *,
        _keep: object = None,
        _results: "Mapping[str, Results] | None" = None,
    ) -> None:
        self.folder = Path(folder)
        self._keep = _keep
        self._results = _results  # so that the report decodes no rollout once more
        self.record = record
        """All of it, as `profile.json` has it."""

    @property
    def gates(self) -> dict[str, Gate]:
        """The gates by name, each with its verdict, reason and numbers."""
        return {gate.name: gate for gate in self.record.gates}

    @property
    def models(self) -> dict[str, ModelSummary]:
        """The figures of each model of the suite, by its name."""
        return self.record.models

    def run(self, model: str) -> Run:
        """Returns the run of one model. Raises UsageError where it has none."""
        return Run(self.folder / "runs" / model, _keep=self._keep)

    def report(self) -> Path:
        """Writes the report, one HTML page that opens offline, into the profile's folder. Returns its path."""
        return importlib.import_module("assay.report.page").publish(self.folder, self.record, results=self._results)

    def __repr__(self) -> str:
        verdicts = ", ".join(f"{name} {gate.verdict}" for name, gate in self.gates.items())
        return f"Profile({str(self.folder)!r}: {self.record.benchmark.name} on {self.record.suite}; {verdicts})"

    def _repr_html_(self) -> str:
        models = [(name, _percent(one.score), f"{one.failures:,}") for name, one in self.models.items() if one.ran]
        gates = [(gate.name, gate.verdict, gate.reason) for gate in self.record.gates]
        return _table(("model", "score", "failures"), models) + _table(("gate", "verdict", "why"), gates)


def _percent(score: float | None) -> str:
    return "none" if score is None else f"{score:.1%}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
