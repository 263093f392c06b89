"""pass@k, maj@k and G-Pass@k, each averaged over all k-subsets of the attempts."""

import functools
import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.stats.distributions import log_choose
from assay.stats.moments import Floats

EXACT = 16
"""The most attempts for which maj@k is exact. With more, exact counting takes seconds a task."""
DRAWS = 30_000
"""The number of random subsets, over all tasks, where maj@k is not exact."""


def pass_at_k(right: ArrayLike, n: ArrayLike, k: int) -> Floats:
    """For each task the chance that at least one of k attempts, drawn from its n without replacement, is right.

    1 - C(n-c, k) / C(n, k) with c = `right`, unbiased for any n >= k (Chen et al. 2021), as a product of k ratios, so
    that nothing overflows. `right` and `n` broadcast; the mean over tasks is the benchmark's pass@k.
    Raises ValueError unless 1 <= k <= n and 0 <= right <= n everywhere.
    """
    right_T, n_T = _counts(right, n, k)
    drawn_k = np.arange(k)
    ratios = (n_T - right_T)[..., None] - drawn_k
    return 1 - np.prod(np.maximum(ratios, 0) / (n_T[..., None] - drawn_k), axis=-1)


def g_pass_at_k(right: ArrayLike, n: ArrayLike, k: int, tau: float) -> Floats:
    """For each task the chance that at least tau of k attempts, drawn from its n without replacement, are right.

    sum_{j >= max(1, ceil(tau k))} C(c, j) C(n-c, k-j) / C(n, k) with c = `right`: G-Pass@k_tau of Liu et al. 2024,
    "Are Your LLMs Capable of Stable Reasoning?". At tau = 0 it is pass@k, at tau = 1 all k are right.
    Raises ValueError as `pass_at_k` does, or for tau outside [0, 1].
    """
    if not 0 <= tau <= 1:
        raise ValueError(f"tau is {tau}; expected a value in [0, 1]")
    right_T, n_T = _counts(right, n, k)
    # 0.6 * 5 may become 3.0000000000000004, and must count as 3.
    enough = np.arange(max(1, math.ceil(tau * k - 1e-9)), k + 1)
    logs = (
        log_choose(right_T[..., None], enough)
        + log_choose((n_T - right_T)[..., None], k - enough)
        - log_choose(n_T, k)[..., None]
    )
    return np.minimum(1.0, np.exp(logs).sum(axis=-1))


def maj_at_k(
    answers: Sequence[Sequence[Hashable | None]], rewards: Sequence[Sequence[float]], ks: Sequence[int]
) -> dict[int, float]:
    """Returns by k the mean of `maj_by_task` over the tasks that have k attempts. Raises ValueError as it does."""
    return {k: float(np.nanmean(won_T)) for k, won_T in maj_by_task(answers, rewards, ks).items()}


def maj_by_task(
    answers: Sequence[Sequence[Hashable | None]], rewards: Sequence[Sequence[float]], ks: Sequence[int]
) -> dict[int, Floats]:
    """Returns by k, for each task, the reward of the answer that most of k attempts give, over all k-subsets.

    `answers[i][j]` is what attempt j at task i answered, None where it has no answer, and `rewards[i][j]` its reward.
    Answers with full marks at all times are one answer, for the verifier finds them equal: 3/4 and 0.75. Tied answers
    share the win. No answer is no vote; where none of the k answered, the reward is 0. Where one answer
    was rewarded differently at different times, its mean reward counts. Tasks with fewer than k attempts have NaN.

    Exact where no task has more than EXACT attempts. Above that the subsets are drawn, the same ones each time: DRAWS
    of them over all tasks, for an SD of at most .3 points, and about .1 where most majorities are clear.

    Raises ValueError where there is no task, lengths differ, or no task has k attempts.
    """
    if not answers or [len(row) for row in answers] != [len(row) for row in rewards]:
        raise ValueError(
            f"answers for {len(answers)} tasks, rewards for {len(rewards)}; expected as many of each, at least 1"
        )
    most = max(len(row) for row in answers)
    if min(ks, default=1) < 1 or max(ks, default=0) > most:
        raise ValueError(f"k = {ks}; expected 1 <= k <= {most}, the most attempts at a task")
    answers = [_alike(*task) for task in zip(answers, rewards, strict=True)]
    if most > EXACT:
        return _by_drawing(answers, rewards, ks)
    groups = [(len(a), *_groups(a, r)) for a, r in zip(answers, rewards, strict=True)]
    return {
        k: np.array([_expected(alike, silent, k) if made >= k else math.nan for made, alike, silent in groups])
        for k in ks
    }


def _alike(answers: Sequence[Hashable | None], rewards: Sequence[float]) -> list[Hashable | None]:
    """Returns the answers of a task, with the first one that always has full marks in the place of all of those."""
    less = {answer for answer, reward in zip(answers, rewards, strict=True) if reward < 1}
    right = next((answer for answer in answers if answer is not None and answer not in less), None)
    return [answer if answer is None or answer in less else right for answer in answers]


def _groups(answers: Sequence[Hashable | None], rewards: Sequence[float]) -> tuple[tuple[tuple[int, float], ...], int]:
    """(how often, mean reward) of each answer, in an order that does not depend on theirs; and how many gave none."""
    rewards_of: dict[Hashable, list[float]] = {}
    silent = 0
    for answer, reward in zip(answers, rewards, strict=True):
        if answer is None:
            silent += 1
        else:
            rewards_of.setdefault(answer, []).append(reward)
    return tuple(sorted((len(group), sum(group) / len(group)) for group in rewards_of.values())), silent


