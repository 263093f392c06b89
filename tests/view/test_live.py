"""A run is shown while it is made."""

import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from assay.store import Store
from tests import runs
from tests.commands import start, until
from tests.view.client import Client


def events(client: Client, path: str = "/live") -> Iterator[dict[str, Any]]:
    """What changed, as the server tells of it."""
    with urllib.request.urlopen(client.url.rstrip("/") + path, timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer:
            if line.startswith(b"data: "):
                yield json.loads(line[6:])


def test_a_run_is_told_of_while_a_command_makes_it(tmp_path: Path, served: Callable[[Path], Client]):
    client = served(tmp_path)
    command = start("run", "arithmetic", "--model", "nano-thinking", "--concurrency", "1", "--out", "r", cwd=tmp_path)
    until((tmp_path / "r/run.json").exists)
    seen = [next(told)["r"] for told in [events(client)] for _ in range(3)]
    command.kill()
    command.communicate()
    assert {one["state"] for one in seen} == {"live"}
    assert seen[-1]["done"].endswith(" of 960")
    assert seen[0]["share"] < seen[-1]["share"] < 1
    assert seen[-1]["rate"].endswith("/s")
    assert seen[-1]["score"].endswith("%")
    assert "● " not in seen[-1]["left"] and seen[-1]["left"].endswith("left")


def test_failures_count_until_they_are_made_good(tmp_path: Path, served: Callable[[Path], Client]):
    client = served(tmp_path)
    with Store(tmp_path / "r", runs.record(), runs.TASKS) as store:
        store.append(runs.rollout(0, 0))
        store.append(runs.rollout(1, 0, failed=True))
        store.flush()
        told = events(client, "/live?run=r")
        first = next(told)["r"]
        assert (first["done"], first["failures"], first["score"]) == ("2 of 6", "1", "100.0\u202f%")
        assert first["last"] == "t1, repeat 0: model: timeout: no answer"
        store.append(runs.rollout(1, 0, attempt=1))
        store.flush()
        second = next(told)["r"]
        assert (second["done"], second["failures"], second["last"]) == ("2 of 6", "0", "")
        assert second["state"] == "live"
    assert client.get("/").text.count("data-run=") == 1


def test_files_that_are_replaced_are_read_anew(folder: Path, client: Client):
    run = folder / "runs/arithmetic/nano-thinking"
    (run / "summary.json").unlink()
    told = events(client, "/live?run=runs~arithmetic~nano-thinking")
    assert next(told)["runs~arithmetic~nano-thinking"]["done"] == "24"
    lines = (run / "rollouts.jsonl").read_bytes().splitlines(keepends=True)
    (run / "rollouts.jsonl").write_bytes(b"".join(lines[:5]))
    assert next(told)["runs~arithmetic~nano-thinking"]["done"] == "5 of 24"


@pytest.mark.parametrize("repeat", [-1, 2**40])
def test_a_repeat_that_can_not_be_is_no_score(tmp_path: Path, served: Callable[[Path], Client], repeat: int):
    with Store(tmp_path / "r", runs.record(), runs.TASKS) as store:
        store.append(runs.rollout(0, 0))
    with (tmp_path / "r/rollouts.jsonl").open("a") as file:
        file.write((tmp_path / "r/rollouts.jsonl").read_text().replace('"repeat":0', f'"repeat":{repeat}'))
    told = next(events(served(tmp_path), "/live?run=r"))["r"]
    assert told["done"] == "1 of 6"
    assert "a line of its rollouts can't be read" in served(tmp_path).get("/").words


def test_what_the_lines_say_is_what_the_summary_says(folder: Path, client: Client):
    before = client.get("/").words
    for summary in folder.rglob("summary.json"):
        summary.unlink()
    assert client.get("/").words == before
