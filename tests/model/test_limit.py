"""Limits against a real server that takes only so much."""

import asyncio
from collections.abc import Coroutine
from itertools import pairwise
from typing import Any

import pytest

from assay.config import ModelConfig, RateLimits
from assay.errors import ModelError
from assay.model import connect
from assay.model.builtin.function import FunctionModel
from assay.model.wrappers.guard import GuardedModel
from assay.model.wrappers.limit import ServerLimit
from assay.types import Message, Request, Response, Usage
from tests.endpoint import Behave, Call, Endpoint, chat_body, http

REQUEST = Request(input=[Message(role="user", content="6*7?")])


def guarded(url: str, *, concurrency: int = 1000, attempts: int = 1, **limits: Any) -> GuardedModel:
    config = ModelConfig(dialect="chat", id="m", base_url=url, attempts=attempts, limits=RateLimits(**limits))
    return GuardedModel(connect(config), config, concurrency=concurrency)


def ask(url: str, count: int, **limits: Any) -> tuple[list[Response | BaseException], GuardedModel]:
    """What became of `count` requests that are made at once."""

    async def main() -> tuple[list[Response | BaseException], GuardedModel]:
        model = guarded(url, **limits)
        try:
            made = await asyncio.gather(*(model.respond(REQUEST) for _ in range(count)), return_exceptions=True)
            return made, model
        finally:
            await model.aclose()

    return asyncio.run(main())


class MadeTime(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer where nothing is ready, so that waiting takes no time."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self._now = max(self._now, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def in_made_time(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=MadeTime) as runner:
        runner.run(main)


class Narrow:
    """A server that answers `places` at once, each in 20 ms, and turns all others away."""

    def __init__(self, places: int, status: int = 429, **headers: str) -> None:
        self.places, self.status, self.headers = places, status, headers
        self.now = self.most = self.refused = 0

    async def __call__(self, call: Call, writer: asyncio.StreamWriter) -> None:
        if self.now >= self.places:
            self.refused += 1
            writer.write(http(b"slow down", self.status, **self.headers))
            return
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.02)
        self.now -= 1
        writer.write(http(chat_body("42")))


@pytest.mark.parametrize("status", [429, 503, 529])
def test_concurrency_finds_the_level_that_the_server_takes(status: int):
    server = Narrow(8, status)
    with Endpoint(server) as endpoint:
        made, model = ask(endpoint.url, 400, concurrency=256)
    assert [answer.text for answer in made if isinstance(answer, Response)] == ["42"] * 400
    assert server.most == 8
    # The first wave is refused as a whole; then about one request a round finds that the level is too high.
    assert server.refused < 256 + 400
    assert model.level is not None
    assert model.level <= 16
    assert model.retrying == 0


def test_a_server_that_takes_all_is_asked_all_at_once():
    server = Narrow(200)
    with Endpoint(server) as endpoint:
        made, model = ask(endpoint.url, 200, concurrency=200)
    assert all(isinstance(answer, Response) for answer in made)
    assert (server.refused, model.level) == (0, None)
    assert server.most > 100


def test_the_concurrency_of_the_configuration_is_kept():
    server = Narrow(1000)
    with Endpoint(server) as endpoint:
        made, _ = ask(endpoint.url, 60, concurrency=12)
    assert len(made) == 60
    assert server.most <= 12


def test_the_level_rises_again():
    server = Narrow(2)
    with Endpoint(server) as endpoint:

        async def main() -> list[int]:
            model = guarded(endpoint.url, concurrency=16)
            levels: list[int] = []
            for places, count in ((2, 60), (1000, 400)):
                server.places = places
                await asyncio.gather(*(model.respond(REQUEST) for _ in range(count)))
                levels.append(model.level or 16)
            await model.aclose()
            return levels

        low, high = asyncio.run(main())
    assert low <= 4
    assert high == 16


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_closes_the_gate_for_all(status: int):
    sent_s: list[float] = []

    def answer(request: Request) -> Response:
        sent_s.append(asyncio.get_running_loop().time())
        if len(sent_s) == 1:
            raise ModelError(f"http_{status}", "slow down", retryable=True, retry_after_s=60.0)
        return Response(output=[])

    async def main() -> None:
        limit = ServerLimit(RateLimits(), 4)
        first = asyncio.create_task(limit.respond(FunctionModel(answer), REQUEST))
        await asyncio.sleep(1)
        await asyncio.gather(first, *(limit.respond(FunctionModel(answer), REQUEST) for _ in range(3)))

    in_made_time(main())
    assert len(sent_s) == 5
    assert all(60 <= at - sent_s[0] <= 66 for at in sent_s[1:])


