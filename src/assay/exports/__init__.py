"""What Assay has, in the forms that other programs read: the formats of `assay export`, found by entry point.

A format is a module that defines EXPORT. What it takes is what it has a writer for:

    [project.entry-points."assay.exports"]
    my-format = "my_package.my_format:EXPORT"
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from msgspec import Struct

from assay.benchmark.catalog import load
from assay.config import override
from assay.errors import UsageError
from assay.input import check_vacant, is_present
from assay.plugins import find, plugins

EXPORTS = "assay.exports"
RUN_FILES = ("run.json", "tasks.jsonl", "rollouts", "summary.json", "started.jsonl", "profile.json", "report.html")
"""How files of a run or a profile begin that no export may replace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """A format: a writer for each kind of thing that it takes.

    A writer gets the thing, the place to write to, and the options where there are any. It returns a sentence on what
    it wrote, and raises UsageError for what the format can't hold, before it writes anything.
    """

    ending: str = ""
    """Of the file that it writes; empty where it writes a folder."""
    options: Struct | None = None
    """What `--set KEY=VALUE` changes, with its defaults."""
    benchmark: Callable[..., str] | None = None
    run: Callable[..., str] | None = None
    """The run is given by its directory, as a profile is."""
    profile: Callable[..., str] | None = None

    @property
    def takes(self) -> list[str]:
        """The kinds of thing that it has a writer for."""
        return [kind for kind in KINDS if getattr(self, kind)]


KINDS = ("benchmark", "run", "profile")


def takes() -> dict[str, list[str]]:
    """Returns the kinds of thing that each format takes, by its name; none for one that can't be imported."""
    kinds: dict[str, list[str]] = {name: [] for name in sorted(plugins(EXPORTS))}
    for name in kinds:
        with suppress(UsageError):
            kinds[name] = find(EXPORTS, name).takes
    return kinds


def formats_for(kind: str) -> list[str]:
    """Returns the names of the formats that take a kind of thing."""
    return [name for name, kinds in takes().items() if kind in kinds]


def write(what: str, name: str | None, out: Path | None, assignments: Sequence[str] = ()) -> str:
    """Writes a run, a profile or a benchmark in a format, and returns a sentence on it. Raises UsageError.

    `assignments` are KEY=VALUE for the format's options.
    """
    folder = Path(what)
    kind = next((one for one in ("run", "profile") if is_present(folder / f"{one}.json")), "benchmark")
    benchmark = load(what) if kind == "benchmark" else None
    if name is None:
        _refuse(f"{what} is a {kind}; name a format for it", kind)
    export: Export = find(EXPORTS, name)
    writer = getattr(export, kind)
    if writer is None:
        _refuse(f"{what} is a {kind}, and the format {name} takes a {' or a '.join(export.takes)}", kind)
    file_name = f"{name}{export.ending}"
    place = out or (Path(f"{benchmark.name.replace('/', '-')}-{file_name}") if benchmark else folder / file_name)
    _check(place, folder if benchmark is None else None, is_folder=not export.ending)
    if export.options is None and assignments:
        raise UsageError(f"--set {assignments[0]}: the format {name} has no options")
    options = [override(export.options, assignments)] if export.options is not None else []
    return writer(benchmark or folder, place, *options)


def _refuse(why: str, kind: str) -> NoReturn:
    raise UsageError(f"{why}\n  formats that take a {kind}: --format {', '.join(formats_for(kind)) or 'none'}")


def _check(place: Path, source: Path | None, *, is_folder: bool) -> None:
    """Raises UsageError where writing would replace a part of what is exported, or files in a folder."""
    if source and place.resolve().parent == source.resolve() and place.name.startswith(RUN_FILES):
        raise UsageError(f"{place} is a part of what is exported; choose another name with --out")
    if is_folder:
        check_vacant(place)
    elif place.is_dir():
        raise UsageError(f"{place} is a folder; expected the name of a file for --out")
