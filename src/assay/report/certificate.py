"""What is written of a certificate beside it: a Markdown table for a pull request, a parity record, a badge."""

import html
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from assay.fidelity.certificate.registry import Fate
from assay.fidelity.certificate.schema import Certificate, CertifiedModel, CertifiedParity
from assay.fidelity.gates import applicable
from assay.report.words import NONE, join, legible, markdown_table, plain, plural

GREEN, AMBER, RED = "#1a7f37", "#9a6700", "#cf222e"
"""With white text on them: above 4.5 to 1, on a light page and on a dark one."""
OWN = "own benchmark: no original to compare with (claimed)"
"""What a benchmark says of itself by `original = true`."""
FATES: tuple[Fate, ...] = ("in this profile", "left out", "elsewhere", "thrown away", "never begun")


def renderings(certificate: Certificate) -> dict[str, bytes]:
    """Returns the files that are made of a certificate, by name. They follow from it alone."""
    return {
        "certificate.md": markdown(certificate).encode(),
        "parity_experiment.json": msgspec.json.format(msgspec.json.encode(harbor(certificate)), indent=2) + b"\n",
        "badge.svg": badge(certificate).encode(),
    }


def headline(certificate: Certificate) -> str:
    """Returns the verdict, and what it bounds: `verified; at fault < 3.1 points; reproduced within 2.5; 2 explained`.

    A benchmark that is not verified has the number of gates that pass in place of the bounds.
    """
    origin = [OWN] if certificate.benchmark.original else []
    return "; ".join([_short(certificate), *origin])


def _short(certificate: Certificate) -> str:
    needed = applicable(certificate.gates, original=certificate.benchmark.original)
    explained = sum(len(gate.explained) for gate in needed)
    if not certificate.verified:
        return f"not verified, {sum(gate.verdict == 'pass' for gate in needed)} of {len(needed)} gates pass"
    bounds = [gate.bound for gate in needed if gate.bound]
    return "; ".join(["verified", *bounds, *([f"{explained} explained"] if explained else [])])


def markdown(certificate: Certificate) -> str:
    """Returns the certificate as a pull request shows it."""
    benchmark = certificate.benchmark
    parts = [
        f"# {plain(benchmark.name)} {plain(benchmark.version)}: {headline(certificate)}",
        *(
            ["\n".join(["What is missing:", "", *(f"- {plain(one)}" for one in certificate.missing)])]
            if certificate.missing
            else []
        ),
        f"{plural(benchmark.tasks, 'task')}, suite {plain(certificate.suite)}, certified {certificate.made}. Roles and "
        "kinds of models are as the suite claims them.",
        *([f"Declared hard: {plain(benchmark.hard)}"] if benchmark.hard else []),
        "## Scores",
        "Means over tasks, in per cent. ± run: standard error of running again on the same tasks; ± task: of other "
        "tasks like them.",
        _scores(certificate.models),
        "## Gates",
        _gates(certificate),
    ]
    if certificate.parity:
        rows = [(name, p.verdict, p.reason, p.reference.file) for name, p in certificate.parity.items()]
        parts += ["## Parity", markdown_table(("model", "verdict", "why", "the original's results"), rows)]
    parts += ["## Runs that were started", _runs(certificate), "## What it stands for", _digests(certificate)]
    parts += ["## To verify", _how(certificate)]
    return "\n\n".join(parts) + "\n"


def harbor(certificate: Certificate) -> list[dict[str, Any]]:
    """Returns the record that Harbor's adapters keep as `parity_experiment.json`: an entry a model with parity.

    Scores are per cent, `mean ± standard error of the mean over runs`, as their documentation asks for; `harbor` is the
    side that was run here. Links that only a person knows are empty lists.
    """
    return [
        _experiment(certificate, name, parity, certificate.models[name]) for name, parity in certificate.parity.items()
    ]


