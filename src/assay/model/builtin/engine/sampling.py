"""Choosing the next token of many sequences at once."""

import numpy as np
from numpy.typing import NDArray

from assay.model.builtin.engine.llama import Floats, Ints

Doubles = NDArray[np.float64]


def choose(logits: Floats, temperature: Floats, top_p: Doubles, top_k: Ints, uniform: Doubles) -> tuple[Ints, Doubles]:
    """A token for each row of logits [rows, vocabulary], and its natural log-probability.

    The log-probability is the model's own, at temperature 1 and before top_k and top_p. A row at temperature 0 gets its
    likeliest token; every other row the one at `uniform` in [0, 1) of its cumulative distribution, so a row's token
    depends on nothing but that row. top_k = 0 and top_p = 1 cut nothing; top_k cuts first, as in transformers.
    """
    rows = np.arange(len(logits))
    likeliest = logits.argmax(-1)
    below = logits - logits[rows, likeliest][:, None]
    weights = np.exp(below)
    normalizer = np.log(weights.sum(-1, dtype=np.float64))
    tokens: Ints = likeliest
    greedy: NDArray[np.bool] = temperature == 0
    if not greedy.all():
        if (temperature != 1).any():
            weights = np.exp(below / np.where(greedy, 1, temperature)[:, None])
        cut = np.flatnonzero((top_k > 0) | (top_p < 1))
        if cut.size:
            weights[cut] = truncate(weights[cut], top_p[cut], top_k[cut])
        cumulative = weights.cumsum(-1, dtype=np.float64)
        total = cumulative[:, -1]
        # Strictly below the total, whatever rounding does: the token at that point then has a weight.
        point = np.minimum(uniform * total, np.nextafter(total, 0))
        drawn: Ints = np.count_nonzero(cumulative <= point[:, None], axis=-1)
        tokens = np.where(greedy, likeliest, drawn)
    return tokens, below[rows, tokens] - normalizer


def truncate(weights: Floats, top_p: Doubles, top_k: Ints) -> Floats:
    """The weights [rows, vocabulary] with 0 for all but the top_k highest (0: all), and of these but the fewest that
    hold top_p of their sum. A tie at the cut is kept.
    """
    rows = np.arange(len(weights))
    size = weights.shape[1]
    falling = np.sort(weights, axis=-1)[:, ::-1]
    kept = np.where(top_k > 0, np.minimum(top_k, size), size)
    falling = np.where(np.arange(size, dtype=np.int64) < kept[:, None], falling, 0)
    cumulative = falling.cumsum(-1, dtype=np.float64)
    nucleus = (cumulative < top_p[:, None] * cumulative[:, -1:]).sum(-1) + 1
    threshold = falling[rows, np.minimum(kept, nucleus) - 1]
    return np.where(weights >= threshold[:, None], weights, np.float32(0))


def logprobs(logits: Floats, tokens: Ints) -> Doubles:
    """The natural log-probability of `tokens` [rows] under logits [rows, vocabulary]."""
    rows = np.arange(len(logits))
    below = logits - logits.max(-1, keepdims=True)
    return below[rows, tokens] - np.log(np.exp(below).sum(-1, dtype=np.float64))
