"""Dockerfiles: what of them can be built here, read into steps. All else is refused by name, with the line."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assay.errors import InputError
from assay.input import read_input

_VARIABLE = re.compile(r"\\\$|\$(?:(\w+)|\{(\w+)(?::([-+])([^}]*))?\})")
_KEPT = ("LABEL", "EXPOSE", "MAINTAINER", "STOPSIGNAL", "CMD", "ENTRYPOINT", "HEALTHCHECK")
"""Instructions that change nothing here: a machine's programs are started one by one."""

LONGEST = 2**17
"""Characters of a value: a program gets no longer argument or variable from Linux."""


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction that makes a layer."""

    line: int
    name: str
    """RUN or COPY."""
    words: tuple[str, ...]
    """The command, or the sources and the target."""
    env: Mapping[str, str]
    user: str
    workdir: str
    owner: str = ""
    mode: str = ""
    stage: str = ""
    """The stage that is copied from; empty for the folder of the Dockerfile."""


@dataclass(slots=True)
class Stage:
    """What is built from one FROM on."""

    name: str
    base: str
    line: int
    steps: list[Step] = field(default_factory=list[Step])
    env: dict[str, str] = field(default_factory=dict[str, str])
    """What ENV sets, for programs that run in the image."""
    user: str = ""
    workdir: str = ""


def read_dockerfile(path: Path) -> list[Stage]:
    """Returns the stages of a Dockerfile. Raises InputError for what can't be built here."""
    return _Reader(path).read()


