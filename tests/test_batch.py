"""`--batch`: single questions by the batch APIs of two providers, at half the price; paid once, whatever is killed."""

import json
import signal
from pathlib import Path

import pytest
from msgspec.json import decode

from assay import sync
from assay.fidelity.schema.profile import Profile, Summary
from assay.store import read_record, read_rollouts
from assay.types import Failure
from tests.commands import assay, scored, start, until
from tests.endpoint import Endpoint
from tests.provider import Provider

MODELS = """
[models.m]
dialect = "{dialect}"
id = "m"
base_url = "{url}"
prices = {{ input = 100.0, output = 1000.0 }}
sampling = {{ max_output_tokens = 1000 }}
"""
TASKS = 12
RUN = ("run", "maths:a.jsonl", "--model", "m", "--repeats", "1", "--out", "run", "--batch")
DIALECTS = pytest.mark.parametrize("dialect", ["responses", "messages"])


def prepare(folder: Path, dialect: str, url: str) -> None:
    rows = [{"problem": f"{number:02}?", "answer": "42"} for number in range(TASKS)]
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "assay.toml").write_text(MODELS.format(dialect=dialect, url=url))


def failures(folder: Path) -> dict[str, str]:
    ends = {rollout.task: rollout.outcome for rollout in read_rollouts(folder)}
    return {task: end.kind for task, end in ends.items() if isinstance(end, Failure)}


@pytest.mark.heavy
@DIALECTS
def test_a_run_by_batch_is_one_batch_at_half_the_price(dialect: str, tmp_path: Path):
    provider = Provider(refuse=1)
    with Endpoint(provider) as endpoint:
        prepare(tmp_path, dialect, endpoint.url)
        code, out, err = assay(*RUN, cwd=tmp_path)
        assert code == 0, err
        assert "score 100.0%" in out
        assert len(provider.batches) == 1
        calls = len(endpoint.calls)
        assert assay(*RUN, cwd=tmp_path)[0] == 0
        assert len(endpoint.calls) == calls
        code, _, err = assay(*RUN[:-1], cwd=tmp_path)
    assert code == 2
    assert "batch" in err
    assert sorted(provider.paid.values()) == [1] * TASKS
    summary = decode((tmp_path / "run/summary.json").read_bytes(), type=Summary)
    tokens = summary.tokens["input"] * 100 + summary.tokens["output"] * 1000
    assert summary.tokens["output"] == 4 * TASKS
    assert summary.cost_usd == pytest.approx(tokens / 1e6 / 2)
    assert read_record(tmp_path / "run").identity["batch"] == "true"


@pytest.mark.heavy
@pytest.mark.parametrize(("dialect", "silent"), [("responses", True), ("messages", True), ("messages", False)])
def test_a_process_killed_before_its_batch_has_ended_pays_nothing_twice(dialect: str, silent: bool, tmp_path: Path):
    """Also one that was killed before it had the batch's id."""
    provider = Provider(polls=10**6, silent=silent)
    with Endpoint(provider) as endpoint:
        prepare(tmp_path, dialect, endpoint.url)
        process = start(*RUN, cwd=tmp_path)
        until(lambda: provider.batches)
        if not silent:
            until(lambda: '"batch"' in (tmp_path / "run/batches.jsonl").read_text())
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=20)
        assert not scored(tmp_path / "run")
        provider.polls, provider.silent = 0, False
        code, _, err = assay(*RUN, cwd=tmp_path)
        assert code == 0, err
    assert len(provider.batches) == 1
    assert sorted(provider.paid.values()) == [1] * TASKS
    assert list(scored(tmp_path / "run").values()) == [1] * TASKS


@pytest.mark.heavy
@DIALECTS
def test_rows_that_expired_or_were_refused_are_failures_and_are_asked_again(dialect: str, tmp_path: Path):
    provider = Provider(fault={"03?": "expired", "05?": "errored", "07?": "lost", "09?": "overflow"})
    with Endpoint(provider) as endpoint:
        prepare(tmp_path, dialect, endpoint.url)
        code, out, err = assay(*RUN, cwd=tmp_path)
        assert code == 0, err
        assert "score 100.0%" in out
        assert "3 failed" in out
        refused = "batch_http_400" if dialect == "responses" else "batch_response_failed"
        assert sorted(failures(tmp_path / "run").values()) == sorted(["batch_expired", "batch_lacks", refused])
        first = len(provider.batches)
        # One more, with a smaller cap, for the row whose cap didn't fit; Anthropic's API needs one, and halves it.
        assert first == (2 if dialect == "responses" else 5)
        provider.fault.clear()
        code, out, err = assay(*RUN, cwd=tmp_path)
        assert code == 0, err
    assert "failed" not in out
    assert [len(batch["rows"]) for batch in provider.batches.values()][first:] == [3]
    assert sorted(provider.paid.values()) == [1] * TASKS


