"""The announcement: digests of the plan, the margins and the benchmark, to be posted elsewhere before the first call.

Its digest is that of its line in `started.jsonl`. The date of the post, which no file can change, shows that the plan
is at least as old; each later line of the registry is linked to it.
"""

from collections.abc import Callable
from pathlib import Path

import msgspec

from assay.digest import digest
from assay.errors import UsageError
from assay.fidelity.certificate.description import describe
from assay.fidelity.certificate.schema import CertifiedBenchmark
from assay.fidelity.profile import ProfilePlan
from assay.fidelity.profile.run import begin
from assay.fidelity.schema.profile import Plan
from assay.input import BROKEN, is_present, read_input
from assay.store import REGISTRY, Announcement, is_about, read_lines, read_registry, write_json, write_profile_line

FILE = "announcement.json"
OF_PLAN = ("tasks", "verifier", "suite", "repeats", "margins", "seed", "agent")
"""The parts that follow from the first line of `plan.jsonl`, which never changes."""


def announce(asked: ProfilePlan, tell: Callable[[str], None]) -> Announcement:
    """Writes what a profile will run into the registry and `announcement.json`. Returns it.

    Raises UsageError if the profile has begun without an announcement.
    """
    asked, plan, _ = begin(asked, tell)
    folder = asked.run.folder
    registry, parts = folder.resolve().parent / REGISTRY, parts_of(plan, describe(asked.run.benchmark, plan))
    known = read_registry(registry) if is_present(registry) else []
    earlier = [one for one in known if isinstance(one, Announcement) and is_about(one, folder, registry)]
    begun = any(folder.glob("runs/*/run.json"))
    if earlier and (begun or earlier[-1].parts == parts):
        made = earlier[-1]
    elif begun:
        raise UsageError(
            f"{folder} has runs, and an announcement comes before the first call: announce a new profile, with --out"
        )
    else:
        made = write_profile_line(registry, folder, Announcement, benchmark=plan.benchmark.name, parts=parts)
    write_json(folder / FILE, made)
    return made


def parts_of(plan: Plan, described: CertifiedBenchmark) -> dict[str, str]:
    """Returns the digest of each part of a plan and of the benchmark, so that a change can be named."""
    suite = plan.suite
    models = {
        name: [member.role, member.kind, member.tier, member.published, member.server().identity()]
        for name, member in suite.models.items()
    }
    roles = {role: config.identity() for role, config in suite.roles.items()}
    protocol = ("sampling", "limits", "repeats", "score", "chance", "formats", "hard", "original", "version")
    parts = {
        "tasks": [plan.benchmark.digest, plan.selection],
        "verifier": plan.benchmark.code,
        "suite": [models, roles, suite.order, suite.tiers],
        "repeats": [{name: plan.repeats_of(name) for name in suite.models}, plan.until_stable],
        "margins": plan.margins,
        "seed": plan.seed,
        "agent": plan.agent,
        "prompts": described.prompts_digest,
        "protocol": [getattr(described, name) for name in protocol],
        "published.toml": described.published,
    }
    return {name: digest(part) for name, part in parts.items()}


def changed_since(announced: Announcement | None, plan: Plan, described: CertifiedBenchmark) -> list[str]:
    """Returns the parts of a plan and of the certified benchmark that differ from the announced ones."""
    now = parts_of(plan, described)
    return [name for name, part in now.items() if announced and announced.parts.get(name) != part]


def edited_since(folder: Path, announced: Announcement | None, described: CertifiedBenchmark) -> list[str]:
    """Returns the parts in which the first line of a profile's `plan.jsonl` differs from the announcement."""
    first = next(read_lines(folder / "plan.jsonl", Plan))
    return [name for name in changed_since(announced, first, described) if name in OF_PLAN]


def read_announcement(given: str) -> str:
    """Returns a digest as it is, or the digest of the announcement in a file. Raises UsageError."""
    text = given.strip().lower()
    if len(text) == 64 and not set(text) - set("0123456789abcdef"):
        return text
    path = Path(given)
    if not is_present(path):
        raise UsageError(f"--announcement {given}: expected a digest of 64 hexadecimal digits, or {FILE}")
    try:
        return msgspec.json.decode(read_input(path), type=Announcement).digest
    except BROKEN as error:
        raise UsageError(f"{path} is no announcement: {error}; expected the {FILE} of `assay profile`") from None
