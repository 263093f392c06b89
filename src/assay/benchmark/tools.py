"""Tools: typed methods of a session. Their JSON schema is made from the signature, their description from the
docstring.

class Shop(ToolSession):
    @tool
    def order(self, item: str, count: int = 1) -> str:
        \"""Order something.

        Args:
            item: What is wanted, as the catalogue calls it.
        \"""
        if item not in CATALOGUE:
            raise Rejected(f"there is no {item} in the catalogue")
        self.ordered[item] = count
        return "ordered"

    async def score(self, turns: Sequence[Turn]) -> Score:
        return Score(reward=float(self.ordered == self.task.data["wanted"]))
"""

import asyncio
import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from random import Random
from types import TracebackType
from typing import Annotated, Any, Self, TypeVar, get_type_hints, overload

import docstring_parser
import msgspec
from msgspec import Meta, Struct

from assay.benchmark import Environment, Session
from assay.errors import ToolError, UsageError
from assay.types import Score, Task, Tool, Turn

F = TypeVar("F", bound=Callable[..., Any])
DEADLINE_S = 60.0
"""The default deadline of one call of a tool, in seconds."""


class Rejected(Exception):
    """Raised by a tool that declines a call. Its message goes to the model, and the rollout goes on."""


@overload
def tool(function: F) -> F: ...
@overload
def tool(*, blocking: bool = False, deadline_s: float = DEADLINE_S) -> Callable[[F], F]: ...
def tool(function: Any = None, *, blocking: bool = False, deadline_s: float = DEADLINE_S) -> Any:
    """Marks a method as a tool for the model.

    The method returns text, or a value that the model gets as JSON. A plain method that waits (for a disk, a process, a
    lock) has to be `blocking`: then it runs in a thread, which is abandoned at its deadline, because a thread can't be
    killed. A call without an answer by its deadline is the tool's failure, not the model's. A plain method that is not
    `blocking` stops everything else while it runs, and has no deadline.
    """

    def mark(function: Any) -> Any:
        function.assay_tool = _Settings(blocking, deadline_s)
        return function

    return mark if function is None else mark(function)


def tools_of(session: type["ToolSession"]) -> list[Tool]:
    """Returns the tools of a session class, in their order. Raises UsageError for a wrong signature."""
    return [method.tool for method in _methods(session).values()]


class ToolSession(ABC):
    """A session whose tools are its methods. Subclasses set up their state in `__init__`, and define `score`.

    Tools are marked with `@tool`. For bad arguments, unknown tools and calls that a tool rejects, the model gets a
    text; any other exception of a tool is the environment's failure.
    """

    def __init__(self, task: Task, seed: int) -> None:
        self.task = task
        self.rng = Random(seed)
        """The only source of randomness."""
        self._entered = False
        self._open = False

    async def start(self) -> None:
        """Opens what the session needs besides memory. `stop` is called even if this raises."""
        return

    async def stop(self) -> None:
        """Closes what the session opened."""
        return

    @abstractmethod
    async def score(self, turns: Sequence[Turn]) -> Score:
        """Returns the score of the finished rollout."""

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        """Returns a tool's output, or an error for the model. Raises ToolError, and what the tool raises."""
        if not self._open:
            raise RuntimeError(f"{type(self).__name__}: a tool is called outside of the session's `async with`")
        methods = _methods(type(self))
        if name not in methods:
            return f"error: there is no tool '{name}' here; the tools are {', '.join(methods)}"
        method = methods[name]
        try:
            values = msgspec.convert(arguments, method.arguments)
        except msgspec.ValidationError as error:
            return _argument_error(error, method)
        try:
            return await method.answer(self, values)
        except Rejected as rejection:
            return f"error: {rejection}"

    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError(f"{type(self).__name__}: a session is single-use; open another for the next rollout")
        self._entered = self._open = True
        try:
            await self.start()
        except BaseException:
            self._open = False
            await self.stop()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None):
        self._open = False
        await self.stop()


class ToolEnvironment(Environment):
    """An environment whose sessions are of one class. Subclasses set `session`, and give tasks `tools=self.tools`."""

    session: type[ToolSession]

    @property
    def tools(self) -> list[Tool]:
        return tools_of(self.session)

    def open(self, task: Task, seed: int) -> AbstractAsyncContextManager[Session]:
        return self.session(task, seed)