def badge(certificate: Certificate) -> str:
    """Returns a small SVG with the verdict."""
    failed = any(gate.verdict == "fail" for gate in certificate.gates)
    colour = GREEN if certificate.verified else RED if failed else AMBER
    left, right = legible(certificate.benchmark.name), legible(_short(certificate))
    first, second = (round(6.4 * len(text) + 12) for text in (left, right))
    title = html.escape(f"{left} {legible(certificate.benchmark.version)}: {headline(certificate)}")
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{first + second}" height="20" role="img"'
            f' aria-label="{title}">',
            f"<title>{title}</title>",
            f'<rect width="{first + second}" height="20" rx="3" fill="#4b5563"/>',
            f'<rect x="{first}" width="{second}" height="20" rx="3" fill="{colour}"/>',
            f'<rect x="{first}" width="4" height="20" fill="{colour}"/>',
            '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">',
            *(
                f'<text x="{middle:g}" y="14" textLength="{width - 12}" lengthAdjust="spacingAndGlyphs">'
                f"{html.escape(text)}</text>"
                for text, middle, width in ((left, first / 2, first), (right, first + second / 2, second))
            ),
            "</g>",
            "</svg>",
            "",
        ]
    )


def _gates(certificate: Certificate) -> str:
    needed = {gate.name for gate in applicable(certificate.gates, original=certificate.benchmark.original)}
    rows = [
        (gate.name, gate.word if gate.name in needed else "does not apply", gate.reason, gate.unseen)
        for gate in certificate.gates
    ]
    explained = [
        f"- {gate.name}, explained by {plain(one.by)} on {one.at[:10]}: {plain(one.note)}"
        for gate in certificate.gates
        for one in gate.explained
    ]
    table = markdown_table(("gate", "verdict", "why", "what it could not have seen"), rows)
    return "\n\n".join([table, *(["\n".join(explained)] if explained else [])])


def _scores(models: Mapping[str, CertifiedModel]) -> str:
    rows = [
        (
            name,
            f"{model.role}, {model.kind}",
            _percent(model.summary.score),
            _percent(model.summary.se_run),
            _percent(model.summary.se_task),
            str(model.summary.repeats) if model.summary.ran else NONE,
            f"{model.summary.rollouts:,}" if model.summary.ran else "not run",
            f"{model.summary.failures:,}" if model.summary.ran else NONE,
        )
        for name, model in models.items()
    ]
    return markdown_table(
        ("model", "role", "score", "± run", "± task", "k", "rollouts", "failed"), rows, right="  >>>>>>"
    )


def _runs(certificate: Certificate) -> str:
    registry = certificate.registry
    if not registry.runs:
        return "None is written down: there is no registry (`started.jsonl`) beside the profile."
    tally = {fate: sum(run.fate == fate for run in registry.runs) for fate in FATES}
    fates = join([f"{number} {fate}" for fate, number in tally.items() if number])
    others = [run for run in registry.runs if run.fate != "in this profile"]
    rows = [(run.at, run.model, run.version, str(run.tasks), str(run.repeats), run.path, run.fate) for run in others]
    table = markdown_table(("started", "model", "version", "tasks", "k", "where", "what became of it"), rows)
    redraws = f" {redraws_in_words(certificate)}." if certificate.redraws else ""
    redraws += f" {order_of_events(certificate).capitalize()}."
    return f"{plural(len(registry.runs), 'run')} of this benchmark: {fates}.{redraws}" + (
        f"\n\n{table}" if others else ""
    )


def redraws_in_words(certificate: Certificate) -> str:
    """Returns how many profiles could have been read in place of this one."""
    count, were = plural(certificate.redraws, "other profile"), "was" if certificate.redraws == 1 else "were"
    return f"{count} of this benchmark {were} begun, each with other rollouts to read"


