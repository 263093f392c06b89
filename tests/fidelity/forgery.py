"""Changes to the files of a profile, and certificates of whatever they say then."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from assay.benchmark.catalog import load
from assay.fidelity.certificate.certificate import assemble, probe_seed, with_digest
from assay.fidelity.certificate.description import describe
from assay.fidelity.certificate.files import evidence_of, render_file
from assay.fidelity.certificate.schema import Certificate
from assay.fidelity.profile import contenders_of, gather, read_plan
from assay.fidelity.profile.build import known_gates, write
from assay.report.certificate import renderings
from assay.store import line_digest

Line = dict[str, Any]


def change_lines(path: Path, change: Callable[[Line], object]) -> None:
    """Change each line of a JSONL file; in a registry the digests that link the lines follow."""
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    previous, written = "", b""
    for line in lines:
        change(line)
        if "previous" in line:
            line["previous"] = previous
        encoded = msgspec.json.encode(line)
        previous, written = line_digest(encoded), written + encoded + b"\n"
    path.write_bytes(written)


def change_run(folder: Path, change: Callable[[Line], object], model: str = "policy") -> None:
    path = folder / f"runs/{model}/run.json"
    record = json.loads(path.read_bytes())
    change(record)
    path.write_text(json.dumps(record, indent=2) + "\n")


def forge(folder: Path, claim: Callable[[Line], object] = lambda _: None) -> None:
    """Certify what the files say, with no check, and then change the certificate itself."""
    plan, benchmark = read_plan(folder), load("arithmetic")
    known = asyncio.run(known_gates(folder, plan, benchmark, again=True, seed=probe_seed(evidence_of(folder))))
    evidence = gather(folder, plan, contenders_of(folder, plan, cached=False), benchmark)
    plain = msgspec.to_builtins(assemble(folder, evidence, write(folder, evidence, known), describe(benchmark, plan)))
    claim(plain)
    certificate = with_digest(msgspec.convert(plain, Certificate))
    for name, data in {"certificate.json": render_file(certificate), **renderings(certificate)}.items():
        (folder / name).write_bytes(data)
