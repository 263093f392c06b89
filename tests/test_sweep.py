"""Several benchmarks on several models: one command, one server that is never idle, one table, one resume."""

import asyncio
import json
import signal
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import assay as library
from assay.errors import UsageError
from assay.store import read_rollouts
from assay.types import Message, Request, Response, Text
from tests.commands import assay, scored, start, until
from tests.endpoint import Call, Endpoint, answer_body, http

MODELS = """
[models.{name}]
dialect = "chat"
id = "{name}"
base_url = "{url}"
prices = {{ input = 0.0, output = 1000.0 }}
sampling = {{ max_output_tokens = 10 }}
attempts = 1
{more}
"""


class Server:
    """Answers after a while, and knows what was in flight together.

    The last request of each run, of `hold`, waits until one of another run is there.
    """

    def __init__(self, delay_s: float = 0.02, broken: str = "", hold: int = 0) -> None:
        self._delay_s = delay_s
        self._broken = broken
        self._hold = hold
        self._now: Counter[tuple[str, str]] = Counter()
        self._all: Counter[tuple[str, str]] = Counter()
        self.most = 0
        self.together: set[frozenset[tuple[str, str]]] = set()

    async def __call__(self, call: Call, writer: asyncio.StreamWriter) -> None:
        asked = (call.prompt[0], call.json["model"])
        self._now[asked] += 1
        self._all[asked] += 1
        # Decided as it comes: once all have come, those that still wait would each take themselves for the last.
        is_last = self._all[asked] == self._hold
        self.most = max(self.most, self._now.total())
        self.together.add(frozenset(+self._now))
        await asyncio.sleep(self._delay_s)
        if is_last:
            runs, until = list(self._all).index(asked) + 1, asyncio.get_running_loop().time() + 20
            while len(self._all) == runs < len(CELLS) and asyncio.get_running_loop().time() < until:
                await asyncio.sleep(0.01)
        self._now[asked] -= 1
        status = 500 if asked[1] == self._broken else 200
        writer.write(http(answer_body(call.path, "42"), status))


def prepare(folder: Path, url: str, *, tasks: int = 12, **more: str) -> None:
    """Writes the data of three benchmarks and a file of two models."""
    for name in "abc":
        rows = [{"problem": f"{name} {number}?", "answer": "42"} for number in range(tasks)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "assay.toml").write_text("".join(MODELS.format(name=m, url=url, more=more.get(m, "")) for m in "xy"))


SWEEP = ("run", "maths:a.jsonl,maths:b.jsonl,maths:c.jsonl", "--models", "x,y", "--repeats", "2")
CELLS = [(benchmark, model) for model in "xy" for benchmark in "abc"]


def folder_of(root: Path, benchmark: str, model: str) -> Path:
    return root / "runs" / f"maths-{benchmark}" / model


@pytest.mark.heavy
def test_a_server_gets_the_head_of_one_run_with_the_tail_of_another_and_never_more_than_it_may(tmp_path: Path):
    server = Server(hold=24)
    with Endpoint(server) as endpoint:
        prepare(tmp_path, endpoint.url)
        code, out, err = assay(*SWEEP, "--concurrency", "5", cwd=tmp_path)
        assert code == 0, err
        assert len(endpoint.calls) == 6 * 24
        again = assay(*SWEEP, cwd=tmp_path)
        assert len(endpoint.calls) == 6 * 24
    assert server.most == 5
    for first, second in pairwise(CELLS):
        assert any(first in seen and second in seen for seen in server.together)
    assert max(map(len, server.together)) == 2
    rows = {line.split()[0]: line for line in out.splitlines()[1:4]}
    assert sorted(rows) == ["maths-a", "maths-b", "maths-c"]
    assert all(row.count("100.0 [") == 2 for row in rows.values())
    assert again[:2] == (0, out)
    for cell in CELLS:
        assert set(scored(folder_of(tmp_path, *cell)).values()) == {1}
        assert len(scored(folder_of(tmp_path, *cell))) == 24


@pytest.mark.heavy
def test_a_killed_sweep_goes_on_and_makes_nothing_twice(tmp_path: Path):
    with Endpoint(Server(delay_s=0.05)) as endpoint:
        prepare(tmp_path, endpoint.url)
        process = start(*SWEEP, "--concurrency", "4", cwd=tmp_path)
        until(lambda: len(endpoint.calls) > 60)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=20)
        before = sum(sum(scored(folder_of(tmp_path, *c)).values()) for c in CELLS if folder_of(tmp_path, *c).exists())
        assert 0 < before < 144
        asked = len(endpoint.calls)
        code, _, err = assay(*SWEEP, "--concurrency", "4", cwd=tmp_path)
        assert code == 0, err
        assert len(endpoint.calls) == asked + 144 - before
        assert asked <= before + 2 * 4  # in flight, and just ended
    for cell in CELLS:
        assert list(scored(folder_of(tmp_path, *cell)).values()) == [1] * 24


