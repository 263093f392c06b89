"""Environments, their sessions, and benchmarks."""

import copy
import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Protocol, Self, TypeGuard

from assay.benchmark.data import Source
from assay.errors import UsageError
from assay.model import Model
from assay.sandbox import Place, SandboxConfig, check_sandbox
from assay.score import Mean, ScoreRule
from assay.types import Item, Response, RolloutLimits, Sampling, Score, Task, Tool, Turn


class Session(Protocol):
    """The state of one rollout in an environment. Single-use."""

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        """Returns a tool's output, for the model to read."""
        ...

    async def score(self, turns: Sequence[Turn]) -> Score:
        """Returns the score of the finished rollout."""
        ...


class Replies(Session, Protocol):
    """A session that continues after an answer without calls, such as a dialogue or a game."""

    async def reply(self, response: Response) -> list[Item] | None:
        """Returns what is said to the model next; None ends the rollout."""
        ...


def replies(session: Session) -> TypeGuard[Replies]:
    """Returns whether the session replies. `isinstance` with a protocol costs a fifth of a single-turn rollout."""
    return hasattr(session, "reply")


class Reacts(Session, Protocol):
    """A session that takes each response whole, its calls of tools included, as an environment that counts steps."""

    async def react(self, response: Response) -> list[Item] | None:
        """What is said to the model next, such as what its tools answered; `None` ends the rollout."""
        ...


def reacts(session: Session) -> TypeGuard[Reacts]:
    """Whether the session is one that takes each response whole."""
    return hasattr(session, "react")


class Ended(Exception):
    """Raised by a session's `call` if the call ends the rollout, such as a call that is the answer.

    The model of a session that relays raises it if the rollout is over.
    """


def tools_for(session: Session, task: Task) -> list[Tool]:
    """Returns the tools that the model may call now: the session's if it has `tools`, else the task's."""
    return getattr(session, "tools", task.tools)


class Begins(Session, Protocol):
    """A session in which another speaker begins, such as a user."""

    async def begin(self) -> list[Item]:
        """Returns what is said to the model after the task's input, before its first answer."""
        ...


def begins(session: Session) -> TypeGuard[Begins]:
    """Returns whether another speaker begins."""
    return hasattr(session, "begin")


class Relays(Session, Protocol):
    """A session that every call of the model passes through, such as one that another gym's rules end."""

    def relay(self, model: Model) -> Model:
        """The model as the agent asks it."""
        ...


def relays(session: Session) -> TypeGuard[Relays]:
    """Whether the session is one that every call of the model passes through."""
    return hasattr(session, "relay")


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool in a reference solution."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    beside: bool = False
    """Whether it is in the same response as the call before it."""


NO_MODELS: Mapping[str, Model] = {}
_RENAMED = " It may be asynchronous, and takes `models` only where the benchmark has roles."


