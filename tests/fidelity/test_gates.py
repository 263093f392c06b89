"""Each gate on a benchmark or on results made to pass it, to fail it, and to leave it open."""

import asyncio
import re
from collections.abc import Callable, Iterable
from random import Random

import numpy as np
import pytest

from assay.benchmark import Benchmark, Environment
from assay.benchmark.verify.integer import integer
from assay.fidelity.gates import correct, hold_back
from assay.fidelity.gates.floor import clears_floor, floor_gate, floor_test
from assay.fidelity.gates.gold import gold_gate
from assay.fidelity.gates.kinds import kinds_gate
from assay.fidelity.gates.order import order_choices, order_differences, order_gate, order_pairs, order_test
from assay.fidelity.gates.repeats import repeats_gate
from assay.fidelity.gates.rule import ALPHA, Test
from assay.fidelity.gates.verifier import verifier_gate
from assay.fidelity.results.contender import Contender
from assay.fidelity.results.results import Cell, Results
from assay.fidelity.schema.profile import Gate
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
    answer, stop = marks.get("answer", "1"), marks.get("stop", "completed")
    text = marks.get("text", lambda i, j: f"{i}/{j}".encode())
    cells = [
        Cell(i, j, None if np.isnan(x) else float(x), answer, stop, 3, text(i, j))  # type: ignore[arg-type,operator]
        for (i, j), x in np.ndenumerate(rewards_TK)
    ]
    return Contender(name, role, kind, 1, Results(TASKS, rewards_TK, cells, {}, 0.0))


def test_gold_passes_where_gold_is_right_and_nothing_is_not():
    gate = asyncio.run(gold_gate(made(), TASKS))
    assert (gate.verdict, gate.numbers["gold_right"], gate.numbers["null_score"]) == ("pass", 60, 0)


@pytest.mark.parametrize(
    ("verify", "words"),
    [
        (lambda task, response: Score(reward=float(task.id != "t7" and honest(task, response).reward)), "1 of .* t7"),
        (lambda task, response: Score(reward=1.0), "off-topic answers score 100.0%"),
        (lambda task, response: Score(reward=1 / 0), "failed on 180 .* t0: ZeroDivisionError"),
    ],
)
def test_gold_fails_and_names_the_tasks(verify: Callable[[Task, Response], Score], words: str):
    gate = asyncio.run(gold_gate(made(verify), TASKS))
    assert gate.verdict == "fail"
    assert re.search(words, gate.reason), gate.reason


def test_gold_measures_chance():
    benchmark = Benchmark(environment=Made(honest, guess="12"), repeats=1)
    gate = asyncio.run(gold_gate(benchmark, TASKS))
    assert gate.numbers["chance_measured"] == pytest.approx(1 / 60)
    assert "Guesses score 1.7%, above the chance" in gate.reason


def test_gold_fails_where_the_verifier_breaks_on_an_empty_answer():
    def brittle(task: Task, response: Response) -> Score:
        return Score(reward=float(response.text.split()[-1] == task.gold))

    gate = asyncio.run(gold_gate(made(brittle), TASKS))
    assert gate.verdict == "fail"
    assert "The verifier failed on 60 gold, empty, off-topic or guessed answers: t0: IndexError" in gate.reason


def test_the_verifier_passes_where_it_reads_the_message_alone():
    gate = asyncio.run(verifier_gate(made(formats=("{}", "**{}**")), TASKS))
    assert (gate.verdict, gate.numbers["checks"]) == ("pass", 60 * 7)


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
    gate = asyncio.run(verifier_gate(made(verify, formats=("{}", "**{}**")), TASKS))
    assert gate.verdict == "fail"
    assert rewrite in gate.numbers["wrong"]
    assert gate.numbers["tasks_wrong"][rewrite][0] == "t0"


def test_the_verifier_gate_catches_a_reward_that_changes():
    calls = iter(range(10**6))
    gate = asyncio.run(verifier_gate(made(lambda t, r: Score(reward=float(next(calls) % 2))), TASKS))
    assert "same input, same reward" in gate.numbers["wrong"]


def floor(*contenders: Contender, chance: float = 0.0, last: bool = True) -> str:
    test = floor_test(contenders, chance)
    p = correct({"floor": test})["floor"] if test else None
    return floor_gate(contenders, chance, p, last_tier=last).verdict


