"""Runs against a baseline: closed forms on runs of known scores, every refusal, every verdict, the command itself."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from scipy import stats

from assay.config import Prices
from assay.errors import AssayError, DigestMismatch, InputError, UsageError
from assay.fidelity.compare.compare import compare, side_by_side
from assay.fidelity.compare.comparison import Comparison, Pair
from assay.fidelity.compare.policy import DEFAULT, Drop, MetricRuling, Policy, load
from assay.stats.compare import holm
from assay.types import RolloutLimits, Sampling
from tests.commands import assay
from tests.fidelity.made import Rewards, made_run, tasks_of

NAN = math.nan


def drawn(seed: int, tasks: int, p: float, k: int = 4) -> list[list[float]]:
    return (np.random.default_rng(seed).random((tasks, k)) < p).astype(float).tolist()


def shares(tasks: int, right: int, k: int = 2) -> list[list[float]]:
    """So many tasks always right, the rest always wrong."""
    return [[1.0 if task < right else 0.0] * k for task in range(tasks)]


def policy(text: str, folder: Path) -> Policy:
    path = folder / "policy.toml"
    path.write_text(text)
    return load(str(path))


def judged(folder: Path, a: Rewards, b: Rewards, text: str, **options: object) -> MetricRuling:
    """What a policy of one metric says of two runs of known scores."""
    runs = made_run(folder / "a", a, model="a"), made_run(folder / "b", b, model="b", **options)  # type: ignore[arg-type]
    (pair,) = compare(runs[0], [runs[1]], policy(text, folder)).pairs
    (judgement,) = pair.judgements
    assert judgement.verdict == pair.verdict
    return judgement


def test_a_shift_is_the_paired_t_test_of_the_tasks_means(tmp_path: Path):
    a, b = drawn(1, 40, 0.6), drawn(2, 40, 0.4, k=3)
    tasks = tasks_of(40, categories=["x", "y"])
    (pair,) = compare(
        made_run(tmp_path / "a", a, model="a", tasks=tasks), [made_run(tmp_path / "b", b, model="b", tasks=tasks)]
    ).pairs
    means_a, means_b = np.mean(a, axis=1), np.mean(b, axis=1)
    reference = stats.ttest_rel(means_b, means_a)
    score = pair.change("score")
    assert score.over_tasks and score.over_reruns
    assert (score.shift, score.over_tasks.p) == pytest.approx((float((means_b - means_a).mean()), reference.pvalue))
    assert (score.over_tasks.lower, score.over_tasks.upper) == pytest.approx(tuple(reference.confidence_interval()))
    noise = (np.var(a, axis=1, ddof=1) / 4 + np.var(b, axis=1, ddof=1) / 3).sum()
    assert score.over_reruns.se == pytest.approx(math.sqrt(noise) / 40)
    assert pair.change("categories.y").shift == pytest.approx((means_b - means_a)[1::2].mean())
    assert score.p_holm == score.over_tasks.p
    assert pair.verdict is None and pair.judgements == []


def test_tasks_that_moved_beyond_their_repeats_come_first(tmp_path: Path):
    a = [[1, 1, 1, 1], [1, 1, 1, 0], [0, 0, 0, 0], [1, 0, 1, 0], [1, 1, 1, 1]]
    b = [[0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, None]]
    comparison = compare(made_run(tmp_path / "a", a), [made_run(tmp_path / "b", b, model="b")])  # type: ignore[arg-type]
    (pair,) = comparison.pairs
    assert [(task.task, task.baseline, task.candidate) for task in pair.moved] == [
        ("t0", 1, 0),
        ("t2", 0, 1),
        ("t1", 0.75, 0),
    ]
    assert (pair.beyond, pair.worse, pair.better) == (2, 2, 1)
    assert pair.moved[0].p == pytest.approx(2 / 70)
    assert pair.moved[2].p == pytest.approx(stats.fisher_exact([[3, 1], [0, 4]]).pvalue)
    assert 0 < pair.beyond_by_chance < 1
    shown = {one.moved.task: one for one in side_by_side(comparison)}
    assert shown.keys() == {"t0", "t1", "t2"}
    assert (shown["t1"].baseline.reward, shown["t1"].candidate.reward) == (1, 0)
    assert [shown["t2"].baseline.said[-1].text, shown["t2"].candidate.said[-1].text] == ["wrong", "right"]


def test_both_ways_are_shown_however_many_went_one_way(tmp_path: Path):
    a, b = shares(40, 38), shares(40, 0)
    b[39] = [1, 1]
    comparison = compare(made_run(tmp_path / "a", a), [made_run(tmp_path / "b", b, model="b")])
    shown = side_by_side(comparison, 6)
    assert len(shown) == 6
    assert "t39" in [one.moved.task for one in shown]


def test_cost_tokens_and_rates_are_told_beside_the_score(tmp_path: Path):
    prices = Prices(input=1.0, output=2.0)
    a = made_run(tmp_path / "a", shares(20, 10), model="a", prices=prices)
    b = made_run(tmp_path / "b", shares(20, 10), model="b", tokens=15, capped=5, prices=Prices(input=1.0, output=4.0))
    (pair,) = compare(a, [b]).pairs
    assert pair.change("output_tokens").shift == pytest.approx(0.5)
    cost = pair.change("cost")
    assert (cost.baseline, cost.candidate) == pytest.approx((25e-6, 65e-6))
    assert cost.shift == pytest.approx(65 / 25 - 1)
    assert pair.change("token_cap").shift == pytest.approx(0.25)
    assert pair.change("failures").shift == pair.change("no_answer").shift == 0
    unpriced = made_run(tmp_path / "c", shares(20, 10), model="c")
    assert "prices" in compare(a, [unpriced]).pairs[0].change("cost").absent.lower()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": "1.1"}, "version: 1.0 in a, 1.1 in b"),
        ({"benchmark": "other"}, "benchmark: made in a, other in b"),
        ({"code": "d" * 64}, "verifier code: cccccccccccc in a, dddddddddddd in b"),
        ({"sampling": Sampling(temperature=0.6)}, "sampling.temperature: 1.0 in a, 0.6 in b"),
        ({"limits": RolloutLimits(steps=3)}, "limits.steps: – in a, 3 in b"),
        ({"tasks": tasks_of(8, prompt="Say {}.")}, "tasks: 8 in a, 8 in b; 0 are the same"),
    ],
)
def test_what_is_not_the_same_is_refused_by_name(tmp_path: Path, change: dict[str, object], words: str):
    a = made_run(tmp_path / "a", shares(8, 4), model="a")
    b = made_run(tmp_path / "b", shares(8, 4), model="b", **change)  # type: ignore[arg-type]
    with pytest.raises(DigestMismatch, match="can't be compared") as refused:
        compare(a, [b])
    assert words in str(refused.value)
    assert "--across" in str(refused.value)
    if "tasks" in change:
        with pytest.raises(UsageError, match="no task in common"):
            compare(a, [b], across=True)
    else:
        (pair,) = compare(a, [b], across=True).pairs
        assert pair.differs == [words]
        assert pair.tasks == 8


def test_across_compares_the_tasks_that_are_the_same(tmp_path: Path):
    tasks = tasks_of(10)
    tasks[3] = msgspec.structs.replace(tasks[3], gold="another")
    a = made_run(tmp_path / "a", shares(8, 8), model="a")
    b = made_run(tmp_path / "b", shares(9, 2), model="b", tasks=tasks[1:])
    (pair,) = compare(a, [b], across=True).pairs
    assert pair.left_out == {
        "in a alone": 1,
        "in b alone": 2,
        "another prompt, answer or tools under the same id": 1,
    }
    # Common are t1, t2, t4 to t7; b has t1 and t2 right.
    assert pair.tasks == 6
    assert pair.change("score").shift == pytest.approx(-4 / 6)
    assert {task.task for task in pair.moved} == {"t4", "t5", "t6", "t7"}


@pytest.mark.parametrize(
    ("right", "text", "verdict", "words"),
    [
        # 400 tasks, of which 200 are right at first; a task that is wrong now has SE sqrt(p(1-p)/400).
        (200, "[score]\nmay_drop = 1.0", "pass", "A drop of 1 point is ruled out."),
        (
            200,
            "[score]\nmay_drop = 1.0\nwarn_drop = 0.5",
            "warn",
            "out, but not a drop of 0.5 points.",
        ),
        (100, "[score]\nmay_drop = 5", "fail", "More than a drop of 5 points is shown."),
        (190, "[score]\nmay_drop = 2", "inconclusive", "A drop of 2 points is neither ruled out nor shown."),
        (210, "[score]\nmay_drop = 0", "pass", "A drop is ruled out."),
        (190, "[score]\nmay_drop = 0", "fail", "A drop is shown."),
    ],
)
def test_a_score_is_judged_by_its_interval(tmp_path: Path, right: int, text: str, verdict: str, words: str):
    found = judged(tmp_path, shares(400, 200), shares(400, right), text)
    assert found.verdict == verdict
    assert words in found.reason
    assert found.shift == pytest.approx((right - 200) / 400)
    assert found.lower is not None and found.upper is not None and found.p_pass is not None and found.p_fail is not None
    beyond_pass, beyond_fail = found.lower > -found.may, found.upper < -found.may
    assert (beyond_pass, beyond_fail) == (verdict in ("pass", "warn"), verdict == "fail")
    assert (found.p_pass <= 0.025, found.p_fail <= 0.025) == (beyond_pass, beyond_fail)


@pytest.mark.parametrize(
    ("text", "options", "verdict"),
    [
        ("[output_tokens]\nmay_grow = 0.10", {"tokens": 10}, "pass"),
        ("[output_tokens]\nmay_grow = 0.10\nwarn_grow = 0.01", {"longer": 100}, "warn"),
        ("[output_tokens]\nmay_grow = 0.10", {"tokens": 12}, "fail"),
        ("[token_cap]\nmay_rise = 5", {"capped": 0}, "pass"),
        ("[token_cap]\nmay_rise = 5", {"capped": 60}, "fail"),
        ("[token_cap]\nmay_rise = 5", {"capped": 10}, "inconclusive"),
        ("[no_answer]\nmay_rise = 5", {}, "pass"),
        ("[cost]\nmay_grow = 0.1", {}, "inconclusive"),
    ],
)
def test_other_metrics_are_judged_too(tmp_path: Path, text: str, options: dict[str, float], verdict: str):
    found = judged(tmp_path, shares(200, 100), shares(200, 100), text, **options)
    assert found.verdict == verdict
    if "cost" in text:
        assert "Prices" in found.reason


def test_over_reruns_asks_for_less_than_over_other_tasks(tmp_path: Path):
    a, b = drawn(3, 300, 0.5, k=8), drawn(4, 300, 0.5, k=8)
    for row in range(0, 300, 10):  # tasks that differ a lot, both ways
        a[row], b[row] = [[1.0] * 8, [0.0] * 8] if row % 20 else [[0.0] * 8, [1.0] * 8]
    tasks = judged(tmp_path / "1", a, b, "[score]\nmay_drop = 4")
    reruns = judged(tmp_path / "2", a, b, 'over = "reruns"\n[score]\nmay_drop = 4')
    assert (tasks.over, reruns.over) == ("tasks", "reruns")
    assert (tasks.verdict, reruns.verdict) == ("inconclusive", "pass")
    once = judged(tmp_path / "3", shares(50, 20, k=1), shares(50, 20, k=1), 'over = "reruns"\n[score]\nmay_drop = 4')
    assert once.verdict == "inconclusive"
    assert "run 2 repeats or more" in once.reason


def test_what_would_decide_is_said(tmp_path: Path):
    a, b = drawn(5, 60, 0.5, k=2), drawn(6, 60, 0.48, k=2)
    found = judged(tmp_path, a, b, "[score]\nmay_drop = 8")
    assert found.verdict == "inconclusive"
    assert found.shift is not None and found.lower is not None
    se = (found.shift - found.lower) / stats.t.ppf(0.975, 59)
    needed = math.ceil(60 * (2.8015852 * se / abs(found.shift + 0.08)) ** 2)
    assert f"about {needed:,} tasks like these" in found.reason
    reruns = judged(tmp_path / "r", a, b, 'over = "reruns"\n[score]\nmay_drop = 8')
    assert "repeats on both sides would decide" in reruns.reason


def test_no_repeats_are_called_for_where_it_is_the_tasks_that_are_too_few(tmp_path: Path):
    a, b = shares(48, 48, k=4), shares(48, 48, k=4)
    a[0], b[1] = [1.0, 1.0, 0.0, 1.0], [1.0, 1.0, 1.0, 0.0]
    found = judged(tmp_path, a, b, "[score]\nmay_drop = 5")
    assert found.verdict == "inconclusive"
    assert "tasks like these would decide" in found.reason
    assert "repeats" not in found.reason


def test_a_verdict_that_failures_could_flip_is_inconclusive(tmp_path: Path):
    a = shares(200, 180)
    few: list[list[float | None]] = [[*row] for row in a]
    few[0] = [None, 1.0]
    assert judged(tmp_path / "1", a, few, "[score]\nmay_drop = 5").verdict == "pass"
    many: list[list[float | None]] = [[*row] for row in a]
    for row in range(40):
        many[row] = [None, 1.0]
    (pair,) = compare(tmp_path / "1/a", [made_run(tmp_path / "many", many, model="many")]).pairs
    score = pair.change("score")
    assert (score.shift, score.if_failures_zero) == (0, pytest.approx(-0.1))
    assert pair.notes == [
        "Rollouts failed: 40 of many; the score's shift is +0.0 points without them, -10.0 if each were a zero."
    ]
    found = judged(tmp_path / "2", a, many, "[score]\nmay_drop = 5")
    assert found.verdict == "inconclusive"
    assert "With failures as zeros: fail" in found.reason
    assert "left out: pass" in found.reason
    assert judged(tmp_path / "3", a, many, "[failures]\nmay_rise = 2").verdict == "fail"


def test_failures_of_the_baseline_count_as_well(tmp_path: Path):
    """A drop that is there alone because the baseline's failures were left out."""
    a: list[list[float | None]] = [[1.0, None] if task < 30 else [1.0, 1.0] for task in range(200)]
    b = [[1.0, 0.0] if task < 30 else [1.0, 1.0] for task in range(200)]
    found = judged(tmp_path, a, b, "[score]\nmay_drop = 3")
    assert found.verdict == "inconclusive"
    assert "left out: fail" in found.reason


