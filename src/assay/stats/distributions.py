"""The normal, t and F distributions as functions of floats. `scipy.stats` has them too, for a second of import."""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportMissingTypeStubs=false

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special


def normal_cdf(z: float) -> float:
    """P(Z <= z)."""
    return float(special.ndtr(z))


def normal_quantile(p: float) -> float:
    """Returns the z with P(Z <= z) = p."""
    return float(special.ndtri(p))


def t_cdf(t: float, df: float) -> float:
    """P(t_df <= t)."""
    return float(special.stdtr(df, t))


def t_quantile(p: float, df: float) -> float:
    """Returns the t with P(t_df <= t) = p."""
    return float(special.stdtrit(df, p))


def f_tail(f: float, df_above: float, df_below: float) -> float:
    """P(F > f), exact where it is small."""
    return float(special.fdtrc(df_above, df_below, f))


def binomial_quantile(p: float, n: int, rate: float) -> int:
    """Returns the smallest k with P(X <= k) >= p for the number of successes in n trials that succeed at the rate."""
    if not 0 < rate < 1:
        return n if rate >= 1 else 0
    return int(np.argmax(special.bdtr(np.arange(n + 1), n, rate) >= p))


def log_choose(n: ArrayLike, k: ArrayLike) -> NDArray[np.float64]:
    """Returns the natural logarithm of the binomial coefficient, elementwise; -inf where k is not in 0..n."""
    n_array, k_array = np.broadcast_arrays(np.asarray(n, dtype=np.float64), np.asarray(k, dtype=np.float64))
    possible = (k_array >= 0) & (k_array <= n_array)
    inside = np.where(possible, k_array, 0)
    logs = special.gammaln(n_array + 1) - special.gammaln(inside + 1) - special.gammaln(n_array - inside + 1)
    return np.where(possible, logs, -np.inf)


def binomial_tail(count: int, n: int, rate: float) -> float:
    """P(X >= count) of n independent draws at this rate."""
    return 1.0 if count <= 0 else float(special.betainc(count, n - count + 1, rate))


def binomial_lower(count: int, n: int, confidence: float) -> float:
    """Clopper and Pearson's (1934) one-sided lower bound of a rate, `count` of n draws having been seen."""
    return 0.0 if count <= 0 else float(special.betaincinv(count, n - count + 1, 1 - confidence))


def binomial_upper(count: int, n: int, confidence: float) -> float:
    """Clopper and Pearson's one-sided upper bound: .05 or less for none of 59 draws at 95 %."""
    return 1.0 if count >= n else float(special.betaincinv(count + 1, n - count, confidence))
