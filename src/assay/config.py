"""Configuration: models and suites from TOML, as frozen structs. Environment variables hold secrets only."""

import re
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct, structs

from assay.errors import InputError, UnknownName, UsageError
from assay.input import is_present, read_input
from assay.plugins import plugins
from assay.types import Item, Kind, Role, RolloutLimits, Sampling, Usage

LONGEST_S = 30 * 86400.0
"""The longest deadline that can be set: 30 days."""
LONGEST_NAME = 200
"""The longest name of a folder, in bytes."""
SUITES = Path(__file__).parent / "suites"

T = TypeVar("T")
FROM_TASKS = ("gold", "null", "chance")
"""The dialects that answer from the benchmark's own tasks."""
THINKING_TAGS = (
    *("<think>", "<thinking>", "<thought>", "<reasoning>", "<seed:think>", "[THINK]", "◁think▷"),
    "<|channel|>analysis<|message|>",
)
"""What opens a model's thinking in raw text. The last is that of gpt-oss."""
OBJECT = "object"
"""The dialect in run.json of a model that is the caller's own object."""


class Prices(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a model costs, in US dollars per million tokens."""

    input: Annotated[float, Meta(ge=0)]
    output: Annotated[float, Meta(ge=0)]
    """Reasoning tokens are output."""
    cached_input: Annotated[float, Meta(ge=0)] | None = None
    """Input that the server had cached; by default the price of other input."""

    def cost(self, usage: Usage) -> float:
        """Returns the price of a usage in US dollars."""
        cached = self.input if self.cached_input is None else self.cached_input
        fresh = max(0, usage.input_tokens - usage.cached_tokens)
        return (fresh * self.input + usage.cached_tokens * cached + usage.output_tokens * self.output) / 1e6

    def half(self) -> Self:
        """Returns half of each price, as batch APIs charge."""
        cached = None if self.cached_input is None else self.cached_input / 2
        return structs.replace(self, input=self.input / 2, output=self.output / 2, cached_input=cached)


class RateLimits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How many requests a server gets at once. Below these limits, concurrency adapts to the server's refusals."""

    concurrency: Annotated[int, Meta(ge=1)] | None = None
    """Requests in flight at most; --concurrency bounds them too."""
    requests_per_minute: Annotated[float, Meta(gt=0)] | None = None
    tokens_per_minute: Annotated[float, Meta(gt=0)] | None = None
    """Input and output together."""
    patience_s: Annotated[float, Meta(ge=0)] = 120.0
    """Requests that the server refuses (429, 503) wait and are sent again. They fail if the server has accepted no
    request for this time, in seconds."""

    def divide(self, count: int) -> Self:
        """Returns the limits for each of `count` processes, which together keep these limits."""
        return structs.replace(
            self,
            concurrency=self.concurrency and max(1, self.concurrency // count),
            requests_per_minute=self.requests_per_minute and self.requests_per_minute / count,
            tokens_per_minute=self.tokens_per_minute and self.tokens_per_minute / count,
        )


class BadName(UsageError, ValueError):
    """A name that can't be a folder's. It is a ValueError too: msgspec adds the place in a file to a ValueError."""

    def __init__(self, got: str, expected: str) -> None:
        super().__init__(f"{got}; expected {expected}")
        self.got, self.expected = got, expected


def path_name(name: str) -> str:
    """Returns a model's or suite's name as one part of a path, with `--` for `/`. Raises BadName if it can't be one."""
    parts = name.split("/")
    if {"", ".", ".."} & set(parts) or not name.isprintable() or len(name.encode()) > LONGEST_NAME:
        expected = "one such as qwen3-4b or Qwen/Qwen3-4B, without '..' and not absolute"
        raise BadName(f"the name {name[:80]!r} can't be a folder's", expected)
    return "--".join(parts)


def name_of_id(model_id: str) -> str:
    """Returns a short name for a model's id, which may be a path."""
    return path_name(model_id.lstrip("./").rstrip("/"))


class UnknownDialect(UnknownName, ValueError):
    """No package offers the dialect. It is a ValueError, too: msgspec adds the place in a file to a ValueError."""


class ModelConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A model server: all settings of one model. A few lines of TOML."""

    dialect: str
    """An entry point of `assay.dialects` (see `assay list dialects`)."""
    id: str = ""
    """The model's name at its server; for `local` the name of shipped weights or a folder, for `replay` a file."""
    base_url: str | None = None
    """Up to and including `/v1`. A query, such as Azure's `?api-version=…`, is sent with every request."""
    api_key_env: str | None = None
    """The environment variable that holds the key. The key itself is never written anywhere."""
    headers: dict[str, str] = {}
    """Sent with every request. Their values are not written to `run.json`, but secrets belong in `headers_env`."""
    headers_env: dict[str, str] = {}
    """Headers whose values are secrets: the environment variable for each, such as `api-key = "AZURE_KEY"`."""
    reasoning: Literal["auto", "field", "tags", "none"] = "auto"
    """The place of reasoning: in a field of the message, between tags in the text, or nowhere."""
    thinking_tags: tuple[Annotated[str, Meta(min_length=3)], ...] = THINKING_TAGS
    """What opens thinking in the text. `</…>` closes it; upper and lower case are the same in `<…>`."""
    send_reasoning: Literal["auto", "loop", "tools", "tags"] = "auto"
    """What reasoning `chat` sends back: what came since the last user message, in the field that it came in (`loop`) or
    in tags (`tags`); that of all earlier turns with tool calls too (`tools`), which `auto` does for DeepSeek."""
    sampling: Sampling = Sampling()
    """Used where the benchmark's protocol sets no value."""
    extra_body: dict[str, Any] = {}
    """Fields that are added to every request, such as `chat_template_kwargs`."""
    omit: list[str] = []
    """Fields of the request body that this server refuses, such as `temperature` for OpenAI's reasoning models."""
    max_tokens_field: str = "max_tokens"
    """The name of the output limit in Chat Completions. OpenAI's reasoning models use `max_completion_tokens`."""
    stream: bool = False
    """Receive answers as server-sent events: for long answers through proxies that cut silent connections."""
    timeout_s: Annotated[float, Meta(gt=0, le=LONGEST_S)] = 600.0
    """The deadline of one HTTP request, its answer included."""
    deadline_s: Annotated[float, Meta(gt=0, le=LONGEST_S)] = 7200.0
    """The deadline of one rollout, its tools and verification included."""
    attempts: Annotated[int, Meta(ge=1)] = 5
    """The number of tries of one request, if the error may pass. A 429 or 503 does not count as a try."""
    limits: RateLimits = RateLimits()
    prices: Prices | None = None
    logprobs: bool = False
    """Request the log-probabilities of output tokens. An embedded model always gives these; then also the prompt's."""
    chat_template: str | None = None
    """For `completions`: the path of a Jinja chat template, or of a `tokenizer_config.json` that holds one."""
    script: list[str | list[Item]] = []
    """For `scripted`: the answer of each turn, as raw text or as items."""

    def __post_init__(self) -> None:
        known = plugins("assay.dialects")
        if self.dialect not in known and self.dialect != OBJECT:
            raise UnknownDialect("dialect", self.dialect, known)

    @property
    def answers_tasks(self) -> bool:
        """Whether it answers from the benchmark's tasks, as `gold`, `null` and `chance` do."""
        return self.dialect in FROM_TASKS

    def secrets(self) -> list[str]:
        """Returns the names of the environment variables that have to hold a secret."""
        return [*filter(None, [self.api_key_env]), *self.headers_env.values()]

    def identity(self) -> dict[str, Any]:
        """Returns the settings that decide the outputs. Two runs may be joined only if these are equal."""
        transport = {"base_url", "api_key_env", "headers", "headers_env", "stream", "timeout_s", "deadline_s"}
        # The template's text matters, which the model's own identity has, not the path of its file.
        transport |= {"attempts", "limits", "prices", "chat_template"}
        return {key: value for key, value in msgspec.to_builtins(self).items() if key not in transport}


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings that `--set` may change: the model server, and the protocol's sampling and limits."""

    model: ModelConfig
    sampling: Sampling
    limits: RolloutLimits = RolloutLimits()


class Member(ModelConfig, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A model in a suite: its server, and its place in the suite."""

    role: Role
    kind: Kind
    tier: int = 0
    published: str | None = None
    """The model's name in the files of published scores."""

    def server(self) -> ModelConfig:
        """Returns the model server alone, without the place in the suite."""
        return ModelConfig(**{name: getattr(self, name) for name in ModelConfig.__struct_fields__})


class Reversal(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Published scores of a benchmark in which the weaker model of a pair has the higher one."""

    benchmark: str
    stronger: str
    weaker: str
    points: Annotated[float, Meta(gt=0, le=100)]
    """The weaker model's score less the stronger one's."""


class Suite(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"roles": "with"}):
    """The models that a benchmark is profiled on."""

    name: str
    models: dict[str, Member]
    tiers: Literal["climb", "all"] = "climb"
    """`climb` runs the next tier only if no open model so far is in range (the range gate); `all` runs every tier."""
    order: list[tuple[str, str]] = []
    """Pairs (stronger, weaker) for the order gate, which adds the strongest closed and the strongest open model."""
    reversals: list[Reversal] = []
    """Published scores that reverse a pair: the order gate allows that difference in addition to its margin."""
    roles: dict[str, ModelConfig] = {}
    """`[with.ROLE]`: other models that the benchmark uses, such as `[with.judge]`."""

    def __post_init__(self) -> None:
        names = {name: path_name(name) for name in self.models}
        if len(set(names.values())) < len(names):
            raise BadName(f"two of {', '.join(names)} have the same folder", "names that differ in more than / and --")
        structs.force_setattr(self, "name", path_name(self.name))
        structs.force_setattr(self, "models", {names[name]: member for name, member in self.models.items()})
        order = [(names.get(a, a), names.get(b, b)) for a, b in self.order]
        structs.force_setattr(self, "order", order)

    def reversals_on(self, benchmark: str) -> dict[tuple[str, str], float]:
        """Returns the published reversals of a benchmark by pair (stronger, weaker), as shares."""
        mine = [one for one in self.reversals if one.benchmark == benchmark]
        return {(path_name(one.stronger), path_name(one.weaker)): one.points / 100 for one in mine}


class RayConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[ray]`: the resources of a worker on a Ray cluster, and its files and packages."""

    cpus: Annotated[float, Meta(ge=0)] = 1.0
    """CPUs of each actor. The next two are for each actor too."""
    memory_mb: Annotated[int, Meta(ge=1)] | None = None
    resources: dict[str, float] = {}
    """Ray's custom resources, such as `{ sandbox = 1 }` if nodes are started with it."""
    working_dir: str | None = None
    """A folder that is sent to the nodes, and in which workers run, for benchmarks given by a path in it."""
    pip: list[str] = []
    """Packages to install for the actors."""
    env: list[str] = []
    """Names of environment variables that actors get beside those of the models' keys. Their values are sent in a
    message, and written nowhere."""


class AgentConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`[agents.NAME]`: an agent and its settings. Part of a run's identity."""

    agent: str
    """An entry point of `assay.agents` (see `assay list agents`)."""
    settings: dict[str, Any] = {}
    """Passed to the agent's class as keyword arguments."""
    version: str = ""
    """The version of an agent that is a program. In assay.toml, the version that is required."""

    def __str__(self) -> str:
        name = f"{self.agent} {self.version}".strip()
        settings = ", ".join(f"{name}={value!r}" for name, value in self.settings.items())
        return f"{name} ({settings})" if settings else name


LOOP = AgentConfig(agent="loop")
"""The loop of model and tools: the default agent."""


class EngineConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[sandbox.docker]` and `[sandbox.podman]`: what they need on this computer."""

    run_args: tuple[str, ...] = ()
    """Further arguments of each `run`, after Assay's own."""
    build_args: tuple[str, ...] = ()
    """Further arguments of each `build`."""


class AssayToml(Struct, frozen=True, forbid_unknown_fields=True):
    """`assay.toml`: models and agents by name, Ray, and what sandboxes need."""

    models: dict[str, ModelConfig] = {}
    agents: dict[str, AgentConfig] = {}
    sandbox: dict[str, EngineConfig] = {}
    ray: RayConfig = RayConfig()


NO_FILE = AssayToml()
"""What a missing file has: no models beside those in the package."""


def read_toml(path: Path, kind: type[T]) -> T:
    """Returns the struct in a TOML file. Raises InputError with file, line and the expected content."""
    try:
        data = tomllib.loads(read_input(path).decode())
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(path, None, f"not UTF-8 text ({error})", "a TOML file") from None
    except RecursionError:
        raise InputError(path, None, "it is nested too deeply", "a TOML file") from None
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        line = message.rpartition("(at line ")[2].partition(",")[0]
        raise InputError(path, int(line) if line.isdigit() else None, message, "valid TOML") from None
    return convert(data, kind, path)


def convert(data: Any, kind: type[T], path: object) -> T:
    """Returns `data` as a struct. Raises InputError with the wrong key of `path` and the expected value."""
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise _with_place(error, data, kind, path) from None


def _with_place(error: msgspec.ValidationError, data: Any, kind: Any, path: object) -> InputError:
    """Returns the error with its place, down to the innermost struct, and the expected value."""
    got, _, at = str(error).partition(" - at ")
    place: list[str] = []
    tags: list[str] = []
    for name in at.strip("`").removeprefix("$").replace("[...]", "[]").split("."):
        if not name or kind is None:
            continue
        if not hasattr(kind, "__struct_encode_fields__"):  # one of several structs, of which a tag says which
            tags = [str(one.__struct_config__.tag) for one in get_args(kind) if hasattr(one, "__struct_config__")]
            place.append(name)
            kind = None
            continue
        key, _, index = name.removesuffix("]").partition("[")
        written = dict(zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True))
        kind, data = get_type_hints(kind, include_extras=True).get(written.get(key, key)), data.get(key)
        place.append(name.removesuffix("[]"))
        if name.endswith("[]") and len(get_args(kind)) == 2:
            # msgspec does not say which of them: it is the first that does not fit.
            kind = get_args(kind)[1]
            entry = next(entry for entry in data if not _fits(data[entry], kind))
            place.append(entry)
            data = data[entry]
        elif index.isdigit() and get_origin(kind) is list:
            kind, data = get_args(kind)[0], data[int(index)]
        elif type(None) in get_args(kind):
            kind = get_args(kind)[0]  # X of `X | None`
    if isinstance(error.__cause__, BadName):
        return InputError(path, None, error.__cause__.got, error.__cause__.expected)
    if isinstance(error.__cause__, UnknownDialect):
        known = ", ".join(plugins("assay.dialects"))
        return InputError(
            path, None, f"{got.partition('.')[0]} (at {'.'.join([*place, 'dialect'])})", f"one of {known}"
        )
    fields = getattr(kind, "__struct_encode_fields__", None)
    choices = tags or (map(str, get_args(kind)) if get_origin(kind) is Literal else None)
    expected = (
        f"the keys {', '.join(fields)}"
        if fields
        else f"one of {', '.join(choices)}"
        if choices
        else got.partition(",")[0].removeprefix("Expected ")
    )
    return InputError(path, None, f"{got} (at {'.'.join(place) or 'its top'})", expected)


def _fits(data: Any, kind: Any) -> bool:
    try:
        msgspec.convert(data, kind)
    except msgspec.ValidationError:
        return False
    return True


def override(config: T, assignments: Iterable[str]) -> T:
    """Returns the struct with each `a.b=value` applied. A value is TOML, or else a text."""
    data = msgspec.to_builtins(config)
    for assignment in assignments:
        path, found, text = assignment.partition("=")
        if not found:
            raise UsageError(f"--set {assignment}: expected a.b=value, such as --set sampling.temperature=0.6")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        *parents, last = path.strip().split(".")
        place: dict[str, Any] = data
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise UsageError(f"--set {assignment}: {parent} is a value, with nothing inside it")
        place[last] = value
    return convert(data, type(config), "--set")


def load_suite(name: str, assignments: Sequence[str] = ()) -> Suite:
    """Returns a suite by its name or by a TOML file's path, with each `models.NAME.key=value` applied.

    Raises UsageError with the nearest names.
    """
    shipped = suites()
    path = shipped.get(name, Path(name))
    if not path.exists() and path.parent == Path("suites"):
        path = SUITES / path.name  # as the repository's tree shows it
    if name not in shipped and path.suffix != ".toml" and "/" not in name:
        raise UnknownName("suite", name, shipped, "; or a path that ends in .toml")
    suite = read_toml(path, Suite)
    if not suite.models:
        raise InputError(path, None, "the suite has no models", "at least one [models.NAME]")
    for model in (model for pair in suite.order for model in pair if model not in suite.models):
        raise UnknownName(f"model of suite {suite.name}, named in its order,", model, suite.models)
    for model in re.findall(r"^models\.([^.=]+)", "\n".join(assignments), re.MULTILINE):
        if model not in suite.models:
            raise UnknownName(f"model of suite {suite.name}, named by --set,", model, suite.models)
    return override(suite, assignments)


def suite_of(names: Sequence[str], assignments: Sequence[str] = (), *, own: AssayToml = NO_FILE) -> Suite:
    """Returns a suite made of some models by name, with each `models.NAME.key=value` applied. Raises UsageError.

    An embedded model keeps its role, kind and tier; `gold`, `null` and `chance` are compared with no other; any other
    model is an open one.
    """
    embedded = _embedded_models()
    members: dict[str, Member] = {}
    for name, server in (load_model(name, own=own) for name in names):
        role: Role = "policy" if server.answers_tasks else "open"
        known = embedded.get(name)
        placed = known if known and known.server() == server else None
        members[name] = placed or Member(role=role, kind="instruct", **structs.asdict(server))
    if not members:
        raise UsageError("--models names none; expected names, such as --models gold,null")
    return override(Suite(name="-".join(members), models=members, tiers="all"), assignments)


def suites() -> dict[str, Path]:
    """Returns the suites in the package, by name."""
    return {path.stem: path for path in sorted(SUITES.glob("*.toml"))}


def _embedded_models() -> dict[str, Member]:
    """Returns the models in the package."""
    return {**load_suite("embedded").models, **load_suite("tools").models}


def models(own: AssayToml = NO_FILE) -> dict[str, ModelConfig]:
    """Returns every model that has a name: those of `own`, the embedded ones, and `gold`, `null` and `chance`."""
    named: dict[str, ModelConfig] = {name: ModelConfig(dialect=name) for name in FROM_TASKS}
    named |= {name: member.server() for name, member in _embedded_models().items()}
    return named | own.models


def assay_toml(path: Path = Path("assay.toml")) -> AssayToml:
    """Returns the content of an assay.toml; NO_FILE if there is none. Commands read the working directory's."""
    return read_toml(path, AssayToml) if is_present(path) else NO_FILE


def load_agent(name: str, *, own: AssayToml = NO_FILE) -> AgentConfig:
    """Returns an agent's configuration: `[agents.NAME]` of `own`, else the installed agent of that name.

    Raises UsageError, with the nearest names.
    """
    config = own.agents.get(name) or AgentConfig(agent=name)
    installed = plugins("assay.agents")
    if config.agent not in installed:
        raise UnknownName("agent", config.agent, [*installed, *own.agents])
    return config


class Wire(Struct, frozen=True):
    """The meaning of `PREFIX:ID` as a model's name."""

    dialect: str
    base_url: str | None = None
    """The address of the provider that the prefix names. The key is sent to no other address by default."""
    api_key_env: str | None = None


WIRES = {
    "openai": Wire("responses", "https://api.openai.com/v1", "OPENAI_API_KEY"),
    "anthropic": Wire("messages", "https://api.anthropic.com/v1", "ANTHROPIC_API_KEY"),
    "responses": Wire("responses"),
    "chat": Wire("chat"),
    "messages": Wire("messages"),
    "completions": Wire("completions"),
}


def load_model(name: str, base_url: str | None = None, *, own: AssayToml = NO_FILE) -> tuple[str, ModelConfig]:
    """Returns a model's short name and its server, for a configured name, `PREFIX:ID` (see WIRES), `replay:PATH` or
    `local:FOLDER`.

    `openai:ID` and `anthropic:ID` go to these providers, with the key that the provider's own variable holds; with
    another base URL no key is sent unless `api_key_env` is set. The other prefixes name a dialect and need a base URL.
    """
    prefix, found, model_id = name.partition(":")
    if found and prefix in ("replay", "local"):
        path = Path(model_id)
        source = path.resolve().name if path.is_dir() else path.stem
        # Another name than the original's, because its run must not be in the folder that it reads.
        short = f"replay-{source}" if prefix == "replay" else name_of_id(source)
        return short, ModelConfig(dialect=prefix, id=model_id)
    if found and prefix in WIRES:
        wire = WIRES[prefix]
        if base_url is None and wire.base_url is None:
            raise UsageError(f"--model {name} needs --base-url, such as --base-url http://localhost:8000/v1")
        is_its_own = base_url is None or base_url.rstrip("/") == wire.base_url
        config = ModelConfig(
            dialect=wire.dialect,
            id=model_id,
            base_url=base_url or wire.base_url,
            api_key_env=wire.api_key_env if is_its_own else None,
        )
        return name_of_id(model_id), config
    known = models(own)
    if name not in known:
        hint = f"; what assay.toml in this directory names; {', '.join(f'{prefix}:ID' for prefix in WIRES)} with "
        hint += "--base-url; replay:PATH; local:FOLDER"
        raise UnknownName("model", name, known, hint)
    config = known[name]
    if base_url is None:
        return path_name(name), config
    if config.dialect not in {wire.dialect for wire in WIRES.values()}:
        raise UsageError(f"model {name} has no base URL; for a model at {base_url} say --model chat:ID or responses:ID")
    return path_name(name), structs.replace(config, base_url=base_url)
