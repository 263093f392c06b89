import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.benchmark import Benchmark
from assay.benchmark.catalog import load
from assay.collect.run import tasks_of
from assay.errors import InputError, UsageError
from assay.fidelity.gates.gold import gold_gate
from assay.fidelity.gates.verifier import verifier_gate
from assay.fidelity.tasks.checks import task_check
from assay.types import Task
from tests.benchmarks.tables import jsonl, table

MMLU_PRO = {
    "question_id": 70,
    "question": "Which is the largest?",
    "options": ["one", "two", "three", "N/A"],
    "answer": "C",
    "category": "math",
    "src": "ours",
}
GPQA = {
    "Record ID": "rec1",
    "Question": "Which is the smallest?\n",
    "Correct Answer": "one\n",
    "Incorrect Answer 1": "two",
    "Incorrect Answer 2": "three",
    "Incorrect Answer 3": "four",
    "High-level domain": "Physics",
    "Subdomain": "Optics",
    "Explanation": "…",
}
ARC = {"question": "Which?", "choices": {"text": ["one", "two"], "label": ["1", "2"]}, "answerKey": "2"}
LETTERED = {"question": "Which?", "options": {"A": "one", "B": "two", "C": "three"}, "answer": "B"}


def right(task: Task) -> str:
    return task.data["options"]["ABCDEFGHIJKLMNOPQRSTUVWXYZ".index(task.gold or "")]


def only(benchmark: Benchmark) -> Task:
    [task] = benchmark.environment.tasks()
    return task


@pytest.mark.parametrize(
    ("rows", "stated", "expected"),
    [
        ([MMLU_PRO], "", "three"),
        ([MMLU_PRO | {"options": json.dumps(MMLU_PRO["options"])}], "", "three"),
        ([MMLU_PRO | {"answer": "c"}], "", "three"),
        ([MMLU_PRO | {"answer": "(C)"}], "", "three"),
        ([MMLU_PRO | {"answer": 0}], "", "one"),
        ([MMLU_PRO | {"answer": "three"}], "", "three"),
        ([MMLU_PRO | {"answer": 2}], ",answers=number", "two"),
        ([MMLU_PRO | {"answer": 2}], ",answers=index", "three"),
        ([GPQA], "", "one"),
        ([ARC], "", "two"),
        ([LETTERED], "", "two"),
        ([{"q": "Which?", "a": "one", "b": "two", "k": "B"}], ",problem=q,options=a+b,answer=k", "two"),
        ([{"q": "Which?", "yes": "one", "no": "two"}], ",problem=q,answer=yes,wrong=no", "one"),
    ],
)
def test_the_right_option_is_read_however_a_row_names_it(tmp_path: Path, rows: list[Any], stated: str, expected: str):
    assert right(only(load(f"mcq:{jsonl(tmp_path / 'q.jsonl', *rows)}{stated}"))) == expected


def test_both_forms_are_read_from_both_kinds_of_file(tmp_path: Path):
    pro, gpqa = jsonl(tmp_path / "pro.jsonl", MMLU_PRO), table(tmp_path / "gpqa.csv", GPQA)
    cells = table(tmp_path / "pro.csv", MMLU_PRO | {"options": json.dumps(MMLU_PRO["options"])})
    one, other = only(load(f"mcq:{pro}")), only(load(f"mcq:{gpqa}"))
    assert only(load(f"mcq:{cells}")) == one
    assert (one.id, one.tags) == ("70", {"category": "math"})
    assert (other.id, other.tags) == ("rec1", {"category": "Physics", "subdomain": "Optics"})
    assert sorted(one.data["options"]) == ["one", "three", "two"]
    (tmp_path / "d.CSV").write_bytes(b"\xef\xbb\xbf" + gpqa.read_bytes())  # as Excel writes it
    assert only(load(f"mcq:{tmp_path / 'd.CSV'}")) == other


