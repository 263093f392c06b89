"""The tree of errors.

AssayError
├── UsageError            the command asks for something that does not exist or is impossible; exit code 2
│   ├── InputError        a file has wrong content: file, line, expected
│   └── UnknownName       nothing has this name; with the nearest names
├── DigestMismatch        a run directory belongs to other tasks or settings; exit code 2
├── StoppedEarly          the run cannot go on, such as where the disk is full; exit code 4
│   ├── NothingScored     all rollouts so far failed
│   └── BudgetSpent       the remaining rollouts could exceed the budget
├── ModelError            one model call failed; becomes a Failure, never a score
│   ├── ContextOverflow   (in model/) the request doesn't fit the model's context: an incomplete response
│   ├── RoleError         (in model/) the failed model has a role in the environment, such as a judge
│   └── BudgetReached     (in model/) the next request could exceed the budget
├── AgentError           an agent broke its contract; becomes a Failure too
├── ToolError             a tool of the environment raised; becomes a Failure too
├── VerifierError         a verifier could not judge an answer; becomes a Failure too
└── RemoteError           a server that holds the environment failed; becomes a Failure too
"""

import errno
from collections.abc import Iterable
from difflib import get_close_matches

MOST_NAMES = 24
"""The most known names in a message."""


_RIGHTS = "the right to read and write it; `ls -l` says whose it is"
_SPACE = "room on the disk; free some, and give the same command again"
_MISTAKES = {
    errno.ENOENT: "a file or folder that is there; mend the path, or bring back what was removed",
    errno.ENOTDIR: "a path whose parts but the last are folders",
    errno.EISDIR: "a file",
    errno.EEXIST: "a path where nothing is yet",
    errno.ELOOP: "a file or folder; mend the link or remove it",
    errno.ENAMETOOLONG: "a shorter name",
    errno.EINVAL: "a regular file",
    errno.ENXIO: "a regular file",
}
"""The system's errors for a path that a command can't use, and what was expected."""
_TROUBLES = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EFBIG: _SPACE,
    errno.EACCES: _RIGHTS,
    errno.EROFS: "a file system that can be written; name another folder with --out",
}
"""The system's errors for a file that can't be read or written, and what was expected."""


class AssayError(Exception):
    """Any error that the user sees without a traceback."""

    exit_code = 1


class UsageError(AssayError):
    """The command asks for something that does not exist or is impossible."""

    exit_code = 2


class InputError(UsageError):
    """A file has wrong content."""

    def __init__(self, path: object, line: int | None, got: str, expected: str) -> None:
        place = f"{path}, line {line}" if line else str(path)
        super().__init__(f"{place}: {got}\n  expected: {expected}")


class UnknownName(UsageError):
    """There is no `what` of this name. The message has the nearest known names; `hint` adds other ways to name one."""

    def __init__(self, what: str, name: str, known: Iterable[str], hint: str = "") -> None:
        names = list(known)
        near = get_close_matches(name, names)
        meant = f" Did you mean {' or '.join(near)}?" if near else ""
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        super().__init__(f"there is no {what} '{name}'.{meant}\n  known: {', '.join(names[:MOST_NAMES])}{more}{hint}")


class DigestMismatch(AssayError):
    """A run directory belongs to other tasks, another model or other settings."""

    exit_code = 2


class StoppedEarly(AssayError):
    """The run cannot continue. Its files are valid, and the same command resumes it."""

    exit_code = 4
    run: object | None = None
    """The `assay.Run` of the rollouts so far, if `assay.run` raised the error."""


class NothingScored(StoppedEarly):
    """All rollouts so far failed, so the cause is not in the tasks."""


class BudgetSpent(StoppedEarly):
    """The remaining rollouts could exceed the budget."""


class _KindError(AssayError):
    """An error with a `kind`, a short stable word."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class AgentError(_KindError):
    """An agent broke its contract, so that nothing is known about the model."""


class RemoteError(AssayError):
    """An environment's server failed, so that nothing is known about the model."""

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable


class ToolError(AssayError):
    """A tool raised: the environment's fault, not the agent's. The cause is attached."""


class VerifierError(_KindError):
    """A verifier could not judge an answer, so that nothing is known about it."""


class SandboxError(AssayError):
    """A sandbox failed by itself. A program that is stopped by a limit is a result, and raises nothing."""


class ModelError(_KindError):
    """One model call failed. Its kind is, for example, `timeout` or `http_500`."""

    def __init__(self, kind: str, message: str, *, retryable: bool, retry_after_s: float | None = None) -> None:
        super().__init__(kind, message)
        self.retryable = retryable
        self.retry_after_s = retry_after_s


def of_system(error: OSError) -> AssayError | None:
    """Returns the system's error about a file as an AssayError; None if it is about no file."""
    expected = (_MISTAKES | _TROUBLES).get(error.errno or 0)
    if error.filename is None or expected is None:
        return None
    kind = UsageError if error.errno in _MISTAKES else StoppedEarly
    return kind(f"{error.filename}: {error.strerror}\n  expected: {expected}")


def text_of(error: Exception) -> str:
    """Returns what an error says, the system's error about a file as `of_system` words it."""
    return str((isinstance(error, OSError) and of_system(error)) or error)
