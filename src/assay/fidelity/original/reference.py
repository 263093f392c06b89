"""The original code's results: rows of task, repeat and score, with outputs and prompts if they exist.

A file is JSONL or CSV, by its name, perhaps with `.gz`. Each row has

    task      the task's id; without it, `match` names a column whose text stands in one task's prompt
    repeat    from 0; without it, the rows of a task are its repeats in their order
    score     a number, or true or false
    output    the model's raw text; in JSONL also a list with each turn's answer, as for replay, or a whole conversation
              as chat messages, with tool calls and what tools and a simulated user answered
    prompt    the rendered prompt: a text, or in JSONL a list of {role, content}
    gold      the reference answer

under these names or under others, given by `columns`. The last three may be missing. A row that can't be read is an
error: without the row, the score would be wrong.
"""

import csv
import gzip
import hashlib
import io
import math
import tomllib
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from assay.config import ModelConfig
from assay.errors import InputError, UnknownName, UsageError
from assay.fidelity.original.conversation import divide, is_conversation
from assay.fidelity.results.results import Results, text_digest
from assay.fidelity.schema.evidence import OriginalSource, Parity
from assay.input import BROKEN, is_present, open_input, read_input
from assay.model.builtin.scripted import answer
from assay.score import ScoreRule
from assay.types import Item, Message, Response, Task

NEEDED = ("task", "score")
OPTIONAL = ("repeat", "output", "prompt", "gold")
LONGEST_CELL = 2**31 - 1
"""Characters of one CSV cell; Python's own limit of 131,072 is less than a long answer."""


class PromptMessage(Struct, frozen=True):
    """One message of a rendered prompt."""

    role: str
    content: str


class Row(Struct, frozen=True, omit_defaults=True):
    """One result of the original code: a line of `reference.jsonl`."""

    task: str
    repeat: Annotated[int, Meta(ge=0)]
    score: float
    output: str | list[str | list[Item]] | None = None
    """The model's raw text, which may be empty, or each turn's answer. None if it is not known."""
    prompt: str | list[PromptMessage] | None = None
    gold: str | None = None
    user: list[str] = []
    """What a simulated user said in a recorded conversation: it answers in the role `user`."""
    tools: list[str] = []
    """What tools answered in a recorded conversation."""


@dataclass(frozen=True)
class OriginalResults:
    """The results of the original code, and their source."""

    record: OriginalSource
    rows: list[Row]

    @cached_property
    def rewards(self) -> dict[str, list[float]]:
        """The scores by task, in order, then by repeat."""
        return _rewards(self.rows)

    def rewards_TK(self, tasks: Sequence[str] | None = None) -> NDArray[np.float64]:
        """Returns scores [tasks, repeats] of these tasks, or of all tasks in order. NaN where there is no score."""
        return _matrix([self.rewards.get(task, []) for task in (self.rewards if tasks is None else tasks)])

    def results(self, tasks: Sequence[Task], score: ScoreRule) -> Results:
        """Returns the scores of these tasks as a run's, without outputs."""
        return Results(list(tasks), self.rewards_TK([task.id for task in tasks]), [], {}, 0.0, score=score)


def read(
    file: Path,
    columns: Mapping[str, str] | None = None,
    *,
    match: str | None = None,
    tasks: Sequence[Task] = (),
    settings: Mapping[str, Any] | None = None,
) -> OriginalResults:
    """Returns the results in a file. `match` needs the benchmark's `tasks`.

    `columns` maps this module's names to the file's; a dotted one goes into nested JSON. Raises UsageError for a file
    or a name that isn't there, and InputError with the line of a row that can't be read.
    """
    columns = dict(columns or {})
    for name in columns:
        if name not in (*NEEDED, *OPTIONAL):
            raise UnknownName("column of results", name, (*NEEDED, *OPTIONAL))
    if match is not None and "task" in columns:
        raise UsageError("tasks are known by a column of ids or by --match, not by both")
    try:
        data = read_input(file)
        lines = _lines(file, gzip.decompress(data) if file.suffix == ".gz" else data)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{file} can't be read: {getattr(error, 'strerror', None) or error}") from None
    ids = _Matched(file, tasks) if match is not None else None
    rows: dict[tuple[str, int], Row] = {}
    counted: dict[str, int] = {}
    for line, raw in lines:
        cells = _cells(raw, columns, file, line, matched=ids is not None)
        if ids is not None:
            cells["task"] = ids.find(_value(raw, match or "", file, line, needed=True), match or "", line)
        row = _row(cells, counted, file, line)
        if (row.task, row.repeat) in rows:
            got = f"a second result of task {row.task}, repeat {row.repeat}"
            raise InputError(file, line, got, "each repeat of a task once")
        rows[row.task, row.repeat] = row
    if not rows:
        raise InputError(file, None, "no results", "a row for each rollout of the original code")
    sha256 = hashlib.sha256(data).hexdigest()
    return OriginalResults(_record(file.name, sha256, list(rows.values()), settings or {}), list(rows.values()))