def test_an_unfinished_run_decides_nothing(tmp_path: Path):
    b = shares(400, 100)
    b[7] = [0.0, NAN]
    found = judged(tmp_path, shares(400, 200), b, "[score]\nmay_drop = 5")
    assert found.verdict == "inconclusive"
    assert "b owes 1 of 800 rollouts" in found.reason
    assert "So far: fail" in found.reason


def test_several_candidates_are_held_to_holm(tmp_path: Path):
    a = made_run(tmp_path / "a", drawn(11, 150, 0.5), model="a")
    others = [made_run(tmp_path / f"c{n}", drawn(20 + n, 150, 0.52 - n * 0.02), model=f"c{n}") for n in range(4)]
    found = compare(a, others, policy("[score]\nmay_drop = 7", tmp_path))
    plain = {pair.name: compare(a, [Path(pair.candidate.folder)]).pairs[0] for pair in found.pairs}
    p = {name: one.change("score").over_tasks.p for name, one in plain.items()}  # type: ignore[union-attr]
    assert {pair.name: pair.change("score").p_holm for pair in found.pairs} == pytest.approx(holm(p))
    alone = {
        name: compare(a, [Path(one.candidate.folder)], found.policy).pairs[0].judgements[0]
        for name, one in plain.items()
    }
    expected = holm({name: judgement.p_pass or 0.0 for name, judgement in alone.items()})
    assert {pair.name: pair.judgements[0].p_pass for pair in found.pairs} == pytest.approx(expected)
    assert all("Holm over 4 candidates" in pair.judgements[0].reason for pair in found.pairs)
    order = ["pass", "warn", "inconclusive", "fail"]
    assert found.verdict == max((pair.verdict for pair in found.pairs), key=lambda v: order.index(str(v)))
    # One that passes by itself and not in company: correction is not for show.
    assert {name for name, one in alone.items() if one.verdict == "pass"} > {
        pair.name for pair in found.pairs if pair.verdict == "pass"
    }


