"""`assay certify` and `assay verify`."""

import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import msgspec
import uvloop
from cyclopts import Parameter
from rich.text import Text

from assay.cli.collect.live import console
from assay.cli.options import Code
from assay.cli.output import plain_table, print_json
from assay.digest import canonical
from assay.errors import UsageError
from assay.fidelity.certificate import signature, validity
from assay.fidelity.certificate.announcement import read_announcement
from assay.fidelity.certificate.certificate import certify as make
from assay.fidelity.certificate.certificate import certify_and_seal as make_sealed
from assay.fidelity.certificate.files import render_file
from assay.fidelity.certificate.schema import NAME, Certificate
from assay.fidelity.certificate.seal import FILE as SEALED
from assay.fidelity.certificate.seal import make_seal, open_row, read_open_row
from assay.fidelity.certificate.validity import Validity, check_open_row, read_seal
from assay.fidelity.profile import read_plan, source_of
from assay.report.certificate import headline, order_of_events, redraws_in_words, renderings
from assay.report.words import legible, plural
from assay.store import write_bytes

AnnouncementOption = Annotated[
    str | None, Parameter(help="What was posted before the first call: the digest, or the announcement.json.")
]
SealedOption = Annotated[
    bool,
    Parameter(
        negative="",
        help="Withhold texts: sealed.jsonl has rewards and marks, and a salted digest of each rollout, so that `assay "
        "open` can open single ones later. Keep seal.key, which is written into the profile's directory, to yourself.",
    ),
]
STYLES = {"ok": "green", "expired": "yellow", "forged": "red bold", "not looked at": "dim"}
CODES = {"valid": 0, "expired": 5, "forged": 3}


def certify(
    profile: Path | None = None,
    *,
    out: Path | None = None,
    key: Path | None = None,
    new_key: Path | None = None,
    benchmark: str | None = None,
    sealed: SealedOption = False,
    strict: bool = False,
    code: Code = Code(),
) -> int:
    """Write the certificate of a profile.

    It holds what the gates say, tied to the exact tasks, prompts, verifier and rollouts. Every number is computed again
    first, without any model. Writes certificate.json, certificate.md (for a pull request), parity_experiment.json (as
    Harbor's adapters keep it) and badge.svg.

    Parameters
    ----------
    profile
        A profile's directory.
    out
        The folder for the files. Default: the profile's directory; with --sealed the folder sealed in it.
    key
        Sign with this private key (Ed25519, PEM), and write certificate.sig too.
    new_key
        Write a new private key to this file, readable by you only, and the public key to FILE.pub.
    benchmark
        The benchmark's name or folder, if it is not where it was when it was profiled.
    strict
        Exit 3 if the benchmark is not verified.
    """
    if new_key:
        print(f"{new_key}\n{new_key}.pub\n{signature.make_key(new_key)}")
        if profile is None:
            return 0
        key = key or new_key
    if profile is None:
        raise UsageError("nothing to certify: name a profile's directory, or a file for a key by --new-key")
    private, fingerprint = signature.private_key(key) if key else (None, None)
    bench = code.load(benchmark or source_of(profile, read_plan(profile)))
    folder = out or (profile / "sealed" if sealed else profile)
    if sealed:
        seal = make_seal(profile, folder)
        certificate, rows = uvloop.run(make_sealed(profile, seal, benchmark=bench, signed_by=fingerprint))
        files = {NAME: render_file(certificate), SEALED: rows, **renderings(certificate)}
    else:
        certificate = uvloop.run(make(profile, benchmark=bench, signed_by=fingerprint))
        files = {NAME: render_file(certificate), **renderings(certificate)}
    if private:
        files["certificate.sig"] = signature.render_file(signature.sign(private, canonical(certificate)))
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        write_bytes(folder / name, data)
    if not private:
        (folder / "certificate.sig").unlink(missing_ok=True)  # of an earlier certificate
    _show_certificate(certificate)
    print("\n".join(str(folder / name) for name in files))
    return 3 if strict and not certificate.verified else 0


