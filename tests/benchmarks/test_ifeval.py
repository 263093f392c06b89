"""ifeval, on the recorded outputs of seven models with the original code's judgement of each instruction."""

import asyncio
import sys
from typing import Any

import pytest

from assay.benchmark import Benchmark
from assay.benchmark.catalog import load
from assay.benchmarks.ifeval import instructions
from assay.benchmarks.ifeval.instructions import RULES, follows, follows_loosely
from assay.errors import UsageError
from assay.fidelity.check.check import check
from assay.fidelity.gates.gold import gold_gate
from assay.fidelity.gates.verifier import verifier_gate
from assay.fidelity.original.parity import compare
from assay.fidelity.original.published import published_scores
from assay.fidelity.original.reference import read
from assay.types import Message, Response, Text
from tests.benchmarks.data import DATA, beside, data_file, prepare, rows

MODELS = sorted(
    path.name for path in (DATA / "recorded" / "ifeval").glob("*.jsonl.gz") if path.name != "tasks.jsonl.gz"
)


@pytest.fixture(scope="module")
def ifeval(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("data")
    yield from prepare(load("ifeval"), data_file("ifeval", folder), folder)


def test_541_prompts_and_25_kinds_of_instruction(ifeval: Benchmark):
    tasks = list(ifeval.environment.tasks())
    kinds = [kind for task in tasks for kind in task.data["instructions"]]
    assert (len(tasks), len(kinds), set(kinds)) == (541, 834, set(RULES))


@pytest.mark.heavy
@pytest.mark.parametrize(
    # The suite reads the outputs of a weak model and of a strong one.
    "model",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (not name.startswith(("Qwen__Qwen2.5-7B", "o1"))))
        for name in MODELS
    ],
)
def test_every_judgement_that_can_be_compared_agrees(ifeval: Benchmark, model: str):
    path = beside("recorded", "ifeval", model)
    tasks = {task.id: task for task in ifeval.environment.tasks()}
    for row in rows(path):
        task = tasks[str(row["task"])]
        if task.id in ifeval.incomparable:
            continue
        for at, (kind, arguments) in enumerate(zip(task.data["instructions"], task.data["arguments"], strict=True)):
            text = row["output"] or ""
            got = follows(text, kind, arguments), follows_loosely(text, kind, arguments)
            assert got == (row["strict"][at], row["loose"][at]), (task.id, kind)
    reference = read(path)
    found = asyncio.run(compare(ifeval, reference))
    numbers = {rung.name: rung for rung in found.ladder}["verifiers"].numbers
    assert (found.verdict, numbers["disagree"], numbers["failed"]) == ("identical", 0, 0), found.reason
    assert numbers["left_out"] == (4 if model.startswith("gpt-4-") else 5)
    stated = published_scores(ifeval)
    assert stated
    name = model.removesuffix(".jsonl.gz").rpartition("__")[2]
    assert {score.model: score.score for score in stated.scores}[name] == f"{100 * reference.record.score:.2f}"


def test_the_score_has_the_papers_four_numbers(ifeval: Benchmark):
    task = next(task for task in ifeval.environment.tasks() if task.id == "1107")  # two jokes, no comma
    answers = ["Sure:\nOne.\n******\nTwo.", "One, two.\n******\nThree.", "Sure:\nOne.\n***\n***\nTwo.", ""]
    scores = [
        ifeval.environment.verify(task, Response(output=[Message(role="assistant", content=[Text(text=text)])]))
        for text in answers
    ]
    assert [score.reward for score in scores] == [1.0, 0.0, 0.0, 0.0]
    assert [score.metrics["instructions"] for score in scores] == [1.0, 0.5, 0.5, 0.0]
    assert scores[1].answer == "misses punctuation:no_comma"
    assert (scores[0].answer, scores[3].answer) == ("follows all", None)  # so that full marks count as an answer


@pytest.mark.parametrize(
    ("kind", "arguments", "right", "wrong"),
    [
        ("punctuation:no_comma", {}, "a b", "a, b"),
        ("length_constraints:number_words", {"relation": "less than", "num_words": 3}, "one two", "one two three"),
        ("length_constraints:number_sentences", {"relation": "at least", "num_sentences": 2}, "A b. C d.", "Dr. A b."),
        ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n***\nb", "a\n***\n***\nb"),
        ("keywords:letter_frequency", {"let_relation": "at least", "letter": "#", "let_frequency": 1}, "#a", "a"),
        ("detectable_format:json_format", {}, "```json\n[1]\n```", "[" * 100_000),
        ("startend:quotation", {}, '"a"', '"'),
        ("detectable_format:title", {}, "<<a>>", "<< >>"),
        ("combination:two_responses", {}, "a******b", "a******a"),
        ("change_case:english_lowercase", {}, "this is a plain english sentence", "This is one too"),
    ],
)
def test_a_rule(kind: str, arguments: dict[str, Any], right: str, wrong: str):
    assert (follows(right, kind, arguments), follows(wrong, kind, arguments)) == (True, False)


@pytest.mark.heavy
def test_the_checks_pass(ifeval: Benchmark):
    found = asyncio.run(check("ifeval"))
    assert {one.name: one.reason for one in found.checks if one.verdict == "fail"} == {}


def test_without_its_packages_it_tells_the_command(monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "langdetect", None)
        instructions._libraries.cache_clear()
        with pytest.raises(UsageError, match=r"pip install 'assay\[ifeval\]'"):
            instructions.ready()
    instructions._libraries.cache_clear()


def said(text: str) -> Response:
    return Response(output=[Message(role="assistant", content=[Text(text=text)])])


IMPOSSIBLE = {"1627", "3369", "3371", "3718", "374"}
"""Prompts to repeat a text that breaks another of their instructions."""


def test_every_prompt_but_five_has_a_reference_and_what_leaves_an_instruction_out_is_wrong(ifeval: Benchmark):
    environment, tasks = ifeval.environment, list(ifeval.environment.tasks())
    solved = {task.id: steps for task in tasks if (steps := environment.solution(task))}
    assert {task.id for task in tasks} - solved.keys() == IMPOSSIBLE
    assert IMPOSSIBLE in [set(defect.tasks) for defect in ifeval.defects]
    wrong = 0
    for task in tasks[::5]:
        if task.id in solved:
            assert environment.verify(task, said(str(solved[task.id][0]))).reward == 1, task.id
        for text in environment.wrong(task):
            wrong += 1
            assert environment.verify(task, said(str(text))).reward == 0, (task.id, text)
    assert wrong > 20


def test_the_gates_of_the_benchmark_pass_on_some_of_its_prompts(ifeval: Benchmark):
    tasks = list(ifeval.environment.tasks())[::9]
    gold, verifier = asyncio.run(gold_gate(ifeval, tasks)), asyncio.run(verifier_gate(ifeval, tasks))
    assert (gold.verdict, verifier.verdict) == ("pass", "pass"), gold.reason + verifier.reason