def test_categories_are_judged_by_name_or_all_by_a_star(tmp_path: Path):
    tasks = tasks_of(400, categories=["x", "y"])
    b = shares(400, 400)
    for row in range(0, 120, 2):  # x alone loses
        b[row] = [0.0, 0.0]
    a_run = made_run(tmp_path / "a", shares(400, 400), model="a", tasks=tasks)
    b_run = made_run(tmp_path / "b", b, model="b", tasks=tasks)
    for text, verdicts in [
        ('[categories."*"]\nmay_drop = 5', {"categories.x": "fail", "categories.y": "pass"}),
        ("[categories.y]\nmay_drop = 5", {"categories.y": "pass"}),
        (
            '[categories."*"]\nmay_drop = 50\n[categories.y]\nmay_drop = 1',
            {"categories.x": "pass", "categories.y": "inconclusive"},
        ),
    ]:
        (pair,) = compare(a_run, [b_run], policy(text, tmp_path)).pairs
        assert {one.metric: one.verdict for one in pair.judgements} == verdicts
    with pytest.raises(UsageError, match="there is no category in the runs, named by the policy, 'z'"):
        compare(a_run, [b_run], policy("[categories.z]\nmay_drop = 5", tmp_path))
    plain = made_run(tmp_path / "p", shares(4, 2)), made_run(tmp_path / "q", shares(4, 2), model="q")
    with pytest.raises(UsageError, match="the policy has no rule that applies"):
        compare(plain[0], [plain[1]], policy('[categories."*"]\nmay_drop = 5', tmp_path))


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("[scor]\nmay_drop = 1", UsageError, "'scor'. Did you mean score?"),
        ("[score]\nmay_drp = 1", UsageError, "no key of [score] in a policy"),
        ("[score]\nmay_drp = 1", UsageError, "Did you mean may_drop"),
        ("[categories.x]\nmay_grow = 1", UsageError, "no key of [categories.x]"),
        ("[cost]\nmay_drop = 1", UsageError, "no key of [cost]"),
        ("[score]\nwarn_drop = 1", InputError, "missing required field `may_drop`"),
        ("[score]\nmay_drop = -1", InputError, ">= 0"),
        ("[cost]\nmay_grow = 25", InputError, "<= 10"),
        ("[score]\nmay_drop = 1\nwarn_drop = 2", InputError, "warns of a drop of 2 points and fails a drop of 1 point"),
        ('over = "task"\n[score]\nmay_drop = 1', InputError, "one of tasks, reruns"),
        ('over = "tasks"', InputError, "a policy of no metric"),
        ("score = 1", InputError, "Expected `object"),
        ("score = = 1", InputError, "policy.toml, line 1"),
    ],
)
def test_a_policy_that_is_none_is_refused(tmp_path: Path, text: str, error: type[AssayError], words: str):
    with pytest.raises(error) as refused:
        policy(text, tmp_path)
    assert words in str(refused.value)


