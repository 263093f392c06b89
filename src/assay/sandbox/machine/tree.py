"""Files of a root, from outside of it: no link in it leads out, wherever it points."""

import os
import shutil
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

_ENTER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LINKS = 40
"""Links on the way to a folder at most, as in the kernel."""


@contextmanager
def entered(root: str, path: str, *, make: bool = False) -> Generator[int]:
    """Yields a descriptor of a folder in the root, with links followed as in the root itself. Raises OSError."""
    at = [os.open(root, _ENTER)]
    left = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    links = 0
    try:
        while left:
            name = left.pop()
            if name == "..":
                if len(at) > 1:
                    os.close(at.pop())
                continue
            try:
                status = os.stat(name, dir_fd=at[-1], follow_symlinks=False)
            except FileNotFoundError:
                if not make:
                    raise FileNotFoundError(f"{path}: there is no such file") from None
                os.mkdir(name, 0o755, dir_fd=at[-1])
                status = os.stat(name, dir_fd=at[-1], follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                links += 1
                if links > _LINKS:
                    raise OSError(f"{path}: too many links")
                target = os.readlink(name, dir_fd=at[-1])
                if target.startswith("/"):
                    while len(at) > 1:
                        os.close(at.pop())
                left += [part for part in reversed(target.split("/")) if part not in ("", ".")]
                continue
            at.append(os.open(name, _ENTER, dir_fd=at[-1]))
        yield at[-1]
    finally:
        for descriptor in at:
            os.close(descriptor)


def read(root: str, path: str, at_most: int, end: bool = False) -> bytes:
    """Returns a regular file's content, or its `end`. Raises OSError, also for a link and for more bytes."""
    folder, _, name = path.rstrip("/").rpartition("/")
    with entered(root, folder) as parent:
        descriptor = os.open(name, _READ, dir_fd=parent)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or (status.st_size > at_most and not end):
                raise PermissionError(f"{path}: expected a regular file of at most {at_most} bytes")
            if end:
                file.seek(max(0, status.st_size - at_most))
            return file.read(at_most)


def remove(root: str, path: str) -> None:
    """Removes a file, a link or a folder with all in it; does nothing where there is none."""
    folder, _, name = path.rstrip("/").rpartition("/")
    with suppress(FileNotFoundError), entered(root, folder) as parent:
        if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            shutil.rmtree(name, dir_fd=parent)
        else:
            os.unlink(name, dir_fd=parent)


def make_folder(root: str, path: str, owner: tuple[int, int] | None = None) -> None:
    """Makes a folder, and those on the way; `owner` is a user and a group."""
    with entered(root, path, make=True) as folder:
        if owner:
            os.fchown(folder, *owner)


def put(root: str, source: str | Path, path: str, *, owner: tuple[int, int] = (0, 0)) -> None:
    """Copies a file, or what is in a folder, to a path. Files in its way are replaced, folders are kept."""
    source = Path(source)
    folder, _, name = path.rstrip("/").rpartition("/")
    if source.is_dir():
        with entered(root, path, make=True) as inside:
            _put_all(source, inside, owner)
    else:
        with entered(root, folder, make=True) as parent:
            _put_file(source, parent, name, owner)


def _put_all(source: Path, inside: int, owner: tuple[int, int]) -> None:
    for entry in sorted(source.iterdir()):
        if entry.is_symlink() or not entry.is_dir():
            _put_file(entry, inside, entry.name, owner)
            continue
        with suppress(FileExistsError):
            os.mkdir(entry.name, stat.S_IMODE(entry.stat().st_mode), dir_fd=inside)
            os.chown(entry.name, *owner, dir_fd=inside, follow_symlinks=False)
        folder = os.open(entry.name, _ENTER, dir_fd=inside)
        try:
            _put_all(entry, folder, owner)
        finally:
            os.close(folder)


def _put_file(source: Path, parent: int, name: str, owner: tuple[int, int]) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=parent)
    if source.is_symlink():
        os.symlink(os.readlink(source), name, dir_fd=parent)
        return
    with open(source, "rb") as given, os.fdopen(os.open(name, _CREATE, 0o600, dir_fd=parent), "wb") as written:
        shutil.copyfileobj(given, written)
        os.fchown(written.fileno(), *owner)
        os.fchmod(written.fileno(), stat.S_IMODE(source.stat().st_mode))


def take(root: str, path: str, target: str, at_most: int) -> None:
    """Copies a file or folder out of the root: regular files and folders alone, `at_most` bytes of them.

    They belong to whom the folder belongs that they come into. Raises OSError, FileNotFoundError where there is none.
    """
    folder, _, name = path.rstrip("/").rpartition("/")
    owner = os.stat(os.path.dirname(target))
    with entered(root, folder) as parent:
        _take(parent, name, Path(target), [at_most], (owner.st_uid, owner.st_gid))


def _take(parent: int, name: str, target: Path, left: list[int], owner: tuple[int, int]) -> None:
    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    left[0] -= status.st_size + 512
    if left[0] < 0:
        raise PermissionError(f"{target.name}: more bytes than may be taken")
    if stat.S_ISDIR(status.st_mode):
        target.mkdir(exist_ok=True)
        os.chown(target, *owner)
        inside = os.open(name, _ENTER, dir_fd=parent)
        try:
            for entry in os.listdir(inside):
                _take(inside, entry, target / entry, left, owner)
        finally:
            os.close(inside)
    elif stat.S_ISREG(status.st_mode):
        with os.fdopen(os.open(name, _READ, dir_fd=parent), "rb") as file, open(target, "wb") as out:
            shutil.copyfileobj(file, out)
        os.chown(target, *owner)
        target.chmod(stat.S_IMODE(status.st_mode) & 0o777)
