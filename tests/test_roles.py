"""Models in roles: those that an environment asks beside the policy, from the command to the record."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from assay.fidelity.schema.profile import Profile, Summary
from assay.store import read_record, read_rollouts
from assay.types import Failure, Score
from tests.commands import assay
from tests.endpoint import Call, Endpoint, answering, http

JUDGED = """
from assay.benchmark import Benchmark, Environment
from assay.types import Message, Request, Score, Task


class Judged(Environment):
    name, version = "judged", "1"

    def tasks(self):
        return [Task(id=str(i), input=[Message(role="user", content=f"Say {i}.")], gold=str(i)) for i in range(4)]

    async def verify(self, task, response, models):
        said = await models["judge"].respond(Request(input=[Message(role="user", content=response.text or "-")]))
        return Score(reward=float(said.text == "yes"))


BENCHMARK = Benchmark(environment=Judged(), repeats=1, roles={"judge": None})
"""
MODELS = """
[models.asker]
dialect = "scripted"
script = ["Where to?", '{{"nights": 1, "meals": "none", "room": "none", "budget": 1, "month": "May"}}']

[models.other]
dialect = "chat"
id = "m"
base_url = "{url}"
attempts = 1
prices = {{ input = 100.0, output = 1000.0 }}
sampling = {{ max_output_tokens = 10, temperature = 0.5 }}
"""
# The endpoint counts 9 tokens in and 4 out.
EACH_TOKENS, EACH_USD = 13, (9 * 100 + 4 * 1000) / 1e6
INTERVIEW = (
    "run",
    "interview",
    "--model",
    "asker",
    "--only",
    "category=travel",
    "--only",
    "level=easy",
    "--limit",
    "2",
    "--repeats",
    "1",
    "--out",
    "run",
)


async def broken_server(call: Call, writer: asyncio.StreamWriter) -> None:
    writer.write(http(b"{}", 500))


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[Endpoint]:
    """A model `other` that says yes to everything, and a benchmark `judged` beside it."""
    (tmp_path / "judged").mkdir()
    (tmp_path / "judged/benchmark.py").write_text(JUDGED)
    with Endpoint(answering("yes")) as endpoint:
        (tmp_path / "assay.toml").write_text(MODELS.format(url=endpoint.url))
        yield endpoint


def test_a_named_user_is_asked_and_recorded(endpoint: Endpoint, tmp_path: Path):
    code, _, err = assay(*INTERVIEW, "--with", "user=other", cwd=tmp_path)
    assert code == 0, err
    assert [json.loads(call.body)["temperature"] for call in endpoint.calls] == [0.5, 0.5]
    role = read_record(tmp_path / "run").roles["user"]
    assert role.identity["id"] == "m" and role.server["base_url"] == endpoint.url
    for rollout in read_rollouts(tmp_path / "run"):
        (turn,) = rollout.roles["user"]
        assert (turn.response.text, turn.response.usage.input_tokens) == ("yes", 9)
        assert isinstance(rollout.outcome, Score)


def test_what_a_role_costs_is_in_the_costs(endpoint: Endpoint, tmp_path: Path):
    command = [*INTERVIEW, "--with", "user=other"]
    command[3] = "other"
    code, out, err = assay(*command, cwd=tmp_path)
    assert code == 0, err
    users = sum(len(rollout.roles["user"]) for rollout in read_rollouts(tmp_path / "run"))
    assert 0 < users < len(endpoint.calls)
    summary = msgspec.json.decode((tmp_path / "run/summary.json").read_bytes(), type=Summary)
    assert summary.cost_usd == pytest.approx(len(endpoint.calls) * EACH_USD)
    assert f"${summary.cost_usd:.2f}" in out


def test_runs_with_two_users_are_not_joined(endpoint: Endpoint, tmp_path: Path):
    assert assay(*INTERVIEW, cwd=tmp_path)[0] == 0
    assert endpoint.calls == []
    code, _, err = assay(*INTERVIEW, "--with", "user=other", cwd=tmp_path)
    assert code == 2 and "the user" in err


def test_the_budget_counts_what_a_role_uses_and_used(endpoint: Endpoint, tmp_path: Path):
    command = [*INTERVIEW, "--with", "user=other", "--budget-tokens", str(EACH_TOKENS + 5)]
    assert assay(*command, cwd=tmp_path)[0] == 4
    spent = len(endpoint.calls)
    assert spent * EACH_TOKENS <= EACH_TOKENS + 5
    assert assay(*command, cwd=tmp_path)[0] == 4
    assert len(endpoint.calls) == spent


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["interview", "--with", "usr=other"], "no role in benchmark interview 'usr'. Did you mean user"),
        (["interview", "--with", "user"], "expected ROLE=NAME"),
        (["interview", "--with", "user=gold"], "answers tasks alone"),
        (["interview", "--with", "user=nobody"], "no model 'nobody'"),
        (["judged/", "--limit", "1"], "asks a model in the role judge; say --with judge=NAME"),
    ],
)
def test_a_role_that_cannot_be_played_is_told_before_anything_is_asked(
    options: list[str], words: str, endpoint: Endpoint, tmp_path: Path
):
    code, _, err = assay("run", options[0], "--model", "null", *options[1:], cwd=tmp_path)
    assert (code, words in err) == (2, True), err
    assert endpoint.calls == []


def test_a_judge_scores_and_one_that_fails_is_a_failure_never_a_zero(endpoint: Endpoint, tmp_path: Path):
    command = ["run", "judged/", "--model", "gold", "--with", "judge=other"]
    code, out, err = assay(*command, "--out", "run", cwd=tmp_path)
    assert code == 0, err
    assert "score 100.0%" in out
    with Endpoint(broken_server) as broken:
        (tmp_path / "assay.toml").write_text(MODELS.format(url=broken.url))
        code, _, err = assay(*command, "--out", "broken", cwd=tmp_path)
    assert code == 4 and "judge_http_500" in err
    for rollout in read_rollouts(tmp_path / "broken"):
        assert isinstance(rollout.outcome, Failure)
        assert (rollout.outcome.where, rollout.outcome.kind) == ("environment", "judge_http_500")
        assert rollout.turns, "what the policy said is kept"


def test_a_suite_names_the_models_in_roles(endpoint: Endpoint, tmp_path: Path):
    (tmp_path / "suite.toml").write_text(
        'name = "s"\n[models.m]\ndialect = "gold"\nrole = "open"\nkind = "instruct"\n'
        f'[with.judge]\ndialect = "chat"\nid = "m"\nbase_url = "{endpoint.url}"\n'
    )
    code, _, err = assay("profile", "judged/", "--suite", "suite.toml", "--out", "p", cwd=tmp_path)
    assert code == 0, err
    made = msgspec.json.decode((tmp_path / "p/profile.json").read_bytes(), type=Profile)
    assert made.models["m"].score == 1
    gold = next(gate for gate in made.gates if gate.name == "gold")
    assert gold.verdict == "fail" and "an empty answer is rewarded" in gold.reason  # this judge says yes to it, too
    command = ["profile", "arithmetic", "--suite", "suite.toml", "--limit", "2", "--out", "q"]
    code, _, err = assay(*command, cwd=tmp_path)
    assert code == 0 and "arithmetic asks no model in the role judge" in err
