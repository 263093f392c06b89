"""What machines can see in failing rollouts: each detector names the rollouts that show it, and what to do.

A finding is a reason to read, not a verdict: three of 960 rollouts at the token cap are told too. A wrong answer is no
finding, for a model may be wrong.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from assay.digest import code_digest, digest
from assay.errors import StoppedEarly
from assay.fidelity.detectors.across import ACROSS
from assay.fidelity.detectors.single import SINGLE
from assay.fidelity.results.columns import WORTH, Stamp, stamp
from assay.fidelity.results.results import Results, of_rollouts
from assay.fidelity.results.summary import reports_answers
from assay.fidelity.schema.evidence import Fault, Finding, Spotted
from assay.fidelity.schema.profile import RolloutRef
from assay.store import read_rollouts, write_json
from assay.types import Failure, Rollout, Task, Where

MOST_SPOTTED = 200
"""Rollouts that a finding names at most; it counts all."""
LOOKED_FOR = (*(detector.name for detector in SINGLE), *(detector.name for detector in ACROSS), "failures by kind")
"""The names of all detectors."""
FAILED = "failed: "
"""What the name of a finding begins with that is of failures: `failed: model/timeout`."""
REMEDIES: dict[tuple[Where, str], str] = {
    (
        "model",
        "timeout",
    ): "The server gave no whole answer in time: raise timeout_s, or ask less at once (concurrency).",
    ("model", "connect"): "Nothing answers at base_url: start the server, then give the same command again.",
    ("model", "connection_lost"): "The server closed connections: look at its log, then give the same command again.",
    ("model", "stream_cut"): "The server ended its stream early: look at its log, or at a proxy between.",
    ("model", "bad_response"): "The server does not speak this dialect: compare with `assay ping`.",
    ("model", "not_recorded"): "The recording has no answer for these: record them, or ask fewer tasks and repeats.",
    (
        "environment",
        "tool",
    ): "A tool of the benchmark raised or hung: mend it. What it declines, it raises as Rejected.",
    ("environment", "sandbox"): "The sandbox failed, not the code in it: see that it works here, then run again.",
    ("environment", "exception"): "The benchmark's own code raised: the message names file and line.",
    ("verifier", "exception"): "The verifier raised: it has to score whatever a model writes. Mend it, then rescore.",
    ("verifier", "deadline"): "The verifier took too long: give it a limit of its own, by which it decides.",
}
"""What to do about failures, by where and kind."""
_ELSEWHERE: dict[Where, str] = {
    "model": "Look at the server's log; the same command asks again what may pass.",
    "environment": "Mend the environment, or what it depends on, and run these again.",
    "verifier": "Mend the verifier, then rescore.",
    "agent": "Mend the agent, then run these again.",
}


def meaning(detector: str) -> str:
    """What a detector's finding may mean, and what to do."""
    known = {one.name: one.meaning for one in (*SINGLE, *ACROSS)}
    if detector in known:
        return known[detector]
    where, _, kind = detector.removeprefix(FAILED).partition("/")
    found = {f"{at}/{what}": remedy for (at, what), remedy in REMEDIES.items()}
    return found.get(f"{where}/{kind}") or {str(at): remedy for at, remedy in _ELSEWHERE.items()}[where]


class _Kept(Struct, frozen=True):
    """`findings.json`: what was found in a large run, and of what and by what it was made."""

    made_of: Stamp
    detectors: str
    digest: str
    """Of the findings: a bit that flips on a disk is no finding."""
    findings: list[Finding]


def detect(folder: Path, model: str, results: Results, *, cached: bool = True) -> list[Finding]:
    """What the detectors find in a run directory, whose `results` have been read from it. One pass over its file.

    A large run's findings are kept beside it, as its columns are, and trusted later, where `cached`.
    Raises InputError where the file is damaged.
    """
    if not cached or len(results.cells) < WORTH:
        return find(model, results.tasks, read_rollouts(folder), results)
    path, made_of, detectors = folder / "findings.json", stamp(folder), code_digest(Path(__file__).parent)
    with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
        kept = msgspec.json.decode(path.read_bytes(), type=_Kept)
        if (kept.made_of, kept.detectors, kept.digest) == (made_of, detectors, digest(kept.findings)):
            return kept.findings
    found = find(model, results.tasks, read_rollouts(folder), results)
    with suppress(StoppedEarly):
        write_json(path, _Kept(made_of, detectors, digest(found), found))
    return found


