"""A reader of arithmetic who knows the truth, in a real terminal: `python -m tests.reader PROFILE [OPTION ...]`.

It gives `assay review` there, reads each screen, works the problem out itself, and presses the key that is right.
"""

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from assay.benchmarks.arithmetic.problems import test_problems
from assay.store import read_rollouts, read_tasks
from assay.types import Score
from tests.commands import ENVIRONMENT

OWN_TERMINAL = """
import fcntl, runpy, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
runpy.run_module("assay.cli", run_name="__main__", alter_sys=True)
"""
"""The command in a terminal that is its own, so that Ctrl-C is a signal to it."""
ANSWERS = {problem.question: problem.answer for problem in test_problems()}
END = "nothing is left here."
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A real terminal with `assay review` in it."""

    def __init__(self, *arguments: str, cwd: Path, size: tuple[int, int] = (40, 80)) -> None:
        self.file, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        self.before = termios.tcgetattr(inside)
        environment = {k: v for k, v in ENVIRONMENT.items() if k != "COLUMNS"} | {"TERM": "xterm"}
        command = [sys.executable, "-c", OWN_TERMINAL, "review", *arguments]
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
        )
        self.inside = inside
        self.seen = ""

    def expect(self, *texts: str) -> str:
        """Wait until one of the texts is on the screen, and give back all since the last time."""
        deadline = time.monotonic() + 60
        while not (found := [text for text in texts if text in self.seen]):
            assert self._take(max(0.0, deadline - time.monotonic())), f"{texts} never came; there was {self.seen!r}"
        first = min(found, key=self.seen.index)
        before, _, self.seen = self.seen.partition(first)
        return before + first

    def press(self, keys: str) -> None:
        os.write(self.file, keys.encode())

    def end(self) -> int:
        """Wait until the command has ended, and keep what it prints until then."""
        deadline = time.monotonic() + 100
        while (code := self.process.poll()) is None:  # who doesn't read fills the terminal, and the command waits
            assert time.monotonic() < deadline, f"the command didn't end; its last words: {self.seen!r}"
            self._take(0.02)
        while self._take(0):
            pass
        self.after = termios.tcgetattr(self.inside)
        return code

    def _take(self, seconds: float) -> bool:
        if not select.select([self.file], [], [], seconds)[0]:
            return False
        self.seen += os.read(self.file, 65536).decode()
        return True


@contextlib.contextmanager
def terminal(*arguments: str, cwd: Path, size: tuple[int, int] = (40, 80)) -> Iterator[Terminal]:
    opened = Terminal(*arguments, cwd=cwd, size=size)
    try:
        yield opened
    finally:
        opened.process.kill()
        opened.process.wait()
        os.close(opened.file)
        os.close(opened.inside)


def truth(screen: str) -> str:
    """The key that is right for what is on the screen, by working out the problem."""
    plain = ESCAPES.sub("", screen).replace("\r", "")
    if "x explain" in plain:
        return "\n"
    question = plain.partition("── user ──\n")[2].partition("\n")[0]
    message = plain.rpartition("── message ──\n")[2].partition("\n──")[0] if "── message ──" in plain else ""
    said, gold, read, reward = (
        re.search(rf"^{name}: (.*)$", plain, re.MULTILINE) for name in ("said", "gold", "answer as read", "reward")
    )
    assert said is None and gold and read and reward, plain
    answer = str(ANSWERS[question])
    numbers = re.findall(r"-?\d+", message)
    final = numbers[-1] if numbers else None
    if gold[1] != answer:
        return "t"
    right = final == answer
    consistent = right == (reward[1].split()[0] == "1") and (not right or read[1] == final)
    misread = final is not None and read[1] not in (final, "none was found")
    return "m" if consistent and not misread else "v"


def recorded(folder: Path) -> Callable[[str], str]:
    """Returns a reader who holds what is shown against a profile's own files, whose rewards are right."""
    runs = {
        run.name: ({task.id: task for task in read_tasks(run)}, {one.key: one for one in read_rollouts(run)})
        for run in (folder / "runs").iterdir()
    }

    def key(screen: str) -> str:
        plain = ESCAPES.sub("", screen).replace("\r", "")
        if "x explain" in plain:
            return "\n"
        model = re.findall(r"^(\S+) · [\d,]+ to read", plain, re.MULTILINE)[0]
        task, repeat = re.findall(r"^(\S+) · repeat (\d+)$", plain, re.MULTILINE)[0]
        gold, read, reward = (
            re.findall(rf"^{name}: (.*)$", plain, re.MULTILINE)[-1] for name in ("gold", "answer as read", "reward")
        )
        tasks, rollouts = runs[model]
        score = rollouts[task, int(repeat)].outcome
        assert isinstance(score, Score)
        if gold != tasks[task].gold:
            return "t"
        answer = "none was found" if score.answer is None else score.answer
        same = (read, float(reward.split()[0])) == (answer, score.reward) and "── message ──" in plain
        return "m" if same else "v"

    return key


def read(opened: Terminal, key: Callable[[str], str] = truth) -> str:
    """Press a key on each screen until nothing is left. Returns all that is printed."""
    shown: list[str] = []
    while True:
        screen = opened.expect("q quit", END)
        shown.append(screen)
        if screen.endswith(END):
            rest = opened.expect("read: ")
            opened.end()
            return "".join([*shown, rest, opened.seen])
        opened.press(key(screen))


if __name__ == "__main__":
    with terminal(*sys.argv[1:], cwd=Path.cwd(), size=(60, 200)) as opened:
        known = truth if "arithmetic" in sys.argv[1] else recorded(Path(sys.argv[1]))
        print(ESCAPES.sub("", read(opened, known)).replace("\r", ""))
