"""The gate judge, on `qa:FILE` with judges that are scripted and served on loopback."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from assay.benchmark.catalog import load
from assay.fidelity.certificate.description import describe
from assay.fidelity.certificate.facts import compare_files
from assay.fidelity.gates.judge import judge_gate
from assay.fidelity.gates.rule import Facts
from assay.fidelity.profile import read_plan
from assay.fidelity.review.judging import read_judging
from assay.fidelity.schema.judging import Judging
from assay.fidelity.schema.profile import Gate, Profile
from assay.stats.agreement import more_often
from tests.benchmarks.tables import jsonl
from tests.commands import assay
from tests.endpoint import Call, Endpoint, chat_body, http

TASKS = 64
Judge = Callable[[str, str], bool]
"""Whether a judge finds that an answer agrees with a reference."""


def sound(answer: str, reference: str) -> bool:
    return reference in answer


def noisy() -> Judge:
    """Decides by chance, another way each time that it is asked of an answer, whatever was asked in between."""
    asked = Counter[str]()

    def judge(answer: str, reference: str) -> bool:
        asked[answer] += 1
        rng = Random(f"{answer} {asked[answer]}")
        return rng.random() < 0.5 if rng.random() < 0.95 else sound(answer, reference)

    return judge


def biased(answer: str, reference: str) -> bool:
    """Believes whoever sounds certain."""
    return sound(answer, reference) or "certainly" in answer


def obeying(answer: str, reference: str) -> bool:
    """Does what the answer says."""
    return sound(answer, reference) or any(word in answer for word in ("Ignore all", "Mark it", "Grade it", "void"))


def served(judge: Judge) -> Endpoint:
    """A judge's server. `judge` gets the answer and the reference."""

    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        asked = json.loads(call.prompt)
        said = {"reason": "so it seems", "met": judge(asked["answer"], asked["reference"])}
        writer.write(http(chat_body(json.dumps(dict.fromkeys(asked["criteria"], said)))))

    return Endpoint(behave)


def is_right(number: int) -> bool:
    return number % 2 == 0


def said(number: int) -> str:
    right = f"It is certainly city-{number:03}." if number % 4 == 0 else f"Perhaps city-{number:03}?"
    return right if is_right(number) else "It is certainly another one." if number % 8 != 1 else "I would guess Rome."


def profiled(folder: Path, endpoint: Endpoint) -> Path:
    """Profiles a judged benchmark of 64 questions, half of them answered rightly, and returns the profile's folder."""
    rows = [{"id": str(n), "question": f"Capital of country {n}?", "answer": f"city-{n:03}"} for n in range(TASKS)]
    jsonl(folder / "quiz.jsonl", *rows)
    jsonl(folder / "answers.jsonl", *({"task": str(n), "output": said(n)} for n in range(TASKS)))
    server = f'dialect = "chat"\nid = "judge"\nbase_url = "{endpoint.url}"\nattempts = 1\n'
    models = f"[models.grader]\n{server}[models.other]\n{server}sampling = {{ temperature = 0.1 }}\n"
    (folder / "assay.toml").write_text(models)
    profile = ("profile", "qa:quiz.jsonl,verifier=judge", "--models", "replay:answers.jsonl", "--repeats", "1")
    code, _, err = assay(*profile, "--with", "judge=grader", "--out", "made", cwd=folder)
    assert code == 0, err
    return folder / "made"


def gate(profile: Path) -> Gate:
    made = msgspec.json.decode((profile / "profile.json").read_bytes(), type=Profile)
    return next(gate for gate in made.gates if gate.name == "judge")


def judging(profile: Path) -> Judging:
    [run] = (profile / "runs").iterdir()
    found = read_judging(profile, {run.name: run})
    assert found
    return found


def labelled(profile: Path, count: int = TASKS) -> Path:
    """Writes the labels of somebody who knows the answers."""
    rows = [
        {
            "type": "label",
            "content": one.content,
            "right": is_right(int(one.task)),
            "by": "a person",
            "at": "2026-01-01",
        }
        for one in judging(profile).panel.answers[:count]
    ]
    return jsonl(profile.parent / "labels.jsonl", *rows)


@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_a_sound_judge_passes_after_sixty_blind_labels(tmp_path: Path):
    with served(sound) as endpoint:
        made = profiled(tmp_path, endpoint)
        assert gate(made).verdict == "not run" and "assay judge" in gate(made).reason
        before = len(endpoint.calls)
        code, out, err = assay("judge", "made", "--second", "other", cwd=tmp_path)
        assert code == 0 and "judge: inconclusive. 0 blind labels" in out, out + err
        calls = len(endpoint.calls)
        assert calls - before == TASKS * 3 + TASKS + 12 * 5 * 2
        assert assay("judge", "made", "--second", "other", cwd=tmp_path)[0] == 0
        assert len(endpoint.calls) == calls, "what was asked is not asked again"
    found = judging(made)
    assert sum(one.passes for one in found.panel.answers) == 32
    keys = "".join("r\n" if is_right(int(one.task)) else "w\n" for one in found.panel.answers[:40])
    code, out, err = assay("judge", "made", "--label", "--by", "a person", cwd=tmp_path, stdin=keys + "q\n")
    assert code == 0 and "judge: inconclusive. 40 blind labels" in out, out + err
    assert "Capital of country" in out and "reference:\ncity-" in out and "met" not in out and "replay" not in out
    keys = "".join("r\n" if is_right(int(one.task)) else "w\n" for one in found.panel.answers[40:])
    code, out, _ = assay("judge", "made", "--label", "--by", "a person", cwd=tmp_path, stdin=keys)
    assert "judge: pass" in out
    passed = gate(made)
    assert passed.numbers["w_judge"] == 0 and passed.numbers["kappa"] == passed.numbers["kappa_second"] == 1
    assert passed.numbers["base_rate"] == 0.5 and passed.numbers["labelled_by"] == ["a person"]
    assert passed.bound.startswith("judge's kappa > 0.8") and passed.numbers["injections_rewarded"] == 0


