"""Broken benchmarks, end to end on the embedded suite: none is verified, and a gate names the fault."""

import json
from pathlib import Path

import pytest

from tests.commands import assay

BENCHMARK = """
import re
from assay.benchmark import Benchmark, Environment
from assay.benchmark.verify.integer import integer
from assay.types import Message, Response, Score, Task


class Sums(Environment):
    name, version = "{name}", "1"

    def tasks(self):
        for n in range(20, 50):
            {task}

    def verify(self, task, response):
        {verify}


BENCHMARK = Benchmark(environment=Sums(), repeats=1, {protocol})
"""
SUM = 'yield Task(id=f"t{n}", input=[Message(role="user", content=f"What is {n} + 7?")], gold=str(n + 7))'
LETTER = (
    'yield Task(id=f"t{n}", input=[Message(role="user", content=f"What is {n} + 7?\\n\\n"'
    ' + "\\n".join(f"{letter}) {n + 7 + (place - n) % 4}" for place, letter in enumerate("ABCD")))],'
    ' gold="ABCD"[n % 4])'
)
THINKING = "return integer(Response(output=[Message('assistant', response.reasoning + response.text)]), int(task.gold))"
BROKEN = {
    "rubber-stamp": (
        SUM,
        'return Score(reward=float(re.search("[0-9]", response.text) is not None), answer=response.text)',
        "",
        ("gold", "a neighbouring number is rewarded"),
    ),
    "substring": (
        SUM,
        "return Score(reward=float(task.gold in response.text), answer=response.text)",
        "",
        ("gold", "the right answer is rewarded where it is denied"),
    ),
    "format-alone": (
        SUM,
        'text = response.text.removeprefix("Answer:").strip()\n'
        "        return Score(reward=max(float(text == task.gold), float(text != response.text) / 2), answer=text)",
        'formats=("{}", "Answer: {}")',
        ("gold", "the form of an answer is rewarded without an answer in it"),
    ),
    "first-letter": (
        LETTER,
        'found = re.search("[A-D]", response.text)\n'
        "        return Score(reward=float(found is not None and found[0] == task.gold), answer=found and found[0])",
        "chance=0.25",
        ("gold", "the right answer is rewarded where it is one of two"),
    ),
    "thinking": (SUM, THINKING, "", ("verifier", "gold in the reasoning alone")),
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_benchmark_is_not_verified_and_a_gate_names_its_fault(name: str, tmp_path: Path):
    task, verify, protocol, (gate, fault) = BROKEN[name]
    (tmp_path / name).mkdir()
    text = BENCHMARK
    for field, value in {"name": name, "task": task, "verify": verify, "protocol": protocol}.items():
        text = text.replace(f"{{{field}}}", value)
    (tmp_path / name / "benchmark.py").write_text(text)
    (tmp_path / name / "published.toml").write_text("original = true\n")
    code, _, err = assay("profile", f"./{name}", "--repeats", "1", cwd=tmp_path)
    assert code in (0, 3, 5), err
    folder = next((tmp_path / "profiles").glob(f"{name}-*"))
    code, out, err = assay("certify", str(folder), "--strict", cwd=tmp_path)
    assert code == 3 and f"gate {gate}: fail" in out, out + err
    certificate = json.loads((folder / "certificate.json").read_bytes())
    assert certificate["verified"] is False
    assert fault in next(one["reason"] for one in certificate["gates"] if one["name"] == gate)
