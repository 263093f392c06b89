"""Environments: where tasks live, and how rollouts are verified."""

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
        """What a tool answers, for the model to read."""
        ...

    async def score(self, turns: Sequence[Turn]) -> Score:
        """The score of the finished rollout."""
        ...


class Replies(Session, Protocol):
    """A session that goes on after an answer without calls: a dialogue, a game, a user."""

    async def reply(self, response: Response) -> list[Item] | None:
        """What is said to the model next; `None` ends the rollout."""
        ...


def replies(session: Session) -> TypeGuard[Replies]:
    """Whether the session is one that replies. `isinstance` of a protocol costs a fifth of a single-turn rollout."""
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
    """What a session's `call` raises where the call ends the rollout, such as one that is the answer."""


def offered(session: Session, task: Task) -> list[Tool]:
    """Returns the tools that the model may call now: those of a session whose `tools` change, else the task's."""
    return getattr(session, "tools", task.tools)


class Begins(Session, Protocol):
    """A session in which somebody else speaks first, such as a user."""

    async def begin(self) -> list[Item]:
        """What is said to the model after the task's input, before its first answer."""
        ...


def begins(session: Session) -> TypeGuard[Begins]:
    """Whether the session is one in which somebody else speaks first."""
    return hasattr(session, "begin")


@dataclass(frozen=True, slots=True)
class Call:
    """A tool's call in a reference solution."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    beside: bool = False
    """Whether it is made in the same response as the call before it."""


NO_MODELS: Mapping[str, Model] = {}
_RENAMED = " It may be asynchronous, and takes `models` only where the benchmark has roles."


class Environment(ABC):
    """Yields tasks, opens a session a rollout, verifies.

    An environment without tools or state defines `tasks` and `verify`. One with state overrides `open`. Where its
    benchmark has `roles`, what it defines takes one argument more: `models`, a mapping from a role to its model.
    """

    name: str
    version: str
    remark: str = ""
    """A sentence on the tasks that `assay check` shows, such as how many are asked in another way than the rest."""
    sandbox: SandboxConfig | None = None
    """Where code that a model wrote runs, and what it may use: give it to `check_code` or `open_sandbox`. None where no
    such code runs. `--sandbox` changes it."""
    place: str = ""
    """For run.json: where sessions run that have a machine, and how its limits are held. `ready` sets it."""

    async def ready(self) -> None:
        """Returns where all that sessions need is there, such as the sandbox. Raises UsageError: nothing has begun."""
        if self.sandbox:
            await check_sandbox(self.sandbox)

    @abstractmethod
    def tasks(self) -> Iterable[Task]:
        """All tasks, in a fixed order, with unique ids."""

    # `*args: Any, **kwargs: Any` is how the type system says that an override may take more, or not.
    def verify(self, task: Task, response: Response, *args: Any, **kwargs: Any) -> Score | Awaitable[Score]:
        """The score of a final response. A pure function of its arguments.

        Define it as `def` or, where it waits for something such as a judge, as `async def`.
        """
        raise TypeError(f"{type(self).__name__} defines neither verify() nor open()")

    def open(self, task: Task, seed: int, *args: Any, **kwargs: Any) -> AbstractAsyncContextManager[Session]:
        """A session for one rollout of a task. All its randomness comes from the seed."""
        return _SingleAnswer(self, task, *args, **kwargs)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for old, new in (("assess", "verify"), ("open_with", "open")):
            if old in vars(cls):
                raise TypeError(f"{cls.__name__} defines {old}(), which is {new}() now; rename it.{_RENAMED}")

    def solution(self, task: Task) -> Sequence[Call | str] | None:
        """What somebody does who solves the task, a turn each: a tool's call, or a message; `None` where none is known.

        Where not overridden, it is the gold answer. An environment whose score is of its state gives calls.
        """
        return None if task.gold is None else [task.gold]

    def wrong(self, task: Task) -> Iterable[str | Sequence[Call | str]]:
        """Answers or solutions that are known to be wrong, for the gold gate: what only the benchmark can know."""
        return ()

    def training(self, rng: Random) -> Iterator[Task]:
        """Yields tasks to train a model on, without end, sharing no problem with `tasks`. By default none."""
        return iter(())

    def guess(self, task: Task, rng: Random) -> str | None:
        """An answer as somebody would give it who did not read the task; `None` where there is no such thing."""
        return None


async def score_of(
    environment: Environment, task: Task, response: Response, models: Mapping[str, Model] = NO_MODELS
) -> Score:
    """Returns what `verify` does, whether or not it waits. `models` are those of the benchmark's roles."""
    score = environment.verify(task, response, models) if models else environment.verify(task, response)
    return await score if inspect.isawaitable(score) else score