@pytest.mark.parametrize(("named_s", "patience_s", "kept_s"), [(90.0, 120.0, 90.0), (3600.0, 5.0, 5.0)])
def test_a_time_that_the_server_names_is_kept_as_long_as_patience_lasts(
    named_s: float, patience_s: float, kept_s: float
):
    def refuse(request: Request) -> Response:
        raise ModelError("http_429", "slow down", retryable=True, retry_after_s=named_s)

    async def main() -> float:
        loop, opening = asyncio.get_running_loop(), list[float]()
        call_at = loop.call_at
        loop.call_at = lambda when, *rest, **more: opening.append(when - loop.time()) or call_at(when, *rest, **more)  # type: ignore
        limit = ServerLimit(RateLimits(patience_s=patience_s), 4)
        asking = asyncio.create_task(limit.respond(FunctionModel(refuse), REQUEST))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asking.cancel()
        return max(opening)

    assert 0.99 * kept_s <= asyncio.run(main()) <= 1.11 * kept_s


def always(status: int, body: bytes = b"slow down") -> Behave:
    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        writer.write(http(body, status))

    return behave


def test_a_pause_of_our_own_is_no_longer_than_patience():
    """Requests that are sent one by one: half a second between them, not 0.5, 1, 2, 4 and so on."""
    sent_s: list[float] = []

    def refuse(request: Request) -> Response:
        sent_s.append(asyncio.get_running_loop().time())
        raise ModelError("http_429", "slow down", retryable=True)

    async def main() -> None:
        limit = ServerLimit(RateLimits(patience_s=0.1), 4)
        await asyncio.gather(*(limit.respond(FunctionModel(refuse), REQUEST) for _ in range(4)), return_exceptions=True)

    in_made_time(main())
    pauses = [later - earlier for earlier, later in pairwise(sent_s)]
    assert max(pauses) <= 1.1 * 0.5


def test_a_server_that_lets_nobody_through_is_given_up():
    with Endpoint(always(429)) as endpoint:
        made, model = ask(endpoint.url, 3, patience_s=0.2)
    for error in made:
        assert isinstance(error, ModelError)
        assert (error.kind, error.retryable) == ("http_429", True)
        assert "has let no request through for 0.2 s" in str(error)
    assert model.retrying == 0


def test_a_quota_that_is_spent_is_told_at_once():
    body = b'{"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}'
    with Endpoint(always(429, body)) as endpoint:
        made, _ = ask(endpoint.url, 1)
        assert len(endpoint.calls) == 1
    assert isinstance(made[0], ModelError)
    assert not made[0].retryable


def test_other_errors_leave_the_level_alone():
    with Endpoint(always(500)) as endpoint:
        made, model = ask(endpoint.url, 10)
    assert all(isinstance(answer, ModelError) for answer in made)
    assert model.level is None


def test_who_gives_up_waiting_leaves_the_place_to_the_next():
    server = Narrow(1000)
    with Endpoint(server) as endpoint:

        async def main() -> None:
            model = guarded(endpoint.url, concurrency=1)
            asked = [asyncio.create_task(model.respond(REQUEST)) for _ in range(20)]
            await asyncio.sleep(0.03)
            for task in asked[5:15]:
                task.cancel()
            assert sum(isinstance(x, Response) for x in await asyncio.gather(*asked, return_exceptions=True)) == 10
            assert (await asyncio.wait_for(model.respond(REQUEST), 5)).text == "42"
            await model.aclose()

        asyncio.run(main())


@pytest.mark.parametrize(
    "limits",
    # Each answer holds 13 tokens; the first guess of 2,048 is put right by the first answer.
    [{"requests_per_minute": 600}, {"tokens_per_minute": 13 * 600}],
)
def test_requests_and_tokens_a_minute_are_kept(limits: dict[str, float]):
    sent_s: list[float] = []

    def answer(request: Request) -> Response:
        sent_s.append(asyncio.get_running_loop().time())
        return Response(output=[], usage=Usage(input_tokens=9, output_tokens=4))

    async def main() -> None:
        limit = ServerLimit(RateLimits(**limits), 1000)
        await limit.respond(FunctionModel(answer), REQUEST)
        await asyncio.gather(*(limit.respond(FunctionModel(answer), REQUEST) for _ in range(20)))

    in_made_time(main())
    assert [later - earlier for earlier, later in pairwise(sent_s)] == pytest.approx([0.1] * 20, abs=0.06)
    assert sent_s[-1] - sent_s[0] == pytest.approx(2.0, abs=0.06)