def read_stored(folder: Path) -> OriginalResults | None:
    """Returns the results that `assay parity` wrote into a folder. None if it wrote none.

    Raises InputError where reference.jsonl is not what its parity.json speaks of.
    """
    path, beside = folder / "reference.jsonl", folder / "parity.json"
    if not (is_present(path) and is_present(beside)):
        return None
    record = read_parity(beside).reference
    decoder = msgspec.json.Decoder(Row)
    rows: list[Row] = []
    with open_input(path) as lines:
        for number, line in enumerate(lines, 1):
            try:
                rows.append(decoder.decode(line))
            except BROKEN as error:
                raise InputError(path, number, str(error), "a row as `assay parity` writes it") from None
    if not rows or _record(record.file, record.sha256, rows, record.settings) != record:
        raise InputError(path, None, "other results than parity.json speaks of", "both as `assay parity` wrote them")
    return OriginalResults(record, rows)


def prompt_of(task: Task) -> str:
    """Returns the text of all messages of a task, with an empty line between two."""
    return "\n\n".join(item.text for item in task.input if isinstance(item, Message))


def responses_of(row: Row, reasoning: str = "auto") -> list[Response]:
    """Returns each turn's answer, with its reasoning split as the model setting `reasoning` says."""
    config = msgspec.convert({"dialect": "scripted", "reasoning": reasoning}, ModelConfig)
    return [answer(said, config) for said in ([row.output] if isinstance(row.output, str) else row.output or [])]


def is_replay(results: Results, reference: OriginalResults) -> bool:
    """Returns whether all outputs of a run are the original's own: then it is no fresh sample."""
    written: dict[str, set[int]] = {}
    for row in reference.rows:
        if row.output is not None:
            # A replay may have split the reasoning in another way.
            digests = {text_digest(responses_of(row, reasoning)) for reasoning in ("tags", "none")}
            written.setdefault(row.task, set()).update(digests)
    scored = results.scored
    return bool(scored) and all(cell.text in written.get(results.tasks[cell.task].id, ()) for cell in scored)


def read_parity(path: Path) -> Parity:
    """Returns the content of a parity.json. Raises InputError."""
    try:
        return msgspec.json.decode(read_input(path), type=Parity)
    except BROKEN as error:
        raise InputError(path, None, str(error), "the JSON that `assay parity` wrote") from None


def pairs(assignments: Iterable[str], option: str, example: str) -> dict[str, str]:
    """Returns the values of `NAME=VALUE` assignments by name. Raises UsageError."""
    found: dict[str, str] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise UsageError(f"{option} {assignment}: expected NAME=VALUE, such as {option} {example}")
        found[name.strip()] = value.strip()
    return found


def toml_value(text: str) -> Any:
    """Returns the value of a text in TOML; the text itself if it is not TOML."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _rewards(rows: Iterable[Row]) -> dict[str, list[float]]:
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        found.setdefault(row.task, {})[row.repeat] = row.score
    return {task: [scores[repeat] for repeat in sorted(scores)] for task, scores in found.items()}


def _matrix(scores: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    rewards_TK = np.full((len(scores), max((len(row) for row in scores), default=0)), np.nan)
    for index, row in enumerate(scores):
        rewards_TK[index, : len(row)] = row
    return rewards_TK


def _record(name: str, sha256: str, rows: list[Row], settings: Mapping[str, Any]) -> OriginalSource:
    scores = list(_rewards(rows).values())
    return OriginalSource(
        file=name,
        sha256=sha256,
        rows=len(rows),
        tasks=len(scores),
        repeats=max(map(len, scores)),
        score=float(np.nanmean(_matrix(scores), axis=1).mean()),
        settings=dict(settings),
    )


class _Matched:
    """Finds the task whose prompt holds a text."""

    def __init__(self, file: Path, tasks: Sequence[Task]) -> None:
        self._file = file
        self._prompts = {task.id: prompt_of(task) for task in tasks}
        self._found: dict[str, str] = {}
        self._taken: dict[str, str] = {}

    def find(self, text: Any, column: str, line: int) -> str:
        """The task's id. Raises InputError unless the text is in one task's prompt, and it alone is."""
        expected = f"a text in {column} that stands in exactly one task's prompt"
        if not isinstance(text, str) or not text.strip():
            raise InputError(self._file, line, f"{column} is {_quoted(text)}", expected)
        if text not in self._found:
            holding = [task for task, prompt in self._prompts.items() if text in prompt]
            if len(holding) != 1:
                where = (
                    f"in the prompts of {len(holding)} tasks, {', '.join(holding[:3])}" if holding else "in no prompt"
                )
                raise InputError(self._file, line, f"{_quoted(text)} is {where}", expected)
            if holding[0] in self._taken:
                other = _quoted(self._taken[holding[0]])
                raise InputError(self._file, line, f"{_quoted(text)} and {other} are both {holding[0]}'s", expected)
            self._found[text] = holding[0]
            self._taken[holding[0]] = text
        return self._found[text]


def _lines(file: Path, data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, row as it is written) of each row."""
    kind = file.with_suffix("").suffix if file.suffix == ".gz" else file.suffix
    if kind == ".csv":
        yield from _csv(file, data)
    elif kind != ".jsonl":
        raise UsageError(f"{file}: results are read from .jsonl and .csv, perhaps with .gz; got '{file.name}'")
    else:
        decode = msgspec.json.Decoder(dict[str, Any]).decode
        for number, line in enumerate(data.split(b"\n"), 1):
            try:
                if line.strip():
                    yield number, decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise InputError(file, number, str(error), "one JSON object a line") from None


