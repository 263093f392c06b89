"""A profile in which every text that somebody else wrote tries to get out of its place."""

from typing import Any, get_args

from assay.fidelity.schema.evidence import (
    Disagreement,
    Explanation,
    Finding,
    Mark,
    ModelReview,
    OriginalSource,
    Parity,
    Reader,
    Reproduced,
    Review,
    Rung,
    Sighting,
    SuspectTask,
)
from assay.fidelity.schema.profile import (
    BenchmarkRecord,
    Gate,
    GroupScore,
    ModelSummary,
    Piece,
    Profile,
    Reading,
    Repeats,
    RolloutRef,
    TaskRow,
    Voice,
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
            grouped_by=[TEXTS[0]],
            groups=dict.fromkeys(TEXTS, GroupScore(0.5, 10, (0.4, 0.6))),
            tokens={"input": 10, "output": 10},
            per_task=text,
        )
        for place, text in enumerate(TEXTS)
    }
    tables = {model: [TaskRow(task, task, [0.0, 1.0], [3, 40]) for task in TEXTS] for model in TEXTS}
    voices = get_args(Voice)
    readings = [
        Reading(
            text,
            text,
            0,
            text,
            [Piece("prompt", text, text)],
            [Piece(voice, text, text) for voice in voices],
            text,
            text,
            0.0,
            text,
        )
        for text in TEXTS
    ]
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
            **_evidence(),
        ),
        tables,
        readings,
    )


def encodable(text: str) -> str:
    """The text as the id of a task can be: what has a digest."""
    return text.encode("utf-8", "replace").decode()


SETTINGS: dict[str, Any] = {text: [text, {text: text}] for text in TEXTS}


def _evidence() -> dict[str, Any]:
    """Findings, suspects, marks, parities and published scores made of `TEXTS`."""
    return {
        "findings": [_finding(text) for text in TEXTS],
        "suspects": [_suspect(text) for text in TEXTS],
        "review": Review(
            made=9,
            sample=2,
            bounds=(0.0, 1.0),
            readers={text: Reader(read=2, first=text, last=text, minutes=1.0, planted=1, found=1) for text in TEXTS},
            models={text: _reviewed(text) for text in TEXTS},
        ),
        "parity": {text: _parity(text) for text in TEXTS},
        "reproduced": [_reproduced(text) for text in TEXTS],
    }


def _finding(text: str) -> Finding:
    return Finding(
        detector=text,
        model=text,
        suspect="verifier",
        reason=text,
        count=3,
        of=4,
        spotted=[Sighting(RolloutRef(text, encodable(text), repeat), text) for repeat in (0, 1)],
    )


def _suspect(text: str) -> SuspectTask:
    return SuspectTask(
        task=text,
        suspicion=0.9,
        signs=[text],
        reason=text,
        means=dict.fromkeys(TEXTS, 0.5) | {text: None},
        gold=text,
        consensus=text,
    )


def _parity(text: str) -> Parity:
    rungs = [
        Rung(
            name=name,
            verdict="different",
            reason=reason,
            numbers=SETTINGS | {"difference": 0.01, "se": 0.01, "margin": 0.02},
            disagreements=[Disagreement(reason, 0, reason, reason, reason)],
        )
        for name, reason in zip(("data", "prompts", "verifiers", "samples"), TEXTS, strict=False)
    ]
    return Parity(
        benchmark=text,
        version=text,
        tasks_digest=text,
        code=text,
        model=text,
        reference=OriginalSource(file=text, sha256=text, rows=1, tasks=1, repeats=1, score=0.5, settings=SETTINGS),
        margin=0.02,
        verdict="different",
        reason=text,
        ladder=rungs,
        at=text,
    )


def _reproduced(text: str) -> Reproduced:
    return Reproduced(
        model=text,
        published_as=text,
        score=0.5,
        unit=0.001,
        subset=text,
        settings=SETTINGS,
        source=text,
        date=text,
        verdict="refused",
        reason=text,
    )


def _reviewed(text: str) -> ModelReview:
    mark = Mark(
        model=text,
        task=text,
        repeat=0,
        content=text,
        task_digest=text,
        reward=0.0,
        fault="task",
        note=text,
        by=text,
        at=text,
    )
    return ModelReview(
        made=9,
        failing=4,
        sample=2,
        marked=1,
        faults={"task": 1},
        marks=[mark],
        explained=[Explanation(model=text, detector=text, note=text, by=text, at=text)],
        settled=[text],
    )
