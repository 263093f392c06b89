"""Announcements, and what is made to look as if it had been announced."""

import asyncio
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from assay import sync
from assay.errors import UsageError
from assay.fidelity.certificate.announcement import read_announcement
from assay.fidelity.certificate.certificate import certify
from assay.fidelity.certificate.validity import verify
from assay.report.certificate import renderings
from assay.store import Announcement, read_registry
from tests.commands import assay
from tests.fidelity.forgery import Line, change_lines, forge

ASKED = ("profile", "arithmetic", "--models", "policy", "--limit", "10", "--repeats", "2", "--out", "profiles/p")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("made")
    code, out, err = assay(*ASKED, "--announce", cwd=place)
    assert code == 0, err
    assert not (place / "profiles/p/runs").exists()
    assert out.splitlines()[0] == digest_of(place / "profiles/p")
    code, _, err = assay(*ASKED, cwd=place)
    assert code == 0, err
    code, out, err = assay("certify", "profiles/p", cwd=place)
    assert code == 0 and f"announced before the first run: {digest_of(place / 'profiles/p')}\n" in out, err
    return place


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path / "profiles/p"


def digest_of(folder: Path) -> str:
    return read_announcement(str(folder / "announcement.json"))


def looked(folder: Path, announced: str | None = None) -> dict[str, tuple[str, str]]:
    found = asyncio.run(verify(folder / "certificate.json", announced=announced, renderings=renderings))
    return {one.what: (one.answer, one.reason) for one in found.looked}


@pytest.mark.heavy
def test_a_profile_as_it_was_announced_is_valid_by_digest_and_by_file(folder: Path):
    place = folder.parents[1]
    for given in (digest_of(folder), "profiles/p/announcement.json"):
        code, out, err = assay("verify", "profiles/p/certificate.json", "--announcement", given, cwd=place)
        assert code == 0 and "valid: " in out, err
        assert "as it was posted" in looked(folder, digest_of(folder))["announcement"][1]
    assert "Announced before the first run: " in (folder / "certificate.md").read_text()


def test_the_same_from_python(folder: Path):
    for given in (digest_of(folder), folder / "announcement.json"):
        assert sync.verify(folder / "certificate.json", announcement=given).verdict == "valid"
    assert sync.verify(folder / "certificate.json", announcement="0" * 64).verdict == "forged"


def test_another_announcement_than_the_one_that_was_posted_is_forged(folder: Path):
    answer, reason = looked(folder, "0" * 64)["announcement"]
    assert answer == "forged" and reason.endswith("not of 000000000000.")
    said = json.loads((folder / "announcement.json").read_bytes())
    said["parts"]["seed"] = "0" * 64
    (folder / "announcement.json").write_text(json.dumps(said))
    assert looked(folder, digest_of(folder))["announcement"][0] == "forged"


def of_registry(change: Callable[[Line], object]) -> Callable[[Path], None]:
    return lambda folder: change_lines(folder.parent / "started.jsonl", change)


def announce_last(folder: Path) -> None:
    """Put the announcement behind the runs, and link the lines anew."""
    path = folder.parent / "started.jsonl"
    first, *others = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*others, first]))
    change_lines(path, lambda line: None)


FORGERIES: dict[str, tuple[Callable[[Path], object], str]] = {
    "announced after the first run": (announce_last, "Nothing was announced before the first run"),
    "another announcement": (of_registry(lambda line: line.get("parts", {}).update(seed="0" * 64)), "not of"),
    "a date after the runs": (
        of_registry(lambda line: line.update(at="2099-01-01T00:00:00+00:00") if "parts" in line else None),
        "not of",
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_what_was_not_posted_before_the_first_run_is_forged(folder: Path, name: str):
    posted = digest_of(folder)
    change, expected = FORGERIES[name]
    change(folder)
    forge(folder)
    answer, reason = looked(folder, posted)["announcement"]
    assert answer == "forged" and re.search(expected, reason)


def test_an_announcement_of_a_later_date_than_the_runs_is_forged_whoever_posted_it(folder: Path):
    FORGERIES["a date after the runs"][0](folder)
    forge(folder)
    line = next(one for one in read_registry(folder.parent / "started.jsonl") if isinstance(one, Announcement))
    answer, reason = looked(folder, line.digest)["announcement"]
    assert answer == "forged" and "runs started before: policy" in reason


def test_a_plan_that_was_edited_after_it_was_announced_is_forged_and_not_certified(folder: Path):
    def raise_repeats(line: Line) -> None:
        line.update(repeats=2, until_stable=True)

    change_lines(folder / "plan.jsonl", raise_repeats)
    forge(folder)
    answer, reason = looked(folder, digest_of(folder))["plan"]
    assert (answer, reason) == ("forged", "The first line of plan.jsonl is not what was announced: other repeats.")
    with pytest.raises(UsageError, match="is not the plan that was announced: other repeats"):
        asyncio.run(certify(folder))


@pytest.mark.heavy
def test_more_repeats_once_the_verdict_was_known_are_shown_as_such(folder: Path):
    place = folder.parents[1]
    posted, more = digest_of(folder), [*ASKED[:-3], "3", *ASKED[-2:]]
    assert more[more.index("--repeats") + 1] == "3"
    code, out, err = assay(*more, "--announce", cwd=place)
    assert code == 0 and out.splitlines()[0] == posted, err  # an announcement comes before the first call
    assert assay(*more, cwd=place)[0] == 0
    assert assay(*more, cwd=place)[0] == 0  # makes no rollout, so it is no look at fresh ones
    code, out, err = assay("certify", "profiles/p", cwd=place)
    assert code == 0, err
    assert "changed since: repeats; gates computed after 20 and 30 rollouts" in out
    found = looked(folder, posted)
    assert found["announcement"][0] == "ok" and "Changed since: repeats." in found["announcement"][1]
    assert "gates were computed after 20, 30 rollouts" in found["registry"][1]
    change_lines(folder.parent / "started.jsonl", lambda line: line.update(rollouts=30) if "rollouts" in line else None)
    assert looked(folder, posted)["registry"][0] == "forged"


def test_a_profile_that_has_begun_cant_be_announced(tmp_path: Path):
    assert assay(*ASKED, cwd=tmp_path)[0] == 0
    code, _, err = assay(*ASKED, "--announce", cwd=tmp_path)
    assert code == 2 and "an announcement comes before the first call" in err
    code, out, err = assay("certify", "profiles/p", cwd=tmp_path)
    assert code == 0 and "order of events claimed: nothing was announced" in out, err
    assert looked(tmp_path / "profiles/p")["announcement"][1].endswith("the order of events is claimed.")


def test_what_is_no_announcement_is_refused(folder: Path):
    (folder / "text").write_text("no JSON")
    for given, expected in (("abc", "expected a digest of 64"), (str(folder / "text"), "is no announcement")):
        with pytest.raises(UsageError, match=expected):
            read_announcement(given)


def test_the_announcement_is_the_line_before_the_first_run(folder: Path):
    first, second, *_ = (folder.parent / "started.jsonl").read_bytes().splitlines()
    assert json.loads(second)["previous"] == digest_of(folder)
    assert msgspec.json.decode(first, type=Announcement).digest == digest_of(folder)