def without(row: dict[str, Any], *names: str, **changed: Any) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names} | changed


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (without(MMLU_PRO, "question"), "the problem (column 'question') is empty"),
        (without(MMLU_PRO, question="  "), "the problem (column 'question') is '  '"),
        (without(MMLU_PRO, "answer"), "the answer (column 'answer') is empty"),
        (without(MMLU_PRO, answer="E"), "is 'E'\n  expected: the letter of one of 4 options"),
        (without(MMLU_PRO, answer="AB"), "is 'AB'"),
        (without(MMLU_PRO, answer=-1), "is '-1'"),
        (without(MMLU_PRO, options="one, two"), "in a CSV file as JSON"),
        (without(MMLU_PRO, options=["one", None, "three"]), "a list of texts"),
        (without(MMLU_PRO, options=["N/A", "N/A", "one"]), "1 options"),
        (without(MMLU_PRO, options=[str(n) for n in range(30)]), "30 options"),
    ],
)
def test_a_row_that_is_no_question_is_shown_with_its_line(tmp_path: Path, row: Any, said: str):
    path = jsonl(tmp_path / "q.jsonl", *(MMLU_PRO | {"question_id": n} for n in range(3)), row)
    with pytest.raises(InputError) as error:
        load(f"mcq:{path}")
    assert f"{path}, line 4" in str(error.value) and said in str(error.value) and "the row: {" in str(error.value)


def test_an_answer_that_may_mean_two_options_has_to_be_explained(tmp_path: Path):
    rows = [{"id": n, "question": f"{n}?", "options": ["a", "b", "c"], "answer": 1 + n % 2} for n in range(9)]
    with pytest.raises(UsageError, match="may be the index or the number of the right option"):
        load(f"mcq:{jsonl(tmp_path / 'q.jsonl', *rows)}")
    # One row settles it: 0 is no number from 1 on.
    settled = load(f"mcq:{jsonl(tmp_path / 'q.jsonl', *rows, rows[0] | {'id': 9, 'answer': 0})}")
    assert [right(task) for task in settled.environment.tasks()][:2] == ["b", "c"]


def test_a_file_is_a_benchmark_by_its_path(tmp_path: Path):
    found = load(
        f"mcq:{jsonl(tmp_path / 'two.jsonl', MMLU_PRO, MMLU_PRO | {'question_id': 71, 'options': ['x', 'y', 'z']})}"
    )
    assert (found.name, found.version) == ("mcq-two", "2")
    assert found.chance == pytest.approx(1 / 3)
    for task in found.environment.tasks():
        shown = dict(line.split(") ") for line in task.input[0].content.split("\n\n")[1].split("\n"))  # type: ignore
        assert list(shown.values()) == task.data["options"]
        assert shown[task.gold] == right(task)


def test_the_order_is_the_files_or_a_seeds(tmp_path: Path):
    path = jsonl(tmp_path / "q.jsonl", *(MMLU_PRO | {"question_id": number} for number in range(50)))

    def orders(asked: str) -> list[list[int]]:
        return [task.data["order"] for task in load(f"mcq:{path}{asked}").environment.tasks()]

    assert orders("") == orders(",order=0") != orders(",order=1")
    assert orders(",order=file") == [[0, 1, 2]] * 50
    assert load(f"mcq:{path},order=1").version != load(f"mcq:{path}").version != load(f"mcq:{path},order=file").version
    for asked in (",order=x", ",order=-1", ",order=1.5"):
        with pytest.raises(UsageError, match="expected: order=SEED or order=file"):
            load(f"mcq:{path}{asked}")


def test_a_part_of_a_file_asks_the_same(tmp_path: Path):
    whole = load(f"mcq:{jsonl(tmp_path / 'a.jsonl', MMLU_PRO, MMLU_PRO | {'question_id': 71})}")
    part = load(f"mcq:{jsonl(tmp_path / 'b.jsonl', MMLU_PRO | {'question_id': 71})}")
    assert list(part.environment.tasks()) == list(whole.environment.tasks())[1:]


