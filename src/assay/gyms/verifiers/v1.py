"""Environments of `verifiers` from 0.4 on: tasks that any agent plays, with the library's own traces and scores.

The library makes each rollout: it prepares the task, starts the servers of its tools, keeps the trace, checks what
stops the rollout, and scores. The agent here takes the place of its harness `null`, a loop that asks the model and
calls tools. Each call of the model passes through the library's server, so the trace is the one that `null` makes of
the same answers. What needs another harness, a container or several agents is refused by name.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from assay.benchmark import NO_MODELS, Benchmark, Ended, Environment
from assay.errors import RemoteError, SandboxError, ToolError, UsageError, VerifierError
from assay.gyms import UNLIMITED, gold_in, plain, refuse, require
from assay.gyms.verifiers.classic import items_of, version_of
from assay.gyms.verifiers.judges import judged, judges_of
from assay.model import Model
from assay.model.dialects.chat.client import messages
from assay.model.dialects.chat.server import ChatCall, completion
from assay.types import Message, Request, Response, RolloutLimits, Score, Task, Tool, Turn

EXTRA = "verifiers"
CALL = "x-assay-call"
"""The header that says which of the agent's calls a request to the library's server is."""
TOOL_S = 600.0
"""What one call of a tool may take, as in the library's harness."""


def load(name: str, gold: str | None) -> Benchmark:
    """The taskset that the installed package NAME exports, by its defaults. Raises UsageError for what can't be had.

    One repeat. A time that all tasks give their agent is a limit. Models that judge are roles.
    """
    title = f"verifiers:{name}"
    loaders = require("verifiers.v1.utils.loaders", EXTRA)
    try:
        taskset = loaders.load_taskset(loaders.taskset_config_type(name).model_validate({"id": name}))
        _check_package(title, name, loaders, taskset)
        tasks = list(taskset)
    except (Exception, SystemExit) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"verifiers can't load '{name}': {type(error).__name__}: {error}") from error
    for task in tasks:
        _check_task(title, task)
    environment = Verifiers(title, version_of(name), taskset, tasks, gold)
    times = {task.data.timeout.agent for task in tasks} or {None}
    if len(times) > 1:
        refuse(title, "its tasks give their agents different times (timeout.agent)")
    limits = RolloutLimits(steps=UNLIMITED.steps, wall_s=times.pop())
    roles = dict.fromkeys(role for task in tasks for role in judges_of(task.config))
    return Benchmark(environment=environment, repeats=1, limits=limits, roles=roles)


class Verifiers(Environment):
    """One taskset of the library's."""

    def __init__(self, title: str, version: str, taskset: Any, tasks: list[Any], gold: str | None) -> None:
        self.name, self.version = title, version
        self._taskset = taskset
        own = [task.data.id for task in tasks]
        ids = own if None not in own and len(set(own)) == len(own) else [str(task.data.idx) for task in tasks]
        self._tasks: dict[str, Any] = dict(zip(ids, tasks, strict=True))
        self._gold_field = gold
        self._shared = _Shared(taskset.toolsets(taskset.config))

    def tasks(self) -> Iterable[Task]:
        tools: dict[str, list[Tool]] = {}
        for id, task in self._tasks.items():
            toolsets = [*self._shared.toolsets, *task.toolsets(task.config)]
            known = repr([f"{type(one)} {one.config}" for one in toolsets])
            yield self._task(id, task, tools.get(known) or tools.setdefault(known, _listed(toolsets)))

    def _task(self, id: str, task: Any, tools: list[Tool]) -> Task:
        asked = task.data.prompt
        prompt = [Message("user", asked)] if isinstance(asked, str) else [*_items(self.name, asked)]
        system = [Message("system", task.data.system_prompt)] if task.data.system_prompt else []
        data = plain(task.data.model_dump(exclude_defaults=True, exclude={"prompt", "system_prompt", "idx"}))
        return Task(
            id=id,
            input=[*system, *prompt],
            gold=gold_in(self.name, id, data, self._gold_field) if self._gold_field else None,
            data=data,
            tools=tools,
        )

    @asynccontextmanager
    async def open(self, task: Task, seed: int, models: Mapping[str, Model] = NO_MODELS) -> AsyncGenerator["_Session"]:
        """Raises RemoteError where the library can't prepare the task or start its tools."""
        interception = require("verifiers.v1.interception", EXTRA)
        async with AsyncExitStack() as stack:
            asked = await stack.enter_async_context(judged(self._tasks[task.id], models))
            shared = await stack.enter_async_context(self._shared.served())
            secrets = tuple(server.state_secret for server in shared.values() if server.state_secret)
            server = await stack.enter_async_context(interception.InterceptionServer(state_service_secrets=secrets))
            session = _Session(self.name, server)
            yield await stack.enter_async_context(session.playing(asked, shared))


