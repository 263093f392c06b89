"""Published scores: what published.toml may say, and which runs reproduce one."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import assay
from assay.benchmark import Benchmark, Environment
from assay.benchmark.catalog import load, names
from assay.benchmark.verify.integer import integer
from assay.config import ModelConfig
from assay.digest import tasks_digest
from assay.errors import InputError
from assay.fidelity.gates.reproduced import reproduced_gate
from assay.fidelity.original.published import (
    Origin,
    Published,
    PublishedScore,
    planned_margins,
    published_scores,
    read,
    reproductions,
)
from assay.fidelity.original.reference import OriginalResults, Row
from assay.fidelity.results.results import Cell, Results, text_digest
from assay.fidelity.schema.evidence import OriginalSource, Reproduced
from assay.model.builtin.scripted import answer
from assay.store import RunRecord
from assay.types import Message, Response, RolloutLimits, Sampling, Score, Task

SHIPPED = Path(assay.__file__).parent / "benchmarks"

ORIGIN = '[origin]\nrepository = "https://example.org/code"\ncommit = "abc"\n'
SCORE = '[[score]]\nmodel = "m"\nscore = {}\nsubset = "test"\nsource = "s"\ndate = "2024-01-01"\nconfidence = "card"\n'


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*/published.toml")), ids=lambda path: path.parent.name)
def test_every_shipped_file_loads(path: Path):
    found = read(path)
    assert found.original or (found.origin and re.fullmatch("[0-9a-f]{40}", found.origin.commit) and found.scores)


def test_benchmarks_written_for_assay_say_so_and_others_do_not():
    said = {name: published_scores(load(name)) for name in names() if "/" not in name}
    originals = {name for name, found in said.items() if found and found.original}
    assert originals == {"arithmetic", "office", "mastermind", "interview", "notepad"}
    assert {name for name, found in said.items() if found and found.origin} >= {"gsm8k", "humaneval"}


@pytest.mark.parametrize(
    ("written", "share", "step"),
    [("39.04", 0.3904, 0.0001), ("70", 0.70, 0.01), ('"70.0"', 0.70, 0.001), ('"70.00"', 0.7, 0.0001)],
)
def test_the_written_digits_are_the_rounding(tmp_path: Path, written: str, share: float, step: float):
    (tmp_path / "p.toml").write_text(ORIGIN + SCORE.format(written))
    score = read(tmp_path / "p.toml").scores[0]
    assert (score.share, score.step) == (pytest.approx(share), pytest.approx(step))
    (tmp_path / "p.toml").write_text(ORIGIN + SCORE.format(written) + "unit = 0.5\n")
    assert read(tmp_path / "p.toml").scores[0].step == pytest.approx(0.005)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "neither \\[origin\\] nor original"),
        (ORIGIN.replace("[origin]", "original = true\n[origin]"), "both original = true and"),
        (ORIGIN + SCORE.format("101"), "the score of m is 101"),
        (ORIGIN + SCORE.format('"-1"'), "the score of m is '-1'"),
        (ORIGIN + SCORE.format('"4e1"'), "the score of m is '4e1'"),
        (ORIGIN + SCORE.format("nan"), "the score of m is nan"),
        (ORIGIN + SCORE.format("true"), "bool"),
        (ORIGIN + SCORE.format("1") + SCORE.format("2"), "two scores of m"),
        (ORIGIN + SCORE.format("1").replace('source = "s"\n', ""), "source"),
        (ORIGIN + SCORE.format("1").replace('"card"', '"rumour"'), "at score.0..confidence.\n.*card, second-hand"),
        (ORIGIN + SCORE.format("1") + SCORE.format("2") + "tasks = 0\n", "`int` >= 1 .at score.1..tasks"),
        (ORIGIN.replace("commit", "hash"), "at origin.\n.*the keys repository, commit, paper"),
        (ORIGIN.replace('"abc"', "7"), "at origin.commit"),
    ],
)
def test_what_is_no_published_score_is_refused(tmp_path: Path, text: str, words: str):
    (tmp_path / "p.toml").write_text(text)
    with pytest.raises(InputError, match=words):
        read(tmp_path / "p.toml")


TASKS = [Task(id=f"t{i}", input=[Message(role="user", content=f"{i}")], gold="1") for i in range(200)]


def made(folder: Path, score: str, more: str = "") -> Benchmark:
    """A benchmark in a folder of its own, with its published.toml."""
    folder.mkdir(exist_ok=True)
    (folder / "benchmark.py").write_text(
        "from assay.benchmark import Benchmark\n"
        "from tests.fidelity.test_published import Made\n"
        "class Here(Made):\n    pass\n"
        "BENCHMARK = Benchmark(environment=Here(), repeats=2)\n"
    )
    (folder / "published.toml").write_text(ORIGIN + SCORE.format(score) + more)
    return load(str(folder))


class Made(Environment):
    name, version = "made", "1"

    def tasks(self) -> Iterable[Task]:
        return TASKS

    def verify(self, task: Task, response: Response) -> Score:
        return integer(response, 1)


def outcomes(p: float, k: int, seed: int = 0, tasks: int = 200) -> np.ndarray:
    """Tasks that are solved with a chance of about p, for certain those of the first half more often."""
    rng = np.random.default_rng(seed)
    rates = np.clip(p + np.linspace(0.2, -0.2, tasks), 0, 1)
    return (rng.random((tasks, k)) < rates[:, None]).astype(float)


def reference(rewards_TK: np.ndarray, written: bool = False, **settings: Any) -> OriginalResults:
    rows = [Row(f"t{i}", j, float(x), f"{i}/{j}" if written else None) for (i, j), x in np.ndenumerate(rewards_TK)]
    tasks, k = rewards_TK.shape
    return OriginalResults(
        OriginalSource(
            file="r",
            sha256="0",
            rows=len(rows),
            tasks=tasks,
            repeats=k,
            score=float(rewards_TK.mean()),
            settings=settings,
        ),
        rows,
    )


def run(rewards_TK: np.ndarray) -> Results:
    cells = [
        Cell(i, j, float(x), "1", "completed", 1, text_digest([answer(f"{i}/{j}", ModelConfig(dialect="local"))]))
        for (i, j), x in np.ndenumerate(rewards_TK)
        if not np.isnan(x)
    ]
    return Results(TASKS[: len(rewards_TK)], rewards_TK, cells, {}, 0.0)


def record(**sampling: Any) -> RunRecord:
    return RunRecord(
        benchmark="made", version="1", tasks=200, tasks_digest=tasks_digest(TASKS), code="", model="m", server={},
        identity={}, sampling=Sampling(**sampling), limits=RolloutLimits(), seed=0, repeats=1, versions={}, started="",
    )  # fmt: skip


def reproduced(
    benchmark: Benchmark, there: OriginalResults | None, here: Results | None = None, **sampling: Any
) -> Reproduced:
    found = reproductions(
        published_scores(benchmark),
        list(benchmark.environment.tasks()),
        benchmark.score,
        {"m": "m", "unpublished": None, "unknown": "other"},
        {"m": here} if here else {},
        {"m": there} if there else {},
        {"m": record(**sampling)},
        margin=0.05,
    )
    assert len(found) == 1
    return found[0]


def test_the_original_codes_runs_give_the_number_or_do_not(tmp_path: Path):
    benchmark = made(tmp_path / "made", "50.0", "repeats = 8\n")
    same = reproduced(benchmark, reference(outcomes(0.5, 8)), run(outcomes(0.5, 8, seed=1)))
    assert (same.verdict, same.here_verdict, same.repeats, same.repeats_stated) == ("equivalent", "equivalent", 8, True)
    assert same.reference_se is not None and 0 < same.reference_se < 0.03
    off = reproduced(benchmark, reference(outcomes(0.65, 8)), run(outcomes(0.5, 8, seed=1)))
    assert (off.verdict, off.here_verdict) == ("different", "equivalent")
    here = reproduced(benchmark, reference(outcomes(0.5, 8)), run(outcomes(0.65, 8, seed=1)))
    assert (here.verdict, here.here_verdict) == ("equivalent", "different")
    once = reproduced(benchmark, reference(outcomes(0.5, 1)))
    assert once.verdict == "inconclusive" and "an upper bound because repeats are missing" in once.reason
    nothing = reproduced(benchmark, None, run(outcomes(0.5, 8)))
    assert (nothing.verdict, nothing.here_verdict) == ("inconclusive", "equivalent")
    assert "assay parity" in nothing.reason
    gates = {
        name: reproduced_gate([one], 0.05, original=False)
        for name, one in {"same": same, "off": off, "here": here}.items()
    }
    assert {name: gate.verdict for name, gate in gates.items()} == {"same": "pass", "off": "fail", "here": "fail"}
    assert gates["same"].bound == "reproduced within 5"
    assert "with 80 %, a difference of 5 points" in gates["same"].unseen
    assert reproduced_gate([nothing], 0.05, original=False).verdict == "inconclusive"
    late = reproduced_gate([same], None, original=False)
    assert late.verdict == "inconclusive" and "No margin was registered before the runs" in late.reason
    wide = reproduced_gate([same], 0.055, original=False)
    assert wide.verdict == "inconclusive" and "Not refutable at this size: the margin is 5.5 points" in wide.reason
    msgspec.json.encode(gates)


def test_another_aggregation_is_another_score(tmp_path: Path):
    benchmark = made(tmp_path / "made", "50.0", 'aggregation = "pass@10"\n')
    one = reproduced(benchmark, reference(outcomes(0.8, 8)), run(outcomes(0.8, 8, seed=1)))
    assert one.verdict == "another score"
    gate = reproduced_gate([one], 0.02, original=False)
    assert gate.verdict == "inconclusive"
    assert "Another score: 50.0% is pass@10" in gate.reason


def test_the_differences_of_all_models_are_pooled(tmp_path: Path):
    benchmark = made(tmp_path / "made", "50.0", "repeats = 8\n")
    seeds = range(6)
    found = [
        msgspec.structs.replace(reproduced(benchmark, reference(outcomes(0.5, 2, seed))), model=f"m{seed}")
        for seed in seeds
    ]
    assert {one.verdict for one in found} <= {"equivalent", "inconclusive"}
    gate = reproduced_gate(found, 0.03, original=False)
    assert gate.verdict == "pass"
    assert gate.numbers["original"]["models"] == 6
    assert gate.numbers["original"]["se"] < 0.5 * (found[0].reference_se or 0)
    high = msgspec.structs.replace(found[0], score=0.98, reference_score=0.5)
    assert reproduced_gate([high, *found[1:]], 0.03, original=False).numbers["original"]["models"] == 5
    off = msgspec.structs.replace(found[0], reference_score=0.62)
    alone = reproduced_gate([off, *found[1:]], 0.03, original=False)
    assert alone.verdict != "pass"
    # Two sides at 5 % each would be a gate at 10 %: p = .04 of one side is .08 of the gate.
    sides = {"reference_score": 0.5, "reference_se": 0.01, "here_score": 0.5 + 0.03 + 1.75 * 0.01, "here_se": 0.01}
    near = reproduced_gate([msgspec.structs.replace(found[0], **sides)], 0.03, original=False)
    assert near.p_fail == pytest.approx(0.08, abs=0.005) and near.verdict == "inconclusive"


def test_margins_are_planned_from_the_size_and_what_is_published(tmp_path: Path):
    stated = published_scores(made(tmp_path / "made", '"70.0"'))
    few, many = (planned_margins(stated, n, n, [("m", 4)]) for n in (30, 12_000))
    assert few["reproduced"] > 0.05 == few["parity"]
    assert many == {"reproduced": 0.02, "parity": 0.02}
    assert planned_margins(stated, 200, 200, [(None, 4)])["reproduced"] == 0.02
    middle = planned_margins(stated, 500, 500, [("m", 4)])
    assert 0.02 < middle["reproduced"] <= 0.06 and middle["reproduced"] * 200 == pytest.approx(
        round(middle["reproduced"] * 200)
    )


def test_a_margin_counts_on_each_model_s_own_repeats_and_on_none_near_the_ceiling():
    scores = [
        PublishedScore(model=name, score=score, subset="test", repeats=1, source="s", date="2026-01", confidence="card")
        for name, score in (("a", "90.0"), ("b", "91.0"), ("near", "96.9"))
    ]
    stated = Published(origin=Origin(repository="https://example.org", commit="c"), scores=scores)

    def margin(**repeats: int) -> float:
        return planned_margins(stated, 400, 400, list(repeats.items()))["reproduced"]

    assert margin(a=1, b=1, near=1) == margin(a=1, b=1) < margin(a=1)
    assert margin(a=1, b=1) > margin(a=1, b=8) > margin(a=8, b=8)


def test_repeats_that_are_not_stated_are_bounded_and_impossible_numbers_flagged(tmp_path: Path):
    bounded = reproduced(made(tmp_path / "a", '"50.1"'), reference(outcomes(0.5, 8)))
    assert (bounded.repeats, bounded.repeats_stated, bounded.producible) == (4, False, True)  # 401 of 800 are 50.125 %
    assert "published repeats: 4 at the fewest" in bounded.reason
    suspect = reproduced(made(tmp_path / "b", '"50.1"', "repeats = 1\n"), reference(outcomes(0.5, 8)))
    assert not suspect.producible
    assert "No 1 repeats of 200 tasks scored 0 or 1 print 50.1%" in suspect.reason


@pytest.mark.parametrize(
    ("published_settings", "stated", "tasks", "refused"),
    [
        ("temperature = 0.6", {"temperature": 0.7}, 200, "temperature (0.6 there, 0.7 here)"),
        ("shots = 8", {"shots": 0}, 200, "shots (8 there, 0 here)"),
        ("temperature = 0.6", {"subset": "dev"}, 200, "subset (test there, dev here)"),
        ("temperature = 0.6", {}, 150, "tasks (200 there, 150 here)"),
    ],
)
def test_other_settings_are_refused_by_name(
    tmp_path: Path, published_settings: str, stated: dict[str, Any], tasks: int, refused: str
):
    benchmark = made(tmp_path / "made", "50.0", f"settings = {{ {published_settings} }}\n")
    one = reproduced(benchmark, reference(outcomes(0.5, 8, tasks=tasks), **stated))
    assert one.verdict == "refused" and refused in one.reason
    gate = reproduced_gate([one], 0.02, original=False)
    assert gate.verdict == "inconclusive" and refused in gate.reason


def test_the_run_here_is_held_to_the_settings_too(tmp_path: Path):
    benchmark = made(
        tmp_path / "made", "50.0", "repeats = 8\nsettings = { temperature = 0.6, max_output_tokens = 99 }\n"
    )
    there = reference(outcomes(0.5, 8), temperature=0.6)
    one = reproduced(benchmark, there, run(outcomes(0.5, 8, seed=1)), temperature=1.0)
    assert (one.verdict, one.here_verdict) == ("equivalent", "refused")
    assert "temperature (0.6 there, 1.0 here)" in one.reason
    assert "Its results do not state subset, max_output_tokens." in one.reason
    few = reproduced(benchmark, there, run(outcomes(0.5, 8, seed=1, tasks=50)), temperature=0.6)
    assert few.here_verdict == "refused" and "tasks (200 there, 50 here)" in few.reason
    told = reproduced(benchmark, there, run(outcomes(0.5, 8, seed=1)), temperature=0.6)
    assert told.here_verdict == "equivalent" and "It does not state max_output_tokens." in told.reason
    holes = outcomes(0.5, 8, seed=1)
    holes[3, 4] = np.nan
    owed = reproduced(benchmark, there, run(holes), temperature=0.6)
    assert owed.here_verdict == "inconclusive" and "1 rollouts are still owed" in owed.reason


def test_a_score_of_recorded_outputs_leaves_nothing_to_chance(tmp_path: Path):
    rewards = (np.arange(200) < 101).astype(float)[:, None]
    recorded = 'repeats = 1\nsettings = { outputs = "recorded" }\n'
    same = reproduced(made(tmp_path / "a", "50.5", recorded), reference(rewards, written=True), run(rewards))
    assert (same.verdict, same.here_verdict) == ("identical", "identical")
    other = reproduced(made(tmp_path / "b", "51.0", recorded), reference(rewards, written=True), run(rewards))
    assert (other.verdict, other.here_verdict) == ("different", "different")
    # A fresh run of the same model is no replay: its noise counts, and that of the one published repeat.
    fresh = reproduced(made(tmp_path / "c", "50.5", recorded), reference(rewards), run(outcomes(0.5, 8)))
    assert (fresh.verdict, fresh.here_verdict) == ("identical", "inconclusive")
    assert "published repeats: 1 stated; equivalent with unlimited repeats" in fresh.reason
    claimed = reference(rewards, outputs="fresh")
    assert reproduced(made(tmp_path / "d", "50.5", recorded), claimed).verdict == "refused"


def test_what_recorded_outputs_of_many_models_say_is_said_once(tmp_path: Path):
    rewards = (np.arange(200) < 101).astype(float)[:, None]
    recorded = 'repeats = 1\nsettings = { outputs = "recorded" }\n'
    one = reproduced(made(tmp_path, "50.5", recorded), reference(rewards, written=True), run(rewards))
    names = ("a", "b", "c")
    here = {"a": 0.503, "b": 0.507}
    many = [
        msgspec.structs.replace(
            one,
            model=name,
            here_score=here.get(name, one.score),
            here_verdict="different" if name in here else "identical",
        )
        for name in names
    ]
    gate = reproduced_gate(many, 0.02, original=False)
    assert gate.reason == (
        "The original code gives 3 of 3 published scores to the digit. The verifier here gives others on the same "
        "outputs, in points: a -0.20, b +0.20."
    )
    # A verifier that is better than the original's judges some outputs otherwise: within the margin that is no failure.
    assert gate.verdict == "pass"
    far = [*many[:2], msgspec.structs.replace(many[2], here_score=0.53, here_verdict="different")]
    assert reproduced_gate(far, 0.02, original=False).verdict == "fail"
    assert reproduced_gate(far, None, original=False).verdict == "fail"
    few = reproduced_gate(many[:2], 0.02, original=False).reason
    assert few.startswith("a: ") and " b: " in few


def test_there_is_nothing_to_reproduce():
    assert published_scores(Benchmark(environment=load("arithmetic").environment, repeats=1)) is None
    original, other = reproduced_gate([], None, original=True), reproduced_gate([], None, original=False)
    assert original.verdict == other.verdict == "not run"
    assert "is the original" in original.reason and "published.toml" in other.reason
