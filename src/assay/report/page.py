"""The report: one HTML file that holds everything and opens offline."""

import base64
import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from assay.fidelity.gates import GATES, applicable
from assay.fidelity.results.repeats import Cost, outlook
from assay.fidelity.results.results import Results, read
from assay.fidelity.review.marks import Key
from assay.fidelity.review.readings import readings
from assay.fidelity.schema.profile import Profile, Reading
from assay.report import charts, evidence, findings, words
from assay.report.cards import Positions, candidates, cards, choose, lay_out, place
from assay.report.charts import Tables
from assay.report.looks import looks, tiers
from assay.store import write_bytes

HERE = Path(__file__).parent

DRAWING = ("vega", "vega-lite", "vega-interpreter")
"""What draws the charts, in `vendor/`."""
QUESTIONS = {rule.name: rule.question for rule in GATES}


def publish(
    folder: Path, profile: Profile, *, results: Mapping[str, Results] | None = None, command: str | None = None
) -> Path:
    """Writes the page of a profile into its folder, from the files there. Returns its path.

    `results` are the results of the runs by model, if the caller has read them already.
    """
    runs = {name: folder / "runs" / name for name, model in profile.models.items() if model.ran}
    results = results or {name: read(run) for name, run in runs.items()}
    tables = {name: result.table() for name, result in results.items()}
    all_rollouts = candidates(results)
    keys: dict[str, list[Key]] = {name: [] for name in runs}
    for one in (choice := choose(all_rollouts, profile)):
        keys[one.model].append((one.task, one.repeat))
    by_place = {
        place(one): one for name, run in runs.items() for one in readings(run, name, results[name].tasks, keys[name])
    }
    model = profile.repeats.model if profile.repeats else ""
    costs = outlook(runs[model], results[model]).costs if model in results else []
    page = render(
        profile,
        tables,
        [by_place[place(one)] for one in choice if place(one) in by_place],
        failing=sum(one.failing for one in all_rollouts),
        costs=costs,
        command=command,
    )
    write(folder / "report.html", page)
    return folder / "report.html"


def write(path: Path, page: str) -> None:
    """Writes a page to a file, as UTF-8, whole or not at all. Raises StoppedEarly where the disk is full."""
    write_bytes(path, page.encode())


def render(
    profile: Profile,
    tables: Tables,
    readings: Sequence[Reading],
    *,
    failing: int | None = None,
    costs: Sequence[Cost] = (),
    command: str | None = None,
) -> str:
    """Returns the whole page.

    `tables` are the models' tables of tasks; models without one are left out of the charts of tasks. `readings` are the
    rollouts to show, in order; `failing` is the number of all failing rollouts. `costs` are the precision and cost of
    each number of repeats. `command` makes this profile again; the footer shows it."""
    values = values_of(profile, tables, readings, failing=failing, costs=costs, command=command)
    return templates().get_template("page.html").render(**values, **scripts())


def values_of(
    profile: Profile,
    tables: Tables,
    readings: Sequence[Reading],
    *,
    positions: Positions | None = None,
    failing: int | None = None,
    costs: Sequence[Cost] = (),
    command: str | None = None,
) -> dict[str, Any]:
    """Returns the values of the template `page.html`, from what `render` takes.

    `positions` are the addresses of rollouts, where they are not in the page itself.
    """
    look = looks(profile.models)
    positions = positions or Positions(readings)
    at_k = [values for model in profile.models.values() for values in (model.pass_at_k, model.maj_at_k)]
    ks = {max(map(int, values)) for values in at_k if values}
    specs = {
        "scores": charts.scores(profile.models, look),
        "repeats": charts.repeats(profile.repeats, look),
        "difficulty": charts.difficulty(tables, look),
        "groups": charts.by_group(profile.models, look),
        "length": charts.length(tables, look),
        "tokens": charts.tokens(profile.models, look),
    }
    return {
        "profile": profile,
        "verdict": findings.verdict(profile.gates, original=profile.original),
        "gates": applicable(profile.gates, original=False),
        "needed": {gate.name for gate in applicable(profile.gates, original=profile.original)},
        "questions": QUESTIONS,
        "looks": look,
        "tiers": tiers(profile.models, look),
        "charts": specs,
        "findings": findings,
        "evidence": evidence,
        "machines": evidence.finding_views(profile, positions, [*look]),
        "standing": evidence.standing(profile),
        "positions": positions,
        "absence": charts.absence,
        "common_k": ks.pop() if len(ks) == 1 else None,
        "priced": any(model.cost_usd is not None for model in profile.models.values()),
        "token_kinds": charts.TOKEN_KINDS,
        "per_column": charts.tasks_per_column(len({row.task for rows in tables.values() for row in rows})),
        "tables": tables,
        "cards": cards(readings, profile),
        "failing": len(readings) if failing is None else failing,
        "costs": costs,
        "counts": {field: Counter(getattr(reading, field) for reading in readings) for field in ("model", "category")},
        "specs": specs_of(specs),
        "command": command,
    }


def specs_of(specs: Mapping[str, charts.Spec | str]) -> Markup:
    """Returns what `page.js` draws the charts from; a chart that is a text is none."""
    return Markup(embed({name: pack(spec) for name, spec in specs.items() if not isinstance(spec, str)}))


def pack(spec: charts.Spec) -> charts.Spec:
    """Returns the spec with columns instead of rows, a tenth of the size: distinct values, and an index for each row.

    `page.js` makes rows of them again."""
    rows: list[dict[str, Any]] = spec["data"]["values"]
    columns: dict[str, Any] = {}
    for field in rows[0]:
        values = [row[field] for row in rows]
        distinct = list(dict.fromkeys(values))
        index = {value: place for place, value in enumerate(distinct)}
        columns[field] = {"values": distinct, "rows": [index[value] for value in values]}
    return {**spec, "data": {"columns": columns}}


def embed(value: Any) -> str:
    """Returns JSON for a script element: without `<`, which could end it, and without invalid characters."""
    text = json.dumps(_clean(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return words.legible(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {words.legible(str(key)): _clean(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def templates(*first: Path) -> Environment:
    """Returns the templates, those of the folders `first` in place of the report's of the same name.

    Every printed value is made legible, then escaped.
    """
    environment = Environment(
        loader=FileSystemLoader([*first, HERE / "templates"]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_legible,
    )
    filters = (*words.FILTERS, evidence.tone, lay_out)
    environment.filters |= {one.__name__: one for one in filters}  # pyright: ignore[reportUnknownMemberType]
    return environment


def _legible(value: Any) -> Any:
    return words.legible(value) if type(value) is str else value


def scripts() -> dict[str, Markup]:
    """Returns the style, the scripts, and the policy by which a browser runs only these scripts and fetches nothing."""
    vendor = HERE / "vendor"
    parts: list[str] = []
    for name in DRAWING:
        code = (vendor / f"{name}.min.js").read_text(encoding="utf-8").partition("//# sourceMappingURL")[0]
        licence = (vendor / f"LICENSE.{name.removesuffix('-interpreter')}").read_text(encoding="utf-8")
        parts += [f"/*! {name}\n{licence}*/", code.rstrip()]
    drawing = "\n".join(parts) + "\n"
    own = (HERE / "templates" / "page.js").read_text(encoding="utf-8")
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in (drawing, own))
    hashes = " ".join(f"'sha256-{digest}'" for digest in digests)
    policy = f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; base-uri 'none'"
    style = (HERE / "templates" / "page.css").read_text(encoding="utf-8")
    return {"drawing": Markup(drawing), "own": Markup(own), "policy": Markup(policy), "style": Markup(style)}
