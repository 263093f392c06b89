"""Merging parts of a run that were made apart: by the command, through torn lines, kills and parts that differ."""

from collections import Counter
from pathlib import Path

import pytest
from msgspec import structs

from assay.collect.merge import TWICE, MergeCounts, Twice, merge
from assay.digest import task_digest, tasks_digest
from assay.errors import InputError, UsageError
from assay.fidelity.results.results import read
from assay.store import Store, read_lines, read_record, read_registry, read_rollouts, read_rows
from assay.types import Rollout, Score
from tests.commands import assay, scored, start, until, written
from tests.runs import TASKS, record, rollout


def made(folder: Path, *rollouts: Rollout, **changes: object) -> Path:
    with Store(folder, record(**changes), TASKS) as store:
        for one in rollouts:
            store.append(one)
    return folder


def rows(folder: Path) -> list[Rollout]:
    return sorted(read_rollouts(folder), key=lambda one: (*one.key, one.attempt))


@pytest.mark.heavy
def test_shards_that_were_made_apart_become_one_run(tmp_path: Path):
    tmp_path = tmp_path / "apart/here"  # where no other test's registry stands above
    tmp_path.mkdir(parents=True)
    command = ["run", "arithmetic", "--limit", "60", "--model", "nano-instruct", "--repeats", "2"]
    for index, more in ((1, []), (2, ["--processes", "2"])):
        code, _, err = assay(*command, "--shard", f"{index}/2", "--out", f"machine-{index}/run", *more, cwd=tmp_path)
        assert code == 0, err
    code, out, err = assay("merge", "all/run", "machine-1/run", "machine-2/run", cwd=tmp_path)
    assert code == 0, err
    assert "120 scores were added" in err and "avg@2 of 120 rollouts" in out
    assert set(scored(tmp_path / "all/run").values()) == {1}
    assert assay(*command, "--out", "whole/run", cwd=tmp_path)[0] == 0
    assert (read(tmp_path / "all/run").rewards_TK == read(tmp_path / "whole/run").rewards_TK).all()
    # It is a run as any other: written down, and gone on with.
    assert [line.id for line in read_registry(tmp_path / "all/started.jsonl")] == [
        read_record(tmp_path / "all/run").id
    ] * 2
    code, _, err = assay(*command[:-1], "3", "--out", "all/run", cwd=tmp_path)
    assert code == 0, err
    assert "60 rollouts to make" in err


def test_a_merge_that_is_given_again_adds_nothing_and_one_of_the_parts_may_take_in_the_others(tmp_path: Path):
    one, two = made(tmp_path / "one", rollout(0)), made(tmp_path / "two", rollout(1), rollout(2))
    assert merge(one, [one, two]) == MergeCounts(scored=2)
    before = (one / "rollouts.jsonl").read_bytes()
    assert merge(one, [two, one, tmp_path / "one/../two"]) == MergeCounts(there=2)
    assert (one / "rollouts.jsonl").read_bytes() == before
    assert rows(one) == [rollout(0), rollout(1), rollout(2)]
    three = made(tmp_path / "three", rollout(0, 1))
    assert merge(one, [three]) == MergeCounts(scored=1)
    assert rows(two) == [rollout(1), rollout(2)]
    assert not list(one.glob(".*"))


def test_of_two_scores_the_first_stays_and_those_that_differ_are_listed(tmp_path: Path):
    other = structs.replace(rollout(0, text="other"), outcome=Score(reward=0.25))
    one = made(tmp_path / "one", rollout(0), rollout(1))
    two = made(tmp_path / "two", other, rollout(1, text="another text"), rollout(2))
    assert merge(tmp_path / "out", [one, two]) == MergeCounts(scored=3, alike=1, twice=1)
    assert rows(tmp_path / "out") == [rollout(0), rollout(1), rollout(2)]
    file = str(tmp_path / "two/rollouts.jsonl")
    assert list(read_lines(tmp_path / "out" / TWICE, Twice)) == [Twice("t0", 0, 1.0, 0.25, file)]
    # In the order that is given; and nothing is listed where nothing differs.
    merge(tmp_path / "turned", [two, one])
    assert rows(tmp_path / "turned")[0] == other
    assert merge(tmp_path / "out", [one]) == MergeCounts(there=2)
    assert not (tmp_path / "out" / TWICE).exists()


def test_failures_are_kept_with_all_their_attempts(tmp_path: Path):
    failures = [rollout(0, failed=True), rollout(0, failed=True, attempt=1)]
    elsewhere = rollout(0, failed=True, text="on another machine")
    one = made(tmp_path / "one", *failures)
    two = made(tmp_path / "two", elsewhere, rollout(0, attempt=1), failures[0])
    assert merge(tmp_path / "out", [one, two]) == MergeCounts(scored=1, failed=3, there=1)
    assert len(rows(tmp_path / "out")) == 4
    assert merge(tmp_path / "out", [one, two]) == MergeCounts(there=5)


