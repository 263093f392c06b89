"""An agent that is a program: it runs in a sandbox and asks the model through the rollout's door."""

import asyncio
import json
import math
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec

from assay.agent import ProgramEnd
from assay.agent.door import Door, Opening, variables
from assay.agent.loop import begin, reply, stop_after
from assay.benchmark import Environment, Session, replies, tools_for
from assay.config import LONGEST_S
from assay.errors import AgentError, UsageError
from assay.model import Model
from assay.sandbox import Finished, SandboxConfig, check_sandbox, open_sandbox
from assay.types import InputImage, Item, Message, Program, StopReason, Task, Tool

WALL_S = 3600.0
GRACE_S = 10.0
"""Seconds that a program may go on once no call is answered any more."""
VERSION_S = 60.0
SHOWN = 4000
"""Characters that are kept of a program's output, from its end."""
ROOM = SandboxConfig(memory_mb=4096, processes=512, cpu_s=86_400, disk_mb=1024, output_bytes=16 * 2**20)
"""The default limits of a program's own sandbox."""
PLACEHOLDERS = ("instruction", "url", "base", "mcp", "model")
"""The names that may be in braces in a command line and its variables."""
_NAMED = re.compile(r"(?<![${])\{([A-Za-z_]\w*)\}(?!\})")
"""A name in braces; `${HOME}` is a shell's, and `{{name}}` another program's."""
BRIDGE = Path(__file__).with_name("task_tools.py")
"""The script that calls tools from a shell. It is copied into the sandbox."""
_TOOLS = """

The task's tools are called from a shell, with the arguments as a JSON object:

python3 ~/{bridge} NAME '{{"argument": "value"}}'

The tools, with the JSON schema of their arguments:

{tools}
"""


