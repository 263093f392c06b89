"""maths:, qa: and code: of files, their settings, and the columns that hold what they need."""

import json
from pathlib import Path
from typing import Any

import pytest

from assay.benchmark import Benchmark
from assay.benchmark.catalog import load
from assay.benchmark.code import score_code
from assay.benchmarks.files.settings import SHIPPED
from assay.errors import InputError, UsageError
from assay.fidelity.check.rehearsal import rehearse
from assay.fidelity.original.published import read as read_published
from assay.model.builtin.function import FunctionModel
from assay.score import Mean
from assay.types import Message, Request, Sampling, Task
from tests.benchmarks.tables import jsonl, parquet, table
from tests.commands import assay

PROBLEMS = [
    {"id": "I-1", "problem": "Find $1 + 1$.", "answer": 2, "subject": "algebra", "level": 1},
    {"id": "I-2", "problem": "Find a half.", "answer": "\\frac{1}{2}", "subject": "number", "level": 5},
    {"id": "I-3", "problem": "Solve $x^2 = 4$.", "answer": ["2", "-2"], "subject": "algebra", "level": 5},
]
QUESTIONS = [
    {"question": "Who wrote The Trial?", "answer": ["Franz Kafka", "Kafka"]},
    {"question": "What is the capital of France?", "answer": ["Paris"]},
]
MBPP = {
    "task_id": 7,
    "text": "Write a function that adds two numbers.",
    "code": "def once(a):\n    return a\n\ndef add(a, b):\n    return once(a) + b",
    "test_list": ["assert add(1, 2) == 3", "assert add(-1, 1) == 0"],
    "test_setup_code": "import math",
}
HUMANEVAL = {
    "task_id": "HumanEval/x",
    "prompt": 'from math import sqrt\n\ndef add(a, b):\n    """Add two numbers."""\n',
    "canonical_solution": "    return a + b\n",
    "test": "def check(candidate):\n    assert candidate(1, 2) == 3",
    "entry_point": "add",
}


def tasks(benchmark: Benchmark) -> list[Task]:
    return list(benchmark.environment.tasks())


def asked(task: Task) -> list[str]:
    return [item.text for item in task.input if isinstance(item, Message)]


def test_problems_keep_their_ids_and_the_columns_may_have_any_name(tmp_path: Path):
    plain = load(f"maths:{jsonl(tmp_path / 'aime 25.jsonl', *PROBLEMS)}")
    assert plain.name == "maths-aime-25"
    assert [(task.id, task.gold, task.tags["category"]) for task in tasks(plain)] == [
        ("I-1", "2", "algebra"),
        ("I-2", "\\frac{1}{2}", "number"),
        ("I-3", "2, -2", "algebra"),
    ]
    [text] = asked(tasks(plain)[0])
    assert text == "Find $1 + 1$.\n\nPlease reason step by step, and put your final answer within \\boxed{}."
    other = [{"Nr": row["id"], "Q": row["problem"], "A": row["answer"]} for row in PROBLEMS]
    renamed = load(f"maths:{parquet(tmp_path / 'b.parquet', *other[:1])},problem=Q,answer=A,id=Nr")
    assert asked(tasks(renamed)[0]) == [text] and tasks(renamed)[0].id == "I-1"


@pytest.mark.parametrize(
    ("task", "text", "reward"),
    [
        ("I-1", "So it is \\boxed{2}.", 1),
        ("I-1", "The answer is 3.", 0),
        ("I-2", "\\boxed{0.5}", 1),
        ("I-3", "\\boxed{-2, 2}", 1),
        ("I-3", "\\boxed{2}", 0),
    ],
)
def test_problems_are_judged_as_mathematics(tmp_path: Path, task: str, text: str, reward: float):
    assert rehearse(load(f"maths:{jsonl(tmp_path / 'a.jsonl', *PROBLEMS)}"), task, text).reward == reward


