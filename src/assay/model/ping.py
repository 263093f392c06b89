"""Ping: checks in seconds what a model server gives, before a benchmark spends hours on it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from msgspec import Struct, structs

from assay.config import Member, ModelConfig
from assay.errors import AssayError, ModelError, UsageError
from assay.model import Model, connect
from assay.model.dialects import thinking
from assay.model.wrappers.guard import GuardedModel
from assay.types import (
    FunctionCall,
    FunctionCallOutput,
    Item,
    Message,
    Reasoning,
    Refusal,
    Request,
    Response,
    Sampling,
    Tool,
)

CAP = 4096
"""The most output tokens of each answer: enough for a thinking model on an easy question, and cheap."""
MOST_SAMPLES = 4
PATIENCE_S = 5.0
"""Seconds for which a server may say "slow down" before that is the result."""

EASY = "What is 27 + 58?"
VARIED = "In a story of one sentence: what is 37 * 483 - 612?"
"""No two samples of a large model tell the same story, and none of a small one gets the same wrong number: all four
samples of an embedded model are the same one time in 60 or less, by 40 seeds each."""
USE_TOOL = "Use the tool `add` to work out 1234 + 5678."
ADD = Tool(
    name="add",
    description="The sum of two integers.",
    parameters={
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
        "additionalProperties": False,
    },
)


class PingResult(Struct, frozen=True, omit_defaults=True):
    """The result of one check."""

    says: str
    """One word: `yes`, `no`, `?` if unknown, or the form that came."""
    good: bool | None = None
    """Whether it is as it should be; None if unknown."""
    why: str = ""
    """The reason, in the server's own words if it gave any."""


NOT_ASKED = PingResult("–")


