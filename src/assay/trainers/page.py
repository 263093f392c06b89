"""The page of a training: its curves, and the model before against the model after."""

from pathlib import Path

from markupsafe import Markup

from assay.report.charts import Spec, chart, dots, layer, linear, number, tip
from assay.report.page import embed, pack, scripts, templates, write
from assay.report.words import points
from assay.trainers.training import Change, Training

REWARD, HELD_OUT = "var(--hue-1-thinking)", "var(--hue-0-thinking)"
_WIDE = 1.96


def publish(path: Path, training: Training) -> None:
    """Writes the page, one file that opens offline."""
    specs = {"course": course(training), "groups": groups(training)}
    page = templates().get_template("training.html")
    script = embed({name: pack(spec) for name, spec in specs.items() if not isinstance(spec, str)})
    write(
        path,
        page.render(
            training=training,
            charts=specs,
            headline=headline(training),
            verdict="fail"
            if training.stop_reason or suspicion(training)
            else "pass"
            if is_better(training)
            else "inconclusive",
            points=points,
            reading=reading(training),
            suspicion=suspicion(training),
            specs=Markup(script),
            **scripts(),
        ),
    )


def is_better(training: Training) -> bool:
    """Returns whether the score at temperature 1 rose, its interval clear of 0."""
    return bool(training.changes) and training.changes[0].lower > 0


def suspicion(training: Training) -> str:
    """Returns why the reward is doubtful, in sentences; nothing where it is not."""
    sentences = [training.overfitting] if training.overfitting else []
    if training.holes:
        what = "; ".join(
            f"{one.detector}: {one.before:.1%} to {one.after:.1%} of the rollouts" for one in training.holes
        )
        sentences.append(f"The reward may be hacked. What speaks against the verifier has risen ({what}).")
    return " ".join(sentences)


def headline(training: Training) -> str:
    """Returns what the training did to the score, in a sentence."""
    if training.stop_reason:
        return f"Stopped: {training.stop_reason}"
    if not training.changes:
        return f"Step {training.looks[-1].step if training.looks else 0} of {training.settings.steps}"
    score = training.changes[0]
    return f"{training.model} on {training.benchmark}: {score.before:.1%} to {score.after:.1%}, {interval(score)}"


def interval(change: Change) -> str:
    """Returns a change in points with its interval."""
    lower, upper = (points(100 * bound) for bound in (change.lower, change.upper))
    return f"{points(100 * change.shift)} points ({lower} to {upper})"


def reading(training: Training) -> str:
    """Returns whether the model learnt something, or became surer of what it could do; nothing before the end."""
    if not training.changes:
        return ""
    score, last = training.changes[0], training.changes[-1]
    if score.lower <= 0:
        return "The interval of the score holds 0: these tasks don't show that it is better."
    if last.name.startswith("pass@") and last.lower > 0:
        return f"{last.name} rose too: the model solves tasks that it did not solve in as many attempts before."
    return (
        f"{last.name} did not rise beyond its interval, so the model may only be surer of answers that it gave "
        "at times before."
    )


def course(training: Training) -> Spec | str:
    """Reward of each step, and the score of held-out tasks with its interval, against the step."""
    looks = [
        {
            "step": one.step,
            "score": one.score,
            "low": max(0.0, one.score - _WIDE * one.se),
            "high": min(1.0, one.score + _WIDE * one.se),
        }
        for one in training.looks
    ]
    if not looks:
        return "The training has not begun."
    steps = [{"step": one.step, "reward": one.reward} for one in training.steps]
    values = [row[key] for row in looks for key in ("low", "high")] + [row["reward"] for row in steps]
    low, high = max(0.0, min(values) - 0.02), min(1.0, max(values) + 0.02)
    x = number("step", scale=linear(0, training.settings.steps), axis={"title": "step", "grid": False, "format": "d"})
    y = {"scale": linear(low, high), "axis": {"title": "", "format": ".0%", "tickCount": 5}}
    score = number("score", **y)
    details = [tip("step"), tip("held out", "score", ".1%"), tip("from", "low", ".1%"), tip("to", "high", ".1%")]
    return chart(
        f"Held-out score by step: {', '.join(f'{one.score:.1%} at {one.step}' for one in training.looks)}.",
        280,
        looks,
        layer=[
            layer("line", {"x": x, "y": number("reward", **y)}, steps, color=REWARD, strokeWidth=1, opacity=0.7),
            layer("rule", {"x": x, "y": number("low", **y), "y2": {"field": "high"}}, color=HELD_OUT, strokeWidth=2),
            layer("line", {"x": x, "y": score}, color=HELD_OUT, strokeWidth=2),
            dots({"x": x, "y": score, "tooltip": details}, color=HELD_OUT, size=48),
        ],
    )


def groups(training: Training) -> Spec | str:
    """Returns the share of groups whose rewards are all the same, against the step."""
    if not training.steps:
        return "No step has been made."
    rows = [{"step": one.step, "share": one.without_variance} for one in training.steps]
    x = number("step", scale=linear(0, training.settings.steps), axis={"title": "step", "grid": False, "format": "d"})
    y = number("share", scale=linear(0, 1), axis={"title": "", "format": ".0%", "tickCount": 5})
    return chart(
        f"Share of groups without variance: {rows[0]['share']:.0%} at first, {rows[-1]['share']:.0%} at last.",
        160,
        rows,
        layer=[layer("line", {"x": x, "y": y}, color="var(--ink)", strokeWidth=1.5)],
    )
