"""Which findings and suspect tasks have to be read, and when they are settled."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from assay.digest import digest
from assay.fidelity.results.results import Results
from assay.fidelity.review.marks import Key, Standing
from assay.fidelity.schema.evidence import Explanation, Finding, RolloutRef, Sighting, SuspectTask

SHOWN = 3
"""The number of rollouts of a finding to read."""
SUSPECTS, LIKELY = 20, 0.5
"""The most suspect tasks to settle, and the least suspicion of each."""
FAR_MORE, FEW = 2, 3
"""An explanation holds for up to twice as many rollouts, and three more."""


def rollouts_to_read(finding: Finding) -> list[Sighting]:
    """Returns up to three rollouts of a finding, the same each time; none if it is about the run as a whole."""
    by_key = {(one.rollout.task, one.rollout.repeat): one for one in finding.spotted}
    return [by_key[key] for key in sorted(by_key, key=lambda key: digest([0, *key]))[:SHOWN]]


def is_settled(finding: Finding, standings: Mapping[Key, Standing | None], explained: Iterable[Explanation]) -> bool:
    """Returns whether a finding is settled: a person explained it, or all of its shown rollouts were found right.

    A finding about a run as a whole, such as copied repeats, needs an explanation.
    """
    if any(explains(one, finding) for one in explained):
        return True
    if finding.scope == "run":
        return False
    keys = [(one.rollout.task, one.rollout.repeat) for one in rollouts_to_read(finding)]
    return bool(keys) and all(standings.get(key) == "right" for key in keys)


def explains(explanation: Explanation, finding: Finding) -> bool:
    """Returns whether an explanation is about this finding, and the finding has not become much larger."""
    known = explanation.share is None or finding.count <= FAR_MORE * explanation.share * finding.of + FEW
    return explanation.detector == finding.detector and known


def suspect_findings(
    suspects: Sequence[SuspectTask], results: Mapping[str, Results], declared: Collection[str] = ()
) -> list[Finding]:
    """Returns a finding for each suspect task that has to be read, with one rollout of the strongest model that errs.

    These are tasks whose label is suspect, and tasks that no model solves although the strongest model always gives the
    same answer. Declared tasks are left out.
    """
    strength = {
        name: sum(cell.reward or 0.0 for cell in found.scored) / max(1, len(found.scored))
        for name, found in results.items()
    }
    order = sorted(results, key=strength.__getitem__, reverse=True)
    erring: dict[str, dict[str, list[tuple[int, str | None]]]] = {}
    wanted = {one.task for one in suspects}
    for name in order:
        tasks = results[name].tasks
        for cell in results[name].scored:
            if tasks[cell.task].id in wanted and cell.reward is not None and cell.reward < 1:
                errors = erring.setdefault(tasks[cell.task].id, {})
                errors.setdefault(name, []).append((cell.repeat, cell.answer))
    made: list[Finding] = []
    for one in suspects:
        shown = _erring(one, erring.get(one.task, {}), order[:1])
        if shown and one.task not in declared and len(made) < SUSPECTS:
            model, repeat, answer = shown
            made.append(
                Finding(
                    detector=f"suspect task {one.task}",
                    model=model,
                    suspect="task",
                    reason=f"{', '.join(one.signs)}: {one.reason}",
                    count=1,
                    of=1,
                    spotted=[Sighting(RolloutRef(model, one.task, repeat), f"read as the answer: {answer}")],
                )
            )
    return made


def _erring(
    one: SuspectTask, erring: Mapping[str, list[tuple[int, str | None]]], strongest: Sequence[str]
) -> tuple[str, int, str | None] | None:
    """Returns the model, repeat and answer of a suspect task to read; None if none has to be read."""
    if one.signs != ["never solved"]:
        if one.suspicion < LIKELY:
            return None
        for model, errors in erring.items():
            for repeat, answer in errors:
                if one.consensus in (None, answer):
                    return model, repeat, answer
        return None
    for model in strongest:
        answers = Counter(answer for _, answer in erring.get(model, []) if answer is not None)
        for answer, count in answers.most_common(1):
            if count > 1 and 2 * count > len(erring[model]):
                return model, next(repeat for repeat, said in erring[model] if said == answer), answer
    return None
