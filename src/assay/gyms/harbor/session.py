"""One rollout of a Harbor task: its machine, its instructions one after the other, and its tests over what is left."""

import asyncio
import shutil
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from assay.benchmark import Ended
from assay.errors import SandboxError, VerifierError
from assay.gyms.harbor.config import Artifact, Healthcheck, resolved
from assay.gyms.harbor.judge import CHMOD_S, judge, run_shell
from assay.gyms.harbor.rewards import Rewards, score_of, too_low
from assay.gyms.harbor.task import HarborTask, Source, Stage
from assay.sandbox import Finished
from assay.sandbox.machine import AnyMachine
from assay.sandbox.machine.scratch import scratch_files
from assay.types import Item, Message, Response, Score, Tool, Turn

BASH = Tool(
    name="bash",
    description="Runs a command with bash in the task's machine. Returns its output and its exit code.",
    parameters={
        "type": "object",
        "properties": {"command": {"type": "string"}},
        "required": ["command"],
        "additionalProperties": False,
    },
)
"""The tool by which an agent that runs outside of the machine works in it."""
BASH_S = 600.0
"""How long one command of the tool may take."""
UNTIMED_S = 3600.0
"""How long a solution may take where the task gives its agent no time."""
AS_ROOT = "judged_where_agent_is_root"
"""The metric of a score whose tests ran where the agent could replace any program."""
NO_VARIABLES: Mapping[str, str] = {}

Opener = Callable[[Source], AbstractAsyncContextManager[AnyMachine]]
Prove = Callable[[], Awaitable[None]]


class HarborSession:
    """One rollout. `machine` is the agent's, for programs that work in it."""

    def __init__(self, task: HarborTask, machine: AnyMachine, opened: Opener, *, solve: str, prove: Prove) -> None:
        """`solve` is the name of the call that plays the solution; `prove` raises where the tests don't work here."""
        self.machine = AgentMachine(self, machine)
        self.said = ""
        """The end of what the tests said last."""
        self._task = task
        self._machine = machine
        self._opened = opened
        self._solve = solve
        self._prove = prove
        self._rewards: list[Rewards] = []
        self._over = False
        """Whether a step fell short of what the next one needs."""
        self._as_root = False
        self._solved = False
        self._began = time.monotonic()

    @property
    def timeout_s(self) -> float | None:
        """How long the agent may take for the present instruction."""
        return self._stage.agent_s

    @property
    def _stage(self) -> Stage:
        return self._task.stages[len(self._rewards)]

    async def prepare(self) -> None:
        """Makes the machine ready for the present instruction. Raises SandboxError where it does not become so."""
        stage = self._stage
        for place in ("/logs/agent", "/logs/artifacts"):
            await self._machine.mkdir(place, stage.agent_user)
        if stage.workdir:
            await self._machine.put(stage.workdir, self._task.source.settings.workdir or self._machine.image.workdir)
            if (stage.workdir / "setup.sh").is_file():
                ran = await self._run("bash ./setup.sh", UNTIMED_S)
                if ran.exit_code:
                    raise SandboxError(f"setup.sh of step {stage.name} ended with {_output_of(ran)}")
        if stage.separate is None and (await self._machine.identity(stage.agent_user))[0] == 0:
            self._as_root = True
        for check in (None if self._rewards else self._task.config.environment.healthcheck, stage.healthcheck):
            if check:
                await self._wait_until_healthy(check)
        self._began = time.monotonic()

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        """Returns what the tool bash answers. Raises Ended once the agent's time is used up."""
        if name == self._solve:
            await self.solve()
            return "played"
        command = arguments.get("command")
        if name != BASH.name or not isinstance(command, str):
            return f"error: there is no {name} with these arguments; expected bash with a text as command"
        left_s = BASH_S if self.timeout_s is None else self.timeout_s - (time.monotonic() - self._began)
        if left_s <= 0:
            raise Ended("the agent's time is used up")
        return _output_of(await self.machine.exec(["bash", "-c", command], timeout_s=min(left_s, BASH_S)))

    async def reply(self, response: Response) -> list[Item] | None:
        """Returns the next step's instruction, once this step is judged; None after the last one."""
        if self._over or len(self._rewards) + 1 == len(self._task.stages):
            return None
        least = self._stage.min_reward
        rewards = await self._judge()
        self._over = too_low(rewards, least)
        self._rewards.append(rewards)
        if self._over:
            return None
        await self.prepare()
        return [Message("user", self._stage.instruction)]

    async def score(self, turns: Sequence[Turn]) -> Score:
        """Returns the rewards of the steps that were played. One that the agent did not come to counts as 0."""
        rewards = self._rewards
        if not self._over:
            rewards = [*rewards, await self._judge()]
            rewards += [dict.fromkeys(rewards[-1], 0.0)] * (len(self._task.stages) - len(rewards))
        score = score_of(rewards, self._task.config.multi_step_reward_strategy)
        return replace(score, metrics={**score.metrics, AS_ROOT: 1.0}) if self._as_root else score

    async def solve(self) -> None:
        """Plays the present step's solution. Raises VerifierError where there is none."""
        self._solved = True
        stage = self._stage
        if stage.solution is None:
            raise VerifierError("no_solution", f"task {self._task.id} has no solution/solve.sh to play")
        await self._machine.put(stage.solution, "/solution")
        await run_shell(self._machine, "chmod +x /solution/solve.sh", timeout_s=CHMOD_S, user="root")
        await self._run(
            "(/solution/solve.sh) >/logs/agent/oracle.txt 2>&1",
            self.timeout_s or UNTIMED_S,
            {**resolved(self._task.config.solution.env), "DEBIAN_FRONTEND": "noninteractive"},
        )

    async def proved(self) -> None:
        """Returns where the tests give the solution full reward, or this is the solution. Raises VerifierError."""
        if not self._solved:
            await self._prove()

    def settings(self, env: Mapping[str, str] = NO_VARIABLES) -> dict[str, Any]:
        """Returns how the agent's programs run: as whom, where, and with which variables."""
        source = self._task.source
        return {"user": self._stage.agent_user, "cwd": source.settings.workdir, "env": {**source.env, **env}}

    async def _run(self, command: str, timeout_s: float, env: Mapping[str, str] = NO_VARIABLES) -> Finished:
        return await run_shell(self._machine, command, timeout_s=timeout_s, **self.settings(env))

    async def _judge(self) -> Rewards:
        """Returns what the tests of the present step say, in this machine or in their own."""
        await self.proved()
        stage = self._stage
        if stage.separate is None:
            rewards, self.said = await judge(self._machine, stage, self._task.source)
            return rewards
        for hook in stage.collect:
            settings: dict[str, Any] = self.settings() | {"user": hook.user}
            await run_shell(self._machine, hook.command, timeout_s=hook.timeout_sec, **settings)
        async with self._opened(stage.separate) as machine:
            await self._hand_over(stage, machine)
            rewards, self.said = await judge(machine, stage, stage.separate)
        return rewards

    async def _hand_over(self, stage: Stage, machine: AnyMachine) -> None:
        """Copies what the agent left to the tests' own machine, each to its own place; nothing where there is none."""
        for artifact in (Artifact("/logs/artifacts"), *stage.artifacts):
            with scratch_files() as scratch, suppress(FileNotFoundError):
                taken = scratch / "it"
                await self._machine.take(artifact.source, taken)
                _leave_out(taken, artifact.exclude)
                await machine.put(taken, artifact.source)

    async def _wait_until_healthy(self, check: Healthcheck) -> None:
        began, failures = time.monotonic(), 0
        while (ran := await self._run(check.command, check.timeout_sec)).exit_code:
            starting = time.monotonic() - began < check.start_period_sec
            failures += not starting
            if failures >= check.retries:
                raise SandboxError(f"the health check failed {failures} times: {check.command}: {_output_of(ran)}")
            await asyncio.sleep(check.start_interval_sec if starting else check.interval_sec)