def test_floor():
    assert floor(contender("a", 0.2), contender("b", 0.7)) == "pass"
    assert floor(contender("a", 0.1)) == "fail"
    assert floor(contender("a", 0.1), last=False) == "inconclusive"
    assert floor(contender("a", 0.31)) == "inconclusive"
    assert floor(contender("a", 0.9, role="policy")) == "not run"
    assert floor(contender("a", 0.5), chance=0.5) == "inconclusive"
    assert floor(contender("a", 0.7), chance=0.5) == "pass"
    assert floor(contender("a", 1.0)) == "pass"


def test_the_best_of_several_models_is_the_best_partly_by_luck():
    alone = floor_test([contender("a", 0.4)], 0.0)
    among = floor_test([contender("a", 0.4), contender("b", 0.1), contender("c", 0.2)], 0.0)
    assert alone and among
    assert among.p_pass == pytest.approx(3 * alone.p_pass)
    assert among.p_fail == alone.p_fail  # to fail, all have to be below
    differences = order_differences([(contender("c", 0.4), contender("o", 0.5, seed=1))])
    alone, among = order_test(differences), order_test(differences, (2, 4))
    assert alone and among
    assert (among.p_pass, among.p_fail) == (min(1, 2 * alone.p_pass), pytest.approx(min(1, 4 * alone.p_fail)))
    models = [
        contender("c", 0.4, role="closed"),
        contender("o", 0.5),
        contender("p", 0.4),
        of("q", np.full((60, 2), np.nan)),
    ]
    assert order_choices(models, []) == (1, 2)
    assert order_choices(models, [("c", "o")]) == (1, 1)


def test_the_climb_ends_only_where_the_floor_gate_will_pass():
    cleared = 0
    for p in np.linspace(0.3, 0.6, 31):
        found = [contender("a", p)]
        if clears_floor(found, 0.0):
            cleared += 1
            test = floor_test(found, 0.0)
            assert test is not None
            p_holm = correct({"floor": test, "order": Test(p_pass=0.9, p_fail=0.1)})["floor"]
            assert floor_gate(found, 0.0, p_holm, last_tier=False).verdict == "pass"
    assert 5 < cleared < 31


def order(*contenders: Contender, stated: list[tuple[str, str]]) -> Gate:
    differences = order_differences(order_pairs(contenders, stated))
    test = order_test(differences)
    return order_gate(differences, correct({"order": test})["order"] if test else None)


def test_order():
    small, large, same = contender("small", 0.4), contender("large", 0.7, seed=1), contender("same", 0.4, seed=2)
    assert order(small, large, stated=[("large", "small")]).verdict == "pass"
    assert order(small, large, stated=[("small", "large")]).verdict == "fail"
    assert order(small, large, same, stated=[("large", "small"), ("small", "large")]).verdict == "fail"
    assert order(small, same, stated=[("small", "same")]).verdict == "inconclusive"
    assert order(small, large, same, stated=[("large", "small"), ("small", "same")]).verdict == "inconclusive"
    assert order(small, large, stated=[]).verdict == "not run"
    closed = contender("closed", 0.8, role="closed", seed=3)
    gate = order(small, large, closed, stated=[])
    assert gate.verdict == "pass"
    assert list(gate.numbers["pairs"]) == ["closed ≥ large"]


def test_order_says_nothing_of_a_model_with_few_scores():
    rewards_TK = np.full((60, 8), np.nan)
    rewards_TK[:3] = 1.0
    gate = order(of("few", rewards_TK), contender("large", 0.7), stated=[("few", "large")])
    assert gate.verdict == "inconclusive"
    assert "too few tasks" in gate.reason


def test_holm_makes_many_pairs_harder_to_pass():
    one = correct({"a": Test(0.02, 0.98)})
    many = correct({name: Test(0.02, 0.98) for name in "abcd"})
    assert one["a"].p_pass < ALPHA < many["a"].p_pass


def test_kinds():
    instruct, thinking = contender("i", 0.5), contender("t", 0.5, kind="thinking")
    twice = of("twice", np.ones((60, 2)))
    both = {"instruct", "thinking"}
    gate = kinds_gate([instruct, thinking], both)
    assert gate.verdict == "inconclusive"  # 60 tasks without one failure still leave up to 6 %
    assert "not clear of 5% (none happened)" in gate.reason
    silent = of("s", np.zeros((60, 2)), kind="thinking", answer=None)
    gate = kinds_gate([twice, silent], both)
    assert gate.verdict == "fail"
    assert "s (thinking): no answer 100.0%" in gate.reason
    assert gate.rollouts[0].model == "s"
    capped = of("c", np.zeros((60, 2)), kind="thinking", stop="token_cap")
    assert "token cap 100.0%" in kinds_gate([twice, capped], set()).reason
    failing = np.ones((60, 2))
    failing[:9] = np.nan
    gate = kinds_gate([twice, of("f", failing, kind="thinking")], both)
    assert gate.verdict == "fail"
    assert "failures 15.0%" in gate.reason


