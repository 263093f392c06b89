"""Each gate on a benchmark or on results made to pass it, to fail it, and to leave it open."""

import asyncio
import re
from collections.abc import Callable, Iterable
from random import Random

import numpy as np
import pytest

from assay.environment import Benchmark, Environment
from assay.environment.verify.integer import integer
from assay.fidelity import gates
from assay.fidelity.gates import Contender, Test
from assay.fidelity.results import Outcome, Results
from assay.types import Message, Response, Score, Task

TASKS = [Task(id=f"t{i}", input=[Message(role="user", content=f"{i}")], gold=str(i + 10)) for i in range(60)]
Test.__test__ = False  # type: ignore[attr-defined]  # pytest would collect it by its name


class Made(Environment):
    name, version = "made", "1"

    def __init__(self, verify: Callable[[Task, Response], Score], guess: str | None = None) -> None:
        self._verify, self._guess = verify, guess

    def tasks(self) -> Iterable[Task]:
        return TASKS

    def verify(self, task: Task, response: Response) -> Score:
        return self._verify(task, response)

    def guess(self, task: Task, rng: Random) -> str | None:
        return self._guess


def honest(task: Task, response: Response) -> Score:
    return integer(response, int(task.gold or ""))


def made(verify: Callable[[Task, Response], Score] = honest, **protocol: object) -> Benchmark:
    return Benchmark(environment=Made(verify), repeats=2, **protocol)  # type: ignore[arg-type]


def contender(
    name: str, p: float | np.ndarray, *, k: int = 8, role: str = "open", kind: str = "instruct", seed: int = 0
) -> Contender:
    """A model whose tasks are solved with probability p, independently."""
    rng = np.random.default_rng(seed)
    rates = np.broadcast_to(np.asarray(p, dtype=float), (len(TASKS),))
    return of(name, (rng.random((len(TASKS), k)) < rates[:, None]).astype(float), role=role, kind=kind)


def of(name: str, rewards_TK: np.ndarray, *, role: str = "open", kind: str = "instruct", **marks: object) -> Contender:
    outcomes = [
        Outcome(
            i, j, None if np.isnan(x) else float(x), marks.get("answer", "1"), marks.get("stop", "completed"), 3, None
        )  # type: ignore[arg-type]
        for (i, j), x in np.ndenumerate(rewards_TK)
    ]
    return Contender(name, role, kind, 1, Results(TASKS, rewards_TK, outcomes, {}, 0.0))


def test_gold_passes_where_gold_is_right_and_nothing_is_not():
    gate = asyncio.run(gates.gold_gate(made(), TASKS))
    assert (gate.verdict, gate.numbers["gold_right"], gate.numbers["null_score"]) == ("pass", 60, 0)


@pytest.mark.parametrize(
    ("verify", "words"),
    [
        (lambda task, response: Score(reward=float(task.id != "t7" and honest(task, response).reward)), "1 gold .* t7"),
        (lambda task, response: Score(reward=1.0), "off-topic answers score 100.0%"),
        (lambda task, response: Score(reward=1 / 0), "60 gold answers"),
    ],
)
def test_gold_fails_and_names_the_tasks(verify: Callable[[Task, Response], Score], words: str):
    gate = asyncio.run(gates.gold_gate(made(verify), TASKS))
    assert gate.verdict == "fail"
    assert re.search(words, gate.reason), gate.reason


def test_gold_measures_chance():
    benchmark = Benchmark(environment=Made(honest, guess="12"), repeats=1)
    assert asyncio.run(gates.gold_gate(benchmark, TASKS)).numbers["chance_measured"] == pytest.approx(1 / 60)


def test_the_verifier_passes_where_it_reads_the_message_alone():
    gate = asyncio.run(gates.verifier_gate(made(formats=("{}", "**{}**")), TASKS))
    assert (gate.verdict, gate.numbers["checks"]) == ("pass", 60 * 8)


def everything(response: Response) -> str:
    return response.reasoning + response.text


@pytest.mark.parametrize(
    ("verify", "rewrite"),
    [
        (lambda t, r: Score(reward=float((t.gold or "") in everything(r))), "gold in the reasoning alone"),
        (lambda t, r: Score(reward=float(r.text == t.gold)), "gold with spaces and lines around it"),
        (lambda t, r: Score(reward=float(everything(r) == t.gold)), "gold after reasoning"),
        (lambda t, r: Score(reward=float(r.text.strip() == t.gold)), "gold as **{}**"),
    ],
)
def test_the_verifier_gate_catches_what_should_not_matter(verify: Callable[[Task, Response], Score], rewrite: str):
    gate = asyncio.run(gates.verifier_gate(made(verify, formats=("{}", "**{}**")), TASKS))
    assert gate.verdict == "fail"
    assert rewrite in gate.numbers["wrong"]
    assert gate.numbers["tasks_wrong"][rewrite][0] == "t0"


