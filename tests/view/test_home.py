"""The first page and the matrix: what is listed, sorted and filtered, and where it leads."""

import re
from pathlib import Path

import pytest

from tests.view.client import Client

PROFILE = "profiles~arithmetic"


def order(client: Client, **query: str) -> list[str]:
    """The runs that the page lists, in their order."""
    return re.findall(r'data-run="([^"]+)"', client.get("/", **query).text)


def test_the_first_page_has_scores_with_intervals_and_the_gates_of_profiles(shown: Client):
    words = shown.get("/").words
    assert re.search(r"arithmetic 1 nano-thinking loop 100.0.% 77.9 to 100.0 24 0 –", words)
    assert re.search(r"nano-instruct profile loop \d\d.\d.% [\d.]+ to [\d.]+ 24 0", words)
    assert "of 8 gates that apply pass" in words


def test_runs_are_sorted_by_a_column(shown: Client):
    up, down = order(shown, sort="score"), order(shown, sort="-score")
    assert up[0] == down[-1] == f"{PROFILE}~runs~nano-instruct"
    assert order(shown, sort="nonsense") == order(shown)


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ({"q": "INSTRUCT arith"}, 1),
        ({"q": "nobody"}, 0),
        ({"model": "nano-thinking"}, 2),
        ({"benchmark": "arithmetic", "model": "nano-instruct"}, 1),
        ({"state": "incomplete"}, 0),
        ({"state": "with failures"}, 0),
    ],
)
def test_runs_are_filtered(shown: Client, query: dict[str, str], number: int):
    assert len(order(shown, **query)) == number


def test_every_link_of_the_main_pages_leads_somewhere(shown: Client):
    for path in ("/", "/matrix", f"/profiles/{PROFILE}"):
        links = set(re.findall(r'href="(/[^"#]*)"', shown.get(path).text.replace("&amp;", "&")))
        assert links
        for link in sorted(links)[:40]:
            assert shown.get(link).status == 200, link


def test_the_matrix_has_a_score_a_pair_and_says_what_is_missing(shown: Client):
    words = shown.get("/matrix").words
    assert "1 benchmark, 2 models; 0 pairs without a run" in words
    assert re.search(r"arithmetic 1 4 of 8 gates pass [\d.]+.% [\d.]+ to [\d.]+ 100.0.% 77.9 to 100.0 2 runs", words)


def test_text_of_a_run_is_text(folder: Path, client: Client):
    record = folder / "runs/arithmetic/nano-thinking/run.json"
    record.write_text(record.read_text().replace('"nano-thinking"', '"<img src=x onerror=alert(1)>"'))
    for path in ("/", "/matrix"):
        text = client.get(path).text
        assert "<img" not in text and "&lt;img src=x" in text


RUN = "runs/arithmetic/nano-thinking"


@pytest.mark.parametrize("is_folder", [False, True], ids=["is not there", "is a folder"])
@pytest.mark.parametrize("file", [f"{RUN}/tasks.jsonl", f"{RUN}/rollouts.jsonl", "profiles/arithmetic/profile.json"])
def test_a_file_that_can_not_be_read_is_a_sentence_with_a_remedy(
    file: str, is_folder: bool, folder: Path, client: Client
):
    path = folder / file
    path.unlink()
    if is_folder:
        path.mkdir()
    (path.parent / "summary.json").unlink(missing_ok=True)
    place = "~".join(Path(file).parts[:-1])
    for address in ("/", f"/{file.partition('/')[0]}/{place}"):
        said = client.get(address)
        assert "Errno" not in said.text and said.status in (200, 422)
        if address == "/" and (is_folder or path.name == "tasks.jsonl"):  # a run's page has its index
            assert f"{file}: " in said.words and "expected: " in said.words, said.words
