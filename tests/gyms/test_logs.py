"""Other harnesses' logs as the real packages write them, and what a log that somebody changed is told."""

import asyncio
import json
import os
import sys
import zipfile
from pathlib import Path
from subprocess import run
from typing import Any

import pytest

from assay.benchmark.catalog import load
from assay.errors import UsageError
from assay.exports.from_log import import_log
from assay.fidelity.original.parity import compare
from assay.fidelity.original.reference import read
from assay.gyms.logs import read_log
from assay.store import read_record, read_rollouts, read_tasks
from assay.types import Failure, FunctionCall, FunctionCallOutput, Rollout, Score
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


def imported(folder: Path, *arguments: str) -> list[Rollout]:
    """The rollouts of a run that `assay import` made, which summary and detectors read."""
    code, out, err = assay("import", *arguments, "--out", "made", cwd=folder)
    assert code == 0 and "rollouts of" in out, err
    assert assay("failures", "made", cwd=folder)[0] in (0, 3)
    return sorted(read_rollouts(folder / "made"), key=lambda one: one.key)


def rewards(rollouts: list[Rollout]) -> list[tuple[str, int, float | str]]:
    return [
        (one.task, one.repeat, one.outcome.reward if isinstance(one.outcome, Score) else one.outcome.message)
        for one in rollouts
    ]


@pytest.mark.parametrize("format", ["eval", "json"])
def test_inspects_logs_become_a_run(by_inspect: Path, tmp_path: Path, format: str):
    [file] = (by_inspect / f"sums-{format}").iterdir()
    made = imported(tmp_path, str(file), "--score", "match")
    assert rewards(made) == [(f"q{n}", repeat, n != 3) for n in (2, 3, 4) for repeat in (0, 1)]
    first = made[0]
    assert isinstance(first.outcome, Score) and first.outcome.metrics == {"includes": 1.0}
    assert first.turns[0].response.text == SUMS["2 + 2?"] and first.turns[0].response.usage.output_tokens > 0
    task = next(task for task in read_tasks(tmp_path / "made") if task.id == "q2")
    assert [(one.role, one.text) for one in task.input] == [("system", "Add."), ("user", "2 + 2?")]  # type: ignore
    assert (task.gold, read_record(tmp_path / "made").model) == ("4", "m")
    code, _, err = assay("import", str(file), "--out", "again", "--score", "mach", cwd=tmp_path)
    assert code == 2 and "Did you mean match?" in err


def test_what_a_tool_answered_is_in_the_run(by_inspect: Path, tmp_path: Path):
    [made] = imported(tmp_path, str(next((by_inspect / "looking-eval").iterdir())))
    call, _ = made.turns[0].response.output[-1], made.turns[1]
    assert isinstance(call, FunctionCall) and (call.name, call.arguments) == ("look", '{"place":"there"}')
    [output] = made.turns[1].input
    assert isinstance(output, FunctionCallOutput) and output.text == "nothing" and output.call_id == call.call_id
    assert made.turns[1].response.text == "The sum is 4"


def test_lm_evals_samples_become_a_run(by_lm_eval: Path, tmp_path: Path):
    made = imported(tmp_path, str(by_lm_eval / "out"), "--score", "exact_match,number")
    assert [reward for *_, reward in rewards(made)] == [1, 0, 1]
    assert [one.turns[0].response.text for one in made] == list(SUMS.values())
    assert [one.turns[0].input[0].text for one in made] == list(SUMS)  # type: ignore


