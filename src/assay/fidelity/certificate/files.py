"""The files of a profile's folder that a certificate covers. A link, a pipe or a device is refused."""

import hashlib
import re
import stat
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from assay.errors import InputError

_ROLLOUTS = r"rollouts(-\d+-of-\d+)?\.jsonl"
EVIDENCE = re.compile(
    rf"(plan|marks|judge|sealed)\.jsonl|runs/[^/]+/(run\.json|tasks\.jsonl|{_ROLLOUTS}|reference\.jsonl|parity\.json)"
)
"""The evidence: the files that all numbers follow from; for a sealed certificate `sealed.jsonl`."""
GROWING = re.compile(rf"(marks|judge)\.jsonl|plan\.jsonl|runs/[^/]+/{_ROLLOUTS}")
"""The files of the evidence to which later commands may append lines."""


class FileRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """A certified file."""

    sha256: str
    bytes: int


def render_file(content: Any) -> bytes:
    """Returns the bytes of `certificate.json` or `certificate.sig`: JSON with an indent of 2."""
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"


def evidence_paths(folder: Path) -> list[str]:
    """Returns the paths of the evidence in the folder, sorted."""
    found = [path for pattern in ("*.jsonl", "runs/*/*") for path in folder.glob(pattern)]
    return sorted(path for path in (one.relative_to(folder).as_posix() for one in found) if EVIDENCE.fullmatch(path))


def check_evidence(folder: Path) -> None:
    """Raises InputError if a file of the evidence is no regular file in this folder."""
    for path in evidence_paths(folder):
        is_there(folder, path)


def is_there(folder: Path, path: str) -> bool:
    """Returns whether a folder has a file at a path. Raises InputError for a link, folder, pipe or device."""
    place, mode = folder, 0
    for part in Path(path).parts:
        place /= part
        try:
            mode = place.lstat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return False
        if stat.S_ISLNK(mode):
            raise InputError(place, None, "a link", "a file or folder of the profile itself")
    if not stat.S_ISREG(mode):
        raise InputError(place, None, "a folder, pipe or device", "a regular file")
    return True


def evidence_of(folder: Path) -> dict[str, FileRecord]:
    """Returns the digests of the evidence."""
    return {path: file_record(folder / path) for path in evidence_paths(folder)}


def file_record(path: Path, size: int | None = None) -> FileRecord:
    """Returns the digest of a file, or of its first `size` bytes."""
    hashed, left, read = hashlib.sha256(), size, 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20 if left is None else min(1 << 20, left)):
            hashed.update(chunk)
            read += len(chunk)
            left = None if left is None else left - len(chunk)
    return FileRecord(hashed.hexdigest(), read)


def ends_a_line(path: Path, size: int | None = None) -> bool:
    """Returns whether a file, or its first `size` bytes, ends in a whole line. An empty file does."""
    with path.open("rb") as file:
        end = file.seek(0, 2) if size is None else size
        file.seek(max(0, end - 1))
        return end == 0 or file.read(1) == b"\n"
