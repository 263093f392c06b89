"""The charts as Vega-Lite specs with their data inline. Each function returns a spec, or a text that says why not.

Colours are CSS variables (`var(--ink)`): `page.js` replaces them by the colours of the reader's theme."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from assay.fidelity.schema.profile import ModelSummary, Repeats, TaskRow
from assay.report.looks import Look, tiers
from assay.report.words import count, percent, plural, points

Spec = dict[str, Any]
Rows = list[dict[str, Any]]
Tables = Mapping[str, Sequence[TaskRow]]

HEADING = "\u200b"
"""The first character of a tier's axis label, which no model's name has."""
_IS_HEADING = f"substring(datum.value, 0, 1) === '{HEADING}'"
ROW = 30
"""Height of a model's row, in pixels."""
_LONG = "regexp('^(.{6,15}[-_ /.])(.{4,})$')"
NAMES: Spec = {
    "title": None,
    "domain": False,
    "ticks": False,
    "labelPadding": 12,
    "labelColor": "var(--ink)",
    "labelExpr": f"narrow ? split(replace(datum.label, {_LONG}, '$1\\n$2'), '\\n') : datum.label",
    "labelBaseline": {
        "condition": {"test": f"narrow && test({_LONG}, datum.value)", "value": "bottom"},
        "value": "middle",
    },
}
"""The axis of models or categories. On a narrow screen a label has two lines, so that the end of a long name shows."""
COLUMNS = 480
"""The most columns of the map of tasks. More would be thinner than a pixel on most screens."""
TOKEN_KINDS = {"prompt": "var(--token-0)", "answer": "var(--token-1)", "reasoning": "var(--token-2)"}


def chart(description: str, height: int, rows: Rows, **parts: Any) -> Spec:
    """Returns a chart as wide as the page lets it be. `page.js` sets `narrow` on narrow screens."""
    return {
        "description": description,
        "width": "container",
        "padding": {"left": 0, "top": 4, "bottom": 4, "right": 4},
        "params": [{"name": "narrow", "value": False}],
        "height": height,
        "data": {"values": rows},
        **parts,
    }


def layer(mark: str, encoding: Spec, data: Rows | None = None, **look: Any) -> Spec:
    """Returns one layer of a chart, with rows of its own where `data` is given."""
    own = {} if data is None else {"data": {"values": data}}
    return {**own, "mark": {"type": mark, **look}, "encoding": encoding}


def dots(encoding: Spec, **look: Any) -> Spec:
    """Returns a layer with a dot for each row."""
    style: Spec = {"filled": True, "opacity": 1, **look}
    return layer("point", encoding, None, **style)


def interval_layer(low: str, high: str, encoding: Spec, **look: Any) -> Spec:
    """Returns a layer with a line from one field to another, for the rows that have both."""
    x = {**encoding, "x": {**encoding["x"], "field": low}, "x2": {"field": high}}
    return {"transform": [{"filter": f"isValid(datum.{low})"}], **layer("rule", x, strokeCap="butt", **look)}


def number(field: str, **parts: Any) -> Spec:
    return {"field": field, "type": "quantitative", **parts}


def name(field: str, domain: Sequence[str] | None = None, *, axis: Spec | None = None, **scale: Any) -> Spec:
    """Returns the encoding of a field of names, in the domain's order. A `sort` would put names into an expression."""
    scale_fields = {} if domain is None else {"scale": {"domain": [*domain], **scale}}
    return {"field": field, "type": "nominal", **scale_fields, **({"axis": axis} if axis else {})}


def colors(field: str, values: Mapping[str, str]) -> Spec:
    """Returns the colour, or the shape, of each name. The key to it is HTML, above the charts."""
    return {**name(field, [*values], range=[*values.values()]), "legend": None}


def tip(title: str, field: str | None = None, form: str | None = None) -> Spec:
    field = title if field is None else field
    return {"title": title, **(name(field) if form is None else number(field, format=form))}


def linear(low: float, high: float, **parts: Any) -> Spec:
    return {"domain": [low, high], "nice": False, **parts}


