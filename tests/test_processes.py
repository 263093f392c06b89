"""Worker processes as a user starts them: real processes, on a real endpoint, killed for real."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.config import RateLimits
from assay.fidelity.results.results import read
from assay.store import Begin, Look, Shard, Start, read_registry, read_rollouts
from assay.types import Failure, Score
from tests.commands import assay, scored, start, until
from tests.endpoint import Behave, Call, Endpoint, answer_body, answering, http

Writer = asyncio.StreamWriter
MODELS = """
[models.paid]
dialect = "chat"
id = "m"
base_url = "{url}"
prices = {{ input = 100.0, output = 1000.0 }}
sampling = {{ max_output_tokens = 10 }}

[models.few]
dialect = "chat"
id = "m"
base_url = "{url}"
limits = {{ concurrency = 3 }}
"""
BENCHMARK = """
import os

from assay.benchmark import Benchmark, Environment
from assay.benchmark.verify.integer import integer
from assay.types import Message, Task

print("a benchmark may print")

class Sums(Environment):
    name, version = "sums", "1"

    def tasks(self):
        for number in range(7):
            asked = Message(role="user", content=f"Say {number}.")
            yield Task(id=f"t{number}", input=[asked], gold=str(number))

    def verify(self, task, response):
        print("and print again")
        if task.id == "t3":
            raise ValueError("half a character: \\ud800" + 100_000 * "!")
        return integer(response, int(task.gold))

BENCHMARK = Benchmark(environment=Sums(), repeats=3)
"""


def run(url: str, *more: str, repeats: int = 2, out: str = "run") -> list[str]:
    command = ["run", "arithmetic", "--model", "chat:m", "--base-url", url, "--out", out]
    return [*command, "--repeats", str(repeats), *more]


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("rollouts*.jsonl")}


def children(process: int) -> list[int]:
    """The processes that one started and that still run: one that has ended and that nobody asked after does not."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == process and state != "Z":
            found.append(int(path.parent.name))
    return found


def running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def counting(behave: Behave, most: list[int]) -> Behave:
    """The same, noting how many calls were in flight at most."""
    now = 0

    async def counted(call: Call, writer: Writer) -> None:
        nonlocal now
        now += 1
        most.append(max([now, *most[-1:]]))
        try:
            await behave(call, writer)
        finally:
            now -= 1

    return counted


SHARDS = st.integers(1, 40).flatmap(lambda count: st.builds(Shard, st.integers(1, count), st.just(count)))


@given(SHARDS, SHARDS)
def test_shards_meet_where_they_have_a_rollout_in_common(one: Shard, other: Shard):
    mine, theirs = (set(range(shard.index - 1, 40 * 40, shard.count)) for shard in (one, other))
    assert one.meets(other) == bool(mine & theirs)
    assert Shard.of(one.file) == one
    assert Shard.of("rollouts-old.jsonl") is None


def test_limits_that_are_shared_are_kept_together():
    limits = RateLimits(concurrency=7, requests_per_minute=30.0, tokens_per_minute=3000.0)
    shared = limits.divide(3)
    assert (shared.concurrency, shared.requests_per_minute, shared.tokens_per_minute) == (2, 10.0, 1000.0)
    assert RateLimits().divide(3) == RateLimits()


@pytest.mark.heavy
def test_processes_give_what_one_gives(tmp_path: Path):
    command = ["run", "arithmetic", "--model", "nano-instruct", "--repeats", "2"]
    code, out, err = assay(*command, "--processes", "3", "--out", "three", cwd=tmp_path)
    assert code == 0, err
    assert "480 rollouts to make" in err and "avg@2 of 480 rollouts" in out
    assert files(tmp_path / "three") == {"rollouts.jsonl"}
    assert assay(*command, "--out", "one", cwd=tmp_path)[0] == 0
    told = [
        {made.key: (made.seed, made.outcome, [turn.response.output for turn in made.turns]) for made in rollouts}
        for rollouts in (read_rollouts(tmp_path / "three"), read_rollouts(tmp_path / "one"))
    ]
    assert told[0] == told[1]
    assert (read(tmp_path / "three").rewards_TK == read(tmp_path / "one").rewards_TK).all()


