"""A profile: one benchmark on one suite.

profiles/NAME/
  plan.jsonl     the plan: a line for each command with another plan, written before it runs anything
  runs/MODEL/    a run directory each
  marks.jsonl    what readers said of rollouts and findings
  profile.json   derived from all of these, as report.html is

`run` runs the models, `evidence` reads the folder, and `build` computes the Profile.
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
