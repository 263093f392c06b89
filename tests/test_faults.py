"""The fault table, on the level of a rollout: what each fault is recorded as, in every wire dialect.

No reward is ever invented, and each run heals once the server behaves. docs/faults.md has the same rows for users.
"""

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from assay.agent.loop import ToolLoop
from assay.benchmark import Benchmark, Environment
from assay.benchmarks.arithmetic.benchmark import BENCHMARK
from assay.collect.plan import PlannedRollout
from assay.collect.roll import roll
from assay.collect.run import RunPlan, collect_run
from assay.config import ModelConfig, RateLimits
from assay.errors import NothingScored
from assay.model import connect
from assay.model.http import LARGEST_BODY
from assay.store import read_rollouts
from assay.types import (
    Failure,
    FunctionCallOutput,
    Message,
    Rollout,
    Sampling,
    Score,
    StopReason,
    Task,
    Tool,
)
from tests.endpoint import Behave, Call, Endpoint, answer_body, chat_body, http, responses_body

WIRES = ("chat", "responses", "messages", "completions")
FINISH = ("chat", "completions")
"""The formats whose servers have finish reasons of their own."""
DOC = Path(__file__).parent.parent / "docs/faults.md"


def raw(make: Callable[[str], bytes]) -> Behave:
    """Writes what `make` gives for the path that was asked."""

    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        writer.write(make(call.path))

    return behave


async def never(call: Call, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def a_byte_a_second(call: Call, writer: asyncio.StreamWriter) -> None:
    for byte in http(answer_body(call.path)):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(1)


async def reset(call: Call, writer: asyncio.StreamWriter) -> None:
    writer.write(http(answer_body(call.path))[:-20])
    await writer.drain()
    writer.transport.abort()


def events(path: str) -> bytes:
    """The beginning of a stream in the dialect that was asked: text came, and no end."""
    first: dict[str, Any] = {
        "/v1/chat/completions": {"choices": [{"index": 0, "delta": {"content": "42"}}]},
        "/v1/responses": {"type": "response.output_text.delta", "delta": "42"},
        "/v1/messages": {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "42"}},
        "/v1/completions": {"choices": [{"index": 0, "text": "42"}]},
    }[path]
    return http(b"data: " + json.dumps(first).encode() + b"\n\n", kind="text/event-stream")


def error_in_a_200(path: str) -> bytes:
    return http(b'{"error": {"message": "upstream fell over", "code": 502}}')


def ending(path: str, reason: str) -> bytes:
    """An empty answer that ends for a reason of its server's own."""
    return answer_body(path, "").replace(b'"stop"', json.dumps(reason).encode())


def surrogates(path: str) -> bytes:
    return http(answer_body(path).replace(b'"42"', b'"\\ud800 42"'))


def not_a_number(path: str) -> bytes:
    return http(answer_body(path).replace(b": 4", b": NaN"))


@dataclass(frozen=True)
class Fault:
    """What a server does, and what a rollout records of it."""

    behave: Behave | None
    """None: nobody listens."""
    kind: str | None = None
    """Of the failure; None where the rollout is scored."""
    retryable: bool = True
    words: str = ""
    stop: StopReason = "completed"
    stream: bool = False
    timeout_s: float = 20.0
    wires: tuple[str, ...] = WIRES


