"""`python -m studies.real_data PROFILE ...`: what profiles of recorded outputs say, as docs/real-data.md has it."""

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from assay.fidelity.schema.profile import Profile

SUSPECTS = 20


def main() -> None:
    profiles = [
        msgspec.json.decode((Path(folder) / "profile.json").read_bytes(), type=Profile) for folder in sys.argv[1:]
    ]
    if not profiles:
        sys.exit("expected folders of profiles: python -m studies.real_data profiles/math-l5 profiles/cruxeval")
    print_table(("benchmark", "model", "score", "95 % over tasks", "no answer"), scores(profiles))
    print_table(("gate", *(one.benchmark.name for one in profiles)), verdicts(profiles))
    print_table(("benchmark", "gate", "what it says"), reasons(profiles))
    print_table(("detector", *(one.benchmark.name for one in profiles)), findings(profiles))
    print_table(("benchmark", "suspect tasks", f"the first {SUSPECTS}"), suspects(profiles))


def scores(profiles: Iterable[Profile]) -> Iterable[Sequence[str]]:
    for profile in profiles:
        for name, model in profile.models.items():
            low, high = model.interval_task or (0.0, 0.0)
            score = "" if model.score is None else f"{100 * model.score:.2f}"
            none = "" if model.no_answer is None else f"{100 * model.no_answer:.1f} %"
            yield profile.benchmark.name, name, score, f"{100 * low:.1f} to {100 * high:.1f}", none


def verdicts(profiles: Sequence[Profile]) -> Iterable[Sequence[str]]:
    words = [{gate.name: gate.word for gate in profile.gates} for profile in profiles]
    for name in dict.fromkeys(name for one in words for name in one):
        yield name, *(one.get(name, "") for one in words)


def reasons(profiles: Iterable[Profile]) -> Iterable[Sequence[str]]:
    for profile in profiles:
        for gate in profile.gates:
            if gate.verdict in ("fail", "inconclusive"):
                yield profile.benchmark.name, gate.name, gate.reason.replace("|", "\\|")


def findings(profiles: Sequence[Profile]) -> Iterable[Sequence[str]]:
    """Yields, for each detector, the number of rollouts that it names in each profile."""
    counts = [Counter[str]() for _ in profiles]
    for count, profile in zip(counts, profiles, strict=True):
        for finding in profile.findings:
            count[finding.detector] += finding.count
    for name in sorted(set().union(*counts)):
        yield name, *(f"{count[name]:,}" for count in counts)


def suspects(profiles: Iterable[Profile]) -> Iterable[Sequence[str]]:
    for profile in profiles:
        ranked = ", ".join(task.task.removeprefix("crux-test-#") for task in profile.suspects[:SUSPECTS])
        yield profile.benchmark.name, str(len(profile.suspects)), ranked


def print_table(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    """Prints a table in Markdown."""
    for cells in (columns, ["---"] * len(columns), *lines):
        print(f"| {' | '.join(cells)} |")
    print(flush=True)


if __name__ == "__main__":
    main()