class _Reader:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._stages: list[Stage] = []
        self._globals: dict[str, str] = {}
        self._args: dict[str, str] = {}
        self._shell = ("/bin/sh", "-c")
        self._line = 0

    def read(self) -> list[Stage]:
        how = {
            "FROM": self._from,
            "ARG": self._arg,
            "ENV": self._env,
            "RUN": self._run,
            "COPY": self._copy,
            "ADD": self._copy,
            "WORKDIR": self._workdir,
            "USER": self._user,
            "VOLUME": self._volume,
            "SHELL": self._shell_words,
        }
        for line, text in self._instructions():
            name, *words = text.split(maxsplit=1)
            name, rest, self._line = name.upper(), "".join(words), line
            if not rest or "\0" in rest:
                self._refuse(line, repr(text[:80]), "an instruction, words after it, and no character NUL")
            if name not in ("FROM", "ARG") and not self._stages:
                self._refuse(line, f"{name} before FROM", "FROM first")
            how.get(name, self._unknown)(line, name, rest)
        if not self._stages:
            self._refuse(1, "it has no FROM", "FROM IMAGE")
        return self._stages

    def _instructions(self) -> Iterator[tuple[int, str]]:
        """Yields each instruction with its line, joined where a backslash goes on."""
        try:
            lines = read_input(self._path).decode().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(self._path, None, str(error), "a Dockerfile") from None
        text, began = "", 0
        for number, line in enumerate(lines, 1):
            if line.lstrip().startswith("#"):
                if re.match(r"#\s*escape\s*=", line.lstrip()):
                    self._refuse(number, line.strip(), "no other escape character than \\")
                continue
            if not text and not line.strip():
                continue
            began = began if text else number
            more = line.rstrip().endswith("\\")
            text += line.rstrip()[:-1] if more else line
            if not more:
                yield began, text.strip()
                text = ""
        if text.strip():
            yield began, text.strip()

    def _refuse(self, line: int, got: str, expected: str) -> None:
        raise InputError(self._path, line, got, expected)

    def _unknown(self, line: int, name: str, rest: str) -> None:
        if name not in _KEPT:
            known = "FROM, ARG, ENV, RUN, COPY, ADD, WORKDIR, USER, SHELL, VOLUME"
            self._refuse(line, f"{name} can't be built here", f"{known}, {', '.join(_KEPT)}")

    @property
    def _stage(self) -> Stage:
        return self._stages[-1]

    def _filled(self, text: str, *, known: Mapping[str, str] | None = None) -> str:
        values = self._args | self._stage.env if known is None else known

        def value(found: re.Match[str]) -> str:
            if found[0] == "\\$":
                return "$"
            given = values.get(found[1] or found[2], "")
            if found[3]:
                return (given or found[4]) if found[3] == "-" else (found[4] if given else "")
            return given

        filled = _VARIABLE.sub(value, text)
        if len(filled) > LONGEST:
            self._refuse(self._line, f"a value of {len(filled):,} characters", f"{LONGEST:,} at most")
        return filled

    def _from(self, line: int, name: str, rest: str) -> None:
        words = [word for word in rest.split() if not word.startswith("--platform")]
        if len(words) not in (1, 3) or words[0].startswith("--") or (len(words) == 3 and words[1].upper() != "AS"):
            self._refuse(line, f"FROM {rest}", "FROM IMAGE [AS NAME]")
        base = self._filled(words[0], known=self._globals)
        self._args, self._shell = {}, ("/bin/sh", "-c")
        above = next((stage for stage in self._stages if stage.name == base), None)
        stage = Stage(words[2] if len(words) == 3 else str(len(self._stages)), base, line)
        if above:
            stage.env, stage.user, stage.workdir = dict(above.env), above.user, above.workdir
        self._stages.append(stage)

    def _arg(self, line: int, name: str, rest: str) -> None:
        for word in self._words(line, name, rest):
            key, given, value = word.partition("=")
            if not self._stages:
                self._globals[key] = value
            else:
                self._args[key] = self._filled(value) if given else self._globals.get(key, "")

    def _env(self, line: int, name: str, rest: str) -> None:
        if "=" not in rest.split(maxsplit=1)[0]:
            key, _, value = rest.partition(" ")
            self._stage.env[key] = self._filled(value.strip())
            return
        for word in self._words(line, name, rest):
            key, _, value = word.partition("=")
            self._stage.env[key] = self._filled(value)

    def _workdir(self, line: int, name: str, rest: str) -> None:
        path = self._filled(rest.strip("\"'"))
        stage = self._stage
        stage.workdir = path if path.startswith("/") else f"{stage.workdir.rstrip('/')}/{path}"
        self._layer(line, "DIR", (stage.workdir,))

    def _volume(self, line: int, name: str, rest: str) -> None:
        for path in self._words(line, name, rest):
            self._layer(line, "DIR", (self._filled(path),))

    def _user(self, line: int, name: str, rest: str) -> None:
        self._stage.user = self._filled(rest)

    def _shell_words(self, line: int, name: str, rest: str) -> None:
        self._shell = tuple(self._words(line, name, rest))

    def _run(self, line: int, name: str, rest: str) -> None:
        if rest.startswith("--"):
            flag = rest.split(maxsplit=1)[0]
            if not flag.startswith("--mount=type=cache"):
                self._refuse(line, f"RUN {flag}", "RUN COMMAND")
            return self._run(line, name, rest.partition(" ")[2].strip())
        if "<<" in rest and re.search(r"<<-?['\"]?\w+['\"]?\s*$", rest.split("\n", maxsplit=1)[0]):
            self._refuse(line, "RUN with a document of several lines (<<)", "a command, continued with \\")
        self._layer(line, "RUN", self._command(rest))
        return None

    def _words(self, line: int, name: str, rest: str) -> list[str]:
        """The words of a JSON list, or those of a shell's line. Raises InputError."""
        try:
            words: Any = json.loads(rest) if rest.startswith("[") else shlex.split(rest)
        except (ValueError, RecursionError) as error:
            got = f"{name} {rest[:200]} ({error})"
            raise InputError(self._path, line, got, "words, or a JSON list of them") from None
        return [str(word) for word in words]

    def _command(self, rest: str) -> tuple[str, ...]:
        if rest.startswith("["):
            with suppress(ValueError, RecursionError):
                return tuple(json.loads(rest))
        return (*self._shell, rest)

    def _copy(self, line: int, name: str, rest: str) -> None:
        flags: dict[str, str] = {}
        while rest.startswith("--"):
            flag, _, rest = rest.partition(" ")
            key, _, value = flag[2:].partition("=")
            flags[key], rest = self._filled(value), rest.strip()
        if unknown := set(flags) - {"from", "chown", "chmod"}:
            self._refuse(line, f"{name} --{unknown.pop()}", "--from, --chown and --chmod alone")
        *sources, target = [self._filled(word) for word in self._words(line, name, rest)] or [""]
        if not sources or any(re.match(r"(https?|git|ssh)(://|@)|<<", source) for source in sources):
            self._refuse(line, f"{name} {rest}", "files of the Dockerfile's folder")
        stage = flags.get("from", "")
        if (
            stage
            and stage not in [one.name for one in self._stages[:-1]]
            and not (stage.isdigit() and int(stage) < len(self._stages) - 1)
        ):
            self._refuse(line, f"{name} --from={stage}", "a stage above: files of other images can't be had here")
        if name == "ADD" and any(re.search(r"\.(tar|tgz|tar\.\w+)$", source) for source in sources):
            self._refuse(line, f"ADD {rest}", "COPY, and RUN tar: an archive is not unpacked here")
        self._layer(line, "COPY", (*sources, target), flags.get("chown", ""), flags.get("chmod", ""), stage)

    def _layer(
        self, line: int, name: str, words: tuple[str, ...], owner: str = "", mode: str = "", stage: str = ""
    ) -> None:
        at = self._stage
        env = self._args | at.env
        at.steps.append(Step(line, name, words, env, at.user, at.workdir or "/", owner, mode, stage))
