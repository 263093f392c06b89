"""The original code's results, as somebody's files have them: what is read, and what is refused with its line."""

import csv
import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.benchmark.catalog import load
from assay.errors import InputError, UsageError
from assay.fidelity.original.reference import PromptMessage, Row, read, responses_of
from assay.types import FunctionCall, Message, Task
from tests.benchmarks.tables import parquet

TASKS = [
    Task(id=f"t{i}", input=[Message(role="user", content=f"Question {i}: what is it?\nAnswer.")]) for i in range(9)
]


def jsonl(file: Path, *rows: object) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_rows_without_repeats_are_a_tasks_repeats_in_their_order(tmp_path: Path):
    rows = ({"task": "a", "score": 1}, {"task": "b", "score": False}, {"task": "a", "score": 0.25})
    found = read(jsonl(tmp_path / "r.jsonl", *rows), settings={"temperature": 0.7})
    assert found.rows == [Row("a", 0, 1.0), Row("b", 0, 0.0), Row("a", 1, 0.25)]
    record = found.record
    assert (record.rows, record.tasks, record.repeats, record.score) == (3, 2, 2, 0.3125)
    assert record.settings == {"temperature": 0.7}
    assert np.array_equal(found.rewards_TK(["b", "c", "a"]), [[0, np.nan], [np.nan] * 2, [1, 0.25]], equal_nan=True)


def test_columns_are_mapped_into_nested_json(tmp_path: Path):
    row = {"qid": 7, "6b.x": 1, "6b": {"solution": "4 + 4\n#### 8", "ok": True}, "truth": 8, "messages": None}
    columns = {"task": "qid", "score": "6b.ok", "output": "6b.solution", "gold": "truth", "prompt": "messages"}
    assert read(jsonl(tmp_path / "r.jsonl", row), columns).rows == [Row("7", 0, 1.0, "4 + 4\n#### 8", None, "8")]
    assert read(jsonl(tmp_path / "r.jsonl", row), {"task": "qid", "score": "6b.x"}).rows == [Row("7", 0, 1.0)]


def test_prompts_and_outputs_may_be_lists(tmp_path: Path):
    message = {"type": "message", "role": "assistant", "content": "2"}
    row = {"task": "a", "score": 1, "output": ["1", [message]], "prompt": [{"role": "user", "content": "hi"}]}
    found = read(jsonl(tmp_path / "r.jsonl", row)).rows[0]
    assert found.prompt == [PromptMessage("user", "hi")]
    assert found.output == ["1", [Message(role="assistant", content="2")]]


@given(st.lists(st.tuples(st.booleans(), st.text(st.characters(codec="utf-8", exclude_characters="\0"))), min_size=1))
def test_csv_and_jsonl_say_the_same(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[bool, str]]):
    folder = tmp_path_factory.mktemp("r")
    named = [{"task": f"t{i}", "repeat": i, "score": right, "output": text} for i, (right, text) in enumerate(rows)]
    with (folder / "r.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(named[0]))
        writer.writeheader()
        writer.writerows(named)
    jsonl(folder / "r.jsonl", *named)
    (folder / "z.csv.gz").write_bytes(gzip.compress((folder / "r.csv").read_bytes()))
    (folder / "z.jsonl.gz").write_bytes(gzip.compress((folder / "r.jsonl").read_bytes()))
    found = [read(file).rows for file in sorted(folder.iterdir())]
    assert found == [[Row(row["task"], row["repeat"], float(row["score"]), row["output"]) for row in named]] * 4


def test_tasks_without_ids_are_found_by_their_text(tmp_path: Path):
    file = jsonl(tmp_path / "r.jsonl", *({"q": f"Question {i}: what", "score": i % 2} for i in (3, 1, 3)))
    found = read(file, match="q", tasks=TASKS)
    assert [(row.task, row.repeat, row.score) for row in found.rows] == [("t3", 0, 1), ("t1", 0, 1), ("t3", 1, 1)]


def test_a_conversation_is_divided_by_who_said_what(tmp_path: Path):
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "name": "look", "content": "a door"},
        {"role": "assistant", "content": "A door."},
        {"role": "user", "content": "Bye"},
    ]
    (tmp_path / "a.jsonl").write_text(json.dumps({"task": "t", "score": 1, "messages": messages}) + "\n")
    [row] = read(tmp_path / "a.jsonl", {"output": "messages"}).rows
    assert (row.user, row.tools) == (["Hi", "Bye"], ["a door"])
    called, said = responses_of(row)
    assert called.output == [FunctionCall("c1", "look", '{"at": 1}')] and said.text == "A door."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("what is it?", "line 2: 'what is it\\?' is in the prompts of 9 tasks, t0, t1, t2"),
        ("Question 77", "line 2: 'Question 77' is in no prompt"),
        ("Question 0:", "line 2: 'Question 0:' and 'Question 0' are both t0's"),
        ("  ", "line 2: q is '  '"),
        (5, "line 2: q is 5"),
        (None, "line 2: q is missing"),
    ],
)
def test_a_text_has_to_be_one_tasks_alone(tmp_path: Path, text: object, words: str):
    file = jsonl(tmp_path / "r.jsonl", {"q": "Question 0", "score": 1}, {"q": text, "score": 1})
    with pytest.raises(InputError, match=words):
        read(file, match="q", tasks=TASKS)


