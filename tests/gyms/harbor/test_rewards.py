"""Rewards: which files are read, which number counts, and what is a failure and no zero."""

import pytest

from assay.errors import VerifierError
from assay.gyms.harbor.rewards import read_rewards, reward_of, score_of, too_low

READ = [
    (None, b"1\n", {"reward": 1}),
    (None, b" 0.25 ", {"reward": 0.25}),
    (b'{"reward": 0.5, "speed": 3}', b"1", {"reward": 0.5, "speed": 3}),
    (b'{"reward": true}', None, {"reward": 1}),
]
UNREAD = [
    (None, None),
    (None, b""),
    (None, b"  \n"),
    (None, b"nan"),
    (None, b"inf"),
    (None, b"1e300"),
    (None, b"passed"),
    (None, b"\xff"),
    (b"", b"1"),
    (b"{}", b"1"),
    (b"[1]", b"1"),
    (b"1", b"1"),
    (b'{"reward": NaN}', b"1"),
    (b'{"reward": 1e999}', b"1"),
    (b'{"reward": "1"}', b"1"),
    (b'{"reward": null}', b"1"),
    (b'{"reward": 1', b"1"),
    (b"[" * 100_000, b"1"),
    (b'{"reward": %s}' % (b"9" * 400), b"1"),
    (b'{"reward": {"reward": 1}}', b"1"),
    (b'{"\\ud800": 1}', b"1"),
]


@pytest.mark.parametrize(("json", "text", "rewards"), READ)
def test_the_object_comes_before_the_number(json: bytes | None, text: bytes | None, rewards: dict[str, float]):
    assert read_rewards(json, text) == rewards


@pytest.mark.parametrize(("json", "text"), UNREAD)
def test_what_is_no_reward_is_a_failure(json: bytes | None, text: bytes | None):
    with pytest.raises(VerifierError):
        read_rewards(json, text)


def test_one_number_counts():
    assert reward_of({"reward": 0.5, "speed": 3}) == 0.5
    assert reward_of({"accuracy": 0.7}) == 0.7
    with pytest.raises(VerifierError, match="accuracy, speed"):
        reward_of({"accuracy": 0.7, "speed": 3})


def test_steps_have_a_mean_or_the_last_counts():
    steps = [{"reward": 1.0, "speed": 4.0}, {"reward": 0.5}]
    assert score_of(steps, None).reward == score_of(steps, "mean").reward == 0.75
    assert score_of(steps, "mean").metrics == {"speed": 2}
    assert score_of(steps, "final").reward == 0.5 and score_of(steps, "final").metrics == {}


@pytest.mark.parametrize(
    ("rewards", "least", "low"),
    [
        ({"reward": 0.5}, None, False),
        ({"reward": 0.5}, 0.5, False),
        ({"reward": 0.4}, 0.5, True),
        ({"other": 1.0}, 0.5, True),
        ({"reward": 0.0, "a": 1.0}, {"a": 1.0}, False),
        ({"reward": 1.0}, {"a": 1.0}, True),
    ],
)
def test_the_next_step_needs_the_least_reward(
    rewards: dict[str, float], least: float | dict[str, float] | None, low: bool
):
    assert too_low(rewards, least) is low
