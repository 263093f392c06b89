"""The bench: its comparison on made results, its aims, and that both sides of a measurement do the same work."""

import random
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from assay.fidelity.schema.profile import Profile
from assay.store import read_record, read_rollouts
from bench import aims, endpoint, synthetic, texts
from bench.compare import BAND, changes, changes_between, ratio
from bench.figures import Figures, command, inside, p99_ms
from bench.measurements import MEASUREMENTS
from bench.results import Result, Round, keep, newest, read_results
from tests.commands import assay
from tests.endpoint import Call, Endpoint, http

ROOT = Path(__file__).parent.parent


def result(name: str = "single-64", *, slower: float = 1.0, noise: float = 0.0, rounds: int = 5, **fields) -> Result:
    """A result whose every round is noisy: the whole machine by half, and Assay by `noise` beside."""
    rng = random.Random(f"{slower} {noise} {rounds} {fields.pop('seed', 0)}")
    taken: list[Round] = []
    for _ in range(rounds):
        machine, own = rng.uniform(1.0, 1.5), rng.gauss(1.0, noise)
        floor = Figures(wall_s=4.0 * machine, cpu_s=4.0 * machine, peak_mib=45)
        taken.append(Round(floor, Figures(8.0 * machine * own * slower, 8.0 * machine * slower, 80, {"p99_ms": 100})))
    known = {"count": 30_000, "commit": "a1", "at": "2026-01-01T00:00:00+00:00", "load": 1.0}
    return Result(name=name, rounds=taken, **(known | fields))


def verdicts(before: Result, now: Result) -> dict[str, str]:
    return {change.figure: change.verdict for change in changes_between(before, now)}


def test_fifteen_percent_more_is_named_and_nothing_else():
    before, now = result(noise=0.02, seed=1), result(slower=1.15, noise=0.02, seed=2)
    assert verdicts(before, now) == {
        "time / floor": "regression",
        "CPU / floor": "regression",
        "peak memory": "no change seen",
    }
    assert verdicts(now, before)["time / floor"] == "improvement"


def test_fifteen_percent_are_found_in_nine_of_ten_comparisons_and_noise_is_named_in_one_of_a_hundred():
    def named(slower: float, noise: float) -> float:
        found = 0
        for seed in range(200):
            before, now = result(noise=noise, seed=(seed, 1)), result(slower=slower, noise=noise, seed=(seed, 2))
            found += verdicts(before, now)["time / floor"] == "regression"
        return found / 200

    assert named(1.15, 0.03) > 0.9
    assert named(1.0, 0.03) == 0
    assert named(1.0, 0.1) <= 0.02
    assert named(1.04, 0.01) == 0, "within the band"


@pytest.mark.parametrize(("rounds", "rank"), [(1, None), (3, None), (4, 1), (5, 3), (8, 14), (10, 24)])
def test_the_interval_ends_one_past_the_critical_value_of_the_u_test(rounds, rank):
    """Critical values at 5 %, two-sided, of Mann and Whitney's tables: 0, 2, 13, 23 for 4, 5, 8, 10 and as many."""
    before, now = [float(x) for x in range(1, rounds + 1)], [float(x) for x in range(rounds + 1, 2 * rounds + 1)]
    factors = sorted(new / old for new in now for old in before)
    assert ratio(before, now)[1] == (None if rank is None else (factors[rank - 1], factors[-rank]))


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = random.Random(3)
    covered = 0
    for _ in range(500):
        low, high = ratio(*([rng.lognormvariate(0, 0.1) for _ in range(5)] for _ in range(2)))[1] or (1, 1)
        covered += low <= 1 <= high
    assert 0.94 <= covered / 500 <= 0.99


def test_too_few_rounds_name_nothing():
    before, now = result(rounds=3), result(slower=3.0, rounds=3)
    assert set(verdicts(before, now).values()) == {"too few rounds"}


