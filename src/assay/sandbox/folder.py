"""A folder that programs write into, read and written from outside without following any link out of it."""

import os
import stat
from contextlib import suppress
from pathlib import PurePosixPath

_ENTER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Folder:
    """A folder, held open. `owner` is the user and group that what is written belongs to."""

    def __init__(self, path: str, owner: int | None = None) -> None:
        self._descriptor = os.open(path, _ENTER)
        self._owner = owner

    def read(self, path: str, at_most: int) -> bytes:
        """A regular file's content. Raises OSError, PermissionError of it where the path is not one in the folder."""
        *folders, name = parts_below(path)
        parent = self._enter(folders, path, make=False)
        try:
            # O_NONBLOCK: a pipe without a writer would block for ever.
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
        except OSError as error:
            raise _path_error(error, path) from None
        finally:
            os.close(parent)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > at_most:
            os.close(descriptor)
            raise PermissionError(f"{path}: expected a regular file of at most {at_most} bytes")
        with os.fdopen(descriptor, "rb") as file:
            return file.read(at_most)

    def write(self, path: str, content: bytes) -> None:
        """A new file in the place of what was there. Raises OSError, as `read`."""
        *folders, name = parts_below(path)
        parent = self._enter(folders, path, make=True)
        try:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=parent)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(name, flags, 0o644, dir_fd=parent), "wb") as file:
                self._give(file.fileno())
                file.write(content)
        except OSError as error:
            raise _path_error(error, path) from None
        finally:
            os.close(parent)

    def unlock(self) -> None:
        """Lets everybody in again, whatever a program did to the folder's mode."""
        os.chmod(f"/proc/self/fd/{self._descriptor}", 0o1777)

    def close(self) -> None:
        os.close(self._descriptor)

    def _enter(self, folders: list[str], path: str, *, make: bool) -> int:
        """A descriptor of the folder that these names lead to, step by step."""
        at = os.dup(self._descriptor)
        for name in folders:
            try:
                if make:
                    self._make(name, at)
                inner = os.open(name, _ENTER, dir_fd=at)
            except OSError as error:
                raise _path_error(error, path) from None
            finally:
                os.close(at)
            at = inner
        return at

    def _make(self, name: str, parent: int) -> None:
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
        except FileExistsError:
            return
        if self._owner is not None:
            os.chown(name, self._owner, self._owner, dir_fd=parent, follow_symlinks=False)

    def _give(self, descriptor: int) -> None:
        if self._owner is not None:
            os.fchown(descriptor, self._owner, self._owner)


def parts_below(path: str) -> tuple[str, ...]:
    """The names on a relative path. Raises PermissionError for one that leads out of where it begins."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise PermissionError(f"{path!r}: expected a path below the working directory, such as solution.py")
    return parts


def _path_error(error: OSError, path: str) -> OSError:
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(f"{path}: there is no such file")
    return PermissionError(f"{path}: {error.strerror}; expected a regular file, and no symbolic link on the way")
