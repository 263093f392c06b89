"""How a data set is read: settings in the benchmark's name, in a TOML file beside the data, or in one that ships.

maths:aime.jsonl                                its columns are found by their names
maths:aime.jsonl,problem=question,answer=gold   or stated
maths:aime.toml                                 or written down, where aime.jsonl would find it beside itself
maths:hf:ORG/NAME@REVISION#SPLIT                the data are on the Hugging Face Hub
maths:aime25                                    settings that ship, with where their data are
maths:aime.jsonl,like=aime25                    for data that you have
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct, structs

from assay.benchmark.catalog import divide
from assay.benchmarks.files.hub import PREFIX, fetch
from assay.config import read_toml
from assay.errors import UnknownName, UsageError
from assay.gyms.rows import FORMATS, Row, read_rows, stem_of, suffix_of
from assay.score import Mean, ScoreRule
from assay.types import RolloutLimits, Sampling

SHIPPED = Path(__file__).with_name("sets")
IN_NAME = ("like", "verifier", "order", "answers")
"""Settings that a name may state beside its columns."""
Columns = dict[str, str | list[str]]
Value = str | int | float | bool


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of the TOML file. Paths in it start from its folder."""

    data: str | None = None
    """A file, or hf:ORG/NAME@REVISION#SPLIT; where left out, the file beside it of the same name."""
    name: str | None = None
    version: str | None = None
    column: Columns = {}
    """The column, or columns, by what it holds: problem, answer, id, …"""
    prompt: str | None = None
    """`{problem}`, or a column's name in braces, stands for what the row has there. Other braces stay."""
    system: str | None = None
    verifier: str | dict[str, Any] = {}
    """Its name, or a table of its `name` and its options."""
    tags: dict[str, str] = {}
    """The column by tag."""
    where: dict[str, Value | list[Value]] = {}
    """By column, the value or the values of the rows that are tasks."""
    examples: str | None = None
    """A file of rows that are shown, solved, before each task."""
    shots: Annotated[int, Meta(ge=1)] | None = None
    """The number of them, from the first; all where left out."""
    order: Annotated[int, Meta(ge=0)] | Literal["file"] = 0
    """The seed that shuffles options, or the file's order."""
    answers: Literal["letter", "index", "number", "text"] | None = None
    """What names the right option: a letter, an index from 0, a number from 1, or its text."""
    score: ScoreRule = Mean()
    """What its score is, such as { of = "mean", by = ["category"] }."""
    repeats: Annotated[int, Meta(ge=1)] = 4
    sampling: Sampling = Sampling()
    limits: RolloutLimits = RolloutLimits()


class DataSet(NamedTuple):
    """A data set that is on this machine."""

    name: str
    settings: Settings
    rows: list[Row]
    examples: list[Row]
    files: Mapping[str, Path]
    """All that its tasks are made of, by the names that run.json records."""
    remark: str
    published: Path | None
    """The file of scores that others published."""

    @property
    def columns(self) -> list[str]:
        """The names of all columns."""
        return list(dict.fromkeys(name for row in self.rows for name in row.cells))


def open_set(family: str, request: str, roles: tuple[str, ...]) -> DataSet:
    """Returns the data set that a name such as `aime.jsonl,answer=gold` means. Raises UsageError and InputError."""
    place, stated = divide(request)
    path = _toml(family, stated.pop("like", place))
    settings = _with_statements(read_toml(path, Settings) if path else Settings(), stated, roles, place)
    folder, source = Path(), place
    if path and not _is_data(place):
        folder, source = path.parent, settings.data or _beside(path)
    files, remark = _files(folder, source)
    rows = read_rows(list(files.values()))
    examples: list[Row] = []
    if settings.examples:
        shown, _ = _files(path.parent if path else Path(), settings.examples)
        examples = read_rows(list(shown.values()))[: settings.shots]
        files |= shown
    if path:
        files[path.name] = path
    name = settings.name or (_stem(place) if _is_data(place) else path.stem if path else place)
    published = path.with_suffix(".published.toml") if path else None
    return DataSet(
        name=re.sub(r"[^\w.-]+", "-", f"{family}-{name}"),
        settings=settings,
        rows=rows,
        examples=examples,
        files=files,
        remark=remark,
        published=published if published and published.is_file() else None,
    )


def _toml(family: str, place: str) -> Path | None:
    """The file of settings: the one that the name means, the one beside the data, or one that ships."""
    path = Path(place)
    if place.startswith(PREFIX) or path.suffix == ".toml":
        return path if path.suffix == ".toml" else None
    if _is_data(place):
        beside = path.with_name(f"{stem_of(path.name)}.toml")
        return beside if beside.is_file() else None
    shipped = {one.stem: one for one in sorted((SHIPPED / family).glob("*.toml")) if "." not in one.stem}
    if place not in shipped:
        hint = f"; or a file that ends in {', '.join(FORMATS)} or .toml, or {PREFIX}ORG/NAME@REVISION#SPLIT"
        raise UnknownName("data set", place, shipped, hint)
    return shipped[place]


def _is_data(place: str) -> bool:
    return place.startswith(PREFIX) or suffix_of(place) in FORMATS


def _beside(path: Path) -> str:
    names = [one.name for one in sorted(path.parent.iterdir())]
    found = [name for name in names if suffix_of(name) in FORMATS and stem_of(name) == path.stem]
    if len(found) != 1:
        got = f"{' and '.join(found)} are beside it" if found else "no file of data with its name is beside it"
        raise UsageError(f'{path}: it names no data, and {got}\n  expected: a line such as data = "FILE"')
    return found[0]


def _files(folder: Path, source: str) -> tuple[dict[str, Path], str]:
    """The files of a source, by the names that run.json records, and what the user should know of them."""
    if source.startswith(PREFIX):
        return fetch(source)
    return {Path(source).name: folder / source}, ""


def _stem(source: str) -> str:
    """The part of a source that names the data set: `aime25` of `hf:math-ai/aime25@0123#test`."""
    if source.startswith(PREFIX):
        return re.split("[@#]", source)[0].rpartition("/")[2]
    return stem_of(Path(source).name)


def _with_statements(settings: Settings, stated: Mapping[str, str], roles: tuple[str, ...], place: str) -> Settings:
    for key in (*stated, *settings.column):
        if key not in (*roles, *(IN_NAME if key in stated else ())):
            raise UnknownName("column", key, roles, f"; settings that a name may state: {', '.join(IN_NAME)}")
    columns = {key: value.split("+") if "+" in value else value for key, value in stated.items() if key in roles}
    whole = {key: value for key, value in stated.items() if key in IN_NAME}
    try:
        made = msgspec.convert(whole, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"{place}: {error}\n  expected: order=SEED or order=file; answers=letter, index, number or text"
        ) from None
    return structs.replace(settings, column=settings.column | columns, **{key: getattr(made, key) for key in whole})
