"""The original code's results: rows of task, repeat and score, with outputs and prompts if they exist.

Rows come from JSONL, JSON, CSV and Parquet files, as they are, compressed by gzip or in a ZIP archive
(`assay.gyms.rows`), or from the log of another harness (`assay.gyms.logs`). Each row has

    task      the task's id; without one that is known, the column whose text stands in one task's prompt is looked for
    repeat    from 0; without it, the rows of a task are its repeats in their order
    score     a number, or true or false; none has one where only the score of all is known
    output    the model's raw text; also a list with each turn's answer, as for replay, or a whole conversation as chat
              messages, with tool calls and what tools and a simulated user answered
    prompt    the rendered prompt: a text, or a list of {role, content}
    gold      the reference answer

under these names or under others, given by `columns`. The last three may be missing. A row that can't be read is an
error: without the row, the score would be wrong.
"""

import hashlib
import math
import tomllib
from collections import Counter
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
from assay.gyms import rows as files
from assay.gyms.logs import read_log
from assay.input import BROKEN, is_present, open_input, read_input
from assay.model.builtin.scripted import answer
from assay.score import ScoreRule
from assay.types import Item, Response, Task

NEEDED = ("task", "score")
OPTIONAL = ("repeat", "output", "prompt", "gold")
NO_QUESTION = ("output", "score", "gold", "target", "answer", "filtered_resps", "model")
"""Columns that can't identify a task."""


class PromptMessage(Struct, frozen=True):
    """One message of a rendered prompt."""

    role: str
    content: str


class Row(Struct, frozen=True, omit_defaults=True):
    """One result of the original code: a line of `reference.jsonl`."""

    task: str
    repeat: Annotated[int, Meta(ge=0)]
    score: float | None
    """None if only the score of all results is known."""
    output: str | list[str | list[Item]] | None = None
    """The model's raw text, which may be empty, or each turn's answer; None if unknown."""
    prompt: str | list[PromptMessage] | None = None
    gold: str | None = None
    user: list[str] = []
    """The messages of a simulated user in a recorded conversation, which answer in the role `user`."""
    tools: list[str] = []
    """The outputs of tools in a recorded conversation."""

    @property
    def reward(self) -> float:
        """The score; NaN if unknown."""
        return math.nan if self.score is None else self.score


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
        """Returns scores [tasks, repeats] of these tasks, or of all tasks in order; NaN if there is no score."""
        return matrix([self.rewards.get(task, []) for task in (self.rewards if tasks is None else tasks)])

    def results(self, tasks: Sequence[Task], score: ScoreRule) -> Results:
        """Returns the scores of these tasks as a run's, without outputs."""
        return Results(list(tasks), self.rewards_TK([task.id for task in tasks]), [], {}, 0.0, score=score)


def read(
    paths: Path | Sequence[Path],
    columns: Mapping[str, str] | None = None,
    *,
    match: str | None = None,
    tasks: Sequence[Task] = (),
    settings: Mapping[str, Any] | None = None,
    aggregate: str | None = None,
) -> OriginalResults:
    """Returns the results in files. `match`, and rows without known ids, need the benchmark's `tasks`.

    `columns` maps this module's names to those of the files; a dotted name goes into nested JSON. `aggregate` is the
    score of all results if none has its own. Raises UsageError for a missing file or name, and InputError with the row
    that can't be read.
    """
    paths = [paths] if isinstance(paths, Path) else list(paths)
    columns = dict(columns or {})
    for name in columns:
        if name not in (*NEEDED, *OPTIONAL):
            raise UnknownName("column of results", name, (*NEEDED, *OPTIONAL))
    if match is not None and "task" in columns:
        raise UsageError("tasks are known by a column of ids or by --match, not by both")
    log, every = read_log(paths)
    given = list(every)
    lines = [row for row in given if log is None or "failed" not in row.cells]
    if not lines:
        raise InputError(", ".join(map(str, paths)), None, "no results", "a row for each rollout of the original code")
    remarks = [f"{len(given) - len(lines):,} rollouts failed there and are left out."] * (len(given) > len(lines))
    ids = _TaskFinder(tasks, match) if match else None if "task" in columns else _unknown(lines, tasks)
    rows: dict[tuple[str, int], Row] = {}
    counted = Counter[str]()
    for line in lines:
        cells = _cells(line, columns, matched=ids is not None, scored=aggregate is None)
        if ids is not None:
            cells["task"] = ids.find(line, _text(cells.get("gold")))
        row = _row(cells, counted, line, scored=aggregate is None)
        if (row.task, row.repeat) in rows:
            raise line.error(f"a second result of task {row.task}, repeat {row.repeat}", "each repeat of a task once")
        rows[row.task, row.repeat] = row
    source = OriginalSource(
        **_counts(list(rows.values()), aggregate),
        file=", ".join(path.name for path in paths),
        sha256=_digest(paths),
        settings=dict(settings or {}),
        aggregate=aggregate,
        log=log and log.name,
        remarks=remarks + (ids.remarks if ids else []),
    )
    return OriginalResults(source, list(rows.values()))


