"""Writing a run directory: who may, what comes first, and a line for each rollout."""

import errno
import fcntl
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from assay.errors import DigestMismatch, StoppedEarly, UsageError
from assay.input import check_regular, is_present
from assay.store.files import BEGIN_S, cut_torn_line, first_bytes, lock, open_file, write_json, write_lines
from assay.store.record import RunRecord, read_record
from assay.store.registry import write_begin, write_start
from assay.store.shard import Shard
from assay.types import Rollout, Task

AFTER_AN_EDIT = "\n  To score what it holds by the code of now, without asking the model again: assay rescore"


def claim(stack: ExitStack, folder: Path, shard: Shard) -> None:
    """Lock a shard of a run for this process until `stack` closes. The folder is made.

    Raises UsageError where another process writes rollouts of that shard.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"{folder} is a file; a run needs a directory") from None
    # Whole runs write alone; shards write side by side, each in its own file. A lock belongs to an open file, so the
    # kernel takes it back however the process ends.
    if shard.count == 1:
        lock(stack, folder, fcntl.LOCK_EX)
        return
    lock(stack, folder, fcntl.LOCK_SH)
    lock(stack, folder / shard.file, fcntl.LOCK_EX)
    for path in folder.glob("rollouts*.jsonl"):
        if (other := Shard.of(path.name)) and other != shard and other.meets(shard):
            with ExitStack() as probing:
                lock(probing, path, fcntl.LOCK_SH)


class Lines:
    """Rollouts as whole lines in memory, until `drain` takes them."""

    def __init__(self) -> None:
        self._encode_into = msgspec.json.Encoder().encode_into
        self._line = bytearray()
        self._pending = bytearray()

    @property
    def size(self) -> int:
        """Bytes that were appended and not taken yet."""
        return len(self._pending)

    def append(self, rollout: Rollout) -> None:
        """Add one rollout as one line."""
        line = self._line
        try:
            self._encode_into(rollout, line)
        except UnicodeEncodeError:
            # Lone surrogates have no UTF-8. They are replaced rather than losing the rollout.
            rollout = msgspec.convert(_without_surrogates(msgspec.to_builtins(rollout)), Rollout)
            self._encode_into(rollout, line)
        self._pending += line
        self._pending.append(0x0A)

    def drain(self) -> bytearray:
        """Returns what was appended since the last call."""
        lines, self._pending = self._pending, bytearray()
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
    ) -> None:
        """Open or begin a run, which is written down in the registry first, where there is one.

        Raises DigestMismatch, naming what differs, where the folder holds another run, and UsageError where another
        process is writing it.
        """
        super().__init__()
        shard = shard or Shard()
        self._path = folder / shard.file
        with ExitStack() as stack:
            claim(stack, folder, shard)
            with ExitStack() as beginning:
                lock(beginning, folder.resolve().parent, fcntl.LOCK_EX, wait_s=BEGIN_S)
                _begin(folder, record, tasks, registry)
            self._file = open_file(stack, self._path)
            check_regular(self._file, self._path)
            self._size = cut_torn_line(self._file, self._path, first_bytes(Rollout))
            self._open = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.flush()
            os.fsync(self._file)
        finally:
            self._open.close()

    def append_line(self, line: bytes) -> None:
        """Add encoded rollouts: whole lines, with their ends. They are in the file after the next `flush`."""
        self._pending += line

    def flush(self) -> None:
        """Write what was appended. Raises StoppedEarly where the disk is full; the file then ends in a whole line.

        Also raises StoppedEarly where the file was removed: what is written to it would be gone with this process.
        """
        if not self._pending:
            return
        if os.fstat(self._file).st_nlink == 0:
            raise StoppedEarly(
                f"{self._path} was removed while the run wrote to it, and the rollouts in it are gone. "
                "Give the same command again to make them."
            )
        lines = self.drain()
        position = 0
        try:
            while position < len(lines):
                position += os.write(self._file, memoryview(lines)[position:])
        except OSError as error:
            # As many whole lines as fitted stay.
            self._size += lines.rfind(b"\n", 0, position) + 1
            os.ftruncate(self._file, self._size)
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            raise StoppedEarly(
                f"{self._path}: {os.strerror(error.errno)}. What was written is valid; "
                "free some space and give the same command again to go on."
            ) from None
        self._size += position


def _begin(folder: Path, record: RunRecord, tasks: Sequence[Task], registry: Path | None) -> None:
    """Write what the run is a run of, or compare it with what is there."""
    if not is_present(folder / "run.json"):
        if registry:
            write_start(registry, folder, record)
        write_lines(folder / "tasks.jsonl", tasks)
        write_json(folder / "run.json", record)
    elif differences := read_record(folder).differences(record):
        raise DigestMismatch(
            f"{folder} holds another run, so it can't be resumed:\n  "
            + "\n  ".join(differences)
            + (AFTER_AN_EDIT if {line.partition(":")[0] for line in differences} - {"version"} == {"code"} else "")
            + "\n  Choose another directory with --out, or remove this one."
        )
    if registry and is_present(registry):
        write_begin(registry, read_record(folder).id)


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {key: _without_surrogates(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value