@pytest.mark.heavy
def test_a_model_that_fails_is_counted_in_its_own_runs_and_the_others_go_on(tmp_path: Path):
    with Endpoint(Server(broken="x")) as endpoint:
        prepare(tmp_path, endpoint.url)
        code, out, err = assay(*SWEEP, cwd=tmp_path)
        assert code == 4
        assert err.count("all of the first 20 rollouts failed") == 3
        assert all(f"maths-{b} on x: all of the first" in err for b in "abc")
        table = [line.split() for line in out.splitlines()[1:4]]
        assert [row[1:6] for row in table] == [["no", "score", "·", row[4], "failed"] for row in table]
        assert all(
            (int(row[4]) >= 20 and row[-3:] == ["100.0", "[78.8,", "100.0]"]) or row[-3] == "100.0" for row in table
        )
        code, out, err = assay(*SWEEP, "--no-early-stop", cwd=tmp_path)
    assert code == 0, err
    assert out.count("no score · 24 failed") == 3


@pytest.mark.heavy
def test_one_budget_is_that_of_all_runs_and_a_larger_one_goes_on(tmp_path: Path):
    usd = 4 * 1000 / 1e6  # of an answer
    with Endpoint(Server()) as endpoint:
        prepare(tmp_path, endpoint.url)
        code, out, err = assay(*SWEEP, "--budget-usd", str(30.5 * usd), cwd=tmp_path)
        assert code == 4
        assert "the budget is reached" in err
        assert "owed" in out
        assert len(endpoint.calls) <= 30
        made = sum(1 for c in CELLS if folder_of(tmp_path, *c).exists() for _ in read_rollouts(folder_of(tmp_path, *c)))
        assert made == len(endpoint.calls) > 20
        code, _, err = assay(*SWEEP, "--budget-usd", str(500 * usd), cwd=tmp_path)
    assert code == 0, err
    assert len(endpoint.calls) == 144


def test_models_at_one_address_share_its_limits(tmp_path: Path):
    server, limits = Server(), "limits = { concurrency = 3 }"
    with Endpoint(server) as endpoint:
        prepare(tmp_path, endpoint.url, x=limits, y=limits)
        code, _, err = assay(*SWEEP, cwd=tmp_path)
    assert code == 0, err
    assert server.most == 3


@pytest.mark.heavy
def test_several_processes_make_one_run_after_the_other(tmp_path: Path):
    server = Server()
    with Endpoint(server) as endpoint:
        prepare(tmp_path, endpoint.url, tasks=4)
        sweep = ("run", "maths:a.jsonl,maths:b.jsonl", "--model", "x", "--repeats", "2")
        code, out, err = assay(*sweep, "--processes", "2", "--concurrency", "4", cwd=tmp_path)
    assert code == 0, err
    assert max(map(len, server.together)) == 1
    assert server.most <= 4
    assert len(out.splitlines()) == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("arithmetic,arithmetic", "--model", "gold"), "two runs would share the folder runs/arithmetic/gold"),
        (("arithmetic,office", "--models", "gold,gold"), "two runs would share the folder"),
        (("arithmetic,office",), "several runs take --models NAME,NAME, or one --model"),
        (("arithmetic", "--model", "gold", "--models", "null"), "several runs take"),
        (("arithmetic,nowhere", "--models", "gold"), "there is no benchmark 'nowhere'"),
        (("maths:a.jsonl,arithmetic", "--models", "gold", "--column", "problem=p"), "write it after the one"),
        (("arithmetic,office", "--models", "gold", "--with", "judge=null"), "there is no role 'judge'"),
    ],
)
def test_what_can_not_be_is_said_before_anything_runs(arguments: tuple[str, ...], words: str, tmp_path: Path):
    code, _, err = assay("run", *arguments, cwd=tmp_path)
    assert code == 2
    assert words in err
    assert not (tmp_path / "runs").exists()


class Says:
    """A model of the test's own."""

    async def respond(self, request: Request) -> Response:
        return Response(output=[Message(role="assistant", content=[Text(text="42")])])


def test_a_sweep_from_python_is_runs_and_a_table():
    begun: list[Any] = []
    sweep = library.sync.sweep(
        ["arithmetic", "office"],
        models=["gold", Says()],
        limit=12,
        repeats=1,
        watch=lambda b, m, _: begun.append((b, m)),
    )
    assert (
        sorted(sweep.runs)
        == sorted(begun)
        == sorted((b, m) for b in ("arithmetic", "office") for m in ("gold", "Says"))
    )
    assert sweep.runs["office", "gold"].score == 1.0
    assert not sweep.errors
    assert [row[0] for row in sweep.table()] == ["", "arithmetic", "office"]
    assert {(row["benchmark"], row["model"]): row["score"] for row in sweep.rows()}["office", "gold"] == 1.0
    assert "<th>gold</th>" in sweep._repr_html_()
    with pytest.raises(UsageError, match="at least one benchmark"):
        library.sync.sweep(["arithmetic"], models=[])
