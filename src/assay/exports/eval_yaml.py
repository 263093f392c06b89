"""A data set for the Hugging Face Hub with an `eval.yaml`, which says in Inspect's terms how it is asked and scored.

Only Inspect's own scorers can stand there. The one that is chosen judges reference answers and wrong ones as
Assay's verifier does; a benchmark for which there is none is refused.
"""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from assay.benchmark import Benchmark, score_of
from assay.exports import Export
from assay.exports.package import check_exportable, prompt_of, sampling_in_words, system_of
from assay.fidelity.probes.answers import letters_in, wrong_answers
from assay.fidelity.probes.play import response_of
from assay.gyms import refuse, require
from assay.score import Mean
from assay.store import write_lines
from assay.types import Task

SCORERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("match", {"numeric": True}),
    ("match", {}),
    ("exact", {}),
    ("answer", {"pattern": "letter"}),
    ("answer", {"pattern": "line"}),
)
"""The scorers that an eval.yaml may name and that need no judge. `includes` and `pattern` accept too much."""
SEVERAL = ("denied", "both answers", "either or", "all options")
"""Kinds of wrong answer that Inspect's scorers accept: the right one is in them."""
THINKING = "There are 12 of 30 left, so that A and C fall away.\n\n"
"""What stands before an answer."""
PROBE_TASKS = 40
"""Tasks whose answers are tried."""
_README = """---
configs:
- config_name: default
  data_files:
  - split: test
    path: test.jsonl
---

# {name}

{count:,} tasks of {name} {version} of Assay, written by `assay export {source} --format eval-yaml`. `input` is the
whole prompt, `target` the reference answer.

`eval.yaml` names Inspect's scorer `{scorer}`. On the reference answers of {probed} tasks and on wrong ones that are
made of them, it judges as Assay's verifier does where an answer is written as {agreed}.
{otherwise}Answers of a model may be judged otherwise, such as "not X" and "X or Y".
Not carried over: the sampling ({sampling}).

```
inspect eval hf/ORG/NAME --model MODEL
assay run hf:ORG/NAME --model MODEL
```
"""


class Answer(NamedTuple):
    """An answer, and how Assay judges it."""

    task: Task
    form: str
    """How it is written."""
    text: str
    reward: float


def _write(benchmark: Benchmark, folder: Path) -> str:
    require("inspect_ai", "inspect")
    tasks = list(benchmark.environment.tasks())
    _check(benchmark, tasks)
    probes = tasks[:PROBE_TASKS]
    answers = asyncio.run(_answers(benchmark, probes))
    candidates = [
        (name, arguments, asyncio.run(_matching_forms(name, arguments, answers))) for name, arguments in SCORERS
    ]
    name, arguments, forms = max(candidates, key=lambda one: len(one[2]))
    if not forms:
        refuse(
            benchmark.source, "none of Inspect's scorers judges its reference answers and wrong ones as its verifier"
        )
    eval_task = {
        "id": benchmark.name,
        "split": "test",
        "field_spec": {"input": "input", "target": "target"},
        "epochs": benchmark.repeats,
        "epoch_reducer": "mean",
        "solvers": [{"name": "generate"}],
        "scorers": [{"name": name, "args": arguments}],
    }
    content = {"name": benchmark.name, "evaluation_framework": "inspect-ai", "tasks": [eval_task]}
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = [{"id": task.id, "input": prompt_of(task), "target": task.gold} for task in tasks]
    write_lines(folder / "test.jsonl", rows)
    (folder / "eval.yaml").write_text(require("yaml", "inspect").safe_dump(content, sort_keys=False), encoding="utf-8")
    others = [form for form in benchmark.formats if form not in forms]
    readme = _README.format(
        name=benchmark.name,
        version=benchmark.version,
        source=benchmark.source,
        count=len(tasks),
        scorer=name,
        probed=len(probes),
        agreed=_quote(forms),
        otherwise=f"It does not where it is written as {_quote(others)}. " if others else "",
        sampling=sampling_in_words(benchmark),
    )
    (folder / "README.md").write_text(readme, encoding="utf-8")
    return (
        f"{len(tasks)} tasks are in {folder}, scored by Inspect's {name}, which judges as Assay does where answers are "
        f"written as {_quote(forms)}. {folder / 'README.md'} says more."
    )


def _check(benchmark: Benchmark, tasks: list[Task]) -> None:
    """Raises UsageError for what an eval.yaml can't hold."""
    check_exportable(benchmark, tasks)
    name = benchmark.source
    if benchmark.score != Mean():
        refuse(name, f"its score is the {benchmark.score}; expected the plain mean")
    if system := system_of(benchmark, tasks):
        refuse(name, f"its tasks have a system message, {system[:40]!r}")
    if lacking := [task.id for task in tasks if not task.gold]:
        refuse(name, f"{len(lacking)} of its {len(tasks)} tasks have no reference answer, such as {lacking[0]}")


async def _answers(benchmark: Benchmark, tasks: Sequence[Task]) -> list[Answer]:
    """Returns the reference answers, and wrong ones that are made of them, in each form and after some words."""
    answers: list[Answer] = []
    for form in benchmark.formats:
        for task, other in zip(tasks, [*tasks[1:], *tasks[:1]], strict=True):
            gold, rng = task.gold or "", Random(task.id)
            wrong = wrong_answers(gold, other.gold, letters_in(task, gold), rng)
            texts = [text for kind, text in wrong if kind not in SEVERAL]
            for core in (gold, f"1{gold}", *texts):
                for before in ("", THINKING):
                    text = before + form.format(core, json=json.dumps(core))
                    score = await score_of(benchmark.environment, task, response_of(text))
                    answers.append(Answer(task, form, text, score.reward))
    return answers


async def _matching_forms(name: str, arguments: dict[str, Any], answers: Sequence[Answer]) -> list[str]:
    """Returns the forms in which one of Inspect's scorers judges all answers as Assay does."""
    model, solver = require("inspect_ai.model", "inspect"), require("inspect_ai.solver", "inspect")
    scorers = require("inspect_ai.scorer", "inspect")
    judge, value_of = getattr(scorers, name)(**arguments), scorers.value_to_float()
    is_match = dict.fromkeys((answer.form for answer in answers), True)
    for answer in answers:
        output = model.ModelOutput.from_content("assay", answer.text)
        names = {"model": model.ModelName("assay/model"), "sample_id": answer.task.id, "epoch": 1}
        state = solver.TaskState(**names, input="", messages=[], output=output)
        score = await judge(state, scorers.Target(answer.task.gold or ""))
        is_match[answer.form] &= value_of(score.value) == answer.reward
    return [form for form, same in is_match.items() if same]


def _quote(forms: Sequence[str]) -> str:
    return ", ".join(repr(form.format("X", json='"X"')) for form in forms)


EXPORT = Export(benchmark=_write)
