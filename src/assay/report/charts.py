"""The charts as Vega-Lite specs with their data inline. Each function returns a spec, or in words why there is none.

Colours are CSS variables (`var(--ink)`): `page.js` puts in what they stand for in the reader's theme."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from assay.fidelity.schema.profile import ModelSummary, Repeats, TaskRow
from assay.report.looks import Look, tiers
from assay.report.words import count, counted, percent, points

Spec = dict[str, Any]
Rows = list[dict[str, Any]]
Tables = Mapping[str, Sequence[TaskRow]]

HEADING = "\u200b"
"""Begins the axis label of a tier, so that no model's name is taken for one."""
ROW = 30
"""Height of a model's row, in pixels."""
SIZE: Spec = {
    "width": "container",
    "padding": {"left": 0, "top": 4, "bottom": 4, "right": 4},
    "params": [{"name": "narrow", "value": False}],
}
"""As wide as the page lets it be. `page.js` sets `narrow` on narrow screens."""
_LONG = "regexp('^(.{6,15}[-_ /.])(.{4,})$')"
LINES: Spec = {
    "labelExpr": f"narrow ? split(replace(datum.label, {_LONG}, '$1\\n$2'), '\\n') : datum.label",
    "labelBaseline": {
        "condition": {"test": f"narrow && test({_LONG}, datum.value)", "value": "bottom"},
        "value": "middle",
    },
}
"""An axis label in two lines on a narrow screen, so that the end of a long name, which tells models apart, is seen."""
NAMES: Spec = {
    "title": None,
    "domain": False,
    "ticks": False,
    "labelPadding": 12,
    "labelColor": "var(--ink)",
    **LINES,
}
"""The axis of models or categories."""
COLUMNS = 480
"""Columns that the map of tasks has at most: more would be thinner than a pixel on most screens."""


def scores(models: Mapping[str, ModelSummary], looks: Mapping[str, Look]) -> Spec | str:
    """Every model's score with its two intervals, by tier. Models without a score say so in their row."""
    if not models:
        return "No model is in this profile."
    if all(model.score is None for model in models.values()):
        return "No model has a score: " + "; ".join(f"{name} {absence(models[name])}" for name in looks) + "."
    rows, order = _score_rows(models, looks)
    y = {
        "field": "model",
        "type": "nominal",
        "scale": {"domain": order, "paddingInner": 0.1, "paddingOuter": 0.2},
        "axis": {
            "title": None,
            "domain": False,
            "ticks": False,
            "labelPadding": 12,
            **LINES,
            "labelFontWeight": {"condition": {"test": _HEADED, "value": 600}, "value": "normal"},
            "labelColor": {"condition": {"test": _HEADED, "value": "var(--muted)"}, "value": "var(--ink)"},
        },
    }
    lowest = min((row["task_low"] for row in rows if row["task_low"] is not None), default=0)
    x = _share_axis("score", [row["score"] for row in rows] + [min(lowest, 0)], "avg@k")
    color = _by_model("color", looks)
    tooltip = [
        _tip("model", "model"),
        _tip("score", "score", ".1%"),
        _tip("running again", "run"),
        _tip("other tasks", "task"),
    ]
    return {
        "description": "Score of each model with a thick 95 % interval for running again on the same tasks and a thin "
        "one for other tasks of the same kind. " + "; ".join(_spoken(name, models[name]) for name in looks),
        **SIZE,
        "height": ROW * len(order),
        "data": {"values": rows},
        "encoding": {"y": y},
        "layer": [
            _interval("task", {"size": 1.5, "opacity": 1}, x, color, tooltip),
            _interval("run", {"size": 7, "opacity": 0.45}, x, color, tooltip),
            {
                "mark": {"type": "point", "filled": True, "size": 80, "opacity": 1},
                "encoding": {"x": x, "color": color, "shape": _by_model("shape", looks), "tooltip": tooltip},
            },
            {
                "mark": {"type": "text", "align": "left", "dx": 12, "fontSize": 13, "color": "var(--ink)"},
                "encoding": {"x": {"value": "width"}, "text": {"field": "label"}},
            },
            {
                "transform": [{"filter": "datum.note !== null"}],
                "mark": {"type": "text", "align": "left", "dx": 4, "fontStyle": "italic", "color": "var(--muted)"},
                "encoding": {"x": {"value": 0}, "text": {"field": "note"}},
            },
        ],
    }