@pytest.mark.heavy
def test_kills_of_all_processes_lose_nothing_and_any_number_goes_on(tmp_path: Path):
    """None is left behind, none makes what another made: from two to three, to one, and to two again."""
    with Endpoint(answering("42", delay_s=0.05)) as endpoint:
        for processes in (2, 3, 1):
            command = run(endpoint.url, "--concurrency", "8", "--processes", str(processes), repeats=4)
            process = start(*command, cwd=tmp_path)
            calls = len(endpoint.calls)
            until(lambda calls=calls: len(endpoint.calls) > calls + 80)
            workers = children(process.pid)
            assert len(workers) == (0 if processes == 1 else processes)
            process.kill()
            process.communicate()
            until(lambda workers=workers: not any(map(running, workers)), 5)
            # What a kill tore does not come whole, and is made again.
            path = tmp_path / "run/rollouts.jsonl"
            path.write_bytes(path.read_bytes()[:-7])
        before = scored(tmp_path / "run")
        assert 0 < len(before) < 960
        code, _, err = assay(*run(endpoint.url, "--processes", "2", repeats=4), cwd=tmp_path)
        assert code == 0, err
    assert f"{960 - len(before)} rollouts to make" in err
    found = scored(tmp_path / "run")
    assert set(found.values()) == {1}
    assert len(found) == 960
    assert files(tmp_path / "run") == {"rollouts.jsonl"}


def test_a_run_that_earlier_processes_left_in_files_of_their_own_goes_on(tmp_path: Path):
    """Each process once wrote a file of its own, as a shard does."""
    with Endpoint(answering("42")) as endpoint:
        for shard in ("1/3", "3/3"):
            assert assay(*run(endpoint.url, "--shard", shard), cwd=tmp_path)[0] == 0
        code, _, err = assay(*run(endpoint.url, "--processes", "2"), cwd=tmp_path)
    assert code == 0, err
    assert "160 rollouts to make" in err
    assert files(tmp_path / "run") == {"rollouts-1-of-3.jsonl", "rollouts-3-of-3.jsonl", "rollouts.jsonl"}
    assert list(scored(tmp_path / "run").values()) == [1] * 480


@pytest.mark.heavy
def test_processes_that_die_are_replaced_and_each_rollout_is_scored_once(tmp_path: Path):
    with Endpoint(answering("42", delay_s=0.02)) as endpoint:
        process = start(*run(endpoint.url, "--concurrency", "6", "--processes", "3"), cwd=tmp_path)
        for deaths in (1, 2):
            until(lambda deaths=deaths: len(endpoint.calls) > 60 * deaths and len(children(process.pid)) == 3)
            os.kill(children(process.pid)[0], signal.SIGKILL)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert err.count("has died (killed by SIGKILL)") == 2
    assert "Traceback" not in err
    assert list(scored(tmp_path / "run").values()) == [1] * 480
    # Two in flight in each, and what had ended within the last 0.1 s.
    assert 480 <= len(endpoint.calls) <= 480 + 2 * (2 + 12)
    assert files(tmp_path / "run") == {"rollouts.jsonl"}


@pytest.mark.heavy
def test_a_rollout_that_kills_its_process_is_owed_and_the_others_are_made(tmp_path: Path):
    (tmp_path / "sums").mkdir()
    (tmp_path / "sums/benchmark.py").write_text(BENCHMARK.replace('raise ValueError("', 'os._exit(7)  # ("'))
    code, _, err = assay("run", "./sums", "--model", "gold", "--processes", "2", "--out", "run", cwd=tmp_path)
    assert code == 4, err
    assert "3 rollouts are owed" in err
    assert "task t3 repeat 0" in err
    assert "it ended with exit code 7" in err
    assert "Traceback" not in err
    assert list(scored(tmp_path / "run").values()) == [1] * 18


