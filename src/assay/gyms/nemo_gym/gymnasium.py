"""Gymnasium servers of NeMo Gym: `/reset` begins an episode, and each response of the model is a `/step`.

What is observed is said to the model as the user's, after what its tools answered. The score is the sum of the rewards,
as NeMo Gym's `gymnasium_agent` has it, whose `max_steps` are the benchmark's `limits`.
"""

import time
from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
from msgspec import Struct

from assay.benchmark import Session
from assay.errors import RemoteError
from assay.gyms.nemo_gym import kinds
from assay.gyms.nemo_gym.remote import RemoteEnvironment, is_number
from assay.gyms.nemo_gym.rows import Row, response_object
from assay.gyms.nemo_gym.server import Caller, Server
from assay.input import BROKEN
from assay.types import FunctionCallOutput, Item, Message, Response, Score, Task, Turn

T = TypeVar("T")


class GymnasiumEnvironment(RemoteEnvironment):
    """The environment of a running gymnasium server. Its tasks come from a JSONL file of NeMo Gym's."""

    def open(self, task: Task, seed: int) -> AbstractAsyncContextManager[Session]:
        """Returns an episode on the server. Only an environment of Assay gets the seed: NeMo Gym has none."""
        return _Episode(self._server, task, self._row(task, seed))

    def _unfit(self) -> str | None:
        return kinds.of_rows(self._read.values())

    async def _unsupported(self, paths: Collection[str]) -> str | None:
        return kinds.of_gymnasium(paths) if paths else None


class _Observation(Struct, frozen=True):
    """What `/reset` answers."""

    observation: str | None = None
    info: dict[str, Any] | None = None

    @property
    def messages(self) -> list[Item]:
        return [Message("user", self.observation)] if self.observation else []


class _StepAnswer(_Observation, frozen=True, kw_only=True):
    """What `/step` answers."""

    reward: float
    terminated: bool = False
    truncated: bool = False


class _ToolOutput(Struct, frozen=True):
    call_id: str
    output: str


class _Episode:
    """One episode."""

    def __init__(self, server: Server, task: Task, row: Row) -> None:
        self._caller, self._task, self._row = Caller(server), task, row
        self._first = _Observation()
        self._last: _StepAnswer | None = None
        self._steps, self._reward = 0, 0.0

    async def __aenter__(self) -> Self:
        self._first = await self._post("reset", self._row, _Observation)
        if not self._caller.cookies:
            message = f"{self._caller.server.url}/reset set no cookie, so that no step would belong to this episode"
            raise RemoteError(message, retryable=False)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None):
        return None

    async def begin(self) -> list[Item]:
        return self._first.messages

    async def react(self, response: Response) -> list[Item] | None:
        """What is observed after a step. Raises RemoteError and TimeoutError where the server says nothing of use."""
        turn = Turn(self._task.input, response)
        wire = response_object(self._task, [turn], model="policy", created_s=int(time.time()), tokens=False)
        self._last = answer = await self._post("step", self._row | {"response": wire}, _StepAnswer)
        self._steps += 1
        self._reward += answer.reward
        if answer.terminated or answer.truncated:
            return None
        outputs = self._tool_outputs(answer)
        return [*(FunctionCallOutput(one.call_id, one.output) for one in outputs), *answer.messages]

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        raise self._no_step()

    async def score(self, turns: Sequence[Turn]) -> Score:
        """The sum of all rewards, with the numbers of the last step's info. Raises RemoteError without any step."""
        if self._last is None:
            raise self._no_step()
        numbers = {name: float(value) for name, value in (self._last.info or {}).items() if is_number(value)}
        ends = {"terminated": self._last.terminated, "truncated": not self._last.terminated}
        return Score(reward=self._reward, metrics={**numbers, "steps": self._steps, **ends})

    async def _post(self, path: str, body: Row, kind: type[T]) -> T:
        status, content = await self._caller.post(path, body)
        if status != HTTPStatus.OK:
            raise self._caller.refusal(path, status, content)
        try:
            return msgspec.json.decode(content, type=kind)
        except BROKEN as error:
            raise self._unreadable(path, error, content) from None

    def _tool_outputs(self, answer: _StepAnswer) -> list[_ToolOutput]:
        given = (answer.info or {}).get("tool_outputs", [])
        try:
            return msgspec.convert(given, list[_ToolOutput])
        except msgspec.ValidationError as error:
            raise self._unreadable("step", error, msgspec.json.encode(given)) from None

    def _unreadable(self, path: str, error: Exception, content: bytes) -> RemoteError:
        what = f"{self._caller.server.url}/{path} answered what no gymnasium server of NeMo Gym does"
        return RemoteError(f"{what}: {error}; it begins: {content[:200]!r}", retryable=False)

    def _no_step(self) -> RemoteError:
        what = f"{self._caller.server.url} is a gymnasium server, to which each response of the model is a step"
        return RemoteError(f"{what}; agents that don't hand over responses can't play it: use loop", retryable=False)