_HEADED = f"substring(datum.value, 0, 1) === '{HEADING}'"


def _score_rows(models: Mapping[str, ModelSummary], looks: Mapping[str, Look]) -> tuple[Rows, list[str]]:
    """A row a model, and the labels of the axis: models under their tier, where there are several."""
    by_tier = tiers(models, looks)
    order: list[str] = []
    rows: Rows = []
    for tier, names in by_tier.items():
        order += [f"{HEADING}Tier {tier}", *names] if len(by_tier) > 1 else names
        for name in names:
            model = models[name]
            run, task = model.interval_run or (None, None), model.interval_task or (None, None)
            rows.append(
                {
                    "model": name,
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
            )
    return rows, order


def _interval(name: str, mark: Spec, x: Spec, color: Spec, tooltip: Rows) -> Spec:
    return {
        "transform": [{"filter": f"isValid(datum.{name}_low)"}],
        "mark": {"type": "rule", "strokeCap": "butt", **mark},
        "encoding": {
            "x": {**x, "field": f"{name}_low"},
            "x2": {"field": f"{name}_high"},
            "color": color,
            "tooltip": tooltip,
        },
    }


def interval(bounds: tuple[float, float] | None) -> str:
    """`60.1 to 64.0 %`, or why there is none."""
    return "no interval" if bounds is None else f"{percent(bounds[0])[:-2]} to {percent(bounds[1])}"


def absence(model: ModelSummary) -> str:
    """Why a model has no score."""
    if not model.ran:
        return "did not run: the climb ended below its tier"
    if model.failures and not model.rollouts:
        return f"no score: all {count(model.failures)} rollouts failed"
    return "no score"


def _spoken(name: str, model: ModelSummary) -> str:
    return f"{name}: {absence(model) if model.score is None else percent(model.score)}"


def repeats(found: Repeats | None, looks: Mapping[str, Look]) -> Spec | str:
    """SD of avg@k against k with its upper bound, the line at one point, and the repeats that are set and needed."""
    if found is None:
        return (
            "Not computed: it needs an open model with at least two repeats of its tasks: `assay profile --repeats 4`."
        )
    if not found.curve:
        return "The profile holds no curve to draw."
    marks = _marks(found)
    low = min([k for k, *_ in found.curve] + list(marks))
    high = max([k for k, *_ in found.curve] + list(marks))
    ticks = [2**power for power in range(math.ceil(math.log2(high)) + 1) if low <= 2**power <= high]
    top = 1.05 * max([1.0, *(upper for *_, upper in found.curve)])
    x = {
        "field": "k",
        "type": "quantitative",
        "scale": {"type": "log", "base": 2, "domain": [low, max(high, low + 1)], "nice": False},
        "axis": {"title": "repeats, k", "values": ticks, "format": "d", "grid": False, "labelFlush": False},
    }
    y_axis = {"title": "SD of avg@k, in points", "tickCount": 5}
    y = {"field": "sd", "type": "quantitative", "scale": {"domain": [0, top], "nice": False}, "axis": y_axis}
    color = looks[found.model].color if found.model in looks else "var(--ink)"
    tooltip = [_tip("repeats", "k"), _tip("SD, points", "sd", ".2f"), _tip("at most", "upper", ".2f")]
    return {
        "description": f"Standard deviation of avg@k of {found.model} against the number of repeats. At k = "
        f"{found.k_set} it is {points(found.sd_run)} points, at most {points(found.sd_run_upper)}.",
        **SIZE,
        "height": 260,
        "data": {"values": [{"k": k, "sd": sd, "upper": upper} for k, sd, upper in found.curve]},
        "layer": [
            {"mark": {"type": "area", "color": color, "opacity": 0.18}, "encoding": _between(x, y)},
            {"mark": {"type": "line", "color": color, "strokeWidth": 2}, "encoding": {"x": x, "y": y}},
            {
                "mark": {"type": "point", "filled": True, "color": color, "size": 36, "opacity": 1},
                "encoding": {"x": x, "y": y, "tooltip": tooltip},
            },
            *_one_point(y),
            *_vertical_marks(marks, x, low, high),
        ],
    }


def _between(x: Spec, y: Spec) -> Spec:
    return {"x": x, "y": y, "y2": {"field": "upper"}}


def _marks(found: Repeats) -> dict[int, str]:
    """What to write at which k. One label where several fall on the same k."""
    names = {found.k_set: ["set"]}
    upper = found.k_upper if found.k_upper != found.k_star else None
    for k, name in ((found.k_star, "needed"), (upper, "needed to be sure")):
        if k is not None and k >= 1:
            names.setdefault(k, []).append(name)
    return {k: f"{' and '.join(words)}: {k}" for k, words in sorted(names.items())}


def _one_point(y: Spec) -> list[Spec]:
    data = {"values": [{"sd": 1.0, "label": "1 point"}]}
    return [
        {
            "data": data,
            "mark": {"type": "rule", "color": "var(--ink)", "strokeDash": [4, 3], "strokeWidth": 1},
            "encoding": {"y": y},
        },
        {
            "data": data,
            "mark": {"type": "text", "align": "right", "baseline": "bottom", "dy": -4, "color": "var(--ink)"},
            "encoding": {"y": y, "x": {"value": "width"}, "text": {"field": "label"}},
        },
    ]


def _vertical_marks(marks: Mapping[int, str], x: Spec, low: int, high: int) -> list[Spec]:
    """A line at each k, its label on a row of its own and on the side that has room."""
    layers: list[Spec] = []
    for row, (k, label) in enumerate(marks.items()):
        data = {"values": [{"k": k, "label": label}]}
        late = math.log(k / low) > 0.5 * math.log(max(high, low + 1) / low)
        line = {"type": "rule", "color": "var(--muted)", "strokeWidth": 1}
        side = {"align": "right", "dx": -6} if late else {"align": "left", "dx": 6}
        text = {"type": "text", **side, "y": 8 + 17 * row, "baseline": "middle", "color": "var(--ink)"}
        halo = {**text, "stroke": "var(--page)", "strokeWidth": 5, "strokeJoin": "round"}
        layers.insert(0, {"data": data, "mark": line, "encoding": {"x": x}})
        written = {"x": x, "text": {"field": "label"}}
        layers += [{"data": data, "mark": mark, "encoding": written} for mark in (halo, text)]
    return layers


def task_means(tables: Tables) -> dict[str, dict[str, float | None]]:
    """Each task's mean reward by model, the hardest task first; null where none of its rollouts has a score.

    Difficulty is the mean over models of their mean reward. Tasks without any score come last."""
    means: dict[str, dict[str, float | None]] = defaultdict(dict)
    for name, rows in tables.items():
        for row in rows:
            rewards = [reward for reward in row.rewards if reward is not None]
            means[row.task][name] = fmean(rewards) if rewards else None
    return dict(sorted(means.items(), key=lambda item: (_difficulty(item[1]), item[0])))


def _difficulty(means: Mapping[str, float | None]) -> float:
    known = [mean for mean in means.values() if mean is not None]
    return fmean(known) if known else math.inf


def difficulty(tables: Tables, looks: Mapping[str, Look]) -> Spec | str:
    """The map of tasks by models: a column is a task, or a few neighbours where there are more than `COLUMNS`."""
    means = task_means(tables)
    models = [name for name in looks if tables.get(name)]
    if not means or not models:
        return "No table of tasks is in this profile."
    categories = {row.task: row.category for rows in tables.values() for row in rows}
    step = tasks_per_column(len(means))
    rows = _cells(means, categories, models, step)
    x = {
        "field": "x",
        "type": "quantitative",
        "scale": {"domain": [0, len(means)], "nice": False},
        "axis": {"title": "tasks, the hardest first", "grid": False, "format": ",d", "tickCount": 6, "tickMinStep": 1},
    }
    return {
        "description": f"Mean reward of {counted(len(means), 'task')}, the hardest at the left, for "
        f"{counted(len(models), 'model')}.",
        **SIZE,
        "height": ROW * len(models),
        "data": {"values": rows},
        "mark": {"type": "rect"},
        "encoding": {
            "x": x,
            "x2": {"field": "x2"},
            "y": {**_model_axis(models), "scale": {"domain": models, "paddingInner": 0.12}},
            "color": {
                "field": "reward",
                "type": "quantitative",
                "legend": None,
                "scale": {
                    "domain": [0, 0.5, 1],
                    "range": ["var(--heat-0)", "var(--heat-1)", "var(--heat-2)"],
                    "interpolate": "lab",
                    "clamp": True,
                },
                "condition": {"test": "!isValid(datum.reward)", "value": "var(--heat-none)"},
            },
            "tooltip": [
                _tip("task" if step == 1 else "tasks", "task"),
                _tip("category", "category"),
                _tip("model", "model"),
                _tip("mean reward", "reward", ".3~f"),
            ],
        },
    }


def tasks_per_column(tasks: int) -> int:
    return math.ceil(tasks / COLUMNS) or 1


def _cells(
    means: Mapping[str, Mapping[str, float | None]], categories: Mapping[str, str], models: list[str], step: int
) -> Rows:
    ordered = list(means)
    rows: Rows = []
    for name in models:
        for start in range(0, len(ordered), step):
            tasks = ordered[start : start + step]
            if not any(name in means[task] for task in tasks):
                continue
            known = [mean for task in tasks if (mean := means[task].get(name)) is not None]
            rows.append(
                {
                    "x": start,
                    "x2": start + len(tasks),
                    "model": name,
                    "reward": round(fmean(known), 4) if known else None,
                    "task": tasks[0] if len(tasks) == 1 else f"{tasks[0]} … {tasks[-1]} ({len(tasks)})",
                    "category": _joined({categories[task] for task in tasks}),
                }
            )
    return rows


def _joined(names: set[str]) -> str:
    return ", ".join(sorted(names)) if len(names) <= 3 else f"{len(names)} categories"


def by_category(models: Mapping[str, ModelSummary], looks: Mapping[str, Look]) -> Spec | str:
    """Scores by category: a row a model within a category, or all on one row where there are too many."""
    rows: Rows = [
        {"category": category, "model": name, "score": score}
        for name in looks
        for category, score in models[name].by_category.items()
    ]
    if not rows:
        return "No scores by category: the tasks have no category, or no model has a score."
    categories = sorted({row["category"] for row in rows}, key=lambda name: _category_mean(rows, name))
    scored = [name for name in looks if models[name].by_category]
    apart = len(categories) * len(scored) <= 72
    y = {
        "field": "category",
        "type": "nominal",
        "scale": {"domain": categories, "paddingInner": 0.28 if apart else 0.1, "paddingOuter": 0.1},
        "axis": NAMES,
    }
    offset = {"yOffset": {"field": "model", "type": "nominal", "scale": {"domain": scored}}} if apart else {}
    x = _share_axis("score", [row["score"] for row in rows], "score")
    color = _by_model("color", looks)
    tooltip = [_tip("category", "category"), _tip("model", "model"), _tip("score", "score", ".1%")]
    return {
        "description": "Score by category, the hardest category first. "
        + "; ".join(f"{name}: {percent(_category_mean(rows, name))} on average" for name in categories),
        **SIZE,
        "height": len(categories) * (max(ROW, 17 * len(scored)) if apart else 24),
        "data": {"values": rows},
        "encoding": {"y": y, **offset},
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 1.5, "opacity": 0.5 if apart else 0},
                "encoding": {"x": x, "x2": {"datum": 0}, "color": color},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
                "encoding": {"x": x, "color": color, "shape": _by_model("shape", looks), "tooltip": tooltip},
            },
        ],
    }


