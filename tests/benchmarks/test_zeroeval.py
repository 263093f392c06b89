"""math-l5, cruxeval and gsm8k-zeroeval, on real models' recorded outputs with the original's judgement of each."""

import asyncio
import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from assay.benchmark import Benchmark, score_of
from assay.benchmark.catalog import load
from assay.benchmarks import zeroeval
from assay.fidelity.check.check import check
from assay.fidelity.gates.tasks import tasks_gate
from assay.fidelity.original.parity import compare
from assay.fidelity.original.published import published_scores
from assay.fidelity.original.reference import read
from assay.types import Message, Response, Score, Task, Text
from tests.benchmarks.data import beside, data_file, prepare, rows

MODELS = {
    "math-l5": {
        "Meta-Llama-3.1-70B-Instruct": 6,
        "Meta-Llama-3.1-8B-Instruct": 3,
        "Qwen2.5-72B-Instruct": 4,
        "Qwen2.5-7B-Instruct": 3,
        "claude-3-5-sonnet-20241022": 2,
        "gpt-4o-2024-08-06": 2,
        "gpt-4o-mini-2024-07-18": 2,
        "o1-mini-2024-09-12": 3,
    },
    "cruxeval": {
        "Meta-Llama-3.1-8B-Instruct": 12,
        "Qwen2.5-72B-Instruct": 10,
        "claude-3-5-sonnet-20241022": 13,
        "gpt-4o-2024-08-06": 5,
        "o1-mini-2024-09-12": 16,
    },
    "gsm8k-zeroeval": {
        "Meta-Llama-3.1-70B-Instruct": 1,
        "Qwen2-7B-Instruct": 0,
        "claude-3-5-sonnet-20241022": 0,
        "gemma-2-2b-it": 16,
        "gpt-4o-2024-08-06": 0,
        "gpt-4o-mini-2024-07-18": 0,
    },
}
"""How many outputs of each model the benchmark's own verifier judges otherwise."""
FOLDERS = {"math-l5": "math-l5", "cruxeval": "crux", "gsm8k-zeroeval": "gsm"}


@pytest.fixture(scope="module", params=list(MODELS))
def benchmark(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("data")
    yield from prepare(load(request.param), data_file(request.param, folder), folder)


def recorded(benchmark: Benchmark, model: str) -> Path:
    return beside("recorded", "zeroeval", FOLDERS[benchmark.name], f"{model}.jsonl.gz")


def said(text: str) -> Response:
    return Response(output=[Message(role="assistant", content=[Text(text=text)])])


def reward(benchmark: Benchmark, task: Task, text: str) -> float:
    return asyncio.run(score_of(benchmark.environment, task, said(text))).reward


def test_tasks_and_prompts_are_the_originals_to_the_byte(benchmark: Benchmark):
    tasks = list(benchmark.environment.tasks())
    originals = rows(beside("recorded", "zeroeval", FOLDERS[benchmark.name], "tasks.jsonl.gz"))
    assert [(task.id, task.input[0].text, task.gold) for task in tasks] == [
        (str(row["task"]), row["prompt"], row["gold"].removeprefix("# ")) for row in originals
    ]


@pytest.mark.heavy
@pytest.mark.parametrize(
    "benchmark",
    ["cruxeval", "gsm8k-zeroeval", pytest.param("math-l5", marks=pytest.mark.slow)],
    indirect=True,
    scope="module",
)
def test_every_recorded_judgement_agrees_and_every_published_score_comes_out(benchmark: Benchmark):
    stated = published_scores(benchmark)
    assert stated and [score.model for score in stated.scores] and len(stated.scores) == len(MODELS[benchmark.name])
    for score in stated.scores:
        settings = {"box_fallback": score.settings.get("box_fallback", False)}
        reference = read(recorded(benchmark, score.model), settings=settings)
        found = asyncio.run(compare(benchmark, reference))
        rungs = {rung.name: rung for rung in found.ladder}
        numbers = rungs["verifiers"].numbers
        assert found.verdict == rungs["data"].verdict == "identical", found.reason
        assert (numbers["agree"], numbers["failed"]) == (len(reference.rows), 0)
        assert f"{100 * reference.record.score:.2f}" == score.score
        assert (score.model, numbers["otherwise"]) == (score.model, MODELS[benchmark.name][score.model])


@pytest.mark.heavy
def test_the_checks_pass(benchmark: Benchmark):
    found = asyncio.run(check(benchmark.name))
    assert {one.name: one.reason for one in found.checks if one.verdict == "fail"} == {}
    gate = asyncio.run(tasks_gate(benchmark, list(benchmark.environment.tasks())))
    assert gate.verdict == "pass", gate.reason


def test_the_card_names_the_first_row(benchmark: Benchmark):
    task = next(iter(benchmark.environment.tasks()))
    text = (benchmark.folder / "README.md").read_text() if benchmark.folder else ""
    assert f"`{task.id}` to" in text and "licence" in text
    if benchmark.name != "gsm8k-zeroeval":
        stated = tomllib.loads((benchmark.folder / "published.toml").read_text())  # type: ignore
        assert stated["origin"]["commit"] in benchmark.data[0].url


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"reasoning": "x", "answer": "42"}', "42"),
        ('```json\n{"reasoning": "a\nb", "answer": 42}\n```', "42"),
        ('{"reasoning": "\\sqrt{2}", "answer": "\\sqrt{2}"}', "\\sqrt{2}"),
        ('{"reasoning": "it isn\\\'t", "answer": "\\"3Leap\\""}', '"3Leap"'),
        ('{"reasoning": "first", "answer": "1"} No: {"reasoning": "again", "answer": "2"}', "2"),
        ('{"answer": [1, true, null]}', "[1, True, None]"),
        ("It is 42.", "It is 42."),
        ('{"reasoning": "cut short', None),
        ('{"reasoning": "cut short, \\boxed{7}', "7"),
        ("", None),
        (" \n", None),
        ("{" * 100_000, "{" * 100_000),
    ],
)
def test_an_answer_is_the_last_field(text: str, expected: str | None):
    assert zeroeval.answer(text) == expected


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("$1,024", 1024),
        ("3/4", 0.75),
        ("(1 + 2)/3", 1.0),
        ("339024 + 1/12", 339024 + 1 / 12),
        ("x = -5", -5),
        ("2^10 = 1024", 2),
        ("1/0", 1),
        ("__import__('os').system('exit 3')/1", 3),
        ("9**9**9**9/1", 9),
        ("none", None),
    ],
)
def test_the_originals_number_is_read_without_running_anything(text: str, number: float | None):
    assert zeroeval.original_number(text) == number


