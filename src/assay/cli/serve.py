"""`assay serve`."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import uvicorn
import uvloop
from cyclopts import Parameter
from msgspec import structs
from starlette.applications import Starlette

from assay.agent.catalog import make_agent
from assay.benchmark.catalog import load
from assay.cli.collect.live import console
from assay.cli.options import BenchmarkName, Code, Roles
from assay.collect.run import connect_roles, model_of
from assay.config import assay_toml, load_agent, load_model
from assay.errors import UsageError
from assay.model import connect
from assay.model.wrappers.guard import GuardedModel
from assay.serve.agent import DEADLINE_S as AGENT_DEADLINE_S
from assay.serve.agent import ServedAgent
from assay.serve.app import ServedModel
from assay.serve.door import HttpDoor
from assay.serve.environment import DEADLINE_S, IDLE_S, ServedEnvironment
from assay.serve.gateway import Gateway
from assay.serve.http import Sockets, is_loopback, settings
from assay.trainers.tasks import training_tasks, with_tasks

PATIENCE_S = 1.0
"""How long a served model waits while the server behind turns requests away. Then the caller gets the 429 and its
Retry-After: below the time that a stream waits for its status, and callers have a patience of their own."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a server listens, and who may call it."""

    host: str = "127.0.0.1"
    """The address to listen on. Any address but loopback needs --api-key-env."""
    port: int = 8000
    """The port to listen on; 0 takes a free one."""
    api_key_env: str | None = None
    """The environment variable that holds the key that callers have to send."""

    def key(self) -> str | None:
        """Returns the key that callers have to send. Raises UsageError where other machines could call without one."""
        if self.api_key_env is None:
            if not is_loopback(self.host):
                raise UsageError(
                    f"--host {self.host} is open to other machines: name the variable of a key with --api-key-env"
                )
            return None
        key = os.environ.get(self.api_key_env)
        if not key:
            raise UsageError(f"--api-key-env {self.api_key_env}: the environment variable is not set, or empty")
        return key


def model(
    name: str,
    *,
    base_url: str | None = None,
    address: Address = Address(),
    record: Path | None = None,
    concurrency: int = 1024,
) -> None:
    """Serve a model over HTTP, as /v1/responses, /v1/chat/completions and /v1/messages.

    Ctrl-C ends it.

    Parameters
    ----------
    name
        A model's name (see `assay list models`), or PREFIX:ID such as chat:ID.
    base_url
        The URL of the server that requests are passed on to, up to and including /v1.
    record
        A directory. Calls under /rollouts/ID/v1/… are recorded in its file ID.jsonl.
    concurrency
        Requests in flight at the model at most.
    """
    short, config = load_model(name, base_url, own=assay_toml())
    if config.answers_tasks:
        raise UsageError(f"model {name} answers from a benchmark's tasks, so it can't be served alone")
    if concurrency < 1:
        raise UsageError("nothing would be answered: --concurrency has to be at least 1")
    key = address.key()
    limits = structs.replace(config.limits, patience_s=min(PATIENCE_S, config.limits.patience_s))
    config = structs.replace(config, limits=limits)
    greeting = f"{short} is at {{url}}/v1" + (", recording under {url}/rollouts/ID/v1" if record else "")

    @asynccontextmanager
    async def app() -> AsyncGenerator[Starlette]:
        guarded = GuardedModel(connect(config), config, concurrency=concurrency)
        try:
            yield ServedModel(short, config, guarded, Gateway(guarded, record) if record else None).app(key)
        finally:
            await guarded.aclose()

    _serve(app(), greeting, address)


