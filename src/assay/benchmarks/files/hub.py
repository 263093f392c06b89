"""Data sets of the Hugging Face Hub: hf:ORG/NAME[@REVISION][#SPLIT], where SPLIT may be CONFIG, CONFIG/SPLIT or a file.

`huggingface_hub` asks the hub and keeps the files, as HF_ENDPOINT, HF_TOKEN, HF_HOME and HF_HUB_OFFLINE say. What a
reference meant is written down in the folder of prepared data, so that a commit needs no second look.
"""

import os
import re
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from assay.benchmark.data import folder, replacing
from assay.digest import digest
from assay.errors import UsageError
from assay.gyms import require
from assay.gyms.rows import FORMATS, suffix_of
from assay.input import BROKEN, read_input

PREFIX = "hf:"
LIBRARY = "huggingface_hub"
"""Not named where it is loaded: its version decides no score, so that it isn't part of the code that does."""
TIMEOUT_S = 30.0
_REFERENCE = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>\w[\w./-]*))?(?:#(?P<part>.+))?")
_COMMIT = re.compile("[0-9a-f]{40}")
_SPLIT = re.compile(r"(?<![a-z])(?:(train)(?:ing)?|(test)(?:ing)?|(val)(?:id(?:ation)?)?|(dev))(?![a-z])")
_NAMES = ("train", "test", "validation", "validation")


class Files(Struct, frozen=True):
    """What a reference means: files of one commit."""

    commit: str
    files: dict[str, str]
    """Where each is on this machine, by its name there."""

    @property
    def there(self) -> bool:
        """Whether they still are."""
        return all(Path(path).is_file() for path in self.files.values())


Parts = dict[tuple[str, str], list[str]]
"""Files by config and split."""


class _Entry(Struct, frozen=True):
    """Files of one split, as a data set's card names them: names, or patterns with `*`."""

    path: str | list[str]
    split: str = "train"


class _Config(Struct, frozen=True):
    """A config of a data set's card."""

    data_files: str | list[str | _Entry]
    config_name: str = "default"


class Reference(NamedTuple):
    """A reference in its parts."""

    repo: str
    revision: str | None
    part: str | None

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Returns the parts. Raises UsageError."""
        found = _REFERENCE.fullmatch(text)
        if not found:
            raise UsageError(f"{text}: expected {PREFIX}ORG/NAME, {PREFIX}ORG/NAME@REVISION or …#SPLIT")
        return cls(found["repo"], found["revision"], found["part"])

    @property
    def fixed(self) -> bool:
        """Whether its revision is a commit, so that it means the same for ever."""
        return bool(self.revision and _COMMIT.fullmatch(self.revision))


def fetch(reference: str) -> tuple[dict[str, Path], str]:
    """Returns the files of a reference, by the names that run.json records, and a warning where they may change.

    Raises UsageError where the hub can't be reached, or has no such data set, revision or split.
    """
    asked = Reference.parse(reference)
    note = folder() / "hub" / f"{digest([os.environ.get('HF_ENDPOINT', ''), *asked])[:32]}.json"
    known = _read_note(note)
    meant = known if known and asked.fixed else _ask(reference, asked, known)
    if meant is not known:
        with replacing(note) as file:
            file.write(msgspec.json.encode(meant))
    named = f"{PREFIX}{asked.repo}@{meant.commit}"
    remark = "" if asked.fixed else f"Warning: {reference} may change. Today it is {named}: name that, and it can't."
    return {f"{named}/{name}": Path(path) for name, path in meant.files.items()}, remark


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


def _read_note(note: Path) -> Files | None:
    """What a reference meant, where its files are still there."""
    try:
        known = msgspec.json.decode(read_input(note), type=Files)
    except (OSError, *BROKEN):
        return None
    return known if known.there else None


def _ask(reference: str, asked: Reference, known: Files | None) -> Files:
    """What the hub says that a reference means; what it meant before where the hub can't be reached."""
    hub = require(LIBRARY, "hub")
    try:
        info = hub.HfApi(endpoint=_endpoint()).dataset_info(asked.repo, revision=asked.revision, timeout=TIMEOUT_S)
        names = [one.rfilename for one in info.siblings or ()]
        known_parts = parts(names, info.card_data and info.card_data.to_dict().get("configs"))
        chosen = choose(known_parts, asked.part, names)
        if not chosen:
            raise UsageError(f"{PREFIX}{asked.repo}: {_refusal(known_parts, asked.part)}")
        place = {"repo_id": asked.repo, "repo_type": "dataset", "revision": info.sha, "endpoint": _endpoint()}
        return Files(info.sha, {name: hub.hf_hub_download(filename=name, **place) for name in chosen})
    except UsageError:
        raise
    except Exception as error:  # of its HTTP library too, which is another one in each version
        said_no = isinstance(error, hub.errors.RepositoryNotFoundError | hub.errors.RevisionNotFoundError)
        if known is not None and not said_no:
            return known
        raise UsageError(_explain(hub, reference, asked, error)) from error


def parts(names: Sequence[str], configs: Any = None) -> Parts:
    """Returns the files by config and split: as the data set's card says, else as its files are called."""
    data = sorted(name for name in names if suffix_of(name) in FORMATS and _is_inside(name))
    found: Parts = {}
    for config in _configs(configs):
        entries = [config.data_files] if isinstance(config.data_files, str) else config.data_files
        for entry in (one if isinstance(one, _Entry) else _Entry(path=one) for one in entries):
            patterns = [entry.path] if isinstance(entry.path, str) else entry.path
            files = [name for name in data if any(fnmatch(name, pattern) for pattern in patterns)]
            found.setdefault((config.config_name, entry.split), []).extend(files)
    if not any(found.values()):
        found = {}
        for name in data:
            found.setdefault(_config_and_split(name), []).append(name)
    return {place: files for place, files in found.items() if files}


def _configs(given: Any) -> "list[_Config]":
    """The configs of a card; none where they are of another form."""
    try:
        return msgspec.convert(given or [], list[_Config])
    except msgspec.ValidationError:
        return []


def choose(known: Parts, part: str | None, names: Sequence[str] = ()) -> list[str] | None:
    """Returns the files of a part; None where there is no such part, or there are several.

    A part is a split, a config, CONFIG/SPLIT or a file. Without one it is the split `test`, or the only one there is.
    """
    if part is not None and part in names:
        return [part]
    config, slash, split = (part or "").rpartition("/")
    if slash:
        return known.get((config, split))
    fitting = [place for place in known if part is None or part in place]
    for narrower in (
        [place for place in fitting if place[1] == "test"],
        [place for place in fitting if place[0] == "default"],
    ):
        if len(fitting) > 1 and narrower:
            fitting = [place for place in fitting if place in narrower] or fitting
    return known[fitting[0]] if len(fitting) == 1 else None


def _refusal(known: Parts, part: str | None) -> str:
    if not known:
        return (
            f"it has no file that ends in {', '.join(FORMATS)}\n"
            "  Its converted files may be at the revision refs/convert/parquet: …@refs/convert/parquet#CONFIG/SPLIT"
        )
    there = ", ".join(f"#{config}/{split}" for config, split in known)
    return f"{f'there is no one part #{part}' if part else 'it has several parts'}; expected one of {there}"


def _config_and_split(name: str) -> tuple[str, str]:
    """The config and the split that a file's path speaks of."""
    found = list(_SPLIT.finditer(name.lower()))
    split = next(word for word, group in zip(_NAMES, found[-1].groups(), strict=True) if group) if found else "train"
    first, slash, _ = name.partition("/")
    return (first if slash and first != "data" and not _SPLIT.fullmatch(first.lower()) else "default"), split


def _is_inside(name: str) -> bool:
    return not name.startswith("/") and ".." not in name.split("/")


def _explain(hub: Any, reference: str, asked: Reference, error: Exception) -> str:
    errors = hub.errors
    if isinstance(error, errors.GatedRepoError):
        return (
            f"{reference}: its data are given to those alone who accept its terms\n"
            f"  Accept them on the page of {asked.repo}, and set HF_TOKEN to a token of yours."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{reference}: {asked.repo} has no revision {asked.revision}; expected a commit, a branch or a tag"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"{reference}: the hub has no data set {asked.repo}, or shows it to others alone (HF_TOKEN)"
    said = str(error).strip().splitlines() or [type(error).__name__]
    return (
        f"{reference} could not be had: {said[0]}\n"
        f"  With the network: assay prepare FAMILY:{reference}. With the file from elsewhere: FAMILY:FILE"
    )
