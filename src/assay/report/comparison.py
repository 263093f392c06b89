"""A comparison as a page of its own and as Markdown for a pull request."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from assay.fidelity.compare.comparison import (
    BEYOND,
    CATEGORY,
    RELATIVE,
    Change,
    Comparison,
    Interval,
    Pair,
    Side,
    SideBySide,
)
from assay.fidelity.compare.policy import MetricRuling
from assay.report.charts import (
    NAMES,
    ROW,
    Rows,
    Spec,
    chart,
    colors,
    dots,
    interval_layer,
    layer,
    linear,
    name,
    number,
    tip,
)
from assay.report.looks import HUES
from assay.report.page import scripts, specs_of, templates
from assay.report.words import NONE, THIN, count, dollars, join, markdown_table, percent, plain, plural, points

TABLE = 40
"""The most moved tasks in a table of the page. The JSON has all."""

SIGN = "(datum.value > 0 ? '+' : datum.value < 0 ? '−' : '') + format(abs(datum.value), '~f')"


def write(path: Path, comparison: Comparison, read: Sequence[SideBySide], *, command: str | None = None) -> None:
    """Writes `render`'s page to a file, as UTF-8."""
    path.write_text(render(comparison, read, command=command), encoding="utf-8", newline="\n")


def render(comparison: Comparison, read: Sequence[SideBySide], *, command: str | None = None) -> str:
    """Returns the whole page; `read` are the tasks whose outputs are laid side by side."""
    values = values_of(comparison, read, command=command)
    return templates().get_template("comparison.html").render(**values, **scripts())


def values_of(
    comparison: Comparison,
    read: Sequence[SideBySide],
    *,
    command: str | None = None,
    address_of: Callable[[Side, str], str | None] = lambda side, task: None,
) -> dict[str, Any]:
    """Returns the values of the template `comparison.html`, from what `render` takes.

    `address_of` gives the address of a side's rollouts of a task, where another page shows them.
    """
    hues = {pair.name: f"var(--hue-{place % HUES}-thinking)" for place, pair in enumerate(comparison.pairs)}
    specs = {"shifts": shifts_chart(comparison, hues)}
    specs |= {f"tasks-{place}": tasks_chart(pair, hues[pair.name]) for place, pair in enumerate(comparison.pairs)}
    ways = ["worse" if one.moved.candidate < one.moved.baseline else "better" for one in read]
    return {
        "comparison": comparison,
        "headline": headline(comparison),
        "verdict": comparison.verdict or "not run",
        "pairs": comparison.pairs,
        "sides": {side.name: side for pair in comparison.pairs for side in (pair.baseline, pair.candidate)},
        "read": list(zip(read, ways, strict=True)),
        "counts": {"model": Counter(one.pair for one in read), "category": Counter(ways)},
        "hues": hues,
        "charts": specs,
        "looks": {},
        "profile": None,
        "metric_name": metric_name,
        "figure": figure,
        "shift": shift,
        "interval": interval,
        "p_value": p_value,
        "lead": lead,
        "notes": notes,
        "moves": moves,
        "beyond": BEYOND,
        "table": TABLE,
        "specs": specs_of(specs),
        "command": command,
        "address_of": address_of,
    }


def headline(comparison: Comparison) -> str:
    """Returns the result of the comparison in a sentence."""
    pairs = comparison.pairs
    if comparison.verdict is None:
        return lead(pairs[0]) if len(pairs) == 1 else _ranking(pairs)
    if len(pairs) == 1:
        return f"{pairs[0].name} {_ruling_words(pairs[0])}."
    return "; ".join(f"{pair.name} {_ruling_words(pair)}" for pair in pairs) + "."


def _about(pair: Pair) -> str:
    return f"{pair.candidate.name} against {pair.baseline.name}"


def _ruling_words(pair: Pair) -> str:
    verb = {"pass": "passes", "warn": "passes with a warning", "fail": "fails", "inconclusive": "is inconclusive"}
    telling = [metric_name(one.metric) for one in pair.judgements if one.verdict == pair.verdict]
    if pair.verdict in (None, "pass"):
        return verb["pass"] if pair.verdict else "is not judged"
    return f"{verb[pair.verdict]} on {join(telling)}"


def _ranking(pairs: Sequence[Pair]) -> str:
    significant = [pair for pair in pairs if (p := pair.change("score").p_holm) is not None and p <= 0.05]
    below = [pair.name for pair in significant if (pair.change("score").shift or 0) < 0]
    above = [pair.name for pair in significant if (pair.change("score").shift or 0) > 0]
    parts = [f"{join(names)} {word}" for names, word in ((above, "above"), (below, "below")) if names]
    rest = [pair.name for pair in pairs if pair not in significant]
    if rest:
        parts.append(f"no difference shown for {join(rest)}")
    return f"Against {pairs[0].baseline.name}, after Holm's correction: {'; '.join(parts)}."