FAULTS = {
    "connection refused": Fault(None, "connect", words="is the server running"),
    "reset in the middle of a body": Fault(reset, "connection_lost"),
    "200 with garbage": Fault(raw(lambda path: http(b"\x00\xffgarbage")), "bad_response", words="it begins"),
    "200 with an empty body": Fault(raw(lambda path: http(b"")), "bad_response"),
    "200 with an HTML page": Fault(
        raw(lambda path: http(b"<html>Welcome", kind="text/html")), "bad_response", words="<html>"
    ),
    "502 with an HTML page": Fault(
        raw(lambda path: http(b"<html>Bad gateway", 502, "text/html")), "http_502", words="Bad gateway"
    ),
    "200 with an error in it": Fault(raw(error_in_a_200), "response_failed", words="upstream fell over"),
    "200 whose finish reason says that the server broke off": Fault(
        raw(lambda path: http(ending(path, "network_error"))), "bad_response", words="network_error", wires=FINISH
    ),
    "200 without an answer, for an unknown reason": Fault(
        raw(lambda path: http(ending(path, "a reason of tomorrow"))), "bad_response", words="tomorrow", wires=FINISH
    ),
    "a content filter of any name": Fault(
        raw(lambda path: http(ending(path, "content_filter: SAFETY"))), stop="refused", wires=FINISH
    ),
    "200 with NaN for a number": Fault(raw(not_a_number), "bad_response"),
    "400": Fault(
        raw(lambda path: http(b'{"error": {"message": "no such knob"}}', 400)), "http_400", False, "no such knob"
    ),
    "401": Fault(raw(lambda path: http(b'{"error": {"message": "bad key"}}', 401)), "http_401", False, "bad key"),
    "429 without Retry-After": Fault(raw(lambda path: http(b"slow down", 429)), "http_429", words="slow down"),
    "429 with Retry-After": Fault(
        raw(lambda path: http(b"slow down", 429, retry_after="0")), "http_429", words="slow down"
    ),
    "429 with a Retry-After that is no text": Fault(
        raw(lambda path: http(b"slow down", 429, retry_after="@").replace(b"@", b"\xff\xfe")), "http_429"
    ),
    "500, again and again": Fault(raw(lambda path: http(b"oops", 500, "text/plain")), "http_500", words="oops"),
    "a server that never answers": Fault(never, "timeout", words="within 0.5 s", timeout_s=0.5),
    "a server that answers a byte a second": Fault(a_byte_a_second, "timeout", words="within 0.5 s", timeout_s=0.5),
    "a stream that is cut short": Fault(raw(events), "stream_cut", words="ended before", stream=True),
    "a response beyond 64 MiB": Fault(
        raw(lambda path: b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (LARGEST_BODY + 1)),
        "too_large",
        False,
        "at most",
    ),
    "a response of 50 MB": Fault(raw(lambda path: http(answer_body(path, "x" * 50_000_000))), wires=("chat",)),
    "half a character in the text": Fault(raw(surrogates), "bad_response"),
    "an answer cut at the token cap": Fault(raw(lambda path: http(answer_body(path, cut=True))), stop="token_cap"),
    "a prompt beyond the context": Fault(
        raw(lambda path: http(b'{"error": {"message": "prompt is too long: maximum context length is 8"}}', 400)),
        stop="token_cap",
    ),
}


def collected(fault: Fault, dialect: str, url: str, folder: Path) -> list[Rollout]:
    """What a run of two tasks leaves in its directory."""
    server = ModelConfig(
        dialect=dialect,  # type: ignore[arg-type]
        id="m",
        base_url=url,
        stream=fault.stream,
        timeout_s=fault.timeout_s,
        attempts=1,
        limits=RateLimits(patience_s=0.0),
        sampling=Sampling(max_output_tokens=100),
    )
    plan = RunPlan.of(BENCHMARK, name="m", server=server, folder=folder, repeats=1, limit=2)
    with contextlib.suppress(NothingScored):
        asyncio.run(collect_run(plan))
    return list(read_rollouts(folder))


@pytest.mark.parametrize(("name", "dialect"), [(name, wire) for name in FAULTS for wire in FAULTS[name].wires])
def test_a_fault_is_recorded_as_what_it_is_and_heals(name: str, dialect: str, tmp_path: Path):
    fault = FAULTS[name]
    if fault.behave is None:
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            made = collected(fault, dialect, f"http://127.0.0.1:{held.getsockname()[1]}/v1", tmp_path / "run")
    else:
        with Endpoint(fault.behave) as endpoint:
            made = collected(fault, dialect, endpoint.url, tmp_path / "run")
    assert len(made) == 2
    for rollout in made:
        if fault.kind is None:
            assert isinstance(rollout.outcome, Score)
            assert (rollout.stop, rollout.outcome.reward) == (fault.stop, 0.0)
            continue
        assert isinstance(rollout.outcome, Failure)
        assert (rollout.stop, rollout.outcome.where) == ("failed", "model")
        assert (rollout.outcome.kind, rollout.outcome.retryable) == (fault.kind, fault.retryable)
        assert fault.words in rollout.outcome.message
        assert rollout.turns == []
    with Endpoint(raw(lambda path: http(answer_body(path)))) as endpoint:
        healed = collected(Fault(None), dialect, endpoint.url, tmp_path / "run")
    scored = [rollout for rollout in healed if isinstance(rollout.outcome, Score)]
    assert len({rollout.key for rollout in scored}) == len(scored) == 2
    assert len(healed) == (2 if fault.kind is None else 4)


