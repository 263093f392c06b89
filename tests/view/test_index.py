"""The index of a run's rollouts: complete, in step with its files, and made again where they differ."""

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import structs

from assay.errors import InputError, UsageError
from assay.fidelity.detectors import detect
from assay.store import read_rollouts
from assay.types import Failure, Rollout, Score
from assay.view.index import build as building
from assay.view.index.build import build
from assay.view.index.indexing import Indexing
from assay.view.index.query import Query
from assay.view.index.reader import Index
from assay.view.index.tables import NAME
from tests.view.long_run import long_rollouts, long_run, long_tasks, write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 90 tasks and two repeats, with its index. It is not changed."""
    folder = long_run(tmp_path_factory.mktemp("index") / "run", 90)
    build(folder)
    return folder


def shown(folder: Path, address: str = "") -> list[tuple[str, int]]:
    """Task and repeat of each row that a table with this query has."""
    pairs = [tuple(pair.split("=", 1)) for pair in address.split("&") if pair]
    with Index(folder) as index:
        query = Query.parse(pairs)
        rows = [*index.all_rows(query, {})]
        assert index.counts(query, {}).shown == len(rows)
    return [(row.task, row.repeat) for row in rows]


def test_each_rollout_is_a_row_whose_line_is_read_by_its_place(run: Path):
    with Index(run) as index:
        rows = [*index.all_rows(Query.parse([("outcome", one) for one in OUTCOMES]), {})]
        assert [index.rollout(row) for row in rows] == [*read_rollouts(run)]
        assert all(index.task(row.task).id == row.task for row in rows[:3])


OUTCOMES = ("passing", "failing", "no score", "tried again")


def test_what_was_tried_again_counts_once(run: Path):
    assert len(shown(run)) == 180
    assert len(shown(run, "outcome=tried again")) == sum(isinstance(one.outcome, Failure) for one in read_rollouts(run))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (
            "outcome=failing&stop=token_cap&tag.category=law",
            [("q21", 0), ("q51", 0), ("q81", 0), ("q0", 1), ("q30", 1), ("q60", 1)],
        ),
        ("tag.source=book 7", [("q7", 0), ("q7", 1)]),
        ("task=q7&gold==7&sort=-repeat", [("q7", 1), ("q7", 0)]),
        ("answer==8&repeat=0", [("q8", 0)]),
        ('q="question 12"', [("q12", 0), ("q12", 1)]),
        ("q=question&q=12&in=prompt", [("q12", 0), ("q12", 1)]),
        ("q=heron -water", []),
        ("q=...", []),
        ("tokens=506..&repeat=0&tag.category=physics", []),
    ],
)
def test_a_query_shows_what_it_says(run: Path, address: str, expected: list[tuple[str, int]]):
    assert shown(run, address) == expected


@pytest.mark.parametrize(
    ("words", "within", "rows"),
    [
        ("pond", "calls", 180),
        ("pond", "messages", 0),
        ("eels", "outputs", 180),
        ('"two eels"', "everything", 180),
        ('"eels two"', "everything", 0),
        ("ANSWER", "messages", 162),
        ("answ", "messages", 162),
        ("w1 w2", "reasoning", None),
    ],
)
def test_texts_are_searched_where_they_stand(run: Path, words: str, within: str, rows: int | None):
    found = shown(run, f"q={words}&in={within}")
    if rows is None:
        texts = {one.key: one.turns[-1].response.reasoning.split() for one in read_rollouts(run) if one.turns}
        wanted = [key for key, text in texts.items() if all(any(w.startswith(p) for w in text) for p in words.split())]
        assert found == wanted
    else:
        assert len(found) == rows


@pytest.mark.parametrize("sort", ["task", "repeat", "reward", "answer", "tokens", "time", "order"])
@pytest.mark.parametrize("sign", ["", "-"])
def test_pages_go_on_where_the_last_one_ended(run: Path, sort: str, sign: str):
    query = Query.parse([("sort", sign + sort), ("stop", "completed")])
    with Index(run) as index:
        whole, _ = index.rows(query, {}, 1000)
        paged, after = [], None
        while True:
            rows, after = index.rows(query, {}, 7, after)
            paged += rows
            if after is None:
                break
        middle = whole[40]
        assert [row and row.id for row in index.beside(query, {}, middle)] == [whole[39].id, whole[41].id]
    assert [row.id for row in paged] == [row.id for row in whole]
    figure = {"reward": "reward", "tokens": "tokens", "time": "wall_s", "repeat": "repeat", "answer": "answer"}.get(
        sort
    )
    if figure:
        values = [getattr(row, figure) for row in whole]
        assert values == sorted(values, reverse=bool(sign))


@pytest.mark.parametrize("address", ["color=red", "sort=size", "tokens=many", "in=dreams", "reward=1..x"])
def test_what_is_no_filter_is_refused(address: str):
    with pytest.raises(UsageError, match="expected"):
        Query.parse([tuple(address.split("="))])


def test_an_address_says_what_a_query_is():
    address = "q=a&in=calls&stop=token_cap&tag.x=y&reward=..1&task=t&sort=-time"
    pairs = [tuple(pair.split("=")) for pair in address.split("&")]
    query = Query.parse(pairs)
    assert sorted(query.pairs()) == sorted(pairs)
    assert query.toggle("stop", "token_cap").toggle("stop", "token_cap") == query
    assert ("q", "a") not in query.without("q", "a").pairs()


def test_rollouts_that_come_later_are_added_and_a_torn_line_waits(run: Path, tmp_path: Path):
    folder = shutil.copytree(run, tmp_path / "run")
    (folder / NAME).unlink()
    path = folder / "rollouts.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:100]) + lines[100][:50])
    build(folder)
    with Index(folder) as index:
        first = [row.id for row in index.all_rows(Query(), {})]
    path.write_bytes(b"".join(lines))
    build(folder)
    assert shown(folder) == shown(run)
    with Index(folder) as index:
        assert [row.id for row in index.all_rows(Query(), {})][:20] == first[:20]


def test_a_damaged_line_is_named_and_the_others_are_there(tmp_path: Path):
    folder = long_run(tmp_path / "run", 12)
    path = folder / "rollouts.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b'"task"', b'"tusk"', 1)
    lines[5] = lines[5].replace(b'"q4"', b'"q400"')
    path.write_bytes(b"".join(lines))
    build(folder)
    assert len(shown(folder)) == 22
    with Index(folder) as index:
        errors = index.state([path]).errors
    assert ["line 4" in errors[0], "line 6" in errors[1], "q400" in errors[1]] == [True] * 3


@pytest.mark.parametrize("change", ["rewritten", "shorter", "other tasks", "no database", "damaged"])
def test_an_index_of_other_files_is_made_again(run: Path, tmp_path: Path, change: str):
    folder = shutil.copytree(run, tmp_path / "run")
    build(folder)
    path = folder / "rollouts.jsonl"
    if change == "rewritten":
        path.write_bytes(path.read_bytes().replace(b"eels", b"eggs"))
    elif change == "shorter":
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:50]))
    elif change == "other tasks":
        shutil.rmtree(folder)
        shutil.copytree(long_run(tmp_path / "other", 30), folder)
        shutil.copy(run / NAME, folder)
    elif change == "no database":
        (folder / NAME).write_bytes(b"something else" * 1000)
    else:
        with (folder / NAME).open("r+b") as file:
            file.seek(8192)
            file.write(b"\xff" * 40_000)
    if change in ("rewritten", "shorter", "other tasks"):
        with Index(folder) as index:
            assert not index.state([path]).holds
    if change != "damaged":
        build(folder)
    else:
        with pytest.raises(sqlite3.DatabaseError), Index(folder) as index:
            [*index.all_rows(Query(), {})]
        (folder / "rollouts.jsonl").touch()
        build(folder)
    made = tmp_path / "made"
    shutil.copytree(folder, made, ignore=shutil.ignore_patterns("view*"))
    build(made)
    assert shown(folder) == shown(made)
    assert len(shown(folder, "q=eggs")) == (180 if change == "rewritten" else 0)


def test_an_index_of_other_code_is_made_again(run: Path, tmp_path: Path):
    folder = shutil.copytree(run, tmp_path / "run")
    connection = sqlite3.connect(folder / NAME)
    with connection:
        connection.execute("update meta set value = 'older' where key in ('code', 'made by')")
        connection.execute("drop table texts")
    connection.close()
    index, _ = Indexing().index_of(folder)
    assert index
    with index:
        assert index.counts(Query.parse([("q", "eels")]), {}).shown == 180


def test_findings_about_answers_need_a_verifier_that_reports_them(tmp_path: Path):
    def without_answers() -> Iterator[Rollout]:
        for one in long_rollouts(tasks, 1, random.Random(0)):
            score = one.outcome
            yield structs.replace(
                one, outcome=structs.replace(score, answer=None) if isinstance(score, Score) else score
            )

    tasks = long_tasks(20)
    folder = write_run(tmp_path / "run", tasks, without_answers())
    build(folder)
    with Index(folder) as index:
        names = {name for name, _ in index.counts(Query(), {}).lists["finding"]}
    assert names - {"none"} == {one.detector for one in detect(folder, "m") if one.scope == "rollout"}


def test_a_line_that_was_rewritten_meanwhile_is_not_shown_as_another(run: Path, tmp_path: Path):
    folder = shutil.copytree(run, tmp_path / "run")
    lines = (folder / "rollouts.jsonl").read_bytes().splitlines(keepends=True)
    with Index(folder) as index:
        rows = [*index.all_rows(Query(), {})]
        (folder / "rollouts.jsonl").write_bytes(b"".join(lines[1:]))
        with pytest.raises(InputError, match="has changed"):
            index.rollout(rows[-1])


@pytest.mark.slow
def test_two_processes_and_a_kill_make_one_index(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = long_run(tmp_path / "run", 1200, repeats=1, seed=1)
    command = [sys.executable, "-m", "assay.view.index.build", str(folder)]
    first = subprocess.Popen(command)
    while not (folder / NAME).exists():
        time.sleep(0.01)
    second = subprocess.Popen(command)
    time.sleep(random.Random(os.getpid()).random() / 2)
    first.kill()
    first.wait()
    monkeypatch.setattr(building, "STEP_BYTES", 50_000)
    build(folder)
    second.terminate()
    second.wait()
    assert sorted(shown(folder)) == sorted({one.key for one in read_rollouts(folder)})


def test_where_nothing_can_be_written_it_is_in_the_cache_folder(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("view*"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (folder / NAME).mkdir()  # root can write anything but a folder as a file
    path = build(folder)
    assert path.is_relative_to(tmp_path / "cache")
    assert shown(folder) == shown(run)


def test_much_is_read_by_a_process_while_pages_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = long_run(tmp_path / "run", 400)
    monkeypatch.setattr("assay.view.index.indexing.AT_ONCE", 1000)
    indexing = Indexing()
    try:
        index, progress = indexing.index_of(folder)
        assert progress.runs and progress.read < progress.of
        while progress.read < progress.of:
            if index:
                index.close()
            time.sleep(0.05)
            index, progress = indexing.index_of(folder)
        assert index
        with index:
            assert index.counts(Query(), {}).shown == 800
    finally:
        indexing.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_pages_of_a_long_run_take_no_more_work_than_those_of_a_short_one(tmp_path: Path):
    """Work is what SQLite's machine does, in thousands of steps. `python -m assay.view.index.build` is measured too."""
    short, long = long_run(tmp_path / "short", 500), long_run(tmp_path / "long", 10_000)
    work: dict[tuple[str, str], tuple[int, int]] = {}
    for folder in (short, long):
        command = ["from assay.view.index.build import build", "import resource, sys", "from pathlib import Path"]
        command += ["build(Path(sys.argv[1]))", "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"]
        made = subprocess.run([sys.executable, "-c", "\n".join(command), str(folder)], check=True, capture_output=True)
        assert int(made.stdout) < 400_000  # kilobytes
        for address in ("", "sort=-tokens", "sort=reward&outcome=failing", "stop=token_cap&tag.category=law", "q=eels"):
            query = Query.parse([tuple(pair.split("=", 1)) for pair in address.split("&") if pair])
            work[folder.name, address] = counted(folder, query)
    for (name, address), (first, _) in work.items():
        assert first <= 3 * work["short", address][0] + 40 or address == "q=eels", (name, address, work)
        assert work["long", address][1] < 2000


def counted(folder: Path, query: Query) -> tuple[int, int]:
    """The work of a page in the middle of a table, and of the counts beside it."""
    steps = [0, 0]
    with Index(folder) as index:
        middle = index.rows(query, {}, 200)[1]

        def count(at: int) -> None:
            steps[at] += 1

        for at, make in ((0, lambda: index.rows(query, {}, 100, middle)), (1, lambda: index.counts(query, {}))):
            index._connection.set_progress_handler(lambda at=at: count(at), 1000)
            make()
    return steps[0], steps[1]