@pytest.mark.heavy
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_what_is_in_flight_in_all_processes(tmp_path: Path, number: signal.Signals):
    with Endpoint(answering("42", delay_s=0.4)) as endpoint:
        process = start(*run(endpoint.url, "--concurrency", "8", "--processes", "2"), cwd=tmp_path)
        until(lambda: len(endpoint.calls) >= 8)
        # Ctrl-C and schedulers reach the workers too.
        for reached in (*children(process.pid), process.pid):
            os.kill(reached, number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "finishing what is in flight" in err
    assert "Traceback" not in err
    assert len(scored(tmp_path / "run")) == len(endpoint.calls) < 480


def test_a_second_signal_abandons_what_is_in_flight(tmp_path: Path):
    with Endpoint(answering("42", delay_s=60)) as endpoint:
        process = start(*run(endpoint.url, "--concurrency", "8", "--processes", "2"), cwd=tmp_path)
        until(lambda: len(endpoint.calls) >= 8)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=8)
    assert process.returncode == 130, err
    assert "abandoning what is in flight" in err
    assert "Traceback" not in err
    assert not scored(tmp_path / "run")


def test_what_a_process_that_is_asked_to_stop_leaves_the_others_make(tmp_path: Path):
    with Endpoint(answering("42", delay_s=0.02)) as endpoint:
        process = start(*run(endpoint.url, "--concurrency", "4", "--processes", "2"), cwd=tmp_path)
        until(lambda: len(endpoint.calls) > 20)
        os.kill(children(process.pid)[0], signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "of 2 was asked to stop" in err
    assert len(scored(tmp_path / "run")) == len(endpoint.calls) == 480


@pytest.mark.heavy
def test_commands_that_would_make_the_same_rollouts_are_refused(tmp_path: Path):
    held = [True]

    async def hold(call: Call, writer: Writer) -> None:
        while held[0]:
            await asyncio.sleep(0.01)
        writer.write(http(answer_body(call.path)))

    with Endpoint(hold) as endpoint:
        whole = start(*run(endpoint.url, "--concurrency", "4", "--processes", "2"), cwd=tmp_path)
        half = run(endpoint.url, "--concurrency", "4", "--processes", "2", "--shard", "1/2", out="half")
        halving = start(*half, cwd=tmp_path)
        until(lambda: len(endpoint.calls) == 8)
        refused = [run(endpoint.url, *more) for more in ([], ["--processes", "3"])]
        for more in (["--shard", "1/2"], ["--shard", "3/4"], ["--shard", "1/3", "--processes", "2"]):
            refused.append(run(endpoint.url, *more, out="half"))
        for command in refused:
            code, _, err = assay(*command, cwd=tmp_path)
            assert (code, "being written by another process" in err) == (2, True), command
        held[0] = False
        # The other half is nobody's.
        code, _, err = assay(*run(endpoint.url, "--shard", "2/2", out="half"), cwd=tmp_path)
        assert code == 0, err
        for process in (whole, halving):
            process.communicate(timeout=60)
            assert process.returncode == 0
    assert list(scored(tmp_path / "run").values()) == list(scored(tmp_path / "half").values()) == [1] * 480


@pytest.mark.heavy
def test_shards_are_made_by_processes_too(tmp_path: Path):
    with Endpoint(answering("42")) as endpoint:
        for more in (["--shard", "1/2", "--processes", "2"], ["--shard", "2/2", "--processes", "3"]):
            code, _, err = assay(*run(endpoint.url, *more), cwd=tmp_path)
            assert code == 0, err
            assert "240 rollouts to make" in err
    assert list(scored(tmp_path / "run").values()) == [1] * 480
    assert files(tmp_path / "run") == {"rollouts-1-of-2.jsonl", "rollouts-2-of-2.jsonl"}


@pytest.mark.heavy
def test_concurrency_and_a_models_limits_are_kept_by_all_processes_together(tmp_path: Path):
    most: list[int] = []
    with Endpoint(counting(answering("42", delay_s=0.01), most)) as endpoint:
        (tmp_path / "assay.toml").write_text(MODELS.format(url=endpoint.url))
        code, _, err = assay(*run(endpoint.url, "--concurrency", "5", "--processes", "3"), cwd=tmp_path)
        assert code == 0, err
        assert most[-1] == 5
        most.clear()
        few = ["run", "arithmetic", "--model", "few", "--repeats", "2", "--processes", "4"]
        code, _, err = assay(*few, cwd=tmp_path)
        assert code == 0, err
        assert most[-1] == 3
    assert files(tmp_path / "runs/arithmetic/few") == {"rollouts.jsonl"}


@pytest.mark.heavy
@pytest.mark.parametrize("requests", [2, 15])
def test_a_budget_is_never_passed_and_all_of_it_can_be_spent(tmp_path: Path, requests: int):
    """Also where a process' share of it is less than one request may need."""
    each = (9 * 100 + 4 * 1000) / 1e6
    with Endpoint(answering("42")) as endpoint:
        (tmp_path / "assay.toml").write_text(MODELS.format(url=endpoint.url))
        command = ["run", "arithmetic", "--model", "paid", "--repeats", "1", "--out", "run", "--limit", "60"]
        budget = requests * each + 0.04  # the most that one may need is set aside first: 10 tokens out, 300 in
        code, _, err = assay(*command, "--processes", "4", "--budget-usd", str(budget), cwd=tmp_path)
        assert code == 4, err
        assert "the budget is reached: $0." in err
        made = len(endpoint.calls)
        assert requests <= made <= budget / each
        assert list(scored(tmp_path / "run").values()) == [1] * made
        assert f"{60 - made} rollouts owed" in err
        code, _, err = assay(*command, "--processes", "2", "--budget-usd", "1", cwd=tmp_path)
    assert code == 0, err
    assert len(endpoint.calls) == 60


def test_a_run_where_nothing_but_failures_comes_stops(tmp_path: Path):
    async def refuse(call: Call, writer: Writer) -> None:
        await asyncio.sleep(0.01)
        writer.write(http(b'{"error": {"message": "no such key"}}', 401))

    with Endpoint(refuse) as endpoint:
        code, _, err = assay(*run(endpoint.url, "--processes", "2", "--concurrency", "8"), cwd=tmp_path)
        assert code == 4
        assert "rollouts failed, the last in the model: http_401" in err
        assert err.count("insist with --no-early-stop") == 1
        assert 20 <= len(endpoint.calls) < 300
        code, _, err = assay(*run(endpoint.url, "--processes", "2", "--no-early-stop"), cwd=tmp_path)
    assert code == 0
    assert sum(isinstance(made.outcome, Failure) for made in read_rollouts(tmp_path / "run")) >= 480


def test_a_process_whose_own_part_fails_does_not_stop_the_run(tmp_path: Path):
    """That there is no score at all is known to the whole alone."""

    async def by_parity(call: Call, writer: Writer) -> None:
        even = sum(map(ord, call.prompt)) % 2
        writer.write(http(answer_body(call.path)) if even else http(b"{}", 400))

    with Endpoint(by_parity) as endpoint:
        code, _, err = assay(*run(endpoint.url, "--processes", "4", "--limit", "40"), cwd=tmp_path)
    assert code == 0, err
    made = list(read_rollouts(tmp_path / "run"))
    assert len(made) == 80
    assert 0 < sum(isinstance(rollout.outcome, Score) for rollout in made) < 80


def test_a_benchmark_may_print_raise_nonsense_and_lie_in_a_folder(tmp_path: Path):
    (tmp_path / "sums").mkdir()
    (tmp_path / "sums/benchmark.py").write_text(BENCHMARK)
    code, out, err = assay("run", "./sums", "--model", "gold", "--processes", "2", cwd=tmp_path)
    assert code == 0, err
    assert "score 100.0%" in out and "21 rollouts to make" in err
    assert "and print again" in err
    assert "3 failed" in err
    assert len(scored(tmp_path / "runs/sums/gold")) == 18


@pytest.mark.heavy
def test_what_is_wrong_is_told_once_and_as_without_processes(tmp_path: Path):
    gold = ["run", "arithmetic", "--model", "gold", "--out"]
    assert assay(*gold, "run", "--limit", "5", cwd=tmp_path)[0] == 0
    told = [assay(*gold, "run", "--limit", "6", "--processes", count, cwd=tmp_path) for count in ("1", "3")]
    assert told[0] == told[1]
    assert told[1][0] == 2 and "holds another run" in told[1][2]
    (tmp_path / "file").write_text("")
    for more in (
        ["run", "--processes", "0"],
        ["run", "--repeats", "0", "--processes", "2"],
        ["file", "--processes", "2"],
    ):
        code, _, err = assay(*gold, *more, cwd=tmp_path)
        assert (code, err.count("assay: "), "Traceback" in err) == (2, 1, False), err


WRONG_REWARDS = """
from assay.benchmark import Benchmark, Environment
from assay.types import Message, Score, Task


class Wrong(Environment):
    name = "wrong"
    version = "1"

    def tasks(self):
        for number in range(4):
            yield Task(id=str(number), input=[Message(role="user", content="?")], gold="1")

    def verify(self, task, response):
        return Score(reward={"0": 1e200, "1": float("nan"), "2": 1.0, "3": 1e12}[task.id])


BENCHMARK = Benchmark(environment=Wrong(), repeats=1)
"""


@pytest.mark.parametrize("processes", ["1", "2"])
def test_what_a_verifier_may_not_return_is_a_failure_in_every_process(tmp_path: Path, processes: str):
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong/benchmark.py").write_text(WRONG_REWARDS)
    code, _, err = assay("run", "./wrong", "--model", "gold", "--processes", processes, "--out", "run", cwd=tmp_path)
    assert code == 0 and "Traceback" not in err, err
    outcomes = {made.task: made.outcome for made in read_rollouts(tmp_path / "run")}
    for task in "01":
        failure = outcomes[task]
        assert isinstance(failure, Failure) and failure.where == "verifier" and "the reward" in failure.message
    assert [outcomes[task] for task in "23"] == [Score(reward=1.0), Score(reward=1e12)]


NOT_READY = WRONG_REWARDS.replace(
    "    def tasks",
    """    async def ready(self):
        open("data.jsonl")

    def tasks""",
)


MISSING = (
    "assay: data.jsonl: No such file or directory\n"
    "  expected: a file or folder that is there; mend the path, or bring back what was removed\n"
)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_file_that_a_process_lacks_is_one_line_and_the_same_exit_code(tmp_path: Path, processes: str):
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong/benchmark.py").write_text(NOT_READY)
    command = ("run", "./wrong", "--model", "gold", "--processes", processes)
    assert assay(*command, cwd=tmp_path) == (2, "", MISSING)


@pytest.mark.parametrize("kind", ["folder", "pipe", "loop", "deep"])
def test_a_benchmarks_file_that_is_none_is_named_in_one_line(tmp_path: Path, kind: str):
    quiz = tmp_path / "quiz.jsonl"
    if kind == "folder":
        quiz.mkdir()
    elif kind == "pipe":
        os.mkfifo(quiz)
    elif kind == "loop":
        quiz.symlink_to(quiz.name)
    else:
        quiz.write_text('{"a":' + "[" * 200_000)
    code, _, err = assay("run", "mcq:quiz.jsonl", "--model", "null", "--processes", "2", cwd=tmp_path)
    assert (code, err.count("assay: "), "Traceback" in err) == (2, 1, False), err
    assert "quiz.jsonl" in err


@pytest.mark.heavy
def test_a_profile_takes_processes(tmp_path: Path):
    command = ["profile", "arithmetic", "--models", "nano-instruct,nano-thinking", "--repeats", "1", "--processes", "2"]
    code, _, err = assay(*command, "--out", "made", cwd=tmp_path)
    assert code == 0, err
    for name in ("nano-instruct", "nano-thinking"):
        folder = tmp_path / "made/runs" / name
        assert files(folder) == {"rollouts.jsonl"}
        assert len(scored(folder)) == 240
    lines = read_registry(tmp_path / "started.jsonl")
    assert [type(line) for line in lines] == [Start, Begin, Start, Begin, Look]