def _digest(paths: Sequence[Path]) -> str:
    """Returns the SHA-256 of a file; of several, that of the list of theirs."""
    digests = [hashlib.sha256(read_input(path)).hexdigest() for path in paths]
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def read_stored(folder: Path) -> OriginalResults | None:
    """Returns the results that `assay parity` wrote into a folder; None if there are none.

    Raises InputError if reference.jsonl does not belong to its parity.json.
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
    if not rows or msgspec.structs.replace(record, **_counts(rows, record.aggregate)) != record:
        raise InputError(path, None, "other results than parity.json speaks of", "both as `assay parity` wrote them")
    return OriginalResults(record, rows)


def responses_of(row: Row, reasoning: str = "auto") -> list[Response]:
    """Returns each turn's answer, with its reasoning split as the model setting `reasoning` says."""
    config = msgspec.convert({"dialect": "scripted", "reasoning": reasoning}, ModelConfig)
    return [answer(said, config) for said in ([row.output] if isinstance(row.output, str) else row.output or [])]


def is_replay(results: Results, reference: OriginalResults) -> bool:
    """Returns whether all outputs of a run are the original's own, so that it is no fresh sample."""
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
        found.setdefault(row.task, {})[row.repeat] = row.reward
    return {task: [scores[repeat] for repeat in sorted(scores)] for task, scores in found.items()}