def test_the_verifier_gate_catches_a_reward_that_changes():
    calls = iter(range(10**6))
    gate = asyncio.run(gates.verifier_gate(made(lambda t, r: Score(reward=float(next(calls) % 2))), TASKS))
    assert "same input, same reward" in gate.numbers["wrong"]


def floor(*contenders: Contender, chance: float = 0.0, last: bool = True) -> str:
    test = gates.floor_test(contenders)
    p = gates.corrected({"floor": test})["floor"] if test else None
    return gates.floor_gate(contenders, chance, p, last_tier=last).verdict


def test_floor():
    assert floor(contender("a", 0.2), contender("b", 0.7)) == "pass"
    assert floor(contender("a", 0.1)) == "fail"
    assert floor(contender("a", 0.1), last=False) == "inconclusive"
    assert floor(contender("a", 0.31)) == "inconclusive"
    assert floor(contender("a", 0.9, role="policy")) == "not run"
    assert floor(contender("a", 0.5), chance=0.5) == "inconclusive"
    assert floor(contender("a", 1.0)) == "pass"


def order(*contenders: Contender, stated: list[tuple[str, str]]) -> gates.Gate:
    differences = gates.order_differences(gates.order_pairs(contenders, stated))
    return gates.order_gate(differences, gates.corrected(gates.order_tests(differences)))


def test_order():
    small, large, same = contender("small", 0.4), contender("large", 0.7, seed=1), contender("same", 0.4, seed=2)
    assert order(small, large, stated=[("large", "small")]).verdict == "pass"
    assert order(small, large, stated=[("small", "large")]).verdict == "fail"
    assert order(small, same, stated=[("small", "same")]).verdict == "inconclusive"
    assert order(small, large, stated=[("large", "small"), ("same", "small")]).verdict == "pass"
    assert order(small, large, stated=[]).verdict == "not run"
    closed = contender("closed", 0.8, role="closed", seed=3)
    gate = order(small, large, closed, stated=[])
    assert gate.verdict == "pass"
    assert list(gate.numbers["pairs"]) == ["closed ≥ large"]


def test_holm_makes_many_pairs_harder_to_pass():
    one = gates.corrected({"a": Test(0.02, 0.98)})
    many = gates.corrected({name: Test(0.02, 0.98) for name in "abcd"})
    assert one["a"].p_pass < gates.ALPHA < many["a"].p_pass


def test_kinds():
    instruct, thinking = contender("i", 0.5), contender("t", 0.5, kind="thinking")
    assert gates.kinds_gate([instruct, thinking], {"instruct", "thinking"}).verdict == "pass"
    assert gates.kinds_gate([instruct], {"instruct", "thinking"}).verdict == "inconclusive"
    silent = of("s", np.zeros((60, 2)), kind="thinking", answer=None)
    gate = gates.kinds_gate([instruct, silent], {"instruct", "thinking"})
    assert gate.verdict == "fail"
    assert "s (thinking): no answer 100.0%" in gate.reason
    assert gate.rollouts[0].model == "s"
    capped = of("c", np.zeros((60, 2)), kind="thinking", stop="token_cap")
    assert "token cap 100.0%" in gates.kinds_gate([instruct, capped], set()).reason
    failing = np.ones((60, 2))
    failing[:4] = np.nan
    gate = gates.kinds_gate([instruct, of("f", failing, kind="thinking")], {"instruct", "thinking"})
    assert gate.verdict == "fail"
    assert "failures 6.7%" in gate.reason


def test_repeats():
    rates = np.linspace(0, 1, len(TASKS))
    gate, record = gates.repeats_gate([contender("a", rates, k=4)])
    assert gate.verdict == "fail"
    assert record is not None
    assert record.k_star is not None and record.k_upper is not None and 4 < record.k_star <= record.k_upper
    gate, record = gates.repeats_gate([contender("a", rates, k=2 * record.k_upper)])
    assert gate.verdict == "pass"
    assert gates.repeats_gate([contender("a", 0.5, k=1)])[0].verdict == "inconclusive"
    assert gates.repeats_gate([contender("a", 1.0)])[0].verdict == "inconclusive"
    assert gates.repeats_gate([])[0].verdict == "not run"


def test_repeats_that_are_copies_or_drift_fail():
    column = (np.random.default_rng(0).random((60, 1)) < 0.5).astype(float)
    gate, _ = gates.repeats_gate([of("copied", np.repeat(column, 8, axis=1))])
    assert gate.verdict == "fail"
    assert "too much alike" in gate.reason
    drifting = (np.random.default_rng(0).random((60, 8)) < np.linspace(0.2, 0.8, 8)).astype(float)
    gate, _ = gates.repeats_gate([of("drifting", drifting)])
    assert gate.verdict == "fail"
    assert "drifts" in gate.reason