def lead(pair: Pair) -> str:
    """Returns the shift of the score with its interval, in a sentence."""
    change = pair.change("score")
    if change.shift is None or change.over_tasks is None:
        return f"{_about(pair)}: no shift of the score is known. {change.absent}"
    sure = change.over_tasks.lower > 0 or change.over_tasks.upper < 0
    way = "above" if change.shift > 0 else "below"
    where = f"{points(abs(change.shift) * 100, 1)} points {way}" if change.shift else "the same as"
    text = f"{pair.candidate.name} scores {where} {pair.baseline.name}"
    bounds = f"95{THIN}% over other tasks: {interval('score', change.over_tasks)}"
    return f"{text} ({bounds})." if sure else f"No difference is shown: {text} ({bounds})."


def moves(pair: Pair) -> str:
    """Returns how many tasks got worse and better, and how many moved by more than repeats explain."""
    if not pair.moved:
        return f"Of {plural(pair.tasks, 'task')}, none moved."
    text = f"Of {plural(pair.tasks, 'task')}, {pair.worse:,} got worse and {pair.better:,} better. "
    if min(min(task.repeats) for task in pair.moved) < 2 and not pair.beyond:
        return f"{text}There are too few repeats to show that a single task moved."
    return (
        f"{text}{plural(pair.beyond, 'task')} moved beyond what {'its' if pair.beyond == 1 else 'their'} repeats "
        f"explain (permutation test, 5{THIN}% each); {pair.beyond_by_chance:.1f} would if nothing had changed."
    )


def metric_name(metric: str) -> str:
    """Returns a metric in words; a category by its name."""
    return metric.removeprefix(CATEGORY) if metric.startswith(CATEGORY) else metric.replace("_", " ")


def figure(metric: str, value: float | None) -> str:
    """Returns a metric's figure on one side."""
    if value is None:
        return NONE
    if metric == "cost":
        return f"${value:.2g}" if 0 < value < 0.1 else dollars(value)
    return (f"{value:,.1f}" if value < 1000 else count(value)) if metric == "output_tokens" else percent(value)


def shift(metric: str, value: float | None) -> str:
    """Returns a shift with its sign: points, or per cent where it is relative."""
    if value is None:
        return NONE
    digits = 0 if metric in RELATIVE and abs(value) >= 1 else 1
    text = points(value * 100, digits)
    plus = "+" if float(f"{value * 100:.{digits}f}") > 0 else ""
    return f"{plus}{text}" + (f"{THIN}%" if metric in RELATIVE else "")


def interval(metric: str, bounds: Interval | None) -> str:
    """Returns the ends of an interval, with their signs."""
    return NONE if bounds is None else f"{shift(metric, bounds.lower)} to {shift(metric, bounds.upper)}"


def p_value(p: float | None) -> str:
    if p is None:
        return NONE
    return "< .001" if p < 0.001 else f"{p:.3f}".lstrip("0") if p < 0.9995 else "1"


def markdown(comparison: Comparison) -> str:
    """Tables for a pull request."""
    verdict = f"{comparison.verdict}: " if comparison.verdict else ""
    lines = [f"### {plain(verdict + headline(comparison))}", ""]
    for pair in comparison.pairs:
        rulings = {one.metric: one for one in pair.judgements}
        lines += [f"{plain(pair.baseline.benchmark)} {plain(pair.baseline.version)}, {plain(_about(pair))}:", ""]
        names = plain(pair.baseline.name), plain(pair.candidate.name)
        columns = ("metric", *names, "shift", "95 %, other tasks", "95 %, re-run", "p", "policy")
        rows = [
            _cells(change, rulings.get(change.metric))
            for change in [*pair.changes, *pair.categories]
            if change.shift is not None or change.metric in rulings
        ]
        lines.append(markdown_table(columns, rows, right=" >>>>>>"))
        lines += ["", *(f"- {plain(note)}" for note in [moves(pair), *notes(pair)]), ""]
    lines += [f"- {plain(note)}" for note in comparison.notes]
    return "\n".join(lines).rstrip() + "\n"


def notes(pair: Pair) -> list[str]:
    """Returns the notes of a pair."""
    left_out = [f"{plural(number, 'task')} {why}" for why, number in pair.left_out.items()]
    also = [f"Not compared: {'; '.join(left_out)}."] if left_out else []
    if pair.differs:
        also.append(f"Not the same on both sides: {'; '.join(pair.differs)}.")
    return pair.notes + also


def _cells(change: Change, judgement: MetricRuling | None) -> list[str]:
    metric = change.metric
    return [
        metric_name(metric),
        figure(metric, change.baseline),
        figure(metric, change.candidate),
        shift(metric, change.shift),
        interval(metric, change.over_tasks),
        interval(metric, change.over_reruns),
        p_value(change.over_tasks.p if change.over_tasks else None),
        f"{judgement.verdict}: {judgement.reason}" if judgement else "",
    ]


