"""Programs that are agents, as Python texts, and rollouts of them."""

import asyncio
from collections.abc import Sequence
from typing import Any

from assay.agent import Agent
from assay.agent.command import Command
from assay.benchmark import Benchmark, Environment
from assay.collect.plan import PlannedRollout
from assay.collect.roll import roll
from assay.digest import task_digest
from assay.model import Model
from assay.serve.door import HttpDoor
from assay.types import Rollout, RolloutLimits

HEAD = """
import json, os, sys, time, urllib.error, urllib.request
BASE, URL = os.environ["ANTHROPIC_BASE_URL"], os.environ["OPENAI_BASE_URL"]

def post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return answer.read().decode()

def ask(text="Count.", url=URL):
    return post(url + "/chat/completions", {"model": "m", "messages": [{"role": "user", "content": text}]})

def tool(name, **arguments):
    return post(f"{os.environ['ASSAY_TOOLS']}/{name}", arguments)
"""
SMALL: dict[str, Any] = {"memory_mb": 256, "processes": 32, "disk_mb": 8}


def program(text: str, *arguments: str, **settings: Any) -> Command:
    """An agent that is a Python program, whose text goes on after HEAD."""
    argv = ["python3", "-c", HEAD + text, *arguments]
    return Command(argv=argv, door=HttpDoor("m"), **{"sandbox": SMALL, "wall_s": 60.0, **settings})


def played(
    agent: Agent, model: Model, environment: Environment, *, tasks: Sequence[int] = (0,), **limits: Any
) -> list[Rollout]:
    """Rollouts of an environment's tasks by their numbers, at once."""
    benchmark = Benchmark(environment=environment, repeats=1, limits=RolloutLimits(**limits))
    every = list(environment.tasks())

    async def play() -> list[Rollout]:
        planned = [PlannedRollout(every[number], task_digest(every[number]), 0, 0, 7) for number in tasks]
        return await asyncio.gather(*(roll(benchmark, agent, model, item) for item in planned))

    return asyncio.run(play())