def test_the_policy_in_the_documentation_is_one(tmp_path: Path):
    page = (Path(__file__).parents[2] / "docs/compare.md").read_text(encoding="utf-8")
    found = policy(page.partition("```toml\n")[2].partition("```")[0], tmp_path)
    assert found.score == Drop(may_drop=1.0, warn_drop=0.5)
    assert found.categories == {"*": Drop(may_drop=5.0)}


def test_the_default_policy_is_the_one_that_is_printed(tmp_path: Path):
    assert policy(DEFAULT, tmp_path) == load("default")
    assert max(map(len, DEFAULT.splitlines())) <= 80


def test_profiles_are_compared_by_model(tmp_path: Path):
    for profile, models in (("p", {"x": 10, "y": 20, "only": 3}), ("q", {"x": 20, "y": 10})):
        for name, right in models.items():
            made_run(tmp_path / profile / "runs" / name, shares(40, right), model=name)
    found = compare(tmp_path / "p", [tmp_path / "q"])
    assert {pair.name: pair.change("score").shift for pair in found.pairs} == {"x": 0.25, "y": -0.25}
    assert "only" in found.notes[0]
    with pytest.raises(UsageError, match="no run directory"):
        compare(tmp_path / "p", [tmp_path / "q/runs/x"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (lambda a, b: (a, []), "at least one candidate"),
        (lambda a, b: (a, [a]), "each another directory"),
        (lambda a, b: (a, [b, b]), "each another directory"),
        (lambda a, b: (a.parent, [a.parent / "nowhere"]), "neither a run directory"),
    ],
)
def test_nothing_to_compare_is_told(
    tmp_path: Path, arguments: Callable[[Path, Path], tuple[Path, list[Path]]], words: str
):
    a, b = made_run(tmp_path / "a", shares(4, 2)), made_run(tmp_path / "b", shares(4, 2), model="b")
    with pytest.raises(UsageError, match=words):
        compare(*arguments(a, b))