@pytest.mark.parametrize(
    ("verifier", "text", "reward"),
    [("number", "It is 2.0", 1), ("integer", "It is 2", 1), ("integer", "It is 2.5", 0)],
)
def test_the_verifier_can_be_chosen(tmp_path: Path, verifier: str, text: str, reward: float):
    path = jsonl(tmp_path / "a.jsonl", PROBLEMS[0])
    assert rehearse(load(f"maths:{path},verifier={verifier}"), "I-1", text).reward == reward


def test_a_whole_number_is_needed_for_the_verifier_integer(tmp_path: Path):
    with pytest.raises(InputError, match="a whole number, for the verifier integer"):
        load(f"maths:{jsonl(tmp_path / 'a.jsonl', *PROBLEMS)},verifier=integer")


@pytest.mark.parametrize(
    ("stated", "text", "reward"),
    [("", "kafka", 1), ("", "Max Brod", 0), (",verifier=exact", "Kafka", 1), (",verifier=exact", "kafka", 0)],
)
def test_questions_accept_each_answer_of_a_list(tmp_path: Path, stated: str, text: str, reward: float):
    for path in (
        jsonl(tmp_path / "a.jsonl", *QUESTIONS),
        table(tmp_path / "a.csv", *(row | {"answer": json.dumps(row["answer"])} for row in QUESTIONS)),
    ):
        assert rehearse(load(f"qa:{path}{stated}"), "00001", text).reward == reward


def test_a_judge_is_asked_with_the_reference_and_the_rubric(tmp_path: Path):
    jsonl(tmp_path / "q.jsonl", *QUESTIONS)
    (tmp_path / "q.toml").write_text('[verifier]\nname = "judge"\nrubric = ["It names the author."]\n')
    benchmark = load(f"qa:{tmp_path / 'q.jsonl'}")
    assert benchmark.roles == {"judge": None}
    seen: list[dict[str, Any]] = []

    def judge(request: Request) -> str:
        seen.append(json.loads(request.input[-1].text))  # pyright: ignore
        return '{"1": {"reason": "so it is", "met": true}}'

    assert rehearse(benchmark, "00001", "It was Kafka.", roles={"judge": FunctionModel(judge)}).reward == 1
    assert seen[0]["reference"] == "Franz Kafka or: Kafka" and seen[0]["criteria"] == {"1": "It names the author."}
    assert seen[0]["question"] == "Who wrote The Trial?" == asked(tasks(benchmark)[0])[0]
    assert rehearse(benchmark, "00001", " ", roles={}).reward == 0


@pytest.mark.parametrize("row", [MBPP, HUMANEVAL], ids=["assertions", "check"])
@pytest.mark.parametrize(
    ("code", "reward"), [("def add(a, b):\n    return a + b", 1), ("def add(a, b):\n    return a - b", 0)]
)
def test_functions_are_judged_by_their_tests(tmp_path: Path, row: dict[str, Any], code: str, reward: float):
    benchmark = load(f"code:{jsonl(tmp_path / 'a.jsonl', row)}")
    [task] = tasks(benchmark)
    assert task.data["entry_point"] == "add" and "def add" in (task.gold or "")
    assert rehearse(benchmark, task.id, f"```python\n{code}\n```").reward == reward
    assert rehearse(benchmark, task.id, task.gold or "").reward == 1


