"""Budgets: nothing that may pass them is sent."""

import asyncio
from typing import Any

import pytest

from assay.config import ModelConfig, Prices
from assay.errors import ModelError, UsageError
from assay.model import BudgetReached
from assay.model.wrappers.budget import Budget, BudgetedModel
from assay.types import Message, Request, Response, Sampling, Usage

PRICES = Prices(input=2.0, output=10.0, cached_input=0.5)
CONFIG = ModelConfig(dialect="chat", id="m", base_url="http://127.0.0.1:1/v1", prices=PRICES)


class Spender:
    """Answers after a moment, using what it is told to; keeps how much was asked of it at once."""

    def __init__(self, usage: Usage, error: ModelError | None = None) -> None:
        self.usage, self.error = usage, error
        self.asked = self.now = self.most = 0

    async def respond(self, request: Request) -> Response:
        self.asked += 1
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.001)
        self.now -= 1
        if self.error:
            raise self.error
        return Response(output=[], usage=self.usage)

    def identity(self) -> dict[str, str]:
        return {}

    async def aclose(self) -> None:
        return None


def request(cap: int | None = 100, turn: int = 0) -> Request:
    sampling = Sampling(max_output_tokens=cap)
    return Request(input=[Message(role="user", content="six times seven?")], sampling=sampling, turn=turn)


def spend(
    spender: Spender, budget: Budget, count: int, cap: int | None = 100, config: ModelConfig = CONFIG
) -> list[Any]:
    async def main() -> list[Any]:
        model = BudgetedModel(spender, config, budget)
        return await asyncio.gather(*(model.respond(request(cap)) for _ in range(count)), return_exceptions=True)

    return asyncio.run(main())


def test_a_price_is_dollars_per_million_tokens():
    assert PRICES.cost(Usage(input_tokens=1_000_000)) == 2.0
    assert PRICES.cost(Usage(input_tokens=1_000_000, cached_tokens=400_000)) == pytest.approx(1.2 + 0.2)
    assert PRICES.cost(Usage(output_tokens=50_000)) == 0.5
    assert Prices(input=2.0, output=10.0).cost(Usage(input_tokens=1_000_000, cached_tokens=400_000)) == 2.0


@pytest.mark.parametrize("cap", [100, None])
@pytest.mark.parametrize("most", [150, 1000, 12_345])
def test_tokens_are_spent_up_to_the_budget_and_not_beyond(most: int, cap: int | None):
    spender, budget = Spender(Usage(input_tokens=10, output_tokens=40)), Budget(tokens=most)
    made = spend(spender, budget, 400, cap)
    answered = sum(isinstance(answer, Response) for answer in made)
    assert budget.tokens == 50 * answered <= most
    # What stays unspent is less than one request may use: its bytes, and its cap or twice the longest answer.
    assert most - budget.tokens < 250
    assert budget.reached
    assert all(isinstance(answer, Response | BudgetReached) for answer in made)
    assert spender.asked == answered


def test_money_is_spent_up_to_the_budget_and_not_beyond():
    spender, budget = Spender(Usage(input_tokens=50, output_tokens=90)), Budget(usd=0.1)
    made = spend(spender, budget, 400)
    assert budget.usd == pytest.approx(0.001 * sum(isinstance(answer, Response) for answer in made))
    assert 0.095 < budget.usd <= 0.1
    assert "$0.10 of $0.10 is spent" in str(next(answer for answer in made if isinstance(answer, BudgetReached)))


def test_a_budget_that_suffices_holds_nobody_back():
    spender, budget = Spender(Usage(input_tokens=10, output_tokens=40)), Budget(tokens=10**9)
    assert all(isinstance(answer, Response) for answer in spend(spender, budget, 100))
    assert (spender.most, budget.reached) == (100, False)


def test_without_a_cap_the_first_request_goes_alone():
    spender, budget = Spender(Usage(input_tokens=10, output_tokens=4000)), Budget(tokens=10_000)
    spend(spender, budget, 10, cap=None)
    assert spender.asked == 1


def test_a_server_that_does_not_count_is_charged_the_most():
    spender, budget = Spender(Usage()), Budget(tokens=1000)
    spend(spender, budget, 20)
    assert spender.asked == budget.tokens // (budget.tokens // spender.asked)
    assert 750 < budget.tokens <= 1000


@pytest.mark.parametrize(("kind", "charged"), [("timeout", True), ("stream_cut", True), ("http_500", False)])
def test_what_failed_is_charged_where_the_server_may_have_worked(kind: str, charged: bool):
    spender, budget = Spender(Usage(), ModelError(kind, "no", retryable=True)), Budget(tokens=10_000)
    spend(spender, budget, 3)
    assert (budget.tokens > 0) == charged


def test_rollouts_that_have_begun_go_before_those_that_have_not():
    order: list[int] = []

    async def ask(model: BudgetedModel, turn: int) -> None:
        try:
            await model.respond(request(turn=turn))
            order.append(turn)
        except BudgetReached:
            order.append(-turn)

    async def main() -> None:
        model = BudgetedModel(Spender(Usage(input_tokens=10, output_tokens=40)), CONFIG, Budget(tokens=300))
        await asyncio.gather(*(ask(model, turn) for turn in (0, 0, 0, 0, 5)))

    asyncio.run(main())
    assert order.index(5) == 1
    assert len(order) == 5


def test_who_is_cancelled_while_being_let_in_leaves_nothing_set_aside():
    async def main() -> None:
        budget = Budget(tokens=100)
        await budget.reserve(100, 0.0, first=False)
        waiting = asyncio.create_task(budget.reserve(100, 0.0, first=False))
        await asyncio.sleep(0)
        budget.release(100, 0.0)  # lets the other in, which has not gone on yet
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        async with asyncio.timeout(1):
            await budget.reserve(100, 0.0, first=False)

    asyncio.run(main())


def test_a_budget_in_dollars_needs_prices():
    dear = ModelConfig(dialect="chat", id="m", base_url="http://127.0.0.1:1/v1")
    with pytest.raises(UsageError, match="needs the prices of model m"):
        BudgetedModel(Spender(Usage()), dear, Budget(usd=1.0))
    BudgetedModel(Spender(Usage()), dear, Budget(tokens=1))
    BudgetedModel(Spender(Usage()), ModelConfig(dialect="local", id="policy"), Budget(usd=1.0))
