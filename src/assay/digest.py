"""Digests: SHA-256 of canonical JSON, so that equal content has an equal digest on every machine."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from assay.types import Task

_encoder = msgspec.json.Encoder(order="sorted")


def canonical(value: Any) -> bytes:
    """The JSON that equal content always has: keys in order, no spaces."""
    return _encoder.encode(value)


def digest(value: Any) -> str:
    """The digest of anything that msgspec encodes, as 64 hexadecimal characters."""
    return hashlib.sha256(canonical(value)).hexdigest()


def task_digest(task: Task) -> str:
    """The digest of one task: 16 hexadecimal characters, as it stands in every rollout of the task."""
    return digest(task)[:16]


def tree_digest(*places: Path) -> str:
    """Returns the digest of Python files as they are now: of files, and of folders at any depth."""
    files = [(place, file) for place in places for file in (sorted(place.rglob("*.py")) if place.is_dir() else [place])]
    named = [(file.relative_to(place.parent).as_posix(), file) for place, file in files]
    return digest([(name, hashlib.sha256(file.read_bytes()).hexdigest()) for name, file in named])


def changed_files(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Returns what differs between two mappings of file to digest, each a phrase: `benchmark.py has changed`."""
    names = sorted(then.keys() | now.keys())
    return [
        f"{name} {'is new' if name not in then else 'is gone' if name not in now else 'has changed'}"
        for name in names
        if then.get(name) != now.get(name)
    ]


def tasks_digest(tasks: Iterable[Task]) -> str:
    """The digest of a set of tasks in their order."""
    return digest([task_digest(task) for task in tasks])


def prompts_digest(tasks: Iterable[Task]) -> str:
    """The digest of what a model is shown of a set of tasks, in their order."""
    return digest([prompt_digest(task) for task in tasks])


def prompt_digest(task: Task) -> str:
    """The digest of what a model is shown of a task: input items, tools, output format."""
    return digest([task.input, task.tools, task.format])