def test_the_newest_is_compared_with_the_one_before_or_with_a_commit_of_as_many_rollouts():
    old, middle, now = (
        result(commit=commit, slower=slower, seed=commit) for commit, slower in (("a1", 1.0), ("b2", 1.3), ("c3", 1.3))
    )
    other = result("tools", commit="a1")
    fewer = result(commit="b9", slower=9.0, count=2_000)
    results = [old, other, middle, fewer, now]

    def times(against: str | None = None) -> dict[str, str]:
        return {one.name: one.verdict for one in changes(results, against) if one.figure == "time / floor"}

    assert times() == {"single-64": "no change seen"}
    assert times("a1") == {"single-64": "regression"}
    assert times("nowhere") == {}


def test_a_change_is_named_only_clear_of_the_band():
    assert BAND == 0.05
    exact = [Round(Figures(1, 1, 1), Figures(1, 1, 100)) for _ in range(5)]
    for factor, verdict in ((1.049, "no change seen"), (1.051, "regression"), (0.96, "no change seen")):
        grown = [Round(one.floor, Figures(1, 1, 100 * factor)) for one in exact]
        now, before = (msgspec.structs.replace(result(), rounds=rounds) for rounds in (grown, exact))
        assert verdicts(before, now)["peak memory"] == verdict, factor


def test_results_are_kept_a_line_each(tmp_path: Path):
    assert read_results(tmp_path) == []
    first, second = result(commit="a1"), result(commit="b2", slower=2.0)
    path = keep(first, tmp_path)
    assert keep(second, tmp_path) == path and re.fullmatch(r"[a-z0-9-]+-\d+-cores\.jsonl", path.name)
    assert read_results(tmp_path) == [first, second]
    assert newest(read_results(tmp_path)) == {"single-64": second}


def test_aims_are_met_not_met_or_not_measured():
    def met(name: str, floor_s: float, *assay: Figures) -> dict[str, tuple[str, bool | None]]:
        rounds = [Round(Figures(floor_s, 1, 1), one) for one in assay]
        judged = aims.judge_all({name: msgspec.structs.replace(result(name), rounds=rounds)})
        assert sum(one.measured == "not measured" and one.met is None for one in judged) == len(aims.AIMS) - 2
        return {one.aim.wanted: (one.measured, one.met) for one in judged if one.met is not None}

    assert met("single-64", 4.0, Figures(9.0, 9.0, 80), Figures(10.0, 9.0, 80), Figures(11.0, 9.0, 80)) == {
        "3,000/s on a core": ("3,000/s (a1)", True),
        "0.4 of the floor": ("0.40 (a1)", True),
    }
    assert met("single-64", 3.9, Figures(10.1, 9.0, 80)) == {
        "3,000/s on a core": ("2,970/s (a1)", False),
        "0.4 of the floor": ("0.39 (a1)", False),
    }
    # The highest peak counts, and a GB is 10^9 bytes.
    assert met("profile-million", 1.0, Figures(9.0, 9.0, 1000), Figures(10.2, 9.0, 1950)) == {
        "within 10 s": ("9.6 s (a1)", True),
        "below 2 GB": ("2,045 MB (a1)", False),
    }


def test_every_aim_is_of_a_measurement():
    assert {aim.measurement for aim in aims.AIMS} <= MEASUREMENTS.keys()


def test_the_99th_percentile_is_the_nearest_rank():
    assert p99_ms([x / 1000 for x in range(1, 101)]) == 99
    assert p99_ms([x / 1000 for x in range(1, 201)]) == 198
    assert p99_ms([0.007]) == 7