def open_(
    certificate: Path,
    *,
    row: str | None = None,
    profile: Path | None = None,
    out: Path | None = None,
    check: Path | None = None,
    benchmark: str | None = None,
    code: Code = Code(),
) -> int:
    """Open one row of a sealed certificate, or check a row that was opened.

    An opened row is a rollout with its task and its salt: who has it finds out whether it is what was sealed, and
    whether the verifier gives its reward. It says nothing of other rows.

    A row that is checked exits 0 if it is as it was sealed, 3 if not, and 5 if the verifier could not be asked.

    Parameters
    ----------
    certificate
        A sealed certificate.json, with its sealed.jsonl beside it.
    row
        MODEL/TASK/REPEAT: the row to open.
    profile
        The profile's directory, which holds seal.key. Default: the folder above that of the certificate.
    out
        The file for the opened row. Default: it is printed.
    check
        The file of an opened row: say whether it is what was sealed.
    benchmark
        The benchmark's name or folder, if it is none that is installed here. Its Python code is run.
    """
    if (row is None) == (check is None):
        raise UsageError("give --row MODEL/TASK/REPEAT to open a row, or --check FILE for one that was opened")
    if check:
        row_and_salt = read_open_row(check)
        result = uvloop.run(check_open_row(certificate, row_and_salt, name=benchmark, sandbox=code.place()))
        _show_checks(result)
        rollout = row_and_salt.rollout
        print(legible(f"{result.verdict}: {row_and_salt.model}, {rollout.task}, repeat {rollout.repeat}"))
        return CODES["expired"] if result.verdict == "valid" and result.unseen else CODES[result.verdict]
    lines = read_seal(certificate)[1]
    data = msgspec.json.encode(open_row(profile or certificate.resolve().parents[1], lines, row or "")) + b"\n"
    if out:
        write_bytes(out, data)
        print(out)
    else:
        sys.stdout.buffer.write(data)
    return 0


def verify(
    certificate: Path,
    *,
    profile: Path | None = None,
    benchmark: str | None = None,
    key: Path | None = None,
    announcement: AnnouncementOption = None,
    rescore: bool = False,
    strict: bool = False,
    code: Code = Code(),
    json: bool = False,
) -> int:
    """Say whether a certificate is valid, expired or forged, without any model.

    It has expired if something changed since, and is forged if something in it does not follow from the profile.
    Everything is computed again from the profile's files, and nothing is written.

    Exits 0 if it is valid, 5 if it has expired or something could not be looked at, such as the benchmark or
    started.jsonl, and 3 if it is forged.

    Parameters
    ----------
    certificate
        A certificate.json.
    profile
        The profile's directory. Default: the folder of the certificate.
    benchmark
        The benchmark's name or folder, if it is none that is installed here. Its Python code is run.
    key
        The public key (PEM) of the signer that you expect.
    rescore
        Also compute every reward again from the recorded outputs, with the verifier.
    strict
        Exit 5 also if the rewards were not computed again (--rescore), and if the certificate says that the benchmark
        is not verified.
    json
        Print what was checked as JSON.
    """
    result = uvloop.run(
        validity.verify(
            certificate,
            folder=profile,
            name=benchmark,
            sandbox=code.place(),
            key=key,
            announced=read_announcement(announcement) if announcement else None,
            rescored=rescore,
            strict=strict,
            renderings=renderings,
        )
    )
    if json:
        print_json({"verdict": result.verdict, "looked": result.looked})
    else:
        _show_validity(certificate, result)
    doubtful = result.unseen or (strict and not (result.certificate and result.certificate.verified))
    return CODES["expired"] if result.verdict == "valid" and doubtful else CODES[result.verdict]


def _show_certificate(certificate: Certificate) -> None:
    print(f"{legible(certificate.benchmark.name)} {legible(certificate.benchmark.version)}: {headline(certificate)}")
    for line in certificate.missing:
        print(f"  {legible(line)}")
    print(f"  {order_of_events(certificate)}")
    if certificate.sealed:
        print("  sealed: publish these files, and keep seal.key and the rest of the profile to yourself")
    fates = Counter(run.fate for run in certificate.registry.runs)
    for fate in ("left out", "thrown away"):
        if count := fates[fate]:
            print(f"  {plural(count, 'run')} of this benchmark {'was' if count == 1 else 'were'} {fate}: it says so")
    if certificate.redraws:
        print(f"  {redraws_in_words(certificate)}")


def _show_checks(result: Validity) -> None:
    checks = plain_table("looked at", "", "what was found")
    for one in result.looked:
        checks.add_row(one.what, f"[{STYLES[one.answer]}]{one.answer}[/]", Text(legible(one.reason)))
    console.print(checks)


def _show_validity(path: Path, result: Validity) -> None:
    _show_checks(result)
    certificate = result.certificate
    subject = str(path)
    if certificate:
        says = "" if result.verdict == "valid" and not result.unseen else "it says "
        benchmark = f"{certificate.benchmark.name} {certificate.benchmark.version}"
        subject = f"{legible(benchmark)}, {says}{headline(certificate)}"
    partly = f"checked as far as possible (not looked at: {', '.join(result.unseen)})"
    print(f"{partly if result.verdict == 'valid' and result.unseen else result.verdict}: {subject}")