class Command:
    """Runs a program in a sandbox; it asks the model at a URL, and its calls are the rollout's turns."""

    def __init__(
        self,
        *,
        argv: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        mounts: Sequence[str] = (),
        cwd: str | None = None,
        wall_s: float = WALL_S,
        exit_codes: Sequence[int] = (0,),
        version: Sequence[str] = (),
        sandbox: Mapping[str, Any] | None = None,
        door: Door | None = None,
    ) -> None:
        """Raises UsageError, ValueError and TypeError for wrong settings.

        Parameters
        ----------
        argv
            The program and its arguments. In these and in `env`, `{instruction}` stands for the task's text, `{url}`
            for the model's URL up to and including /v1, `{base}` for it without /v1, `{model}` for the model's name,
            `{mcp}` for the URL of an MCP server with the task's tools. Without `{mcp}`, tools are called from a shell.
        env
            Environment variables, in addition to OPENAI_BASE_URL, ANTHROPIC_BASE_URL and placeholders for keys.
        mounts
            Files and folders of this machine that the program may read, at the same paths.
        cwd
            The folder where it starts; by default that of the sandbox.
        wall_s
            Seconds until it is stopped; the rollout is then scored as it is.
        exit_codes
            The exit codes of success. With any other the rollout failed.
        version
            A command on this machine that prints the program's version.
        sandbox
            Settings of its own sandbox, as in SandboxConfig.
        """
        for name, value in {"argv": argv, "mounts": mounts, "version": version}.items():
            if isinstance(value, str):
                raise ValueError(f"{name}: expected a list of texts, such as [{json.dumps(value)}]")
        if not argv or not wall_s > 0:
            raise ValueError("expected argv with a program, and wall_s above 0")
        _check_placeholders({f"argv[{place}]": text for place, text in enumerate(argv)})
        _check_placeholders({f"env.{name}": text for name, text in (env or {}).items()})
        try:
            own = msgspec.convert({**msgspec.to_builtins(ROOM), **(sandbox or {})}, SandboxConfig)
        except msgspec.ValidationError as error:
            raise ValueError(f"sandbox: {error}") from None
        self._argv, self._env, self._mounts = list(argv), dict(env or {}), tuple(mounts)
        self._cwd, self._wall_s, self._exit_codes = cwd, wall_s, tuple(exit_codes)
        self._version = list(version)
        # The sandbox has Python's own files already, without its packages, which may hold the answers.
        readable = [path for path in self._mounts if Path(path) != Path(sys.base_prefix)]
        self._config = msgspec.structs.replace(own, readable=(*own.readable, *readable))
        self._has_mcp = any("{mcp}" in text for text in (*self._argv, *self._env.values()))
        self._door = door

    async def ready(self, environment: Environment) -> str:
        """Returns the program's version, empty if unknown. Raises UsageError if it can't run here."""
        self._given_door()
        if not getattr(environment, "has_machine", False):
            await check_sandbox(self._config)
        if not self._version:
            return ""
        try:
            process = await asyncio.create_subprocess_exec(*self._version, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL)
            async with asyncio.timeout(VERSION_S):
                said, _ = await process.communicate()
        except (OSError, TimeoutError) as error:
            raise UsageError(f"{' '.join(self._version)} printed no version: {error or 'no end'}") from None
        return (said.decode(errors="replace").strip().splitlines() or [""])[-1]

    async def run(self, task: Task, model: Model, session: Session) -> ProgramEnd:
        """Runs the program. Raises the last error of the model or a tool, and AgentError if the program failed."""
        async with AsyncExitStack() as stack:
            machine: Any = getattr(session, "machine", None)
            place = machine or await stack.enter_async_context(open_sandbox(self._config))
            if machine and self._mounts:
                await machine.share(self._mounts)
            listener = await place.listen()
            door = self._given_door()(task, model, session, listener, mcp=self._has_mcp and not machine)
            opening = await stack.enter_async_context(door)
            said: list[Item] = [*task.input, *await begin(session)]
            while True:
                text = instruction(said)
                if not machine and not self._has_mcp and (tools := tools_for(session, task)):
                    await place.write(BRIDGE.name, BRIDGE.read_bytes())
                    text += describe(tools)
                limits_s = (self._wall_s, getattr(model, "wall_left_s", math.inf), getattr(session, "timeout_s", None))
                words = self._words(text, opening)
                left_s = min(limit for limit in limits_s if limit is not None)
                finished, late = await _run_until(place, words, left_s, opening)
                stop = self._stop(finished, opening, late=late)
                ended, last = ProgramEnd(stop, _program(finished)), opening.last
                if stop != "completed" or last is None or opening.over.is_set() or not replies(session):
                    return ended
                if (more := await reply(session, last)) is None:
                    return ended
                # A new process remembers nothing but the files in its machine.
                said = more if machine else [*said, *last.output, *more]

    def _given_door(self) -> Door:
        if self._door is None:
            raise UsageError("an agent that is a program needs a door to the model, and there is none here")
        return self._door

    def _words(self, text: str, opening: Opening) -> list[str]:
        """Returns the command line, with its environment."""
        values = {
            "{instruction}": text,
            "{url}": f"{opening.url}/v1",
            "{base}": opening.url,
            "{mcp}": f"{opening.url}/mcp",
            "{model}": self._given_door().model,
        }
        env = {**variables(opening.url), "ASSAY_TOOLS": f"{opening.url}/tools", **self._env}
        words = [f"{name}={_fill(value, values)}" for name, value in env.items()]
        move = ["sh", "-c", 'cd "$0" && exec "$@"', self._cwd] if self._cwd else []
        return ["env", *words, *move, *(_fill(word, values) for word in self._argv)]

    def _stop(self, finished: Finished | None, opening: Opening, *, late: bool) -> StopReason:
        """Returns why the rollout ended. Raises AgentError, and the error of the last call."""
        if error := opening.broken or opening.error:
            raise error
        if opening.last is None:
            what = f"its calls were refused, the last: {opening.refused}" if opening.refused else "it called no model"
            raise AgentError("no_model_call", f"{_ending(finished)}; {what}")
        if late:
            return "wall_time"
        if opening.over.is_set() or finished is None:
            return "completed"  # or the limit that was reached
        if finished.stopped_by:
            raise AgentError(
                "stopped", f"the sandbox's limit of {finished.stopped_by} was reached; {_ending(finished)}"
            )
        if finished.exit_code not in self._exit_codes:
            refused = f"; the last call that was refused: {opening.refused}" if opening.refused else ""
            raise AgentError("exit_code", _ending(finished) + refused)
        return stop_after(opening.last) or "completed"


