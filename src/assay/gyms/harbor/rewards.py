"""Rewards as Harbor reads them: from the files that a test script leaves, and of a task's steps together."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from assay.errors import VerifierError
from assay.types import LARGEST, Score

Rewards = Mapping[str, float]
REWARD = "reward"
"""The name of the one number that counts, where there are several."""


def read_rewards(json: bytes | None, text: bytes | None) -> Rewards:
    """Returns the rewards in reward.json, else in reward.txt. Raises VerifierError where there are none.

    A script that wrote no number, or no finite one, has judged nothing: that is no zero.
    """
    if json is not None:
        return _of_json(json)
    if text is None:
        raise VerifierError("no_reward", "the tests wrote neither /logs/verifier/reward.json nor reward.txt")
    if not text.strip():
        raise VerifierError("no_reward", "the tests left reward.txt empty")
    try:
        return {REWARD: _number(float(text.decode()), "reward.txt")}
    except ValueError:
        raise VerifierError("bad_reward", f"reward.txt holds {text[:80]!r}; expected one number") from None


def _of_json(content: bytes) -> Rewards:
    if not content.strip():
        raise VerifierError("no_reward", "the tests left reward.json empty")
    try:
        found: Any = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise VerifierError("bad_reward", f"reward.json is no JSON: {error}") from None
    if not isinstance(found, dict) or not found:
        raise VerifierError("bad_reward", f"reward.json holds {content[:80]!r}; expected an object of numbers")
    return {str(name): _number(value, f"{name} in reward.json") for name, value in found.items()}  # pyright: ignore


def _number(value: Any, what: str) -> float:
    if not isinstance(value, int | float) or not abs(value) <= LARGEST:  # nor NaN, which is not in order
        raise VerifierError("bad_reward", f"{what} is {value!r}; expected a finite number")
    return float(value)


def reward_of(rewards: Rewards) -> float:
    """Returns the number that counts: `reward`, or the only one. Raises VerifierError where there is none."""
    if REWARD in rewards:
        return rewards[REWARD]
    if len(rewards) == 1:
        return next(iter(rewards.values()))
    raise VerifierError("bad_reward", f"reward.json has {', '.join(rewards)}; expected one number, or one named reward")


def too_low(rewards: Rewards, least: float | Mapping[str, float] | None) -> bool:
    """Whether a step's rewards are below what the next step needs. One that is missing is."""
    if least is None:
        return False
    limits = least if isinstance(least, Mapping) else {REWARD: least}
    return any(rewards.get(name, -math.inf) < limit for name, limit in limits.items())


def score_of(steps: Sequence[Rewards], how: Literal["mean", "final"] | None) -> Score:
    """Returns the score of the steps that were played: their mean by name, a missing one being 0, or the last one's.

    Its metrics are the other numbers and, of several steps, the reward of each.
    """
    rewards = steps[-1]
    if how != "final":
        names = dict.fromkeys(name for step in steps for name in step)
        rewards = {name: sum(step.get(name, 0.0) for step in steps) / len(steps) for name in names}
    metrics = {name: value for name, value in rewards.items() if name != REWARD and len(rewards) > 1}
    return Score(reward=reward_of(rewards), metrics=metrics)
