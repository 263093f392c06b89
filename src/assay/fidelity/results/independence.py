"""Whether a run's repeats are independent, by their scores and by their texts."""

import itertools
from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from assay.stats.repeats import ChangePoint, RunEffect, change_point, run_effect

DRIFT = 0.005
"""The p-value of a run effect or a change point below which repeats differ by more, or by less, than sampling."""
LONG = 200
"""The number of output tokens from which on two sampled texts are never the same by chance."""
LONG_COPIES = 0.2
"""The share of tasks with long outputs that are word for word the same, above which repeats are not independent."""
EXPECTED = 10
"""Two repeats are copies if this many tasks were expected to differ and none does. By chance: exp(-10)."""
FROZEN = 200
"""The number of rollouts in the middle of the range from which on scores that never differ between repeats are no
chance."""
ENOUGH_TASKS = 30
"""The number of tasks from which on a model that errs is expected to vary."""


class Independence(Struct, frozen=True, kw_only=True):
    """Whether a run's repeats are independent. If they are not, their spread has no meaning."""

    verdict: Literal["independent", "dependent", "unclear"]
    """`unclear` if there is nothing to compare, or if easy tasks could explain that all texts are the same."""
    reason: str
    effect: RunEffect | None
    """The F test of a run effect; None if there is no F."""
    change: ChangePoint | None = None
    """The place between repeats where scores change most; None if there is no F."""
    long_copies: float | None = None
    """The share of tasks with two identical long outputs, of those with two long ones; None if there is no such
    task."""
    copied: list[tuple[int, int]] = []
    """Pairs of repeats with identical texts, although other pairs differ."""
    identical: bool = False
    """Whether all repeats have identical texts."""

    @property
    def drifts(self) -> bool:
        """Whether repeats differ by more than sampling. Then the score's SE is that of the run effect."""
        return self.effect is not None and self.effect.p_high < DRIFT


def independence_of(
    rewards_TK: NDArray[np.float64],
    texts_KT: NDArray[np.int64],
    tokens_KT: NDArray[np.float64] | None = None,
    alpha: float = DRIFT,
) -> Independence:
    """Returns whether a run's repeats are independent, by a run effect, a change point and their texts.

    The tests do not show copies, because these lower both parts of F, and the texts do not show a drift of the
    endpoint, so both are used. A task with gaps counts for pairs of repeats with two scores. `texts_KT` has a number
    for each text, -1 without a score, and `tokens_KT` its output tokens. Each test is made at `alpha`.
    """
    effect, change = run_effect(rewards_TK), change_point(rewards_TK, alpha)
    long_copies = None if tokens_KT is None else _long_copies(texts_KT, tokens_KT)
    pairs = list(itertools.combinations(range(rewards_TK.shape[1]), 2))
    common_PT, differ_PT = _compare_texts(texts_KT, pairs)
    copied = _find_copies(pairs, common_PT, differ_PT)
    alike = bool(common_PT.any()) and not differ_PT.any()
    verdict: Literal["independent", "dependent", "unclear"] = "dependent"
    if not common_PT.any():
        verdict, reason = "unclear", "No task has two scores to compare: run 2 repeats."
    elif copied:
        more = f", and so have {len(copied) - 1} more pairs" if len(copied) > 1 else ""
        reason = f"repeats {copied[0][0]} and {copied[0][1]} have identical texts{more}. Cached or seed-locked."
        reason = f"The repeats are not independent: {reason}"
    elif alike:
        verdict = verdict if float(np.nanmean(rewards_TK)) < 1 and len(rewards_TK) >= ENOUGH_TASKS else "unclear"
        reason = (
            "All repeats have identical texts: greedy, cached or seed-locked, or tasks so easy that nothing varies. "
            "They say nothing about how the score moves."
        )
    else:
        known, reason = _test(rewards_TK, long_copies, effect, change, alpha)
        verdict = "dependent" if known else "independent"
    identical = alike and not copied
    return Independence(
        verdict=verdict,
        reason=reason,
        effect=effect,
        change=change,
        long_copies=long_copies,
        copied=copied,
        identical=identical,
    )