def test_a_toml_beside_the_file_says_how_it_is_read(tmp_path: Path):
    (tmp_path / "shown.csv").write_text("question,gold\nFind $0 + 1$.,1\nFind $0$.,0\n")
    rows = [{"key": n, "question": row["problem"], "gold": row["answer"], **row} for n, row in enumerate(PROBLEMS)]
    jsonl(tmp_path / "set.jsonl.gz", *rows)
    (tmp_path / "set.toml").write_text(
        'name = "mine"\nversion = "3"\nprompt = "Solve this: {question} (level {level}) \\\\frac{a}{b}"\n'
        'system = "Be short."\nexamples = "shown.csv"\nshots = 1\nrepeats = 8\n'
        'column = { problem = "question", answer = "gold", id = "key" }\ntags = { area = "subject" }\n'
        "where = { level = [5] }\nscore = { of = 'mean', by = ['area'] }\n"
        "sampling = { temperature = 0.5 }\n[verifier]\nname = 'maths'\ndeadline_s = 5.0\n"
    )
    by_file, by_toml = load(f"maths:{tmp_path / 'set.jsonl.gz'}"), load(f"maths:{tmp_path / 'set.toml'}")
    assert tasks(by_file) == tasks(by_toml)
    assert (by_toml.name, by_toml.version, by_toml.repeats) == ("maths-mine", "3", 8)
    assert by_toml.sampling == Sampling(temperature=0.5) and by_toml.score == Mean(by=("area",))
    assert [(task.id, task.tags) for task in tasks(by_toml)] == [("1", {"area": "number"}), ("2", {"area": "algebra"})]
    assert asked(tasks(by_toml)[0]) == [
        "Be short.",
        "Solve this: Find $0 + 1$. (level ) \\frac{a}{b}",
        "\\boxed{1}",
        "Solve this: Find a half. (level 5) \\frac{a}{b}",
    ]


def test_data_and_settings_are_code_that_decides_scores(tmp_path: Path):
    path = jsonl(tmp_path / "a.jsonl", *PROBLEMS)
    before = score_code(load(f"maths:{path}"))
    assert "a.jsonl" in before and "assay/benchmark/verify/maths/__init__.py" in before
    assert not any("judge" in name or "choice" in name for name in before)
    (tmp_path / "a.toml").write_text("repeats = 2\n")
    assert "a.toml" in score_code(load(f"maths:{path}"))
    jsonl(path, *PROBLEMS[:2])
    assert score_code(load(f"maths:{path}"))["a.jsonl"] != before["a.jsonl"]


@pytest.mark.parametrize(
    ("family", "rows", "stated", "said"),
    [
        ("maths", [{"text": "a", "key": "2"}], "", ["line 1", "no column is the problem, of text, key", "--column problem=NAME", 'the row: {"text":"a"']),  # noqa: E501
        ("maths", PROBLEMS, ",answer=anwser", ["'anwser'. Did you mean answer?"]),
        ("maths", PROBLEMS, ",ansewr=answer", ["'ansewr'. Did you mean answer"]),
        ("maths", PROBLEMS, ",verifier=judge", ["there is no verifier of maths: 'judge'"]),
        ("maths", PROBLEMS, ",id=subject", ["line 3", "the id (column 'subject') is 'algebra', as in", "line 1"]),
        ("maths", [PROBLEMS[0] | {"answer": None}], "", ["the answer (column 'answer') is empty"]),
        ("maths", [PROBLEMS[0] | {"answer": {"a": 1}}], "", ["is {'a': 1}", "a text, a number, or a list"]),
        ("maths", [PROBLEMS[0] | {"problem": " "}], "", ["the problem (column 'problem') is ' '"]),
        ("code", [{"text": "Add.", "tests": "assert add(1, 2) == 3"}], "", ["no column is the entry_point"]),
    ],
)  # fmt: skip
def test_what_can_not_be_read_is_said_with_its_place(
    tmp_path: Path, family: str, rows: list[Any], stated: str, said: list[str]
):
    with pytest.raises(UsageError) as error:
        load(f"{family}:{jsonl(tmp_path / 'a.jsonl', *rows)}{stated}")
    assert all(words in str(error.value) for words in said), error.value


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("repeat = 3", "unknown field `repeat`"),
        ("repeats = 0", "`int` >= 1"),
        ("score = { of = 'median' }", "'median' (at score.of)\n  expected: one of mean, pass@k, pass^k, maj@k"),
        ("column = { gold = 'answer' }", "there is no column 'gold'"),
        ("where = { lvl = 5 }", "there is no column 'lvl'. Did you mean level?"),
        ("where = { level = 9 }", "no row of 3 has {'level': 9}"),
        ("tags = { a = 'b' }", "there is no column 'b'"),
        ("prompt = 'Solve it.'", "has nothing of a row"),
        ("verifier = { name = 'number', exact = true }", "expected of its options: absolute, relative"),
        ("examples = 'none.jsonl'", "No such file"),
    ],
)
def test_settings_that_can_not_be_are_refused(tmp_path: Path, toml: str, said: str):
    jsonl(tmp_path / "a.jsonl", *PROBLEMS)
    (tmp_path / "a.toml").write_text(toml + "\n")
    with pytest.raises(UsageError) as error:
        load(f"maths:{tmp_path / 'a.jsonl'}")
    assert said in str(error.value)


