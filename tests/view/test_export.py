"""A selection of rollouts as a file, by the query of their table."""

import json
from pathlib import Path
from typing import Any

import pytest

from assay.view.index.build import build
from tests.view.client import Client
from tests.view.conftest import PROFILE, RUN

HOSTILE = "</pre><script>document.title = 'owned'</script>\u202e\x1b[2J ```\n# no heading"


@pytest.fixture
def run(folder: Path) -> Path:
    """A run whose first rollout has a hostile text, with its index."""
    run = folder / "runs/arithmetic/nano-thinking"
    rows = [json.loads(line) for line in (run / "rollouts.jsonl").read_text().splitlines()]
    rows[0]["turns"][0]["response"]["output"] = [
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": HOSTILE}]}
    ]
    rows[0]["outcome"] = {"type": "score", "reward": 0.0, "answer": HOSTILE}
    (run / "rollouts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    build(run)
    return run


def test_each_format_has_the_rollouts_of_the_query_and_no_other(client: Client, run: Path):
    where = f"/runs/{RUN}/export"
    answer = client.get(where, format="jsonl")
    assert "attachment" in answer.headers["content-disposition"]
    rows = [json.loads(line) for line in answer.text.splitlines()]
    assert len(rows) == 24
    wrong = [json.loads(line) for line in client.get(where, format="jsonl", reward="..0.5").text.splitlines()]
    assert {row["reward"] for row in wrong} == {0.0} and len(wrong) == sum(row["reward"] == 0 for row in rows) < 24
    text = client.get(where, format="markdown", reward="..0.5").text
    assert f"{len(wrong)} of {len(wrong)} rollouts that were selected." in text and text.count("\n## ") == len(wrong)
    page = client.get(where, format="page", reward="..0.5").text
    assert page.count("<section") == len(wrong) and "<script" not in page and "&lt;/pre&gt;&lt;script&gt;" in page
    assert "\u202e" not in page and "src=" not in page and "http" not in page.replace("http-equiv", "")


def test_of_a_profile_the_rollouts_of_all_models_or_of_one(client: Client, folder: Path):
    for run in (folder / "profiles/arithmetic/runs").iterdir():
        build(run)
    rows = [json.loads(line) for line in client.get(f"/profiles/{PROFILE}/export", format="jsonl").text.splitlines()]
    assert len(rows) == 48 and {row["model"] for row in rows} == {"nano-thinking", "nano-instruct"}
    text = client.get(f"/profiles/{PROFILE}/export", format="markdown", model="nano-instruct", outcome="failing").text
    failing = [row for row in rows if row["model"] == "nano-instruct" and row["reward"] == 0]
    assert text.count("\n## ") == len(failing) and "# profiles/arithmetic of 2 models" in text


def test_what_selects_nothing_and_an_unknown_format_are_told(client: Client, run: Path):
    assert "No rollout is selected" in client.get(f"/runs/{RUN}/export", format="jsonl", task="gone").words
    assert "format of a selection" in client.get(f"/runs/{RUN}/export", format="jsnl").words


@pytest.mark.heavy
def test_the_page_opens_offline(client: Client, run: Path, tmp_path: Path, tab: Any):
    file = tmp_path / "page.html"
    file.write_text(client.get(f"/runs/{RUN}/export", format="page", reward="..0.5").text)
    for width in (1400, 420):
        page = tab(file.as_uri(), width)
        assert "owned" not in page.title() and page.locator("section").count() > 0
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.screenshot(path=str(tmp_path / f"{width}.png"))