@pytest.mark.parametrize("benchmark", ["cruxeval"], indirect=True)
def test_literals_are_compared_by_value_and_type(benchmark: Benchmark):
    def score(gold: str, answer: str) -> float:
        return benchmark.environment.verify(Task(id="t", input=[], gold=gold), said(f'{{"answer": {answer}}}')).reward

    right = [
        ("[1, 2]", '"[1,2]"'),
        ("{'a': 1, 'b': 2}", "\"{'b': 2, 'a': 1}\""),
        ("'hi'", '"hi"'),
        ("'hi'", "\"'hi'\""),
    ]
    right += [("''", '""'), ("'a\\nb'", '"a\\nb"'), ("8.5", '"8.50"'), ("'12'", '"12"'), ("(1,)", '"(1, )"')]
    wrong = [
        ("True", '"1"'),
        ("(1,)", '"[1]"'),
        ("1", "\"'1'\""),
        ("'hi'", '"Hi"'),
        ("[1, 2]", '"[2, 1]"'),
        ("1", '""'),
    ]
    assert [score(*pair) for pair in right] == [1.0] * len(right)
    assert [score(*pair) for pair in wrong] == [0.0] * len(wrong)


@pytest.mark.parametrize("benchmark", ["math-l5"], indirect=True)
def test_more_numbers_than_the_gold_one_are_wrong_here_and_right_in_the_original(benchmark: Benchmark):
    task = next(task for task in benchmark.environment.tasks() if task.id == "184")
    assert task.gold == "-4"
    text = '{"reasoning": "", "answer": "-4, 1"}'
    assert reward(benchmark, task, '{"reasoning": "", "answer": "-\\frac{8}{2}"}') == 1.0
    assert (reward(benchmark, task, text), zeroeval.original(task, said(text), {}).reward) == (0.0, 1.0)


@pytest.mark.parametrize("benchmark", ["cruxeval"], indirect=True)
def test_an_error_in_the_originals_judgement_is_a_failure_of_the_verifier(benchmark: Benchmark):
    def broken(task: Task, response: Response, settings: Mapping[str, Any]) -> Score:
        raise KeyError(task.id)

    reference = read(recorded(benchmark, "gpt-4o-2024-08-06"))
    found = asyncio.run(compare(dataclasses.replace(benchmark, original=broken), reference))
    numbers = {rung.name: rung for rung in found.ladder}["verifiers"].numbers
    assert (found.verdict, numbers["agree"], numbers["failed"]) == ("different", 0, 800)
