import fcntl
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from assay.errors import DigestMismatch, InputError, StoppedEarly, UsageError  # noqa: F401
from assay.store import Shard, Store, progress, read_rollouts, read_rows, read_tasks, writer
from assay.types import Sampling
from tests.runs import TASKS, record, rollout


def test_what_is_appended_is_read_back(tmp_path: Path):
    rollouts = [rollout(0), rollout(1, failed=True), rollout(1, attempt=1)]
    with Store(tmp_path, record(), TASKS) as store:
        for row in rollouts:
            store.append(row)
    assert list(read_rollouts(tmp_path)) == rollouts
    assert read_tasks(tmp_path) == TASKS
    assert progress(tmp_path) == ({("t0", 0), ("t1", 0)}, {("t1", 0): 1})


def test_a_line_torn_at_any_byte_loses_that_line_alone(tmp_path: Path):
    with Store(tmp_path, record(), TASKS) as store:
        store.append(rollout(0))
        store.append(rollout(1))
    path = tmp_path / "rollouts.jsonl"
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(first, len(whole)):
        path.write_bytes(whole[:cut])
        assert [row.task for row in read_rollouts(tmp_path)] == ["t0"]
        with Store(tmp_path, record(), TASKS) as store:
            store.append(rollout(2))
        assert [row.task for row in read_rollouts(tmp_path)] == ["t0", "t2"]


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path):
    with Store(tmp_path, record(), TASKS) as store:
        store.append(rollout(0))
    path = tmp_path / "rollouts.jsonl"
    path.write_bytes(b'{"task": 3}\n' + path.read_bytes())
    with pytest.raises(InputError, match=r"rollouts.jsonl, line 1: .*\n  expected: a rollout"):
        list(read_rollouts(tmp_path))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"tasks_digest": "0" * 64}, "tasks_digest"),
        ({"identity": {"id": "other"}}, "identity"),
        ({"sampling": Sampling(temperature=0.5)}, "sampling"),
        ({"seed": 3}, "seed"),
        ({"code": "d" * 64}, "code: cccccccccccc there, dddddddddddd now\n.*assay rescore"),
        ({"version": "2"}, "version: 1 there, 2 now"),
    ],
)
def test_another_run_is_refused_naming_what_differs(tmp_path: Path, changes: dict[str, object], named: str):
    with Store(tmp_path, record(), TASKS):
        pass
    with pytest.raises(DigestMismatch, match=named):
        Store(tmp_path, record(**changes), TASKS)


def test_more_repeats_and_another_address_are_the_same_run(tmp_path: Path):
    with Store(tmp_path, record(), TASKS):
        pass
    with Store(tmp_path, record(repeats=9, server={"base_url": "http://elsewhere"}), TASKS):
        pass
    assert msgspec.json.decode((tmp_path / "run.json").read_bytes())["repeats"] == 2


def test_changed_tasks_are_refused(tmp_path: Path):
    with Store(tmp_path, record(), TASKS):
        pass
    path = tmp_path / "tasks.jsonl"
    path.write_text(path.read_text().replace("0?", "0!"))
    with pytest.raises(InputError, match="not the tasks"):
        read_tasks(tmp_path)


def test_a_second_writer_is_refused_and_a_dead_one_is_not_in_the_way(tmp_path: Path):
    with Store(tmp_path, record(), TASKS), pytest.raises(UsageError, match="another process"):
        Store(tmp_path, record(), TASKS)
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from test_store import *\n"
        "store = Store(Path(sys.argv[1]), record(), TASKS)\n"
        "store.append(rollout(0)); store.flush(); os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, tmp_path, Path(__file__).parent], check=False, timeout=60)
    assert killed.returncode == -9
    with Store(tmp_path, record(), TASKS):
        assert progress(tmp_path)[0] == {("t0", 0)}


def test_a_whole_run_and_a_shard_of_it_are_not_written_at_once(tmp_path: Path):
    with Store(tmp_path, record(), TASKS), pytest.raises(UsageError, match="another process"):
        Store(tmp_path, record(), TASKS, Shard(1, 2))
    with Store(tmp_path, record(), TASKS, Shard(1, 2)), pytest.raises(UsageError, match="another process"):
        Store(tmp_path, record(), TASKS)
    with Store(tmp_path, record(), TASKS, Shard(1, 2)), pytest.raises(DigestMismatch, match="seed"):
        Store(tmp_path, record(seed=1), TASKS, Shard(2, 2))
    with Store(tmp_path, record(), TASKS):
        pass


@pytest.mark.parametrize("changes", [{"task": "zz"}, {"task_digest": "ffff"}])
def test_a_rollout_of_another_run_is_refused_by_its_line(tmp_path: Path, changes: dict[str, str]):
    with Store(tmp_path, record(), TASKS) as store:
        store.append(rollout(0))
        store.append(msgspec.structs.replace(rollout(1), **changes))
    with pytest.raises(InputError, match=r"line 2: a rollout of task .*\n  expected: rollouts of the tasks"):
        list(read_rollouts(tmp_path))


