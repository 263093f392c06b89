"""The run directory: what was asked, and one line for each rollout as soon as it ends.

    run.json        the resolved configuration, digests, versions, started when; written first, never changed
    tasks.jsonl     the exact tasks that were asked
    rollouts.jsonl  append-only, one rollout a line; rollouts-3-of-16.jsonl where a shard writes its own
    summary.json    derived; can always be rebuilt from the three above

A kill at any byte loses what was in flight and no more: a last line without its end is cut off when the run resumes.

    started.jsonl   in the folder above: a line for each run before it starts, so that one that is thrown away is known
"""

import errno
import fcntl
import hashlib
import math
import os
import re
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import msgspec
from msgspec import Struct

from assay.config import convert
from assay.digest import changed_files, digest, task_digest, tasks_digest
from assay.errors import DigestMismatch, InputError, StoppedEarly, UsageError
from assay.types import Failure, Rollout, RolloutLimits, Row, Sampling, Task

BEGIN_S = 10.0
"""Seconds to wait for another command that begins a run beside this one: it takes milliseconds."""
AFTER_AN_EDIT = "\n  To score what it holds by the code of now, without asking the model again: assay rescore"
T = TypeVar("T")
R = TypeVar("R", Rollout, Row)


class RoleRecord(Struct, frozen=True):
    """The model in one role of a run, such as its judge."""

    server: dict[str, Any]
    """Its configuration, without secrets; empty where the benchmark's own stands in."""
    identity: dict[str, Any]


class Rescored(Struct, frozen=True, kw_only=True):
    """The run whose rollouts a rescored run took over, as it was then."""

    run: str
    """Its folder's name."""
    id: str
    version: str
    tasks_digest: str
    code: str
    rollouts: str
    """SHA-256 of its files of rollouts, one after the other."""


class RunRecord(Struct, frozen=True, kw_only=True):
    """`run.json`: what a run is a run of."""

    benchmark: str
    version: str
    tasks: int
    tasks_digest: str
    code: str
    """Digest of the code that decides scores: those of two verifiers are not joined."""
    sources: dict[str, str] = {}
    """That code: SHA-256 by file, and the version of each package that it imports."""
    model: str
    server: dict[str, Any]
    """The model server's configuration. Secrets are never in it: it names the environment variable that holds them."""
    identity: dict[str, Any]
    """The part of the model server's configuration that decides which outputs to expect."""
    sampling: Sampling
    """The protocol's sampling."""
    limits: RolloutLimits = RolloutLimits()
    """The protocol's limits."""
    seed: int
    repeats: int
    """Repeats planned when the run began. Later commands may have added more."""
    versions: dict[str, str]
    started: str
    """ISO 8601, UTC."""
    roles: dict[str, RoleRecord] = {}
    """The models that sessions ask beside the policy."""
    id: str = ""
    """By chance, for the registry: by it a run is known from another that was begun in its place."""
    rescored: Rescored | None = None
    """Where the turns were not made here: the run whose they are, under the verifier of that time."""

    def differences(self, other: "RunRecord", *, here: str = "there", elsewhere: str = "now") -> list[str]:
        """What keeps the two from being one run, a line each, empty where nothing does; words say where each is."""
        names = ("benchmark", "version", "tasks", "tasks_digest", "code", "identity", "sampling", "limits", "seed")
        pairs = [(name, getattr(self, name), getattr(other, name)) for name in names]
        for role in sorted(self.roles.keys() | other.roles.keys()):
            mine, theirs = self.roles.get(role), other.roles.get(role)
            pairs.append((f"the {role}", mine and mine.identity, theirs and theirs.identity))
        different = [pair for pair in pairs if pair[1] != pair[2]]
        return [
            f"code: {', '.join(changed)}"
            if name == "code" and (changed := changed_files(self.sources, other.sources))
            else f"{name}: {_short(mine)} {here}, {_short(theirs)} {elsewhere}"
            for name, mine, theirs in different
        ]


class Started(Struct, frozen=True, kw_only=True, tag="started"):
    """A line of `started.jsonl`, written before the run's first file."""

    id: str
    at: str
    """ISO 8601, UTC."""
    benchmark: str
    version: str
    tasks: int
    tasks_digest: str
    model: str
    identity: str
    """Digest of what decides which outputs to expect."""
    seed: int
    repeats: int
    path: str
    """Of the run's folder, seen from the registry's."""
    previous: str
    """SHA-256 of the line before, so that a line that is taken out is noticed; empty in the first."""


class Begun(Struct, frozen=True, kw_only=True, tag="begun"):
    """A line of `started.jsonl`, written once the run's `run.json` is there: without it, the run was never begun."""

    id: str
    previous: str