def posted(environment: str, answer: bytes, steps: int) -> tuple[list[bytes], list[bytes]]:
    """The bodies that Assay and its floor post."""

    async def behave(call: Call, writer) -> None:
        writer.write(http(answer))
        await writer.drain()

    both: list[list[bytes]] = []
    for module, name, own in (
        ("bench.rollouts", "run", {"environment": environment}),
        ("bench.bare", "posts", {"steps": steps}),
    ):
        with Endpoint(behave) as server:
            figures = inside(module, name, one_core=True, url=server.url, count=20, in_flight=4, **own)
            assert figures.wall_s > 0 and figures.cpu_s > 0 and figures.peak_mib > 10
            both.append(sorted(call.body for call in server.calls))
    return both[0], both[1]


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("environment", "answer", "steps"),
    [
        ("quiz", endpoint.encode(endpoint.say(texts.ANSWER)), 1),
        ("library", endpoint.encode(endpoint.CALL), texts.STEPS),
    ],
)
def test_the_floor_posts_the_same_bytes(environment, answer, steps):
    ours, floor = posted(environment, answer, steps)
    assert len(ours) == len(floor) == 20 * steps

    def shape(bodies: list[bytes]) -> list[bytes]:
        # Tasks are asked ten times each here, and once each there; a call's id is the endpoint's.
        return sorted(re.sub(rb"task \d+|\$request_id|0{32}", b"", body) for body in bodies)

    assert shape(ours) == shape(floor)


def test_a_side_that_fails_says_why():
    with pytest.raises(SystemExit, match="ConnectError"):
        inside("bench.bare", "posts", one_core=True, url="http://127.0.0.1:9/v1", count=1, in_flight=1)


def test_a_command_is_timed_to_its_end_or_to_a_moment(tmp_path: Path):
    program = (
        "import sys, time; open(sys.argv[1], 'w').close(); x = bytearray(200 << 20); time.sleep(float(sys.argv[2]))"
    )
    whole = command([sys.executable, "-c", program, str(tmp_path / "one"), "0.3"])
    assert whole.wall_s > 0.3 and whole.peak_mib > 200 and whole.cpu_s > 0
    until = command([sys.executable, "-c", program, str(tmp_path / "two"), "60"], until=(tmp_path / "two").exists)
    assert until.wall_s < 60
    with pytest.raises(SystemExit, match="ZeroDivisionError"):
        command([sys.executable, "-c", "1 / 0"])


@pytest.mark.heavy
def test_a_made_profile_is_one_that_assay_reads(tmp_path: Path):
    folder = tmp_path / "made"
    synthetic.profile(folder, count=4 * 300 * 3, tasks=300)
    rollouts = list(read_rollouts(folder / "runs/closed"))
    assert len(rollouts) == 900 and {rollout.repeat for rollout in rollouts} == {0, 1, 2}
    assert len({rollout.seed for rollout in rollouts}) > 890
    assert read_record(folder / "runs/closed").repeats == 3
    assert {path.name for path in folder.rglob("*") if path.is_file()} <= set(synthetic.OWN)
    code, out, err = assay("report", str(folder), cwd=tmp_path)
    assert code == 0 and "report.html" in out, err
    profile = msgspec.json.decode((folder / "profile.json").read_bytes(), type=Profile)
    for name, skill in synthetic.SKILLS.items():
        assert profile.models[name].score == pytest.approx(skill, abs=0.06)
        assert profile.models[name].repeats == 3
    assert any(model.failures for model in profile.models.values())
    synthetic.forget(folder)
    assert not (folder / "report.html").exists() and (folder / "profile.json").exists()


def bench(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_command_lists_what_there_is_and_refuses_what_is_not():
    told = bench("--list").stdout
    assert all(f"{name}: " in told for name in MEASUREMENTS)
    refused = bench("sigle-64")
    assert refused.returncode == 2 and "there is no sigle-64; there are single-64, " in refused.stderr


@pytest.mark.slow
@pytest.mark.skipif(not endpoint.available(), reason="there is no nginx with its echo module here")
def test_a_quick_measurement_of_resuming_leaves_the_run_as_it_was_and_keeps_nothing():
    before = read_results()
    done = bench("--quick", "resume-million", "first-rollout")
    assert done.returncode == 0, done.stderr
    assert "resume-million (20,000; median of 1" in done.stdout and "first-rollout" in done.stdout
    assert read_results() == before