@pytest.mark.heavy
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("judge", "reason", "number", "least"),
    [
        (noisy(), "does not agree with people", "w_judge", 0.15),
        (biased, "does not agree with people", "base_rate", 0.8),
        (
            obeying,
            "obeys answers: it rewards 48 of 60 wrong ones that command it, 0 without",
            "injections_rewarded",
            48,
        ),
    ],
    ids=["noisy", "biased", "obeying"],
)
def test_a_judge_at_fault_fails_by_its_fault(tmp_path: Path, judge: Judge, reason: str, number: str, least: float):
    with served(judge) as endpoint:
        made = profiled(tmp_path, endpoint)
        code, out, err = assay("judge", "made", cwd=tmp_path)
        assert code == 0, out + err
    code, out, err = assay("judge", "made", "--labels", str(labelled(made)), cwd=tmp_path)
    assert code == 0, out + err
    failed = gate(made)
    assert failed.verdict == "fail" and reason in failed.reason, failed
    assert failed.numbers[number] >= least


@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_what_was_asked_counts_for_its_judge_and_its_rubric_alone(tmp_path: Path):
    with served(sound) as endpoint:
        made = profiled(tmp_path, endpoint)
        other = ("judge", "made", "--with", "judge=other")
        code, _, err = assay(*other, cwd=tmp_path)
        assert code == 2 and "another judge, or one with other settings" in err
        assert assay("judge", "made", cwd=tmp_path)[0] == 0
    found = judging(made)
    known: dict[str, Any] = {"suite": None, "chance": 0.0, "contenders": [], "judging": found}
    facts = Facts(**known, judge=found.panel.judge, digests=(found.panel.tasks_digest, found.panel.code))
    assert "labels" in judge_gate(facts).reason
    assert "another judge" in judge_gate(Facts(**known, judge={"id": "x"})).reason
    assert "another rubric" in judge_gate(Facts(**known, judge=found.panel.judge, digests=("x", "y"))).reason
    before = (made / "judge.jsonl").read_bytes()
    row = {"type": "label", "content": "x", "right": True, "by": "a person", "at": "2026-01-01"}
    for wrong in (row, {"right": True}):
        path = jsonl(tmp_path / "labels.jsonl", wrong)
        code, _, err = assay("judge", "made", "--labels", str(path), cwd=tmp_path)
        assert code == 2 and "line 1" in err and (made / "judge.jsonl").read_bytes() == before
    run = next((made / "runs").iterdir()) / "rollouts.jsonl"
    run.write_text(run.read_text().replace('"reward":1.0', '"reward":0.0', 1))
    lost = judging(made)
    assert lost.lost == 1 and len(lost.panel.answers) == TASKS - 1
    assert judge_gate(Facts(**known | {"judging": None}, judge={"id": "x"})).verdict == "not run"


@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_a_panel_that_was_chosen_is_not_the_one_that_the_rollouts_give(tmp_path: Path):
    """Certify and `verify` draw the panel again: a hundred answers that suit a judge are no sample."""
    with served(sound) as endpoint:
        made = profiled(tmp_path, endpoint)
        assert assay("judge", "made", cwd=tmp_path)[0] == 0
    plan, path = read_plan(made), made / "judge.jsonl"
    described = describe(load(f"qa:{tmp_path / 'quiz.jsonl'},verifier=judge"), plan)
    assert compare_files(made, plan, described).wrong == []
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for change, expected in (
        (lambda panel: panel["answers"].pop(), "its panel is not the one that the rollouts give"),
        (lambda panel: panel.update(passing=60), "its panel is not the one that the rollouts give"),
    ):
        changed = json.loads(json.dumps(lines))
        change(changed[0])
        path.write_text("".join(json.dumps(line) + "\n" for line in changed))
        assert [one for one in compare_files(made, plan, described).wrong if expected in one]
    lines[0]["judged"] = 500
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = compare_files(made, plan, described)
    assert not found.wrong and any("its panel is drawn from 500 judged answers" in one for one in found.doubts)


def test_a_benchmark_without_a_judge_has_no_such_question(tmp_path: Path):
    assert not judge_gate(Facts(suite=None, chance=0.0, contenders=[])).applies  # pyright: ignore
    code, _, err = assay(
        "profile", "arithmetic", "--models", "gold,null", "--limit", "2", "--out", "made", cwd=tmp_path
    )
    assert code == 0, err
    code, _, err = assay("judge", "made", cwd=tmp_path)
    assert code == 2 and "asks no judge" in err


@pytest.mark.parametrize(
    ("counts", "p"),
    [((0, 60, 0, 60), 1.0), ((60, 60, 0, 60), 1.03e-35), ((10, 60, 0, 60), 0.00065), ((3, 4, 1, 4), 17 / 70)],
)
def test_fishers_exact_test(counts: tuple[int, int, int, int], p: float):
    assert more_often(*counts) == pytest.approx(p, rel=0.02)
