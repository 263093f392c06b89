"""Certificates of a real profile: made, verified, and each thing that may be changed, changed."""

import asyncio
import json
import random
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import assay
from assay.errors import UsageError
from assay.fidelity.certificate.certificate import certify, probe_seed, what_is_missing, with_digest
from assay.fidelity.certificate.files import file_record, render_file
from assay.fidelity.certificate.schema import Certificate, CertifiedParity
from assay.fidelity.certificate.signature import fingerprint, make_key, private_key, public_key
from assay.fidelity.certificate.validity import Validity, verify
from assay.fidelity.gates import GATE_ORDER
from assay.fidelity.schema.evidence import Explanation, OriginalSource
from assay.fidelity.schema.profile import Gate
from assay.report.certificate import badge, harbor, markdown, renderings
from assay.score import EVERY
from assay.store import read_record, read_rollouts
from assay.types import Score
from tests.commands import assay as command
from tests.commands import copy_package, start

SHIPPED = Path(assay.__file__).parent / "benchmarks"

PROFILE = ("profile", "arithmetic", "--limit", "40", "--models", "policy,nano-instruct")
NAME = "arithmetic-policy-nano-instruct-limit40"
DERIVED = ("report.html", "profile.json", "summary.json", "per_task.jsonl")
"""Their words may be otherwise and mean the same: what they say is compared, and the page is not looked at."""
OWN = "own benchmark: no original to compare with (claimed)"
MARK = {
    "type": "mark",
    "model": "policy",
    "task": "sums-easy-00",
    "repeat": 0,
    "content": "0" * 64,
    "task_digest": "0" * 16,
    "reward": 1.0,
    "fault": "model",
    "by": "a person",
    "at": "2026-01-01T00:00:00+00:00",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certified profile, signed, with one run that was thrown away before it and one mark."""
    place = tmp_path_factory.mktemp("made")
    assert command(*PROFILE, "--repeats", "1", cwd=place)[0] == 0
    folder = place / "profiles" / NAME
    shutil.rmtree(folder)
    code, _, err = command(*PROFILE, "--repeats", "2", cwd=place)
    assert code == 0, err
    (folder / "marks.jsonl").write_text(json.dumps(MARK) + "\n")
    code, out, err = command("certify", str(folder), "--new-key", "key.pem", cwd=place)
    assert code == 0, err
    assert "not verified" in out and "2 runs of this benchmark were thrown away" in out
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made.parents[1], tmp_path, dirs_exist_ok=True)
    return tmp_path / "profiles" / NAME


def found(folder: Path, **more: Any) -> Validity:
    return asyncio.run(verify(folder / "certificate.json", renderings=renderings, **more))


def flawed(validity: Validity) -> dict[str, str]:
    """What is wrong, by what was looked at."""
    return {one.what: one.reason for one in validity.looked if one.answer not in ("ok", "not looked at")}


def certificate(folder: Path) -> Certificate:
    return msgspec.json.decode((folder / "certificate.json").read_bytes(), type=Certificate)


def flip(path: Path, at: int, bit: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= bit
    path.write_bytes(data)


def forge(folder: Path, change: Callable[[Any], object]) -> None:
    """Change the certificate as somebody would who knows how it is made, without the key."""
    plain = msgspec.to_builtins(certificate(folder))
    change(plain)
    plain["signed_by"] = None
    forged = with_digest(msgspec.convert(plain, Certificate))
    (folder / "certificate.json").write_bytes(render_file(forged))
    (folder / "certificate.sig").unlink(missing_ok=True)
    for name, data in renderings(forged).items():
        (folder / name).write_bytes(data)


@pytest.mark.heavy
def test_what_was_certified_is_valid_and_verifying_writes_nothing(folder: Path):
    before = {path: path.read_bytes() for path in folder.parent.rglob("*") if path.is_file()}
    for path in [folder.parent, *folder.parent.rglob("*")]:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    validity = found(folder)
    for path in [folder.parent, *folder.parent.rglob("*")]:
        path.chmod(path.stat().st_mode | stat.S_IWUSR)
    assert validity.verdict == "valid" and not validity.unseen, validity.looked
    assert {path: path.read_bytes() for path in folder.parent.rglob("*") if path.is_file()} == before


@pytest.mark.heavy
def test_the_command_says_valid_expired_or_forged_with_its_exit_code(folder: Path):
    path = str(folder / "certificate.json")
    code, out, err = command("verify", path, cwd=folder)
    assert (code, out) == (0, f"valid: arithmetic 1, not verified, 3 of 8 gates pass; {OWN}\n"), err
    assert "| parity | does not apply |" in (folder / "certificate.md").read_text()
    assert command("verify", path, "--strict", cwd=folder)[0] == 5
    with (folder / "marks.jsonl").open("a") as file:
        file.write(json.dumps(MARK | {"repeat": 1}) + "\n")
    code, out, _ = command("verify", path, "--json", cwd=folder)
    looked = {one["what"]: one for one in json.loads(out)["looked"]}
    assert (code, json.loads(out)["verdict"]) == (5, "expired")
    assert looked["files"]["answer"] == "expired" and "marks.jsonl has grown" in looked["files"]["reason"]
    flip(folder / "runs/policy/rollouts.jsonl", 1000)
    code, out, err = command("verify", path, cwd=folder)
    assert code == 3 and out.startswith("forged") and "arithmetic 1, it says not verified" in out
    assert "runs/policy/rollouts.jsonl is not the file" in " ".join(err.split())


@pytest.mark.heavy
def test_what_a_certificate_says_of_a_real_profile(folder: Path):
    made = certificate(folder)
    assert not made.verified and made.benchmark.original
    assert "only 40 of its tasks were asked: 40 drawn by seed 0" in made.missing
    assert [gate.name for gate in made.gates] == list(GATE_ORDER)
    record = read_record(folder / "runs/policy")
    assert made.models["policy"].run == record.id and made.models["policy"].identity == record.identity
    scores = made.models["policy"].by_repeat
    assert len(scores) == 2 and sum(filter(None, scores)) / 2 == pytest.approx(made.models["policy"].summary.score)
    assert {"benchmark.py", "problems.py", "assay/benchmark/verify/integer.py"} <= made.benchmark.sources.keys()
    assert sorted(run.fate for run in made.registry.runs) == ["in this profile"] * 2 + ["thrown away"] * 2
    assert made.redraws == 1
    other = "1 other profile of this benchmark was begun, each with other rollouts to read"
    assert other in (folder / "certificate.md").read_text()
    assert set(made.evidence) == {"marks.jsonl", "plan.jsonl"} | {
        f"runs/{model}/{file}"
        for model in ("policy", "nano-instruct")
        for file in ("run.json", "tasks.jsonl", "rollouts.jsonl")
    }


# One byte, in every kind of file.


@pytest.mark.parametrize(
    "name",
    ["plan.jsonl", "marks.jsonl", *(f"runs/policy/{file}" for file in ("run.json", "tasks.jsonl", "rollouts.jsonl"))],
)
def test_one_character_of_the_evidence_is_caught_and_its_file_named(folder: Path, name: str):
    flip(folder / name, 100)
    validity = found(folder)
    assert validity.verdict == "forged"
    assert flawed(validity)["files"] == f"{name} is not the file that was certified."


@pytest.mark.parametrize("name", ["runs/policy/run.json", "marks.jsonl", "plan.jsonl"])
def test_a_file_that_is_gone_is_caught(folder: Path, name: str):
    (folder / name).unlink()
    if name == "plan.jsonl":
        with pytest.raises(UsageError, match="holds no profile"):
            found(folder)
    else:
        assert flawed(found(folder))["files"] == f"{name} is missing."


@pytest.mark.heavy
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_no_flipped_byte_of_any_file_is_ever_valid(made: Path, tmp_path_factory: pytest.TempPathFactory, seed: int):
    rng = random.Random(seed)
    files = [path for path in made.parent.rglob("*") if path.is_file() and path.name not in DERIVED]
    path = rng.choice(sorted(files))
    before = path.read_bytes()
    flip(path, rng.randrange(len(before)), 1 << rng.randrange(8))
    try:
        assert found(made).verdict != "valid", path
    except UsageError:  # a certificate of another format
        assert path.name == "certificate.json"
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("profile.json", '"verdict": "inconclusive"', '"verdict": "pass"'),
        ("runs/policy/summary.json", '"repeats": 2', '"repeats": 3'),
        ("runs/policy/per_task.jsonl", '"rewards":[0', '"rewards":[1'),
        ("certificate.md", "nano-instruct", "micro-instruct"),
        ("badge.svg", "not verified", "verified"),
        ("parity_experiment.json", "[]", "[{}]"),
    ],
)
def test_a_derived_file_that_says_otherwise_is_caught(folder: Path, name: str, old: str, new: str):
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1))
    validity = found(folder)
    assert validity.verdict == "forged" and name in " ".join(flawed(validity).values())


# Certificates that somebody wrote who knows how they are made.


def passing(plain: Any) -> None:
    for gate in plain["gates"]:
        gate["verdict"] = "pass"
    plain["missing"] = plain["missing"][-1:]


FORGERIES: dict[str, tuple[Callable[[Any], object], str, str]] = {
    "a score": (
        lambda c: c["models"]["policy"]["summary"].update(score=0.975),
        "numbers",
        r"models\.policy\.summary\.score: 0\.975 in the certificate, 0\.\d+ from the files",
    ),
    "an error": (lambda c: c["models"]["policy"]["summary"].update(se_run=0.01), "numbers", r"summary\.se_run: 0\.01"),
    "a repeat": (lambda c: c["models"]["policy"]["by_repeat"].append(1.0), "numbers", "by_repeat"),
    "a gate's number": (lambda c: c["gates"][8]["numbers"].update(k_set=64), "numbers", r"numbers\.k_set: 64"),
    "a gate": (passing, "numbers", r"gates\.order\.verdict"),
    "a gate of the benchmark": (
        lambda c: c["gates"][1]["numbers"].update(gold_right=39),
        "numbers",
        r"gates\.gold\.numbers\.gold_right: 39 in the certificate, 40 from the files",
    ),
    "verified": (lambda c: c.update(verified=True, missing=[]), "certificate", "It says verified; from its own gates"),
    "what is missing": (lambda c: c["missing"].pop(), "certificate", "It says not verified"),
    "the limit": (
        lambda c: (c["benchmark"].update(selection={"only": {}, "limit": None, "seed": 0}), c["missing"].pop()),
        "numbers",
        "selection of tasks",
    ),
    "the tasks": (lambda c: c["benchmark"].update(tasks_digest="0" * 64), "numbers", "tasks 0000"),
    "the prompts": (
        lambda c: c["benchmark"].update(prompts_digest="0" * 64),
        "numbers",
        r"runs/policy/run\.json: prompts [0-9a-f]+…, and 0000",
    ),
    "the model": (lambda c: c["models"]["policy"]["identity"].update(id="gpt-5"), "numbers", r"policy\.identity\.id"),
    "the seed": (lambda c: c["models"]["policy"].update(seed=7), "numbers", r"models\.policy\.seed: 7"),
    "a run thrown away": (
        lambda c: c["registry"].update(runs=[r for r in c["registry"]["runs"] if r["fate"] != "thrown away"]),
        "registry",
        "names other runs",
    ),
    "the registry's length": (lambda c: c["registry"].update(lines=2), "registry", "no longer holds"),
    "a file": (lambda c: c["evidence"].update({"../elsewhere": {"sha256": "", "bytes": 1}}), "files", "no file of a"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_what_does_not_follow_is_named_though_the_certificate_holds_together(folder: Path, name: str):
    change, what, pattern = FORGERIES[name]
    forge(folder, change)
    validity = found(folder)
    assert validity.verdict == "forged"
    assert re.search(pattern, flawed(validity)[what]), flawed(validity)


def test_a_changed_rollout_does_not_pass_by_a_changed_digest(folder: Path):
    path = folder / "runs/policy/rollouts.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"reward":0.0', b'"reward":1.0'))
    forge(folder, lambda c: c["evidence"].update(msgspec.to_builtins(evidence(folder))))
    assert "models.policy.summary.score" in flawed(found(folder))["numbers"]


def evidence(folder: Path) -> dict[str, Any]:
    return asyncio.run(certify(folder)).evidence  # recomputes the profile's derived files, as a forger would


def test_a_reward_that_the_output_does_not_get_is_found_by_rescoring(folder: Path):
    assert found(folder, rescored=True).verdict == "valid"
    path = folder / "runs/policy/rollouts.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"reward":0.0', b'"reward":1.0', 1))
    assert command("certify", str(folder), cwd=folder)[0] == 0  # as if it had been so
    assert found(folder).verdict == "valid"
    reason = flawed(found(folder, rescored=True))["rewards"]
    assert re.search(r"^policy, [\w-]+-\d+, repeat \d: 1 for '\d+' in the file, 0 for '\d+' from its", reason)


def test_the_seed_of_the_probes_follows_from_the_evidence_and_cant_be_chosen(folder: Path):
    certificate = msgspec.json.decode((folder / "certificate.json").read_bytes(), type=Certificate)
    gold = next(gate for gate in certificate.gates if gate.name == "gold")
    assert gold.numbers["seed"] == probe_seed(certificate.evidence)
    chosen = msgspec.structs.replace(gold, numbers=gold.numbers | {"seed": 7})
    gates = [chosen if gate.name == "gold" else gate for gate in certificate.gates]
    (folder / "certificate.json").write_bytes(
        render_file(with_digest(msgspec.structs.replace(certificate, gates=gates)))
    )
    assert "gates.gold.numbers.seed" in flawed(found(folder))["numbers"]


def test_a_registry_with_a_line_taken_out_is_no_longer_what_was_certified_nor_verified(folder: Path):
    registry = folder.parent / "started.jsonl"
    lines = registry.read_bytes().splitlines(keepends=True)
    registry.write_bytes(b"".join(lines[2:]))
    assert "no longer holds" in flawed(found(folder))["registry"]
    again = asyncio.run(certify(folder))
    assert again.registry.broken == [1]
    assert "started.jsonl, line 1: a line before it was taken out or changed" in again.missing
    registry.unlink()
    validity = found(folder)
    assert validity.verdict == "valid" and validity.unseen == ["registry"]
    again = asyncio.run(certify(folder))
    assert "not written down before it started: the run of nano-instruct, policy" in again.missing


# What comes after.


def test_more_of_the_same_makes_it_expire_and_what_was_certified_still_follows(folder: Path):
    assert command(*PROFILE, "--repeats", "3", cwd=folder.parents[1])[0] == 0
    validity = found(folder)
    assert validity.verdict == "expired"
    assert set(flawed(validity)) == {"files"}
    reason = flawed(validity)["files"]
    assert all(f"{file} has grown" in reason for file in ("plan.jsonl", "runs/policy/rollouts.jsonl"))
    # A number that did not follow then is still told from what was added.
    forge(folder, lambda c: c["models"]["policy"]["summary"].update(score=0.9))
    assert found(folder).verdict == "forged"


def test_a_model_that_came_later_makes_it_expire(folder: Path):
    shutil.copytree(folder / "runs/policy", folder / "runs/newer")
    assert "runs/newer/rollouts.jsonl has come" in flawed(found(folder))["files"]


def test_another_code_of_assay_is_told_and_not_called_forgery(folder: Path):
    forge(folder, lambda c: (c.update(computed_by="0" * 64), c["gates"][2].update(reason="in other words")))
    validity = found(folder)
    assert validity.verdict == "expired"
    assert "Another code of Assay" in flawed(validity)["numbers"]


# The benchmark, changed by a character.


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certified profile of a benchmark in a folder of its own."""
    place = tmp_path_factory.mktemp("own")
    shutil.copytree(SHIPPED / "arithmetic", place / "sums", ignore=shutil.ignore_patterns("__pycache__"))
    text = (place / "sums/benchmark.py").read_text()
    text = text.replace("from assay.benchmarks.arithmetic.problems", "from .problems")
    text = re.sub(r"        if tasks_digest\(tasks\) != DIGEST:\n.*\n", "", text)
    (place / "sums/benchmark.py").write_text(text.replace("from assay.digest import tasks_digest\n", ""))
    arguments = ("--limit", "20", "--models", "gold", "--repeats", "1", "--out", "profiles/p")
    code, _, err = command("profile", "./sums", *arguments, cwd=place)
    assert code == 0, err
    assert command("certify", "profiles/p", cwd=place)[0] == 0
    return place


CHANGES: dict[str, tuple[str, str, str, str]] = {
    "a prompt": ("problems.py", "What is", "What was", "prompts changed: sums-easy-00"),
    "a gold answer": ("benchmark.py", "gold=str(problem.answer)", 'gold=f" {problem.answer}"', "gold answers or data"),
    "the verifier": (
        "benchmark.py",
        "(response, int(",
        "(response, 0 * int(",
        "the verifier's benchmark.py has changed",
    ),
    "a comment": ("benchmark.py", "# of guessing", "# of a guess", "the verifier's benchmark.py has changed"),
    "the version": ("benchmark.py", 'version = "1"', 'version = "2"', "version was 1, and is 2"),
    "the sampling": ("benchmark.py", "temperature=1.0", "temperature=0.9", 'sampling was {"temperature":1.0'),
    "the chance": ("benchmark.py", "chance=0.007", "chance=0.008", "chance was 0.007, and is 0.008"),
    "the formats": ("benchmark.py", ' "= {}"', ' "is {}"', "formats was"),
    "what is published": ("published.toml", "original = true ", "original = true  ", "published.toml has changed"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_character_of_the_benchmark_makes_it_expire_and_is_named(own: Path, tmp_path: Path, name: str):
    file, old, new, reason = CHANGES[name]
    shutil.copytree(own / "sums", tmp_path / "sums", ignore=shutil.ignore_patterns("__pycache__"))
    text = (tmp_path / "sums" / file).read_text()
    assert old in text
    (tmp_path / "sums" / file).write_text(text.replace(old, new))
    validity = found(own / "profiles/p", name=str(tmp_path / "sums"))
    assert validity.verdict == "expired"
    assert reason in flawed(validity)["benchmark"], validity.looked


def test_a_benchmark_that_is_only_a_path_is_not_run_unasked(own: Path):
    validity = found(own / "profiles/p")
    assert validity.verdict == "valid" and validity.unseen == ["benchmark"]
    assert found(own / "profiles/p", name=str(own / "sums")).unseen == []
    code, out, err = command("verify", "profiles/p/certificate.json", cwd=own)
    assert code == 5 and out.startswith("checked as far as possible (not looked at: benchmark): arithmetic 1, it")
    assert "say --benchmark" in " ".join(err.split())
    assert command("verify", "profiles/p/certificate.json", "--benchmark", "./sums", cwd=own)[0] == 0


MATHS = """
from assay.benchmark import Benchmark, Environment
from assay.benchmark.verify.code import check_code, code_in
from assay.benchmark.verify.maths import Processes
from assay.types import Message, Task

PROCESSES = Processes(1)


class Sums(Environment):
    name, version = "sums", "1"

    def tasks(self):
        return [Task(id=str(n), input=[Message(role="user", content=f"{n} + {n}?")], gold=str(2 * n)) for n in range(4)]

    async def verify(self, task, response):
        if "def solve" in response.text:
            return await check_code(code_in(response, "solve"), f"assert solve() == {task.gold}")
        return await PROCESSES.verify(task.gold, response.text)


BENCHMARK = Benchmark(environment=Sums(), repeats=1)
"""


@pytest.fixture(scope="module")
def maths(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certified profile of a benchmark whose verifiers start two more files as processes."""
    place = tmp_path_factory.mktemp("maths")
    (place / "sums").mkdir()
    (place / "sums/benchmark.py").write_text(MATHS)
    code, _, err = command("profile", "./sums", "--models", "gold", "--out", "profiles/p", cwd=place)
    assert code == 0, err
    assert command("certify", "profiles/p", cwd=place)[0] == 0
    return place


def verified_by_another_assay(folder: Path, place: Path, file: str, *options: str) -> dict[str, Any]:
    """What is looked at by an Assay whose file has a character more."""
    package = copy_package(place / "other")
    with (package / file).open("a") as opened:
        opened.write("#\n")
    arguments = ("verify", str(folder / "certificate.json"), "--json", *options)
    process = start(*arguments, cwd=place, PYTHONPATH=str(package.parent))
    out, err = process.communicate(timeout=100)
    assert process.returncode == 5, err
    return {one["what"]: one for one in json.loads(out)["looked"]}


def test_a_character_of_the_verifier_that_assay_brings_makes_it_expire(folder: Path, tmp_path: Path):
    looked = verified_by_another_assay(folder, tmp_path, "benchmark/verify/integer.py")
    assert looked["benchmark"]["reason"] == "the verifier's assay/benchmark/verify/integer.py has changed."
    assert "Another code of Assay than this one computed it" in looked["certificate"]["reason"]


@pytest.mark.heavy
@pytest.mark.parametrize("file", ["benchmark/verify/maths/worker.py", "benchmark/verify/code/checker.py"])
def test_so_does_one_of_a_file_that_a_verifier_starts_as_a_process(maths: Path, tmp_path: Path, file: str):
    folder, option = maths / "profiles/p", ("--benchmark", maths / "sums")
    assert found(folder, name=str(maths / "sums")).verdict == "valid"
    looked = verified_by_another_assay(folder, tmp_path, file, *option)
    assert looked["benchmark"]["reason"] == f"the verifier's assay/{file} has changed."


PORT = MATHS.replace("sums", "port")
PUBLISHED = """
[origin]
repository = "https://example.org/code"
commit = "abc"

[[score]]
model = "m"
score = "70.0"
subset = "test"
source = "s"
date = "2024-01-01"
confidence = "card"
"""


@pytest.mark.heavy
def test_margins_are_written_down_before_the_first_run(tmp_path: Path):
    (tmp_path / "port").mkdir()
    (tmp_path / "port/benchmark.py").write_text(PORT)
    (tmp_path / "port/published.toml").write_text(PUBLISHED)
    code, _, err = command("profile", "./port", "--models", "gold", "--out", "profiles/p", cwd=tmp_path)
    assert code == 0, err
    folder, registry = tmp_path / "profiles/p", tmp_path / "profiles/started.jsonl"
    first = json.loads(registry.read_text().splitlines()[0])
    margins = json.loads((folder / "plan.jsonl").read_text())["margins"]
    assert (first["type"], first["margins"]) == ("margins", margins)
    assert margins.keys() == {"reproduced", "parity"}
    assert (
        command("profile", "./port", "--models", "gold", "--repeats", "2", "--out", "profiles/p", cwd=tmp_path)[0] == 0
    )
    plans = [json.loads(line) for line in (folder / "plan.jsonl").read_text().splitlines()]
    assert [plan["margins"] for plan in plans] == [margins, margins]
    assert command("certify", "profiles/p", cwd=tmp_path)[0] == 0
    made = certificate(folder)
    assert (made.benchmark.margins, made.registry.margins) == (margins, margins)
    moved = tmp_path / "profiles/renamed"
    folder.rename(moved)
    looked = {one.what: one.reason for one in found(moved, name=str(tmp_path / "port")).looked}
    assert re.search(r"written down before the first run: margins of \S+ points for reproduced", looked["registry"])
    other = msgspec.structs.replace(made.benchmark, margins=margins | {"parity": 0.01})
    assert "the margins were not written down before the first run" in what_is_missing(made.gates, other, made.registry)


# The rule.


def test_verified_is_every_gate_and_the_original_alone_may_leave_two_out(folder: Path):
    made = certificate(folder)
    whole = msgspec.structs.replace(made.benchmark, selection=EVERY, original=False)
    original = msgspec.structs.replace(whole, original=True)
    gates = {name: Gate(name, "pass", "") for name in GATE_ORDER}
    assert what_is_missing(list(gates.values()), whole, made.registry) == []
    for name in GATE_ORDER:
        for verdict in ("fail", "inconclusive", "not run"):
            changed = [*(gates | {name: Gate(name, verdict, "")}).values()]
            expected = [f"gate {name}: {verdict}"]
            assert what_is_missing(changed, whole, made.registry) == expected
            may_lack = name in ("reproduced", "parity") and verdict == "not run"
            assert what_is_missing(changed, original, made.registry) == ([] if may_lack else expected)
    del gates["range"]
    assert what_is_missing(list(gates.values()), whole, made.registry) == ["gate range: not run"]


def test_what_cannot_be_certified_is_told(folder: Path):
    with (folder / "runs/policy/rollouts.jsonl").open("ab") as file:
        file.write(b'{"task":"sum')
    with pytest.raises(UsageError, match=r"rollouts\.jsonl ends within a line"):
        asyncio.run(certify(folder))
    shutil.copy(folder / "runs/nano-instruct/rollouts.jsonl", folder / "runs/policy/rollouts.jsonl")
    run = folder / "runs/policy/run.json"
    run.write_text(run.read_text().replace('"version": "1"', '"version": "0"'))
    with pytest.raises(UsageError, match=r"runs/policy/run\.json: version 0, and 1 in the profile"):
        asyncio.run(certify(folder))
    assert command("certify", cwd=folder)[0] == 2
    with pytest.raises(UsageError, match=r"not a profile's folder"):
        asyncio.run(certify(folder.parent))
    with pytest.raises(UsageError, match=r"nothing\.json: No such file"):
        asyncio.run(verify(folder / "nothing.json"))


def test_strict_exits_3_and_out_writes_elsewhere(folder: Path, tmp_path: Path):
    code, _, err = command("certify", str(folder), "--out", "shown", "--strict", cwd=tmp_path)
    assert code == 3, err
    assert {path.name for path in (tmp_path / "shown").iterdir()} == {
        "certificate.json",
        "certificate.md",
        "parity_experiment.json",
        "badge.svg",
    }
    path = tmp_path / "shown/certificate.json"
    with pytest.raises(UsageError, match="holds no profile, so nothing can be computed again; name its folder"):
        asyncio.run(verify(path))
    assert asyncio.run(verify(path, folder=folder)).verdict == "valid"


# Signatures.


@pytest.mark.heavy
def test_a_signature_is_checked_and_another_key_is_told(folder: Path, tmp_path: Path):
    key = folder.parents[1] / "key.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    _, named = private_key(key)
    assert certificate(folder).signed_by == named
    validity = found(folder, key=key.with_name("key.pem.pub"))
    assert validity.verdict == "valid" and named in next(o.reason for o in validity.looked if o.what == "signature")
    other = make_key(tmp_path / "other.pem")
    assert f"not by {other}" in flawed(found(folder, key=tmp_path / "other.pem.pub"))["signature"]
    forge(folder, lambda c: None)  # all as it was, but unsigned
    assert found(folder).verdict == "valid"
    assert "is missing" in flawed(found(folder, key=key.with_name("key.pem.pub")))["signature"]


def test_another_key_is_said_where_nobody_named_the_right_one(folder: Path, tmp_path: Path):
    code, _, err = command("certify", str(folder), "--new-key", str(tmp_path / "other.pem"), cwd=tmp_path)
    assert code == 0, err
    validity = found(folder)
    reason = next(one.reason for one in validity.looked if one.what == "signature")
    assert validity.verdict == "valid" and "a key that --key does not name: ask whose it is" in reason


def test_a_missing_signature_of_a_signed_certificate_is_told(folder: Path):
    (folder / "certificate.sig").unlink()
    assert "certificate.sig is missing" in flawed(found(folder))["signature"]


def test_keys_are_never_overwritten_and_what_is_none_is_told(tmp_path: Path):
    make_key(tmp_path / "key.pem")
    (tmp_path / "text").write_text("no key")
    for call, expected in (
        (lambda: make_key(tmp_path / "key.pem"), "key.pem is there already, and a key is never overwritten"),
        (lambda: private_key(tmp_path / "key.pem.pub"), "an Ed25519 private key"),
        (lambda: private_key(tmp_path / "text"), "an Ed25519 private key"),
        (lambda: private_key(tmp_path / "none.pem"), "No such file"),
        (lambda: public_key(tmp_path / "key.pem"), "an Ed25519 public key"),
    ):
        with pytest.raises(UsageError, match=expected):
            call()
    assert re.fullmatch(r"SHA256:[A-Za-z0-9+/]{43}", fingerprint(bytes(32)))


# What is written beside it.


def with_parity(made: Certificate) -> Certificate:
    record = OriginalSource(file="ref.jsonl", sha256="0" * 64, rows=120, tasks=40, repeats=3, score=0.6)
    parity = CertifiedParity(
        verdict="equivalent",
        reason="as it is",
        margin=0.02,
        at="2026-01-01",
        reference=record,
        by_repeat=[0.5, 0.6, 0.7],
    )
    return with_digest(msgspec.structs.replace(made, parity={"policy": parity}))


def test_the_parity_record_is_in_the_form_of_harbors_adapters(folder: Path):
    assert harbor(certificate(folder)) == []
    made = with_parity(certificate(folder))
    (entry,) = harbor(made)
    needed = "adapter_name agent model date adapted_benchmark_size parity_benchmark_size number_of_runs notes"
    assert list(entry) == [*needed.split(), "original_parity_repo", "adapter_pr", "dataset_pr", "parity_pr", "metrics"]
    assert (entry["adapter_name"], entry["agent"], entry["model"]) == ("arithmetic", "assay@0.1.0", "policy")
    (metric,) = entry["metrics"]
    assert metric["original_runs"] == [50.0, 60.0, 70.0]
    # Their formula: sqrt(sum (x - mean)^2 / (n (n - 1))) = sqrt(200 / 6)
    assert metric["original"] == "60.00 ± 5.77"
    assert len(metric["harbor_runs"]) == entry["number_of_runs"] == 2
    assert "3 of the original, 2 here" in entry["notes"]


@pytest.mark.heavy
def test_parity_is_computed_again_and_becomes_the_record(tmp_path: Path):
    for seed, folder in (("0", "profiles/p"), ("1", "profiles/there")):
        arguments = ("--models", "policy", "--repeats", "1", "--seed", seed, "--out", folder)
        assert command("profile", "arithmetic", *arguments, cwd=tmp_path)[0] == 0
    with (tmp_path / "original.jsonl").open("wb") as file:
        for rollout in read_rollouts(tmp_path / "profiles/there/runs/policy"):
            assert isinstance(rollout.outcome, Score)
            row = {"task": rollout.task, "score": rollout.outcome.reward, "output": rollout.turns[-1].response.text}
            file.write(msgspec.json.encode(row) + b"\n")
    run = tmp_path / "profiles/p/runs/policy"
    code, _, err = command("parity", "arithmetic", "--reference", "original.jsonl", "--run", str(run), cwd=tmp_path)
    assert code in (0, 5), err
    assert command("certify", "profiles/p", cwd=tmp_path)[0] == 0
    folder = tmp_path / "profiles/p"
    made = certificate(folder)
    assert {"runs/policy/parity.json", "runs/policy/reference.jsonl"} <= made.evidence.keys()
    (entry,) = harbor(made)
    assert entry["parity_benchmark_size"] == 240 and len(entry["metrics"][0]["original_runs"]) == 1
    assert found(folder).verdict == "valid"
    parity = run / "parity.json"
    said = json.loads(parity.read_text())
    said["ladder"][3]["verdict"], said["verdict"] = "equivalent", "equivalent"
    parity.write_text(json.dumps(said))
    with pytest.raises(UsageError, match=r"parity\.json is not what its reference\.jsonl gives; run `assay parity`"):
        asyncio.run(certify(folder))
    forge(folder, lambda c: c["evidence"].update({"runs/policy/parity.json": msgspec.to_builtins(file_record(parity))}))
    assert "parity.json is not what its reference.jsonl gives" in flawed(found(folder))["numbers"]


@pytest.mark.heavy
def test_a_rung_or_a_reason_that_is_not_what_the_results_give_is_found(tmp_path: Path):
    arguments = ("--models", "gold", "--limit", "40", "--repeats", "1", "--out", "profiles/p")
    assert command("profile", "arithmetic", *arguments, cwd=tmp_path)[0] == 0
    run = tmp_path / "profiles/p/runs/gold"
    rows = [{"task": one.task, "score": 1, "gold": "no number"} for one in read_rollouts(run)]
    (tmp_path / "original.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command("parity", "arithmetic", "--reference", "original.jsonl", "--run", str(run), cwd=tmp_path)
    true = (run / "parity.json").read_bytes()
    asyncio.run(certify(tmp_path / "profiles/p"))
    for change in (
        lambda said: (
            said["ladder"][0].update(verdict="identical", disagreements=[]),
            said.update(verdict="identical"),
        ),
        lambda said: said["ladder"][0].update(disagreements=said["ladder"][0]["disagreements"][1:]),
        lambda said: said.update(reason="All is well."),
        lambda said: said["ladder"][3].update(reason="All is well."),
    ):
        said = json.loads(true)
        change(said)
        (run / "parity.json").write_text(json.dumps(said))
        with pytest.raises(UsageError, match=r"parity\.json is not what its reference\.jsonl gives"):
            asyncio.run(certify(tmp_path / "profiles/p"))


@pytest.mark.heavy
def test_a_model_that_a_changed_suite_leaves_out_is_told(tmp_path: Path):
    for models in ("policy,nano-instruct", "nano-instruct"):
        arguments = ("--models", models, "--limit", "10", "--repeats", "1", "--out", "profiles/p")
        assert command("profile", "arithmetic", *arguments, cwd=tmp_path)[0] == 0
    code, out, err = command("certify", "profiles/p", cwd=tmp_path)
    assert code == 0 and "1 run of this benchmark was left out" in out, err
    made = certificate(tmp_path / "profiles/p")
    fates = {run.model: run.fate for run in made.registry.runs}
    assert fates == {"policy": "left out", "nano-instruct": "in this profile"}
    assert "1 left out" in markdown(made) and found(tmp_path / "profiles/p").verdict == "valid"


def test_gates_that_ask_a_model_in_a_role_are_taken_as_said_and_told(tmp_path: Path):
    arguments = ("--models", "policy", "--limit", "2", "--repeats", "1", "--out", "profiles/p")
    assert command("profile", "interview", *arguments, cwd=tmp_path)[0] == 0
    assert command("certify", "profiles/p", cwd=tmp_path)[0] == 0
    validity = found(tmp_path / "profiles/p")
    assert (validity.verdict, validity.unseen) == ("valid", ["tasks/gold/verifier/parity"])


def test_what_is_nested_too_deep_is_no_certificate(folder: Path):
    (folder / "certificate.json").write_text('{"format":2,"a":' + "[" * 100_000 + "]" * 100_000 + "}")
    assert "recursion" in flawed(found(folder))["certificate"]


HOSTILE = 'a|b<script>`x`\n# "&\x1b[31m'


def test_hostile_names_stay_text(folder: Path):
    made = certificate(folder)
    benchmark = msgspec.structs.replace(made.benchmark, name=HOSTILE)
    gates = [msgspec.structs.replace(made.gates[0], reason=HOSTILE), *made.gates[1:]]
    made = msgspec.structs.replace(made, benchmark=benchmark, gates=gates, models={HOSTILE: made.models["policy"]})
    text = markdown(made)
    assert "<script>" not in text.replace(r"\<script\>", "") and "\x1b" not in text
    rows = [line for line in text.splitlines() if line.startswith("| a")]
    assert len(rows) == 1 and len(re.findall(r"(?<!\\)\|", rows[0])) == 9
    picture = ElementTree.fromstring(badge(made))
    assert [node.tag.rpartition("}")[2] for node in picture] == ["title", "rect", "rect", "rect", "g"]
    assert "\x1b" not in badge(made)


def test_the_badge_says_the_verdict_in_its_colour(folder: Path):
    made = certificate(folder)
    failing = msgspec.structs.replace(made, gates=[msgspec.structs.replace(made.gates[0], verdict="fail")])
    assert ">not verified, 3 of 8 gates pass<" in badge(made) and "#cf222e" in badge(failing)
    said = Explanation(model="m", detector="token_cap", note="long proofs", by="ada", at="2026-11-28T10:00:00+00:00")
    bounds = {"kinds": {"explained": [said]}, "reproduced": {"bound": "reproduced within 2.5"}}
    passing = [msgspec.structs.replace(gate, verdict="pass", **bounds.get(gate.name, {})) for gate in made.gates]
    port = msgspec.structs.replace(made.benchmark, original=False)
    good = msgspec.structs.replace(made, verified=True, gates=passing, benchmark=port)
    assert ">verified; reproduced within 2.5; 1 explained<" in badge(good) and "#1a7f37" in badge(good)
    text = markdown(good)
    assert text.startswith("# arithmetic 1: verified; reproduced within 2.5; 1 explained\n")
    assert "| kinds | explained |" in text and "- kinds, explained by ada on 2026-11-28: long proofs" in text
    own = msgspec.structs.replace(good, benchmark=made.benchmark, gates=passing)
    assert f"; 1 explained; {OWN}" in markdown(own)


def test_a_certificate_of_another_form_is_refused_with_what_to_do(folder: Path):
    for form, remedy in ((1, "make a new one: `assay certify PROFILE`"), (99, "use the Assay that made it")):
        plain = json.loads((folder / "certificate.json").read_bytes()) | {"format": form}
        (folder / "certificate.json").write_text(json.dumps(plain))
        with pytest.raises(UsageError, match=f"is of format {form}; this version of Assay reads format 2: {remedy}"):
            found(folder)


def test_every_digest_stands_in_the_table_for_a_pull_request(folder: Path):
    made, text = certificate(folder), (folder / "certificate.md").read_text()
    for digest in (made.digest, made.benchmark.tasks_digest, *made.benchmark.sources.values()):
        assert digest in text
    for model in made.models.values():
        assert str(model.rollouts) in text and f"{100 * (model.summary.score or 0):.1f}" in text
    assert "4 runs of this benchmark: 2 in this profile and 2 thrown away." in text


@pytest.fixture(autouse=True)
def _unchanged(made: Path) -> Iterator[None]:
    """No test changes what all of them share."""
    yield
    assert (made / "certificate.json").exists()