def order_of_events(certificate: Certificate) -> str:
    """What shows that the plan stood before the first run, and how often more was run once the verdict was known."""
    announcement, looks = certificate.registry.announced, certificate.registry.looks
    order = (
        f"announced before the first run: {announcement.digest}"
        if announcement
        else "order of events claimed: nothing was announced"
    )
    since = f"; changed since: {', '.join(certificate.changed_since)}" if certificate.changed_since else ""
    fresh = f"; gates computed after {join([f'{n:,}' for n in looks])} rollouts" if looks[1:] else ""
    return order + since + fresh


def _digests(certificate: Certificate) -> str:
    benchmark = certificate.benchmark
    rows = [
        ("tasks", benchmark.tasks_digest),
        ("prompts", benchmark.prompts_digest),
        *((f"verifier: {file}", sha256) for file, sha256 in benchmark.sources.items()),
        *(((("published.toml"), benchmark.published),) if benchmark.published else ()),
        *((f"rollouts of {name}", model.rollouts) for name, model in certificate.models.items() if model.rollouts),
        ("certificate", certificate.digest),
        *((("signed by", certificate.signed_by),) if certificate.signed_by else ()),
    ]
    versions = ", ".join(f"{name} {version}" for name, version in sorted(certificate.versions.items()))
    return f"{markdown_table(('what', 'digest'), rows)}\n\nMade with {plain(versions)}."


def _how(certificate: Certificate) -> str:
    if certificate.sealed:
        return (
            "```\nassay verify certificate.json\nassay open certificate.json --check OPENED-ROW\n```\n\n"
            "with sealed.jsonl beside it: scores, intervals and the gates that follow from rewards and marks are "
            "computed again. Prompts, answers and notes are withheld; whoever has the profile can open single rows."
        )
    return (
        "```\nassay verify certificate.json\n```\n\n"
        f"in the profile's folder: every score, error and gate is computed again from its {len(certificate.evidence)} "
        "files, without a model. A change to a task, a prompt, the verifier, a rollout or a number is named."
    )


def _experiment(certificate: Certificate, name: str, parity: CertifiedParity, model: CertifiedModel) -> dict[str, Any]:
    original, here = _percents(parity.by_repeat), _percents(model.by_repeat)
    notes = [
        f"harbor is {certificate.benchmark.name} {certificate.benchmark.version} in assay.",
        f"{parity.verdict}: {parity.reason}",
        *([f"Runs: {len(original)} of the original, {len(here)} here."] if len(original) != len(here) else []),
    ]
    return {
        "adapter_name": certificate.benchmark.name,
        "agent": f"assay@{certificate.versions.get('assay', '')}",
        "model": str(model.identity.get("id", name)),
        "date": (model.started or certificate.made)[:10],
        "adapted_benchmark_size": certificate.benchmark.tasks,
        "parity_benchmark_size": parity.reference.tasks,
        "number_of_runs": min(len(original), len(here)),
        "notes": " ".join(notes),
        "original_parity_repo": certificate.benchmark.repository or "",
        "adapter_pr": [],
        "dataset_pr": [],
        "parity_pr": [],
        "metrics": [
            {
                "benchmark_name": certificate.benchmark.name,
                "metric": "mean reward, per cent",
                "original": _with_error(original),
                "harbor": _with_error(here),
                "original_runs": original,
                "harbor_runs": here,
            }
        ],
    }


def _percents(by_repeat: Sequence[float | None]) -> list[float]:
    return [round(100 * score, 4) for score in by_repeat if score is not None]


def _with_error(runs: Sequence[float]) -> str:
    """`72.00 ± 1.53`: the mean, and the sample's standard error of it, which one run does not have."""
    if not runs:
        return ""
    mean = f"{statistics.fmean(runs):.2f}"
    return mean if len(runs) < 2 else f"{mean} ± {statistics.stdev(runs) / math.sqrt(len(runs)):.2f}"


def _percent(share: float | None) -> str:
    return NONE if share is None else f"{100 * share:.1f}"