Registered = Started | Begun


class Shard(Struct, frozen=True):
    """The part `index` of `count` of a plan. `index` counts from 1."""

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """A shard from `3/16`. Raises UsageError."""
        index, _, count = text.partition("/")
        if not (index.isdigit() and count.isdigit() and 1 <= int(index) <= int(count)):
            raise UsageError(f"--shard {text}: expected i/n with i from 1 to n, such as 3/16")
        return cls(int(index), int(count))

    @classmethod
    def of(cls, file: str) -> Self | None:
        """The shard whose file has this name; None where it is no such name."""
        found = re.fullmatch(r"rollouts(?:-(\d+)-of-(\d+))?\.jsonl", file)
        return found and cls(int(found[1] or 1), int(found[2] or 1))

    @property
    def file(self) -> str:
        return "rollouts.jsonl" if self.count == 1 else f"rollouts-{self.index}-of-{self.count}.jsonl"

    def part(self, index: int, count: int) -> "Shard":
        """The part `index` of `count` of this part: a shard of the whole plan too."""
        return Shard(self.index + self.count * (index - 1), self.count * count)

    def meets(self, other: "Shard") -> bool:
        """Whether the two have any rollout of a plan in common."""
        return (self.index - other.index) % math.gcd(self.count, other.count) == 0