class Environment(ABC):
    """Yields tasks, opens a session for each rollout, and verifies.

    An environment without tools or state defines `tasks` and `verify`. One with state overrides `open`. If its
    benchmark has `roles`, `verify` and `open` take one more argument: `models`, a mapping from a role to its model.
    """

    name: str
    version: str
    remark: str = ""
    """A sentence about the tasks for `assay check`, such as how many have a different prompt."""
    sandbox: SandboxConfig | None = None
    """The sandbox for models' code, to be given to `check_code` or `open_sandbox`. None if no such code runs.
    `--sandbox` changes it."""
    place: str = ""
    """For run.json: where sessions run that have a machine, and how its limits are held. `ready` sets it."""

    async def ready(self) -> None:
        """Checks before a run that all that sessions need is there, such as the sandbox. Raises UsageError."""
        if self.sandbox:
            await check_sandbox(self.sandbox)

    @abstractmethod
    def tasks(self) -> Iterable[Task]:
        """Returns all tasks, in a fixed order, with unique ids."""

    # `*args: Any, **kwargs: Any` lets an override take more arguments, or none.
    def verify(self, task: Task, response: Response, *args: Any, **kwargs: Any) -> Score | Awaitable[Score]:
        """Returns the score of a final response. A pure function of its arguments.

        Define it as `def`, or as `async def` if it waits for something, such as a judge.
        """
        raise TypeError(f"{type(self).__name__} defines neither verify() nor open()")

    def open(self, task: Task, seed: int, *args: Any, **kwargs: Any) -> AbstractAsyncContextManager[Session]:
        """Returns a session for one rollout of a task. All its randomness comes from the seed."""
        return _SingleAnswer(self, task, *args, **kwargs)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for old, new in (("assess", "verify"), ("open_with", "open")):
            if old in vars(cls):
                raise TypeError(f"{cls.__name__} defines {old}(), which is {new}() now; rename it.{_RENAMED}")

    def solution(self, task: Task) -> Sequence[Call | str] | None:
        """Returns a reference solution, one step for each turn: a call of a tool, or a message. None if there is none.

        By default it is the gold answer. An environment that scores its state returns calls.
        """
        return None if task.gold is None else [task.gold]

    def wrong(self, task: Task) -> Iterable[str | Sequence[Call | str]]:
        """Returns answers or solutions that are wrong, for the gold gate. By default none."""
        return ()

    def training(self, rng: Random) -> Iterator[Task]:
        """Yields endless tasks for training, none of which is in `tasks`. By default none."""
        return iter(())

    def guess(self, task: Task, rng: Random) -> str | None:
        """Returns a guess without reading the task; None if the task can't be guessed."""
        return None


async def score_of(
    environment: Environment, task: Task, response: Response, models: Mapping[str, Model] = NO_MODELS
) -> Score:
    """Returns the score of `verify`, which may be async or not. `models` are those of the benchmark's roles."""
    score = environment.verify(task, response, models) if models else environment.verify(task, response)
    return await score if inspect.isawaitable(score) else score


def session_of(
    environment: Environment, task: Task, seed: int, models: Mapping[str, Model]
) -> AbstractAsyncContextManager[Session]:
    """Returns the session of `open`. `models` are those of the benchmark's roles."""
    return environment.open(task, seed, models) if models else environment.open(task, seed)


def has_no_state(environment: Environment) -> bool:
    """Returns whether the environment's sessions have neither tools nor replies."""
    return type(environment).open is Environment.open


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a benchmark came from. The catalog sets it when it loads the benchmark."""

    name: str
    """The name with which the catalog finds it."""
    folder: Path | None = None
    """The folder with its files; None if a gym made it."""
    package: str | None = None
    """The import name of its package; None for a folder given by its path."""
    family: str | None = None
    """Its family: a gym's prefix, or the first part of a name such as `reasoning-gym/chain_sum`."""


class Original(Protocol):
    """The original code's score, if it differs from that of `verify`. `assay parity` compares with it."""

    def __call__(self, task: Task, response: Response, settings: Mapping[str, Any]) -> Score | None:
        """Returns the original's score of a final response; None if it finds no answer and guesses one.

        `settings` are those that the reference results were made with.
        """
        ...


@dataclass(frozen=True, slots=True)
class Defect:
    """A known fault of a faithful port, and why it is kept."""

    what: str
    why: str
    tasks: tuple[str, ...] = ()
    """The ids of the affected tasks; empty for all."""
    probes: tuple[str, ...] = ()
    """Kinds of probe that are rewarded because of it, and checks of the tasks that find it, such as `duplicates`.
    Without these and without tasks, it excuses nothing."""
    outputs: int | None = None
    """The number of recorded model outputs that it affects; None if unknown."""
    incomparable: bool = False
    """Whether the original scores these tasks by chance or has them in another form. Parity then leaves them out."""

    def covers(self, kind: str, task: str) -> bool:
        """Returns whether it explains what a kind of probe or check found in a task."""
        concerned = not self.tasks or task in self.tasks
        return concerned and (kind in self.probes if self.probes else bool(self.tasks))


