"""Runs whose texts want to be more than texts."""

import shutil
from pathlib import Path

from msgspec import structs

from assay.digest import task_digest, tasks_digest
from assay.store import read_record, read_rollouts, read_tasks, write_json, write_lines
from assay.types import FunctionCall, Message, Reasoning, ReasoningText, Response, Score, Text

HOSTILE = (
    "</pre></details><script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">"
    "<style>*{display:none}</style>{{ 7 * 7 }} \u202eabc\u202c \x1b[2J \x00 ```\n# heading\n[x](javascript:alert(1))"
)


def made_hostile(made: Path, folder: Path) -> str:
    """Copies `made`, with hostile texts in each rollout of its run and in its tasks. Returns a task's id."""
    shutil.copytree(made, folder)
    run = folder / "runs/arithmetic/nano-thinking"
    rollouts = list(read_rollouts(run))
    tags = {HOSTILE[:40]: HOSTILE[:80], "category": "</a><b>x"}
    tasks = {task.id: structs.replace(task, tags=tags) for task in read_tasks(run)}
    said = Response(
        output=[
            Reasoning(content=[ReasoningText(HOSTILE * 3)]),
            FunctionCall("c", HOSTILE[:60], HOSTILE),
            Message("assistant", [Text(HOSTILE)]),
        ]
    )
    changed = [
        structs.replace(
            one,
            task_digest=task_digest(tasks[one.task]),
            turns=[structs.replace(one.turns[0], response=said)],
            outcome=Score(float(one.repeat), {HOSTILE[:50]: 1.0}, HOSTILE),
        )
        for one in rollouts
    ]
    record = structs.replace(
        read_record(run), model="<b>model</b>" + "m" * 150, tasks_digest=tasks_digest(tasks.values())
    )
    write_json(run / "run.json", record)
    write_lines(run / "tasks.jsonl", list(tasks.values()))
    write_lines(run / "rollouts.jsonl", changed)
    return rollouts[0].task