def test_kinds_passes_with_enough_tasks_and_both_kinds():
    tasks = [Task(id=f"t{i}", input=[]) for i in range(200)]

    def wide(name: str, kind: str) -> Contender:
        cells = [Cell(i, 0, 1.0, "1", "completed", 3, b"") for i in range(200)]
        return Contender(name, "open", kind, 1, Results(tasks, np.ones((200, 1)), cells, {}, 0.0))

    both = {"instruct", "thinking"}
    assert kinds_gate([wide("i", "instruct"), wide("t", "thinking")], both).verdict == "pass"
    gate = kinds_gate([wide("i", "instruct")], both)
    assert gate.verdict == "inconclusive"
    assert "No thinking model: that kind has not run" in gate.reason


def test_a_verifier_that_names_no_answers_is_not_blamed_for_it():
    silent = of("s", np.ones((60, 2)), answer=None)
    assert "no_answer" not in kinds_gate([silent], set()).numbers["rates"]["s"]


def test_a_gate_is_held_back_while_rollouts_are_owed():
    whole = contender("a", 0.7)
    part = Contender("b", "open", "instruct", 1, Results(TASKS, np.full((60, 2), np.nan), [], {}, 0.0))
    gate = Gate("floor", "pass", "so far so good")
    assert hold_back(gate, [whole]) == gate
    held = hold_back(gate, [whole, part])
    assert held.verdict == "inconclusive"
    assert "b (120 of 120)" in held.reason


def test_repeats():
    rates = np.linspace(0, 1, len(TASKS))
    gate, record = repeats_gate([contender("a", rates, k=4)])
    assert gate.verdict == "fail"
    assert record is not None
    assert record.k_star is not None and record.k_upper is not None and 4 < record.k_star <= record.k_upper
    gate, record = repeats_gate([contender("a", rates, k=2 * record.k_upper)])
    assert gate.verdict == "pass"
    assert repeats_gate([contender("a", 0.5, k=1)])[0].verdict == "inconclusive"
    assert repeats_gate([contender("a", 1.0)])[0].verdict == "pass"
    assert repeats_gate([])[0].verdict == "not run"


def test_repeats_that_are_copies_or_drift_fail():
    rewards_TK = (np.random.default_rng(0).random((60, 8)) < 0.5).astype(float)
    rewards_TK[:, 4:] = rewards_TK[:, :4]
    gate, _ = repeats_gate([of("copied", rewards_TK, text=lambda i, j: f"{i}/{j % 4}".encode())])
    assert gate.verdict == "fail"
    assert "repeats 0 and 4 have identical texts" in gate.reason
    drifting = (np.random.default_rng(0).random((60, 8)) < np.linspace(0.2, 0.8, 8)).astype(float)
    gate, _ = repeats_gate([of("drifting", drifting)])
    assert gate.verdict == "fail"
    assert "drifts" in gate.reason


def test_repeats_that_are_alike_because_little_varies_are_not_called_copies():
    rng = np.random.default_rng(1)
    varied = {(i, j): rng.random() < 0.02 for i in range(40) for j in range(4)}
    alike = of("alike", np.ones((60, 4)), text=lambda i, j: f"{i}/{j if varied.get((i, j)) else ''}".encode())
    gate, _ = repeats_gate([alike])
    assert gate.verdict != "fail"


def test_repeats_without_any_difference_say_nothing():
    same = {"text": lambda i, j: str(i).encode()}
    assert repeats_gate([of("right", np.ones((60, 4)), **same)])[0].verdict == "inconclusive"
    half = np.repeat(np.arange(60)[:, None] % 2, 4, axis=1).astype(float)
    gate, _ = repeats_gate([of("greedy", half, **same)])
    assert gate.verdict == "fail"
    assert "greedy, cached or seed-locked" in gate.reason


def test_a_model_without_any_score_leaves_kinds_open():
    nothing = of("down", np.full((60, 2), np.nan))
    gate = kinds_gate([of("up", np.ones((60, 2))), nothing], {"instruct", "thinking"})
    assert gate.verdict == "inconclusive"
    assert "Nothing is known of down" in gate.reason
