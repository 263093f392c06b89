"""Detectors: each searches rollouts for one pattern, and says what it may mean and what to do.

A finding is a reason to read, not a verdict: three of 960 rollouts at the token cap are a finding. A wrong answer is
not, because a model may be wrong. A detector is one file, found by its entry point in the group `assay.detectors`.
"""

from assay.fidelity.detectors.search import (
    detect,
    detectors,
    detectors_digest,
    find,
    load_detectors,
    read_with_findings,
)

__all__ = ["detect", "detectors", "detectors_digest", "find", "load_detectors", "read_with_findings"]
