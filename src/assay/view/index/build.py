"""Making an index: a process of its own reads the lines of a run that are not in the index yet, and stays for more.

Each step is one transaction that begins by reading how far the index is. So a kill loses one step, and two processes
that make the same index take turns. What was made of other files than those that are there is made again.
"""

import json
import os
import sqlite3
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import msgspec

from assay.digest import digest, prompt_digest, task_digest
from assay.errors import AssayError, InputError, text_of
from assay.fidelity.detectors import load_detectors
from assay.fidelity.detectors.detector import RolloutDetector, ScoredRollout
from assay.fidelity.results.results import text_digest
from assay.fidelity.review.marks import content_of
from assay.input import BROKEN, open_input
from assay.store import read_record, rollout_files
from assay.store.files import numbered_lines
from assay.types import Failure, Message, Rollout, Score, Task
from assay.view.index.tables import (
    COLUMNS,
    MOST_VALUES,
    ORDERS,
    SCHEMA,
    Kind,
    Reach,
    code_digest,
    content_number,
    made_by,
    reaches,
    statements,
    texts_by_column,
    with_spaces,
    writable_place,
)

STEP_BYTES = 64 * 2**20
"""Of rollouts in one transaction."""
STEP_S = 2.0
"""The processor time after which a transaction ends, so that progress is seen."""
WAIT_S = 0.5
"""Between looks for new rollouts."""
STAY_S = 20.0
"""How long a process stays without any."""
LONGEST = 300
"""The most characters of an answer or a gold answer in a row: the rollout has them whole."""
MOST_ERRORS = 20
_decode = msgspec.json.Decoder(Rollout).decode
_decode_task = msgspec.json.Decoder(Task).decode


def build(folder: Path, *, stay_s: float = 0.0) -> Path:
    """Brings the index of a run up to date, and waits for new rollouts until none comes for `stay_s`.

    Returns its path. Raises AssayError where the run can't be read, and sqlite3.Error where the index can't be written.
    """
    path = writable_place(folder)
    try:
        _build(folder, path, stay_s)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:  # it is no database, or a damaged one; all of it can be made again
        for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
            path.with_name(name).unlink(missing_ok=True)
        _build(folder, path, stay_s)
    return path


def _build(folder: Path, path: Path, stay_s: float) -> None:
    parent, idle_since = os.getppid(), time.monotonic()
    builder = Builder(folder, path)
    try:
        while True:
            if builder.step():
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since >= stay_s or os.getppid() != parent:
                return
            else:
                time.sleep(WAIT_S)
    finally:
        builder.close()


