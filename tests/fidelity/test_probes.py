"""Probes: verifiers that reward wrong answers are stopped by the gold gate, with a reason that names the fault."""

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from random import Random

import pytest

from assay.benchmark import Benchmark, Call, Defect, Environment
from assay.benchmark.tools import ToolEnvironment, ToolSession, tool
from assay.benchmark.verify.choice import choice
from assay.benchmark.verify.integer import integer
from assay.fidelity.gates.gold import gold_gate
from assay.fidelity.gates.verifier import verifier_gate
from assay.fidelity.probes import FAULTS, Prober, family
from assay.fidelity.probes.answers import same, wrong_answers
from assay.fidelity.probes.programs import mutants
from assay.fidelity.schema.profile import Gate
from assay.types import Message, Response, Score, Task, Turn

Verify = Callable[[Task, Response], Score]


class Sums(Environment):
    name, version = "sums", "1"

    def __init__(self, verify: Verify, wrong: Iterable[str] = ()) -> None:
        self._verify, self._wrong = verify, wrong

    def tasks(self) -> Iterable[Task]:
        for a in range(20, 60):
            yield Task(id=f"t{a}", input=[Message(role="user", content=f"What is {a} + 7?")], gold=str(a + 7))

    def verify(self, task: Task, response: Response) -> Score:
        return self._verify(task, response)

    def wrong(self, task: Task) -> Iterable[str]:
        return self._wrong


class Letters(Environment):
    name, version = "letters", "1"
    OPTIONS = ("lead", "tin", "iron", "zinc")

    def __init__(self, verify: Verify) -> None:
        self._verify = verify

    def tasks(self) -> Iterable[Task]:
        options = "\n".join(f"{letter}) {text}" for letter, text in zip("ABCD", self.OPTIONS, strict=True))
        for n in range(40):
            ask = f"Which metal is number {n}?\n\n{options}\n\nEnd with the letter alone."
            yield Task(id=f"q{n}", input=[Message(role="user", content=ask)], gold="ABCD"[n * 7 % 4])

    def verify(self, task: Task, response: Response) -> Score:
        return self._verify(task, response)


def sums(verify: Verify, **more: object) -> Benchmark:
    return Benchmark(environment=Sums(verify), repeats=2, **more)  # type: ignore[arg-type]


def letters(verify: Verify, **more: object) -> Benchmark:
    return Benchmark(environment=Letters(verify), repeats=2, chance=0.25, **more)  # type: ignore[arg-type]


def gated(benchmark: Benchmark, seed: int = 0) -> Gate:
    return asyncio.run(gold_gate(benchmark, list(benchmark.environment.tasks()), seed))


def rubber_stamp(task: Task, response: Response) -> Score:
    return Score(reward=float(re.search(r"\d", response.text) is not None))


def substring(task: Task, response: Response) -> Score:
    return Score(reward=float((task.gold or "") in response.text))


def format_alone(task: Task, response: Response) -> Score:
    right = (task.gold or "") == response.text.removeprefix("Answer:").strip()
    return Score(reward=1.0 if right else 0.5 * response.text.startswith("Answer:"))


def first_letter(task: Task, response: Response) -> Score:
    found = re.search(r"\b[A-D]\b", response.text)
    return Score(reward=float(found is not None and found[0] == task.gold))


def honest(task: Task, response: Response) -> Score:
    return integer(response, int(task.gold or ""))


def chosen(task: Task, response: Response) -> Score:
    return choice(response, Letters.OPTIONS, task.gold or "")


BROKEN = [
    ("a rubber stamp", sums(rubber_stamp), "another task's answer"),
    ("a substring", sums(substring), "denied"),
    ("the format alone", sums(format_alone, formats=("{}", "Answer: {}")), "format alone"),
    ("the first letter", letters(first_letter), "either or"),
]


@pytest.mark.parametrize("benchmark", [sums(honest), letters(chosen)])
def test_a_sound_verifier_rewards_no_probe(benchmark: Benchmark):
    for seed in range(5):
        gate = gated(benchmark, seed)
        assert gate.verdict == "pass", gate.reason
        assert not gate.numbers["scored"]


