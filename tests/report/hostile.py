"""A profile in which every text that somebody else wrote tries to get out of its place."""

from assay.fidelity.record import (
    BenchmarkRecord,
    Gate,
    ModelSummary,
    Profile,
    Reading,
    Repeats,
    RolloutRef,
    TaskRow,
)

TEXTS = (
    "</script><script>window.pwned = 1</script>",
    "<img src=x onerror='window.pwned = 2'>",
    '"><svg/onload="window.pwned = 3">',
    "' onmouseover='window.pwned = 4",
    "<!--<script>",
    "{{ 7 * 7 }} {% raw %}",
    "var(--ink)",
    "__proto__",
    "NUL \x00, escape \x1b[31m, half a pair \ud800, \udfff, turned \u202e around",
    "</pre></details></textarea></style>&lt;&amp;\u2028\u2029]]>",
    "datum.value'] \\u003c \\",
)


def hostile() -> tuple[Profile, dict[str, list[TaskRow]], list[Reading]]:
    """Models, tasks, categories, gates and readings named by `TEXTS`."""
    models = {
        text: ModelSummary(
            role="open",
            kind="thinking" if place % 2 else "instruct",
            tier=1 + place % 2,
            ran=True,
            score=0.1 + place / 20,
            se_run=0.01,
            se_task=0.02,
            interval_run=(0.08 + place / 20, 0.12 + place / 20),
            interval_task=(0.06 + place / 20, 0.14 + place / 20),
            repeats=2,
            rollouts=20,
            by_category=dict.fromkeys(TEXTS, 0.5),
            tokens={"input": 10, "output": 10},
            per_task=text,
        )
        for place, text in enumerate(TEXTS)
    }
    tables = {model: [TaskRow(task, task, [0.0, 1.0], [3, 40]) for task in TEXTS] for model in TEXTS}
    readings = [Reading(text, text, 0, text, text, text, text, text, text, 0.0, text) for text in TEXTS]
    refs = [RolloutRef(text, text, repeat) for text in TEXTS for repeat in (0, 1)]
    gate = Gate("kinds", "fail", " ".join(TEXTS), {text: [text, {text: text}] for text in TEXTS}, refs)
    text = " ".join(TEXTS)
    return (
        Profile(
            benchmark=BenchmarkRecord(text, text, text, 11),
            suite=text,
            models=models,
            gates=[gate],
            repeats=Repeats(TEXTS[0], 2, 3, 4, 1.0, 1.2, [(k, 1 / k, 1.2 / k) for k in range(1, 9)]),
            versions={text: text},
            started=text,
            wall_s=1.0,
        ),
        tables,
        readings,
    )
