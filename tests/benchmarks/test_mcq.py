import asyncio
import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.benchmark.catalog import load
from assay.benchmarks.mcq.benchmark import BENCHMARK, MultipleChoice
from assay.benchmarks.mcq.rows import Question, read
from assay.collect.run import tasks_of
from assay.errors import InputError, UsageError
from assay.fidelity.check.tasks import task_check
from assay.fidelity.gates.gold import gold_gate
from assay.fidelity.gates.verifier import verifier_gate
from assay.types import Message

MMLU_PRO = {
    "question_id": 70,
    "question": "Which is the largest?",
    "options": ["one", "two", "three", "N/A"],
    "answer": "C",
    "answer_index": 2,
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


def jsonl(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def table(path: Path, *rows: dict[str, Any]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_both_forms_are_read_from_both_kinds_of_file(tmp_path: Path):
    pro = Question(
        id="70", text="Which is the largest?", options=["one", "two", "three"], right=2, tags={"category": "math"}
    )
    gpqa = Question(
        id="rec1",
        text="Which is the smallest?",
        options=["one", "two", "three", "four"],
        right=0,
        ordered=False,
        tags={"category": "Physics", "subdomain": "Optics"},
    )
    cells = MMLU_PRO | {"options": json.dumps(MMLU_PRO["options"])}
    assert read(jsonl(tmp_path / "a.jsonl", MMLU_PRO, GPQA)) == [pro, gpqa]
    assert read(table(tmp_path / "b.csv", GPQA)) == [gpqa]
    assert read(table(tmp_path / "c.csv", cells)) == [pro]
    marked = (tmp_path / "b.csv").read_bytes()
    (tmp_path / "d.CSV").write_bytes(b"\xef\xbb\xbf" + marked)  # as Excel writes it
    assert read(tmp_path / "d.CSV") == [gpqa]


def without(row: dict[str, Any], *names: str, **changed: Any) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names} | changed


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({}, "a row with nothing"),
        ({"text": "hm"}, "a row with text"),
        ([1, 2], "Expected `object`"),
        (without(MMLU_PRO, "question"), "where a text should be"),
        (without(MMLU_PRO, question="  "), "question of 0 characters"),
        (without(MMLU_PRO, "answer", "answer_index"), "no answer to 4 options"),
        (without(MMLU_PRO, answer="A"), "'answer': 'A', 'answer_index': 2"),
        (without(MMLU_PRO, "answer_index", answer="E"), "'answer': 'E'"),
        (without(MMLU_PRO, "answer_index", answer=""), "'answer': ''"),
        (without(MMLU_PRO, "answer_index", answer="AB"), "'answer': 'AB'"),
        (without(MMLU_PRO, "answer", answer_index=-1), "'answer_index': -1"),
        (without(MMLU_PRO, "answer", answer_index=None), "None"),
        (without(MMLU_PRO, "answer", answer_index=4), "'answer_index': 4"),
        (without(MMLU_PRO, options="one, two"), "malformed"),
        (without(MMLU_PRO, options={"A": "one"}), "options {'A': 'one'}"),
        (without(MMLU_PRO, options=["one", 2, "three"]), "2 where a text should be"),
        (without(MMLU_PRO, options=["N/A", "N/A", "one"]), "1 options"),
        (without(MMLU_PRO, options=[str(n) for n in range(30)]), "30 options"),
        (without(GPQA, "Question"), "where a text should be"),
        (without(GPQA, "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3"), "1 options"),
    ],
)
def test_a_row_that_is_no_question_is_told_with_its_line(tmp_path: Path, row: Any, said: str):
    path = jsonl(tmp_path / "q.jsonl", MMLU_PRO, row)
    with pytest.raises(InputError) as error:
        read(path)
    assert f"{path}, line 2" in str(error.value) and said in str(error.value)


def test_files_that_are_none_are_told(tmp_path: Path):
    for name, content, said in [
        ("x.txt", b"", r"ends in \.jsonl or \.csv"),
        ("none.jsonl", None, "No such file"),
        ("empty.jsonl", b"\n\n", "no rows"),
        ("latin.csv", "Question,Correct Answer\nÄ,b\n".encode("latin-1"), "UTF-8"),
        ("torn.jsonl", b'{"question": "a', "line 1"),
        ("short.csv", b"Question,Correct Answer,Incorrect Answer 1\na,b\n", "another number of cells"),
        ("long.csv", b"Question,Correct Answer\na,b,c\n", "another number of cells"),
        ("quote.csv", b'Question,Correct Answer\n"a,b', "unexpected end"),
    ]:
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(UsageError, match=said):
            read(tmp_path / name)


def test_a_file_is_a_benchmark_by_its_path(tmp_path: Path):
    path = jsonl(tmp_path / "two.jsonl", MMLU_PRO, GPQA)
    found = load(f"mcq:{path}")
    assert (found.name, found.version) == ("mcq-two", "2")
    assert found.chance == pytest.approx((1 / 3 + 1 / 4) / 2)
    tasks = list(found.environment.tasks())
    assert [(task.id, task.tags["category"]) for task in tasks] == [("70", "math"), ("rec1", "Physics")]
    for task, right in zip(tasks, ("three", "one"), strict=True):
        shown = dict(line.split(") ") for line in task.input[0].content.split("\n\n")[1].split("\n"))  # type: ignore
        assert list(shown.values()) == task.data["options"]
        assert shown[task.gold] == right


