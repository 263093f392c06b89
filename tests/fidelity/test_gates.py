"""Each gate on a benchmark or on results made to pass it, to fail it, and to leave it open."""

import asyncio
import dataclasses
import re
from collections.abc import Callable, Iterable
from random import Random

import msgspec
import numpy as np
import pytest

from assay.benchmark import Benchmark, Environment
from assay.benchmark.verify.integer import integer
from assay.fidelity.gates import correct, hold_back
from assay.fidelity.gates.gold import gold_gate
from assay.fidelity.gates.kinds import kinds_gate
from assay.fidelity.gates.order import MARGIN, comparisons, order_gate
from assay.fidelity.gates.range import clears_floor, least, range_gate
from assay.fidelity.gates.repeats import repeats_gate, repeats_record
from assay.fidelity.gates.rule import FAILS
from assay.fidelity.gates.verifier import verifier_gate
from assay.fidelity.results.contender import Contender, strongest, weakest
from assay.fidelity.results.results import Cell, Results
from assay.fidelity.schema.evidence import Explanation
from assay.fidelity.schema.profile import Gate
from assay.score import PassAt
from assay.stats.distributions import binomial_upper
from assay.types import Message, Response, Score, Task

TASKS = [Task(id=f"t{i}", input=[Message(role="user", content=f"{i}")], gold=str(i + 10)) for i in range(60)]


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
    text = marks.get("text", lambda i, j: i * 1000 + j)
    cells = [
        Cell(i, j, None if np.isnan(x) else float(x), answer, stop, 3, text(i, j))  # type: ignore[arg-type,operator]
        for (i, j), x in np.ndenumerate(rewards_TK)
    ]
    return Contender(name, role, kind, 1, Results(TASKS[: len(rewards_TK)], rewards_TK, cells, {}, 0.0))


def test_gold_passes_where_gold_is_right_and_nothing_is_not():
    gate = asyncio.run(gold_gate(made(), TASKS))
    assert (gate.verdict, gate.numbers["gold_right"], gate.numbers["probes"]["empty"]["reward"]) == ("pass", 60, 0)


