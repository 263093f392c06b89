"""`assay record` on bfcl-eval itself: it asks, carries its own evaluation out, and every judgement is compared."""

import asyncio
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from assay.benchmark import Benchmark, Call
from assay.benchmark.catalog import load
from tests.benchmarks.data import prepare
from tests.commands import assay
from tests.endpoint import Call as Asked
from tests.endpoint import Endpoint, chat_body, http

PYTHON, WHEEL = os.environ.get("ASSAY_BFCL_PYTHON"), os.environ.get("ASSAY_BFCL_WHEEL")
"""An interpreter with the package bfcl-eval, and its wheel."""
CATEGORIES = ("simple_python", "multiple", "parallel", "irrelevance")
MODEL = "gpt-4o-mini-2024-07-18-FC"
Made = list[tuple[str, str]] | str

ORIGINAL = f"""
set -e
{PYTHON} -m bfcl_eval generate --model {MODEL} --run-ids --num-threads 4
{PYTHON} -m bfcl_eval evaluate --model {MODEL} --test-category {",".join(CATEGORIES)} --partial-eval
"""
FAULTS: list[Callable[[list[tuple[str, dict[str, Any]]]], Made]] = [
    lambda calls: [(name, json.dumps(arguments)) for name, arguments in calls],
    lambda calls: [(name, json.dumps(arguments)) for name, arguments in reversed(calls)],
    lambda calls: [(name, json.dumps(arguments | {"no_such": 1})) for name, arguments in calls],
    lambda calls: [(name, json.dumps({key: str(value) for key, value in said.items()})) for name, said in calls],
    lambda calls: [(name, json.dumps(dict([*arguments.items()][1:]))) for name, arguments in calls],
    lambda calls: [(name, json.dumps(arguments)[:-1]) for name, arguments in calls],
    lambda calls: [(f"{name}_too", json.dumps(arguments)) for name, arguments in calls],
    lambda calls: [(name, json.dumps(arguments)) for name, arguments in [*calls, *calls]],
    lambda calls: " and ".join(name for name, _ in calls),
    lambda calls: "",
]
"""What a model may make of the right calls."""
BROKEN, SILENT = 5, 9
RIGHT = 10
"""The first two where functions fit, the fourth of `parallel`, and where none does: broken, a name alone, silence."""


@pytest.fixture
def bfcl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Benchmark]:
    yield from prepare(load("bfcl"), Path(WHEEL or ""), tmp_path_factory.mktemp("data"))


def answers(bfcl: Benchmark) -> dict[str, tuple[str, Made]]:
    """By prompt, the task and what the model says: ten tasks of each category, each fault once."""
    found: dict[str, tuple[str, Made]] = {}
    count = Counter[str]()
    for task in bfcl.environment.tasks():
        category, prompt = task.tags["category"], task.input[-1].text  # type: ignore
        if category in CATEGORIES and count[category] < len(FAULTS) and prompt not in found:
            steps = bfcl.environment.solution(task) or ()
            calls = [(step.name, dict(step.arguments)) for step in steps if isinstance(step, Call)]
            calls = calls or [(task.tools[0].name, {"x": 1})]  # where no function fits
            found[prompt] = task.id, FAULTS[count[category]](calls)
            count[category] += 1
    return found


@pytest.mark.clients
@pytest.mark.skipif(not (PYTHON and WHEEL), reason="ASSAY_BFCL_PYTHON and ASSAY_BFCL_WHEEL name no bfcl-eval")
def test_the_originals_own_evaluation_is_recorded_and_judges_alike(bfcl: Benchmark, tmp_path: Path):
    says = answers(bfcl)
    ids = {name: [id for id, _ in says.values() if id.startswith(f"{name}_")] for name in CATEGORIES}
    (tmp_path / "test_case_ids_to_generate.json").write_text(json.dumps(ids))

    async def behave(asked: Asked, writer: asyncio.StreamWriter) -> None:
        made = says[asked.json["messages"][-1]["content"]][1]
        if isinstance(made, str):
            body = chat_body(made)
        else:
            calls = [
                {"id": f"c{at}", "type": "function", "function": {"name": name, "arguments": arguments}}
                for at, (name, arguments) in enumerate(made)
            ]
            body = chat_body(None, "tool_calls", tool_calls=calls)
        writer.write(http(body))

    here = {"ASSAY_DATA": os.environ["ASSAY_DATA"], "BFCL_PROJECT_ROOT": str(tmp_path)}
    with Endpoint(behave) as endpoint:
        command = ["record", "--benchmark", "bfcl", "--model", "chat:m", "--base-url", endpoint.url, "--out", "o"]
        command += ["--scores", "result/**/*.json", "score/**/*.json", "--", "bash", "-c", ORIGINAL]
        code, out, err = assay(*command, cwd=tmp_path, timeout=280, **here)
    assert code == 0 and "40 results are in" in out, out + err
    code, out, err = assay("parity", "bfcl", "--reference", "o/reference.jsonl", cwd=tmp_path, **here)
    assert code == 3, out + err
    ladder = json.loads((tmp_path / "parity/bfcl-reference/parity.json").read_text())["ladder"]
    rungs = {rung["name"]: rung for rung in ladder}
    assert (rungs["prompts"]["verdict"], rungs["prompts"]["numbers"]["compared"]) == ("identical", 40)
    assert rungs["verifiers"]["numbers"]["judged"] == 40
    found = {one["task"]: (one["there"], one["here"]) for one in rungs["verifiers"]["disagreements"]}
    # Arguments that are no JSON go back to the model here, and a recorded output has no further answer: a failure.
    # The original finds no call. Where no function fits, silence is right there and no answer here, as the card says.
    broken, silent = ({name: ids[name][at] for name in CATEGORIES} for at in (BROKEN, SILENT))
    expected = {id: ("1" if name == "irrelevance" else "0", "failed") for name, id in broken.items()}
    assert found == expected | {silent["irrelevance"]: ("1", "0")}
    rows = map(json.loads, (tmp_path / "o/reference.jsonl").read_text().splitlines())
    assert sum(row["score"] for row in rows) == RIGHT