def claim(held: ExitStack, folder: Path, shard: Shard) -> list[int]:
    """Keep other commands from a part of a run until `held` closes; the open files by which it is kept.

    A process that inherits these keeps it too. The folder is made. Raises UsageError where another process writes
    rollouts of that part.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"{folder} is a file; a run needs a directory") from None
    # Whole runs write alone; shards write side by side, each in its own file. A lock belongs to an open file, so the
    # kernel takes it back however the process ends.
    if shard.count == 1:
        return [_lock(held, folder, fcntl.LOCK_EX)]
    locks = [_lock(held, folder, fcntl.LOCK_SH), _lock(held, folder / shard.file, fcntl.LOCK_EX)]
    for path in folder.glob("rollouts*.jsonl"):
        if (other := Shard.of(path.name)) and other != shard and other.meets(shard):
            with ExitStack() as probing:
                _lock(probing, path, fcntl.LOCK_SH)
    return locks


class Lines:
    """Rollouts as whole lines, until they are taken."""

    def __init__(self) -> None:
        self._encode_into = msgspec.json.Encoder().encode_into
        self._line = bytearray()
        self._unwritten = bytearray()

    @property
    def size(self) -> int:
        """Bytes that were appended and not taken yet."""
        return len(self._unwritten)

    def append(self, rollout: Rollout) -> None:
        """Add one rollout as one line."""
        line = self._line
        try:
            self._encode_into(rollout, line)
        except UnicodeEncodeError:
            # Lone surrogates have no UTF-8. They are replaced rather than losing the rollout.
            rollout = msgspec.convert(_without_surrogates(msgspec.to_builtins(rollout)), Rollout)
            self._encode_into(rollout, line)
        self._unwritten += line
        self._unwritten.append(0x0A)

    def drain(self) -> bytearray:
        """What was appended, which is handed over."""
        lines, self._unwritten = self._unwritten, bytearray()
        return lines


class Store(Lines):
    """A run directory that is being written. Use it as a context manager: leaving it closes and syncs the file."""

    def __init__(
        self,
        folder: Path,
        record: RunRecord,
        tasks: Sequence[Task],
        shard: Shard | None = None,
        *,
        registry: Path | None = None,
        claimed: bool = False,
    ) -> None:
        """Open or begin a run, which is written down in the registry first, where there is one.

        `claimed`: the process that started this one keeps others from the run. Raises DigestMismatch, naming what
        differs, where the folder holds another run, and UsageError where another process is writing it.
        """
        super().__init__()
        shard = shard or Shard()
        self._path = folder / shard.file
        with ExitStack() as held:
            if not claimed:
                claim(held, folder, shard)
            with ExitStack() as beginning:
                _lock(beginning, folder.parent, fcntl.LOCK_EX, wait_s=BEGIN_S)
                _begin(folder, record, tasks, registry)
            self._file = _open(held, self._path)
            self._size = _cut_torn_line(self._file)
            self._held = held.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.flush()
            os.fsync(self._file)
        finally:
            self._held.close()

    def append_line(self, line: bytes) -> None:
        """Add what is encoded already: whole lines, with their ends. They are in the file after the next `flush`."""
        self._unwritten += line

    def flush(self) -> None:
        """Write what was appended. Raises StoppedEarly where the disk is full; the file then ends in a whole line.

        Also raises StoppedEarly where the file was removed: what is written to it would be gone with this process.
        """
        if not self._unwritten:
            return
        if os.fstat(self._file).st_nlink == 0:
            raise StoppedEarly(
                f"{self._path} was removed while the run wrote to it, and the rollouts in it are gone. "
                "Give the same command again to make them."
            )
        lines = self.drain()
        written = 0
        try:
            while written < len(lines):
                written += os.write(self._file, memoryview(lines)[written:])
        except OSError as error:
            # As many whole lines as fitted stay.
            self._size += lines.rfind(b"\n", 0, written) + 1
            os.ftruncate(self._file, self._size)
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            raise StoppedEarly(
                f"{self._path}: {os.strerror(error.errno)}. What was written is valid; "
                "free some space and give the same command again to go on."
            ) from None
        self._size += written


def _begin(folder: Path, record: RunRecord, tasks: Sequence[Task], registry: Path | None) -> None:
    """Write what the run is a run of, or compare it with what is there."""
    if not (folder / "run.json").exists():
        if registry:
            _register(registry, folder, record)
        write_lines(folder / "tasks.jsonl", tasks)
        write_json(folder / "run.json", record)
    elif differences := read_record(folder).differences(record):
        raise DigestMismatch(
            f"{folder} holds another run, so it can't be resumed:\n  "
            + "\n  ".join(differences)
            + (AFTER_AN_EDIT if {line.partition(":")[0] for line in differences} - {"version"} == {"code"} else "")
            + "\n  Choose another directory with --out, or remove this one."
        )
    if registry and registry.exists():
        _confirm(registry, read_record(folder).id)


def _register(registry: Path, folder: Path, record: RunRecord) -> None:
    path = os.path.relpath(folder.resolve(), registry.resolve().parent)
    try:
        append_line(
            registry,
            lambda previous: Started(
                id=record.id,
                at=record.started,
                benchmark=record.benchmark,
                version=record.version,
                tasks=record.tasks,
                tasks_digest=record.tasks_digest,
                model=record.model,
                identity=digest(record.identity),
                seed=record.seed,
                repeats=record.repeats,
                path=path,
                previous=previous,
            ),
        )
    except PermissionError as error:
        raise UsageError(
            f"{registry}: {error.strerror}. A run is written down there before it starts; "
            "choose a directory with --out whose parent can be written"
        ) from None


def _confirm(registry: Path, id: str) -> None:
    """Write down that the run has begun, unless that is written or its start never was."""
    if {type(line) for line in read_registry(registry) if line.id == id} == {Started}:
        append_line(registry, lambda previous: Begun(id=id, previous=previous))


def read_registry(path: Path) -> list[Registered]:
    """The lines of a registry, in their order. Raises InputError with the line."""
    return list(read_lines(path, cast(Any, Registered)))


def _open(held: ExitStack, path: Path) -> int:
    file = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    held.callback(os.close, file)
    return file


def _lock(held: ExitStack, path: Path, kind: int, *, wait_s: float = 0.0) -> int:
    """The open file or folder, locked until `held` closes. Raises UsageError where another process keeps it."""
    file = _open(held, path)
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise UsageError(f"{path} is being written by another process; wait for it or stop it") from None
            time.sleep(0.02)
        else:
            return file


def read_record(folder: Path) -> RunRecord:
    """What the run in a folder is a run of. Raises UsageError or InputError."""
    path = folder / "run.json"
    if not path.exists():
        raise UsageError(f"{folder} is not a run directory: it has no run.json")
    try:
        return convert(msgspec.json.decode(path.read_bytes()), RunRecord, path)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(path, None, str(error), "the JSON that `assay run` wrote") from None


def read_tasks(folder: Path) -> list[Task]:
    """The tasks that the run asked. Raises InputError where they are not those that its run.json names."""
    path = folder / "tasks.jsonl"
    if not path.exists():
        raise InputError(path, None, "no such file", "the tasks of the run whose run.json is beside it")
    tasks = list(read_lines(path, Task))
    if tasks_digest(tasks) != read_record(folder).tasks_digest:
        raise InputError(path, None, "these are not the tasks in run.json's digest", "unchanged tasks")
    return tasks


def read_rollouts(folder: Path) -> Iterator[Rollout]:
    """Every rollout, of every shard, in the order they ended.

    Raises InputError for a damaged line, and for a rollout of a task that is not this run's.
    """
    return _rollouts(folder, Rollout)


def read_rows(folder: Path) -> Iterator[Row]:
    """The same without decoding the turns, for what needs outcomes alone."""
    return _rollouts(folder, Row)


def read_row_lines(folder: Path, tasks: Collection[str] | None = None) -> Iterator[tuple[Path, bytes, Row]]:
    """The same with the file of each, and its whole line as it stands there. Of some tasks alone, where given: then
    lines of others are passed over undecoded."""
    return _rollout_lines(folder, Row, tasks)


def _rollouts(folder: Path, kind: type[R]) -> Iterator[R]:
    for _, _, rollout in _rollout_lines(folder, kind):
        yield rollout


def _rollout_lines(
    folder: Path, kind: type[R], tasks: Collection[str] | None = None
) -> Iterator[tuple[Path, bytes, R]]:
    digests = {task.id: task_digest(task) for task in read_tasks(folder)}
    # As `append` begins a line.
    others = {b'{"task":' + msgspec.json.encode(task) for task in digests if tasks is not None and task not in tasks}
    for path in sorted(folder.glob("rollouts*.jsonl")):
        for number, line, rollout in _whole_lines(path, kind, others):
            if digests.get(rollout.task) != rollout.task_digest:
                got = f"a rollout of task {rollout.task} with digest {rollout.task_digest}"
                raise InputError(path, number, got, "rollouts of the tasks in tasks.jsonl beside it")
            yield path, line, rollout


def progress(folder: Path) -> tuple[set[tuple[str, int]], dict[tuple[str, int], int]]:
    """The (task, repeat) that have a score, and how many attempts those that failed have had."""
    scored: set[tuple[str, int]] = set()
    attempts: dict[tuple[str, int], int] = {}
    for row in read_rows(folder):
        key = (row.task, row.repeat)
        if isinstance(row.outcome, Failure):
            attempts[key] = max(attempts.get(key, 0), row.attempt + 1)
        else:
            scored.add(key)
    return scored, attempts


def write_json(path: Path, value: Any) -> None:
    """Write a derived JSON file so that a reader sees the old one or the new one, never half of it."""
    write_bytes(path, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def write_lines(path: Path, values: Sequence[Any]) -> None:
    """The same for JSONL."""
    write_bytes(path, b"".join(msgspec.json.encode(value) + b"\n" for value in values))


def append_line(path: Path, value: Any | Callable[[str], Any]) -> None:
    """Add a line to a JSONL file, for good when this returns. A torn last line, left by a kill, is cut off first.

    A function is called with the digest of the line before, for what has to be linked to it.
    Raises StoppedEarly where the disk is full; the file then is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        file = _lock(held, path, fcntl.LOCK_EX, wait_s=BEGIN_S)
        size = _cut_torn_line(file)
        line = msgspec.json.encode(value(_last_digest(file, size)) if callable(value) else value) + b"\n"
        try:
            written = os.write(file, line)
            if written < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file)
        except OSError as error:
            os.ftruncate(file, size)
            raise StoppedEarly(f"{path}: {error.strerror}. Nothing that was there before has changed.") from None