def shifts_chart(comparison: Comparison, hues: Mapping[str, str]) -> Spec | str:
    """The shift of the score, over all and by category, with its two intervals and the limits that the policy sets."""
    rows = [
        _shift_row(pair.name, change)
        for pair in comparison.pairs
        for change in [pair.change("score"), *pair.categories]
        if change.shift is not None
    ]
    if not rows:
        return "No shift of a score is known: " + comparison.pairs[0].change("score").absent
    order, names = (list(dict.fromkeys(row[key] for row in rows)) for key in ("metric", "pair"))
    ends = [row[key] for row in rows for key in ("low", "high", "run_low", "run_high") if row[key] is not None]
    low, high = min(0.0, *ends), max(0.0, *ends)
    margin = 0.03 * (high - low or 1.0)
    axis = {"title": "shift, in points", "tickCount": {"expr": "narrow ? 3 : 7"}, "labelExpr": SIGN}
    x = number("shift", scale=linear(low - margin, high + margin, zero=False), axis=axis)
    encoding = {
        "x": x,
        "color": colors("pair", {name: hues[name] for name in names}),
        "tooltip": [tip(title) for title in ("metric", "pair", "points", "other tasks", "re-run")],
    }
    offset = {"yOffset": name("pair", names)} if len(names) > 1 else {}
    zero = {"x": {**x, "field": "zero"}, "y": {"value": 0}, "y2": {"value": "height"}, "yOffset": None}
    limits = _limits(comparison, order, low, high)
    tick = {"x": number("limit"), "y": name("metric"), "yOffset": None}
    return chart(
        "Shift of the score in points, with 95 % intervals. "
        + "; ".join(f"{row['metric']} of {row['pair']}: {row['points']}" for row in rows),
        len(order) * max(ROW, 20 * len(names)),
        rows,
        encoding={"y": name("metric", order, axis=NAMES, paddingInner=0.3), **offset},
        layer=[
            layer("rule", zero, [{"zero": 0}], color="var(--ink)", strokeWidth=1),
            interval_layer("low", "high", encoding, strokeWidth=1.5),
            interval_layer("run_low", "run_high", encoding, strokeWidth=7, opacity=0.45),
            dots(encoding, size=80),
            *(
                [layer("tick", tick, limits, color="var(--fail)", thickness=2, size=ROW - 6, opacity=1)]
                if limits
                else []
            ),
        ],
    )


def _limits(comparison: Comparison, order: list[str], low: float, high: float) -> Rows:
    """Returns where a score's drop becomes larger than the policy allows."""
    rulings = {metric_name(one.metric): one for pair in comparison.pairs for one in pair.judgements}
    return [
        {"metric": name, "limit": -100 * rulings[name].may}
        for name in order
        if name in rulings and rulings[name].metric not in RELATIVE and low <= -100 * rulings[name].may <= high
    ]


def _shift_row(name: str, change: Change) -> dict[str, Any]:
    tasks, runs = change.over_tasks, change.over_reruns
    return {
        "pair": name,
        "metric": metric_name(change.metric),
        "shift": 100 * (change.shift or 0.0),
        "low": 100 * tasks.lower if tasks else None,
        "high": 100 * tasks.upper if tasks else None,
        "run_low": 100 * runs.lower if runs else None,
        "run_high": 100 * runs.upper if runs else None,
        "points": shift(change.metric, change.shift),
        "other tasks": interval(change.metric, tasks),
        "re-run": interval(change.metric, runs),
    }


def tasks_chart(pair: Pair, color: str) -> Spec | str:
    """Moved tasks by their mean reward on both sides. A dot's area is the number of tasks."""
    if not pair.moved:
        return "No task moved."
    counts = Counter((round(task.baseline, 4), round(task.candidate, 4)) for task in pair.moved)
    rows: Rows = [{"baseline": a, "candidate": b, "tasks": count} for (a, b), count in counts.items()]
    ends = [value for row in rows for value in (row["baseline"], row["candidate"])]
    low, high = min(0.0, *ends), max(1.0, *ends)
    pad = 0.06 * (high - low)
    x, y = (
        number(
            side,
            scale=linear(low - pad, high + pad, zero=False),
            axis={"title": f"{side}'s mean reward", "tickCount": 5, "format": "~g"},
        )
        for side in ("baseline", "candidate")
    )
    diagonal: Rows = [{"baseline": end, "candidate": end} for end in (low, high)]
    size = number("tasks", legend=None, scale={"domain": [0, max(counts.values())], "range": [0, 700]})
    tooltip = [tip(title) for title in ("baseline", "candidate", "tasks")]
    return chart(
        f"Mean reward of the {plural(len(pair.moved), 'task')} that moved: {pair.worse} below the diagonal got worse, "
        f"{pair.better} above it better.",
        320,
        rows,
        layer=[
            layer("line", {"x": x, "y": y}, diagonal, color="var(--muted)", strokeWidth=1, strokeDash=[4, 3]),
            dots({"x": x, "y": y, "size": size, "tooltip": tooltip}, opacity=0.75, color=color),
        ],
    )