def test_a_file_in_the_place_of_the_directory_is_told(tmp_path: Path):
    (tmp_path / "out").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        Store(tmp_path / "out", record(), TASKS)


def test_a_run_that_another_command_is_beginning_is_waited_for_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(writer, "BEGIN_S", 0.2)
    with ExitStack() as held:
        parent = os.open(tmp_path, os.O_RDONLY)
        held.callback(os.close, parent)
        fcntl.flock(parent, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another process"):
            Store(tmp_path / "run", record(), TASKS)
    with Store(tmp_path / "run", record(), TASKS):
        pass


def test_a_backup_beside_a_runs_files_is_ignored_with_a_warning(tmp_path: Path):
    with Store(tmp_path, record(), TASKS) as store:
        store.append(rollout(0))
    whole = (tmp_path / "rollouts.jsonl").read_bytes()
    for name in ("rollouts-old.jsonl", "rollouts-9-of-3.jsonl", "rollouts-01-of-2.jsonl", "rollouts-1-of-1.jsonl"):
        (tmp_path / name).write_bytes(whole.replace(b'"reward":1.0', b'"reward":0.0'))
        with pytest.warns(UserWarning, match=f"{name} is ignored"):
            assert list(read_rollouts(tmp_path)) == [rollout(0)]
        (tmp_path / name).unlink()


def test_a_second_score_of_one_task_and_repeat_is_an_error_of_the_file(tmp_path: Path):
    with Store(tmp_path, record(), TASKS) as store:
        for row in (rollout(0, failed=True), rollout(0, attempt=1), rollout(1)):
            store.append(row)
    whole = (tmp_path / "rollouts.jsonl").read_bytes()
    (tmp_path / "rollouts-2-of-2.jsonl").write_bytes(whole)
    with pytest.raises(InputError, match=r"rollouts.jsonl, line 2: a second score for repeat 0 of task t0\n"):
        list(read_rows(tmp_path))


@pytest.mark.parametrize("repeat", [-1, 2**16, 10**9])
def test_a_repeat_that_no_run_has_is_an_error_of_the_file(tmp_path: Path, repeat: int):
    with Store(tmp_path, record(), TASKS) as store:
        store.append(structs.replace(rollout(0), repeat=repeat))
    with pytest.raises(InputError, match=r"rollouts.jsonl, line 1: Expected `int` .* - at `\$.repeat`"):
        list(read_rows(tmp_path))


def test_shards_write_files_of_their_own_and_are_read_together(tmp_path: Path):
    with Store(tmp_path, record(), TASKS, Shard(1, 2)) as one, Store(tmp_path, record(), TASKS, Shard(2, 2)) as two:
        one.append(rollout(0))
        two.append(rollout(1))
    assert sorted(path.name for path in tmp_path.glob("rollouts*")) == [
        "rollouts-1-of-2.jsonl",
        "rollouts-2-of-2.jsonl",
    ]
    assert {row.task for row in read_rollouts(tmp_path)} == {"t0", "t1"}


@pytest.mark.parametrize("text", ["0/4", "5/4", "x/4", "3", "1/"])
def test_a_shard_that_is_none_is_refused(text: str):
    with pytest.raises(UsageError, match="expected i/n"):
        Shard.parse(text)


@given(st.text(st.characters(exclude_categories=[])))
def test_any_string_a_model_may_write_is_kept_on_one_line(text: str):
    with tempfile.TemporaryDirectory() as folder:
        with Store(Path(folder), record(), TASKS) as store:
            store.append(rollout(text=text))
        [row] = read_rollouts(Path(folder))
    assert row.turns[0].response.text == text.encode("utf-8", "replace").decode()


def test_a_full_disk_stops_the_run_and_leaves_whole_lines(tmp_path: Path):
    """The kernel refuses to let the file grow past a limit, as a full disk would."""
    code = (
        "import resource, signal, sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from test_store import *\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "store = Store(Path(sys.argv[1]), record(), TASKS)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "try:\n"
        "    for repeat in range(1000): store.append(rollout(0, repeat)); store.flush()\n"
        "except StoppedEarly as error: print(error)\n"
    )
    command = [sys.executable, "-c", code, tmp_path, Path(__file__).parent]
    told = subprocess.run(command, check=True, timeout=60, capture_output=True, text=True).stdout
    assert "rollouts.jsonl: File too large" in told
    assert "What was written is valid" in told
    kept = list(read_rollouts(tmp_path))
    assert len(kept) > 5
    assert (tmp_path / "rollouts.jsonl").read_bytes().endswith(b"\n")