def scores(models: Mapping[str, ModelSummary], looks: Mapping[str, Look]) -> Spec | str:
    """Returns every model's score with its two intervals, by tier. Models without a score say so in their row."""
    if not models:
        return "No model is in this profile."
    if all(model.score is None for model in models.values()):
        return "No model has a score: " + "; ".join(f"{model} {absence(models[model])}" for model in looks) + "."
    by_tier = tiers(models, looks)
    order = [
        label
        for tier, names in by_tier.items()
        for label in ([f"{HEADING}Tier {tier}", *names] if len(by_tier) > 1 else names)
    ]
    rows = [_score_row(model, models[model]) for names in by_tier.values() for model in names]
    scores_in_words = [f"{row['model']}: {row['note'] or row['label']}" for row in rows]
    heading_style = {
        "labelFontWeight": {"condition": {"test": _IS_HEADING, "value": 600}, "value": "normal"},
        "labelColor": {"condition": {"test": _IS_HEADING, "value": "var(--muted)"}, "value": "var(--ink)"},
    }
    lowest = min((row["task_low"] for row in rows if row["task_low"] is not None), default=0)
    encoding = {
        "x": _share_axis("score", [row["score"] for row in rows] + [min(lowest, 0)], "avg@k"),
        "color": _by_model("color", looks),
        "tooltip": [
            tip("model"),
            tip("score", form=".1%"),
            tip("running again", "run"),
            tip("other tasks", "task"),
        ],
    }
    missing = {"x": {"value": 0}, "text": {"field": "note"}}
    return chart(
        "Score of each model with a thick 95 % interval for running again on the same tasks and a thin one for other "
        f"tasks of the same kind. {'; '.join(scores_in_words)}",
        ROW * len(order),
        rows,
        encoding={"y": name("model", order, axis=NAMES | heading_style, paddingInner=0.1, paddingOuter=0.2)},
        layer=[
            interval_layer("task_low", "task_high", encoding, size=1.5, opacity=1),
            interval_layer("run_low", "run_high", encoding, size=7, opacity=0.45),
            dots({**encoding, "shape": _by_model("shape", looks)}, size=80),
            layer(
                "text",
                {"x": {"value": "width"}, "text": {"field": "label"}},
                align="left",
                dx=12,
                fontSize=13,
                color="var(--ink)",
            ),
            {
                "transform": [{"filter": "datum.note !== null"}],
                **layer("text", missing, align="left", dx=4, fontStyle="italic", color="var(--muted)"),
            },
        ],
    )


def _score_row(label: str, model: ModelSummary) -> dict[str, Any]:
    run, task = model.interval_run or (None, None), model.interval_task or (None, None)
    return {
        "model": label,
        "score": model.score,
        "label": "" if model.score is None else percent(model.score),
        "note": absence(model) if model.score is None else None,
        "run_low": run[0],
        "run_high": run[1],
        "task_low": task[0],
        "task_high": task[1],
        "run": interval(model.interval_run),
        "task": interval(model.interval_task),
    }


def interval(bounds: tuple[float, float] | None) -> str:
    """`60.1 to 64.0 %`, or why there is none."""
    return "no interval" if bounds is None else f"{percent(bounds[0])[:-2]} to {percent(bounds[1])}"


def absence(model: ModelSummary) -> str:
    """Returns why a model has no score."""
    if not model.ran:
        return "did not run: the climb ended below its tier"
    if model.failures and not model.rollouts:
        return f"no score: all {count(model.failures)} rollouts failed"
    return "no score"