def test_a_toml_without_data_says_so(tmp_path: Path):
    (tmp_path / "a.toml").write_text("repeats = 2\n")
    with pytest.raises(UsageError, match='expected: a line such as data = "FILE"'):
        load(f"maths:{tmp_path / 'a.toml'}")


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*/*.published.toml")), ids=lambda path: path.name)
def test_published_scores_that_ship_are_of_settings_that_ship(path: Path):
    assert len(read_published(path).scores) == 8
    assert path.with_name(path.name.replace(".published", "")).exists()


@pytest.mark.parametrize("path", sorted(p for p in SHIPPED.glob("*/*.toml") if "." not in p.stem), ids=lambda p: p.stem)
def test_settings_that_ship_read_the_row_that_they_show(tmp_path: Path, path: Path):
    roles = {"maths": PROBLEMS[1], "qa": QUESTIONS[1], "mcq": {}}[path.parent.name]
    row = dict(roles)
    if path.stem == "olympiadbench":
        row = {"id": 1606, "question": "How many?", "final_answer": ["45"], "subfield": "Combinatorics"}
    if path.stem == "hle-text":
        row = {
            "id": "a",
            "question": "Which?",
            "image": "",
            "answer": "x",
            "answer_type": "exactMatch",
            "category": "Math",
        }
    if path.stem == "gpqa-diamond":
        row = {"Record ID": "r", "Question": "?", "Correct Answer": "a", "Incorrect Answer 1": "b"}
    benchmark = load(f"{path.parent.name}:{jsonl(tmp_path / 'mine.jsonl', row)},like={path.stem}")
    assert len(tasks(benchmark)) == 1
    assert (benchmark.published is not None) == (path.stem in ("aime25", "gpqa-diamond"))


def test_a_stranger_runs_a_file_in_one_command(tmp_path: Path):
    jsonl(tmp_path / "aime.jsonl", *({"q": row["problem"], "a": row["answer"]} for row in PROBLEMS))
    columns = ("--column", "problem=q", "answer=a")
    code, out, err = assay("run", "maths:aime.jsonl", *columns, "--model", "gold", "--repeats", "1", cwd=tmp_path)
    assert code == 0 and "score 100.0%" in out, err
    record = json.loads((tmp_path / "runs" / "maths-aime" / "gold" / "run.json").read_text())
    assert len(record["sources"]["aime.jsonl"]) == 64
    code, _, err = assay("run", "maths:aime.jsonl", "--model", "gold", "--column", "problem", cwd=tmp_path)
    assert code == 2 and "expected WHAT=COLUMN" in err


@pytest.mark.heavy
def test_a_profile_of_a_file_goes_on_from_another_directory(tmp_path: Path):
    jsonl(tmp_path / "set.jsonl", *({"q": row["problem"], "answer": row["answer"]} for row in PROBLEMS))
    profile = ("profile", "maths:set.jsonl,problem=q", "--models", "gold,null", "--repeats", "1")
    code, _, err = assay(*profile, cwd=tmp_path)
    assert code == 0, err
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code, out, err = assay("certify", "../profiles/maths-set-gold-null", cwd=elsewhere)
    assert "is not installed" not in err and "no benchmark" not in err and code in (0, 3, 5), out + err
