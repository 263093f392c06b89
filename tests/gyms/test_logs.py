"""Other harnesses' logs as the real packages write them, and what a log that somebody changed is told."""

import asyncio
import json
import sys
import zipfile
from pathlib import Path
from subprocess import run
from typing import Any

import pytest

from assay.benchmark.catalog import load
from assay.errors import UsageError
from assay.fidelity.original.parity import compare
from assay.fidelity.original.reference import read
from assay.gyms.logs import read_log
from tests.commands import assay
from tests.endpoint import Call, Endpoint, chat_body, http

SUMS = {"2 + 2?": "The sum is 4", "3 + 3?": "7", "4 + 4?": "8"}
QUESTIONS = [{"id": f"q{i}", "question": text, "answer": str(2 * i)} for i, text in enumerate(SUMS, 2)]
TASK = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes, match
from inspect_ai.solver import generate, system_message, use_tools
from inspect_ai.tool import tool

@tool
def look():
    async def execute(place: str):
        '''Look at a place.

        Args:
            place: Where.
        '''
        return "nothing"
    return execute

def samples():
    return [Sample(id=f"q{i}", input=f"{i} + {i}?", target=str(2 * i)) for i in (2, 3, 4)]

@task
def sums():
    return Task(dataset=samples(), solver=[system_message("Add."), generate()], scorer=[match(), includes()], epochs=2)

@task
def looking():
    return Task(dataset=samples()[:1], solver=[use_tools(look()), generate()], scorer=includes())
"""


async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
    """A model that knows the sums by heart, and looks first if it may."""
    messages = call.json["messages"]
    asked = next(text for text in SUMS if any(text in str(message["content"]) for message in messages))
    body = json.loads(chat_body(SUMS[asked])) | {"created": 0}
    if call.json.get("tools") and messages[-1]["role"] != "tool":
        function = {"name": "look", "arguments": '{"place": "there"}'}
        body["choices"][0]["message"] |= {"tool_calls": [{"id": "c", "type": "function", "function": function}]}
    writer.write(http(json.dumps(body).encode()))


@pytest.fixture(scope="module")
def by_inspect(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an .eval log, a JSON log and one with tools."""
    pytest.importorskip("inspect_ai", reason="the extra `inspect` is not installed")
    folder = tmp_path_factory.mktemp("inspect")
    (folder / "t.py").write_text(TASK)
    script = """
import sys
import inspect_ai
from inspect_ai.model import get_model
model = get_model("openai-api/local/m", base_url=sys.argv[1], api_key="none")
for name, format in (("sums", "eval"), ("sums", "json"), ("looking", "eval")):
    [log] = inspect_ai.eval(f"t.py@{name}", model=model, log_dir=f"{name}-{format}", log_format=format, display="none")
    assert log.status == "success", log.error
"""
    with Endpoint(behave) as endpoint:
        run([sys.executable, "-c", script, endpoint.url], cwd=folder, check=True, timeout=100)
    return folder


@pytest.mark.parametrize("format", ["eval", "json"])
def test_inspects_logs(by_inspect: Path, format: str):
    [file] = (by_inspect / f"sums-{format}").iterdir()
    log, rows = read_log([file])
    found = {(row.cells["task"], row.cells["repeat"]): row.cells for row in rows}
    assert log and log.name == "Inspect"
    assert {(task, cells["match"], cells["includes"]) for (task, _), cells in found.items()} == {
        ("q2", 1, 1),
        ("q3", 0, 0),
        ("q4", 1, 1),
    }
    assert len(found) == 6
    with pytest.raises(UsageError, match="2 scores: match; includes"):
        read(file)
    reference = read(file, {"score": "match", "gold": "target"})
    assert reference.record.log == "Inspect" and reference.record.score == pytest.approx(2 / 3)
    row = reference.rows[0]
    assert row.output == SUMS[f"{row.task[1]} + {row.task[1]}?"] and row.gold == str(2 * int(row.task[1]))
    assert [(one.role, one.content) for one in row.prompt] == [  # type: ignore
        ("system", "Add."),
        ("user", f"{row.task[1]} + {row.task[1]}?"),
    ]


def test_the_turns_of_an_inspect_log_are_items(by_inspect: Path):
    [file] = (by_inspect / "looking-eval").iterdir()
    [row] = read(file).rows
    first, last = row.output  # type: ignore
    assert [item.name for item in first if item.__class__.__name__ == "FunctionCall"] == ["look"]  # type: ignore
    assert last[-1].text == "The sum is 4"  # type: ignore


def test_an_inspect_log_without_its_samples(by_inspect: Path, tmp_path: Path):
    [file] = (by_inspect / "sums-eval").iterdir()
    pytest.importorskip("zipfile_zstd")
    with zipfile.ZipFile(file) as whole, zipfile.ZipFile(tmp_path / "torn.eval", "w") as torn:
        torn.writestr("header.json", whole.read("header.json"))
        torn.writestr("samples/q2_epoch_1.json", whole.read("samples/q2_epoch_1.json")[:100])
    with pytest.raises(UsageError, match=r"torn\.eval, samples/q2_epoch_1\.json: "):
        read(tmp_path / "torn.eval")


LM_TASK = """
task: sums
dataset_path: json
dataset_kwargs: {data_files: {test: QUESTIONS}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: [], temperature: 0.0}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
filter_list:
  - {name: whole, filter: [{function: take_first}]}
  - {name: number, filter: [{function: regex, regex_pattern: '([0-9]+)'}, {function: take_first}]}
"""