def repeats(outlook: Repeats | None, looks: Mapping[str, Look]) -> Spec | str:
    """SD of avg@k against k with its upper bound, the line at one point, and the repeats that are set and needed."""
    if outlook is None:
        return (
            "Not computed: it needs an open model with at least two repeats of its tasks: `assay profile --repeats 4`."
        )
    if not outlook.curve:
        return "The profile holds no curve to draw."
    labels = _labels(outlook)
    ks = [k for k, *_ in outlook.curve] + list(labels)
    low, high = min(ks), max(ks)
    ticks = [2**power for power in range(math.ceil(math.log2(high)) + 1) if low <= 2**power <= high]
    top = 1.05 * max([1.0, *(upper for *_, upper in outlook.curve)])
    x_axis = {"title": "repeats, k", "values": ticks, "format": "d", "grid": False, "labelFlush": False}
    x = number("k", scale=linear(low, max(high, low + 1), type="log", base=2), axis=x_axis)
    y = number("sd", scale=linear(0, top), axis={"title": "SD of avg@k, in points", "tickCount": 5})
    color = looks[outlook.model].color if outlook.model in looks else "var(--ink)"
    tooltip = [tip("repeats", "k"), tip("SD, points", "sd", ".2f"), tip("at most", "upper", ".2f")]
    at_one, point = [{"sd": 1.0, "label": "1 point"}], {"y": y, "x": {"value": "width"}, "text": {"field": "label"}}
    return chart(
        f"Standard deviation of avg@k of {outlook.model} against the number of repeats. At k = {outlook.k_set} it is "
        f"{points(outlook.sd_run)} points, at most {points(outlook.sd_run_upper)}.",
        260,
        [{"k": k, "sd": sd, "upper": upper} for k, sd, upper in outlook.curve],
        layer=[
            layer("area", {"x": x, "y": y, "y2": {"field": "upper"}}, color=color, opacity=0.18),
            layer("line", {"x": x, "y": y}, color=color, strokeWidth=2),
            dots({"x": x, "y": y, "tooltip": tooltip}, color=color, size=36),
            layer("rule", {"y": y}, at_one, color="var(--ink)", strokeDash=[4, 3], strokeWidth=1),
            layer("text", point, at_one, align="right", baseline="bottom", dy=-4, color="var(--ink)"),
            *_vertical_lines(labels, x, low, high),
        ],
    )


def _labels(outlook: Repeats) -> dict[int, str]:
    """Returns the label at each k: one where several are the same k."""
    names = {outlook.k_set: ["set"]}
    upper = outlook.k_upper if outlook.k_upper != outlook.k_star else None
    for k, word in ((outlook.k_star, "needed"), (upper, "needed to be sure")):
        if k is not None and k >= 1:
            names.setdefault(k, []).append(word)
    return {k: f"{' and '.join(words)}: {k}" for k, words in sorted(names.items())}


def _vertical_lines(labels: Mapping[int, str], x: Spec, low: int, high: int) -> list[Spec]:
    """Returns a line at each k, its label on a row of its own and on the side that has room."""
    lines: list[Spec] = []
    texts: list[Spec] = []
    for row, (k, label) in enumerate(labels.items()):
        data: Rows = [{"k": k, "label": label}]
        late = math.log(k / low) > 0.5 * math.log(max(high, low + 1) / low)
        side = {"align": "right", "dx": -6} if late else {"align": "left", "dx": 6}
        text = {**side, "y": 8 + 17 * row, "baseline": "middle", "color": "var(--ink)"}
        halo = {"stroke": "var(--page)", "strokeWidth": 5, "strokeJoin": "round"}
        lines.insert(0, layer("rule", {"x": x}, data, color="var(--muted)", strokeWidth=1))
        texts += [layer("text", {"x": x, "text": {"field": "label"}}, data, **look) for look in (text | halo, text)]
    return lines + texts


def task_means(tables: Tables) -> dict[str, dict[str, float | None]]:
    """Returns each task's mean reward by model, the hardest task first; null where none of its rollouts has a score.

    Difficulty is the mean over models of their mean reward. Tasks without any score come last."""
    means: dict[str, dict[str, float | None]] = defaultdict(dict)
    for model, rows in tables.items():
        for row in rows:
            means[row.task][model] = _mean(row.rewards)
    difficulty = {task: _mean(by_model.values()) for task, by_model in means.items()}
    return dict(sorted(means.items(), key=lambda item: (difficulty[item[0]] is None, difficulty[item[0]], item[0])))


