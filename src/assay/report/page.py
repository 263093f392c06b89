"""The report: one HTML file with everything in it, which opens offline and asks for nothing."""

import base64
import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from assay.fidelity.gates import GATES, applicable
from assay.fidelity.results.repeats import Cost, outlook
from assay.fidelity.results.results import Results, read
from assay.fidelity.review.marks import Key
from assay.fidelity.review.readings import readings
from assay.fidelity.schema.profile import Gate, Profile, Reading, Repeats
from assay.report import charts, evidence, findings, words
from assay.report.cards import Links, Shelf, candidates, cards, chosen, laid_out, place, shelf
from assay.report.charts import Tables
from assay.report.looks import looks, tiers

_HERE = Path(__file__).parent

QUESTIONS = {rule.name: rule.question for rule in GATES}


def publish(
    folder: Path, profile: Profile, *, results: Mapping[str, Results] | None = None, command: str | None = None
) -> Path:
    """Writes the page of a profile into its folder, from what lies there, and returns its path.

    `results` are those of the runs, by model, of whoever has read them already.
    """
    runs = {name: folder / "runs" / name for name, model in profile.models.items() if model.ran}
    results = results or {name: read(run) for name, run in runs.items()}
    tables = {name: found.table() for name, found in results.items()}
    there = candidates(results)
    keys: dict[str, list[Key]] = {name: [] for name in runs}
    for one in (picked := chosen(there, profile)):
        keys[one.model].append((one.task, one.repeat))
    found = {
        place(one): one for name, run in runs.items() for one in readings(run, name, results[name].tasks, keys[name])
    }
    page = render(
        profile,
        tables,
        [found[place(one)] for one in picked if place(one) in found],
        failing=sum(one.failing for one in there),
        costs=_costs(profile.repeats, runs, results),
        command=command,
    )
    write(folder / "report.html", page)
    return folder / "report.html"


def _costs(found: Repeats | None, runs: Mapping[str, Path], results: Mapping[str, Results]) -> list[Cost]:
    """What each number of repeats gives and costs, of the model that the repeats gate is about."""
    if found is None or found.model not in results:
        return []
    return outlook(runs[found.model], results[found.model]).costs


def write(path: Path, page: str) -> None:
    """Writes a page to a file, as UTF-8."""
    path.write_text(page, encoding="utf-8", newline="\n")


def render(
    profile: Profile,
    tables: Tables,
    readings: Sequence[Reading],
    *,
    failing: int | None = None,
    costs: Sequence[Cost] = (),
    command: str | None = None,
) -> str:
    """The whole page.

    `tables` hold what `profile.models` is about; models without a table are left out of the charts of tasks. `readings`
    are the rollouts that can be read in the page, in their order, of so many that are `failing`. `costs` tell what each
    number of repeats gives and costs. `command` is what makes this profile again, shown in the footer."""
    look = looks(profile.models)
    shelved = shelf(readings)
    machines = evidence.seen(profile, shelved, [*look])
    drawn = {
        "scores": charts.scores(profile.models, look),
        "repeats": charts.repeats(profile.repeats, look),
        "difficulty": charts.difficulty(tables, look),
        "categories": charts.by_category(profile.models, look),
        "length": charts.length(tables, look),
        "tokens": charts.tokens(profile.models, look),
    }
    page = templates().get_template("page.html")
    return page.render(
        profile=profile,
        verdict=findings.verdict(profile.gates, original=profile.original),
        gates=_gates(profile, shelved),
        looks=look,
        tiers=tiers(profile.models, look),
        charts=drawn,
        findings=findings,
        evidence=evidence,
        machines=machines,
        standing=evidence.standing(profile),
        shelf=shelved,
        absence=charts.absence,
        common_k=_common_k(profile),
        priced=any(model.cost_usd is not None for model in profile.models.values()),
        token_kinds=charts.TOKEN_KINDS,
        per_column=charts.tasks_per_column(len({row.task for rows in tables.values() for row in rows})),
        tables=tables,
        cards=cards(readings, profile),
        failing=len(readings) if failing is None else failing,
        costs=costs,
        counts={field: Counter(getattr(reading, field) for reading in readings) for field in ("model", "category")},
        specs=Markup(embedded({name: packed(spec) for name, spec in drawn.items() if not isinstance(spec, str)})),
        command=command,
        **scripts(),
    )