def environment(
    name: str,
    *,
    address: Address = Address(),
    roles: Roles = Roles(),
    idle_s: float = IDLE_S,
    deadline_s: float = DEADLINE_S,
    most_sessions: int | None = None,
    training: int | None = None,
    seed: int = 0,
) -> None:
    """Serve a benchmark's environment over HTTP, as a resources server of NeMo Gym, and of OpenEnv under /openenv.

    Give NeMo Gym's agents and trainers the rows that `assay export NAME --format nemo-gym` writes; its simple_agent
    calls tools until the model answers, and its gymnasium_agent plays dialogues, too. OpenEnv's clients use WebSockets,
    for which the extra `openenv` is needed. Ctrl-C ends it.

    Parameters
    ----------
    name
        A benchmark's name (see `assay list benchmarks`) or the path of its folder.
    idle_s
        Seconds without a call after which a session is ended; as sessions get many, down to 600.
    deadline_s
        Seconds that a tool call, opening a session and a verification may take at most, each.
    most_sessions
        Sessions that may be open at once. Default: as many as fit into a quarter of the memory, at 128 kB each.
    training
        Serve this many of the benchmark's training tasks in place of the test tasks.
    seed
        What training tasks are drawn from.
    """
    if most_sessions is not None and most_sessions < 1:
        raise UsageError("no session could open: --most-sessions has to be at least 1")
    benchmark, models, key = load(name), roles.configs(), address.key()
    if training is not None:
        benchmark = with_tasks(benchmark, training_tasks(benchmark, training, seed=seed))

    @asynccontextmanager
    async def app() -> AsyncGenerator[Starlette]:
        async with connect_roles(benchmark, models) as ready:
            yield ServedEnvironment(ready, idle_s=idle_s, deadline_s=deadline_s, most_sessions=most_sessions).app(key)

    greeting = f"the environment of {name} is at {{url}}"
    if has_sockets := find_spec("websockets") is not None:
        greeting += " (for OpenEnv: {url}/openenv )"
    _serve(app(), greeting, address, ws="websockets-sansio" if has_sockets else "none")


def agent(
    name: str,
    *,
    benchmark: BenchmarkName,
    model: str,
    base_url: str | None = None,
    address: Address = Address(),
    concurrency: int = 4096,
    deadline_s: float = AGENT_DEADLINE_S,
    roles: Roles = Roles(),
    code: Code = Code(),
) -> None:
    """Serve an agent over HTTP, as an agent server of NeMo Gym: each call of /run is a whole rollout, scored.

    NeMo RL and NeMo Gym's collector take the token ids from it, if the model's server gives them. A failure has
    `mask_sample`, and is no reward of 0. Ctrl-C ends it.

    Parameters
    ----------
    name
        An agent's name (see `assay list agents`), such as loop.
    benchmark
        The benchmark whose tasks the rows are: `assay export BENCHMARK --format nemo-gym` writes them.
    model
        The policy's name (see `assay list models`), or PREFIX:ID such as chat:ID.
    base_url
        The URL of the policy's server, up to and including /v1.
    concurrency
        Requests in flight at the model at most.
    deadline_s
        Seconds that one rollout may take.
    """
    own = assay_toml()
    short, config = load_model(model, base_url, own=own)
    bench, models, key = code.load(benchmark), roles.configs(), address.key()
    driver = make_agent(load_agent(name, own=own), HttpDoor(short))

    @asynccontextmanager
    async def app() -> AsyncGenerator[Starlette]:
        async with connect_roles(bench, models) as ready:
            guarded = GuardedModel(model_of(config, ready), config, concurrency=concurrency)
            try:
                yield ServedAgent(ready, driver, guarded, short, deadline_s=deadline_s).app(key)
            finally:
                await guarded.aclose()

    _serve(app(), f"the agent {name} of {bench.name} is at {{url}}", address)


def _serve(
    app: AbstractAsyncContextManager[Starlette], greeting: str, address: Address, *, ws: Sockets = "none"
) -> None:
    """Serve until a signal ends it. `{url}` in the greeting is the address; it is printed once the server listens."""

    async def main(listener: socket.socket) -> None:
        async with app as starlette:
            server = _Server(settings(starlette, ws=ws), greeting.replace("{url}", url_of(listener)))
            await server.serve(sockets=[listener])

    with (
        listening(address.host, address.port) as listener,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(main(listener))


class _Server(uvicorn.Server):
    """uvicorn, in this process's event loop, saying where it is once it listens."""

    def __init__(self, config: uvicorn.Config, greeting: str) -> None:
        super().__init__(config)
        self._greeting = greeting

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """End on either signal, and cleanly: uvicorn's own would raise it again once the server has ended."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        console.print(self._greeting, soft_wrap=True)


def url_of(listener: socket.socket) -> str:
    """Returns the address of who listens."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def listening(host: str, port: int) -> socket.socket:
    """Returns a socket that listens. Raises UsageError if the address is not available."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:  # OverflowError: a port that can't be
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"can't listen on {host}, port {port}: {why}; choose another with --port") from None
