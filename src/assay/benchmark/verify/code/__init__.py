"""Code, judged by tests in a sandbox."""

import asyncio
import os
import re
import secrets
import textwrap
from collections.abc import Sequence
from pathlib import Path
from weakref import WeakKeyDictionary

import msgspec
from msgspec import Struct

from assay.errors import SandboxError
from assay.sandbox import Finished, SandboxConfig, open_sandbox

LIMITS = SandboxConfig(memory_mb=512, processes=16, cpu_s=10, disk_mb=64)
TIMEOUT_S = 20.0
"""Wall time, twice the processor time that a solution has: a machine that is busy elsewhere makes none fail."""
_HERE = Path(__file__).parent
_OPENED: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()
_FENCE = re.compile(r"[ \t]*(?P<marks>`{3,}|~{3,})(?P<info>[^`\n]*)\n?")


class Checked(Struct, frozen=True):
    """What came of a solution."""

    passed: bool
    how: str
    """`passed`; `wrong` where a test's assertion failed; `raised NAME`; `failed …` where a test stopped otherwise;
    the limit that ended it (`time`, `cpu`, `memory`, `output`); `gone` where it ended the tests."""

    @property
    def stopped(self) -> bool:
        """Whether a limit ended it."""
        return self.how in ("time", "cpu", "memory", "output")


def code_in(text: str, name: str) -> str:
    """The code that a message gives for the function `name`: the last fenced block that defines it, else the last
    fenced block, else the whole text. A block that is never closed goes to the end."""
    blocks = _fenced(text)
    defining = [block for block in blocks if defines(block, name)]
    return (defining or blocks or [text])[-1]


def defines(code: str, name: str) -> bool:
    """Whether there is a line in it, not indented, that begins the definition of the function `name`."""
    return re.search(rf"^(?:async[ \t]+)?def[ \t]+{re.escape(name)}\b", code, re.MULTILINE) is not None


async def check_code(
    readings: Sequence[Sequence[str]],
    *,
    entry_point: str,
    tests: str,
    setup: str = "",
    limits: SandboxConfig = LIMITS,
    timeout_s: float = TIMEOUT_S,
) -> Checked:
    """What comes of the tests, which define `check(candidate)`, on the function `entry_point` of a solution.

    A solution is one or more texts that are executed one after the other. Where it may be read in several ways, the
    first of `readings` counts that is Python. `setup` is executed before the tests, which see the function by its own
    name too, and of the solution nothing but the plain values that it returns: not what it does to its arguments, and
    no object of a class of its own. At most as many checks run at once as there are processors.

    Raises SandboxError where the tests could not be begun.
    """
    word = secrets.token_hex(16)
    asked = {
        "word": word,
        "readings": readings,
        "entry_point": entry_point,
        "setup": setup,
        "tests": tests,
        "candidate": (_HERE / "candidate.py").read_text(),
    }
    command = ["python3", "-I", "-c", (_HERE / "checker.py").read_text()]
    async with _processors(), open_sandbox(limits) as sandbox:
        finished = await sandbox.exec(command, stdin=msgspec.json.encode(asked), timeout_s=timeout_s)
    return _judged(finished, word)


def _judged(finished: Finished, word: str) -> Checked:
    lines = finished.stdout.decode(errors="replace").splitlines()
    said = [line.removeprefix(f"{word} ") for line in lines if line.startswith(f"{word} ")]
    if said[:1] != ["started"]:
        why = finished.stderr[-500:].decode(errors="replace").strip() or f"stopped by {finished.stopped_by}"
        raise SandboxError(f"the tests could not be begun in the sandbox (exit code {finished.exit_code}): {why}")
    how = said[1] if len(said) == 2 else finished.stopped_by or "gone"
    return Checked(passed=how == "passed", how=how)


def _processors() -> asyncio.Semaphore:
    """What bounds the checks at once, for the event loop that runs: a semaphore belongs to one."""
    loop = asyncio.get_running_loop()
    if loop not in _OPENED:
        _OPENED[loop] = asyncio.Semaphore(len(os.sched_getaffinity(0)))
    return _OPENED[loop]


def _fenced(text: str) -> list[str]:
    """The fenced blocks of Markdown."""
    blocks: list[list[str]] = []
    opened: re.Match[str] | None = None
    for line in text.splitlines(keepends=True):
        fence = _FENCE.fullmatch(line)
        if opened is None:
            if fence:
                opened = fence
                blocks.append([])
        elif fence and fence["marks"].startswith(opened["marks"]) and not fence["info"].strip():
            opened = None
        else:
            blocks[-1].append(line)
    # Within a list, a block is indented as the list is.
    return [textwrap.dedent(code) if code[:1] in (" ", "\t") else code for code in map("".join, blocks)]
