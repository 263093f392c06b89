# pyright: basic
"""Environments for TRL's `environment_factory`: a benchmark's tools as methods, for templates that can call tools."""

import asyncio
import atexit
import inspect
import threading
import warnings
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from assay.benchmark import Benchmark, Session
from assay.collect.plan import seed_of
from assay.errors import UsageError
from assay.library.names import load
from assay.trainers.policy import answer_text
from assay.types import Score, Task, Tool, Turn

T = TypeVar("T")
DEADLINE_S = 600.0
"""What opening a session, a tool's call and a score may take, each."""
CLOSE_S = 10.0
"""What closing the sessions that are open when Python ends may take."""
_TYPES: Mapping[str, type] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list,
    "object": dict,
}


def environment(benchmark: str | Path | Benchmark, *, seed: int = 0) -> Callable[[], Any]:
    """Returns an `environment_factory`: its objects open a session at `reset`, and have a method for each tool.

    Raises UsageError where the tasks have no tools, or not all the same ones: TRL shows every task the same.
    """
    bench = load(benchmark)
    tasks = list(bench.environment.tasks())
    tools = tasks[0].tools
    if not tools or any(task.tools != tools for task in tasks):
        what = "not the same tools for each task" if tools else "no tools"
        raise UsageError(f"benchmark {bench.name} has {what}; use trl.rollout, which makes whole rollouts")
    if bench.roles:
        raise UsageError(f"benchmark {bench.name} asks models in roles; use trl.rollout, which makes whole rollouts")
    methods = {tool.name: _method(tool) for tool in tools}
    return type("Environment", (_Environment,), {"_benchmark": bench, "_seed": seed, **methods})


async def rewards(environments: Sequence[Any], completions: Sequence[Any], **_: Any) -> list[float | None]:
    """The reward function that belongs to `environment`: None where a tool or the verifier failed, with a warning."""
    pairs = zip(environments, completions, strict=True)
    return await asyncio.gather(*(one._score(completion) for one, completion in pairs))


class _Environment:
    """One rollout's session, kept by a task of a loop that all share."""

    _benchmark: Benchmark
    _seed: int

    def __init__(self) -> None:
        self._session: Session | None = None
        self._end: asyncio.Event | None = None
        self._has_failed = False
        self._count = 0

    def reset(self, task: str, **_: Any) -> None:
        """Ends the session before, and opens one of the task of this row."""
        self._close()
        self._count += 1
        self._has_failed = False
        _LOOP.wait(self._open(msgspec.json.decode(task, type=Task)))

    async def _open(self, task: Task) -> None:
        session: asyncio.Future[Session] = asyncio.get_running_loop().create_future()
        self._end = asyncio.Event()
        seed = seed_of(self._seed, task.id, self._count)
        _LOOP.keep(_hold(self._benchmark, task, seed, session, self._end))
        self._session = await session

    def __del__(self) -> None:
        self._close()

    def _close(self) -> None:
        if self._end is not None:
            _LOOP.call(self._end.set)
            self._end = self._session = None

    def _call(self, name: str, arguments: dict[str, Any]) -> str:
        if self._session is None:
            raise RuntimeError(f"{name} was called before reset")
        try:
            return _LOOP.wait(self._session.call(name, arguments))
        except Exception:
            self._has_failed = True
            raise

    async def _score(self, completion: Any) -> float | None:
        """Returns the score of the session after the last message of a completion; None where it can't be known."""
        if self._session is None or self._has_failed:
            return None
        text = completion[-1].get("content") if isinstance(completion, list) and completion else completion
        turns = [Turn(input=[], response=answer_text(str(text or "")))]
        try:
            score = await asyncio.wrap_future(_LOOP.begin(self._session.score(turns)))
        except Exception as error:
            warnings.warn(f"the verifier failed, so a rollout has no reward: {error}", stacklevel=2)
            return None
        return score.reward if isinstance(score, Score) else None


async def _hold(
    benchmark: Benchmark, task: Task, seed: int, future: "asyncio.Future[Session]", end: asyncio.Event
) -> None:
    """Open a session, and close it at the end: one task does both, as cancel scopes need it."""
    try:
        async with benchmark.environment.open(task, seed) as session:
            future.set_result(session)
            await end.wait()
    except Exception as error:
        if future.done():
            warnings.warn(f"the session of task {task.id} ended with an error: {error}", stacklevel=2)
        else:
            future.set_exception(error)


def _method(tool: Tool) -> Callable[..., str]:
    """Returns a method with the signature and the docstring from which TRL and transformers make the tool's schema."""
    properties: dict[str, Any] = tool.parameters.get("properties", {})
    required = set(tool.parameters.get("required", ()))

    def call(self: _Environment, **arguments: Any) -> str:
        return self._call(tool.name, arguments)

    kind = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    for name, schema in properties.items():
        default = inspect.Parameter.empty if name in required else schema.get("default")
        hint = _TYPES.get(schema.get("type"), str)
        parameters.append(inspect.Parameter(name, kind, default=default, annotation=hint))
    call.__name__ = tool.name
    call.__signature__ = inspect.Signature(parameters, return_annotation=str)  # type: ignore[attr-defined]
    call.__annotations__ = {one.name: one.annotation for one in parameters[1:]} | {"return": str}
    lines = [f"    {name}: {schema.get('description') or name}" for name, schema in properties.items()]
    call.__doc__ = "\n".join([tool.description or tool.name, "", *(["Args:", *lines, ""] if lines else [])])
    return call


class _Loop:
    """An event loop in a thread of its own, begun when it is first needed: TRL calls from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin work that nobody waits for, from within the loop, which itself would let it be collected."""
        self._tasks.add(task := asyncio.ensure_future(work))
        task.add_done_callback(self._tasks.discard)

    def begin(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Begin a piece of work, which raises TimeoutError after DEADLINE_S."""
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, DEADLINE_S), self._running())

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self.begin(work).result()

    def call(self, function: Callable[[], Any]) -> None:
        self._running().call_soon_threadsafe(function)

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="assay-environments", daemon=True).start()
                atexit.register(self._end, self._loop)
            return self._loop

    @staticmethod
    def _end(loop: asyncio.AbstractEventLoop) -> None:
        """Close the sessions that are open when Python ends, so that their processes and folders go."""

        async def cancel() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=CLOSE_S) if tasks else None

        asyncio.run_coroutine_threadsafe(cancel(), loop).result()


_LOOP = _Loop()
