"""Harbor tasks written for a test, and rollouts of them without a model."""

import asyncio
from pathlib import Path

from assay.agent import Agent
from assay.agent.nothing import Nothing
from assay.benchmark import Benchmark, Ended, Session
from assay.collect.plan import PlannedRollout
from assay.collect.roll import roll
from assay.digest import task_digest
from assay.gyms.harbor.oracle import Oracle
from assay.model import Model
from assay.model.builtin.function import FunctionModel
from assay.types import Outcome, Response, StopReason, Task

WRITES_1 = "#!/bin/sh\necho 1 > /logs/verifier/reward.txt\n"
CHECKS = "#!/bin/sh\nif [ -e /app/done ]; then echo 1; else echo 0; fi > /logs/verifier/reward.txt\n"
"""Tests that give 1 where the solution below was played."""
SOLVES = "#!/bin/sh\ntouch /app/done\n"
BASE = "FROM small\nWORKDIR /app\n"


def write_task(folder: Path, toml: str = "", **files: str) -> Path:
    """Writes a task that is solved by `touch /app/done`, with this task.toml and these files in place of its own.

    `environment__Dockerfile` stands for the file `environment/Dockerfile`.
    """
    contents = {
        "task.toml": toml or '[environment]\nnetwork_mode = "no-network"\n',
        "instruction.md": "Do it.\n",
        "environment/Dockerfile": BASE,
        "tests/test.sh": CHECKS,
        "solution/solve.sh": SOLVES,
    } | {name.replace("__sh", ".sh").replace("__", "/"): text for name, text in files.items()}
    for name, text in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


class Shell:
    """An agent that runs commands with the tool bash, and goes on to the next step after each `None`."""

    needs_model = False

    def __init__(self, *commands: str | None) -> None:
        self._commands = commands
        self.said: list[str] = []
        self.asked: list[str] = []

    async def run(self, task: Task, model: Model, session: Session) -> StopReason:
        for command in self._commands:
            if command is not None:
                try:
                    self.said.append(await session.call("bash", {"command": command}))
                except Ended:
                    break
            elif items := await session.reply(Response(output=[])):  # pyright: ignore
                self.asked.append(items[0].content)
            else:
                break
        return "completed"


def play(benchmark: Benchmark, agent: Agent, id: str | None = None) -> Outcome:
    """The outcome of one rollout of a task, the first where none is named."""
    tasks = {task.id: task for task in benchmark.environment.tasks()}
    task = tasks[id or next(iter(tasks))]
    planned = PlannedRollout(task, task_digest(task), repeat=0, attempt=0, seed=0)

    async def rolled() -> Outcome:
        await benchmark.environment.ready()
        return (await roll(benchmark, agent, FunctionModel(lambda _: "done"), planned)).outcome

    return asyncio.run(rolled())


ORACLE, NOP = Oracle(), Nothing()
