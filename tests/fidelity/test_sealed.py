"""Sealed certificates: what they show, what they withhold, and what is forged of them."""

import asyncio
import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import structs

from assay.digest import task_digest
from assay.errors import UsageError
from assay.fidelity.certificate.certificate import what_is_missing, with_digest
from assay.fidelity.certificate.files import file_record, render_file
from assay.fidelity.certificate.schema import Certificate
from assay.fidelity.certificate.seal import (
    FILE,
    WITHHELD,
    OpenRow,
    SealedRow,
    flaws_of_row,
    open_row,
    read_sealed,
    sealed_form,
)
from assay.fidelity.certificate.validity import verify
from assay.fidelity.profile import load_material
from assay.fidelity.review.marks import keep
from assay.fidelity.review.plants import Plant
from assay.fidelity.review.readings import now
from assay.fidelity.review.review import Progress
from assay.fidelity.schema.evidence import Explanation, Fault, Mark, Remark
from assay.report.certificate import renderings
from assay.store import read_rollouts, read_tasks
from assay.types import Message
from tests.commands import assay
from tests.fidelity.forgery import Line, change_lines

AUDIT = ("--model", "policy", "--sample", "40", "--repeats", "4", "--seed", "1")
NOTE = "because seventeen is a prime number"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile that was read to the end, with a fault and an explanation, and its sealed certificate."""
    place = tmp_path_factory.mktemp("made")
    models = ("--models", "policy,nano-instruct,gold", "--limit", "40", "--repeats", "2")
    assert assay("profile", "arithmetic", *models, "--out", "profiles/p", cwd=place)[0] == 0
    folder = place / "profiles/p"
    there, said = load_material(folder), list[Remark]()
    faulty = Progress(there, said).look[0][3]
    while queue := Progress(there, said).queue("ada"):
        for one in queue:
            spot = one.base if isinstance(one, Plant) else one
            fault: Fault = "verifier" if isinstance(one, Plant) else "task" if one is faulty else "model"
            mark = Mark(
                model=spot.model,
                task=spot.task.id,
                repeat=spot.cell.repeat,
                content=one.content,
                task_digest=spot.task_digest,
                reward=one.reward if isinstance(one, Plant) else spot.cell.reward,
                fault=fault,
                note=NOTE,
                by="ada",
                at=now(),
            )
            keep(folder, mark)
            said.append(mark)
    keep(folder, Explanation(model="policy", detector="token_cap", note=NOTE, by="ada", at=now()))
    code, _, err = assay("certify", "profiles/p", "--sealed", cwd=place)
    assert code == 0, err
    return place


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path / "profiles/p/sealed"


def looked(folder: Path) -> dict[str, tuple[str, str]]:
    found = asyncio.run(verify(folder / "certificate.json", renderings=renderings))
    return {one.what: (one.answer, one.reason) for one in found.looked}


def certificate(folder: Path) -> Certificate:
    return msgspec.json.decode((folder / "certificate.json").read_bytes(), type=Certificate)


def opened(folder: Path, row: str = "policy/sums-easy-00/0") -> OpenRow:
    return open_row(folder.parent, read_sealed(folder), row)


def row_of(folder: Path) -> str:
    """The name of a row that is wrong."""
    rows = [line for line in read_sealed(folder) if isinstance(line, SealedRow) and line.model == "policy"]
    wrong = next(row for row in rows if not row.reward)
    return f"policy/{wrong.task}/{wrong.repeat}"


def seal_again(folder: Path) -> None:
    """Make the certificate of the public lines as they are now, as somebody would who can make everything anew."""
    before = certificate(folder)
    form = sealed_form(before, read_sealed(folder))
    missing = what_is_missing(form.gates, form.benchmark, form.registry)
    evidence = {FILE: file_record(folder / FILE)}
    again = with_digest(structs.replace(form, evidence=evidence, missing=missing, verified=not missing))
    for name, data in {"certificate.json": render_file(again), **renderings(again)}.items():
        (folder / name).write_bytes(data)


# What it shows and what it withholds.


@pytest.mark.heavy
def test_scores_and_gates_follow_from_the_public_rows_and_the_rest_is_named(folder: Path):
    found = looked(folder)
    assert {what for what, (answer, _) in found.items() if answer == "not looked at"} == {"registry", "texts"}
    assert found["numbers"][0] == "ok" and "the gates range, order, kinds, repeats" in found["numbers"][1]
    code, out, err = assay("verify", "certificate.json", cwd=folder)
    assert code == 5 and out.startswith("checked as far as possible (not looked at: registry, texts)"), err
    assert not (folder / "seal.key").exists() and stat.S_IMODE((folder.parent / "seal.key").stat().st_mode) == 0o600


def test_it_says_the_same_as_the_open_certificate(folder: Path):
    assert assay("certify", "profiles/p", cwd=folder.parents[2])[0] == 0
    public, whole = certificate(folder), certificate(folder.parent)
    assert (public.verified, public.missing) == (whole.verified, whole.missing)
    for one, other in zip(public.gates, whole.gates, strict=True):
        assert (one.name, one.verdict) == (other.name, other.verdict)
        if one.reason != WITHHELD:
            assert one.reason.replace(WITHHELD, NOTE) == other.reason
    for name, model in public.models.items():
        assert structs.replace(model.summary, per_task=None) == structs.replace(
            whole.models[name].summary, per_task=None
        )
        assert model.by_repeat == whole.models[name].by_repeat


def test_sealing_leaves_an_open_certificate_valid(folder: Path):
    place = folder.parents[2]
    for more in ((), ("--sealed",)):
        assert assay("certify", "profiles/p", *more, cwd=place)[0] == 0
    found = asyncio.run(verify(folder.parent / "certificate.json", renderings=renderings))
    assert found.verdict == "valid", found.looked


def test_no_text_and_no_digest_of_one_is_in_it(folder: Path):
    shown = b"".join(path.read_bytes() for path in folder.iterdir()).decode()
    profile = folder.parent
    texts = {NOTE}
    for model in ("policy", "nano-instruct"):
        run = profile / f"runs/{model}"
        for task in read_tasks(run):
            texts |= {item.text for item in task.input if isinstance(item, Message)} | {task_digest(task)}
        for made in read_rollouts(run):
            texts |= {turn.response.reasoning for turn in made.turns} | {str(made.seed)}
        texts |= {file_record(path).sha256 for path in run.iterdir() if path.is_file()}
    said = map(json.loads, (profile / "marks.jsonl").read_text().splitlines())
    texts |= {line["content"] for line in said if "content" in line} | {(profile / "seal.key").read_text()}
    assert [text for text in texts - {""} if text in shown] == []


def test_a_salt_says_nothing_of_other_rows(folder: Path):
    one, other = opened(folder, "policy/sums-easy-00/0"), opened(folder, "policy/sums-easy-00/1")
    assert one.salt != other.salt and len(one.salt) == 64
    swapped = structs.replace(one, salt=other.salt)
    assert "its salted digest is another" in flaws_of_row(read_sealed(folder), swapped)[0]


# Opened rows.


def test_an_opened_row_is_checked_offline_with_its_reward(folder: Path, tmp_path: Path):
    for given in (row_of(folder), "gold/sums-easy-00/0"):
        code, out, err = assay("open", "certificate.json", "--row", given, "--out", "row.json", cwd=folder)
        assert code == 0, err
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        for name in ("certificate.json", FILE, "row.json"):
            shutil.copy(folder / name, tmp_path / "elsewhere")
        code, out, err = assay("open", "certificate.json", "--check", "row.json", cwd=tmp_path / "elsewhere")
        assert code == 0 and out.startswith("valid: "), out + err


def change_reward(row: Line) -> None:
    row["rollout"]["outcome"]["reward"] = 1.0


def change_answer(row: Line) -> None:
    row["rollout"]["turns"][-1]["response"]["output"][-1]["content"] = "another"


def change_gold(row: Line) -> None:
    row["task"]["gold"] = "another"


def change_place(row: Line) -> None:
    row["rollout"]["repeat"] = 1 - row["rollout"]["repeat"]


def change_model(row: Line) -> None:
    row["model"] = "nano-instruct"


OPENED: dict[str, Callable[[Line], object]] = {
    "reward": change_reward,
    "answer": change_answer,
    "gold": change_gold,
    "salt": lambda row: row.update(salt="0" * 64),
    "a row opened for another": change_place,
    "a row opened for another model": change_model,
}


@pytest.mark.parametrize("name", OPENED)
def test_an_opened_row_that_was_changed_is_not_what_was_sealed(folder: Path, name: str):
    row = json.loads(msgspec.json.encode(opened(folder, row_of(folder))))
    OPENED[name](row)
    (folder / "row.json").write_text(json.dumps(row))
    code, out, err = assay("open", "certificate.json", "--check", "row.json", cwd=folder)
    assert code == 3 and out.startswith("forged: "), out + err


@pytest.mark.heavy
def test_what_cant_be_opened_is_told(folder: Path, tmp_path: Path):
    shutil.copytree(folder, tmp_path / "alone")
    for arguments, expected in (
        (("--row", "policy/nothing/0"), "no such row; expected MODEL/TASK/REPEAT, such as"),
        ((), "give --row MODEL/TASK/REPEAT to open a row"),
        (("--row", row_of(folder), "--profile", str(tmp_path / "alone")), "has no seal.key"),
        (("--check", "certificate.json"), "is no opened row"),
    ):
        code, _, err = assay("open", "certificate.json", *arguments, cwd=folder)
        assert code == 2 and expected in err, err
    (folder.parent / "seal.key").write_text("0" * 64)
    with pytest.raises(UsageError, match="is not what was sealed"):
        opened(folder, row_of(folder))
    assert assay("certify", "profiles/p", "--sealed", "--out", "profiles/p", cwd=folder.parents[2])[0] == 2
    assert assay("certify", "profiles/p", cwd=folder.parents[2])[0] == 0
    code, _, err = assay("open", "certificate.json", "--row", row_of(folder), cwd=folder.parent)
    assert code == 2 and "is not sealed" in err


# Forgeries.


def give_full_marks(line: Line) -> None:
    if line.get("model") == "policy" and line["type"] == "row":
        line["reward"] = 1.0


def find_no_fault(line: Line) -> None:
    if line["type"] == "row" and line["at_fault"]:
        line.update(at_fault=False, mark="model")


def test_a_public_row_that_was_changed_is_forged(folder: Path):
    change_lines(folder / FILE, give_full_marks)
    assert looked(folder)["files"][0] == "forged"


def test_numbers_that_do_not_follow_from_the_public_rows_are_forged(folder: Path):
    change_lines(folder / FILE, give_full_marks)
    plain: dict[str, Any] = json.loads((folder / "certificate.json").read_bytes())
    plain["evidence"][FILE] = msgspec.to_builtins(file_record(folder / FILE))
    again = with_digest(msgspec.convert(plain, Certificate))
    for name, data in {"certificate.json": render_file(again), **renderings(again)}.items():
        (folder / name).write_bytes(data)
    answer, reason = looked(folder)["numbers"]
    assert answer == "forged" and "models.policy.summary.score" in reason


@pytest.mark.parametrize("fields", [{"repeat": 10**9}, {"repeat": 9}, {"task": "nowhere"}, {"reward": "1"}])
def test_rows_that_no_run_has_are_forged_and_fill_no_memory(folder: Path, fields: Line):
    path = folder / FILE
    *lines, last = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([*lines, json.dumps(json.loads(last) | fields).encode()]) + b"\n")
    plain: dict[str, Any] = json.loads((folder / "certificate.json").read_bytes())
    plain["evidence"][FILE] = msgspec.to_builtins(file_record(path))
    (folder / "certificate.json").write_bytes(render_file(with_digest(msgspec.convert(plain, Certificate))))
    assert looked(folder)["numbers"][0] == "forged"


def test_marks_that_the_read_gate_does_not_count_are_forged(folder: Path):
    change_lines(folder / FILE, find_no_fault)
    seal_again(folder)
    answer, reason = looked(folder)["numbers"]
    assert answer == "forged" and "read: 1 at_fault in the certificate, 0 by the public marks" in reason


def test_rewards_that_were_changed_throughout_are_seen_in_an_opened_row_and_by_an_audit(folder: Path):
    honest = row_of(folder)
    change_lines(folder / FILE, give_full_marks)
    seal_again(folder)
    assert looked(folder)["numbers"][0] == "ok"  # what no file can show
    with pytest.raises(
        UsageError, match=r"is not what was sealed: reward 0\.0 in the opened row, 1\.0 in sealed\.jsonl"
    ):
        opened(folder, honest)
    code, out, err = assay("audit", "certificate.json", *AUDIT, cwd=folder)
    assert code == 3 and "contradicts" in out, err


def test_a_reward_that_was_sealed_and_that_the_output_does_not_get_is_seen_in_an_opened_row(folder: Path):
    place, row = folder.parents[2], row_of(folder)
    change_lines(folder.parent / "runs/policy/rollouts.jsonl", lambda line: line["outcome"].update(reward=1.0))
    assert assay("certify", "profiles/p", "--sealed", cwd=place)[0] == 0
    (folder / "row.json").write_bytes(msgspec.json.encode(opened(folder, row)))
    code, out, err = assay("open", "certificate.json", "--check", "row.json", cwd=folder)
    assert code == 3 and "was sealed, and 0 for" in " ".join(err.split()), out + err


def test_an_honest_sealed_certificate_is_consistent_with_an_audit(folder: Path):
    code, out, err = assay("audit", "certificate.json", *AUDIT, cwd=folder)
    assert code == 0 and "consistent" in out, out + err
