import asyncio
import dataclasses
import time
from random import Random
from typing import Any

import pytest

from assay.benchmark import Benchmark, Environment
from assay.benchmark.catalog import load
from assay.benchmark.verify.integer import read_integer
from assay.errors import UsageError
from assay.fidelity.schema.profile import Check
from assay.model.builtin.engine.tokenizer import Tokenizer
from assay.model.builtin.local import WEIGHTS
from assay.trainers.fitness import fitness
from assay.types import Message, Request, Response, Score, Task, Text
from tests.commands import assay


class Sums(Environment):
    """Sums, with a verifier that may have a hole or break."""

    name, version = "sums", "1"

    def __init__(self, fault: str) -> None:
        self._fault = fault

    def tasks(self):
        return [Task(id="t", input=[Message(role="user", content="What is 1 + 1?")], gold="2")]

    def training(self, rng: Random):
        while True:
            a, b = rng.randint(10, 999), rng.randint(10, 999)
            question = [Message(role="user", content=f"What is {a} + {b}?")]
            yield Task(id=f"{a}-{b}", input=question, gold=str(a + b))

    def verify(self, task: Task, response: Response) -> Score:
        value, gold = read_integer(response.text), int(task.gold or "")
        if self._fault == "breaks" and value == gold:
            raise ValueError("the verifier broke")
        right = value is not None and (value >= gold if self._fault == "hole" else value == gold)
        return Score(reward=float(right), answer=None if value is None else str(value))


class Mute:
    """Answers without token ids, and never rightly."""

    async def respond(self, request: Request) -> Response:
        return Response(output=[Message(role="assistant", content=[Text(text="-1")])])


def pilot(*arguments: Any, **given: Any) -> list[Check]:
    return asyncio.run(fitness(*arguments, **given))


def verdicts(checks: list[Check]) -> dict[str, str]:
    return {check.name.removeprefix("training "): check.verdict for check in checks}


def test_an_environment_that_is_fit():
    tokenizer = Tokenizer.load(WEIGHTS / "policy/tokenizer.json")
    checks = pilot(load("arithmetic"), "policy", tasks=64, tokenizer=tokenizer)
    assert set(verdicts(checks).values()) == {"pass"}
    by_name = {check.name: check.reason for check in checks}
    assert "Tokenised again from text, 0 of 512 answers" in by_name["training tokens"]
    assert "of groups of 8 have no variance" in by_name["training groups"]


def test_what_is_rewarded_by_mistake_is_found():
    checks = pilot(Benchmark(environment=Sums("hole"), repeats=1), "policy", tasks=32)
    found = verdicts(checks)
    assert (found["rewards"], found["probes"]) == ("fail", "fail")
    assert "gold nowhere" in checks[-1].reason and checks[-1].tasks


class Moody(Sums):
    """Judges the answer -1 slowly, and from its ninth judgement on otherwise."""

    judged = 0

    def verify(self, task: Task, response: Response) -> Score:
        if response.text != "-1":
            return super().verify(task, response)
        time.sleep(0.15)
        self.judged += 1
        return Score(reward=float(self.judged > 8))


def test_a_verifier_that_is_slow_and_of_two_minds():
    checks = pilot(Benchmark(environment=Moody(""), repeats=1), Mute(), tasks=1)
    found = verdicts(checks)
    assert (found["speed"], found["determinism"]) == ("fail", "fail")
    by_name = {check.name: check.reason for check in checks}
    assert "needs 8.5 a second" in by_name["training speed"]
    assert "Of 8 rollouts, 8 have another reward" in by_name["training determinism"]


def test_failures_are_told_and_no_zeros():
    found = verdicts(pilot(Benchmark(environment=Sums("breaks"), repeats=1), "policy", tasks=32))
    assert found["failures"] == "fail"


def test_a_model_that_is_always_wrong_and_gives_no_tokens():
    checks = pilot(Benchmark(environment=Sums(""), repeats=1), Mute(), tasks=8)
    assert verdicts(checks) == {
        "failures": "pass",
        "groups": "fail",
        "lengths": "pass",
        "tokens": "fail",
        "determinism": "pass",
        "speed": "pass",
        "probes": "pass",
        "rewards": "pass",
    }
    assert "64 of 64 rollouts can't be trained on token by token: 64 come without token ids" in checks[3].reason


def test_a_benchmark_without_training_tasks_is_refused():
    office = dataclasses.replace(load("office"))
    with pytest.raises(UsageError, match="has no training tasks"):
        pilot(office, Mute())


@pytest.mark.heavy
def test_the_command(tmp_path):
    code, out, err = assay("check", "arithmetic", "--training", "policy", "--json", cwd=tmp_path)
    assert code == 0, err
    assert '"training groups"' in out