class _Shared:
    """Servers of the tools that all tasks share: they run as long as any rollout does."""

    def __init__(self, toolsets: list[Any]) -> None:
        self.toolsets = toolsets
        self._users = 0

    @asynccontextmanager
    async def served(self) -> AsyncGenerator[Mapping[str, Any]]:
        if not self._users:
            self._servers = asyncio.get_running_loop().create_future()
            self._serving = asyncio.ensure_future(self._serve(self._servers))
        self._users += 1
        try:
            yield await asyncio.shield(self._servers)
        finally:
            self._users -= 1
            if not self._users:
                self._serving.cancel()
                await asyncio.wait({self._serving})

    async def _serve(self, servers: asyncio.Future[Mapping[str, Any]]) -> None:
        try:
            async with require("verifiers.v1.mcp", EXTRA).serve_shared(self.toolsets) as started:
                servers.set_result(started)
                await asyncio.Event().wait()
        except Exception as error:
            servers.set_exception(error)


class _Session:
    """One rollout of the library's, whose harness is whoever drives the session."""

    def __init__(self, title: str, server: Any) -> None:
        self._title = title
        self._server = server
        self._mcp = require("verifiers.v1.harnesses.utils.mcp", EXTRA)
        self._compaction = require("verifiers.v1.harnesses.utils.compaction", EXTRA)
        self._errors = require("verifiers.v1.errors", EXTRA)
        # Certificates, which nothing on loopback needs, would take longer to read than all else in a rollout.
        self._http = require("httpx", EXTRA).AsyncClient(timeout=None, verify=False)
        self._calls: list[_Call] = []
        self._ready, self._done = asyncio.Event(), asyncio.Event()
        self.tools: list[Tool] = []

    @asynccontextmanager
    async def playing(self, task: Any, shared: Mapping[str, Any]) -> AsyncGenerator["_Session"]:
        """Yields the session once the model may be asked. Raises RemoteError, SandboxError and TimeoutError."""
        v1 = require("verifiers.v1", EXTRA)
        nowhere = v1.EvalClientConfig(base_url="http://127.0.0.1:1/v1")
        null = require("verifiers.v1.harnesses", EXTRA).NullHarnessConfig(id="null")
        config = v1.AgentConfig(harness=null, runtime=v1.SubprocessConfig(), model="assay", client=nowhere)
        agent = v1.Agent(config, interception=self._server)
        agent.harness.setup, agent.harness.launch = self._set_up, self._launch
        self._server._client = self._upstream
        self._running = asyncio.ensure_future(agent.run(task, tools=shared))
        ready = asyncio.ensure_future(self._ready.wait())
        try:
            await asyncio.wait({self._running, ready}, return_when=asyncio.FIRST_COMPLETED)
            if self._running.done():
                self._ended()
                raise RemoteError(f"{self._title}: the library's rollout ended before it began", retryable=False)
            yield self
        finally:
            ready.cancel()
            self._running.cancel()
            await asyncio.wait({self._running, ready})
            await self._http.aclose()

    def _upstream(self, config: Any) -> "_Upstream":
        return _Upstream(self._calls)

    async def _set_up(self, runtime: Any) -> None:
        """Nothing is to be installed for an agent that runs here."""

    async def _launch(
        self,
        ctx: Any,
        trace: Any,
        runtime: Any,
        endpoint: str,
        secret: str,
        mcp_urls: Mapping[str, str],
        data: Any,
        tool_interception_url: str | None = None,
    ) -> Any:
        """What the library runs as its harness: it lasts until the rollout is to be scored."""
        servers = {name: {"url": url, "timeout": TOOL_S} for name, url in mcp_urls.items()}
        async with AsyncExitStack() as stack:
            listed, self._dispatch, self._servers = await self._mcp.connect_mcp({"mcpServers": servers}, stack)
            functions = [one["function"] for one in listed]
            self.tools = [Tool(one["name"], one["parameters"], one["description"]) for one in functions]
            self._trace, self._url, self._secret = trace, f"{endpoint}/chat/completions", secret
            self._ready.set()
            await self._done.wait()
        return require("verifiers.v1", EXTRA).ProgramResult(0, "", "")

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        if name not in self._dispatch:
            return f"error: unknown tool {name!r}"
        try:
            said = await self._mcp.call_mcp(self._servers, self._dispatch, name, arguments)
        except Exception as error:
            while isinstance(error, ExceptionGroup):
                error = error.exceptions[0]  # pyright: ignore
            raise ToolError(f"the server of the tool {name} did not answer: {error!r}") from None
        if not isinstance(said, str):
            raise ToolError(f"the tool {name} answered with an image; expected text")
        return self._compaction.truncate_tool_output(said)

    def relay(self, model: Model) -> "_Relayed":
        return _Relayed(self, model)

    async def passed(self, request: Request, respond: Callable[[Request], Awaitable[Response]]) -> Response:
        """Returns the model's answer once the library has added it to the trace.

        Raises Ended where the library stops the rollout, what `respond` raises, and VerifierError where a stop raises.
        """
        call = _Call()
        self._calls.append(call)
        posting = asyncio.ensure_future(self._post(request, len(self._calls) - 1))
        try:
            await asyncio.wait({posting, call.asked}, return_when=asyncio.FIRST_COMPLETED)
            if not call.asked.done():
                raise self._refusal(posting.result())
            try:
                response = await respond(request)
            except Exception as error:
                call.answer.set_exception(self._errors.ProviderError(str(error)))
                raise
            call.answer.set_result(response)
            if (await posting).is_error:
                raise self._refusal(posting.result())
            return response
        finally:
            call.answer.cancel()
            await asyncio.gather(posting, return_exceptions=True)

    async def _post(self, request: Request, number: int) -> Any:
        body: dict[str, Any] = {"model": "assay", "messages": messages(request.input, "reasoning_content")}
        if request.tools:
            body["tools"] = [{"type": "function", "function": plain(tool)} for tool in request.tools]
        headers = {"authorization": f"Bearer {self._secret}", CALL: str(number)}
        return await self._http.post(self._url, json=body, headers=headers)

    def _refusal(self, answer: Any) -> Exception:
        """What it means that the library's server did not answer."""
        if self._trace.stop_condition is not None:
            return Ended()
        return VerifierError("refused", f"{self._title}: the library refused a call of the model: {answer.text}")

    async def score(self, turns: Sequence[Turn]) -> Score:
        """The library's score of its trace. Raises VerifierError where there is none, which it would count as zero."""
        if not self._calls:
            await self._replay(turns)
        self._done.set()
        await asyncio.wait({self._running})
        trace = self._ended()
        rewards = {name: reward and reward.score for name, reward in trace.rewards.items()}
        missing = [name for name, reward in rewards.items() if reward is None]
        if missing or not rewards:
            lacking = f"its reward {missing[0]} has no value" if missing else "its task gave no reward"
            raise VerifierError("no_reward", f"{self._title}: {lacking}")
        metrics = {name: value for name, value in trace.metrics.items() if value is not None}
        return Score(reward=trace.reward, metrics=metrics | rewards)

    async def _replay(self, turns: Sequence[Turn]) -> None:
        """Add the turns of an agent whose calls did not pass through here to the trace."""
        said: list[list[Any]] = []
        for index, turn in enumerate(turns):
            after = index - 1 if turn.follows is None else turn.follows
            asked = [*(said[after] if after >= 0 else ()), *turn.input]
            said.append([*asked, *turn.response.output])
            try:
                await self.passed(Request(input=asked, tools=self.tools), _answering(turn.response))
            except Ended:
                return

    def _ended(self) -> Any:
        """Returns the trace of the library's rollout, which has ended. Raises what failed in it."""
        if self._running.cancelled():
            raise self._failure("CancelledError", "the task cancelled its own rollout")
        trace = self._running.result()
        if trace.is_timeout:
            raise TimeoutError(f"{self._title}: the task's own time is over ({trace.stop_condition})")
        if not trace.ok:
            raise self._failure(trace.last_error.type, trace.last_error.message)
        return trace

    def _failure(self, kind: str, message: str) -> Exception:
        said = f"{self._title}: {kind}: {message}"
        if kind == "SandboxError":
            return SandboxError(said)
        if not self._done.is_set():
            return RemoteError(said, retryable=kind in ("InterceptionError", "TunnelError"))
        return VerifierError("task", said)