GOOD = b'{"task": "a", "score": 1}\n'


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("r.jsonl", GOOD + b'{"task": "b"}', "line 2: no column score; it has the columns task"),
        ("r.jsonl", GOOD + b"\n{", "line 3: "),
        ("r.jsonl", GOOD + b"[1]", "line 2: Expected `object`"),
        ("r.jsonl", GOOD + b'{"task": "b", "score": "\xff"}', "line 2: "),
        ("r.jsonl", GOOD + b'{"task": "b", "score": null}', "line 2: the score is missing"),
        ("r.jsonl", GOOD + b'{"task": "b", "score": "good"}', "line 2: the score is 'good'"),
        ("r.jsonl", GOOD + b'{"task": "b", "score": "nan"}', "line 2: the score is 'nan'"),
        ("r.jsonl", GOOD + b'{"task": "b", "score": "1_0"}', "line 2: the score is '1_0'"),
        ("r.jsonl", GOOD + b'{"task": "b", "score": [1]}', "line 2: the score is"),
        ("r.jsonl", GOOD + b'{"task": "", "score": 1}', "line 2: the task is ''"),
        ("r.jsonl", GOOD + b'{"task": null, "score": 1}', "line 2: the task is missing"),
        ("r.jsonl", GOOD + b'{"task": "a", "repeat": 0, "score": 1}', "line 2: a second result of task a, repeat 0"),
        ("r.jsonl", GOOD + b'{"task": "b", "repeat": -1, "score": 1}', "line 2: the repeat is -1"),
        ("r.jsonl", GOOD + b'{"task": "b", "repeat": true, "score": 1}', "line 2: the repeat is True"),
        ("r.jsonl", GOOD + b'{"task": "b", "repeat": 1.5, "score": 1}', "line 2: the repeat is 1.5"),
        ("r.jsonl", GOOD + b'{"task": "b", "score": 1, "output": 7}', "line 2: .*output"),
        ("r.jsonl", GOOD + b'{"task": "b", "score": 1, "prompt": [{"role": "user"}]}', "line 2: .*prompt"),
        ("r.jsonl", b"\n", "no results"),
        ("r.csv", b"", "no results"),
        ("r.csv", b"task,score\na,1\nb\n", "line 3: a row of 1 cells"),
        ("r.csv", b"task,score\na,1\nb,\n", "line 3: the score is ''"),
        ("r.csv", b"task,score,score\na,1,1\n", "line 1: two columns with one name"),
        ("r.csv", b'task,score\na,1\nb,"1\n', "line 3: "),
        ("r.csv", b"task,score\na,\xff\n", "no UTF-8"),
        ("r.jsonl.gz", GOOD, "can't be decompressed"),
        ("r.jsonl.gz", gzip.compress(GOOD, mtime=0)[:-9], "can't be decompressed"),
        ("r.txt", GOOD, "expected a file that ends in .jsonl"),
        ("r.json", b'{"results": [{"task": "a"}]}', r'row 1: no column score(.|\n)*the row: {"task":"a"}'),
    ],
)
def test_a_row_that_cannot_be_read_is_told_with_its_line(tmp_path: Path, name: str, content: bytes, words: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=words) as error:
        read(tmp_path / name)
    assert name in str(error.value)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda file: read(file, {"scores": "s"}), "there is no column of results 'scores'. Did you mean score"),
        (lambda file: read(file, {"output": "solutoin"}), "line 1: no column solutoin"),
        (lambda file: read(file, {"output": "score.x"}), "line 1: no column score.x"),
        (lambda file: read(file, {"task": "id"}, match="q"), "not by both"),
        (lambda file: read(file.with_name("none.jsonl")), "none.jsonl: No such file"),
    ],
)
def test_names_that_are_not_there(tmp_path: Path, call: Callable[[Path], object], words: str):
    with pytest.raises(UsageError, match=words):
        call(jsonl(tmp_path / "r.jsonl", {"task": "a", "score": 1}))