@pytest.fixture(scope="module")
def by_lm_eval(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("lm_eval", reason="lm_eval is not installed")
    folder = tmp_path_factory.mktemp("lm-eval")
    (folder / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    (folder / "sums.yaml").write_text(LM_TASK.replace("QUESTIONS", str(folder / "q.jsonl")))
    with Endpoint(behave) as endpoint:
        where = f"model=m,base_url={endpoint.url}/chat/completions"
        lm_eval = [sys.executable, "-m", "lm_eval", "run", "--model", "local-chat-completions", "--model_args", where]
        more = ["--apply_chat_template", "--tasks", "sums", "--include_path", ".", "--output_path", "out"]
        run([*lm_eval, *more, "--log_samples"], cwd=folder, check=True, timeout=100)
    return folder


def test_lm_evals_samples(by_lm_eval: Path):
    files = sorted((by_lm_eval / "out").rglob("*.json*"))
    assert [file.name.partition("_")[0] for file in files] == ["results", "samples"]
    benchmark = load(f"qa:{by_lm_eval / 'q.jsonl'},problem=question,answer=answer,id=id")
    tasks = [*benchmark.environment.tasks()]
    with pytest.raises(UsageError, match="2 scores: exact_match,whole; exact_match,number"):
        read(files, tasks=tasks)
    reference = read(files, {"score": "exact_match,number", "gold": "target"}, tasks=tasks)
    assert [(row.task, row.score, row.output) for row in reference.rows] == [
        ("q2", 1, "The sum is 4"),
        ("q3", 0, "7"),
        ("q4", 1, "8"),
    ]
    assert reference.record.remarks == ["Tasks are found by the text of doc.question."]
    assert [one.content for one in reference.rows[0].prompt] == ["2 + 2?"]  # type: ignore
    with pytest.raises(UsageError, match="the samples that lm_eval --log_samples writes"):
        read(files[:1], tasks=tasks)


def test_nemo_gyms_rollouts_of_a_run(tmp_path: Path):
    assert assay("run", "arithmetic", "--model", "nano-instruct", "--limit", "4", "--out", "r", cwd=tmp_path)[0] == 0
    assert assay("export", "r", "--format", "nemo-gym", "--out", "rows.jsonl", cwd=tmp_path)[0] == 0
    with (tmp_path / "rows.jsonl").open("a") as file:
        failed: dict[str, Any] = {"responses_create_params": {"input": "?"}, "_ng_failure_class": "x", "id": "f"}
        file.write(json.dumps(failed) + "\n")
    benchmark = load("arithmetic")
    reference = read(tmp_path / "rows.jsonl", tasks=[*benchmark.environment.tasks()])
    assert (reference.record.log, reference.record.tasks) == ("NeMo Gym", 4)
    assert reference.record.remarks == ["1 rollouts failed there and are left out."]
    rungs = {rung.name: rung for rung in asyncio.run(compare(benchmark, reference)).ladder}
    assert (rungs["prompts"].verdict, rungs["verifiers"].verdict) == ("identical", "identical")


def test_rows_of_another_kind_are_refused(tmp_path: Path):
    sample = {"doc_id": 0, "doc": {}, "resps": [["x"]], "filter": "none", "metrics": []}
    (tmp_path / "a.jsonl").write_text(json.dumps(sample) + '\n{"task": "a"}\n')
    with pytest.raises(UsageError, match=r"line 2: no row of lm-evaluation-harness(.|\n)*the row: {\"task\":\"a\"}"):
        read(tmp_path / "a.jsonl")


RESULT = {"id": "t0", "result": [{"f": '{"x": 1}'}], "latency": 0.1}


def bfcl(folder: Path, *scores: dict[str, Any], results: list[dict[str, Any]]) -> list[Path]:
    """The files of one category, as bfcl-eval writes them; tests/fidelity/test_recorded_bfcl.py has the real ones."""
    files = [folder / "BFCL_v4_c_result.json", folder / "BFCL_v4_c_score.json"]
    for file, lines in zip(files, (results, scores), strict=True):
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return files


def test_bfcls_results_have_the_scores_that_stand_beside(tmp_path: Path):
    conversation = {"id": "t1", "result": [[[{"f": "{}"}], "done"], ["bye"]], "latency": [[0.1]]}
    failed = {"id": "t2", "result": "Error during inference: none", "traceback": "…"}
    total = {"accuracy": 1 / 3, "correct_count": 1, "total_count": 3}
    wrong = [{"id": id, "model_name": "m", "test_category": "c", "valid": False} for id in ("t1", "t2")]
    reference = read(bfcl(tmp_path, total, *wrong, results=[RESULT, conversation, failed]))
    assert [(row.task, row.score) for row in reference.rows] == [("t0", 1), ("t1", 0)]
    assert reference.record.log == "bfcl-eval"
    assert reference.record.remarks == ["1 rollouts failed there and are left out."]
    [call], [first, *said] = (row.output for row in reference.rows)  # type: ignore
    assert [(one.name, one.arguments) for one in (*call, *first)] == [("f", '{"x": 1}'), ("f", "{}")]  # type: ignore
    assert said == ["done", "bye"]


@pytest.mark.parametrize(
    ("total", "results", "words"),
    [
        (2, [RESULT], "1 results, and scores of 2"),
        (0, [RESULT], "1 results, and scores of 0"),
        (2, [RESULT, RESULT], "a second result of t0"),
        (1, [RESULT | {"result": [1]}], "a line as bfcl-eval writes it"),
    ],
)
def test_bfcls_files_of_which_one_is_missing_or_broken(
    tmp_path: Path, total: int, results: list[dict[str, Any]], words: str
):
    with pytest.raises(UsageError, match=words):
        read(bfcl(tmp_path, {"accuracy": 1.0, "correct_count": total, "total_count": total}, results=results))