@pytest.mark.heavy
def test_the_right_option_is_equally_likely_in_every_place(tmp_path: Path):
    rows = [
        {"id": n, "question": f"{n}?", "options": ["a", "b", "c", "d"], "answer": "ABCD"[n % 4]} for n in range(4000)
    ]
    tasks = list(load(f"mcq:{jsonl(tmp_path / 'q.jsonl', *rows)}").environment.tasks())
    golds = Counter(task.gold for task in tasks)
    # Chi-squared with 3 degrees of freedom is above 16.27 once in a thousand; the draw is fixed.
    assert sum((golds[letter] - 1000) ** 2 / 1000 for letter in "ABCD") < 16.27
    assert len(Counter(tuple(task.data["order"]) for task in tasks)) == 24


WORD = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: text.strip() not in ("", "N/A")
)


@given(
    st.lists(st.tuples(st.lists(WORD, min_size=2, max_size=26), st.integers(0, 25)), min_size=1, max_size=5),
    st.integers(0, 9),
)
def test_letters_follow_the_options_wherever_they_go(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[list[str], int]], order: int
):
    rows = [
        {"question": "?", "options": options, "answer": "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[place % len(options)]}
        for options, place in drawn
    ]
    path = jsonl(tmp_path_factory.mktemp("drawn") / "q.jsonl", *rows)
    made = load(f"mcq:{path},answers=letter,order={order}").environment.tasks()
    for (options, place), task in zip(drawn, made, strict=True):
        assert sorted(task.data["order"]) == list(range(len(options)))
        assert [options[at].strip() for at in task.data["order"]] == task.data["options"]
        assert task.data["order"]["ABCDEFGHIJKLMNOPQRSTUVWXYZ".index(task.gold or "")] == place % len(options)


def test_questions_pass_the_gates(tmp_path: Path):
    benchmark = load(f"mcq:{jsonl(tmp_path / 'q.jsonl', MMLU_PRO, MMLU_PRO | {'question_id': 71})}")
    tasks = tasks_of(benchmark)
    assert asyncio.run(gold_gate(benchmark, tasks)).verdict == "pass"
    gate = asyncio.run(verifier_gate(benchmark, tasks))
    assert gate.verdict == "pass", gate.reason


NAMING = [
    "Both A and B",
    "A and C",
    "(A) or (B)",
    "Neither A nor B",
    "A, B and C",
    "None of the above",
    "Option B",
    "all of the above.",
]
FREE = [
    "Vitamin A",
    "Ag",
    "the water above the salt",
    "A cat and a dog",
    "I and II",
    "None of these",
    "Andes",
    "at 0.4 A",
]


def with_option(path: Path, option: str) -> Benchmark:
    rows = [
        {"id": n, "question": f"{n}?", "options": ["one", "two", "three", option if n < 3 else "four"], "answer": "D"}
        for n in range(40)
    ]
    return load(f"mcq:{jsonl(path / 'some.jsonl', *rows)}")


@pytest.mark.parametrize("option", NAMING)
def test_a_row_with_an_option_that_names_others_keeps_its_order_and_check_counts_it(tmp_path: Path, option: str):
    environment = with_option(tmp_path, option).environment
    orders = [task.data["order"] for task in environment.tasks()]
    assert orders[:3] == [[0, 1, 2, 3]] * 3
    assert len({str(order) for order in orders[3:]}) > 10
    found = task_check(list(environment.tasks()), environment.remark)
    assert "3 are not shuffled, for an option names others" in found.reason
    assert load(f"mcq:{tmp_path / 'some.jsonl'},order=file").environment.remark == ""


@pytest.mark.parametrize("option", FREE)
def test_what_names_no_other_option_is_shuffled(tmp_path: Path, option: str):
    assert with_option(tmp_path, option).environment.remark == ""


def test_where_the_file_has_no_order_such_an_option_comes_last(tmp_path: Path):
    rows = [{**GPQA, "Record ID": f"r{n}", "Correct Answer": "None of the above"} for n in range(20)]
    for task in load(f"mcq:{table(tmp_path / 'gpqa.csv', *rows)}").environment.tasks():
        assert task.data["options"][-1] == "None of the above" and task.gold == "D"