def find(
    model: str, tasks: Sequence[Task], rollouts: Iterable[Rollout], results: Results | None = None
) -> list[Finding]:
    """What the detectors find in rollouts, those that name single rollouts first, failures by kind last.

    Of each (task, repeat) one rollout counts: the first that has a score, else the last failure.
    `results` are the same rollouts' columns; where not given, all rollouts are held in memory to make them.
    """
    if results is None:
        rollouts = list(rollouts)
        results = of_rollouts(tasks, rollouts)
    answers = reports_answers(results)
    wanted = [detector for detector in SINGLE if answers or detector.name != "no answer found"]
    tallies = {detector.name: _Tally(model) for detector in wanted}
    scored_TK = ~np.isnan(results.rewards_TK)
    looked_TK = np.zeros_like(scored_TK)
    failures: dict[tuple[str, int], Failure] = {}
    places = {task.id: (index, task) for index, task in enumerate(tasks)}
    for rollout in rollouts:
        index, task = places[rollout.task]
        score = rollout.outcome
        if isinstance(score, Failure):
            if not scored_TK[index, rollout.repeat]:
                failures[rollout.key] = score
            continue
        if looked_TK[index, rollout.repeat]:
            continue
        looked_TK[index, rollout.repeat] = True
        for detector in wanted:
            if (evidence := detector.spot(rollout, score, task)) is not None:
                tallies[detector.name].add(rollout.task, rollout.repeat, evidence)
    of = int(looked_TK.sum())
    found = [tallies[d.name].finding(d.name, d.suspect, of, d.what, d.meaning) for d in wanted if tallies[d.name].count]
    return found + _across(model, results) + _by_kind(model, failures, results.planned)


class _Tally:
    """What one detector has spotted so far: a count of all, and the first of them."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._spotted: list[Spotted] = []
        self.count = 0

    def add(self, task: str, repeat: int, evidence: str) -> None:
        self.count += 1
        if self.count <= MOST_SPOTTED:
            self._spotted.append(Spotted(RolloutRef(self._model, task, repeat), evidence))

    def finding(self, name: str, suspect: Fault, of: int, what: str, meaning: str) -> Finding:
        return Finding(
            detector=name,
            model=self._model,
            suspect=suspect,
            reason=f"{self.count:,} of {of:,} rollouts {what}. {meaning}",
            count=self.count,
            of=of,
            spotted=self._spotted,
        )


def _across(model: str, results: Results) -> list[Finding]:
    found: list[Finding] = []
    for detector in ACROSS if results.tasks else ():
        if seen := detector.look(results):
            tally = _Tally(model)
            for index, repeat, evidence in seen.shown:
                tally.add(results.tasks[index].id, repeat, evidence)
            found.append(tally.finding(detector.name, detector.suspect, seen.of, seen.what, detector.meaning))
    return found


def _by_kind(model: str, failures: dict[tuple[str, int], Failure], planned: int) -> list[Finding]:
    """A finding for each (where, kind) of failures that no later attempt made good."""
    tallies: dict[tuple[Where, str], _Tally] = {}
    for (task, repeat), failure in failures.items():
        tally = tallies.setdefault((failure.where, failure.kind), _Tally(model))
        tally.add(task, repeat, " ".join(failure.message.split())[:300])
    return [
        tally.finding(
            f"{FAILED}{where}/{kind}",
            "verifier" if where == "verifier" else "infrastructure",
            planned,
            f"failed in the {where} ({kind}) and have no score",
            meaning(f"{FAILED}{where}/{kind}"),
        )
        for (where, kind), tally in sorted(tallies.items(), key=lambda item: -item[1].count)
    ]