class _Call:
    """One call of the agent's, on its way through the library's server."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.asked: asyncio.Future[None] = loop.create_future()
        """Done once the library would have asked the model."""
        self.answer: asyncio.Future[Response] = loop.create_future()


class _Upstream:
    """The model as the library's server asks it."""

    def __init__(self, calls: list[_Call]) -> None:
        self._calls = calls

    async def get_response(
        self,
        dialect: Any,
        body: Any,
        sampling: Any,
        session_id: str | None = None,
        turn: Any = None,
        headers: Any = None,
    ) -> Any:
        call = self._calls[int(headers[CALL])]
        call.asked.set_result(None)
        raw = completion(await call.answer, ChatCall(request=Request(input=[]), model=None), "assay")
        response = dialect.parse_response(dialect.validate_response(raw))
        response.raw = raw
        return response


class _Relayed:
    """The model as the agent asks it."""

    def __init__(self, session: _Session, model: Model) -> None:
        self._session = session
        self._model = model

    async def respond(self, request: Request) -> Response:
        return await self._session.passed(request, self._model.respond)


def _answering(response: Response) -> Callable[[Request], Awaitable[Response]]:
    async def respond(request: Request) -> Response:
        return response

    return respond


def _items(title: str, asked: Iterable[Any]) -> Iterable[Any]:
    return (item for message in asked for item in items_of(title, message))


