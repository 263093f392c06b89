"""The tables of an index, where its file is, and which state of the run it was made of.

All that a filter offers as a list of values (tags, stop reason, outcome, findings) is one number in a rollout's row:
its *kind*. A run has few kinds, so counting by any of these values is one pass over an index; Python does the rest.
"""

import hashlib
import os
import re
import sqlite3
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Literal

from msgspec import Struct

from assay.digest import digest, tree_digest
from assay.fidelity.detectors import detectors_digest
from assay.input import open_input
from assay.types import FunctionCall, FunctionCallOutput, Item, Message, Reasoning

NAME = "view.sqlite"
"""The file's name, beside the rollouts or in the cache folder."""
ENDS = 4096
"""Bytes at both ends of what was read of a file that are compared before more of it is read."""
MOST_VALUES = 200
"""The most values of a tag that are offered as a list. A tag with more is found by its value alone."""
Outcome = Literal["passing", "failing", "no score", "tried again"]
"""`tried again`: a failure with a later attempt at the same task and repeat, which counts in its place."""
COLUMNS = ("messages", "reasoning", "calls", "outputs")
"""The columns of the full-text search."""
_WIDE = re.compile(r"([\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff])")

SCHEMA = """
create table meta(key text primary key, value text) without rowid;
create table files(no integer primary key, name text unique, bytes int, lines int, mtime_ns int, head text, tail text);
create table tasks(
    no integer primary key, id text unique, digest text, prompt text, gold text, tags text, offset int, length int
);
create table kinds(no integer primary key, kind text unique);
create table rollouts(
    id integer primary key, task int, repeat int, attempt int, kind int, reward real, answer text, tokens int,
    wall_s real, turns int, content int, file int, offset int, length int
);
create virtual table texts using fts5(messages, reasoning, calls, outputs, content='');
create virtual table prompts using fts5(prompt, content='');
insert into texts(texts, rank) values ('hashsize', 33554432);
"""
ORDERS = """
create index if not exists by_task on rollouts(task, repeat, id, kind);
create index if not exists by_repeat on rollouts(repeat, id, kind);
create index if not exists by_reward on rollouts(ifnull(reward, 1e999), id, kind);
create index if not exists by_tokens on rollouts(tokens, id, kind);
create index if not exists by_time on rollouts(wall_s, id, kind);
create index if not exists by_kind on rollouts(kind);
create index if not exists by_content on rollouts(content);
"""
"""What makes sorting and counting fast. Made once nearly all rollouts are read: rows that arrive in another order than
an index has change most of its pages at each transaction."""


def statements(script: str) -> list[str]:
    """Returns the statements of a script, which `executescript` would not run within a transaction."""
    return script.strip().removesuffix(";").split(";")


class Kind(Struct, frozen=True):
    """All values of a rollout that are offered as lists."""

    outcome: Outcome
    stop: str
    tags: dict[str, str]
    failure: str = ""
    """Where and how it failed: `model: timeout`."""
    findings: list[str] = []


def writable_place(folder: Path) -> Path:
    """Returns the file of a run's index: beside its rollouts, or in the cache folder where nothing can be written."""
    path = folder / NAME
    try:
        path.open("ab").close()
    except OSError:
        path = cached_place(folder)
        path.parent.mkdir(parents=True, exist_ok=True)
    return path


def cached_place(folder: Path) -> Path:
    """Returns the file of the index of a run in a folder that can't be written."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "assay" / hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:24] / NAME


def places(folder: Path) -> list[Path]:
    """Returns the files that may hold the index of a run, the likelier one first."""
    return [folder / NAME, cached_place(folder)]


def connect(path: Path) -> sqlite3.Connection:
    """Returns a connection that only reads. Raises sqlite3.Error where the file is no database."""
    # Without a write-ahead log, and in a folder that can't be written, SQLite opens what nobody changes.
    alone = not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists()
    uri = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if alone else ''}"
    connection = sqlite3.connect(uri, uri=True, timeout=10, check_same_thread=False)
    connection.execute("pragma cache_size = -32000")
    connection.execute("pragma trusted_schema = off")  # the file may have come with the run
    return connection


class Reach(Struct):
    """How far a file of rollouts is in an index."""

    no: int
    name: str
    bytes: int = 0
    lines: int = 0
    mtime_ns: int = 0
    """The file's, where nothing stood behind what was read; else 0."""
    head: str = ""
    """Digest of the first `ENDS` bytes of what was read; `tail` is that of the last ones."""
    tail: str = ""

    def note(self, path: Path) -> None:
        """Notes the file as it is, once it was read up to `bytes`."""
        with open_input(path) as file:
            stat = os.fstat(file.fileno())
        self.mtime_ns = stat.st_mtime_ns if stat.st_size == self.bytes else 0
        self.head, self.tail = self._ends(path)

    def holds(self, path: Path) -> bool:
        """Whether the file still begins with what was read of it, as far as its ends and its time of change show."""
        try:
            stat = path.stat()
            same = stat.st_size > self.bytes or self.mtime_ns in (0, stat.st_mtime_ns)
            return stat.st_size >= self.bytes and same and (self.head, self.tail) == self._ends(path)
        except OSError:
            return False

    def _ends(self, path: Path) -> tuple[str, str]:
        with open_input(path) as file:
            head = file.read(min(ENDS, self.bytes))
            file.seek(max(0, self.bytes - ENDS))
            tail = file.read(min(ENDS, self.bytes))
        return hashlib.sha256(head).hexdigest(), hashlib.sha256(tail).hexdigest()


def reaches(connection: sqlite3.Connection) -> dict[str, Reach]:
    """Returns how far each file is in an index, by name."""
    return {row[1]: Reach(*row) for row in connection.execute("select * from files")}


@cache
def code_digest() -> str:
    """Returns the digest of the code that makes an index, detectors included."""
    here = Path(__file__)
    return digest([detectors_digest(), tree_digest(here, here.with_name("build.py"), here.parents[2] / "types.py")])


def made_by(folder: Path) -> str:
    """Returns the digest of what an index depends on beside the rollouts: the run, its tasks, and the code."""
    files: list[str] = []
    for name in ("run.json", "tasks.jsonl"):
        with open_input(folder / name) as file:
            files.append(hashlib.file_digest(file, "sha256").hexdigest())
    return digest([files, code_digest()])


def with_spaces(text: str) -> str:
    """Returns a text in which each Chinese, Japanese and Korean character is a word: none is written between them."""
    if text.isascii():
        return text
    return _WIDE.sub(r" \1 ", text).encode("utf-8", "replace").decode()


def texts_by_column(items: Iterable[Item]) -> dict[str, list[str]]:
    """Returns the texts of items by the column that they are searched in."""
    texts: dict[str, list[str]] = {column: [] for column in COLUMNS}
    for item in items:
        match item:
            case Message():
                texts["messages"] += [item.text, *item.refusals]
            case Reasoning():
                texts["reasoning"].append(item.text)
            case FunctionCall():
                texts["calls"].append(f"{item.name} {item.arguments}")
            case FunctionCallOutput():
                texts["outputs"].append(item.text)
    return texts


def content_number(content: str) -> int:
    """Returns the number by which an index knows a content, of the 64 digits that a mark has."""
    return int(content[:15], 16)
