"""What a run may use, and what it shows of it: budgets, prices, deadlines, and keys that are never written."""

import asyncio
import json
import os
from pathlib import Path

import msgspec
import pytest

from assay.fidelity.schema.profile import Profile, Summary
from assay.store import read_rollouts
from assay.types import Failure, Score
from tests.commands import assay
from tests.endpoint import Behave, Call, Endpoint, answering, chat_body, http

CANARY = "sk-canary-7f3a9"
MODELS = """
[models.paid]
dialect = "chat"
id = "m"
base_url = "{url}"
prices = {{ input = 100.0, output = 1000.0 }}
sampling = {{ max_output_tokens = 10 }}
"""
SUITE = """
name = "paid"
tiers = "all"

[models.one]
role = "open"
kind = "instruct"
dialect = "chat"
id = "m"
base_url = "{url}"
prices = {{ input = 100.0, output = 1000.0 }}
sampling = {{ max_output_tokens = 10 }}

[models.two]
role = "open"
kind = "instruct"
dialect = "chat"
id = "n"
base_url = "{url}"
prices = {{ input = 0.0, output = 0.0 }}
sampling = {{ max_output_tokens = 10 }}
"""
# The endpoint counts 9 tokens in and 4 out.
EACH_TOKENS, EACH_USD = 13, (9 * 100 + 4 * 1000) / 1e6


def test_a_budget_in_dollars_ends_a_run_before_it_is_passed_and_a_larger_one_goes_on(tmp_path: Path):
    with Endpoint(answering("42")) as endpoint:
        (tmp_path / "assay.toml").write_text(MODELS.format(url=endpoint.url))
        command = ["run", "arithmetic", "--model", "paid", "--repeats", "1", "--limit", "60", "--out", "run"]
        code, out, err = assay(*command, "--budget-usd", "0.2", cwd=tmp_path)
        assert code == 4
        assert "the budget is reached: $0." in err
        assert "rollouts owed" in err
        first = list(read_rollouts(tmp_path / "run"))
        assert 0.1 < len(first) * EACH_USD <= 0.2
        assert len(endpoint.calls) == len(first)
        assert all(isinstance(rollout.outcome, Score) for rollout in first)
        assert f"${len(first) * EACH_USD:.2f}" in out
        # The same budget is spent already; a larger one makes the rest, and only the rest.
        assert assay(*command, "--budget-usd", "0.2", cwd=tmp_path)[0] == 4
        assert len(endpoint.calls) <= 0.2 / EACH_USD
        code, out, err = assay(*command, "--budget-usd", "1", cwd=tmp_path)
    assert code == 0, err
    assert len(endpoint.calls) == 60
    summary = msgspec.json.decode((tmp_path / "run/summary.json").read_bytes(), type=Summary)
    assert summary.cost_usd == pytest.approx(60 * EACH_USD)
    assert "$0.29" in out


def test_a_budget_in_tokens_is_shared_by_a_suites_models(tmp_path: Path):
    with Endpoint(answering("42")) as endpoint:
        (tmp_path / "suite.toml").write_text(SUITE.format(url=endpoint.url))
        command = ["profile", "arithmetic", "--suite", "suite.toml", "--limit", "20", "--repeats", "1", "--out", "p"]
        code, _, err = assay(*command, "--budget-tokens", "500", cwd=tmp_path)
        assert code == 4
        assert "two: the budget is reached" in err
        assert len(endpoint.calls) * EACH_TOKENS <= 500
        code, _, err = assay(*command, "--budget-tokens", "1000", cwd=tmp_path)
        assert code == 0, err
        assert len(endpoint.calls) == 40
    profile = msgspec.json.decode((tmp_path / "p/profile.json").read_bytes(), type=Profile)
    assert profile.models["one"].cost_usd == pytest.approx(20 * EACH_USD)
    assert profile.models["two"].cost_usd == 0
    assert "$0.098" in err
    assert "$0.098" in (tmp_path / "p/report.html").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--budget-usd", "5"], "needs the prices of model m"), (["--budget-tokens", "0"], "has to be above 0")],
)
def test_a_budget_that_cannot_be_kept_is_refused(options: list[str], words: str, tmp_path: Path):
    command = ["run", "arithmetic", "--model", "chat:m", "--base-url", "http://127.0.0.1:9/v1"]
    code, _, err = assay(*command, *options, cwd=tmp_path)
    assert (code, words in err) == (2, True), err


def test_a_rollout_that_takes_too_long_fails_at_its_deadline(tmp_path: Path):
    with Endpoint(answering("42", delay_s=5)) as endpoint:
        command = ["run", "arithmetic", "--model", "chat:m", "--base-url", endpoint.url, "--out", "run", "--limit", "2"]
        code, _, err = assay(*command, "--repeats", "1", "--set", "model.deadline_s=0.3", cwd=tmp_path)
    assert code == 4
    assert "deadline 0.3 s" in err
    for rollout in read_rollouts(tmp_path / "run"):
        assert isinstance(rollout.outcome, Failure)
        assert (rollout.outcome.kind, rollout.outcome.retryable) == ("deadline", True)


def tells_the_key(call: Call, dialect: str) -> bytes:
    """What a server says that repeats the key it was sent, as some do."""
    key = next(value for value in call.headers.values() if CANARY in value)
    return {
        "refuses": http(json.dumps({"error": {"message": f"{key} is no key", "code": key}}).encode(), 401),
        "answers": http(chat_body(f"my key is {key}")),
        "garbage": http(f"<html>{key}</html>".encode()),
    }[dialect]


@pytest.mark.heavy
@pytest.mark.parametrize("server", ["refuses", "answers", "garbage"])
@pytest.mark.parametrize("key", ['api_key_env = "CANARY"', 'headers_env = { "api-key" = "CANARY" }'])
def test_a_key_is_never_written_nor_printed(server: str, key: str, tmp_path: Path):
    behave = telling(server)
    with Endpoint(behave) as endpoint:
        text = SUITE.format(url=endpoint.url).replace("sampling =", f"attempts = 1\n{key}\nsampling =")
        (tmp_path / "suite.toml").write_text(text)
        command = ["profile", "arithmetic", "--suite", "suite.toml", "--limit", "3", "--repeats", "1", "--out", "p"]
        code, out, err = assay(*command, cwd=tmp_path, CANARY=CANARY)
        assert any(CANARY in value for call in endpoint.calls for value in call.headers.values())
    assert code in (0, 4)
    assert CANARY not in out + err
    files = [Path(folder, name) for folder, _, names in os.walk(tmp_path) for name in names]
    assert {"run.json", "rollouts.jsonl", "profile.json", "report.html"} <= {file.name for file in files}
    for file in files:
        assert CANARY.encode() not in file.read_bytes(), file


def telling(server: str) -> Behave:
    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        writer.write(tells_the_key(call, server))

    return behave