@pytest.mark.parametrize(("benchmark", "kind"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_a_broken_verifier_is_stopped_and_its_fault_named(benchmark: Benchmark, kind: str):
    gate = gated(benchmark)
    assert gate.verdict == "fail"
    assert kind in gate.reason
    first, scored = next(iter(gate.numbers["scored"].items()))
    assert f"{first}: {FAULTS[first]}" in gate.reason
    assert repr(scored[0]["text"]) in gate.reason
    assert scored[0]["task"] in gate.numbers["tasks_rewarded"]


def test_thinking_that_is_scored_as_the_answer_is_stopped_by_the_verifier_gate():
    def everything(task: Task, response: Response) -> Score:
        return honest(task, Response(output=[Message("assistant", response.reasoning + response.text)]))

    benchmark = sums(everything)
    assert gated(benchmark).verdict == "pass"
    gate = asyncio.run(verifier_gate(benchmark, list(benchmark.environment.tasks())))
    assert gate.verdict == "fail"
    assert "gold in the reasoning alone" in gate.reason


def test_constants_may_score_the_stated_chance_and_no_more():
    def often_a(task: Task, response: Response) -> Score:
        return choice(response, Letters.OPTIONS, "A" if int(task.id[1:]) % 2 else task.gold or "")

    gate = gated(letters(chosen))
    assert gate.numbers["probes"]["constant A"] == {"n": 40, "reward": 10, "allowed": 19}

    class Mostly(Letters):
        def tasks(self) -> Iterable[Task]:
            for task in super().tasks():
                yield Task(id=task.id, input=task.input, gold="A" if int(task.id[1:]) % 2 else task.gold)

    gate = gated(Benchmark(environment=Mostly(chosen), repeats=1, chance=0.25))
    assert "constant A: one answer to all tasks scores above the stated chance" in gate.reason
    assert "constant B" not in gate.reason


def test_a_third_of_the_probes_comes_from_the_seed():
    benchmark = sums(honest)
    tasks = list(benchmark.environment.tasks())

    def texts(seed: int) -> list[set[tuple[str, str]]]:
        prober = Prober(benchmark, tasks, seed)
        return [{(probe.kind, probe.text) for probe in prober.probes(task)} for task in tasks]

    assert texts(1) == texts(1)
    shared = sum(len(one & other) for one, other in zip(texts(1), texts(2), strict=True))
    made = sum(map(len, texts(1)))
    assert 0.6 * made < shared < 0.9 * made


def test_a_benchmarks_own_wrong_answers_are_tried():
    def forgiving(task: Task, response: Response) -> Score:
        return Score(reward=1.0) if response.text == "about that" else honest(task, response)

    assert gated(sums(forgiving)).verdict == "pass"
    gate = gated(Benchmark(environment=Sums(forgiving, ["about that"]), repeats=1))
    assert "own: an answer is rewarded that the benchmark calls wrong (40 of 40" in gate.reason


def test_a_declared_defect_is_printed_and_does_not_fail():
    denied = Defect(what="A denial counts.", why="The original reads so.", probes=("denied",))

    def deaf(task: Task, response: Response) -> Score:
        return honest(task, Response(output=[Message("assistant", re.sub(r"\bnot\b", "", response.text))]))

    assert gated(sums(deaf)).verdict == "fail"
    gate = gated(sums(deaf, defects=(denied,)))
    assert gate.verdict == "pass"
    assert "Rewarded, and declared as known: denied (" in gate.reason
    of_task = Defect(what="A denial counts.", why="The original reads so.", probes=("denied",), tasks=("t20",))
    assert gated(sums(deaf, defects=(of_task,))).verdict == "fail"
    of_all = Defect(what="It is crude.", why="The original is.")
    assert gated(sums(deaf, defects=(of_all,))).verdict == "fail"


def test_what_needs_no_solution_cant_be_declared_away():
    kinds = ("empty", "off topic", "the prompt", "format alone")
    defect = Defect(what="All is right.", why="So it is.", probes=kinds)
    gate = gated(sums(lambda task, response: Score(reward=1.0), defects=(defect,)))
    assert all(FAULTS[kind] in gate.reason for kind in ("empty", "off topic", "the prompt"))


def test_without_a_reference_the_gate_is_not_run_and_a_stamp_still_fails():
    class Open(Sums):
        def tasks(self) -> Iterable[Task]:
            yield Task(id="a", input=[Message(role="user", content="Write a poem.")])

    assert gated(Benchmark(environment=Open(lambda task, response: Score(reward=0.0)), repeats=1)).verdict == "not run"
    gate = gated(Benchmark(environment=Open(lambda task, response: Score(reward=1.0)), repeats=1))
    assert gate.verdict == "fail"


ANSWERS = [
    ("42", "17", (), {"neighbouring number", "other sign", "a digit more", "another task's answer", "denied"}),
    ("-3.5 km", "8", (), {"neighbouring number", "other sign", "a digit more"}),
    ("2,125", "8", (), {"neighbouring number", "other sign", "a digit more"}),
    ("<answer>7</answer>", "<answer>9</answer>", (), {"neighbouring number", "other sign"}),
    ("B", "C", ("A", "B", "C"), {"other letter", "all options", "both answers", "either or"}),
    ("Paris", "Rome", (), {"another task's answer", "denied", "both answers", "either or"}),
    ('{"a": 1, "b": "x"}', '{"a": 2, "b": "y"}', (), {"one value changed", "all values changed", "both answers"}),
]


@pytest.mark.parametrize(("gold", "other", "options", "kinds"), ANSWERS)
def test_wrong_answers_are_wrong_and_keep_the_golds_form(
    gold: str, other: str, options: Sequence[str], kinds: set[str]
):
    found = [one for seed in range(30) for one in wrong_answers(gold, other, options, Random(seed))]
    assert kinds <= {kind for kind, _ in found}
    assert {family(kind) for kind, _ in found} <= FAULTS.keys()
    assert not any(same(text, gold) for _, text in found)
    if gold.startswith("<answer>"):
        assert all(re.fullmatch("<answer>.+</answer>", text) for _, text in found)
    if "," in gold and not gold.startswith("{"):
        changed = [text for kind, text in found if kind in ("neighbouring number", "a digit more")]
        assert all(re.fullmatch(r"\d{1,3}(,\d{3})+", text) for text in changed)


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("1,000", "1000", True),
        ("1/2", "0.5", True),
        ("['a', 'b']", '["a","b"]', True),
        ("Paris.", "paris", True),
        ("5", "-5", False),
        ("[1, 2]", "[12]", False),
        ("True", "1", False),
    ],
)
def test_answers_that_are_the_same_are_no_wrong_ones(one: str, other: str, alike: bool):
    assert same(one, other) == alike