class _Settings(Struct, frozen=True):
    blocking: bool
    deadline_s: float


class _Method(Struct, frozen=True):
    """One tool of a session class."""

    function: Callable[..., Any]
    settings: _Settings
    arguments: type[Struct]
    tool: Tool

    async def answer(self, session: ToolSession, values: Struct) -> str:
        given = {name: getattr(values, name) for name in values.__struct_fields__}
        deadline = asyncio.timeout(self.settings.deadline_s)
        try:
            async with deadline:
                if self.settings.blocking:
                    said = await asyncio.to_thread(self.function, session, **given)
                elif inspect.isawaitable(said := self.function(session, **given)):
                    said = await said
        except TimeoutError:
            if not deadline.expired():
                raise
            name, limit_s = self.tool.name, self.settings.deadline_s
            raise ToolError(f"the tool {name} gave no answer within {limit_s:g} s, its deadline") from None
        return said if isinstance(said, str) else msgspec.json.encode(said).decode()


@functools.cache
def _methods(session: type[ToolSession]) -> dict[str, _Method]:
    marked = {
        name: None
        for kind in reversed(session.__mro__)
        for name, value in vars(kind).items()
        if hasattr(value, "assay_tool")
    }
    found = {name: getattr(session, name) for name in marked}
    return {name: _method(session, name, f) for name, f in found.items() if hasattr(f, "assay_tool")}


def _method(session: type[ToolSession], name: str, function: Any) -> _Method:
    place = f"the tool {session.__name__}.{name}"
    hints = get_type_hints(function, include_extras=True)
    said = docstring_parser.parse(function.__doc__ or "")
    if not said.description:
        raise UsageError(f"{place} has no docstring; it is the description that the model gets")
    _, *parameters = inspect.signature(function).parameters.values()
    for parameter in parameters:
        if parameter.name not in hints:
            raise UsageError(f"{place}: {parameter.name} has no type; expected one, such as {parameter.name}: str")
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise UsageError(f"{place}: {parameter} can't be given by name; expected plain parameters")
    described = {entry.arg_name: " ".join((entry.description or "").split()) for entry in said.params}
    if strangers := described.keys() - {parameter.name for parameter in parameters}:
        raise UsageError(f"{place}: its docstring describes {min(strangers)}, which is no parameter")
    fields = [(p.name, _annotate(hints[p.name], described.get(p.name)), *_default(p)) for p in parameters]
    try:
        arguments = msgspec.defstruct(name, fields, forbid_unknown_fields=True, kw_only=True)
        schema = _schema(arguments)
    except TypeError as error:
        raise UsageError(f"{place}: {error}") from None
    description = " ".join(said.description.split())
    return _Method(function, function.assay_tool, arguments, Tool(name, schema, description))


def _annotate(kind: Any, description: str | None) -> Any:
    return Annotated[kind, Meta(description=description)] if description else kind


def _default(parameter: inspect.Parameter) -> tuple[Any, ...]:
    return () if parameter.default is parameter.empty else (parameter.default,)


def _schema(arguments: type[Struct]) -> dict[str, Any]:
    """Returns the JSON schema of the arguments: an object, with inner structs in `$defs`."""
    schema = msgspec.json.schema(arguments)
    definitions = schema.pop("$defs")
    top = definitions.pop(schema["$ref"].rpartition("/")[2])
    top.pop("title", None)
    return top | ({"$defs": definitions} if definitions else {})


def _argument_error(error: msgspec.ValidationError, method: _Method) -> str:
    """Returns a message about a call's wrong arguments, with those that the tool takes."""
    wrong, _, at = str(error).partition(" - at ")
    place = at.strip("`").removeprefix("$").removeprefix(".")
    schema = method.tool.parameters
    takes = (name if name in schema.get("required", ()) else f"{name} (optional)" for name in schema["properties"])
    where = f"{place}: " if place else ""
    return f"error: {method.tool.name}: {where}{wrong}; it takes {', '.join(takes) or 'no arguments'}"
