"""Finds the installed detectors, and searches runs with all of them in one pass over the rollouts."""

import hashlib
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from assay.digest import digest
from assay.errors import StoppedEarly, UsageError
from assay.fidelity.detectors.detector import Detector, RolloutDetector, RunDetector, ScoredRollout
from assay.fidelity.detectors.failures import failures_by_kind
from assay.fidelity.detectors.hits import Hits
from assay.fidelity.results.columns import WORTH, Stamp, stamp
from assay.fidelity.results.results import Results, of_rollouts, read
from assay.fidelity.schema.evidence import Finding
from assay.input import BROKEN, read_input
from assay.plugins import find as plugin
from assay.plugins import plugins
from assay.store import write_json
from assay.types import Failure, Rollout, Score, Task

GROUP = "assay.detectors"
FAILURES_BY_KIND = "failures by kind"


def detectors() -> dict[str, str]:
    """Returns a sentence on each installed detector, by its name."""
    return {one.name: one.description for one in load_detectors()} | {
        FAILURES_BY_KIND: "Rollouts that failed and have no score, by where and how they failed."
    }


def load_detectors() -> tuple[Detector, ...]:
    """Returns the detectors of all installed packages, those of single rollouts first, each kind by name.

    Raises UsageError where Assay's own are not registered, a detector can't be loaded, or two have one name.
    """
    found: dict[str, Detector] = {}
    for name, entry in sorted(plugins(GROUP).items()):
        one = plugin(GROUP, name)
        if not isinstance(one, RolloutDetector | RunDetector):
            raise UsageError(f"{entry.value} is {one!r}; expected a RolloutDetector or a RunDetector")
        if one.name in found:
            raise UsageError(f"two installed detectors are named '{one.name}'; the second is {entry.value}")
        found[one.name] = one
    if not found:
        raise UsageError(f"no detectors are registered under '{GROUP}'; install Assay again: pip install assay")
    return tuple(sorted(found.values(), key=lambda one: (isinstance(one, RunDetector), one.name)))


class Search:
    """One pass over a model's rollouts with all detectors."""

    def __init__(self, model: str) -> None:
        self._model = model
        known = load_detectors()
        self._single = [(one, Hits(model)) for one in known if isinstance(one, RolloutDetector)]
        self._whole = [one for one in known if isinstance(one, RunDetector)]
        self._failures: dict[tuple[str, int], Failure] = {}
        self._prompts: dict[str, str] = {}
        self._scored = 0

    def see(self, rollout: Rollout, task: Task) -> None:
        """Searches a rollout that counts so far: the first score of its (task, repeat), or a failure before it."""
        outcome = rollout.outcome
        if not isinstance(outcome, Score):
            self._failures[rollout.key] = outcome
            return
        self._failures.pop(rollout.key, None)
        self._scored += 1
        prompt = self._prompts.get(task.id)
        if prompt is None:
            prompt = task.prompt
            self._prompts[task.id] = prompt
        one = ScoredRollout(rollout, outcome, task, prompt)
        for detector, tally in self._single:
            if (evidence := detector.spot(one)) is not None:
                tally.add(rollout.task, rollout.repeat, evidence)

    def findings(self, results: Results) -> list[Finding]:
        """Returns the findings after the last rollout. `results` are those of all rollouts."""
        answers = results.reports_answers
        found = [
            tally.finding(one.name, one.fault, self._scored, one.what, one.meaning, "rollout")
            for one, tally in self._single
            if tally.count and (answers or not one.needs_answers)
        ]
        for one in self._whole if results.tasks else ():
            if seen := one.look(results):
                tally = Hits(self._model)
                for index, repeat, evidence in seen.examples:
                    tally.add(results.tasks[index].id, repeat, evidence)
                found.append(tally.finding(one.name, one.fault, seen.of, seen.what, one.meaning, "run"))
        return found + failures_by_kind(self._model, self._failures, results.planned)


class _FindingsFile(Struct, frozen=True):
    """`findings.json`: the findings in a run with columns, and the files and the code that they were made of."""

    made_of: Stamp
    detectors: str
    digest: str
    """Digest of the findings, so that a damaged file is not used."""
    findings: list[Finding]


def read_with_findings(
    folder: Path, model: str, repeats: int | None = None, *, cached: bool = True
) -> tuple[Results, list[Finding]]:
    """Returns the results of a run directory and the detectors' findings, in one pass over its files.

    With `cached`, the findings of a large run are written beside it, as its columns are, and used later.
    Raises InputError where the file is damaged.
    """
    path, code = folder / "findings.json", detectors_digest()
    made_of = stamp(folder) if cached else None
    if made_of:
        with suppress(OSError, *BROKEN):
            kept = msgspec.json.decode(read_input(path), type=_FindingsFile)
            if (kept.made_of, kept.detectors, kept.digest) == (made_of, code, digest(kept.findings)):
                return read(folder, repeats), kept.findings
    search = Search(model)
    results = read(folder, repeats, cached=cached, see=search.see)
    found = search.findings(results)
    if made_of and len(results.cells) >= WORTH:
        with suppress(StoppedEarly):
            write_json(path, _FindingsFile(made_of, code, digest(found), found))
    return results, found


def detect(folder: Path, model: str) -> list[Finding]:
    """Returns the findings in a run directory. Raises InputError where a file is damaged."""
    return read_with_findings(folder, model)[1]


def find(model: str, tasks: Sequence[Task], rollouts: Iterable[Rollout]) -> list[Finding]:
    """Returns the findings in rollouts: those about single rollouts first, failures by kind last.

    Of each (task, repeat) one rollout counts: the first that has a score, else the last failure.
    """
    search = Search(model)
    return search.findings(of_rollouts(tasks, rollouts, see=search.see))


def detectors_digest() -> str:
    """Returns the digest of this folder's files and of the files of other packages' detectors."""
    files = set(Path(__file__).parent.rglob("*.py"))
    for one in load_detectors():
        module = sys.modules[(one.spot if isinstance(one, RolloutDetector) else one.look).__module__]
        files |= {Path(module.__file__)} if module.__file__ else set()
    return digest([(path.name, hashlib.sha256(read_input(path)).hexdigest()) for path in sorted(files)])