class Builder:
    """One writer of an index."""

    def __init__(self, folder: Path, path: Path) -> None:
        self._folder = folder
        self._connection = _connect(path)
        self._made_of: object = None
        self._last = -1
        self._rows: _Rows | None = None

    def close(self) -> None:
        """Closes the index."""
        self._connection.close()

    def step(self) -> bool:
        """Adds some of the rollouts that are not in the index. Returns whether there were any."""
        paths = rollout_files(self._folder)
        with self._connection as connection:
            connection.execute("begin immediate")
            reaches_by_name, rows = self._begin(connection, paths)
            for path in paths:
                reach = reaches_by_name.get(path.name) or Reach(len(reaches_by_name) + 1, path.name)
                if rows.add(path, reach):
                    self._last = rows.write(connection)
                    reach.note(path)
                    values = msgspec.structs.astuple(reach)
                    connection.execute("insert or replace into files values (?, ?, ?, ?, ?, ?, ?)", values)
                    read = sum(one.bytes for one in reaches_by_name.values() if one.name != reach.name) + reach.bytes
                    if sum(one.stat().st_size for one in paths) - read < STEP_BYTES:
                        for statement in statements(ORDERS):
                            connection.execute(statement)
                    return True
        return False

    def _begin(self, connection: sqlite3.Connection, paths: Sequence[Path]) -> tuple[dict[str, Reach], "_Rows"]:
        """Returns how far each file is in the index, and what makes rows. An index of something else begins anew."""
        stats = [(self._folder / name).stat() for name in ("run.json", "tasks.jsonl")]
        made_of = [(stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats]
        made_by_now = made_by(self._folder) if made_of != self._made_of else ""
        there = {path.name: path for path in paths}
        meta = dict(connection.execute("select key, value from meta")) if _tables(connection) else {}
        reaches_by_name = reaches(connection) if meta else {}
        holds = all(name in there and reach.holds(there[name]) for name, reach in reaches_by_name.items())
        if not meta or not holds or meta["made by"] != (made_by_now or meta["made by"]):
            made_by_now = made_by_now or made_by(self._folder)
            _begin_anew(connection, self._folder, made_by_now)
            self._rows, reaches_by_name = None, {}
        (last,) = connection.execute("select ifnull(max(id), 0) from rollouts").fetchone()
        if self._rows is None or last != self._last:  # another process wrote meanwhile
            self._rows, self._last = _Rows(self._folder, connection), last
        self._made_of = made_of
        return reaches_by_name, self._rows


class _Rows:
    """Makes rows of lines."""

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        meta = dict(connection.execute("select key, value from meta"))
        self._full_marks = float(meta["full marks"])
        self._tags = set(json.loads(meta["tags"]))
        self._errors: list[str] = json.loads(meta["errors"])
        self._answers, self._rewards = meta["answers"] == "1", meta["rewards"] == "1"
        self._detectors = [one for one in load_detectors() if isinstance(one, RolloutDetector)]
        self._task = _tasks_by_id(folder / "tasks.jsonl", connection)
        self._kinds = {kind: no for no, kind in connection.execute("select no, kind from kinds")}
        self._count_of_kinds = len(self._kinds)
        (self._last,) = connection.execute("select ifnull(max(id), 0) from rollouts").fetchone()
        self._failures: dict[tuple[int, int], list[tuple[int, Kind]]] = defaultdict(list)
        """By task and repeat without a later attempt so far."""
        for no, kind in [(no, msgspec.json.decode(kind, type=Kind)) for kind, no in self._kinds.items()]:
            if kind.outcome == "no score":
                for id, *key in connection.execute("select id, task, repeat from rollouts where kind = ?", [no]):
                    self._failures[tuple(key)].append((id, kind))
        self._clear()

    def _clear(self) -> None:
        self._values: list[tuple[object, ...]] = []
        self._texts: list[tuple[object, ...]] = []
        self._new_kinds: list[tuple[int, int]] = []

    def add(self, path: Path, reach: Reach) -> bool:
        """Reads lines of a file until a step is done. Returns whether there were any."""
        start, until = reach.bytes, time.process_time() + STEP_S
        with open_input(path) as source:
            source.seek(start)
            while reach.bytes - start < STEP_BYTES and time.process_time() < until:
                line = source.readline()
                if not line.endswith(b"\n"):
                    break  # still being written, or torn by a kill
                reach.lines += 1
                try:
                    self._add(_decode(line), (reach.no, reach.bytes, len(line)))
                except (InputError, *BROKEN) as error:
                    if len(self._errors) < MOST_ERRORS:
                        self._errors.append(f"{path.name}, line {reach.lines}: {error}")
                reach.bytes += len(line)
        return reach.bytes > start

    def write(self, connection: sqlite3.Connection) -> int:
        """Writes the rows. Returns the last one's id."""
        kinds = [(no, kind) for kind, no in self._kinds.items() if no > self._count_of_kinds]
        connection.executemany("insert into kinds values (?, ?)", kinds)
        self._count_of_kinds = len(self._kinds)
        connection.executemany(f"insert into rollouts values ({', '.join('?' * 14)})", self._values)
        connection.executemany(f"insert into texts(rowid, {', '.join(COLUMNS)}) values (?, ?, ?, ?, ?)", self._texts)
        connection.executemany("update rollouts set kind = ? where id = ?", self._new_kinds)
        meta = {"errors": json.dumps(self._errors), "answers": str(+self._answers), "rewards": str(+self._rewards)}
        connection.executemany("insert or replace into meta values (?, ?)", meta.items())
        self._clear()
        return self._last

    def _add(self, rollout: Rollout, place: tuple[int, int, int]) -> None:
        number, task, prompt, digest_of_prompt = self._task(rollout.task)
        self._last += 1
        key, score = (number, rollout.repeat), rollout.outcome if isinstance(rollout.outcome, Score) else None
        for earlier, kind in self._failures.pop(key, ()):
            self._new_kinds.append((self._kind(msgspec.structs.replace(kind, outcome="tried again")), earlier))
        kind = self._kind_of(rollout, task, prompt)
        if kind.outcome == "no score":
            self._failures[key].append((self._last, kind))
        self._answers = self._answers or (score is not None and score.answer is not None)
        self._rewards = self._rewards or (score is not None and score.reward != 0)
        answer = score.answer[:LONGEST] if score and score.answer is not None else None
        tokens = sum(turn.response.usage.output_tokens for turn in rollout.turns)
        content = content_number(content_of(digest_of_prompt, text_digest(turn.response for turn in rollout.turns)))
        row = (self._last, *key, rollout.attempt, self._kind(kind), score and score.reward, answer)
        self._values.append((*row, tokens, rollout.wall_s, len(rollout.turns), content, *place))
        items = [item for turn in rollout.turns for item in turn.input if item not in task.input]
        turns = [*rollout.turns, *(turn for turns in rollout.roles.values() for turn in turns)]
        texts = texts_by_column([*items, *(item for turn in turns for item in turn.response.output)])
        if rollout.program:
            texts["outputs"] += [rollout.program.stdout, rollout.program.stderr]
        self._texts.append((self._last, *(with_spaces("\n".join(texts[column])) for column in COLUMNS)))

    def _kind(self, kind: Kind) -> int:
        return self._kinds.setdefault(msgspec.json.encode(kind).decode(), len(self._kinds) + 1)

    def _kind_of(self, rollout: Rollout, task: Task, prompt: str) -> Kind:
        outcome, tags = rollout.outcome, {name: text for name, text in task.tags.items() if name in self._tags}
        if isinstance(outcome, Failure):
            return Kind("no score", rollout.stop, tags, f"{outcome.where}: {outcome.kind}")
        one, findings = ScoredRollout(rollout, outcome, task, prompt), list[str]()
        for detector in self._detectors:
            try:
                if detector.spot(one) is not None:
                    findings.append(detector.name)
            except Exception as error:  # somebody else's code: the rollout is shown without it
                if len(self._errors) < MOST_ERRORS:
                    self._errors.append(f"{rollout.task}, repeat {rollout.repeat}: {detector.name} raised {error!r}")
        passing = outcome.reward >= self._full_marks
        return Kind("passing" if passing else "failing", rollout.stop, tags, findings=findings)


def _tasks_by_id(path: Path, connection: sqlite3.Connection):
    """Returns a function that gives a task's number, itself, the text of its messages and the digest of its prompt."""

    @lru_cache(4096)
    def task(id: str) -> tuple[int, Task, str, str]:
        row = connection.execute("select no, prompt, offset, length from tasks where id = ?", [id]).fetchone()
        if row is None:
            raise InputError(path, None, f"there is no task {id}", "the tasks of the rollouts beside it")
        with open_input(path) as file:
            file.seek(row[2])
            made = _decode_task(file.read(row[3]))
        return row[0], made, _prompt(made), row[1]

    return task


def _prompt(task: Task) -> str:
    return "\n".join(item.text for item in task.input if isinstance(item, Message))


def _connect(path: Path) -> sqlite3.Connection:
    """Returns a connection that writes."""
    connection = sqlite3.connect(path, timeout=60, isolation_level=None)
    for setting in ("journal_mode = wal", "synchronous = normal", "secure_delete = off", "cache_size = -64000"):
        connection.execute(f"pragma {setting}").fetchall()
    return connection


def _tables(connection: sqlite3.Connection) -> list[str]:
    """Returns the index's own tables, those of the full-text search once."""
    rows = connection.execute("select name from sqlite_master where type = 'table' and name not glob '*_*'")
    return [name for (name,) in rows]


def _begin_anew(connection: sqlite3.Connection, folder: Path, made_by_digest: str) -> None:
    """Makes the tables, and writes the run's tasks."""
    for table in _tables(connection):
        connection.execute(f"drop table {table}")
    for statement in statements(SCHEMA):
        connection.execute(statement)
    record, offset, digests = read_record(folder), 0, list[str]()
    values: dict[str, set[str]] = defaultdict(set)
    for number, line, task in numbered_lines(folder / "tasks.jsonl", Task):
        digests.append(task_digest(task))
        gold = None if task.gold is None else task.gold[:LONGEST]
        row = (number, task.id, digests[-1], prompt_digest(task), gold, json.dumps(task.tags), offset, len(line))
        connection.execute("insert into tasks values (?, ?, ?, ?, ?, ?, ?, ?)", row)
        connection.execute("insert into prompts(rowid, prompt) values (?, ?)", (number, with_spaces(_prompt(task))))
        offset += len(line)
        for name, value in task.tags.items():
            if len(values[name]) <= MOST_VALUES:
                values[name].add(value)
    if digest(digests) != record.tasks_digest:
        raise InputError(
            folder / "tasks.jsonl", None, "these are not the tasks in run.json's digest", "unchanged tasks"
        )
    tags = sorted(name for name, of_tag in values.items() if len(of_tag) <= MOST_VALUES)
    meta = {
        "made by": made_by_digest,
        "full marks": str(record.score.range[1]),
        "tags": json.dumps(tags),
        "errors": "[]",
    }
    meta |= {"code": code_digest(), "answers": "0", "rewards": "0"}
    connection.executemany("insert into meta values (?, ?)", meta.items())


def main() -> int:
    """Makes the index of the run whose folder is the first argument, and stays for new rollouts."""
    os.nice(10)
    try:
        build(Path(sys.argv[1]), stay_s=STAY_S)
    except (AssayError, OSError, sqlite3.Error) as error:
        print(" ".join(text_of(error).split()), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
