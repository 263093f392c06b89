"""Episodes: rollouts of the tool loop whose model is the caller, step by step."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import closing

from msgspec import Struct

from assay.agent.loop import ToolLoop
from assay.benchmark import Benchmark
from assay.collect.deadline import Deadline
from assay.collect.plan import PlannedRollout
from assay.collect.roll import roll
from assay.digest import task_digest
from assay.errors import AssayError
from assay.types import Failure, Item, Request, Response, Rollout, Score, StopReason, Task

DEADLINE_S = 7200.0
"""What one episode may take."""


class EpisodeError(AssayError):
    """An episode can't go on, or failed, so that there is no reward. `code` is one of OpenEnv's."""

    def __init__(self, message: str, code: str = "EXECUTION_ERROR", status: int = 500) -> None:
        super().__init__(message)
        self.code, self.status = code, status


class Ending(Struct, frozen=True):
    """How an episode ended."""

    score: Score
    stop: StopReason


class Episode:
    """One episode of a task. Steps follow one another."""

    def __init__(self, benchmark: Benchmark, task: Task, seed: int, when_over: Callable[[], object]) -> None:
        self.task, self.tools = task, task.tools
        self.steps = 0
        self.last_use = time.monotonic()
        self._position = 0
        self._lock = asyncio.Lock()
        self._requests: asyncio.Queue[Request] = asyncio.Queue()
        self._responses: asyncio.Queue[Response] = asyncio.Queue()
        self._rollout = asyncio.create_task(self._roll(benchmark, seed))
        self._rollout.add_done_callback(lambda _: when_over())

    async def _roll(self, benchmark: Benchmark, seed: int) -> Rollout:
        item = PlannedRollout(self.task, task_digest(self.task), 0, 0, seed)
        with closing(Deadline(DEADLINE_S)) as deadline:
            return await roll(benchmark, ToolLoop(), self, item, deadline=deadline)

    async def respond(self, request: Request) -> Response:
        """Returns the next step's response, once the caller has seen the request."""
        self._requests.put_nowait(request)
        return await self._responses.get()

    @property
    def has_ended(self) -> bool:
        return self._rollout.done()

    @property
    def is_busy(self) -> bool:
        """Whether the environment is at work, and not the caller's model."""
        return self._lock.locked()

    async def begin(self) -> list[Item]:
        """Returns what the model is asked first. Raises EpisodeError where the rollout failed."""
        async with self._lock:
            first = await self._next()
        if isinstance(first, Ending):
            raise EpisodeError("the episode ended before its first step")
        return first

    async def step(self, response: Response) -> list[Item] | Ending:
        """Returns what is new to the model after its response, or how the rollout ended. Raises EpisodeError."""
        async with self._lock:
            if self.has_ended:
                raise EpisodeError("the episode has ended; begin another one by reset", "SESSION_ERROR", 409)
            self.steps += 1
            self._position += len(response.output)
            self._responses.put_nowait(response)
            return await self._next()

    async def close(self) -> None:
        """End the rollout, wherever it is."""
        self._rollout.cancel()
        await asyncio.wait([self._rollout])

    async def _next(self) -> list[Item] | Ending:
        """If it is given up, such as at a deadline, the episode ends: nobody knows what state it is in."""
        waiting = asyncio.create_task(self._requests.get())
        try:
            await asyncio.wait([waiting, self._rollout], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._rollout.cancel()
            raise
        finally:
            waiting.cancel()
            self.last_use = time.monotonic()
        if not waiting.done():
            return _ending(self._rollout)
        request = waiting.result()
        new = request.input[self._position :]
        self._position, self.tools = len(request.input), request.tools
        return new


def _ending(rollout_task: "asyncio.Task[Rollout]") -> Ending:
    if rollout_task.cancelled():
        raise EpisodeError("the episode was ended before this step was done", "SESSION_ERROR", 409)
    if error := rollout_task.exception():
        raise EpisodeError(f"the episode failed: {error}") from error
    rollout = rollout_task.result()
    outcome = rollout.outcome
    if isinstance(outcome, Failure):
        raise EpisodeError(f"the episode failed in the {outcome.where} ({outcome.kind}): {outcome.message}")
    return Ending(outcome, rollout.stop)


class Episodes:
    """The episodes that are open, by their names."""

    def __init__(self, benchmark: Benchmark, *, most: int) -> None:
        """`most` may be open at once."""
        self._benchmark, self._most = benchmark, most
        self._open: dict[str, Episode] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Episode]:
        return iter([*self._open.values()])

    def get(self, name: str | None) -> Episode | None:
        return self._open.get(name or "")

    def begin(self, name: str, task: Task, seed: int) -> Episode:
        """Returns a new episode, which is open until its rollout ends. Raises EpisodeError."""
        if len(self._open) >= self._most:
            message = f"{self._most} episodes are open, the most (--most-sessions); end some, or wait"
            raise EpisodeError(message, "CAPACITY_REACHED", 503)
        if name in self._open:
            raise EpisodeError(f"episode '{name}' is open already", "VALIDATION_ERROR", 409)
        episode = self._open[name] = Episode(self._benchmark, task, seed, lambda: self._open.pop(name))
        return episode

    async def close(self) -> None:
        """End all episodes."""
        await asyncio.gather(*(episode.close() for episode in self))