def test_the_order_is_the_files_or_a_seeds(tmp_path: Path):
    path = jsonl(tmp_path / "q.jsonl", *(MMLU_PRO | {"question_id": number} for number in range(50)))

    def orders(asked: str) -> list[list[int]]:
        return [task.data["order"] for task in load(f"mcq:{path}{asked}").environment.tasks()]

    assert orders("") == orders(",order=0") != orders(",order=1")
    assert orders(",order=file") == [[0, 1, 2]] * 50
    assert load(f"mcq:{path},order=1").version != load(f"mcq:{path}").version != load(f"mcq:{path},order=file").version
    for asked in (",order=x", ",order=-1", ",order=1.5"):
        with pytest.raises(UsageError, match="expected a seed"):
            load(f"mcq:{path}{asked}")


def test_a_part_of_a_file_asks_the_same(tmp_path: Path):
    whole = MultipleChoice("q", read(jsonl(tmp_path / "a.jsonl", MMLU_PRO, GPQA)))
    part = MultipleChoice("q", read(jsonl(tmp_path / "b.jsonl", GPQA)))
    assert list(part.tasks()) == list(whole.tasks())[1:]


def test_the_right_option_is_equally_likely_in_every_place():
    questions = [Question(id=str(n), text="?", options=["a", "b", "c", "d"], right=n % 4) for n in range(4000)]
    golds = Counter(task.gold for task in MultipleChoice("q", questions).tasks())
    # Chi-squared with 3 degrees of freedom is above 16.27 once in a thousand; the draw is fixed.
    assert sum((golds[letter] - 1000) ** 2 / 1000 for letter in "ABCD") < 16.27
    orders = Counter(tuple(task.data["order"]) for task in MultipleChoice("q", questions).tasks())
    assert len(orders) == 24


@given(
    st.lists(
        st.tuples(st.lists(st.text(min_size=1), min_size=2, max_size=26), st.integers(0, 25), st.integers(0, 9)),
        min_size=1,
        max_size=5,
    )
)
def test_letters_follow_the_options_wherever_they_go(drawn: list[tuple[list[str], int, int]]):
    questions = [
        Question(id=str(number), text="?", options=options, right=right % len(options))
        for number, (options, right, _) in enumerate(drawn)
    ]
    for question, task in zip(questions, MultipleChoice("q", questions, drawn[0][2]).tasks(), strict=True):
        assert sorted(task.data["order"]) == list(range(len(question.options)))
        assert [question.options[place] for place in task.data["order"]] == task.data["options"]
        place = "ABCDEFGHIJKLMNOPQRSTUVWXYZ".index(task.gold or "")
        assert task.data["order"][place] == question.right


def test_the_example_passes_the_gates_and_stands_in_the_docstring():
    tasks = tasks_of(BENCHMARK)
    assert asyncio.run(gold_gate(BENCHMARK, tasks)).verdict == "pass"
    gate = asyncio.run(verifier_gate(BENCHMARK, tasks))
    assert gate.verdict == "pass", gate.reason
    assert isinstance(tasks[0].input[0], Message)
    assert "Which planet is nearest to the sun?" in str(tasks[0].input[0].content)


def test_a_benchmark_that_is_made_of_no_file_says_so():
    with pytest.raises(UsageError, match="arithmetic is made of no file"):
        load("arithmetic:x.jsonl")


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


@pytest.mark.parametrize("option", NAMING)
def test_a_row_with_an_option_that_names_others_keeps_its_order_and_check_counts_it(option: str):
    questions = [
        Question(id=str(n), text="Which?", options=["one", "two", "three", option if n < 3 else "four"], right=3)
        for n in range(40)
    ]
    environment = MultipleChoice("some", questions)
    orders = [task.data["order"] for task in environment.tasks()]
    assert orders[:3] == [[0, 1, 2, 3]] * 3
    assert len({str(order) for order in orders[3:]}) > 10
    found = task_check(list(environment.tasks()), environment.remark)
    assert "3 are not shuffled, for an option names others" in found.reason
    assert MultipleChoice("some", questions, order=None).remark == ""


@pytest.mark.parametrize("option", FREE)
def test_what_names_no_other_option_is_shuffled(option: str):
    assert Question(id="1", text="Which?", options=["one", option], right=0).naming == []


def test_where_the_file_has_no_order_such_an_option_comes_last(tmp_path: Path):
    rows = [{**GPQA, "Record ID": f"r{n}", "Correct Answer": "None of the above"} for n in range(20)]
    for task in MultipleChoice("some", read(table(tmp_path / "gpqa.csv", *rows))).tasks():
        assert task.data["options"][-1] == "None of the above" and task.gold == "D"