@pytest.mark.parametrize(
    ("verify", "words"),
    [
        (lambda task, response: Score(reward=float(task.id != "t7" and honest(task, response).reward)), "1 of .* t7"),
        (lambda task, response: Score(reward=1.0), "an answer about something else is rewarded"),
        (lambda task, response: Score(reward=1 / 0), "failed on 1,383 .* t0: ZeroDivisionError"),
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
    assert "guess: guesses score above the stated chance (1 of 60, where 0 are allowed)" in gate.reason


def test_gold_fails_where_the_verifier_breaks_on_an_empty_answer():
    def brittle(task: Task, response: Response) -> Score:
        return Score(reward=float(response.text.split()[-1] == task.gold))

    gate = asyncio.run(gold_gate(made(brittle), TASKS))
    assert gate.verdict == "fail"
    assert "The verifier failed on 60 right or wrong answers: t0: IndexError" in gate.reason


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


def in_range(*contenders: Contender, chance: float = 0.0, last: bool = True, **more: object) -> Gate:
    return range_gate(contenders, chance, last_tier=last, **more)  # type: ignore[arg-type]


def test_range():
    weak, strong = contender("weak", 0.2), contender("strong", 0.7, seed=1)
    gate = in_range(weak, strong)
    assert gate.verdict == "pass"
    assert "No other open model is above the floor" in gate.reason
    assert (gate.numbers["strongest"], gate.numbers["weakest"]) == ("strong", "weak")
    assert re.search(r"told two models \d+\.\d points apart from each other, with 80 %", gate.unseen)
    assert in_range(contender("a", 0.1), contender("b", 0.05)).verdict == "fail"
    assert in_range(contender("a", 0.1), contender("b", 0.05), last=False).verdict == "inconclusive"
    assert in_range(contender("a", 0.31), weak).verdict == "inconclusive"
    assert in_range(contender("a", 0.9, role="policy")).verdict == "not run"
    alone = in_range(contender("a", 0.7))
    assert alone.verdict == "inconclusive"
    assert "One model alone" in alone.reason


def test_range_counts_from_chance():
    assert least(0.0) == 0.3
    assert least(0.25) == pytest.approx(0.4)
    weak = contender("weak", 0.3, seed=1)
    assert in_range(weak, contender("a", 0.5), chance=0.5).verdict == "inconclusive"
    gate = in_range(weak, contender("a", 0.8), chance=0.5)
    assert gate.verdict == "pass"
    assert gate.numbers["above_chance_lower"] > 0.2


def test_range_needs_models_that_differ_and_are_not_at_the_top():
    same = in_range(contender("a", 0.6), contender("b", 0.6, seed=1))
    assert same.verdict == "inconclusive"
    full = in_range(contender("a", 1.0), contender("b", 1.0))
    assert full.verdict == "inconclusive"
    assert "Saturated: every model scores 99%" in full.reason
    high = in_range(of("a", np.ones((60, 2))), contender("b", 0.97, seed=3))
    assert "Saturated: the weakest model scores 9" in high.reason
    stated = [("b", "a")]
    turned = in_range(contender("a", 0.8), contender("b", 0.4, seed=1), order=stated)
    assert turned.verdict == "fail"
    assert turned.p_fail is not None and turned.p_fail <= FAILS


def test_a_benchmark_that_is_declared_hard_has_to_tell_closed_models_apart():
    opened = [contender("o", 0.05), contender("p", 0.01, seed=1)]
    closed = [contender("c", 0.5, role="closed", seed=2), contender("d", 0.1, role="closed", seed=3)]
    assert in_range(*opened, *closed).verdict == "fail"
    gate = in_range(*opened, *closed, hard="research problems")
    assert gate.verdict == "pass"
    assert "Declared hard: research problems. Among closed models: c less d" in gate.reason
    assert in_range(*opened, closed[0], hard="research problems").verdict == "inconclusive"


def test_alpha_is_divided_by_the_models_to_choose_from():
    p = np.concatenate([np.full(34, 0.75), np.full(26, 0.05)])
    best, others = contender("a", p, k=2, seed=3), [contender(n, 0.1, seed=i) for i, n in enumerate("bcdefgh", 1)]
    assert in_range(best, *others[:1], order=[("a", "b")]).verdict == "pass"
    assert in_range(best, *others, order=[("a", "b")]).verdict == "inconclusive"
    assert in_range(best, *others, order=[("a", one.name) for one in others]).verdict == "pass"


def test_the_strongest_model_is_by_the_stated_order_through_models_that_did_not_run():
    a, b, c = contender("a", 0.3), contender("b", 0.6, seed=1), contender("c", 0.5, seed=2)
    assert [one.name for one in strongest([a, b, c])] == ["b", "c", "a"]
    assert [one.name for one in strongest([a, b, c], [("a", "x"), ("x", "b")])] == ["c", "a"]
    assert [one.name for one in weakest([a, b, c], [("a", "x"), ("x", "b")])] == ["c", "b"]
    assert strongest([of("q", np.full((60, 2), np.nan))]) == []


def test_the_climb_ends_only_where_the_range_gate_will_pass():
    cleared = 0
    weak = contender("weak", 0.0)
    for p in np.linspace(0.3, 0.6, 31):
        found = [contender("a", p), weak]
        if clears_floor(found, 0.0, [("a", "weak")]):
            cleared += 1
            assert range_gate(found, 0.0, [("a", "weak")], last_tier=False).verdict == "pass"
    assert 5 < cleared < 31


def order(
    *contenders: Contender, stated: list[tuple[str, str]], reversals: dict[tuple[str, str], float] | None = None
) -> Gate:
    return order_gate(comparisons(contenders, stated, reversals or {}))


def test_order():
    small, large, same = contender("small", 0.4), contender("large", 0.7, seed=1), contender("same", 0.4, seed=2)
    assert order(small, large, stated=[("large", "small")]).verdict == "pass"
    assert order(small, large, stated=[("small", "large")]).verdict == "fail"
    gate = order(small, large, same, stated=[("large", "small"), ("small", "large")])
    assert gate.verdict == "fail"
    assert "Not so: small ≥ large" in gate.reason
    assert order(small, same, stated=[("small", "same")]).verdict == "inconclusive"
    alike = contender("a", 0.4, k=64), contender("b", 0.4, k=64, seed=1)
    assert order(*alike, stated=[("a", "b")]).verdict == "pass"  # within the margin
    assert order(small, large, stated=[]).verdict == "not run"
    closed = contender("closed", 0.8, role="closed", seed=3)
    gate = order(small, large, closed, stated=[])
    assert gate.verdict == "pass"
    assert list(gate.numbers["pairs"]) == ["closed ≥ large"]
    gate = order(small, large, closed, stated=[("large", "small")])
    assert list(gate.numbers["pairs"]) == ["large ≥ small", "closed ≥ large"]


def shifted(name: str, points: int, *, k: int = 64) -> Contender:
    """A model that solves half of the tasks, and `points` in a hundred rollouts fewer."""
    rewards_TK = np.zeros((60, k))
    rewards_TK[:30] = 1.0
    rewards_TK[:30, : round(k * points * 2 / 100)] = 0.0
    return of(name, rewards_TK)


def test_the_margin_of_a_pair_is_six_points_and_its_published_reversal():
    weaker, less = shifted("weaker", 0), shifted("stronger", 10)
    assert order(less, weaker, stated=[("stronger", "weaker")]).verdict == "fail"
    gate = order(less, weaker, stated=[("stronger", "weaker")], reversals={("stronger", "weaker"): 0.06})
    assert gate.verdict == "pass"
    assert gate.numbers["pairs"]["stronger ≥ weaker"]["margin"] == pytest.approx(MARGIN + 0.06)
    assert "12.0 points less than a weaker one" in gate.unseen


def test_a_reversal_as_large_as_the_margin_rarely_passes():
    rng = np.random.default_rng(0)
    passed = 0
    for _ in range(200):
        a, b = (of(n, (rng.random((60, 8)) < p).astype(float)) for n, p in (("a", 0.44), ("b", 0.5)))
        passed += order(a, b, stated=[("a", "b")]).verdict == "pass"
    assert passed <= 60  # 20 % and Monte-Carlo error: what the gate says that it would have noticed


def test_order_says_nothing_of_a_model_with_few_scores():
    rewards_TK = np.full((60, 8), np.nan)
    rewards_TK[:3] = 1.0
    gate = order(of("few", rewards_TK), contender("large", 0.7), stated=[("few", "large")])
    assert gate.verdict == "inconclusive"
    assert "too few tasks" in gate.reason


def test_failures_are_corrected_and_passes_are_not():
    fails, passes = Gate("order", "fail", "Not so.", p_fail=0.02), Gate("range", "pass", "Fine.", p_fail=0.9)
    certain = Gate("gold", "fail", "Wrong.")
    assert correct([fails, passes, certain]) == [fails, passes, certain]  # 2 tests: .04
    many = correct([fails, passes, certain, *(Gate(name, "pass", "", p_fail=0.5) for name in "ab")])
    assert [gate.verdict for gate in many[:3]] == ["inconclusive", "pass", "fail"]
    assert "Not clear among 4 tests (p = 0.080 by Holm's correction). Not so." in many[0].reason


def test_kinds():
    instruct, thinking = contender("i", 0.5), contender("t", 0.5, kind="thinking")
    both = {"instruct", "thinking"}
    gate = kinds_gate([instruct, thinking], both)
    assert gate.verdict == "pass"
    assert "at most 0.6% (one-sided 95 % bound)" in gate.reason  # none of 480
    gate = kinds_gate([instruct, of("once", np.ones((60, 1))[:58], kind="thinking")], both)
    assert gate.verdict == "inconclusive"
    assert "By 58 rollouts, rates of failures" in gate.reason
    assert "may be up to 5.0%, which is not clear of 5% (none happened)" in gate.reason
    assert kinds_gate([instruct, of("once", np.ones((59, 1)), kind="thinking")], both).verdict == "pass"
    twice = of("twice", np.ones((60, 2)))
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


def test_kinds_says_the_smallest_rate_that_it_would_have_noticed():
    gate = kinds_gate([of("i", np.ones((60, 2)))], {"instruct"})
    found = re.search(r"with 80 %, a model with a rate of (\d+\.\d)%", gate.unseen)
    assert found
    rate, rng = float(found[1]) / 100, np.random.default_rng(0)
    drawn = [rng.binomial(120, rate) for _ in range(2000)]
    noticed = [binomial_upper(int(count), 120, 0.95) >= 0.05 for count in drawn]
    assert np.mean(noticed) == pytest.approx(0.8, abs=0.03)


def test_an_explanation_passes_a_rate_until_it_doubles():
    def capped(share: float) -> Contender:
        stops = lambda i: "token_cap" if i < share * 60 else "completed"  # noqa: E731
        cells = [Cell(i, j, 0.0, "1", stops(i), 3, i * 2 + j) for i in range(60) for j in range(2)]
        return Contender("c", "open", "thinking", 1, Results(TASKS, np.zeros((60, 2)), cells, {}, 0.0))

    said = Explanation(model="c", detector="token_cap", note="long proofs", by="ada", at="2026-11-28", share=0.1)
    other = contender("i", 0.5)
    kinds = {"instruct", "thinking"}
    assert kinds_gate([other, capped(0.1)], kinds).verdict == "inconclusive"
    gate = kinds_gate([other, capped(0.1)], kinds, {"c": [said]})
    assert (gate.verdict, gate.word, gate.explained) == ("pass", "explained", [said])
    assert "Explained: c (thinking): token cap 10.0%, explained by ada: long proofs" in gate.reason
    assert kinds_gate([other, capped(0.3)], kinds, {"c": [said]}).verdict == "fail"
    elsewhere = msgspec.structs.replace(said, detector="no_answer")
    assert kinds_gate([other, capped(0.1)], kinds, {"c": [elsewhere]}).verdict == "inconclusive"


def test_kinds_counts_a_task_once_where_repeats_are_copies():
    copied = of("c", np.repeat(np.arange(60)[:, None] % 2, 4, axis=1).astype(float), text=lambda i, j: i)
    assert copied.results.independence.verdict == "dependent"
    gate = kinds_gate([copied], set())
    assert gate.numbers["rates"]["c"]["failures"]["of"] == 60


def test_kinds_calls_no_model_dependent_that_the_repeats_gate_calls_independent():
    """Ten models are tested at .0005 each. At .005 each, a sound benchmark of few tasks did not pass in one of ten."""
    generator = np.random.default_rng(0)
    rewards = (generator.random((30, 4)) < 0.5).astype(float)
    rewards[:, 3] = generator.random(30) < 0.82
    one = of("c", rewards)
    assert 0.0005 < one.results.independence.effect.p_high < 0.005
    others = [of(f"m{i}", (generator.random((30, 4)) < 0.5).astype(float)) for i in range(9)]
    of_one = {
        name: rates["failures"]["of"] for name, rates in kinds_gate([one, *others], set()).numbers["rates"].items()
    }
    assert set(of_one.values()) == {120}
    assert kinds_gate([one], set()).numbers["rates"]["c"]["failures"]["of"] == 30


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
    gate = Gate("range", "pass", "so far so good")
    assert hold_back(gate, [whole]) == gate
    held = hold_back(gate, [whole, part])
    assert held.verdict == "inconclusive"
    assert "b (120 of 120)" in held.reason


def test_repeats():
    rates = np.linspace(0, 1, len(TASKS))
    few = [contender("a", rates, k=4)]
    assert repeats_gate(few).verdict == "fail"
    record = repeats_record(few)
    assert record is not None
    assert record.k_star is not None and record.k_upper is not None and 4 < record.k_star <= record.k_upper
    gate = repeats_gate([contender("a", rates, k=2 * record.k_upper)])
    assert gate.verdict == "pass"
    assert re.search(r"with 80 %, a change of a by \d+\.\d points halfway", gate.unseen)
    assert "One instance" in gate.unseen
    once = [contender("a", 0.5, k=1)]
    assert repeats_gate(once).verdict == "inconclusive"
    assert repeats_record(once) is None
    assert repeats_gate([contender("a", 1.0)]).verdict == "pass"
    assert repeats_gate([]).verdict == "not run"


def attempts(name: str, repeats: int) -> Contender:
    one = contender(name, 0.5, k=repeats)
    return dataclasses.replace(one, results=dataclasses.replace(one.results, score=PassAt(k=4)))


@pytest.mark.parametrize(
    ("one", "verdict", "words"),
    [
        (contender("a", 0.5, k=1), "inconclusive", "a: 1 repeat says nothing of how the score moves: 2 are needed."),
        (attempts("a", 4), "inconclusive", "a: 4 repeats say nothing of how the score moves: 8 are needed."),
        (of("a", np.ones((1, 4))), "inconclusive", "a: One task alone says nothing"),
        (of("a", np.array([[1, np.nan]] * 60)), "inconclusive", "because rollouts failed"),
        (attempts("a", 2), "not run", "No task of a has the 4 scored attempts that the pass@4 takes."),
        (of("a", np.full((60, 2), np.nan)), "not run", "No rollout of a has a score, only failures."),
        (contender("a", 0.5, role="closed"), "not run", "No open model has run."),
    ],
)
def test_repeats_say_why_they_show_nothing(one: Contender, verdict: str, words: str):
    gate = repeats_gate([one])
    assert gate.verdict == verdict and words in gate.reason
    if verdict == "not run":
        assert in_range(one).reason == gate.reason


def test_repeats_prints_the_others_and_holds_no_wide_spread_against_them():
    still, loose = contender("a", 0.9, k=64), contender("b", 0.5, k=2, seed=1)
    gate = repeats_gate([still, loose])
    assert gate.verdict == "pass"
    assert gate.numbers["others"]["b"]["sd_run"] > 1


def test_repeats_of_any_model_that_are_copies_or_drift_fail():
    still = contender("still", 0.9, k=64)
    rewards_TK = (np.random.default_rng(0).random((60, 8)) < 0.5).astype(float)
    rewards_TK[:, 4:] = rewards_TK[:, :4]
    gate = repeats_gate([still, of("copied", rewards_TK, text=lambda i, j: i * 1000 + j % 4)])
    assert gate.verdict == "fail"
    assert "repeats 0 and 4 have identical texts" in gate.reason
    drifting = (np.random.default_rng(0).random((60, 8)) < np.linspace(0.2, 0.8, 8)).astype(float)
    gate = repeats_gate([still, of("drifting", drifting)])
    assert gate.verdict == "fail"
    assert "drifts" in gate.reason
    frozen = np.repeat(np.arange(60)[:, None] % 2, 4, axis=1).astype(float)
    gate = repeats_gate([still, of("frozen", frozen)])
    assert gate.verdict == "fail"
    assert "On none of 60 tasks do repeats score differently, though their texts do" in gate.reason


def long(name: str, cached: float, seed: int = 0) -> Contender:
    """A model whose outputs have 500 tokens, and are copies on a share of the tasks."""
    rewards_TK = (np.random.default_rng(seed).random((60, 4)) < 0.5).astype(float)
    some = round(60 * cached)
    rewards_TK[:some] = rewards_TK[:some, :1]
    cells = [
        Cell(i, j, float(x), "1", "completed", 500, i * 1000 + (0 if i < some else j))
        for (i, j), x in np.ndenumerate(rewards_TK)
    ]
    return Contender(name, "open", "thinking", 1, Results(TASKS, rewards_TK, cells, {}, 0.0))


def test_long_outputs_that_are_the_same_on_half_of_the_tasks_are_cached():
    assert long("a", 0.5).results.independence.long_copies == 0.5
    gate = repeats_gate([contender("still", 0.9, k=64), long("a", 0.5)])
    assert gate.verdict == "fail"
    assert "on 50% of tasks, outputs of 200 tokens or more are word for word the same" in gate.reason
    fine = repeats_gate([contender("still", 0.9, k=64), long("a", 0.1)])
    assert fine.verdict == "pass"
    assert fine.numbers["independence"]["a"]["long_copies"] == 0.1
    assert "copies of short outputs or on less than 20% of tasks" in fine.unseen


def test_a_model_that_varies_far_less_than_the_others_is_a_finding():
    rates = 0.2 + 0.6 * np.random.default_rng(0).random(60)
    others = [contender(name, rates, k=16, seed=seed) for seed, name in enumerate("bcd")]
    certain = contender("a", (rates > 0.5).astype(float) * 0.98 + 0.01, k=16, seed=9)
    gate = repeats_gate([contender("still", 0.9, k=64), *others, certain])
    assert re.search(r"Finding: within tasks, a varies by \d+% of p \(1 - p\), the others by \d+%", gate.reason)


def test_a_server_whose_models_vary_far_less_than_those_elsewhere_is_a_finding():
    rates = 0.2 + 0.6 * np.random.default_rng(0).random(60)
    certain = (rates > 0.5) * 0.9 + 0.05
    models = [
        dataclasses.replace(contender(name, of, k=16, seed=seed), server=f"http://{server}")
        for seed, (name, of, server) in enumerate(
            [("a", certain, "x"), ("b", certain, "x"), ("c", certain, "x"), ("d", rates, "y"), ("e", rates, "z")]
        )
    ]
    reason = repeats_gate(models).reason
    assert "the 3 models at http://x vary by" in reason and "those elsewhere by" in reason
    assert "models at" not in repeats_gate([dataclasses.replace(one, server="http://x") for one in models]).reason


def test_the_shift_between_two_starts_of_the_strongest_open_model_is_printed():
    first, second = (
        dataclasses.replace(contender(name, 0.9, k=64, seed=seed), id="m", server=f"http://{name}")
        for seed, name in enumerate("ab")
    )
    gate = repeats_gate([first, second])
    assert re.search(r"Two instances: \w less \w is [+-]\d+\.\d\d ± \d+\.\d\d points", gate.reason)
    assert "One instance" not in gate.unseen


def test_repeats_that_are_alike_because_little_varies_are_not_called_copies():
    rng = np.random.default_rng(1)
    varied = {(i, j): rng.random() < 0.02 for i in range(40) for j in range(4)}
    alike = of("alike", np.ones((60, 4)), text=lambda i, j: i * 1000 + (j if varied.get((i, j)) else 0))
    assert repeats_gate([alike]).verdict != "fail"


def test_repeats_without_any_difference_say_nothing_unless_the_protocol_is_greedy():
    same = {"text": lambda i, j: i}
    assert repeats_gate([of("right", np.ones((60, 4)), **same)]).verdict == "inconclusive"
    half = of("greedy", np.repeat(np.arange(60)[:, None] % 2, 4, axis=1).astype(float), **same)
    gate = repeats_gate([half])
    assert gate.verdict == "fail"
    assert "greedy, cached or seed-locked" in gate.reason
    gate = repeats_gate([dataclasses.replace(half, greedy=True)])
    assert gate.verdict == "pass"
    assert (
        "greedy decodes greedily, and its repeats are word for word the same: it stands still by design" in gate.reason
    )


def test_a_model_without_any_score_leaves_kinds_open():
    nothing = of("down", np.full((60, 2), np.nan))
    gate = kinds_gate([of("up", np.ones((60, 2))), nothing], {"instruct", "thinking"})
    assert gate.verdict == "inconclusive"
    assert "Nothing is known of down" in gate.reason
    gate = kinds_gate([nothing], {"instruct", "thinking"})
    assert gate.verdict == "inconclusive"
    assert "Nothing is known of down" in gate.reason
