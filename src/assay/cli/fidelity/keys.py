"""What a person answers with: single keys on a terminal, lines if the input is not one."""

# Written here, since readchar 4 and click's getchar discard what was typed ahead (TCSAFLUSH) each time that they are
# called, and a reviewer types ahead; neither reads lines from a pipe. prompt_toolkit does both, for 5 MB and with a
# loop of its own.

import os
import re
import sys
import termios
import tty
from typing import BinaryIO, Protocol

_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|O.|.)?", re.DOTALL)
"""What arrow and function keys send: no letter in it is one that was meant."""


class Keys(Protocol):
    """Where answers come from."""

    def key(self) -> str:
        """Returns the next key in lower case: a newline for Enter, nothing at the end of the input."""
        ...

    def text(self, prompt: str) -> str:
        """Returns the text after the key, or else a line that is asked for; empty if there is none."""
        ...

    def rest(self) -> str:
        """Returns the text after the key on its line."""
        ...


def keys() -> Keys:
    """Returns the keys of the terminal; the lines of the input if that is no terminal."""
    return _Terminal(sys.stdin.fileno()) if sys.stdin.isatty() else _Lines(sys.stdin.buffer)


class _Terminal:
    """Keys as they are pressed. The terminal is as it was found but while a key is waited for."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._input = ""

    def key(self) -> str:
        while not self._input:
            read = self._read()
            if not read or read == "\x04":
                return ""
            self._input = _ESCAPES.sub("", read).replace("\r", "\n")
        key, self._input = self._input[0], self._input[1:]
        return key.lower()

    def rest(self) -> str:
        return ""

    def text(self, prompt: str) -> str:
        print(prompt, end="", flush=True)
        while "\n" not in self._input:
            try:
                read = os.read(self._file, 65536).decode("utf-8", "replace")
            except OSError:
                read = ""
            if not read:
                break
            self._input += read
        line, _, self._input = self._input.partition("\n")
        return line.strip()

    def _read(self) -> str:
        """Returns all that was typed by now, or else the next key; nothing where the terminal is gone."""
        try:
            before = termios.tcgetattr(self._file)
            # Drained, not flushed: what was typed ahead is meant.
            tty.setcbreak(self._file, termios.TCSADRAIN)
            try:
                return os.read(self._file, 1024).decode("utf-8", "replace")
            finally:
                termios.tcsetattr(self._file, termios.TCSADRAIN, before)
        except (OSError, termios.error):
            return ""


class _Lines:
    """A key is the first letter of a line; what follows on it is its text, such as `v the comma is missed`."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._rest = ""

    def key(self) -> str:
        line = self._line()
        if line is None:
            return ""
        key, self._rest = line[:1], line[1:].strip()
        return key.lower() or "\n"

    def rest(self) -> str:
        rest, self._rest = self._rest, ""
        return rest

    def text(self, prompt: str) -> str:
        return self.rest() or self._line() or ""

    def _line(self) -> str | None:
        line = self._stream.readline()
        return line.decode("utf-8", "replace").strip() if line else None
