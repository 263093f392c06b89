"""A conversation about functions: one response that is judged, or several turns with calls that are carried out."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from assay.benchmark import Ended
from assay.benchmarks.bfcl.package import Called, Package, Said
from assay.types import FunctionCall, Item, Message, Response, Score, Task, Tool, Turn

MOST_STEPS = 20
"""Responses with calls in one turn; with more, the original ends the conversation and counts it as wrong."""


class Conversation:
    """The session of one task. Calls of a task with one turn are not carried out: they are the answer."""

    def __init__(self, task: Task, package: Package) -> None:
        self._task = task
        self._package = package
        self._turns = msgspec.convert(task.data["turns"], list[list[Said]])
        self._held_back = msgspec.convert(task.data["held_back"], dict[str, int])
        self._turn = 0
        self._calls: list[Called] = []

    @property
    def tools(self) -> list[Tool]:
        """Those of the task, without those that are held back until a later turn."""
        return [tool for tool in self._task.tools if self._held_back.get(tool.name, 0) <= self._turn]

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        if not self._turns:
            raise Ended
        self._calls.append((name, arguments))
        return (await self._package.play(self._task.id, self._calls))[-1]

    async def reply(self, response: Response) -> list[Item] | None:
        if self._turn == len(self._turns):
            return None
        self._turn += 1
        return [Message(role=said.role, content=said.content) for said in self._turns[self._turn - 1]]

    async def score(self, turns: Sequence[Turn]) -> Score:
        """Returns 1 where the package finds the calls of each turn right. An empty response is no answer."""
        said = [turn.response for turn in turns]
        made = by_turn(said if self._turns else said[:1])
        answer = json.dumps(made, ensure_ascii=False) if any(map(any, made)) else said[-1].text if said else ""
        if not answer.strip() or len(made) != len(self._turns) + 1:
            return Score(reward=0.0, answer=answer or None)
        if any(len([step for step in steps if step]) > MOST_STEPS for steps in made):
            return Score(reward=0.0, answer=answer)
        valid, error = await self._package.judge(self._task.id, made)
        return Score(reward=float(valid), answer=answer if valid else f"{answer}: {error}")


def by_turn(responses: Sequence[Response]) -> list[list[list[Called]]]:
    """Returns the calls of each turn, by response. A turn ends with a response without calls."""
    made: list[list[list[Called]]] = [[]]
    ended = False
    for response in responses:
        calls = [item for item in response.output if isinstance(item, FunctionCall)]
        if ended:
            made.append([])
        made[-1].append(_calls_in(calls))
        ended = not calls
    return made


def _calls_in(calls: Sequence[FunctionCall]) -> list[Called]:
    """Returns the calls of a response; none where the arguments of one are no JSON object, as in the original."""
    try:
        return [(call.name, msgspec.json.decode(call.arguments or "{}", type=dict[str, Any])) for call in calls]
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return []