def test_verifiers_results_become_a_run_and_a_reference(tmp_path: Path):
    if not hasattr(pytest.importorskip("verifiers", reason="the extra `verifiers` is not installed"), "ToolEnv"):
        pytest.skip("needs verifiers before 0.4")
    script = """
import sys
import verifiers as vf
from datasets import Dataset

def look(place: str) -> str:
    '''Look at a place.

    Args:
        place: Where.
    '''
    return "nothing"

async def exact(completion, answer):
    text = completion[-1].content if hasattr(completion[-1], "content") else completion[-1]["content"]
    if "7" in text:
        raise vf.Error("the judge is down")
    return float(answer in text)

rows = [{"prompt": [{"role": "user", "content": f"{i} + {i}?"}], "answer": str(2 * i)} for i in (2, 3, 4)]
environment = vf.ToolEnv(eval_dataset=Dataset.from_list(rows), rubric=vf.Rubric([exact]), tools=[look])
client = vf.ClientConfig(api_base_url=sys.argv[1], api_key_var="NO_KEY")
environment.evaluate_sync(client=client, model="m", num_examples=3, rollouts_per_example=2, save_results=True,
                          results_path=__import__("pathlib").Path("saved"))
"""
    with Endpoint(behave) as endpoint:
        environment = os.environ | {"NO_KEY": "none", "HF_HOME": str(tmp_path)}
        run([sys.executable, "-c", script, endpoint.url], cwd=tmp_path, env=environment, check=True, timeout=100)
    made = imported(tmp_path, "saved/results.jsonl")
    assert [(task, repeat) for task, repeat, _ in rewards(made)] == [(str(n), r) for n in range(3) for r in (0, 1)]
    scores = [reward for *_, reward in rewards(made)]
    assert scores[0] == scores[1] == scores[4] == scores[5] == 1 and 0 not in scores[:2]
    call = made[0].turns[0].response.output[-1]
    assert isinstance(call, FunctionCall) and (call.name, call.arguments) == ("look", '{"place": "there"}')
    assert [one.text for one in made[0].turns[1].input] == ["nothing"]  # type: ignore
    assert made[0].turns[1].response.text == "The sum is 4"
    reference = read(tmp_path / "saved/results.jsonl")
    assert reference.record.log == "verifiers" and {one.gold for one in reference.rows} == {"4", "6", "8"}


def test_a_run_of_ours_comes_back_from_nemo_gyms_rows(tmp_path: Path):
    assert assay("run", "arithmetic", "--model", "nano-thinking", "--limit", "4", "--out", "r", cwd=tmp_path)[0] == 0
    assert assay("export", "r", "--format", "nemo-gym", "--out", "rows.jsonl", cwd=tmp_path)[0] == 0
    ours = sorted(read_rollouts(tmp_path / "r"), key=lambda one: one.key)
    made = imported(tmp_path, "rows.jsonl")
    assert rewards(made) == rewards(ours)
    for one, other in zip(made, ours, strict=True):
        assert one.turns[-1].response.text == other.turns[-1].response.text
        assert one.turns[-1].response.reasoning == other.turns[-1].response.reasoning
        assert one.turns[-1].response.usage == other.turns[-1].response.usage
    assert {task.id: task.gold for task in read_tasks(tmp_path / "made")} == {
        task.id: task.gold for task in read_tasks(tmp_path / "r")
    }


def test_failures_of_a_log_are_no_zeros_and_a_cut_output_is_said(tmp_path: Path):
    row = {"example_id": 0, "prompt": [{"role": "user", "content": "?"}], "completion": [], "reward": 0.0}
    said = [{"role": "assistant", "content": [{"type": "text", "text": "so"}], "tool_calls": []}]
    rows = [
        row | {"error": {"error": "Error", "error_chain_repr": "Error: down"}},
        row | {"completion": said, "is_truncated": True},
    ]
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    failed, cut = imported(tmp_path, "results.jsonl")
    assert isinstance(failed.outcome, Failure) and failed.outcome.message == "Error: down"
    assert (cut.stop, cut.turns[-1].response.status) == ("token_cap", "incomplete") and isinstance(cut.outcome, Score)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1}', "no log that Assay knows; expected a log of lm-evaluation-harness, Inspect, NeMo Gym, verifiers"),
        ("", "no log that Assay knows"),
        ('{"example_id": 0, "prompt": [1], "completion": [], "reward": 1}', "a sample as verifiers writes it"),
        ('{"example_id": 0, "prompt": [], "completion": [{}], "reward": 1}', "line 1: KeyError: 'role'"),
        ('{"example_id": 0, "prompt": [], "completion": [], "reward": 1e300}', "a sample as verifiers writes it"),
    ],
)
def test_what_is_no_log_is_refused_and_nothing_is_written(tmp_path: Path, text: str, words: str):
    (tmp_path / "a.jsonl").write_text(text)
    code, _, err = assay("import", "a.jsonl", "--out", "made", cwd=tmp_path)
    assert (code, words in err, (tmp_path / "made").exists()) == (2, True, False), err


def test_a_member_that_unpacks_to_more_than_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("assay.gyms.rows.LARGEST_MEMBER", 1000)
    with zipfile.ZipFile(tmp_path / "a.eval", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", "{}")
        archive.writestr("samples/q2_epoch_1.json", json.dumps({"id": "q2", "input": "a" * 2000}))
    with pytest.raises(UsageError, match="more than 1,000 bytes"):
        import_log([tmp_path / "a.eval"], tmp_path / "made")