def test_a_candidate_without_any_score_is_inconclusive(tmp_path: Path):
    none: list[list[float | None]] = [[None, None]] * 30
    found = judged(tmp_path, shares(30, 20), none, "[score]\nmay_drop = 5")
    assert found.verdict == "inconclusive"
    assert found.shift is None
    assert "0 tasks with a score on both sides" in found.reason


def test_runs_of_one_model_are_told_apart_by_their_folders(tmp_path: Path):
    a, b = made_run(tmp_path / "a", shares(4, 2)), made_run(tmp_path / "b", shares(4, 3))
    (pair,) = compare(a, [b]).pairs
    assert (pair.baseline.name, pair.candidate.name) == (str(a), str(b))


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compared")
    for model, repeats in (("nano-instruct", 2), ("policy", 2), ("gold", 2), ("null", 1)):
        code, _, err = assay(
            "run", "arithmetic", "--model", model, "--repeats", str(repeats), "--out", model, cwd=folder
        )
        assert code == 0, err
    assert assay("run", "arithmetic", "--model", "gold", "--limit", "30", "--out", "gold-30", cwd=folder)[0] == 0
    (folder / "strict.toml").write_text("[score]\nmay_drop = 0.5\n")
    return folder


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nano-instruct", "policy"], 0, "No policy was given, so nothing is judged."),
        (["nano-instruct", "policy", "--policy", "default"], 3, "fail: policy fails on score."),
        (["policy", "nano-instruct", "--policy", "default"], 0, "pass: nano-instruct passes."),
        (
            ["gold", "null", "nano-instruct", "--policy", "default"],
            3,
            "null fails on score; nano-instruct fails on",
        ),
        (
            ["gold", "gold-30", "--across", "--policy", "strict.toml"],
            5,
            "inconclusive: gold-30 is inconclusive on",
        ),
    ],
)
def test_the_command_on_embedded_models(embedded: Path, arguments: list[str], code: int, words: str):
    found, out, err = assay("compare", *arguments, cwd=embedded)
    assert (found, err) == (code, "")
    assert words in out.replace("\n", " ")


@pytest.mark.heavy
def test_the_command_refuses_other_tasks_and_writes_its_files(embedded: Path):
    code, _, err = assay("compare", "gold", "gold-30", cwd=embedded)
    assert code == 2
    assert "tasks: 240 in gold, 30 in gold-30; 30 are the same" in err
    files = ["--json", "c.json", "--markdown", "c.md", "--html", "c.html"]
    code, out, err = assay("compare", "nano-instruct", "policy", *files, cwd=embedded)
    assert (code, err) == (0, "")
    found = msgspec.json.decode((embedded / "c.json").read_bytes(), type=Comparison)
    pair: Pair = found.pairs[0]
    assert (pair.baseline.model, pair.candidate.model, pair.tasks) == ("nano-instruct", "policy", 240)
    summaries = [
        json.loads((embedded / name / "summary.json").read_text())["score"] for name in ("nano-instruct", "policy")
    ]
    assert [pair.change("score").baseline, pair.change("score").candidate] == pytest.approx(summaries)
    assert "| score |" in (embedded / "c.md").read_text()
    assert (embedded / "c.html").stat().st_size > 500_000
    assert "c.html" in out
    assert assay("compare", "gold", "null", "--json", "no/c.json", cwd=embedded)[0] == 2
