"""A profile and a comparison in the viewer: what the report shows, linked to the pages of rollouts."""

import re
from pathlib import Path

import msgspec
import pytest

import assay
from assay.fidelity.compare.compare import compare
from assay.fidelity.schema.evidence import Finding, RolloutRef, Sighting
from assay.fidelity.schema.profile import Profile as Record
from assay.library.profile import Profile
from assay.library.run import Run
from assay.store import Store, write_json
from tests import runs
from tests.commands import assay as command
from tests.view.client import Client

PROFILE, RUN = "profiles~arithmetic", "runs~arithmetic~nano-thinking"
OTHER = f"{PROFILE}~runs~nano-instruct"


def sections(page: str) -> set[str]:
    return set(re.findall(r'<section id="([\w-]+)"', page))


@pytest.mark.heavy
def test_a_profile_has_the_sections_of_its_report_and_its_standing(made: Path, shown: Client):
    report = (made / "profiles/arithmetic/report.html").read_text()
    page = shown.get(f"/profiles/{PROFILE}")
    assert sections(page.text) == sections(report) | {"standing"}
    assert "2 models of the suite nano-thinking-nano-instruct , 12 tasks, 2 repeats" in page.words
    assert "There is none. assay certify writes it." in page.words
    assert f'href="/runs/{OTHER}' in page.text


def test_a_certificate_that_is_none_is_not_trusted(folder: Path, client: Client):
    (folder / "profiles/arithmetic/certificate.json").write_text("{}")
    (folder / "profiles/arithmetic/runs/nano-thinking/per_task.jsonl").write_text("nonsense\n")
    assert "It can't be trusted" in client.get(f"/profiles/{PROFILE}").words
    assert "certificate does not hold" in client.get("/matrix").words


@pytest.mark.slow
def test_a_certificate_stands_until_a_file_of_its_evidence_changes(folder: Path, client: Client):
    assert command("certify", "profiles/arithmetic", cwd=folder)[0] == 0
    assert "not verified, 4 of 8 gates pass; own benchmark" in client.get(f"/profiles/{PROFILE}").words
    assert "certified, not verified" in client.get("/matrix").words
    rollouts = folder / "profiles/arithmetic/runs/nano-thinking/rollouts.jsonl"
    rollouts.write_bytes(rollouts.read_bytes().replace(b'"repeat":0', b'"repeat":1', 1))
    assert "are not those that it stands for" in client.get(f"/profiles/{PROFILE}").words
    certificate = folder / "profiles/arithmetic/certificate.json"
    certificate.write_text(certificate.read_text().replace('"nano-thinking"', '"giga-thinking"'))
    assert "It can't be trusted" in client.get(f"/profiles/{PROFILE}").words


def test_a_profile_that_is_begun_shows_its_plan_and_runs(folder: Path, client: Client):
    (folder / "profiles/arithmetic/profile.json").unlink()
    page = client.get(f"/profiles/{PROFILE}")
    assert (page.status, "is not there yet" in page.words, "12 tasks, 2 repeats" in page.words) == (200, True, True)
    assert OTHER in page.text
    (folder / "profiles/arithmetic/plan.jsonl").write_text("nonsense\n")
    page = client.get(f"/profiles/{PROFILE}")
    assert (page.status, "plan.jsonl" in page.words) == (200, True)


def test_a_profile_that_is_broken_says_where(folder: Path, client: Client):
    (folder / "profiles/arithmetic/profile.json").write_text('{"benchmark": 1}')
    page = client.get(f"/profiles/{PROFILE}")
    assert (page.status, "profile.json can't be read" in page.words) == (200, True)
    assert "profile.json can't be read" in client.get("/").words


def test_runs_that_are_ticked_are_compared(shown: Client):
    page = shown.get("/compare", run=[RUN, OTHER])
    assert "nano-instruct scores" in page.words
    assert {"shifts", "moved", "outputs", "costs"} <= sections(page.text)
    assert f'href="/runs/{RUN}/rollouts/' in page.text
    assert "Tick two runs" in shown.get("/compare", run=RUN).words
    assert shown.get("/compare", run=[RUN, "nowhere"]).status == 404


def test_runs_of_other_tasks_are_compared_where_they_are_the_same(folder: Path, client: Client):
    assay.sync.run("arithmetic", model="nano-instruct", limit=4, repeats=2, out=folder / "few")
    page = client.get("/compare", run=[RUN, "few"])
    assert (page.status, "tasks: 12" in page.words) == (422, True)
    (link,) = re.findall(r'href="(/compare[^"]+)"', page.text.replace("&amp;", "&"))
    page = client.get(link)
    assert (page.status, "4 tasks compared" in page.words) == (200, True)


def test_a_comparison_that_was_written_is_shown_though_its_runs_are_gone(folder: Path, client: Client):
    run, other = folder / "runs/arithmetic/nano-thinking", folder / "profiles/arithmetic/runs/nano-instruct"
    write_json(folder / "changes.json", compare(run, [other]))
    assert "nano-instruct scores" in client.get("/comparisons/changes.json").words
    (run / "tasks.jsonl").unlink()
    page = client.get("/comparisons/changes.json")
    assert (page.status, "nano-instruct scores" in page.words) == (200, True)
    (folder / "changes.json").write_text('{"pairs":[{}]}')
    page = client.get("/comparisons/changes.json")
    assert (page.status, "can't be read" in page.words) == (422, True)


def test_a_run_and_a_profile_show_themselves_from_python(folder: Path):
    run, profile = folder / "runs/arithmetic/nano-thinking", folder / "profiles/arithmetic"
    with Run(run).view(show=False) as viewer:
        assert viewer.url.endswith("/runs/nano-thinking") and viewer.url in viewer._repr_html_()
        assert Client(viewer.url).get(viewer.url).status == 200
    record = msgspec.json.decode((profile / "profile.json").read_bytes(), type=Record)
    with Profile(profile, record).view(show=False) as viewer:
        assert "fidelity profile" in Client(viewer.url).get(viewer.url).words


def test_failures_and_findings_lead_to_the_table_of_their_rollouts(folder: Path, client: Client):
    with Store(folder / "r", runs.record(), runs.TASKS) as store:
        store.append(runs.rollout(1, 0, failed=True))
    assert 'href="/runs/r?outcome=no+score"' in client.get("/").text
    path = folder / "profiles/arithmetic/profile.json"
    record = msgspec.json.decode(path.read_bytes(), type=Record)
    sighting = Sighting(RolloutRef("nano-instruct", "sums-easy-00", 1), "26")
    finding = Finding(
        model="nano-instruct", detector="refusal", suspect="model", count=1, of=24, reason="", spotted=[sighting]
    )
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(record, findings=[finding])))
    page = client.get(f"/profiles/{PROFILE}").text
    assert f'href="/runs/{OTHER}?finding=refusal"' in page
    assert f'href="/runs/{OTHER}/rollouts/sums-easy-00/1"' in page
