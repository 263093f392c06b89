"""The data sets that lie beside the repository where it is developed. What needs them is skipped elsewhere."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assay.benchmark import Benchmark
from assay.benchmark.data import take

DATA = Path(__file__).parents[3] / "shared" / "data"


def beside(*names: str) -> Path:
    """A file of the data sets. Skips the test where there is none."""
    path = DATA.joinpath(*names)
    if not path.is_file():
        pytest.skip(f"{path} is not on this machine")
    return path


def prepare(benchmark: Benchmark, file: Path, folder: Path) -> Iterator[Benchmark]:
    """The benchmark, with its data in a folder of its own as long as the generator lives."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_DATA", str(folder))
        take(benchmark.name, benchmark.data, file)
        yield benchmark


def rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a .jsonl.gz file."""
    with gzip.open(path, "rb") as lines:
        return [json.loads(line) for line in lines]


CRUX = {"source": "cruxeval-org/cruxeval", "config": "test", "task_type": "qa"}
"""What ZeroEval's rows of cruxeval hold besides."""


def data_file(benchmark: str, folder: Path) -> Path:
    """The data of a benchmark as it is published: a file of the data sets, or made of one in this folder."""
    match benchmark:
        case "math-l5":
            return zeroeval_file("math-l5", "problem", {}, folder / "gpt-4o-2024-08-06.json")
        case "cruxeval":
            return zeroeval_file("crux", "question", CRUX, folder / "gpt-4o-2024-08-06.json")
        case "ifeval":
            return ifeval_file(folder / "input_data.jsonl")
        case "humaneval":
            return beside("humaneval", "HumanEval.jsonl.gz")
        case "mmlu-pro-0-shot":
            return beside("recorded", "mmlu-pro", "tasks.jsonl.gz")
        case "tau-airline":
            return beside("recorded", "tau-airline", "wiki.md").parent
        case _:
            return beside("gsm8k", "test.jsonl")


def ifeval_file(to: Path) -> Path:
    """Writes the original's file, made from the recorded tasks: one prompt has changed since."""
    tasks = rows(beside("recorded", "ifeval", "tasks.jsonl.gz"))
    for task in tasks:
        if task["key"] == 2785:
            task["prompt"] = task["prompt"].replace("at least one placeholder ", "at least 3 placeholders ")
            task["kwargs"][1]["num_placeholders"] = 3
    to.write_text("".join(json.dumps(task) + "\n" for task in tasks))
    return to


def zeroeval_file(folder: str, question: str, more: dict[str, str], to: Path) -> Path:
    """Writes ZeroEval's result file of gpt-4o-2024-08-06 as it is published, from the recorded rows."""
    tasks = {row["task"]: row for row in rows(beside("recorded", "zeroeval", folder, "tasks.jsonl.gz"))}
    configs = {"engine": "openai", "repetition_penalty": 1.0, "temperature": 0.0, "top_p": 1.0, "max_tokens": 4096}
    made = [
        {
            "session_id": row["task"],
            "chat_history": [tasks[row["task"]]["prompt"]],
            "model_input": "n/a",
            "output": [row["output"]],
            "generator": "openai/gpt-4o-2024-08-06",
            "configs": configs,
            "dataset": folder,
            "id": row["task"],
            question: tasks[row["task"]]["question"],
            "answer": tasks[row["task"]]["gold"],
            **more,
        }
        for row in rows(beside("recorded", "zeroeval", folder, "gpt-4o-2024-08-06.jsonl.gz"))
    ]
    to.write_text(json.dumps(made, indent=2))
    return to