PROGRAM = """```python
def clip(value, low, high):
    \"\"\"Between the bounds.\"\"\"
    if value < low:
        return low
    return min(value + 0, high)
```"""


def test_mutants_of_a_program_are_other_programs():
    found = [one for seed in range(40) for one in mutants(PROGRAM, Random(seed))]
    changed = {text for kind, text in found if kind == "mutant"}
    others = {text for kind, text in found if kind == "another result"}
    assert len(changed) == 3 and any("value >= low" in text for text in changed)
    assert len(others) == 3 and any("return [low]" in text for text in others)
    assert PROGRAM not in changed | others
    assert not list(mutants("The answer is 42.", Random(0)))


class Switch(ToolSession):
    """A light."""

    def __init__(self, task: Task, seed: int) -> None:
        super().__init__(task, seed)
        self.on = False
        self.calls = 0

    @tool
    def press(self) -> str:
        """Press the switch."""
        self.on, self.calls = not self.on, self.calls + 1
        return "clicked"

    async def score(self, turns: Sequence[Turn]) -> Score:
        wanted = self.task.data["presses"]
        lax = self.task.data["lax"]
        return Score(reward=float(self.calls > 0 if lax else self.calls == wanted))


class Switches(ToolEnvironment):
    name, version, session = "switches", "1", Switch

    def __init__(self, lax: bool) -> None:
        self._lax = lax

    def tasks(self) -> Iterable[Task]:
        for presses in (2, 3, 4):
            ask = Message(role="user", content=f"Press the switch {presses} times.")
            yield Task(id=f"p{presses}", input=[ask], data={"presses": presses, "lax": self._lax}, tools=self.tools)

    def solution(self, task: Task) -> Sequence[Call]:
        return [Call("press")] * task.data["presses"]


def test_state_that_is_half_done_is_probed():
    assert gated(Benchmark(environment=Switches(lax=False), repeats=1)).verdict == "pass"
    gate = gated(Benchmark(environment=Switches(lax=True), repeats=1))
    assert "last step left out: a solution without its last step is rewarded" in gate.reason
    assert "nothing done" not in gate.reason