def line_digest(line: bytes) -> str:
    """SHA-256 of a line without its end."""
    return hashlib.sha256(line.removesuffix(b"\n")).hexdigest()


def _last_digest(file: int, size: int) -> str:
    """The digest of a file's last line, empty where it has none."""
    lines = os.pread(file, size, 0).splitlines()
    return line_digest(lines[-1]) if lines else ""


def read_lines(path: Path, kind: type[T]) -> Iterator[T]:
    """Each line of a JSONL file; a last one without its end is none. Raises InputError with the line."""
    for _, _, value in _whole_lines(path, kind):
        yield value


def _whole_lines(path: Path, kind: type[T], passed_over: Collection[bytes] = ()) -> Iterator[tuple[int, bytes, T]]:
    """The number of each line, the line, and what it holds; but not those with a beginning that is passed over."""
    decode = msgspec.json.Decoder(kind).decode
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return  # torn by a kill: the rollout is asked again
            if passed_over and line[: line.find(b',"task_digest"')] in passed_over:
                continue
            try:
                yield number, line, decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise InputError(
                    path, number, str(error), f"a {getattr(kind, '__name__', 'line').lower()} as one JSON object"
                ) from None


def _cut_torn_line(file: int) -> int:
    """The file's size once a last line without its end is gone."""
    size = end = os.fstat(file).st_size
    while end > 0:
        start = max(0, end - 65536)
        found = os.pread(file, end - start, start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    if end < size:
        os.ftruncate(file, end)
    return end


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never half of it."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StoppedEarly(f"{path}: {error.strerror}. Nothing that was there before has changed.") from None


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {key: _without_surrogates(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def _short(value: Any) -> str:
    return value[:12] if isinstance(value, str) else str(value) if len(str(value)) < 200 else digest(value)[:12]
