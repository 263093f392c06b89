"""Agents that want a reward without doing the task: what each gets, by where the tests run and who the agent is."""

import os
from collections.abc import Callable

import pytest

from assay.benchmark import Benchmark
from assay.gyms.harbor.session import AS_ROOT
from assay.sandbox import Place
from assay.types import Failure, Outcome, Score
from tests.gyms.harbor.made import BASE, Shell, play
from tests.sandbox.engines import OWN

Make = Callable[..., Benchmark]
ENVIRONMENT = '[environment]\nnetwork_mode = "no-network"\nstorage_mb = 24\n'
PLACES = {
    "root": ENVIRONMENT,
    "worker": f'{ENVIRONMENT}[agent]\nuser = "worker"\n',
    "separate": f'artifacts = ["/app/done"]\n{ENVIRONMENT}[verifier]\nenvironment_mode = "separate"\n',
}
"""Where the tests run: with an agent that was root, with one that was another user, in a machine of their own."""
OWNED = f"{BASE}RUN chown worker /app\n"
PLANT = """
mkdir -p /logs/verifier /tests
echo 1 > /logs/verifier/reward.txt
echo '{"reward": 1}' > /logs/verifier/reward.json
"""
LINK = """
mkdir -p /tmp/away; echo 1 > /tmp/away/reward.txt; cp /tmp/away/reward.txt /tmp/away/test.sh
rm -rf /logs/verifier /tests; ln -s /tmp/away /logs/verifier; ln -s /tmp/away /tests
"""
REPLACE = """
cat > /tmp/sh <<'END'
#!/bin/bash
echo 1 > /logs/verifier/reward.txt
END
chmod 755 /tmp/sh; mv /tmp/sh /bin/sh
"""
REWRITE = """
cat > /tmp/rewrite <<'END'
while :; do echo 1 > /logs/verifier/reward.txt; done 2>/dev/null
END
setsid bash /tmp/rewrite > /dev/null 2>&1 < /dev/null &
"""
FILL = "cat /dev/zero > /tmp/big"
BOMB = "f() { f | f & }; f; sleep 0.5"


def attacked(make: Make, place: str, *commands: str) -> Outcome:
    return play(make(PLACES[place], environment__Dockerfile=OWNED), Shell(*commands))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("attack", [PLANT, LINK], ids=["planted", "linked"])
def test_a_reward_that_was_there_before_does_not_count(make: Make, place: str, attack: str):
    outcome = attacked(make, place, attack)
    assert isinstance(outcome, Score) and outcome.reward == 0


@pytest.mark.parametrize("place", PLACES)
def test_the_tests_are_nowhere_while_the_agent_works(make: Make, place: str):
    agent = Shell("find / -name 'test.sh' -o -name 'solve.sh' -o -name 'task.toml' 2>/dev/null | grep -v ^/proc")
    play(make(PLACES[place], environment__Dockerfile=OWNED), agent)
    assert agent.said == ["\n(exit code 1)"]


@pytest.mark.parametrize(("place", "reward"), [("root", 1), ("worker", 0), ("separate", 0)])
def test_who_is_root_can_replace_what_judges_and_the_score_says_so(make: Make, place: str, reward: int):
    outcome = attacked(make, place, REPLACE)
    assert isinstance(outcome, Score)
    assert (outcome.reward, AS_ROOT in outcome.metrics) == (reward, place == "root")


def test_a_process_of_roots_that_rewrites_rewards_is_a_failure_or_a_score_that_says_so(make: Make):
    outcome = attacked(make, "root", REWRITE)
    assert isinstance(outcome, Failure) or AS_ROOT in outcome.metrics


@pytest.mark.parametrize("place", ["worker", "separate"])
def test_a_process_that_may_not_write_rewards_changes_none(make: Make, place: str):
    outcome = attacked(make, place, REWRITE)
    assert isinstance(outcome, Score) and outcome.reward == 0 and AS_ROOT not in outcome.metrics


@pytest.mark.parametrize("place", ["root", "worker"])
def test_a_full_disk_on_which_nothing_can_be_judged_is_a_failure(make: Make, provider: Place, place: str):
    outcome = attacked(make, place, FILL)
    if provider.provider != OWN:  # no file fills a container's disk, which has no limit otherwise
        assert isinstance(outcome, Score) and outcome.reward == 0
        return
    assert isinstance(outcome, Failure) and outcome.where == "verifier" and outcome.kind in ("no_reward", "no_place")


DEEP = "mkdir -p $(printf 'a/%.0s' $(seq 1500))"
"""Folders in folders, deeper than a function of Python's calls itself."""


@pytest.mark.parametrize(
    "attack",
    [
        f"mkdir -p /tests && cd /tests && {DEEP}",
        "rm -rf /logs; echo x > /logs",
        "rm -f /etc/passwd; ln -s /etc/passwd /etc/passwd",
        "echo 'worker:x:99999999999999999999:0::/:/bin/sh' > /etc/passwd",
        "rm -rf /tests; mkfifo /tests",
        "chmod 000 / /app /tests /logs /logs/*",
    ],
    ids=["deep", "file", "loop", "number", "pipe", "unreadable"],
)
def test_an_agent_that_spoils_its_machine_gets_no_reward_and_the_keeper_says_nothing(
    make: Make, attack: str, capfd: pytest.CaptureFixture[str]
):
    outcome = play(make(f'{ENVIRONMENT}[verifier]\nuser = "worker"\n', environment__Dockerfile=OWNED), Shell(attack))
    assert isinstance(outcome, Failure) or outcome.reward == 0
    assert isinstance(outcome, Score) or "the machine has died" not in outcome.message
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("left", [os.fsdecode(b"\xff"), "big"])
def test_artifacts_that_are_too_large_or_have_odd_names_are_judged_or_a_failure(make: Make, provider: Place, left: str):
    toml = f'artifacts = ["/app/done", "/app/folder"]\n{ENVIRONMENT}[verifier]\nenvironment_mode = "separate"\n'
    fill = "dd if=/dev/zero of=folder/big bs=1 count=1 seek=2G" if left == "big" else "touch folder/$(printf '\\377')"
    outcome = play(make(toml, environment__Dockerfile=OWNED), Shell(f"touch done; mkdir folder; {fill}"))
    if left == "big" and provider.provider == OWN:
        assert isinstance(outcome, Failure)
    else:  # a container lets no file get larger than its disk
        assert isinstance(outcome, Score) and outcome.reward == 1


@pytest.mark.slow
@pytest.mark.parametrize("place", ["root", "worker"])
def test_a_fork_bomb_gets_no_reward(make: Make, place: str):
    outcome = attacked(make, place, BOMB)
    assert isinstance(outcome, Failure) or outcome.reward == 0


@pytest.mark.parametrize("attack", [FILL, pytest.param(BOMB, marks=pytest.mark.slow)], ids=["full", "bomb"])
def test_a_verifier_of_its_own_judges_whatever_the_agent_did_to_its_machine(make: Make, attack: str):
    outcome = attacked(make, "separate", "touch done", attack)
    assert isinstance(outcome, Score) and outcome.reward == 1