def session_of(
    environment: Environment, task: Task, seed: int, models: Mapping[str, Model]
) -> AbstractAsyncContextManager[Session]:
    """Returns what `open` does. `models` are those of the benchmark's roles."""
    return environment.open(task, seed, models) if models else environment.open(task, seed)


def has_no_state(environment: Environment) -> bool:
    """Whether the environment's sessions hold nothing but the task: no tools, no replies."""
    return type(environment).open is Environment.open


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a benchmark came from. The catalog says it once, when it loads the benchmark."""

    name: str
    """The name by which it was asked for, and by which it is found again."""
    folder: Path | None = None
    """Its files; None where it is made by a gym."""
    package: str | None = None
    """The package that it is part of, by the name that it is imported by; None for a folder named by its path."""
    family: str | None = None
    """What it is a member of: a gym's prefix, or the first part of a name such as `reasoning-gym/chain_sum`."""


class Original(Protocol):
    """How the original code judges, where it judges otherwise than `verify`: `assay parity` compares with this."""

    def __call__(self, task: Task, response: Response, settings: Mapping[str, Any]) -> Score | None:
        """The original's score of a final response; None where it reads no answer and guesses one.

        `settings` are what the reference states of its making.
        """
        ...


@dataclass(frozen=True, slots=True)
class Defect:
    """What is known to be wrong with a faithful port, and why it is kept."""

    what: str
    why: str
    tasks: tuple[str, ...] = ()
    """The ids that it concerns; none means all."""
    probes: tuple[str, ...] = ()
    """Kinds of probe that are rewarded because of it, and checks of the tasks that find it, such as `duplicates`. With
    neither these nor tasks, it excuses nothing."""
    outputs: int | None = None
    """How many recorded outputs of models it touches; None where nobody counted."""
    incomparable: bool = False
    """The original judges these tasks by chance, or has them in another form: parity leaves them out, and says so."""

    def covers(self, kind: str, task: str) -> bool:
        """Whether it explains what a kind of probe or check found in a task."""
        concerned = not self.tasks or task in self.tasks
        return concerned and (kind in self.probes if self.probes else bool(self.tasks))


@dataclass(frozen=True, slots=True)
class Benchmark:
    """An environment with a protocol: what has to be the same wherever the score is to be compared."""

    environment: Environment
    repeats: int
    """k of avg@k."""
    sampling: Sampling = field(default_factory=Sampling)
    """What the protocol fixes; the rest is the model server's."""
    limits: RolloutLimits = field(default_factory=RolloutLimits)
    """How much a model may use in one rollout."""
    score: ScoreRule = field(default_factory=Mean)
    """What its score is, such as `Mean(by="subset")`."""
    chance: float = 0.0
    """The score that guessing is stated to reach."""
    hard: str = ""
    """Declares that no open model masters it, with the reason. The range gate then needs closed models to differ."""
    roles: Mapping[str, Model | None] = field(default_factory=dict[str, Model | None])
    """The models that sessions ask beside the policy, such as a `user` or a `judge`, where `--with ROLE=NAME` names no
    other; `None` where it has to name one."""
    formats: tuple[str, ...] = ("{}",)
    """How an answer may be written, `{}` standing for it, or `{json}` for it as a JSON text: the verifier gate tries
    each."""
    data: tuple[Source, ...] = ()
    """Files that are not in the package, which `assay prepare` gets."""
    files: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """Files that its tasks are made of and that are not in its folder, by the names that run.json records."""
    published: Path | None = None
    """The file of published scores, where it is not the `published.toml` of its folder."""
    original: Original | None = None
    """None where `verify` is the original's judgement."""
    most_left_out: float = 0.05
    """The share of the original's judgements that may be guesses, or of tasks that are `incomparable`: beyond it
    `assay parity` calls no verifiers identical."""
    defects: tuple[Defect, ...] = ()
    origin: Origin | None = None
    """Where it came from; None where it was made in Python."""
    place: Place | None = None
    """Where its sandbox is opened, if not where its environment says."""

    @property
    def incomparable(self) -> frozenset[str]:
        """The tasks that can't be compared with the original's, as `defects` declares."""
        return frozenset(task for defect in self.defects if defect.incomparable for task in defect.tasks)

    @property
    def name(self) -> str:
        return self.environment.name

    @property
    def version(self) -> str:
        return self.environment.version

    @property
    def source(self) -> str:
        """The name by which the catalog finds it again."""
        return self.origin.name if self.origin else self.name

    @property
    def folder(self) -> Path | None:
        """The folder that holds its files, and its `published.toml`; None where it has none of its own."""
        return self.origin.folder if self.origin else None

    def placed(self, place: Place | None) -> Self:
        """Returns the benchmark with its sandbox in another place. Raises UsageError where it opens none."""
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
        # An agent that asks no model gives no answer, which is wrong as an empty one is.
        response = turns[-1].response if turns else Response(output=[])
        return await score_of(self._environment, self._task, response, self._models)
