"""mmlu-pro, on the recorded outputs of two models with the original code's judgement of each."""

import asyncio
import dataclasses
import hashlib
import json
import os
from pathlib import Path

import pytest

from assay.benchmark import Benchmark
from assay.benchmark.catalog import load
from assay.benchmark.data import Source, take
from assay.benchmarks.mmlu_pro.benchmark import TEST, benchmark_of, original
from assay.errors import UsageError
from assay.fidelity.check.check import check
from assay.fidelity.gates.gold import gold_gate
from assay.fidelity.gates.verifier import verifier_gate
from assay.fidelity.original.parity import compare
from assay.fidelity.original.published import published_scores
from assay.fidelity.original.reference import read
from assay.types import Message, Response, Task, Text
from tests.benchmarks import tables
from tests.benchmarks.data import beside, prepare, rows
from tests.commands import assay

MODELS = {
    "gemini-1.5-pro-002": {"published": "gemini-1.5-pro-002", "agree": 11_989, "guessed": 8, "otherwise": 331},
    "Meta-Llama-3_1-8B-Instruct": {
        "published": "Meta-Llama-3.1-8B-Instruct",
        "agree": 11_315,
        "guessed": 694,
        "otherwise": 36,
    },
}


@pytest.fixture(scope="module")
def mmlu(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("data")
    yield from prepare(load("mmlu-pro-0-shot"), beside("recorded", "mmlu-pro", "tasks.jsonl.gz"), folder)


def said(text: str) -> Response:
    return Response(output=[Message(role="assistant", content=[Text(text=text)])])


@pytest.fixture(scope="module")
def few(mmlu: Benchmark, tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    """The benchmark with each fortieth question alone."""
    folder = tmp_path_factory.mktemp("few")
    file = tables.jsonl(folder / "tasks.jsonl", *rows(beside("recorded", "mmlu-pro", "tasks.jsonl.gz"))[::40])
    content = TEST.convert(file) if TEST.convert else b""
    test = dataclasses.replace(TEST, sha256=hashlib.sha256(content).hexdigest(), name="few.jsonl")
    chosen = benchmark_of("mmlu-pro-0-shot", 0, test)
    take(chosen.name, chosen.data, file)
    return chosen


def part(few: Benchmark, model: str, to: Path) -> list[dict[str, object]]:
    """A model's recorded rows of these questions, written to a file, too."""
    ids = {task.id for task in few.environment.tasks()}
    kept = [row for row in rows(beside("recorded", "mmlu-pro", f"{model}.jsonl.gz")) if row["task"] in ids]
    tables.jsonl(to, *kept)
    return kept


def test_the_questions_are_the_recorded_ones_in_the_order_of_their_ids(mmlu: Benchmark):
    tasks = list(mmlu.environment.tasks())
    theirs = {str(row["question_id"]): row for row in rows(beside("recorded", "mmlu-pro", "tasks.jsonl.gz"))}
    assert len(tasks) == 12_032 and [int(task.id) for task in tasks] == sorted(map(int, theirs))
    for task in tasks:
        row = theirs[task.id]
        assert (task.gold, task.data["options"], task.tags["category"]) == (
            row["answer"],
            row["options"],
            row["category"],
        )
    assert len({task.tags["category"] for task in tasks}) == 14


def test_the_prompt_of_five_examples_is_the_originals_to_the_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With examples made for this test: those of the set are not on every machine."""

    def example(subject: str, number: int) -> dict[str, object]:
        thought = f"{'A: ' * (number % 2)}Let's think step by step. It is {number}. The answer is (B)."
        return {
            "question_id": number,
            "question": f"What is {number}?",
            "options": ["N/A", f"not {number}", f"{number}"],
            "answer": "B",
            "answer_index": 1,
            "cot_content": thought,
            "category": subject,
            "src": "made",
        }

    monkeypatch.setenv("ASSAY_DATA", str(tmp_path / "data"))
    shown = [example(subject, number) for number in range(7) for subject in ("law", "business")]
    file = tables.parquet(tmp_path / "validation.parquet", *shown)
    row = {"question_id": 82, "question": "What is it?", "options": [" A", "B", "N/A"], "answer": "A", "src": "made"}
    asked = tables.jsonl(tmp_path / "test.jsonl.gz", row | {"category": "business"})
    digests = [hashlib.sha256(content).hexdigest() for content in (TEST.convert(asked), file.read_bytes())]  # type: ignore
    test = dataclasses.replace(TEST, sha256=digests[0])
    five = benchmark_of("mmlu-pro", 5, test, Source("https://example.org/validation.parquet", digests[1], None))
    take(five.name, five.data, asked)
    with pytest.raises(UsageError, match=r"assay prepare mmlu-pro\n.*mmlu-pro-0-shot"):
        list(five.environment.tasks())
    take(five.name, five.data, file)
    [task] = five.environment.tasks()
    begun = (
        "The following are multiple choice questions (with answers) about business. Think step by step and then output "
        'the answer in the format of "The answer is (X)" at the end.\n\n'
    )
    worked = "".join(
        f"Question: What is {number}?\nOptions: A. not {number}\nB. {number}\n"
        f"Answer: Let's think step by step. It is {number}. The answer is (B).\n\n"
        for number in range(5)
    )
    ending = "Question: What is it?\nOptions: A.  A\nB. B\nAnswer: Let's think step by step.\n\n"
    assert task.input[0].text == begun + worked + ending  # type: ignore[union-attr]


def test_questions_are_the_same_from_parquet_and_others_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ASSAY_DATA", str(tmp_path / "data"))
    questions = rows(beside("recorded", "mmlu-pro", "tasks.jsonl.gz"))[:30]
    columns = [row | {"cot_content": ""} for row in questions]
    lines = tables.jsonl(tmp_path / "test.jsonl", *reversed(questions))
    parquet = tables.parquet(tmp_path / "test.parquet", *columns)
    assert TEST.convert and TEST.convert(lines) == TEST.convert(parquet)
    for file, said in (
        (parquet, "is not the data"),
        (tables.jsonl(tmp_path / "a.jsonl", {"a": 1}), "has no questions"),
    ):
        with pytest.raises(UsageError, match=said):
            take("mmlu-pro-0-shot", [TEST], file)


@pytest.mark.parametrize("model", MODELS)
def test_judgements_agree_where_the_original_makes_one(few: Benchmark, model: str, tmp_path: Path):
    part(few, model, tmp_path / "some.jsonl")
    found = asyncio.run(compare(few, read(tmp_path / "some.jsonl")))
    rung = {rung.name: rung for rung in found.ladder}["verifiers"]
    assert (rung.verdict, rung.numbers["disagree"], rung.numbers["failed"]) == ("identical", 0, 0), rung.reason


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.timeout(600)
def test_every_judgement_agrees_and_the_command_says_what_guesses_add(mmlu: Benchmark, model: str, tmp_path: Path):
    file = beside("recorded", "mmlu-pro", f"{model}.jsonl.gz")
    expected = MODELS[model]
    command = ["parity", mmlu.name, "--reference", str(file)]
    code, out, err = assay(*command, cwd=tmp_path, timeout=590, ASSAY_DATA=os.environ["ASSAY_DATA"])
    assert code == (0 if model.startswith("Meta") else 5), err  # 12 of Gemini's rows are missing
    stored = json.loads(next(tmp_path.glob("parity/*/parity.json")).read_text())
    rung = next(rung for rung in stored["ladder"] if rung["name"] == "verifiers")
    numbers = rung["numbers"]
    assert rung["verdict"] == "identical"
    assert {name: numbers[name] for name in ("agree", "guessed", "otherwise")} == {
        name: expected[name] for name in ("agree", "guessed", "otherwise")
    }
    assert "left out (the original guesses there)" in " ".join(out.split())
    stated = published_scores(mmlu) and published_scores(load("mmlu-pro"))
    assert stated and {score.model: score.score for score in stated.scores}[str(expected["published"])] == (
        f"{100 * stored['reference']['score']:.2f}"
    )
    assert f"{100 * numbers['guesses_add']:.2f}" == ("0.61" if model.startswith("Meta") else "0.00")


def test_too_many_guesses_are_never_identical(few: Benchmark, tmp_path: Path):
    file = tmp_path / "some.jsonl"
    kept = part(few, "gemini-1.5-pro-002", file)
    tables.jsonl(file, *({**row, "output": "", "score": 0} for row in kept[:40]), *kept[40:])
    for most, verdict in ((0.06, "inconclusive"), (0.3, "identical")):
        found = asyncio.run(compare(dataclasses.replace(few, most_left_out=most), read(file)))
        rung = {rung.name: rung for rung in found.ladder}["verifiers"]
        assert rung.verdict == verdict and "left out (the original guesses there)" in rung.reason


@pytest.mark.parametrize(
    ("text", "read_as", "here"),
    [
        ("So it is C. The answer is (C).", "C", "C"),
        ("The answer is B", "B", "B"),
        ("The answer is (A).\n\nThe answer is (C).", "A", "C"),  # it worked the example out again
        ("Answer: B and, again, answer: D\nanswer: C", "D", "C"),
        ("Answer:\n\nB", "B", "B"),
        ("It has to be D or, rather, B.", "B", None),
        ("**C**", "C", "C"),
        ("The answer is (None of these).", None, None),
        ("The answer is (B) or (I).", "B", None),
        ("", None, None),
    ],
)
def test_the_original_takes_the_first_answer_and_the_verifier_the_last(
    mmlu: Benchmark, text: str, read_as: str | None, here: str | None
):
    options = [f"option {number}" for number in range(10)]
    for gold in "ABCD":
        task = Task(id="t", input=[], gold=gold, data={"options": options})
        theirs = original(task, said(text), {})
        assert (theirs and theirs.answer) == read_as and (theirs and theirs.reward) == (
            None if read_as is None else float(read_as == gold)
        )
        assert mmlu.environment.verify(task, said(text)).reward == float(here == gold)


def test_long_texts_are_judged_in_linear_time():
    task = Task(id="t", input=[], gold="A")
    assert original(task, said("the answer is " * 20_000), {}) is None
    assert original(task, said("answer: " * 40_000), {}) is None


def test_the_gates_of_the_verifier_pass(few: Benchmark):
    tasks = list(few.environment.tasks())[::5]
    assert [asyncio.run(gate(few, tasks)).verdict for gate in (gold_gate, verifier_gate)] == ["pass", "pass"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_checks_pass(mmlu: Benchmark):
    found = asyncio.run(check(mmlu.name))
    assert {one.name: one.reason for one in found.checks if one.verdict == "fail"} == {}