def _listed(toolsets: list[Any]) -> list[Tool]:
    """The tools that servers of the library's register, under the names that its harness gives them."""
    tools: list[Tool] = []
    for toolset in toolsets:
        # A whole server would set up logging for this process.
        server = require("mcp.server.mcpserver.tools", EXTRA).ToolManager()
        toolset.register(server)
        before = f"{toolset.server_name}_" if toolset.server_name else ""
        tools += [Tool(before + one.name, one.parameters, one.description or "") for one in server.list_tools()]
    return tools


def _check_package(title: str, name: str, loaders: Any, taskset: Any) -> None:
    """Raises UsageError for a package whose rollouts would go otherwise here."""
    environment = loaders.environment_class(name)
    if environment.__name__ != "SingleAgentEnv":
        refuse(title, f"it plays its tasks in its own way ({environment.__name__}); expected one agent alone")
    if loaders.default_harness_id(name) != "bash":
        refuse(title, "it brings a harness of its own")
    if taskset.INFINITE:
        refuse(title, "its tasks have no end (INFINITE)")
    if loaders.task_type(name).NEEDS_CONTAINER:
        refuse(title, "its tasks need a container (NEEDS_CONTAINER)")


def _check_task(title: str, task: Any) -> None:
    """Raises UsageError for a task whose rollouts would go or score otherwise here."""
    data, which = task.data, f"task {task.data.idx}"
    if data.prompt is None:
        refuse(title, f"{which} has no prompt: a user would have to begin")
    for field in ("image", "agent_user", "skills", "network_block", "artifacts"):
        if getattr(data, field):
            refuse(title, f"{which} needs a container ({field})")
    if "*" not in data.network_allow:
        refuse(title, f"{which} needs a container (network_allow)")
    decorators = require("verifiers.v1.utils.decorators", EXTRA)
    if rewriting := decorators.discover_decorated(task, "intercept"):
        refuse(title, f"{which} rewrites what is asked or answered ({rewriting[0].__name__})")
    for toolset in task.toolsets(task.config):
        if not toolset.config.url and toolset.config.runtime.type != "subprocess":
            refuse(title, f"the tools of {which} need a container ({toolset.config.runtime.type})")