def storm() -> Behave:
    """Refuses and breaks the first seven calls, then answers."""
    calls = 0

    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        if calls > 7:
            writer.write(http(answer_body(call.path)))
        elif calls % 4 == 3:
            await reset(call, writer)
        else:
            writer.write(http(b"no", (500, 429, 0, 503)[calls % 4]))

    return behave


def test_a_storm_that_heals_is_ridden_out(tmp_path: Path):
    with Endpoint(storm()) as endpoint:
        config = ModelConfig(
            dialect="chat",
            id="m",
            base_url=endpoint.url,
            attempts=8,
            sampling=Sampling(max_output_tokens=100),
        )
        plan = RunPlan.of(
            benchmark=BENCHMARK, name="m", server=config, folder=tmp_path, repeats=1, limit=4, concurrency=2
        )
        asyncio.run(collect_run(plan))
    assert all(isinstance(rollout.outcome, Score) for rollout in read_rollouts(tmp_path))
    assert len(list(read_rollouts(tmp_path))) == 4


class Adding(Environment):
    """A tool that adds, and a verifier that wants the sum."""

    name, version = "adding", "1"

    def tasks(self) -> list[Task]:
        tool = Tool(name="add", parameters={"type": "object", "properties": {"a": {"type": "integer"}}})
        return [Task(id="t", input=[Message("user", "add")], gold="42", tools=[tool])]

    def verify(self, task: Task, response: Any) -> Score:
        return Score(reward=float(response.text == "42"), answer=response.text or None)


def call_body(path: str, call_id: str | None, arguments: str) -> bytes:
    """One call of `add`, in the dialect that was asked."""
    if path.endswith("/chat/completions"):
        calls = [{"id": call_id, "type": "function", "function": {"name": "add", "arguments": arguments}}]
        return chat_body(None, "tool_calls", tool_calls=calls)
    item = {"type": "function_call", "id": "f", "call_id": call_id, "name": "add", "arguments": arguments}
    return responses_body({**item, "status": "completed"})


def talked(first: Callable[[str], bytes], dialect: str) -> Rollout:
    """A rollout in which the model first answers as told, then says 42."""

    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        writer.write(http(first(call.path) if len(endpoint.calls) == 1 else answer_body(call.path)))

    async def main(url: str) -> Rollout:
        model = connect(ModelConfig(dialect=dialect, id="m", base_url=url))  # type: ignore[arg-type]
        benchmark = Benchmark(environment=Adding(), repeats=1)
        planned = PlannedRollout(next(iter(benchmark.environment.tasks())), "d", 0, 0, 0)
        try:
            return await roll(benchmark, ToolLoop(), model, planned)
        finally:
            await model.aclose()

    with Endpoint(behave) as endpoint:
        return asyncio.run(main(endpoint.url))


@pytest.mark.parametrize("dialect", ["chat", "responses"])
@pytest.mark.parametrize("arguments", ['{"a": 1', "", "[1]", "nonsense", '{"a": "\\ud800"}'])
def test_malformed_tool_arguments_are_told_to_the_model(arguments: str, dialect: str):
    rollout = talked(lambda path: call_body(path, "c1", arguments), dialect)
    output = rollout.turns[1].input[-1]
    assert isinstance(output, FunctionCallOutput)
    assert output.call_id == "c1"
    assert "there is no tool" in output.text if arguments == "" else "not a JSON object" in output.text
    assert rollout.outcome == Score(reward=1.0, answer="42")


def test_a_call_without_an_id_is_answered_under_one_that_is_made_up():
    rollout = talked(lambda path: call_body(path, None, "{}"), "chat")
    output = rollout.turns[1].input[-1]
    assert isinstance(output, FunctionCallOutput)
    assert output.call_id
    assert rollout.outcome == Score(reward=1.0, answer="42")


@pytest.mark.parametrize("finish", ["eos", "function_call", None])
def test_a_finish_reason_that_is_unknown_does_not_undo_an_answer(finish: str | None):
    rollout = talked(lambda path: chat_body("42", finish), "chat")
    assert (rollout.stop, rollout.outcome) == ("completed", Score(reward=1.0, answer="42"))


def test_the_documentation_has_the_same_rows():
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|", DOC.read_text(encoding="utf-8"), re.MULTILINE)
    told = {name.strip(): kind.strip() for name, kind in rows if name.strip() in FAULTS}
    expected = {name: f"`{fault.kind}`" if fault.kind else f"score, `{fault.stop}`" for name, fault in FAULTS.items()}
    assert told == expected
