"""Recorded answers by task, repeat and turn, from a run directory or a JSONL file.

Each line of a JSONL file is a rollout as a run directory holds it, or the answers alone:

    {"task": "t1", "repeat": 0, "output": "raw text"}
    {"task": "t1", "repeat": 1, "output": ["raw text of turn 1", [{"type": "message", ...}]]}

`output` is a text, or a list with each turn's answer: a raw text or a list of items, as in `script` of a scripted
model. Without `repeat`, lines of one task are its repeats in their order. A rollout that failed is no answer. A
task's id may be written as a number, and a file may be packed (`.jsonl.gz`).
"""

import asyncio
import gzip
import hashlib
import io
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from assay.config import ModelConfig
from assay.errors import InputError, ModelError, UsageError
from assay.input import BROKEN, open_input, read_input
from assay.model.builtin.scripted import answer
from assay.store import read_record, read_rows, rollout_files
from assay.types import MOST_REPEATS, Failure, Item, Outcome, Request, Response, Turn

_NONE = -1
_EXPECTED = 'a rollout, or {"task": "…", "repeat": 0, "output": "…"}'


class Replay:
    """Repeats the answers of a recorded run.

    Memory holds the offset of each answer, eight bytes for each repeat, and the content of a packed file.
    """

    def __init__(self, config: ModelConfig) -> None:
        """Raises UsageError if there is no recording, and InputError with the damaged line."""
        self._config = config
        self._path = Path(config.id)
        self._files = _files(self._path)
        self._content = _unpack(self._path) if self._path.suffix == ".gz" else None
        self._starts: list[int] = []  # of each file, as if all were one
        self._places: dict[str, array[int]] = {}  # by task and repeat: where its line starts
        self._decoder = msgspec.json.Decoder(_Line)
        digest, size = hashlib.sha256(), 0
        for file in self._files:
            self._starts.append(size)
            with self._open(file) as opened:
                for number, (line, place) in enumerate(_lines(opened, size, torn=not self._path.is_dir()), 1):
                    digest.update(line)
                    self._add(file, number, line, place)
                    size = place + len(line)
        self._digest = digest.hexdigest()

    def _add(self, file: Path, number: int, line: bytes, place: int) -> None:
        try:
            row = self._decoder.decode(line)
        except BROKEN as error:
            raise InputError(file, number, str(error), _EXPECTED) from None
        if (row.turns is None) == (row.output is UNSET):
            raise InputError(file, number, "neither turns nor output, or both", _EXPECTED)
        if isinstance(row.outcome, Failure):
            return
        places = self._places.setdefault(str(row.task), array("q"))
        repeat = len(places) if row.repeat is None else row.repeat
        places.extend([_NONE] * (repeat + 1 - len(places)))
        if places[repeat] != _NONE:
            got = f"a second answer to task {row.task}, repeat {repeat}"
            raise InputError(file, number, got, "each repeat of a task once")
        places[repeat] = place

    async def respond(self, request: Request) -> Response:
        """Returns the recorded answer. Raises ModelError if there is none, with those that there are."""
        places = self._places.get(request.task or "", array("q"))
        if request.repeat >= len(places) or places[request.repeat] == _NONE:
            raise self._missing(request, places)
        row = await asyncio.to_thread(self._read, places[request.repeat])
        if row is None or str(row.task) != request.task or row.repeat not in (None, request.repeat):
            raise _no_answer(f"{self._path} has changed since this command began to read it")
        answers = row.answers(self._config)
        if request.turn >= len(answers):
            there = f"it ended after {len(answers)} turns"
            raise _no_answer(f"{self._path} has no turn {request.turn + 1} of {_place(request)}; {there}")
        return answers[request.turn]

    def _read(self, place: int) -> "_Line | None":
        """Returns the line at a place; None if it is gone."""
        index = bisect_right(self._starts, place) - 1
        try:
            with self._open(self._files[index]) as file:
                file.seek(place - self._starts[index])
                return self._decoder.decode(file.readline())
        except (OSError, *BROKEN):
            return None

    def _open(self, file: Path) -> BinaryIO:
        return open_input(file) if self._content is None else io.BytesIO(self._content)

    def _missing(self, request: Request, places: "array[int]") -> ModelError:
        repeats = [str(repeat) for repeat, place in enumerate(places) if place != _NONE]
        there = f"of this task it has repeats {_some(repeats)}" if repeats else f"it has {_some(list(self._places))}"
        return _no_answer(f"{self._path} has no answer to {_place(request)}; {there}")

    def identity(self) -> dict[str, str]:
        return {"recorded": self._digest}

    async def aclose(self) -> None:
        return None


class _Line(Struct):
    """A line: a rollout, or the answers alone."""

    task: str | int
    repeat: Annotated[int, Meta(ge=0, lt=MOST_REPEATS)] | None = None
    turns: list[Turn] | None = None
    outcome: Outcome | None = None
    output: str | list[str | list[Item]] | UnsetType | None = UNSET
    """Null is an empty text: the content of a message without text, as OpenAI's API writes it."""

    def answers(self, config: ModelConfig) -> list[Response]:
        """Of each turn."""
        if self.turns is not None:
            return [turn.response for turn in self.turns]
        said = self.output if isinstance(self.output, list) else [self.output or ""]
        return [answer(one, config) for one in said]


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        if not path.is_file():
            raise UsageError(f"there is nothing to replay at '{path}': expected a run directory or a JSONL file")
        return [path]
    read_record(path)
    # The run's own rules: its lines are whole, and its rollouts are of its tasks.
    for _ in read_rows(path):
        pass
    return rollout_files(path)


def _unpack(path: Path) -> bytes:
    try:
        return gzip.decompress(read_input(path))
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(path, None, str(error), "JSONL packed by gzip") from None


def _lines(file: BinaryIO, start: int, *, torn: bool) -> Iterator[tuple[bytes, int]]:
    """Yields each line and where it starts. A last line without its end, as of a killed run, needs `torn`."""
    for line in file:
        if torn or line.endswith(b"\n"):
            yield line, start
        start += len(line)


def _place(request: Request) -> str:
    return f"task {request.task}, repeat {request.repeat}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8:,} more" if len(names) > 8 else "")


def _no_answer(message: str) -> ModelError:
    return ModelError("not_recorded", message, retryable=False)