async def _run_until(place: Any, words: list[str], left_s: float, opening: Opening) -> tuple[Finished | None, bool]:
    """Returns how the program ended, None if it was killed, and whether its time was up.

    It has a grace once no call is answered any more. A call in flight is not abandoned: the server may be slow or
    broken, which is a failure.
    """
    running = asyncio.ensure_future(place.exec(words, timeout_s=LONGEST_S))
    over = asyncio.ensure_future(opening.over.wait())
    try:
        done, _ = await asyncio.wait({running, over}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        if over in done:
            await asyncio.wait({running}, timeout=GRACE_S)
        elif not done:
            opening.close()
        while opening.in_flight and not running.done():
            await asyncio.wait({running}, timeout=0.1)
        return running.result() if running.done() else None, not done
    finally:
        running.cancel()
        over.cancel()
        await asyncio.wait({running, over})


def instruction(items: Sequence[Item]) -> str:
    """Returns the task's items as text. Raises AgentError for an image.

    In a conversation, each message begins with its speaker.
    """
    messages = [item for item in items if isinstance(item, Message)]
    if any(isinstance(part, InputImage) for message in messages for part in message.content):
        raise AgentError("no_text", "the task has an image; an agent that is a program takes text only")
    spoken = [message for message in messages if message.role in ("user", "assistant")]
    if len(spoken) <= 1:
        return "\n\n".join(message.text for message in messages)
    head = [message.text for message in messages if message not in spoken]
    said = [f"{message.role.capitalize()}: {message.text}" for message in spoken if message.text]
    return "\n\n".join([*head, "The conversation so far:", *said, "Your final message is your answer to the user."])


def describe(tools: Sequence[Tool]) -> str:
    """Returns the text that tells an agent how to call the tools from a shell."""
    lines = [f"{tool.name}: {tool.description or ''} {json.dumps(tool.parameters)}" for tool in tools]
    return _TOOLS.format(bridge=BRIDGE.name, tools="\n".join(lines))


def _check_placeholders(texts: Mapping[str, str]) -> None:
    """Raises ValueError where a text, by its place, is none or has a placeholder that stands for nothing.

    A text of several lines is the source of a program, whose braces are its own.
    """
    for place, text in texts.items():
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"{place}: {text!r} is no text; expected one in quotation marks")
        for name in _NAMED.findall(text) if "\n" not in text else ():
            if name not in PLACEHOLDERS:
                known = ", ".join(f"{{{one}}}" for one in PLACEHOLDERS)
                own = f"Braces that are the program's own have a space behind them: {{ {name} }}"
                raise ValueError(f"{place}: {{{name}}} stands for nothing; expected one of {known}. {own}")


def _fill(text: str, values: Mapping[str, str]) -> str:
    return re.sub("|".join(map(re.escape, values)), lambda match: values[match[0]], text)


def _program(finished: Finished | None) -> Program:
    if finished is None:
        return Program()
    return Program(finished.exit_code, _end_of(finished.stdout), _end_of(finished.stderr))


def _end_of(printed: bytes) -> str:
    return printed.decode(errors="replace")[-SHOWN:]


def _ending(finished: Finished | None) -> str:
    """Returns how a program ended, in words."""
    if finished is None:
        return "the program was killed"
    printed = _end_of(finished.stderr.strip() or finished.stdout.strip())[-1000:]
    return f"the program ended with exit code {finished.exit_code}" + (f" and printed: {printed}" if printed else "")
