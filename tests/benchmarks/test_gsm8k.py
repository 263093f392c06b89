import asyncio
import os
from pathlib import Path

import numpy as np
import pytest

from assay.benchmark import Benchmark
from assay.benchmark.catalog import load
from assay.benchmarks.gsm8k import benchmark
from assay.benchmarks.gsm8k.benchmark import GSM8K
from assay.collect.run import RunPlan, collect_run
from assay.config import load_model
from assay.errors import UsageError
from assay.fidelity.gates.gold import gold_gate
from assay.fidelity.gates.parity import parity_gate
from assay.fidelity.gates.reproduced import reproduced_gate
from assay.fidelity.original.parity import digests_of
from assay.fidelity.original.published import published_scores, reproductions
from assay.fidelity.original.reference import read_parity, read_stored
from assay.fidelity.results.results import read
from assay.store import read_record
from assay.types import Message, Response, Text
from tests import commands
from tests.benchmarks.data import beside, prepare

SOLVERS = {"6b_verification": 515, "175b_verification": 742}


@pytest.fixture(scope="module")
def gsm8k(tmp_path_factory: pytest.TempPathFactory):
    yield from prepare(load("gsm8k"), beside("gsm8k", "test.jsonl"), tmp_path_factory.mktemp("data"))


def assay(*words: str, cwd: Path) -> tuple[int, str, str]:
    """The command where the data is prepared."""
    return commands.assay(*words, cwd=cwd, ASSAY_DATA=os.environ["ASSAY_DATA"])


def said(text: str) -> Response:
    return Response(output=[Message(role="assistant", content=[Text(text=text)])])


def test_unprepared_it_tells_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ASSAY_DATA", str(tmp_path))
    with pytest.raises(UsageError, match="assay prepare gsm8k"):
        list(GSM8K().tasks())


def test_1319_tasks_each_with_a_gold_number(gsm8k: Benchmark):
    tasks = list(gsm8k.environment.tasks())
    assert len({task.id for task in tasks}) == len(tasks) == 1319
    assert all((task.gold or "").replace(",", "").removeprefix("-").isdigit() for task in tasks)
    text = benchmark.__doc__ or ""
    row = tasks[1]
    assert row.id in text and str(row.input[0].content).partition("\n")[0] in text and f"gold    {row.gold}\n" in text  # type: ignore


@pytest.mark.heavy
@pytest.mark.parametrize("solver", SOLVERS)
def test_the_verifier_agrees_with_every_recorded_judgement_and_gives_the_published_score(
    gsm8k: Benchmark, tmp_path: Path, solver: str
):
    columns = (f"score={solver}.is_correct", f"output={solver}.solution")
    words = [word for column in columns for word in ("--column", column)]
    file, data = beside("gsm8k", "recorded_solutions.jsonl"), beside("gsm8k", "test.jsonl")
    command = ("parity", "gsm8k", "--reference", str(file), "--match", "question", "--data", str(data), *words)
    code, out, err = assay(*command, "--out", "p", cwd=tmp_path)
    assert code == 0, err + out
    frozen = read_parity(tmp_path / "p" / "parity.json")
    rungs = {rung.name: rung for rung in frozen.ladder}
    assert frozen.verdict == rungs["verifiers"].verdict == rungs["data"].verdict == "identical"
    numbers = rungs["verifiers"].numbers
    assert (numbers["judged"], numbers["agree"], numbers["failed"]) == (1319, 1319, 0)

    # The same outputs, replayed: no fresh samples, so parity stays open, and the published digits come out.
    name, server = load_model(f"replay:{tmp_path / 'p' / 'reference.jsonl'}", None)
    folder = tmp_path / "run"
    asyncio.run(collect_run(RunPlan.of(benchmark=gsm8k, name=name, server=server, folder=folder, repeats=1)))
    code, out, err = assay(*command, "--run", "run", cwd=tmp_path)
    assert code == 0 and "no fresh sample" in " ".join(out.split()), err + out
    reference, results = read_stored(folder), read(folder)
    assert reference is not None
    assert sum(row.score for row in reference.rows) == np.nansum(results.rewards_TK) == SOLVERS[solver]
    members = {"m": f"gsm8k paper, {solver.removesuffix('_verification').upper()} verification"}
    found = reproductions(
        published_scores(gsm8k),
        list(gsm8k.environment.tasks()),
        gsm8k.score,
        members,
        {"m": results},
        {"m": reference},
        {"m": read_record(folder)},
    )
    assert [(one.verdict, one.here_verdict, one.repeats, one.producible) for one in found] == [
        ("identical", "identical", 1, True)
    ]
    assert round(100 * found[0].score, 2) == round(100 * SOLVERS[solver] / 1319, 2)
    assert reproduced_gate(found, 0.02, original=False).verdict == "pass"
    gate = parity_gate({"m": read_parity(folder / "parity.json")}, digests_of(gsm8k), 0.02, original=False)
    assert gate.verdict == "inconclusive" and "Missing: a fresh run" in gate.reason


def test_another_question_than_the_test_set_has_is_told_with_its_line(gsm8k: Benchmark, tmp_path: Path):
    (tmp_path / "r.jsonl").write_text('{"question": "1 + 1?", "score": true}\n')
    code, _, err = assay("parity", "gsm8k", "--reference", "r.jsonl", "--match", "question", cwd=tmp_path)
    assert code == 2 and "r.jsonl, line 1: '1 + 1?' is in no prompt" in err


@pytest.mark.heavy
def test_gold_scores_full_marks_and_null_none(gsm8k: Benchmark):
    gate = asyncio.run(gold_gate(gsm8k, list(gsm8k.environment.tasks())))
    assert gate.verdict == "pass", gate.reason


def test_every_stated_format_is_read(gsm8k: Benchmark):
    for task in gsm8k.environment.tasks():
        for form in gsm8k.formats:
            assert gsm8k.environment.verify(task, said(form.format(task.gold))).reward == 1, (task.id, form)