def matrix(scores: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Returns scores [tasks, repeats], with NaN if a task has fewer repeats than another."""
    rewards_TK = np.full((len(scores), max((len(row) for row in scores), default=0)), np.nan)
    for index, row in enumerate(scores):
        rewards_TK[index, : len(row)] = row
    return rewards_TK


def _counts(rows: list[Row], aggregate: str | None) -> dict[str, Any]:
    """Returns the numbers of rows, tasks and repeats, and the score, for the record of results."""
    scores = list(_rewards(rows).values())
    return {
        "rows": len(rows),
        "tasks": len(scores),
        "repeats": max(map(len, scores)),
        "score": float(aggregate) / 100 if aggregate else float(np.nanmean(matrix(scores), axis=1).mean()),
    }


class _TaskFinder:
    """Finds the task whose prompt has the text in a column."""

    def __init__(self, tasks: Sequence[Task], column: str) -> None:
        self._column = column
        self._tasks = {task.id: task for task in tasks}
        self._prompts = {task.id: task.prompt for task in tasks}
        self._holding: dict[str, list[str]] = {}
        self._texts_by_task: dict[str, str] = {}
        self._places = Counter[tuple[str, str | None]]()
        self._duplicates: dict[str, str] = {}

    @property
    def remarks(self) -> list[str]:
        """How tasks were found."""
        several = [
            f"{', '.join(self._holding[text])} have one text, {_quote(text)}: their rows are matched by {by}."
            for text, by in self._duplicates.items()
        ]
        return [f"Tasks are found by the text of {self._column}.", *several]

    def holding(self, text: str) -> list[str]:
        """Returns the tasks whose prompts have a text."""
        if text not in self._holding:
            self._holding[text] = [task for task, prompt in self._prompts.items() if text in prompt]
        return self._holding[text]

    def find(self, row: files.Row, gold: str | None) -> str:
        """Returns the task's id; of tasks with one prompt, the one with this gold answer, else the next in order.

        Raises InputError unless the text identifies a task.
        """
        text = _value(row, self._column, needed=True)
        expected = f"a text in {self._column} that stands in exactly one task's prompt"
        if not isinstance(text, str) or not text.strip():
            raise row.error(f"{self._column} is {_quote(text)}", expected)
        found = self.holding(text)
        if len(found) > 1:
            found = self._distinguish(text, found, gold)
        if len(found) != 1:
            where = f"in the prompts of {len(found)} tasks, {', '.join(found[:3])}" if found else "in no prompt"
            raise row.error(f"{_quote(text)} is {where}", expected)
        if (other := self._texts_by_task.setdefault(found[0], text)) != text:
            raise row.error(f"{_quote(text)} and {_quote(other)} are both {found[0]}'s", expected)
        return found[0]

    def _distinguish(self, text: str, found: list[str], gold: str | None) -> list[str]:
        golds = [task for task in found if gold is not None and (self._tasks[task].gold or "").strip() == gold.strip()]
        alike = golds or found
        if len(alike) > 1 and len({self._prompts[task] for task in alike}) == 1:
            place = self._places[text, gold if golds else None]
            self._places[text, gold if golds else None] += 1
            self._duplicates[text] = "order"
            return [alike[place % len(alike)]]
        if len(alike) == 1:
            self._duplicates.setdefault(text, "gold")
        return alike


def _unknown(rows: Sequence[files.Row], tasks: Sequence[Task]) -> _TaskFinder | None:
    """Returns a finder for rows without task ids; None if some row has an id, or no column identifies a task."""
    known = {task.id for task in tasks}
    if not tasks or any(_text(row.cells.get("task")) in known for row in rows):
        return None
    texts = sorted(_texts(rows[0].cells), key=lambda text: -len(text[1]))
    found = ((_TaskFinder(tasks, column), text) for column, text in texts)
    return next((matched for matched, text in found if matched.holding(text)), None)


def _texts(cells: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Yields the column and the text of each cell that may be a question."""
    for name, value in cells.items():
        if isinstance(value, dict):
            yield from _texts(value, f"{above}{name}.")  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(value, str) and value.strip() and name not in NO_QUESTION:
            yield f"{above}{name}", value


def _cells(row: files.Row, columns: Mapping[str, str], *, matched: bool, scored: bool) -> dict[str, Any]:
    """Returns the row's values by this module's names. A needed column, or one that the user gave, has to exist."""
    found: dict[str, Any] = {}
    for name in (*NEEDED, *OPTIONAL):
        if (name == "task" and matched) or (name == "score" and not scored):
            continue
        value = _value(row, columns.get(name, name), needed=name in NEEDED or name in columns)
        if value is None and name == "output" and columns.get(name, name) in row.cells:
            value = ""  # The content of a message without text, as OpenAI's API writes it.
        # In CSV a missing value is an empty cell. An output may be empty; a prompt and a gold answer are not.
        if value is not None and not (value == "" and name in ("prompt", "gold")):
            found[name] = value
    return found


def _value(row: files.Row, column: str, *, needed: bool) -> Any:
    """Returns the value in a column; None if there is none. Raises InputError if it is missing and `needed`."""
    value: Any = row.cells
    for part in [column] if column in row.cells else column.split("."):
        if not isinstance(value, dict) or part not in value:
            if needed:
                raise _missing(row, column)
            return None
        value = value[part]  # pyright: ignore[reportUnknownVariableType]
    return value  # pyright: ignore[reportUnknownVariableType]


def _missing(row: files.Row, column: str) -> InputError:
    if column == "score" and "scores" in row.cells:
        names = row.cells["scores"]
        expected = f"one of them, such as --column score={names[0]}" if names else "samples that were scored"
        return row.error(f"{len(names)} scores: {'; '.join(names) or 'none'}", expected)
    expected = {
        "score": "--column score=NAME, or --aggregate where only the score of all results is known",
        "task": "--column task=NAME, or --match COLUMN where tasks have no ids",
    }
    has = f"it has the columns {', '.join(map(str, row.cells))}"
    return row.error(f"no column {column}; {has}", expected.get(column, "the name of a column that is there"))


def _row(cells: dict[str, Any], counted: Counter[str], line: files.Row, *, scored: bool) -> Row:
    task = _text(cells.get("task"))
    if not task:
        raise line.error(f"the task is {_quote(cells.get('task'))}", "the id of a task")
    repeat: Any = cells.get("repeat")
    if "repeat" not in cells:
        repeat = counted[task]
        counted[task] += 1
    elif isinstance(repeat, str) and repeat.strip().isdecimal():
        repeat = int(repeat)
    if not isinstance(repeat, int) or isinstance(repeat, bool) or repeat < 0:
        raise line.error(f"the repeat is {_quote(repeat)}", "a whole number from 0")
    score = _score(cells.get("score"), line) if scored else None
    found: dict[str, Any] = {"task": task, "repeat": repeat, "score": score}
    if "gold" in cells:
        found["gold"] = _text(cells["gold"])
    if "output" in cells:
        found["output"] = cells["output"]
    if "prompt" in cells:
        found["prompt"] = _prompt(cells["prompt"])
    try:
        if is_conversation(found.get("output")):
            found |= msgspec.to_builtins(divide(found["output"]))
        return msgspec.convert(found, Row)
    except msgspec.ValidationError as error:
        expected = "text, or a list: of answers or chat messages as output, of {role, content} as prompt"
        raise line.error(str(error), expected) from None


def _prompt(value: Any) -> Any:
    """Returns a text, or messages with the text of their parts. Messages may be written as JSON in a text."""
    if isinstance(value, str) and value.startswith("[{"):
        try:
            return _prompt(msgspec.json.decode(value, type=list[PromptMessage]))
        except msgspec.DecodeError:
            return value
    if not isinstance(value, list):
        return value
    return [_message(one) if isinstance(one, dict) else one for one in value]  # pyright: ignore


def _message(message: dict[str, Any]) -> dict[str, Any]:
    parts = message.get("content")
    match parts:
        case [*_] if all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in parts):  # pyright: ignore
            return message | {"content": "".join(part["text"] for part in parts)}
        case _:
            return message


def _text(value: Any) -> str | None:
    """Returns an id or a gold answer, which may be a number, as text."""
    return value if isinstance(value, str) or value is None else msgspec.json.encode(value).decode()


def _score(value: Any, line: files.Row) -> float:
    expected = "a number, or true or false; a rollout that failed has no score and no row"
    got = f"the score is {_quote(value)}"
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.strip().lower(), value)
    try:
        score = math.nan if isinstance(value, str) and "_" in value else float(value)  # Python reads 1_0 as 10
    except (TypeError, ValueError, OverflowError):
        raise line.error(got, expected) from None
    if not math.isfinite(score):
        raise line.error(got, expected)
    return score


def _quote(value: Any) -> str:
    text = "missing" if value is None else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…'"