@dataclass(frozen=True, slots=True)
class Benchmark:
    """An environment with a protocol: what has to be the same for scores to be comparable."""

    environment: Environment
    repeats: int
    """k of avg@k."""
    sampling: Sampling = field(default_factory=Sampling)
    """The sampling that the protocol fixes; the model server sets the rest."""
    limits: RolloutLimits = field(default_factory=RolloutLimits)
    """The limits of a model in one rollout."""
    score: ScoreRule = field(default_factory=Mean)
    """How rewards become the score, such as `Mean(by="subset")`."""
    chance: float = 0.0
    """The expected score of guessing, as stated by the author."""
    hard: str = ""
    """The reason why no open model solves it, if that is so. The range gate then needs closed models to differ."""
    roles: Mapping[str, Model | None] = field(default_factory=dict[str, Model | None])
    """The models that sessions use beside the policy, such as a `user` or a `judge`. `--with ROLE=NAME` replaces one,
    and has to if it is None."""
    formats: tuple[str, ...] = ("{}",)
    """Ways to write an answer, with `{}` for the answer, or `{json}` for it as a JSON text. The verifier gate tries
    each."""
    data: tuple[Source, ...] = ()
    """Files that are not in the package. `assay prepare` downloads them."""
    files: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """Files outside its folder that its tasks are made of, by the names in run.json."""
    published: Path | None = None
    """The file of published scores, if that is not the `published.toml` of its folder."""
    original: Original | None = None
    """The original's scoring; None if `verify` gives the same scores."""
    most_left_out: float = 0.05
    """The largest share of the original's scores that may be guesses, and of tasks that may be `incomparable`, for
    which `assay parity` still calls verifiers identical."""
    defects: tuple[Defect, ...] = ()
    origin: Origin | None = None
    """Where it came from; None if it was made in Python."""
    place: Place | None = None
    """Where its sandbox opens, if `--sandbox` changed that."""

    @property
    def incomparable(self) -> frozenset[str]:
        """The ids of the tasks that `defects` declares incomparable with the original's."""
        return frozenset(task for defect in self.defects if defect.incomparable for task in defect.tasks)

    @property
    def name(self) -> str:
        return self.environment.name

    @property
    def version(self) -> str:
        return self.environment.version

    @property
    def source(self) -> str:
        """The name with which the catalog finds it."""
        return self.origin.name if self.origin else self.name

    @property
    def folder(self) -> Path | None:
        """The folder with its files and its `published.toml`; None if it has none."""
        return self.origin.folder if self.origin else None

    def with_place(self, place: Place | None) -> Self:
        """Returns the benchmark with its sandbox in another place. Raises UsageError if it has no sandbox."""
        if place is None:
            return self
        if self.environment.sandbox is None:
            raise UsageError(
                f"--sandbox {place}: benchmark {self.name} runs no code, as its environment has no `sandbox`.\n"
                "  Leave --sandbox out; or write `sandbox = SandboxConfig()` there, and check_code(limits=self.sandbox)"
            )
        environment = copy.copy(self.environment)
        environment.sandbox = place.apply(self.environment.sandbox)
        return replace(self, environment=environment, place=place)


class _SingleAnswer:
    """The session of an environment without tools or state: the last response is the answer."""

    __slots__ = ("_environment", "_models", "_task")

    def __init__(self, environment: Environment, task: Task, models: Mapping[str, Model] = NO_MODELS) -> None:
        self._environment = environment
        self._task = task
        self._models = models

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None):
        return None

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        return f"there is no tool '{name}' here"

    async def score(self, turns: Sequence[Turn]) -> Score:
        # An agent that calls no model gives no answer, which is as wrong as an empty one.
        response = turns[-1].response if turns else Response(output=[])
        return await score_of(self._environment, self._task, response, self._models)