@pytest.mark.heavy
def test_a_hundred_thousand_rows_are_read_in_seconds(tmp_path: Path):
    benchmark = load("arithmetic")
    tasks = list(benchmark.environment.tasks())
    lines = [json.dumps({"q": task.input[0].content, "score": 1}) for task in tasks]  # type: ignore[union-attr]
    (tmp_path / "r.jsonl").write_text("\n".join((lines * (100_000 // len(lines) + 1))[:100_000]))
    found = read(tmp_path / "r.jsonl", match="q", tasks=tasks)
    assert (found.record.rows, found.record.tasks) == (100_000, len(tasks))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("r.json", [{"task": "a", "score": 1}, {"task": "b", "score": 0}]),
        ("r.json", {"a": {"score": 1}, "b": {"score": 0}}),
        ("r.json", {"model": "m", "metrics": {"x": 1}, "results": {"a": {"score": 1}, "b": {"score": 0}}}),
        ("r.json", {"config": {}, "samples": [{"task": "a", "score": 1}, {"task": "b", "score": 0}]}),
    ],
)
def test_nested_json_holds_rows(tmp_path: Path, name: str, content: object):
    (tmp_path / name).write_text(json.dumps(content))
    assert read(tmp_path / name).rows == [Row("a", 0, 1.0), Row("b", 0, 0.0)]


def test_many_files_and_archives_are_one_reference(tmp_path: Path):
    jsonl(tmp_path / "a.jsonl", {"task": "a", "score": 1})
    parquet(tmp_path / "b.parquet", {"task": "b", "score": 0})
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("deep/c.jsonl", '{"task": "c", "score": 1}\n')
        archive.writestr("deep/d.json", '{"task": "d", "score": 0}')
        archive.writestr("README.md", "no rows")
    files = [tmp_path / name for name in ("a.jsonl", "b.parquet", "c.zip")]
    found = read(files)
    assert [(row.task, row.score) for row in found.rows] == [("a", 1), ("b", 0), ("c", 1), ("d", 0)]
    assert found.record.file == "a.jsonl, b.parquet, c.zip" and len(found.record.sha256) == 64


def test_a_text_of_several_tasks_is_matched_by_gold_else_by_order_and_listed(tmp_path: Path):
    said = [Message(role="user", content="Twice?")]
    tasks = [
        *TASKS,
        Task(id="x", input=said, gold="1"),
        Task(id="y", input=said, gold="2"),
        Task(id="z", input=said, gold="2"),
    ]
    rows = [{"q": "Twice?", "g": gold, "score": gold == "1"} for gold in ("2", "2", "1", "2", "2")]
    rows.append({"q": "Question 3", "g": "none", "score": 0})
    found = read(jsonl(tmp_path / "r.jsonl", *rows), {"gold": "g"}, match="q", tasks=tasks)
    assert [(row.task, row.repeat) for row in found.rows] == [
        ("y", 0),
        ("z", 0),
        ("x", 0),
        ("y", 1),
        ("z", 1),
        ("t3", 0),
    ]
    assert "x, y, z have one text, 'Twice?': their rows are matched by" in found.record.remarks[1]


def test_rows_without_known_ids_are_matched_by_the_text_that_is_a_tasks(tmp_path: Path):
    rows = [{"id": i, "doc": {"note": "a note", "q": f"Question {i}: what"}, "output": "x", "score": 1} for i in (4, 2)]
    found = read(jsonl(tmp_path / "r.jsonl", *rows), tasks=TASKS)
    assert [row.task for row in found.rows] == ["t4", "t2"]
    assert found.record.remarks == ["Tasks are found by the text of doc.q."]


def test_prompts_are_messages_whose_content_is_in_parts_or_json_in_a_text(tmp_path: Path):
    parts = [{"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "text", "text": " you"}]}]
    file = jsonl(
        tmp_path / "r.jsonl",
        {"task": "a", "score": 1, "prompt": parts},
        {"task": "b", "score": 1, "prompt": json.dumps([{"role": "user", "content": "hi you"}])},
        {"task": "c", "score": 1, "prompt": "[{no messages}]"},
    )
    assert [row.prompt for row in read(file).rows] == [*[[PromptMessage("user", "hi you")]] * 2, "[{no messages}]"]