def _category_mean(rows: Rows, category: str) -> float:
    return fmean(row["score"] for row in rows if row["category"] == category)


def length(tables: Tables, looks: Mapping[str, Look]) -> Spec | str:
    """Mean reward against output length: a model's rollouts in fifths by their length, shortest to longest."""
    rows = [row for name in looks for row in _fifths(name, tables.get(name, ()))]
    if not rows:
        return "No output tokens are in the tables of tasks."
    low, high = min(row["tokens"] for row in rows), max(row["tokens"] for row in rows)
    x = {
        "field": "tokens",
        "type": "quantitative",
        "scale": {"type": "log", "domain": [low / 1.15, high * 1.15], "nice": False},
        "axis": {"title": "output tokens", "values": _round_ticks(low, high), "format": "~s", "grid": False},
    }
    y = {**_share_axis("reward", [row["reward"] for row in rows], "mean reward"), "stack": None}
    color = _by_model("color", looks)
    tooltip = [
        _tip("model", "model"),
        _tip("output tokens", "range"),
        _tip("mean reward", "reward", ".3f"),
        _tip("rollouts", "rollouts", ",d"),
    ]
    return {
        "description": "Mean reward against output length: each model's scored rollouts in fifths by their length.",
        **SIZE,
        "height": 260,
        "data": {"values": rows},
        "encoding": {"x": x, "y": y, "color": color},
        "layer": [
            {"mark": {"type": "line", "strokeWidth": 1.5, "opacity": 0.7}},
            {
                "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
                "encoding": {"shape": _by_model("shape", looks), "tooltip": tooltip},
            },
        ],
    }