def test_a_torn_last_line_is_no_rollout_in_a_part_or_in_the_merged_run(tmp_path: Path):
    one, two = made(tmp_path / "one", rollout(0)), made(tmp_path / "two", rollout(1), rollout(2))
    whole = (two / "rollouts.jsonl").read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(first, len(whole), 7):
        (two / "rollouts.jsonl").write_bytes(whole[:cut])
        out = tmp_path / f"out-{cut}"
        assert merge(out, [one, two]) == MergeCounts(scored=2)
        # A merge that was killed in the middle of its own line.
        merged = (out / "rollouts.jsonl").read_bytes()
        (out / "rollouts.jsonl").write_bytes(merged[: -(cut - first) - 1])
        assert merge(out, [one, two]).scored == 1
        assert rows(out) == [rollout(0), rollout(1)]
    assert not list(tmp_path.glob("out-*/.*"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 3}, ["seed: 0 in one, 3 in two"]),
        ({"version": "2", "code": "d" * 64}, ["version: 1 in one, 2 in two", "code: cccccccccccc in one"]),
        ({"identity": {"id": "other"}}, ["identity"]),
    ],
)
def test_what_is_no_part_of_the_run_is_refused_naming_what_differs(
    tmp_path: Path, changes: dict[str, object], words: list[str]
):
    made(tmp_path / "one", rollout(0))
    made(tmp_path / "two", rollout(1), **changes)
    code, _, err = assay("merge", "out", "one", "two", cwd=tmp_path)
    assert code == 2
    assert "two is no part of the run in one" in err
    assert all(word in err for word in words), err
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_merged_is_told(tmp_path: Path):
    one = made(tmp_path / "one", rollout(0))
    (tmp_path / "empty").mkdir()
    profile = tmp_path / "profile"
    profile.mkdir()
    (profile / "plan.jsonl").write_text("")
    for out, parts, words in (
        (one, [], "nothing to merge"),
        (one, [one], "nothing to merge"),
        (tmp_path / "out", [one, tmp_path / "empty"], "is not a run directory"),
        (tmp_path / "out", [one, tmp_path / "nowhere"], "is not a run directory"),
        (tmp_path / "out", [profile], "is a profile's folder"),
    ):
        with pytest.raises(UsageError, match=words):
            merge(out, parts)
    assert not (tmp_path / "out").exists()
    two = made(tmp_path / "two", rollout(1), rollout(2))
    lines = (two / "rollouts.jsonl").read_bytes().splitlines(keepends=True)
    (two / "rollouts.jsonl").write_bytes(lines[0] + b'{"task": 1}\n' + lines[1])
    with pytest.raises(InputError, match=r"two/rollouts.jsonl, line 2"):
        merge(tmp_path / "out", [one, two])
    # What came before is there, and the rest once it is mended.
    (two / "rollouts.jsonl").write_bytes(b"".join(lines))
    assert merge(tmp_path / "out", [one, two]).scored + 2 >= 3
    assert rows(tmp_path / "out") == [rollout(0), rollout(1), rollout(2)]
    negative = made(tmp_path / "negative", structs.replace(rollout(0), repeat=-1))
    with pytest.raises(InputError, match="Expected `int` >= 0"):
        merge(tmp_path / "out", [negative])


def test_a_part_that_is_being_written_is_refused(tmp_path: Path):
    one, two = made(tmp_path / "one", rollout(0)), made(tmp_path / "two", rollout(1))
    with Store(two, record(), TASKS), pytest.raises(UsageError, match="two is being written by another process"):
        merge(tmp_path / "out", [one, two])
    with Store(one, record(), TASKS), pytest.raises(UsageError, match="one is being written by another process"):
        merge(one, [two])
    assert merge(tmp_path / "out", [one, two]) == MergeCounts(scored=2)


@pytest.mark.heavy
def test_a_merge_that_is_killed_goes_on(tmp_path: Path):
    """At moments of its own; what is there then is whole, and in the end everything is there once."""
    tasks = [structs.replace(TASKS[0], id=f"t{number}") for number in range(4000)]
    many = record(tasks=len(tasks), tasks_digest=tasks_digest(tasks))
    long = rollout(0, text="x" * 3000)
    parts = [f"part-{number}" for number in range(4)]
    for repeat, part in enumerate(parts):
        with Store(tmp_path / part, many, tasks) as store:
            for task in tasks:
                store.append(structs.replace(long, task=task.id, task_digest=task_digest(task), repeat=repeat))
    file, seen = tmp_path / "out/rollouts.jsonl", [0]
    while len(seen) < 10 and seen[-1] < 16000:
        process = start("merge", "out", *parts, cwd=tmp_path)
        size = written(file)
        until(lambda process=process, size=size: process.poll() is not None or written(file) > size)
        process.kill()
        process.communicate()
        seen.append(len(list(read_rows(tmp_path / "out"))))
    assert seen == sorted(seen)
    assert set(seen) - {0, 16000}  # in the middle
    code, _, err = assay("merge", "out", *parts, cwd=tmp_path)
    assert code == 0, err
    assert Counter((row.task, row.repeat) for row in read_rows(tmp_path / "out")) == {
        (task.id, repeat): 1 for task in tasks for repeat in range(4)
    }