def _mean(values: Iterable[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return fmean(numbers) if numbers else None


def difficulty(tables: Tables, looks: Mapping[str, Look]) -> Spec | str:
    """The map of tasks by models: a column is a task, or a few neighbours where there are more than `COLUMNS`."""
    means = task_means(tables)
    models = [model for model in looks if tables.get(model)]
    if not means or not models:
        return "No table of tasks is in this profile."
    categories = {row.task: row.category for rows in tables.values() for row in rows}
    step = tasks_per_column(len(means))
    heat = [f"var(--heat-{shade})" for shade in range(3)]
    axis = {"title": "tasks, the hardest first", "grid": False, "format": ",d", "tickCount": 6, "tickMinStep": 1}
    return chart(
        f"Mean reward of {plural(len(means), 'task')}, the hardest at the left, for {plural(len(models), 'model')}.",
        ROW * len(models),
        _cells(means, categories, models, step),
        mark={"type": "rect"},
        encoding={
            "x": number("x", scale=linear(0, len(means)), axis=axis),
            "x2": {"field": "x2"},
            "y": name("model", models, axis=NAMES, paddingInner=0.12),
            "color": number(
                "reward",
                legend=None,
                scale={"domain": [0, 0.5, 1], "range": heat, "interpolate": "lab", "clamp": True},
                condition={"test": "!isValid(datum.reward)", "value": "var(--heat-none)"},
            ),
            "tooltip": [
                tip("task" if step == 1 else "tasks", "task"),
                tip("category"),
                tip("model"),
                tip("mean reward", "reward", ".3~f"),
            ],
        },
    )


def tasks_per_column(tasks: int) -> int:
    return math.ceil(tasks / COLUMNS) or 1


def _cells(
    means: Mapping[str, Mapping[str, float | None]], categories: Mapping[str, str], models: list[str], step: int
) -> Rows:
    order = list(means)
    rows: Rows = []
    for model in models:
        for start in range(0, len(order), step):
            tasks = order[start : start + step]
            if not any(model in means[task] for task in tasks):
                continue
            mean, names = _mean(means[task].get(model) for task in tasks), {categories[task] for task in tasks}
            rows.append(
                {
                    "x": start,
                    "x2": start + len(tasks),
                    "model": model,
                    "reward": None if mean is None else round(mean, 4),
                    "task": tasks[0] if len(tasks) == 1 else f"{tasks[0]} … {tasks[-1]} ({len(tasks)})",
                    "category": ", ".join(sorted(names)) if len(names) <= 3 else f"{len(names)} categories",
                }
            )
    return rows


def by_group(models: Mapping[str, ModelSummary], looks: Mapping[str, Look]) -> Spec | str:
    """Scores by group of tasks: a row a model within a group, or all on one row where there are too many."""
    rows: Rows = [
        {"group": group, "model": model, "score": score_of_group.score, "tasks": score_of_group.tasks}
        | dict(
            zip(
                ("low", "high"),
                score_of_group.interval_task or (score_of_group.score, score_of_group.score),
                strict=True,
            )
        )
        for model in looks
        for group, score_of_group in models[model].groups.items()
    ]
    if not rows:
        return "No scores by group: the tasks have no groups, or no model has a score."
    by_name: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        by_name[row["group"]].append(row["score"])
    means = dict(sorted(((group, fmean(values)) for group, values in by_name.items()), key=lambda item: item[1]))
    names = [model for model in looks if models[model].groups]
    apart = len(means) * len(names) <= 72
    y = name("group", list(means), axis=NAMES, paddingInner=0.28 if apart else 0.1, paddingOuter=0.1)
    ends = [row[field] for row in rows for field in ("low", "high")]
    x, low = (_share_axis(field, ends, "score") for field in ("score", "low"))
    color = _by_model("color", looks)
    tooltip = [
        tip("group"),
        tip("model"),
        *(tip(field, form=".1%") for field in ("score", "low", "high")),
        tip("tasks"),
    ]
    return chart(
        "Score by group of tasks with its 95 % interval over tasks, the hardest group first. "
        + "; ".join(f"{group}: {percent(mean)} on average" for group, mean in means.items()),
        len(means) * (max(ROW, 17 * len(names)) if apart else 24),
        rows,
        encoding={"y": y} | ({"yOffset": name("model", names)} if apart else {}),
        layer=[
            layer(
                "rule",
                {"x": low, "x2": {"field": "high"}, "color": color},
                strokeWidth=1.5,
                opacity=0.5 if apart else 0,
            ),
            dots({"x": x, "color": color, "shape": _by_model("shape", looks), "tooltip": tooltip}, size=70),
        ],
    )


def length(tables: Tables, looks: Mapping[str, Look]) -> Spec | str:
    """Mean reward against output length: a model's rollouts in fifths by their length, shortest to longest."""
    rows = [row for model in looks for row in _fifths(model, tables.get(model, ()))]
    if not rows:
        return "No output tokens are in the tables of tasks."
    low, high = min(row["tokens"] for row in rows), max(row["tokens"] for row in rows)
    axis = {"title": "output tokens", "values": _round_ticks(low, high), "format": "~s", "grid": False}
    tooltip = [
        tip("model"),
        tip("output tokens", "range"),
        tip("mean reward", "reward", ".3f"),
        tip("rollouts", form=",d"),
    ]
    return chart(
        "Mean reward against output length: each model's scored rollouts in fifths by their length.",
        260,
        rows,
        encoding={
            "x": number("tokens", scale=linear(low / 1.15, high * 1.15, type="log"), axis=axis),
            "y": _share_axis("reward", [row["reward"] for row in rows], "mean reward") | {"stack": None},
            "color": _by_model("color", looks),
        },
        layer=[
            {"mark": {"type": "line", "strokeWidth": 1.5, "opacity": 0.7}},
            dots({"shape": _by_model("shape", looks), "tooltip": tooltip}, size=70),
        ],
    )


def _fifths(model: str, rows: Sequence[TaskRow]) -> Rows:
    """Returns the fifths of a model's scored rollouts by output tokens. Rollouts of equal length stay together."""
    pairs = np.array(
        [
            (tokens, reward)
            for row in rows
            for tokens, reward in zip(row.output_tokens, row.rewards, strict=False)
            if tokens is not None and reward is not None and tokens > 0
        ]
    ).reshape(-1, 2)
    tokens_N, rewards_N = pairs.T
    if tokens_N.size < 2:
        return []
    fifth_N = np.searchsorted(np.quantile(tokens_N, (0.2, 0.4, 0.6, 0.8)), tokens_N, side="left")
    fifths: Rows = []
    for fifth in np.unique(fifth_N):
        tokens, rewards = tokens_N[fifth_N == fifth], rewards_N[fifth_N == fifth]
        low, high = int(tokens.min()), int(tokens.max())
        fifths.append(
            {
                "model": model,
                "tokens": float(np.median(tokens)),
                "range": f"{low:,} to {high:,}" if low < high else f"{low:,}",
                "reward": round(float(rewards.mean()), 4),
                "rollouts": int(tokens.size),
            }
        )
    return fifths


def _round_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10 … within the range; only powers of ten where it spans more than three of them."""
    steps = (1,) if high / low > 1000 else (1, 2, 5)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [step * 10**power for power in powers for step in steps if low / 1.15 <= step * 10**power <= high * 1.15]


def tokens(models: Mapping[str, ModelSummary], looks: Mapping[str, Look]) -> Spec | str:
    """Mean tokens of a rollout by model: prompt, answer, reasoning. Reasoning is part of the output, and rollouts
    that failed count too."""
    counts = {model: models[model].rollouts + models[model].failures for model in looks}
    names = [model for model in looks if counts[model] and any(models[model].tokens.values())]
    if not names:
        return "No model reported its tokens."
    rows: Rows = []
    for model in names:
        totals = models[model].tokens
        output, reasoning = totals.get("output", 0), totals.get("reasoning", 0)
        parts = {"prompt": totals.get("input", 0), "answer": max(0, output - reasoning), "reasoning": reasoning}
        rows += [
            {"model": model, "kind": kind, "place": place, "tokens": round(total / counts[model], 2)}
            for place, (kind, total) in enumerate(parts.items())
        ]
    return chart(
        "Mean tokens of a rollout by model: prompt, answer and reasoning.",
        ROW * len(names),
        rows,
        mark={"type": "bar", "stroke": "var(--page)", "strokeWidth": 1, "height": {"band": 0.62}},
        encoding={
            "y": name("model", names, axis=NAMES),
            "x": number("tokens", axis={"title": "tokens a rollout", "format": "~s", "tickCount": 5}),
            "color": colors("kind", TOKEN_KINDS),
            "order": {"field": "place"},
            "tooltip": [tip("model"), tip("part", "kind"), tip("tokens a rollout", "tokens", ",.1f")],
        },
    )


def _share_axis(field: str, values: Sequence[float | None], title: str) -> Spec:
    """Returns an axis from 0 to 100 %, wider only where a reward is outside of that."""
    numbers = [value for value in values if value is not None]
    scale = linear(min([0.0, *numbers]), max([1.0, *numbers]), zero=False)
    return number(field, scale=scale, axis={"title": title, "format": ".0%", "tickCount": {"expr": "narrow ? 2 : 5"}})


def _by_model(channel: str, looks: Mapping[str, Look]) -> Spec:
    """Returns the channel `color` or `shape` of each model."""
    return colors("model", {model: getattr(look, channel) for model, look in looks.items()})