def _csv(file: Path, data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    csv.field_size_limit(LONGEST_CELL)
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
    except UnicodeDecodeError as error:
        raise InputError(file, None, str(error), "UTF-8 text") from None
    try:
        header = next(reader, list[str]())
        if len(set(header)) < len(header):
            raise InputError(file, 1, "two columns with one name", "each column's name once")
        for cells in filter(None, reader):
            if len(cells) != len(header):
                got = f"a row of {len(cells)} cells"
                raise InputError(file, reader.line_num, got, f"{len(header)}, as in the first line")
            yield reader.line_num, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise InputError(file, reader.line_num, str(error), "CSV") from None


def _cells(raw: dict[str, Any], columns: Mapping[str, str], file: Path, line: int, *, matched: bool) -> dict[str, Any]:
    """Returns the row's values by this module's names. A needed column, or one that the user named, has to exist."""
    found: dict[str, Any] = {}
    for name in (*NEEDED, *OPTIONAL):
        if name == "task" and matched:
            continue
        value = _value(raw, columns.get(name, name), file, line, needed=name in NEEDED or name in columns)
        if value is None and name == "output" and columns.get(name, name) in raw:
            value = ""  # The content of a message without text, as OpenAI's API writes it.
        # In CSV what was not kept is an empty cell. An output may be empty too; a prompt and a gold answer are not.
        if value is not None and not (value == "" and name in ("prompt", "gold")):
            found[name] = value
    return found


def _value(raw: dict[str, Any], column: str, file: Path, line: int, *, needed: bool) -> Any:
    """Returns the value in a column; None if there is none. Raises InputError if it is missing and `needed`."""
    value: Any = raw
    for part in [column] if column in raw else column.split("."):
        if not isinstance(value, dict) or part not in value:
            if needed:
                has = f"the columns {', '.join(map(str, raw))}"
                expected = "the name that --column gives; or --match where tasks have no ids"
                raise InputError(file, line, f"no column {column}; it has {has}", expected)
            return None
        value = value[part]  # pyright: ignore[reportUnknownVariableType]
    return value  # pyright: ignore[reportUnknownVariableType]


def _row(cells: dict[str, Any], counted: dict[str, int], file: Path, line: int) -> Row:
    task = _text(cells.get("task"))
    if not task:
        raise InputError(file, line, f"the task is {_quoted(cells.get('task'))}", "the id of a task")
    repeat: Any = cells.get("repeat")
    if "repeat" not in cells:
        repeat = counted.get(task, 0)
        counted[task] = repeat + 1
    elif isinstance(repeat, str) and repeat.strip().isdecimal():
        repeat = int(repeat)
    if not isinstance(repeat, int) or isinstance(repeat, bool) or repeat < 0:
        raise InputError(file, line, f"the repeat is {_quoted(repeat)}", "a whole number from 0")
    found: dict[str, Any] = {"task": task, "repeat": repeat, "score": _score(cells.get("score"), file, line)}
    if "gold" in cells:
        found["gold"] = _text(cells["gold"])
    found |= {name: cells[name] for name in ("output", "prompt") if name in cells}
    try:
        if is_conversation(found.get("output")):
            found |= msgspec.to_builtins(divide(found["output"]))
        return msgspec.convert(found, Row)
    except msgspec.ValidationError as error:
        expected = "text, or a list: of answers or chat messages as output, of {role, content} as prompt"
        raise InputError(file, line, str(error), expected) from None


def _text(value: Any) -> str | None:
    """An id or a gold answer, which may be written as a number."""
    return value if isinstance(value, str) or value is None else msgspec.json.encode(value).decode()


def _score(value: Any, file: Path, line: int) -> float:
    expected = "a number, or true or false; a rollout that failed has no score and no row"
    got = f"the score is {_quoted(value)}"
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.strip().lower(), value)
    try:
        score = math.nan if isinstance(value, str) and "_" in value else float(value)  # Python reads 1_0 as 10
    except (TypeError, ValueError, OverflowError):
        raise InputError(file, line, got, expected) from None
    if not math.isfinite(score):
        raise InputError(file, line, got, expected)
    return score


def _quoted(value: Any) -> str:
    text = "missing" if value is None else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…'"
