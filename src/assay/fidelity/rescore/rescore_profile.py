"""Rescoring a profile: a new profile with the rescored runs of an old one."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import structs

from assay.collect.collect import Interruption, Tally
from assay.collect.run import hide_headers, select_tasks, versions
from assay.digest import digest
from assay.errors import DigestMismatch, UsageError
from assay.fidelity.profile import read_plan, source_seen_from
from assay.fidelity.profile.evidence import record_of
from assay.fidelity.rescore.rescore import RescorePlan, Rescoring, rescore
from assay.fidelity.schema.profile import Plan
from assay.input import is_present, read_input
from assay.store import REGISTRY, read_lines, write_bytes, write_lines


async def rescore_profile(
    plan: RescorePlan,
    *,
    interruption: Interruption,
    watch: Callable[[str, Tally], None] = lambda name, tally: None,
) -> tuple[Path, dict[str, Rescoring]] | None:
    """Rescores every run of a profile into a new profile. Returns its folder and the results; None if interrupted.

    Readers' marks and the original code's results are copied. A mark holds if the outcome is the same.
    """
    profile = plan.run.resolve()
    last = read_plan(profile)
    benchmark = plan.benchmark
    record = record_of(benchmark, *select_tasks(benchmark, last.selection))
    roles = {**last.suite.roles, **{role: hide_headers(config) for role, config in plan.roles.items()}}
    name = digest([record, {role: config.identity() for role, config in roles.items()}, versions(benchmark)["assay"]])[
        :8
    ]
    folder = plan.folder or profile.with_name(f"{profile.name}-rescored-{name}")
    plans = [
        structs.replace(
            line,
            source=source_seen_from(folder, benchmark),
            benchmark=record,
            chance=benchmark.chance,
            suite=structs.replace(line.suite, roles=roles),
            versions=versions(benchmark),
        )
        for line in read_lines(profile / "plan.jsonl", Plan)
    ]
    _begin_profile(profile, folder, plans)
    found: dict[str, Rescoring] = {}
    for run in sorted(path.parent for path in profile.glob("runs/*/run.json")):
        part = dataclasses.replace(
            plan,
            run=run,
            folder=folder / "runs" / run.name,
            registry=folder.parent / REGISTRY,
        )
        rescored = await rescore(part, interruption=interruption, watch=watch)
        if rescored is None:
            return None
        found[run.name] = rescored
        _take_along(run, folder / "runs" / run.name, "reference.jsonl")
    if not found:
        raise UsageError(f"{profile} has no runs to rescore")
    return folder, found


def _begin_profile(profile: Path, folder: Path, plans: Sequence[Plan]) -> None:
    """Copies marks and writes the plan last, so that a folder with a plan has the rest, and later marks stay."""
    path = folder / "plan.jsonl"
    if not is_present(path):
        folder.mkdir(parents=True, exist_ok=True)
        _take_along(profile, folder, "marks.jsonl")
        write_lines(path, plans)
    elif read_plan(folder).benchmark != plans[-1].benchmark:
        raise DigestMismatch(f"{folder} holds another profile; choose another directory with --out, or remove this one")


def _take_along(old: Path, new: Path, name: str) -> None:
    if is_present(old / name) and not is_present(new / name):
        write_bytes(new / name, read_input(old / name))  # whole or not at all: it is taken once
