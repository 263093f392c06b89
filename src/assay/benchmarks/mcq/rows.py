"""Questions from JSONL and CSV files, in the form of GPQA or of MMLU-Pro."""

import csv
import re
from collections.abc import Generator
from contextlib import closing
from io import TextIOWrapper
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import msgspec
from msgspec import Struct

from assay.errors import InputError, UsageError
from assay.input import open_input

FORMS = (
    '"question", "options" and "answer" (or "answer_index"), as MMLU-Pro has them, '
    'or "Question", "Correct Answer" and "Incorrect Answer 1", 2, … as GPQA has them'
)
IDS = ("id", "question_id", "Record ID")
TAGS = {"category": "category", "High-level domain": "category", "Subdomain": "subdomain"}
_LETTER = r"(?<![\w'])\(?[A-J]\)?(?![\w'])"
NAMING = re.compile(
    rf"{_LETTER}(?:,| and| or| nor| &| \+|/)+ ?(?:and |or )?{_LETTER}"
    rf"|\b(?i:options?|answers?|choices?|only|except|but) {_LETTER}"
    r"|\b(?i:above|below|preceding|previous|foregoing|aforementioned)\b(?! \w)|\b(?i:first|last) (?:two|three|four)\b"
)
FILLER = "N/A"
"""What MMLU-Pro has in the place of options that were taken out."""


class Question(Struct, frozen=True):
    """A row of either form."""

    id: str
    text: str
    options: list[str]
    """In the order of the file; the right one first in GPQA's form."""
    right: int
    """Index of the right one."""
    tags: dict[str, str] = {}
    ordered: bool = True
    """Whether the order of the file means anything: in GPQA's form it does not."""

    @property
    def naming(self) -> list[int]:
        """The options that name others by their letter or place, such as "Both A and B" and "None of the above"."""
        return [place for place, option in enumerate(self.options) if NAMING.search(option)]


def read(path: Path) -> list[Question]:
    """All questions of a file. Those without an id are numbered from 1. Raises UsageError and InputError."""
    lines = {".jsonl": _of_jsonl, ".csv": _of_csv}.get(path.suffix.lower())
    if lines is None:
        raise UsageError(f"{path}: expected a file that ends in .jsonl or .csv")
    try:
        with closing(lines(path)) as rows:
            found = [_question(path, line, row, number) for number, (line, row) in enumerate(rows, 1)]
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(path, None, f"byte {error.start} is no UTF-8", "a file in UTF-8") from None
    if not found:
        raise InputError(path, None, "no rows", f"rows with {FORMS}")
    return found


def _of_jsonl(path: Path) -> Generator[tuple[int, dict[str, Any]]]:
    with open_input(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield number, msgspec.json.decode(line, type=dict[str, Any])
            except (msgspec.DecodeError, RecursionError) as error:
                raise InputError(path, number, str(error), f"a JSON object with {FORMS}") from None


def _of_csv(path: Path) -> Generator[tuple[int, dict[str, Any]]]:
    with TextIOWrapper(open_input(path), encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise InputError(path, reader.line_num, "another number of cells than the first line has", FORMS)
                yield reader.line_num, {name: cell for name, cell in row.items() if cell != ""}
        except csv.Error as error:
            raise InputError(path, reader.line_num, str(error), "a CSV file with names in its first line") from None


def _question(path: Path, line: int, row: dict[str, Any], number: int) -> Question:
    try:
        text, options, right = _gpqa(row) if "Correct Answer" in row else _mmlu_pro(row)
    except (ValueError, msgspec.DecodeError) as error:
        raise InputError(path, line, str(error), FORMS) from None
    kept = [place for place, option in enumerate(options) if place == right or option.strip() != FILLER]
    if not text.strip() or not 2 <= len(kept) <= len(ascii_uppercase):
        got = f"a question of {len(text.strip())} characters with {len(kept)} options"
        raise InputError(path, line, got, f"a question with 2 to {len(ascii_uppercase)} options")
    return Question(
        id=next((str(row[name]) for name in IDS if name in row), f"{number:05}"),
        text=text.strip(),
        options=[options[place].strip() for place in kept],
        right=kept.index(right),
        ordered="Correct Answer" not in row,
        tags={tag: str(row[name]) for name, tag in TAGS.items() if name in row},
    )


def _gpqa(row: dict[str, Any]) -> tuple[str, list[str], int]:
    wrong = [row[name] for name in row if name.startswith("Incorrect Answer ")]
    return _text(row.get("Question")), [_text(option) for option in (row["Correct Answer"], *wrong)], 0


def _mmlu_pro(row: dict[str, Any]) -> tuple[str, list[str], int]:
    if "options" not in row:
        raise ValueError(f"a row with {', '.join(row) or 'nothing'}")
    options = row["options"]
    # A cell of a CSV file holds its list as JSON.
    options = msgspec.json.decode(options) if isinstance(options, str) else options
    if not isinstance(options, list):
        raise ValueError(f"options {options!r}")
    texts = [_text(option) for option in options]  # pyright: ignore[reportUnknownVariableType]
    letters = dict(zip(ascii_uppercase, range(len(texts)), strict=False))
    said: set[int] = set()
    if "answer" in row:
        said.add(letters.get(_text(row["answer"]).strip(), -1))
    if "answer_index" in row:
        said.add(int(str(row["answer_index"])))
    if len(said) != 1 or (right := said.pop()) not in range(len(texts)):
        told = {name: row[name] for name in ("answer", "answer_index") if name in row}
        raise ValueError(f"{told or 'no answer'} to {len(texts)} options")
    return _text(row.get("question")), texts, right


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} where a text should be")
    return value
