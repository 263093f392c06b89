"""Digests: SHA-256 of canonical JSON, so that equal content has an equal digest on every machine."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from assay.types import Task

_encoder = msgspec.json.Encoder(order="sorted")


def canonical(value: Any) -> bytes:
    """Returns canonical JSON: keys sorted, no spaces."""
    return _encoder.encode(value)


def digest(value: Any) -> str:
    """Returns the digest of anything that msgspec encodes: 64 hexadecimal characters."""
    return hashlib.sha256(canonical(value)).hexdigest()


def task_digest(task: Task) -> str:
    """Returns the digest of one task, which each of its rollouts has: 16 hexadecimal characters."""
    return digest(task)[:16]


def tree_digest(*places: Path) -> str:
    """Returns the digest of Python files as they are on disk: of files, and of folders at any depth."""
    files = [(place, file) for place in places for file in (sorted(place.rglob("*.py")) if place.is_dir() else [place])]
    named = [(file.relative_to(place.parent).as_posix(), file) for place, file in files]
    return digest([(name, hashlib.sha256(file.read_bytes()).hexdigest()) for name, file in named])


def changed_files(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Returns the differences between two mappings of file to digest, as phrases such as `benchmark.py has changed`."""
    names = sorted(then.keys() | now.keys())
    return [
        f"{name} {'is new' if name not in then else 'is gone' if name not in now else 'has changed'}"
        for name in names
        if then.get(name) != now.get(name)
    ]


def tasks_digest(tasks: Iterable[Task]) -> str:
    """Returns the digest of a sequence of tasks: 64 hexadecimal characters."""
    return digest([task_digest(task) for task in tasks])


def prompts_digest(tasks: Iterable[Task]) -> str:
    """Returns the digest of the parts of a sequence of tasks that a model sees: 64 hexadecimal characters."""
    return digest([prompt_digest(task) for task in tasks])


def prompt_digest(task: Task) -> str:
    """Returns the digest of the parts of a task that a model sees: input items, tools, output format."""
    return digest([task.input, task.tools, task.format])
