"""Code, judged by tests in a sandbox."""

import asyncio
import os
import re
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from weakref import WeakKeyDictionary

import msgspec
from msgspec import Struct, structs

from assay.benchmark.verify.fences import fenced_blocks
from assay.errors import SandboxError
from assay.sandbox import Finished, SandboxConfig, open_sandbox

LIMITS = SandboxConfig(memory_mb=512, processes=16, cpu_s=10, disk_mb=64)
TIMEOUT_S = 20.0
"""Wall time, twice the processor time that a solution has: a machine that is busy elsewhere makes none fail."""
_HERE = Path(__file__).parent
_OPENED: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()
PYTHON = ("python", "python3", "py")
_BINDING = (
    r"(?:async\s+)?def\s+NAME\b|class\s+NAME\b|NAME\s*(?::[^=]+)?=\s*[A-Za-z_(]"
    r"|(?:from\s+[\w.]+\s+)?import\s[^#]*\bas\s+NAME\b"
)
_IMPORT = r"(?:from\s+[\w.]+\s+)?import\s[^#]*\bNAME\s*(?:[,)#]|$)"
_INNER = re.compile(r"(?:async\s+)?def\b|class\b")


class CheckResult(Struct, frozen=True):
    """The result of the tests of a solution."""

    passed: bool
    how: str
    """`passed`; `wrong` where a test's assertion failed; `raised NAME`; `incomparable TYPE` where the solution returned
    an object that tests can't see, such as one of a class of its own; `failed …` where a test stopped otherwise;
    the limit that ended it (`time`, `cpu`, `memory`, `output`); `gone` where it ended the tests."""

    @property
    def stopped(self) -> bool:
        """Whether a limit of the sandbox ended it."""
        return self.how in ("time", "cpu", "memory", "output")


def code_in(text: str, name: str) -> str:
    """Returns the code in a message for the function `name`: of its fenced blocks the last that defines it, else the
    last in Python, else the last; without blocks the whole text."""
    text = text.lstrip("\ufeff")
    blocks = fenced_blocks(text, lambda code: defines(code, name))
    ranked = sorted(blocks, key=lambda block: (_definition_rank(block.body, name), block.language in PYTHON))
    return ranked[-1].body if ranked else text


def defines(code: str, name: str) -> bool:
    """Returns whether the code binds the name outside of classes and functions: by `def`, `class`, `import` or `=`."""
    return _definition_rank(code, name) > 0


def _definition_rank(code: str, name: str) -> int:
    """Returns 2 if the code binds the name, 1 if it only imports it, as examples of its use do; else 0."""
    bound, imported = (re.compile(pattern.replace("NAME", re.escape(name))) for pattern in (_BINDING, _IMPORT))
    found, hidden = 0, 0
    # `hidden` is the indent of the function or class that deeper lines belong to: they bind no name of the module.
    for line in code.splitlines() if name in code else ():
        statement = line.lstrip()
        indent = len(line) - len(statement)
        if not statement or statement[0] in "#)]}" or indent > hidden:
            continue
        hidden = indent if _INNER.match(statement) else sys.maxsize
        found = max(found, 2 if bound.match(statement) else bool(imported.match(statement)))
    return found


async def check_code(
    readings: Sequence[Sequence[str]],
    *,
    entry_point: str,
    tests: str,
    setup: str = "",
    limits: SandboxConfig | None = None,
    timeout_s: float = TIMEOUT_S,
) -> CheckResult:
    """Runs tests, which define `check(candidate)`, on the function `entry_point` of a solution. Returns the result.

    A solution is one or more texts that are executed one after the other. If it can be read in several ways, the first
    of `readings` that is Python counts. `setup` is executed before the tests. These can call the function by its own
    name too, and see only the values that it returns: not what it does to its arguments, and no object of its own
    classes. A value of a type derived from a built-in one becomes the built-in one, an iterator one over a list.
    `limits` is the sandbox, by default LIMITS; an environment passes its own: `limits=self.sandbox`. There are at most
    as many checks at once as processors.

    Raises SandboxError if the tests could not begin.
    """
    words = {what: secrets.token_hex(16) for what in ("started", "passed", "failed")}
    asked = {
        "words": words,
        "readings": readings,
        "entry_point": entry_point,
        "setup": setup,
        "tests": tests,
        "candidate": (_HERE / "candidate.py").read_text(),
    }
    command = ["python3", "-I", "-c", (_HERE / "checker.py").read_text()]
    async with _processors(), open_sandbox(structs.replace(limits or LIMITS, private_streams=True)) as sandbox:
        finished = await sandbox.exec(command, stdin=msgspec.json.encode(asked), timeout_s=timeout_s)
    return _result_of(finished, words)


def _result_of(finished: Finished, words: dict[str, str]) -> CheckResult:
    lines = [line.partition(" ") for line in finished.stdout.decode(errors="replace").splitlines()]
    said = {word: how for word, _, how in lines}
    if words["started"] not in said:
        why = finished.stderr[-500:].decode(errors="replace").strip() or f"stopped by {finished.stopped_by}"
        raise SandboxError(f"the tests could not be begun in the sandbox (exit code {finished.exit_code}): {why}")
    passed = words["passed"] in said and words["failed"] not in said
    return CheckResult(
        passed=passed, how="passed" if passed else said.get(words["failed"]) or finished.stopped_by or "gone"
    )


def _processors() -> asyncio.Semaphore:
    """What bounds the checks at once, for the event loop that runs: a semaphore belongs to one."""
    loop = asyncio.get_running_loop()
    if loop not in _OPENED:
        _OPENED[loop] = asyncio.Semaphore(len(os.sched_getaffinity(0)))
    return _OPENED[loop]