def _test(
    rewards_TK: NDArray[np.float64],
    long_copies: float | None,
    effect: RunEffect | None,
    change: ChangePoint | None,
    alpha: float,
) -> tuple[bool, str]:
    """Returns whether repeats with different texts are dependent, and the reason."""
    if long_copies is not None and long_copies > LONG_COPIES:
        reason = f"on {long_copies:.0%} of tasks, outputs of {LONG} tokens or more are word for word the same. Cached."
        return True, f"The repeats are not independent: {reason}"
    if effect is None and _is_frozen(rewards_TK):
        return True, (
            f"On none of {len(rewards_TK)} tasks do repeats score differently, though their texts do: locked to the "
            "seed, or cached."
        )
    if effect is None:
        reason = "Texts differ; scores don't, or on too few tasks for an F. Nothing speaks against independent repeats."
        return False, reason
    if effect.p_low < alpha:
        reason = f"they score too much alike (F = {effect.f:.2f}, {_p(effect.p_low)}). Cached or seed-locked."
        return True, f"The repeats are not independent: {reason}"
    if effect.p_high < alpha:
        return True, (
            f"The repeats differ by more than sampling (F = {effect.f:.1f}, {_p(effect.p_high)}): endpoint or judge "
            f"drifts. With the drift, the SD of the score is {100 * effect.se:.2f} points."
        )
    if change is not None and change.p < alpha:
        return True, (
            f"From repeat {change.before} on, scores differ by {100 * change.change:+.1f} points ({_p(change.p)}): the "
            "endpoint was changed."
        )
    p = _p(effect.p_high)
    return False, f"Nothing speaks against independent repeats: F = {effect.f:.2f} ({p}), and texts differ."


def _is_frozen(rewards_TK: NDArray[np.float64]) -> bool:
    """Returns whether no task's repeats score differently, although the score leaves room for it."""
    several_TK = rewards_TK[(~np.isnan(rewards_TK)).sum(axis=1) > 1]
    made = int((~np.isnan(several_TK)).sum())
    return made >= FROZEN and 0.05 < float(np.nanmean(several_TK)) < 0.95


def _long_copies(texts_KT: NDArray[np.int64], tokens_KT: NDArray[np.float64]) -> float | None:
    """Returns the share of tasks with two identical long outputs, of those with two long ones."""
    long_KT = (texts_KT >= 0) & (tokens_KT >= LONG)
    # Short ones get different numbers, so that no two are the same.
    own_KT = np.where(long_KT, texts_KT, -1 - np.arange(texts_KT.size).reshape(texts_KT.shape))
    same_T = (np.diff(np.sort(own_KT, axis=0), axis=0) == 0).any(axis=0)
    several_T = long_KT.sum(axis=0) > 1
    return float(same_T[several_T].mean()) if several_T.any() else None


def _compare_texts(
    texts_KT: NDArray[np.int64], pairs: list[tuple[int, int]]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Returns for each pair of repeats and task [P, T] whether both have a score, and whether their texts differ."""
    first, second = (texts_KT[[pair[side] for pair in pairs]] for side in (0, 1))
    common_PT = (first >= 0) & (second >= 0)
    return common_PT, common_PT & (first != second)


def _find_copies(
    pairs: list[tuple[int, int]], common_PT: NDArray[np.bool_], differ_PT: NDArray[np.bool_]
) -> list[tuple[int, int]]:
    """Returns the pairs without a difference, although by the other pairs more than 10 tasks should differ.

    Chance gives such a pair with a probability below exp(-10). Short answers to easy tasks are often the same.
    """
    differing_T, compared_T = differ_PT.sum(axis=0), common_PT.sum(axis=0)
    found: list[tuple[int, int]] = []
    for pair, common_T, differ_T in zip(pairs, common_PT, differ_PT, strict=True):
        others_T = compared_T - common_T
        here_T = common_T & (others_T > 0)
        if not differ_T.any() and (differing_T[here_T] / others_T[here_T]).sum() > EXPECTED:
            found.append(pair)
    return found


def _p(value: float) -> str:
    return f"p = {value:.3f}" if value >= 0.001 else "p < 0.001"
