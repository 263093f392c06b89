"""Whether a run's repeats are independent of each other, by their scores and by their texts."""

import itertools
from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from assay.stats.repeats import RunEffect, run_effect

DRIFT = 0.005
"""p-value of the run effect below which repeats differ by more, or by less, than sampling."""
EXPECTED = 10
"""Two repeats are copies if this many tasks were expected to differ and none does. By chance: exp(-10)."""
ENOUGH_TASKS = 30
"""The number of tasks from which a model that errs is expected to vary somewhere."""


class Independence(Struct, frozen=True, kw_only=True):
    """Whether a run's repeats are independent. If they are not, their spread has no meaning."""

    verdict: Literal["independent", "dependent", "unclear"]
    """`unclear` if there is nothing to compare, or if easy tasks could explain that all texts are the same."""
    reason: str
    effect: RunEffect | None
    """The F test of a run effect; None where there is no F."""
    copied: list[tuple[int, int]] = []
    """Pairs of repeats with identical texts, although other pairs differ."""
    identical: bool = False
    """Whether all repeats have identical texts."""

    @property
    def drifts(self) -> bool:
        """Whether repeats differ by more than sampling. Then the SE of the run effect is the score's."""
        return self.effect is not None and self.effect.p_high < DRIFT


def independence_of(rewards_TK: NDArray[np.float64], texts_KT: NDArray[np.int64]) -> Independence:
    """Returns whether a run's repeats are independent, by the F test of a run effect and by their texts.

    F does not show copies, because they lower both of its parts. The texts do not show a drift of the endpoint. So both
    are used. A task with gaps counts in the texts where both repeats have a score. `texts_KT` has a number for each
    text, -1 where there is no score.
    """
    effect = run_effect(rewards_TK)
    pairs = list(itertools.combinations(range(rewards_TK.shape[1]), 2))
    common_PT, differ_PT = _compared(texts_KT, pairs)
    copied = _copied(pairs, common_PT, differ_PT)
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
    elif effect is None:
        verdict = "independent"
        reason = "Texts differ; scores don't, or on too few tasks for an F. Nothing speaks against independent repeats."
    elif effect.p_low < DRIFT:
        reason = f"they score too much alike (F = {effect.f:.2f}, {_p(effect.p_low)}). Cached or seed-locked."
        reason = f"The repeats are not independent: {reason}"
    elif effect.p_high < DRIFT:
        reason = (
            f"The repeats differ by more than sampling (F = {effect.f:.1f}, {_p(effect.p_high)}): endpoint or judge "
            f"drifts. With the drift, the SD of the score is {100 * effect.se:.2f} points."
        )
    else:
        verdict, p = "independent", _p(effect.p_high)
        reason = f"Nothing speaks against independent repeats: F = {effect.f:.2f} ({p}), and texts differ."
    identical = alike and not copied
    return Independence(verdict=verdict, reason=reason, effect=effect, copied=copied, identical=identical)


def _compared(texts_KT: NDArray[np.int64], pairs: list[tuple[int, int]]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """For each pair of repeats (P) and each task (T): whether both have a score, and whether their texts differ."""
    first, second = (texts_KT[[pair[side] for pair in pairs]] for side in (0, 1))
    common_PT = (first >= 0) & (second >= 0)
    return common_PT, common_PT & (first != second)


def _copied(
    pairs: list[tuple[int, int]], common_PT: NDArray[np.bool_], differ_PT: NDArray[np.bool_]
) -> list[tuple[int, int]]:
    """Pairs without any difference, although by the other pairs more than 10 tasks are expected to differ.

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
