"""A profile: one benchmark on one suite.

profiles/NAME/
  plan.jsonl     what was asked for: a line a command that asked for something else, written before it ran anything
  runs/MODEL/    a run directory each
  marks.jsonl    what readers said of rollouts and findings
  profile.json   derived from all of these, as report.html is

`run` runs the models, `evidence` reads what is in the folder, and `build` makes a Profile of that.
"""

from assay.fidelity.profile.build import compute, compute_with_results, profile_of
from assay.fidelity.profile.evidence import (
    Evidence,
    contenders_of,
    gather,
    load_material,
    read_plan,
    source_of,
    source_seen_from,
)
from assay.fidelity.profile.run import ProfilePlan, profile

__all__ = [
    "Evidence",
    "ProfilePlan",
    "compute",
    "compute_with_results",
    "contenders_of",
    "gather",
    "load_material",
    "profile",
    "profile_of",
    "read_plan",
    "source_of",
    "source_seen_from",
]