def test_a_batch_that_fails_as_a_whole_stops_the_run_with_the_providers_words(tmp_path: Path):
    with Endpoint(Provider(failed=True)) as endpoint:
        prepare(tmp_path, "responses", endpoint.url)
        code, _, err = assay(*RUN, cwd=tmp_path)
    assert code == 4
    assert "Enqueued token limit reached" in err


def test_a_sweep_and_a_profile_go_by_batch(tmp_path: Path):
    provider = Provider()
    with Endpoint(provider) as endpoint:
        prepare(tmp_path, "messages", endpoint.url)
        sweep = ("run", "maths:a.jsonl,arithmetic", "--model", "m", "--limit", "10", "--repeats", "2", "--batch")
        code, _, err = assay(*sweep, cwd=tmp_path)
        assert code == 0, err
        assert [len(batch["rows"]) for batch in provider.batches.values()] == [20, 20]
        profile = ("profile", "arithmetic", "--models", "m,gold", "--limit", "10", "--repeats", "1", "--out", "p")
        code, _, err = assay(*profile, "--batch", cwd=tmp_path)
        assert code == 0, err
    summary = decode((tmp_path / "p/profile.json").read_bytes(), type=Profile).models["m"]
    tokens = summary.tokens["input"] * 100 + summary.tokens["output"] * 1000
    assert summary.cost_usd == pytest.approx(tokens / 1e6 / 2)
    assert read_record(tmp_path / "p/runs/m").identity["batch"] == "true"
    assert "batch" not in read_record(tmp_path / "p/runs/gold").identity


@pytest.mark.heavy
def test_python_runs_by_batch_too(tmp_path: Path):
    provider = Provider()
    with Endpoint(provider) as endpoint:
        prepare(tmp_path, "messages", endpoint.url)
        batched = {"config": tmp_path / "assay.toml", "limit": 5, "repeats": 1, "batch": True}
        run = sync.run(f"maths:{tmp_path}/a.jsonl", model="m", **batched)
        made = sync.profile(f"maths:{tmp_path}/a.jsonl", models=["m"], **batched)
    assert [len(batch["rows"]) for batch in provider.batches.values()] == [5, 5]
    for one in (run, made.run("m")):
        assert one.score == 1.0 and read_record(one.folder).identity["batch"] == "true"


@pytest.mark.heavy
def test_a_plan_says_both_prices(tmp_path: Path):
    prepare(tmp_path, "messages", "http://127.0.0.1:9/v1")
    plan = ("plan", "--models", "m", "--guess", "50", "--tokens", "100", "--trials", "50", "--json")
    code, out, err = assay(*plan, "maths:a.jsonl", cwd=tmp_path)
    assert code == 0, err
    made = json.loads(out)
    assert made["usd_by_batch"] == pytest.approx(made["usd"] / 2) != 0
    _, out, _ = assay(*plan[:-1], "maths:a.jsonl", cwd=tmp_path)
    assert f"(${made['usd_by_batch']:,.2f} with --batch)" in " ".join(out.split())
    _, out, _ = assay(*plan, "office", cwd=tmp_path)
    assert json.loads(out)["usd_by_batch"] is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (("office", "--model", "m"), "--batch: office has tools or several turns"),
        (("mastermind", "--model", "m"), "--batch: mastermind has tools or several turns"),
        (
            ("maths:a.jsonl", "--model", "chat:m", "--base-url", "http://127.0.0.1:9/v1"),
            "the dialect chat has no batch",
        ),
        (("maths:a.jsonl", "--model", "m", "--processes", "2"), "--batch: one process waits for batches"),
        (("maths:a.jsonl", "--agent", "nothing"), "--batch: the agent nothing may ask several times"),
    ],
)
def test_what_is_more_than_one_question_is_refused_by_name(changes: tuple[str, ...], words: str, tmp_path: Path):
    prepare(tmp_path, "responses", "http://127.0.0.1:9/v1")
    code, _, err = assay("run", *changes, "--repeats", "1", "--batch", cwd=tmp_path)
    assert code == 2
    assert words in err