@functools.lru_cache(maxsize=65536)
def _expected(groups: tuple[tuple[int, float], ...], silent: int, k: int) -> float:
    """The expected reward of one task's majority vote, summed over the numbers of votes that can win it. Many tasks
    have the same groups."""
    most = min(k, max((count for count, _ in groups), default=0))
    won = sum(_won_with(votes, groups, silent, k) for votes in range(1, most + 1))
    return won / math.comb(sum(count for count, _ in groups) + silent, k)


def _by_drawing(
    answers: Sequence[Sequence[Hashable | None]], rewards: Sequence[Sequence[float]], ks: Sequence[int]
) -> dict[int, Floats]:
    """maj@k by random subsets: each draw puts every task's attempts in a random order and takes the first k.

    `codes_TN` numbers a task's answers, -1 for none; attempts that were not made come last in every order.
    """
    tasks, most = len(answers), max(len(row) for row in answers)
    n_T = np.array([len(row) for row in answers])
    codes_TN, sums_TN = np.full((tasks, most), -1), np.zeros((tasks, most))
    counts_TN = np.zeros((tasks, most))
    for task, (row, given) in enumerate(zip(answers, rewards, strict=True)):
        numbers: dict[Hashable, int] = {}
        codes = [-1 if answer is None else numbers.setdefault(answer, len(numbers)) for answer in row]
        codes_TN[task, : len(row)] = codes
        np.add.at(
            sums_TN[task], codes, [0.0 if code < 0 else reward for code, reward in zip(codes, given, strict=True)]
        )
        np.add.at(counts_TN[task], codes, [code >= 0 for code in codes])
    answers_most = int(codes_TN.max()) + 1
    reward_TG = (sums_TN / np.maximum(counts_TN, 1))[:, :answers_most]
    generator, draws = np.random.default_rng(0), max(1, math.ceil(DRAWS / tasks))
    won = {k: np.where(n_T >= k, 0.0, math.nan) for k in ks}
    for _ in range(draws):
        keys_TN = generator.random((tasks, most))
        keys_TN[np.arange(most) >= n_T[:, None]] = np.inf
        drawn_TN = np.take_along_axis(codes_TN, np.argsort(keys_TN, axis=1), axis=1)
        for k in ks:
            won[k][n_T >= k] += _majorities(drawn_TN[n_T >= k, :k], reward_TG[n_T >= k])
    return {k: total_T / draws for k, total_T in won.items()}


def _majorities(codes_Tk: NDArray[np.int64], reward_TG: Floats) -> Floats:
    """For each task the reward of the answer that most of these attempts gave."""
    tasks, answers = reward_TG.shape
    first_T1: NDArray[np.int64] = answers * np.arange(tasks, dtype=np.int64)[:, None]
    places: NDArray[np.int64] = np.extract(codes_Tk >= 0, codes_Tk + first_T1)
    votes_TG = np.bincount(places, minlength=tasks * answers).reshape(tasks, answers)
    top_T = votes_TG.max(axis=1, initial=0)
    tied_TG = (votes_TG == top_T[:, None]) & (top_T > 0)[:, None]
    return (tied_TG * reward_TG).sum(axis=1) / np.maximum(tied_TG.sum(axis=1), 1)


def _won_with(votes: int, groups: Sequence[tuple[int, float]], silent: int, k: int) -> float:
    """Returns the winner's reward summed over the k-subsets in which the most votes that any answer gets is `votes`.

    `ways[u, t]` counts choices of u attempts among the answers so far, t of them tied at `votes`, and `rewards[u, t]`
    sums the tied answers' rewards over those choices. Answers are added one at a time.
    """
    ways = np.zeros((k + 1, k // votes + 1))
    ways[0, 0] = 1
    rewards = np.zeros_like(ways)
    for count, reward in groups:
        ways_next, rewards_next = np.zeros_like(ways), np.zeros_like(ways)
        for got in range(min(count, votes - 1) + 1):
            ways_next[got:] += math.comb(count, got) * ways[: k + 1 - got]
            rewards_next[got:] += math.comb(count, got) * rewards[: k + 1 - got]
        if count >= votes:
            tied = math.comb(count, votes)
            ways_next[votes:, 1:] += tied * ways[: k + 1 - votes, :-1]
            rewards_next[votes:, 1:] += tied * (rewards + reward * ways)[: k + 1 - votes, :-1]
        ways, rewards = ways_next, rewards_next
    total = 0.0
    for none in range(min(silent, k) + 1):
        total_of_ties = rewards[k - none, 1:] / np.arange(1, rewards.shape[1])
        total += math.comb(silent, none) * float(total_of_ties.sum())
    return total


def _counts(right: ArrayLike, n: ArrayLike, k: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    right_T, n_T = np.broadcast_arrays(np.asarray(right, dtype=np.int64), np.asarray(n, dtype=np.int64))
    if k < 1 or (n_T < k).any() or (right_T < 0).any() or (right_T > n_T).any():
        raise ValueError(f"k = {k}, right = {right_T}, n = {n_T}; expected 1 <= k <= n and 0 <= right <= n")
    return right_T, n_T
