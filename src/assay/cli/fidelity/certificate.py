"""`assay certify` and `assay verify`."""

import sys
from collections import Counter
from pathlib import Path

import msgspec
import uvloop
from rich.table import Table
from rich.text import Text

from assay.benchmark.catalog import load
from assay.cli.collect.live import console
from assay.digest import canonical
from assay.errors import UsageError
from assay.fidelity.certificate import signature, validity
from assay.fidelity.certificate.certificate import NAME, Certificate, rendered
from assay.fidelity.certificate.certificate import certify as make
from assay.fidelity.certificate.validity import Validity
from assay.report.certificate import headline, renderings
from assay.report.words import counted, legible
from assay.sandbox import place
from assay.store import write_bytes

STYLES = {"ok": "green", "expired": "yellow", "forged": "red bold", "not looked at": "dim"}
CODES = {"valid": 0, "expired": 5, "forged": 3}


def certify(
    profile: Path | None = None,
    *,
    out: Path | None = None,
    key: Path | None = None,
    new_key: Path | None = None,
    benchmark: str | None = None,
    strict: bool = False,
    sandbox: str | None = None,
    unsafe: bool = False,
) -> int:
    """Write the certificate of a profile: what its gates say, tied to the exact tasks, prompts, verifier and rollouts.

    Every number is computed again first, without any model. Writes certificate.json, certificate.md (for a pull
    request), parity_experiment.json (as Harbor's adapters keep it) and badge.svg.

    Parameters
    ----------
    profile
        A profile's directory.
    out
        Where the files go; the profile's directory where not given.
    key
        Sign with this private key (Ed25519, PEM): certificate.sig is written too.
    new_key
        Make such a key, readable by you alone, and FILE.pub for those who verify.
    benchmark
        The benchmark's name or folder, where it is no longer where it was profiled.
    strict
        Exit 3 where the benchmark is not verified.
    sandbox
        Where code is run: bubblewrap, docker, docker:IMAGE or subprocess; bubblewrap where not given.
    unsafe
        Allow --sandbox subprocess, which shuts nothing off.
    """
    place(sandbox, unsafe=unsafe)
    if new_key:
        print(f"{new_key}\n{new_key}.pub\n{signature.make_key(new_key)}")
        if profile is None:
            return 0
        key = key or new_key
    if profile is None:
        raise UsageError("nothing to certify: name a profile's directory, or a file for a key by --new-key")
    private, fingerprint = signature.private_key(key) if key else (None, None)
    chosen = load(benchmark) if benchmark else None
    made = uvloop.run(make(profile, benchmark=chosen, signed_by=fingerprint))
    written = {NAME: rendered(made), **renderings(made)}
    if private:
        written["certificate.sig"] = signature.rendered(signature.sign(private, canonical(made)))
    folder = out or profile
    folder.mkdir(parents=True, exist_ok=True)
    for file, data in written.items():
        write_bytes(folder / file, data)
    if not private:
        (folder / "certificate.sig").unlink(missing_ok=True)  # of an earlier certificate
    _show_made(made)
    print("\n".join(str(folder / name) for name in written))
    return 3 if strict and not made.verified else 0


def verify(
    certificate: Path,
    *,
    profile: Path | None = None,
    benchmark: str | None = None,
    key: Path | None = None,
    rescore: bool = False,
    strict: bool = False,
    sandbox: str | None = None,
    unsafe: bool = False,
    json: bool = False,
) -> int:
    """Tell whether a certificate is true: valid, expired (what changed since), or forged (what does not follow).

    Computes everything again from the profile's files, without a model and without writing anything. Exits 0 where it
    is valid, 5 where it has expired, and 3 where it is forged.

    Parameters
    ----------
    certificate
        A certificate.json.
    profile
        The profile's directory; the certificate's own where not given.
    benchmark
        The benchmark's name or folder, where it has no name here: its Python code is run.
    key
        The public key (PEM) of who must have signed it.
    rescore
        Find every reward again from the recorded outputs too, by the verifier.
    strict
        Exit 5 too where something could not be looked at, such as started.jsonl or the benchmark, and where it says
        that the benchmark is not verified.
    sandbox
        Where code is run: bubblewrap, docker, docker:IMAGE or subprocess; bubblewrap where not given.
    unsafe
        Allow --sandbox subprocess, which shuts nothing off.
    json
        Print what was looked at as JSON.
    """
    place(sandbox, unsafe=unsafe)
    found = uvloop.run(
        validity.verify(certificate, folder=profile, name=benchmark, key=key, rescored=rescore, renderings=renderings)
    )
    if json:
        sys.stdout.buffer.write(
            msgspec.json.format(msgspec.json.encode({"verdict": found.verdict, "looked": found.looked}), indent=2)
            + b"\n"
        )
    else:
        _show_found(certificate, found)
    doubtful = bool(found.unseen) or not (found.certificate and found.certificate.verified)
    return CODES["expired"] if strict and found.verdict == "valid" and doubtful else CODES[found.verdict]


def _show_made(made: Certificate) -> None:
    print(f"{legible(made.benchmark.name)} {legible(made.benchmark.version)}: {headline(made)}")
    for line in made.missing:
        print(f"  {legible(line)}")
    fates = Counter(run.fate for run in made.registry.runs)
    for fate in ("left out", "thrown away"):
        if count := fates[fate]:
            print(f"  {counted(count, 'run')} of this benchmark {'was' if count == 1 else 'were'} {fate}: it says so")


def _show_found(path: Path, found: Validity) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("looked at", "", "what was found"):
        table.add_column(column, overflow="fold")
    for one in found.looked:
        table.add_row(one.what, f"[{STYLES[one.answer]}]{one.answer}[/]", Text(legible(one.reason)))
    console.print(table)
    made = found.certificate
    subject = str(path)
    if made:
        says = "" if found.verdict == "valid" else "it says "
        subject = f"{legible(made.benchmark.name)} {legible(made.benchmark.version)}, {says}{headline(made)}"
    reach = f" as far as it was looked at (not: {', '.join(found.unseen)})" if found.unseen else ""
    print(f"{found.verdict}{reach}: {subject}")
