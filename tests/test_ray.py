"""Runs on a real Ray cluster of several raylets on this machine; actors and nodes are killed for real."""

import asyncio
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from assay.fidelity.results.results import read
from assay.store import read_rollouts
from assay.types import Failure
from tests.commands import ENVIRONMENT, assay, scored, start
from tests.endpoint import Call, Endpoint, answering, http

pytestmark = pytest.mark.ray
ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")

Writer = asyncio.StreamWriter


@pytest.fixture(scope="module")
def cluster() -> Iterator[cluster_utils.Cluster]:
    """A head that has no CPU to give, and two nodes with one each."""
    made = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        made.add_node(num_cpus=1)
    made.wait_for_nodes()
    yield made
    made.shutdown()


def on(cluster: cluster_utils.Cluster, url: str, *more: str, repeats: int = 2) -> list[str]:
    command = ["run", "arithmetic", "--model", "chat:m", "--base-url", url, "--out", "run"]
    return [*command, "--repeats", str(repeats), "--ray", cluster.address, *more]


def until(what: Callable[[], object], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def actors() -> list[int]:
    """The processes that run an actor now, by the title that Ray gives them."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            title = path.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if title.startswith(b"ray::Actor"):
            found.append(int(path.parent.name))
    return found


def test_a_cluster_gives_what_one_process_gives(cluster: cluster_utils.Cluster, tmp_path: Path):
    command = ["run", "arithmetic", "--model", "nano-instruct", "--repeats", "2"]
    code, out, err = assay(*command, "--ray", cluster.address, "--out", "far", cwd=tmp_path)
    assert code == 0, err
    assert "480 rollouts to make" in err and "avg@2 of 480 rollouts" in out
    assert assay(*command, "--out", "here", cwd=tmp_path)[0] == 0
    told = [
        {made.key: (made.seed, made.outcome, [turn.response.output for turn in made.turns]) for made in rollouts}
        for rollouts in (read_rollouts(tmp_path / "far"), read_rollouts(tmp_path / "here"))
    ]
    assert told[0] == told[1]
    assert (read(tmp_path / "far").rewards_TK == read(tmp_path / "here").rewards_TK).all()
    assert not actors()


def test_an_actor_and_a_node_die_and_nothing_is_lost(cluster: cluster_utils.Cluster, tmp_path: Path):
    """Each planned rollout is scored once, and what was in flight is asked again."""
    node = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    with Endpoint(answering("42", delay_s=0.1)) as endpoint:
        process = start(*on(cluster, endpoint.url, "--concurrency", "12", repeats=4), cwd=tmp_path)
        until(lambda: len(endpoint.calls) > 100)
        assert len(actors()) == 3
        os.kill(actors()[0], signal.SIGKILL)
        until(lambda: len(endpoint.calls) > 300)
        cluster.remove_node(node, allow_graceful=False)
        _, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    assert err.count("has died") == 2, err
    assert "Traceback" not in err
    found = scored(tmp_path / "run")
    assert len(found) == 960 and set(found.values()) == {1}
    assert 960 < len(endpoint.calls) <= 960 + 2 * 12


def test_a_head_that_is_killed_leaves_no_actor_and_any_way_goes_on(cluster: cluster_utils.Cluster, tmp_path: Path):
    with Endpoint(answering("42", delay_s=0.05)) as endpoint:
        process = start(*on(cluster, endpoint.url, "--concurrency", "8"), cwd=tmp_path)
        until(lambda: len(endpoint.calls) > 100)
        code, _, err = assay(*on(cluster, endpoint.url)[:-2], cwd=tmp_path)
        assert (code, "being written by another process" in err) == (2, True), err
        process.kill()
        process.communicate()
        until(lambda: not actors(), 30)
        before = scored(tmp_path / "run")
        assert 50 < len(before) < 480
        code, _, err = assay(*on(cluster, endpoint.url, repeats=1)[:-2], "--processes", "2", cwd=tmp_path)
        assert code == 0, err
        code, _, err = assay(*on(cluster, endpoint.url), cwd=tmp_path)
        assert code == 0, err
    assert list(scored(tmp_path / "run").values()) == [1] * 480


def test_ctrl_c_finishes_what_is_in_flight(cluster: cluster_utils.Cluster, tmp_path: Path):
    with Endpoint(answering("42", delay_s=0.5)) as endpoint:
        process = start(*on(cluster, endpoint.url, "--concurrency", "8"), cwd=tmp_path)
        until(lambda: len(endpoint.calls) >= 16)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "finishing what is in flight" in err and "Traceback" not in err
    assert len(scored(tmp_path / "run")) == len(endpoint.calls) < 480


def test_a_second_ctrl_c_abandons_it(cluster: cluster_utils.Cluster, tmp_path: Path):
    with Endpoint(answering("42", delay_s=60)) as endpoint:
        process = start(*on(cluster, endpoint.url, "--concurrency", "8"), cwd=tmp_path)
        until(lambda: len(endpoint.calls) >= 8)
        process.send_signal(signal.SIGINT)
        time.sleep(1)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert not scored(tmp_path / "run")


def test_concurrency_is_kept_by_all_actors_together(cluster: cluster_utils.Cluster, tmp_path: Path):
    now, most = 0, 0

    async def counted(call: Call, writer: Writer) -> None:
        nonlocal now, most
        now, most = now + 1, max(most, now + 1)
        await answering("42", delay_s=0.02)(call, writer)
        now -= 1

    with Endpoint(counted) as endpoint:
        code, _, err = assay(*on(cluster, endpoint.url, "--concurrency", "5", "--limit", "60"), cwd=tmp_path)
    assert code == 0, err
    assert most == 5


def test_a_run_where_nothing_but_failures_comes_stops(cluster: cluster_utils.Cluster, tmp_path: Path):
    async def refuse(call: Call, writer: Writer) -> None:
        await asyncio.sleep(0.01)
        writer.write(http(b'{"error": {"message": "no such key"}}', 401))

    with Endpoint(refuse) as endpoint:
        code, _, err = assay(*on(cluster, endpoint.url, "--concurrency", "8"), cwd=tmp_path)
        assert code == 4, err
        assert "rollouts failed, the last in the model: http_401" in err
        assert 20 <= len(endpoint.calls) < 300
    assert all(isinstance(made.outcome, Failure) for made in read_rollouts(tmp_path / "run"))


def test_a_budget_is_never_passed_and_all_of_it_can_be_spent(cluster: cluster_utils.Cluster, tmp_path: Path):
    each = (9 * 100 + 4 * 1000) / 1e6
    with Endpoint(answering("42")) as endpoint:
        (tmp_path / "assay.toml").write_text(
            f'[models.paid]\ndialect = "chat"\nid = "m"\nbase_url = "{endpoint.url}"\n'
            "prices = { input = 100.0, output = 1000.0 }\nsampling = { max_output_tokens = 10 }\n"
        )
        command = ["run", "arithmetic", "--model", "paid", "--repeats", "1", "--out", "run", "--limit", "60"]
        budget = 15 * each + 0.04
        code, _, err = assay(*command, "--ray", cluster.address, "--budget-usd", str(budget), cwd=tmp_path)
        assert code == 4, err
        assert "the budget is reached: $0." in err
        made = len(endpoint.calls)
        assert 15 <= made <= budget / each
        assert list(scored(tmp_path / "run").values()) == [1] * made
        assert f"{60 - made} rollouts owed" in err


DEADLY = """
import os
from assay.benchmark import Benchmark, Environment
from assay.benchmark.verify.integer import integer
from assay.errors import UsageError
from assay.types import Message, Task

class Sums(Environment):
    name, version = "sums", "1"

    async def ready(self):
        if os.environ.get("UNFIT_FOR") == "sums":
            raise UsageError("there is no sandbox")

    def tasks(self):
        for number in range(30):
            asked = Message(role="user", content=f"Say {number}.")
            yield Task(id=f"t{number}", input=[asked], gold=str(number))

    def verify(self, task, response):
        if task.id == "t17" and os.environ.get("DEADLY"):
            os._exit(1)
        return integer(response, int(task.gold))

BENCHMARK = Benchmark(environment=Sums(), repeats=1)
"""


def far(cwd: Path, *arguments: str, **variables: str) -> tuple[int, str]:
    """A command with environment variables, which `[ray] env` in assay.toml passes on."""
    (cwd / "sums").mkdir(exist_ok=True)
    (cwd / "sums/benchmark.py").write_text(DEADLY)
    (cwd / "assay.toml").write_text('[ray]\nworking_dir = "."\nenv = ["UNFIT_FOR", "DEADLY"]\n')
    command = [os.sys.executable, "-m", "assay.cli", *arguments]
    done = subprocess.run(
        command, cwd=cwd, env=ENVIRONMENT | variables, capture_output=True, text=True, timeout=100, check=False
    )
    return done.returncode, done.stderr


def test_a_rollout_that_kills_its_actor_is_owed_and_the_others_are_made(cluster: cluster_utils.Cluster, tmp_path: Path):
    command = ["run", "./sums", "--model", "gold", "--out", "run", "--ray", cluster.address, "--concurrency", "8"]
    code, err = far(tmp_path, *command, DEADLY="1")
    assert code == 4, err
    assert "1 rollouts are owed" in err and "task t17 repeat 0" in err and "Traceback" not in err
    assert list(scored(tmp_path / "run").values()) == [1] * 29
    code, err = far(tmp_path, *command)
    assert code == 0, err
    assert list(scored(tmp_path / "run").values()) == [1] * 30


def test_a_node_that_lacks_what_the_benchmark_needs_is_named(cluster: cluster_utils.Cluster, tmp_path: Path):
    command = ["run", "./sums", "--model", "gold", "--out", "run", "--ray", cluster.address, "--processes", "1"]
    code, err = far(tmp_path, *command, UNFIT_FOR="sums")
    assert code == 4, err
    assert f"on {os.uname().nodename}: there is no sandbox" in err and "Traceback" not in err


def test_a_key_reaches_the_actors_and_no_file(cluster: cluster_utils.Cluster, tmp_path: Path):
    key = "sk-" + uuid.uuid4().hex
    with Endpoint(answering("42")) as endpoint:
        command = on(cluster, endpoint.url, "--set", "model.api_key_env=SOME_KEY", "--limit", "40")
        code, err = far(tmp_path, *command, SOME_KEY=key)
        assert code == 0, err
        assert {call.headers["authorization"] for call in endpoint.calls} == {f"Bearer {key}"}
    session = Path(cluster.head_node.get_session_dir_path())
    files = [path for folder in (tmp_path, session) for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert not [path for path in files if key.encode() in path.read_bytes()]


def test_a_profile_takes_a_cluster(cluster: cluster_utils.Cluster, tmp_path: Path):
    command = ["profile", "arithmetic", "--models", "nano-instruct,nano-thinking", "--repeats", "1", "--out", "made"]
    code, _, err = assay(*command, "--ray", cluster.address, cwd=tmp_path)
    assert code == 0, err
    for name in ("nano-instruct", "nano-thinking"):
        assert list(scored(tmp_path / "made/runs" / name).values()) == [1] * 240


def test_a_cluster_that_is_not_there_is_told(tmp_path: Path):
    code, _, err = assay("run", "arithmetic", "--model", "gold", "--ray", "127.0.0.1:1", cwd=tmp_path)
    assert (code, "no Ray cluster there" in err, "Traceback" in err) == (2, True, False), err