def _fifths(name: str, rows: Sequence[TaskRow]) -> Rows:
    """The fifths of a model's scored rollouts by output tokens. Rollouts of equal length stay together."""
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
    found: Rows = []
    for fifth in np.unique(fifth_N):
        tokens, rewards = tokens_N[fifth_N == fifth], rewards_N[fifth_N == fifth]
        low, high = int(tokens.min()), int(tokens.max())
        found.append(
            {
                "model": name,
                "tokens": float(np.median(tokens)),
                "range": f"{low:,} to {high:,}" if low < high else f"{low:,}",
                "reward": round(float(rewards.mean()), 4),
                "rollouts": int(tokens.size),
            }
        )
    return found


def _round_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10 … within the range; only powers of ten where it spans more than three of them."""
    steps = (1,) if high / low > 1000 else (1, 2, 5)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [step * 10**power for power in powers for step in steps if low / 1.15 <= step * 10**power <= high * 1.15]


TOKEN_KINDS = {"prompt": "var(--token-0)", "answer": "var(--token-1)", "reasoning": "var(--token-2)"}


def tokens(models: Mapping[str, ModelSummary], looks: Mapping[str, Look]) -> Spec | str:
    """Mean tokens of a rollout by model: prompt, answer, reasoning. Reasoning is part of the output, and rollouts
    that failed count too."""
    made = {name: models[name].rollouts + models[name].failures for name in looks}
    spent = [name for name in looks if made[name] and any(models[name].tokens.values())]
    if not spent:
        return "No model reported its tokens."
    rows: Rows = []
    for name in spent:
        used = models[name].tokens
        output, thought = used.get("output", 0), used.get("reasoning", 0)
        parts = {"prompt": used.get("input", 0), "answer": max(0, output - thought), "reasoning": thought}
        rows += [
            {"model": name, "kind": kind, "place": place, "tokens": round(total / made[name], 2)}
            for place, (kind, total) in enumerate(parts.items())
        ]
    return {
        "description": "Mean tokens of a rollout by model: prompt, answer and reasoning.",
        **SIZE,
        "height": ROW * len(spent),
        "data": {"values": rows},
        "mark": {"type": "bar", "stroke": "var(--page)", "strokeWidth": 1, "height": {"band": 0.62}},
        "encoding": {
            "y": _model_axis(spent),
            "x": {
                "field": "tokens",
                "type": "quantitative",
                "axis": {"title": "tokens a rollout", "format": "~s", "tickCount": 5},
            },
            "color": {
                "field": "kind",
                "type": "nominal",
                "legend": None,
                "scale": {"domain": list(TOKEN_KINDS), "range": list(TOKEN_KINDS.values())},
            },
            "order": {"field": "place"},
            "tooltip": [_tip("model", "model"), _tip("part", "kind"), _tip("tokens a rollout", "tokens", ",.1f")],
        },
    }


def _model_axis(names: list[str]) -> Spec:
    """A row a model, ordered by the scale's domain: a `sort` would end up in an expression, names and all."""
    return {
        "field": "model",
        "type": "nominal",
        "scale": {"domain": names},
        "axis": NAMES,
    }


def _share_axis(field: str, values: Sequence[float | None], title: str) -> Spec:
    """An axis from 0 to 100 %, wider only where a reward is outside of that."""
    known = [value for value in values if value is not None]
    return {
        "field": field,
        "type": "quantitative",
        "scale": {"domain": [min([0.0, *known]), max([1.0, *known])], "nice": False, "zero": False},
        "axis": {"title": title, "format": ".0%", "tickCount": {"expr": "narrow ? 2 : 5"}},
    }


def _by_model(channel: str, looks: Mapping[str, Look]) -> Spec:
    """The channel `color` or `shape` of each model. The key to it is HTML, above the charts."""
    look_range = [getattr(look, channel) for look in looks.values()]
    return {"field": "model", "type": "nominal", "legend": None, "scale": {"domain": [*looks], "range": look_range}}


def _tip(title: str, field: str, form: str | None = None) -> Spec:
    if form is None:
        return {"title": title, "field": field, "type": "nominal"}
    return {"title": title, "field": field, "type": "quantitative", "format": form}
