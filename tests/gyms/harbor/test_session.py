"""Rollouts of Harbor tasks in machines: solutions, tests, steps, users, and what is a failure."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from assay.benchmark import Benchmark
from assay.benchmark.reference import DONE, responses
from assay.fidelity.probes.play import reward_of
from assay.model.builtin.function import FunctionModel
from assay.types import Failure, Outcome, Score
from tests.gyms.harbor.made import NOP, ORACLE, Shell, play

Make = Callable[..., Benchmark]
SEPARATE = """
artifacts = ["/app/done", "/app/folder"]
[environment]
network_mode = "no-network"
[verifier]
environment_mode = "separate"
"""


def failed(outcome: Outcome, kind: str, says: str) -> None:
    assert isinstance(outcome, Failure), outcome
    assert (outcome.where, outcome.kind) == ("verifier", kind), outcome
    assert says in outcome.message


def reward(outcome: Outcome) -> float:
    assert isinstance(outcome, Score), outcome
    return outcome.reward


@pytest.mark.parametrize("toml", ["", SEPARATE], ids=["shared", "separate"])
def test_the_solution_gets_1_and_nothing_gets_0(make: Make, toml: str):
    benchmark = make(toml)
    assert reward(play(benchmark, ORACLE)) == 1
    assert reward(play(benchmark, NOP)) == 0
    assert reward(play(benchmark, Shell("pwd", "touch done"))) == 1


def test_the_gates_play_the_solution_by_a_call_that_no_model_knows(make: Make):
    benchmark = make()
    [task] = benchmark.environment.tasks()
    solution = benchmark.environment.solution(task)
    assert solution is not None and all(tool.name not in str(solution) for tool in task.tools)
    assert asyncio.run(reward_of(benchmark, task, responses(solution))) == 1
    assert asyncio.run(reward_of(benchmark, task, responses([DONE]))) == 0


def test_tests_and_solution_are_not_there_while_the_agent_works(make: Make):
    agent = Shell("ls / /logs; ls /tests /solution; cat /tests/test.sh")
    assert reward(play(make(), agent)) == 0
    assert "No such file" in agent.said[0] and "logs" in agent.said[0] and "reward.txt" not in agent.said[0]


def test_artifacts_go_to_the_tests_own_machine_without_what_is_excluded(make: Make):
    toml = SEPARATE.replace('"/app/folder"', '{source = "/app/folder", exclude = ["*.tmp", "cache"]}')
    tests = "#!/bin/sh\nfind /app /logs/artifacts -type f | sort\necho 1 > /logs/verifier/reward.txt\n"
    leaves = "mkdir -p folder/cache; touch done folder/x folder/y.tmp folder/cache/z other; touch /logs/artifacts/log"
    solved = f"#!/bin/sh\ncd /app\n{leaves}\n"
    made = make(toml, tests__test__sh=tests, solution__solve__sh=solved)
    [task] = made.environment.tasks()

    async def said() -> str:
        async with made.environment.open(task, 0) as session:
            await ORACLE.run(task, FunctionModel(lambda _: ""), session)
            await session.score([])
            return session.said  # pyright: ignore

    assert asyncio.run(said()).split() == ["/app/done", "/app/folder/x", "/logs/artifacts/log"]


def test_a_service_lives_on_until_the_tests_have_asked_it(make: Make):
    tests = "#!/bin/sh\ni=$(cat /app/beat); sleep 0.3; [ $i -lt $(cat /app/beat) ]\n"
    tests += "echo $((1 - $?)) > /logs/verifier/reward.txt\n"
    beats = "i=0; while :; do i=$((i + 1)); echo $i > /app/new; mv /app/new /app/beat; sleep 0.05; done"
    solution = f"#!/bin/sh\n(setsid sh -c '{beats}' >/dev/null 2>&1 &)\nsleep 0.3\n"
    assert reward(play(make(tests__test__sh=tests, solution__solve__sh=solution), ORACLE)) == 1


@pytest.mark.parametrize(
    ("tests", "kind", "says"),
    [
        ("echo no-reward-said", "no_reward", "no-reward-said"),
        ("echo nan > /logs/verifier/reward.txt", "bad_reward", "nan"),
        (": > /logs/verifier/reward.txt", "no_reward", "empty"),
        ("ln -s /etc/passwd /logs/verifier/reward.txt", "bad_reward", "reward.txt can't be read"),
        (
            "mkfifo /logs/verifier/reward.json; echo 1 > /logs/verifier/reward.txt",
            "bad_reward",
            "reward.json can't be read",
        ),
        ("echo 1; echo 1 > /logs/verifier/test-stdout.txt; kill -9 $$", "no_reward", "neither"),
        ("head -c 3000000 /dev/zero | tr '\\0' x; echo the-end-of-it", "no_reward", "the-end-of-it"),
        ("head -c 3000000 /dev/zero > /logs/verifier/reward.json", "bad_reward", "at most 1048576 bytes"),
    ],
)
def test_tests_without_a_reward_are_a_failure(make: Make, tests: str, kind: str, says: str):
    failed(play(make(tests__test__sh=f"#!/bin/sh\n{tests}\n"), ORACLE), kind, says)


def test_tests_that_do_not_end_are_a_failure(make: Make):
    toml = '[environment]\nnetwork_mode = "no-network"\n[verifier]\ntimeout_sec = 0.5\n'
    failed(play(make(toml, tests__test__sh="#!/bin/sh\necho waits\nsleep 60\n"), ORACLE), "stopped", "waits")


def test_the_exit_code_of_the_tests_does_not_count(make: Make):
    assert reward(play(make(tests__test__sh="#!/bin/sh\necho 1 > /logs/verifier/reward.txt\nexit 3\n"), NOP)) == 1


def test_where_the_solution_fails_every_rollout_is_a_failure(make: Make):
    tests = "#!/bin/sh\necho Could not resolve host: pypi.org\necho 0 > /logs/verifier/reward.txt\n"
    benchmark = make(tests__test__sh=tests)
    for agent in (NOP, Shell("true")):
        failed(play(benchmark, agent), "unusable", "Could not resolve host")
    assert reward(play(benchmark, ORACLE)) == 0


def test_a_solution_is_played_once_for_the_same_task(make: Make, images: Path):
    plays = "#!/bin/sh\n: 1\ntouch /app/done\n"
    before = len(proofs(images))
    assert reward(play(make(solution__solve__sh=plays), NOP)) == 0
    made = proofs(images)
    assert len(made) == before + 1
    times = [path.stat().st_mtime_ns for path in made]
    assert reward(play(make(solution__solve__sh=plays), NOP)) == 0
    assert [path.stat().st_mtime_ns for path in proofs(images)] == times
    assert reward(play(make(solution__solve__sh=plays.replace("1", "2")), NOP)) == 0
    assert len(proofs(images)) == before + 2


def proofs(images: Path) -> list[Path]:
    return sorted((images / "assay/proofs").glob("*"))


def test_users_are_the_tasks(make: Make):
    toml = """
    [environment]
    network_mode = "no-network"
    env = {LEVEL = "3"}
    workdir = "/home/worker"
    [agent]
    user = "worker"
    [verifier]
    env = {LEVEL = "4"}
    """
    agent = Shell("id -un; pwd; echo $LEVEL; touch /bin/x || echo denied")
    tests = "#!/bin/sh\n[ $LEVEL = 4 ] && [ $(id -u) = 0 ] && echo 1 > /logs/verifier/reward.txt\n"
    assert reward(play(make(toml, tests__test__sh=tests), agent)) == 1
    assert agent.said[0].split()[:3] == ["worker", "/home/worker", "3"] and "denied" in agent.said[0]


def test_an_agent_has_its_time(make: Make):
    toml = '[environment]\nnetwork_mode = "no-network"\n[agent]\ntimeout_sec = 0.5\n'
    agent = Shell("touch done; sleep 60", "rm done")
    assert reward(play(make(toml), agent)) == 1
    assert "stopped by the limit of time" in agent.said[0]


def test_the_machine_is_waited_for(make: Make):
    toml = """
    [environment]
    network_mode = "no-network"
    [environment.healthcheck]
    command = "echo x >> /app/checks; [ $(wc -l < /app/checks) -ge {} ]"
    interval_sec = 0.01
    retries = 3
    """
    assert reward(play(make(toml.format(3)), ORACLE)) == 1
    outcome = play(make(toml.format(4)), ORACLE)
    assert isinstance(outcome, Failure) and outcome.kind == "sandbox" and "failed 3 times" in outcome.message


STEPS = """
multi_step_reward_strategy = "{}"
[environment]
network_mode = "no-network"
[[steps]]
name = "one"
{}
[[steps]]
name = "two"
"""


def stepped(make: Make, how: str = "mean", least: str = "") -> Benchmark:
    files: dict[str, str] = {}
    for name in ("one", "two"):
        check = f"[ -e /app/{name} ]; echo $((1 - $?)) > /logs/verifier/reward.txt"
        files |= {
            f"steps/{name}/instruction.md": f"Make {name}.",
            f"steps/{name}/tests/test.sh": f"#!/bin/sh\n{check}\n",
            f"steps/{name}/solution/solve.sh": f"#!/bin/sh\ntouch /app/{name}\n",
        }
    files["steps/two/workdir/setup.sh"] = "#!/bin/sh\necho ready > /app/set-up\n"
    return make(STEPS.format(how, least), **files)


def test_steps_follow_each_other_in_one_machine(make: Make):
    agent = Shell("touch one", None, "cat set-up; ls /tests /solution; touch two", None)
    assert reward(play(stepped(make), agent)) == 1
    assert agent.asked == ["Make two."] and agent.said[1].startswith("ready")
    assert reward(play(stepped(make), ORACLE)) == 1


@pytest.mark.parametrize(
    ("how", "least", "commands", "expected"),
    [
        ("mean", "", ("touch one", None), 0.5),
        ("mean", "", ("touch one",), 0.5),  # it never came to the second step
        ("final", "", ("touch one", None), 0.0),
        ("final", "", (None, "touch two"), 1.0),
        ("mean", "min_reward = 1.0", (None, "touch two"), 0.0),
        ("mean", "", (None, "touch two"), 0.5),
    ],
)
def test_steps_are_scored_together(make: Make, how: str, least: str, commands: tuple[str | None, ...], expected: float):
    assert reward(play(stepped(make, how, least), Shell(*commands))) == expected