class Ping(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The results of one model server."""

    model: str
    """Its name in the suite."""
    id: str
    served_as: str | None = None
    """The name that the server gave the model."""
    seconds: float | None = None
    """To the end of the first answer."""
    answers: PingResult
    thinking: PingResult = NOT_ASKED
    """How it arrives: `text`, `summary`, `encrypted`, `hidden` (counted, not shown), `none`, or `leaks` where some of
    it stands in the answer."""
    tools: PingResult = NOT_ASKED
    """Whether a tool is called with sound arguments, and its output sent back is answered."""
    repeats: PingResult = NOT_ASKED
    """`independent` where samples of one prompt differ, else `identical`."""
    logprobs: PingResult = NOT_ASKED
    token_ids: PingResult = NOT_ASKED


CHECKS = ("answers", "thinking", "tools", "repeats", "logprobs", "token_ids")


async def ping_all(
    models: Mapping[str, ModelConfig],
    *,
    timeout_s: float = 60.0,
    cap: int = CAP,
    watch: Callable[[Ping], None] = lambda _: None,
) -> list[Ping]:
    """Returns the ping of each model, made concurrently. `watch` is called with each. Raises no error of a model."""

    async def one(name: str, config: ModelConfig) -> Ping:
        found = await ping(name, config, timeout_s=timeout_s, cap=cap)
        watch(found)
        return found

    return await asyncio.gather(*(one(name, config) for name, config in models.items()))


async def ping(name: str, config: ModelConfig, *, timeout_s: float = 60.0, cap: int = CAP) -> Ping:
    """Returns the ping of one model, within `timeout_s` seconds. A check without a result says why."""
    asking = _Asking(config, timeout_s, cap)
    try:
        async with asking.model() as model:
            return await _ping(name, config, model, asking)
    except Exception as error:  # one model's trouble, whatever it is, must not hide the others
        return Ping(model=name, id=config.id, answers=PingResult("no", False, _error_text(error)))


async def _ping(name: str, config: ModelConfig, model: Model, asking: "_Asking") -> Ping:
    loop = asyncio.get_running_loop()
    started = loop.time()
    firsts: list[Response] = []

    async def first() -> PingResult:
        firsts.append(await model.respond(asking.request(EASY)))
        return _answer_finding(firsts[0], asking.cap)

    answers = await asking.finding(first())
    if not firsts:
        return Ping(model=name, id=config.id, answers=structs.replace(answers, says="no", good=False))
    seconds, easy = loop.time() - started, firsts[0]
    samples: list[Response] = []
    tools, repeats, logprobs, token_ids = await asyncio.gather(
        asking.finding(_tools(model, asking)),
        asking.finding(_repeats(model, asking, samples)),
        asking.finding(_extra(asking, easy, {"logprobs": True}, _has_logprobs)),
        asking.finding(_extra(asking, easy, _with_token_ids(config), _has_token_ids)),
    )
    return Ping(
        model=name,
        id=config.id,
        served_as=easy.model,
        seconds=round(seconds, 3),
        answers=answers,
        thinking=_thinking([easy, *samples], config),
        tools=tools,
        repeats=repeats,
        logprobs=logprobs,
        token_ids=token_ids,
    )


class _Asking:
    """The settings and the deadline of the requests to one model."""

    def __init__(self, config: ModelConfig, timeout_s: float, cap: int) -> None:
        self.config = config
        self.cap = min(cap, config.sampling.max_output_tokens or cap)
        self._timeout_s = timeout_s
        self._until = asyncio.get_running_loop().time() + timeout_s

    def request(self, prompt: str, *more: Item, seed: int = 0, tools: Iterable[Tool] = ()) -> Request:
        """Returns a request with a prompt and later items. The sampling is the model's own, with the cap."""
        items: list[Item] = [Message(role="user", content=prompt), *more]
        return Request(input=items, sampling=Sampling(max_output_tokens=self.cap), tools=list(tools), seed=seed)

    @asynccontextmanager
    async def model(self, **changes: Any) -> AsyncGenerator[Model]:
        """The model as rollouts call it, but of little patience. Raises UsageError."""
        if self.config.answers_tasks:
            raise UsageError(f"the model {self.config.dialect} answers from a benchmark's tasks: nothing to ping")
        config = structs.replace(self.config, **changes)
        limits = structs.replace(config.limits, patience_s=min(PATIENCE_S, config.limits.patience_s))
        config = structs.replace(config, attempts=min(2, config.attempts), limits=limits)
        model = GuardedModel(connect(config), config, concurrency=MOST_SAMPLES)
        try:
            yield model
        finally:
            await model.aclose()

    async def finding(self, check: Awaitable[PingResult]) -> PingResult:
        """Returns the result of a check, or why there is none. A final refusal of the server is a `no`."""
        try:
            async with asyncio.timeout_at(self._until):
                return await check
        except TimeoutError:
            return PingResult("?", None, f"no answer within {self._timeout_s:g} s (--timeout)")
        except ModelError as error:
            return (
                PingResult("?", None, _error_text(error))
                if error.retryable
                else PingResult("no", False, _error_text(error))
            )
        except Exception as error:
            return PingResult("?", None, _error_text(error))


def _answer_finding(response: Response, cap: int) -> PingResult:
    refusals = [part.refusal for part in _parts(response) if isinstance(part, Refusal)]
    if refusals:
        return PingResult("yes", True, f"it refused to answer “{EASY}”: {_quote(refusals[0])}")
    if response.incomplete_reason == "content_filter":
        return PingResult("no", False, "the server's content filter cut the answer")
    if response.status == "incomplete":
        return PingResult("yes", True, f"cut at {cap:,} output tokens (--cap), {_before(response)}")
    if not response.text.strip():
        return PingResult("no", False, "the answer is empty")
    return PingResult("yes", True)


def _thinking(responses: list[Response], config: ModelConfig) -> PingResult:
    """How thinking arrived in any of the responses, and whether that is what the suite promises."""
    for response in responses:
        if leak := thinking.leftover(response.text):
            at = response.text.index(leak)
            near = response.text[max(0, at - 30) : at + len(leak) + 30]
            why = f"{leak} stands in the answer, {_quote(near)}; {thinking.remedy(leak, config)}"
            return PingResult("leaks", False, why)
    says, why = _form(responses)
    kind = config.kind if isinstance(config, Member) else None
    if kind == "thinking" and says == "none":
        return PingResult(says, False, "the suite says kind = thinking, and no reasoning came")
    if kind == "instruct" and says != "none":
        return PingResult(says, False, "; ".join(filter(None, ["the suite says kind = instruct, and it thinks", why])))
    return PingResult(says, True, why)


def _form(responses: list[Response]) -> tuple[str, str]:
    items = [item for response in responses for item in response.output if isinstance(item, Reasoning)]
    hidden = max(response.usage.reasoning_tokens for response in responses)
    if any(part.text.strip() for item in items for part in item.content or ()):
        return "text", ""
    if any(part.text.strip() for item in items for part in item.summary):
        return "summary", ""
    if any(item.encrypted_content for item in items):
        return "encrypted", ""
    return ("hidden", f"{hidden:,} tokens of reasoning, none of them shown") if hidden else ("none", "")


class _Sum(Struct):
    a: int
    b: int


async def _tools(model: Model, asking: _Asking) -> PingResult:
    """A call of the tool, its output sent back, and an answer."""
    response = await model.respond(asking.request(USE_TOOL, tools=[ADD]))
    calls = [item for item in response.output if isinstance(item, FunctionCall)]
    if not calls:
        if response.status == "incomplete":
            return PingResult("?", None, f"cut at {asking.cap:,} output tokens (--cap), before a call")
        return PingResult("no", False, f"it did not call the tool, but said {_quote(response.text)}")
    outputs: list[Item] = []
    for call in calls:
        try:
            numbers = msgspec.json.decode(call.arguments, type=_Sum)
        except (msgspec.DecodeError, UnicodeError) as error:
            return PingResult("no", False, f"it called {call.name} with {_quote(call.arguments)}: {error}")
        if call.name != ADD.name:
            return PingResult("no", False, f"it called {_quote(call.name)}; the only tool is {ADD.name}")
        outputs.append(FunctionCallOutput(call_id=call.call_id, output=str(numbers.a + numbers.b)))
    try:
        after = await model.respond(asking.request(USE_TOOL, *response.output, *outputs, tools=[ADD]))
    except ModelError as error:
        words = f"it called the tool; sent its output, {_error_text(error)}"
        return PingResult("?", None, words) if error.retryable else PingResult("no", False, words)
    if after.text.strip():
        return PingResult("yes", True)
    if after.status == "incomplete":
        return PingResult("?", None, f"cut at {asking.cap:,} output tokens (--cap), after the tool's output")
    return PingResult("no", False, "it called the tool, and gave no answer after its output")


async def _repeats(model: Model, asking: _Asking, samples: list[Response]) -> PingResult:
    """Two samples of one prompt with different seeds, and up to four where they are alike; kept in `samples`."""

    async def sample(seed: int) -> None:
        samples.append(await model.respond(asking.request(VARIED, seed=seed)))

    await asyncio.gather(sample(1), sample(2))
    while len(samples) < MOST_SAMPLES and len(set(map(_output, samples))) == 1:
        await sample(len(samples) + 1)
    if not any(response.text.strip() or response.reasoning.strip() for response in samples):
        return PingResult("?", None, f"{len(samples)} samples, and none with a text to compare")
    if len(set(map(_output, samples))) > 1:
        return PingResult("independent", True)
    temperature = asking.config.sampling.temperature
    why = "temperature is 0" if temperature == 0 else "cached, greedy or bound to one seed"
    return PingResult("identical", False, f"{len(samples)} samples with different seeds are one text: {why}")


def _output(response: Response) -> tuple[str, str, int]:
    """What two independent samples hardly share. Where reasoning is hidden, its length still tells them apart."""
    return response.reasoning, response.text, response.usage.output_tokens


async def _extra(
    asking: _Asking, easy: Response, changes: dict[str, Any], has: Callable[[Response], bool]
) -> PingResult:
    """Whether something more comes with an answer, where it is asked for."""
    if has(easy):
        return PingResult("yes", True)
    async with asking.model(**changes) as model:
        response = await model.respond(asking.request(EASY))
    if has(response):
        return PingResult("yes", True)
    if response.status == "incomplete" and not response.text:
        return PingResult("?", None, f"cut at {asking.cap:,} output tokens (--cap), {_before(response)}")
    return PingResult("no", False, "asked for, and not given")


def _with_token_ids(config: ModelConfig) -> dict[str, Any]:
    return {"extra_body": {**config.extra_body, "return_token_ids": True}}


def _has_logprobs(response: Response) -> bool:
    if response.tokens and response.tokens.output_logprobs:
        return True
    return any(getattr(part, "logprobs", None) for part in _parts(response))


def _has_token_ids(response: Response) -> bool:
    return bool(response.tokens and response.tokens.output)


def _parts(response: Response) -> list[Any]:
    messages = [item for item in response.output if isinstance(item, Message)]
    return [part for message in messages for part in message.content if not isinstance(message.content, str)]


def _before(response: Response) -> str:
    return "in the middle of its answer" if response.text.strip() else "before an answer"


def _quote(text: str) -> str:
    text = " ".join(text.split())
    return f"“{text if len(text) <= 80 else text[:79] + '…'}”"


def _error_text(error: Exception) -> str:
    return str(error) if isinstance(error, AssayError) else f"{type(error).__name__}: {error}"