class AgentMachine:
    """The machine as the agent's programs get it: as the task's user, in its folder, with its variables."""

    def __init__(self, session: HarborSession, machine: AnyMachine) -> None:
        self._session = session
        self._machine = machine

    async def exec(
        self, command: Sequence[str], *, timeout_s: float, stdin: bytes = b"", env: Mapping[str, str] = NO_VARIABLES
    ) -> Finished:
        """Returns how a command of the agent's ended. Raises VerifierError where the task's tests don't work here."""
        await self._session.proved()
        return await self._machine.exec(command, timeout_s=timeout_s, stdin=stdin, **self._session.settings(env))

    async def listen(self) -> socket.socket:
        """Returns a socket that listens on the machine's own 127.0.0.1, for this process to serve on."""
        await self._session.proved()
        return await self._machine.listen()

    async def share(self, paths: Sequence[str]) -> None:
        """Shows files and folders of this machine to later commands, at their own place."""
        await self._machine.share(paths)


def _leave_out(folder: Path, patterns: Sequence[str]) -> None:
    """Removes what a pattern names, by its name or by its path in the folder."""
    for path in sorted(folder.rglob("*"), reverse=True):  # what is in a folder before the folder
        names = (path.name, path.relative_to(folder).as_posix())
        if any(fnmatch(name, pattern.strip("/")) for name in names for pattern in patterns):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _output_of(finished: Finished) -> str:
    """Returns what a command said, and how it ended where that was not well."""
    text = (finished.stdout + finished.stderr).decode(errors="replace")
    if finished.stopped_by:
        return f"{text}\n(stopped by the limit of {finished.stopped_by})"
    return f"{text}\n(exit code {finished.exit_code})" if finished.exit_code else text or "(no output)"