def _common_k(profile: Profile) -> int | None:
    """The k of pass@k and maj@k, if it is the same for all models."""
    tables = [at_k for model in profile.models.values() for at_k in (model.pass_at_k, model.maj_at_k)]
    found = {max(map(int, at_k)) for at_k in tables if at_k}
    return found.pop() if len(found) == 1 else None


@dataclass(frozen=True, slots=True)
class GateView:
    """A gate as the page shows it."""

    gate: Gate
    question: str
    applies: bool
    links: Links

    @property
    def word(self) -> str:
        """Its verdict, or that it doesn't apply."""
        return self.gate.verdict if self.applies else "does not apply"


def _gates(profile: Profile, shelved: Shelf) -> list[GateView]:
    """All gates in their order."""
    needed = {gate.name for gate in applicable(profile.gates, original=profile.original)}
    return [
        GateView(gate, QUESTIONS[gate.name], gate.name in needed, shelved.links(gate.rollouts))
        for gate in applicable(profile.gates, original=False)
    ]


def packed(spec: charts.Spec) -> charts.Spec:
    """The spec with its rows turned into columns, each a list of distinct values and an index a row: a tenth of the
    size. `page.js` turns them back."""
    rows: list[dict[str, Any]] = spec["data"]["values"]
    columns: dict[str, Any] = {}
    for field in rows[0]:
        values = [row[field] for row in rows]
        distinct = list(dict.fromkeys(values))
        index = {value: place for place, value in enumerate(distinct)}
        columns[field] = {"values": distinct, "rows": [index[value] for value in values]}
    return {**spec, "data": {"columns": columns}}


def embedded(value: Any) -> str:
    """JSON that can stand in a script element: no `<` to end it, no character that HTML or UTF-8 refuses."""
    text = json.dumps(_cleaned(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return words.legible(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {words.legible(str(key)): _cleaned(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def templates() -> Environment:
    """Every value that a template prints is made legible, then escaped."""
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printed,
    )
    for name in (
        "percent",
        "points",
        "count",
        "counted",
        "short_count",
        "dollars",
        "duration",
        "figure",
        "clipped",
        "prose",
    ):
        environment.filters[name] = getattr(words, name)  # pyright: ignore[reportUnknownMemberType]
    environment.filters |= {"tone": evidence.tone, "laid_out": laid_out}  # pyright: ignore[reportUnknownMemberType]
    return environment


def _printed(value: Any) -> Any:
    return words.legible(value) if type(value) is str else value


def scripts() -> dict[str, Markup]:
    """The style, the scripts, and the policy that lets a browser run these scripts alone and fetch nothing.

    Vega compiles its expressions, hence `unsafe-eval`."""
    vendor = _HERE / "vendor"
    parts: list[str] = []
    for name in ("vega", "vega-lite"):
        code = (vendor / f"{name}.min.js").read_text(encoding="utf-8").partition("//# sourceMappingURL")[0]
        parts += [f"/*! {name}\n{(vendor / f'LICENSE.{name}').read_text(encoding='utf-8')}*/", code.rstrip()]
    drawing = "\n".join(parts) + "\n"
    own = (_HERE / "templates" / "page.js").read_text(encoding="utf-8")
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in (drawing, own))
    policy = f"default-src 'none'; script-src {hashes} 'unsafe-eval'; style-src 'unsafe-inline'; base-uri 'none'"
    style = (_HERE / "templates" / "page.css").read_text(encoding="utf-8")
    return {"drawing": Markup(drawing), "own": Markup(own), "policy": Markup(policy), "style": Markup(style)}


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
