"""Finds nearly equal texts by MinHash of their word triples, among 10,000 texts in seconds."""

import itertools
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

HASHES, BANDS = 64, 16
"""With bands of four hashes, two texts at Jaccard .8 meet in one of them with a probability of .9998."""
PRIME = 2**31 - 1
TEMPLATE = 0.05
"""Triples in more than this share of the texts are their common wording, and don't count."""

_WORD = re.compile(r"\w+|[^\w\s]")


def alike(texts: Sequence[str], threshold: float) -> Iterator[tuple[int, int, float]]:
    """Yields (index, index, likeness) of texts that share most of their own triples.

    Likeness is the Jaccard index of their word triples, without those that more than two texts and more than a
    twentieth of them have. Of a group of n alike texts, at least n - 1 pairs are found.
    """
    triples = [_triples(text) for text in texts]
    common = Counter(triple for found in triples for triple in found)
    most = max(2, TEMPLATE * len(texts))
    own = [frozenset(triple for triple in found if common[triple] <= most) for found in triples]
    groups: defaultdict[tuple[int, bytes], list[int]] = defaultdict(list)
    for index, signature in _signatures(own):
        for band in range(BANDS):
            groups[band, signature[band::BANDS].tobytes()].append(index)
    # Each text with the one before it in its group: a group of thousands stays linear.
    pairs = {pair for group in groups.values() for pair in itertools.pairwise(group)}
    for a, b in sorted(pairs):
        likeness = len(own[a] & own[b]) / len(own[a] | own[b])
        if likeness >= threshold:
            yield a, b, likeness


def _triples(text: str) -> frozenset[int]:
    words = _WORD.findall(text.casefold())
    return frozenset(zlib.crc32(" ".join(words[at : at + 3]).encode()) % PRIME for at in range(max(1, len(words) - 2)))


def _signatures(sets: Sequence[frozenset[int]]) -> Iterator[tuple[int, np.ndarray]]:
    rng = np.random.default_rng(0)
    factors, terms = rng.integers(1, PRIME, HASHES, dtype=np.int64), rng.integers(0, PRIME, HASHES, dtype=np.int64)
    for index, found in enumerate(sets):
        if found:
            values = np.fromiter(found, dtype=np.int64)
            yield index, ((np.outer(factors, values) + terms[:, None]) % PRIME).min(axis=1)
