"""Agents of packages that are installed for real, by name in runs of the command and of the library."""

import asyncio
import sys
from pathlib import Path

import pytest

import assay
from assay.agent.catalog import agents, make_agent
from assay.config import LOOP, AgentConfig, assay_toml, load_agent
from assay.errors import DigestMismatch, UnknownName, UsageError
from assay.store import read_record
from tests import commands

CODE = '''
class Twice:
    """Asks the model several times and keeps the last answer. For a test."""

    def __init__(self, times=2):
        self.times = times

    async def run(self, task, model, session):
        from assay.types import Request
        for _ in range(self.times):
            await model.respond(Request(input=task.input))
        return "completed"


class Idle:
    """No agent."""
'''
TOML = '[agents.thrice]\nagent = "twice"\nsettings = { times = 3 }\n'


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    info = tmp_path / "site/agent_twice-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: agent_twice\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[assay.agents]\ntwice = agent_twice:Twice\nidle = agent_twice:Idle\n")
    (tmp_path / "site/agent_twice.py").write_text(CODE)
    (tmp_path / "assay.toml").write_text(TOML)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(*arguments: str) -> tuple[int, str, str]:
    return commands.assay(*arguments, cwd=Path.cwd(), PYTHONPATH=str(Path("site").absolute()))


def turns(folder: Path) -> set[int]:
    return {len(rollout.turns) for rollout in assay.Run(folder).rollouts()}


def test_an_installed_agent_is_listed_with_a_sentence(site: Path):
    listed = agents()
    assert listed["twice"] == "Asks the model several times and keeps the last answer."
    assert listed.keys() >= {"loop", "nothing", "twice"}


@pytest.mark.heavy
@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_run_is_driven_by_the_agent_that_the_command_names(site: Path, processes: str):
    line = ["run", "arithmetic", "--model", "gold", "--limit", "4", "--repeats", "1", "--processes", processes]
    code, _, err = command(*line, "--agent", "thrice")
    assert code == 0, err
    folder = Path("runs/arithmetic-limit4/gold-thrice")
    assert turns(folder) == {3}
    assert read_record(folder).agent == AgentConfig(agent="twice", settings={"times": 3})


def test_a_run_is_not_gone_on_with_by_another_agent(site: Path):
    out = site / "runs/gold"
    run = asyncio.run(assay.run("arithmetic", model="gold", agent="twice", limit=2, repeats=1, out=out))
    assert turns(run.folder) == {2}
    with pytest.raises(DigestMismatch, match="agent: twice there, loop now"):
        asyncio.run(assay.run("arithmetic", model="gold", limit=2, repeats=1, out=out))


def test_a_record_without_an_agent_is_of_the_loop(site: Path):
    out = site / "runs/gold"
    asyncio.run(assay.run("arithmetic", model="gold", limit=2, repeats=1, out=out))
    text = (out / "run.json").read_text()
    (out / "run.json").write_text(text.replace('"agent"', '"agent_of_later"'))
    assert '"agent"' in text and read_record(out).agent == LOOP
    asyncio.run(assay.run("arithmetic", model="gold", limit=2, repeats=1, out=out))
    assert turns(out) == {1}


def test_an_agent_that_asks_no_model_needs_none(site: Path):
    code, _, err = command("run", "arithmetic", "--agent", "nothing", "--limit", "3", "--repeats", "1")
    assert code == 0, err
    run = assay.Run(Path("runs/arithmetic-limit3/none-nothing"))
    assert (run.score, run.failures, read_record(run.folder).server) == (0.0, 0, {"dialect": "none"})
    code, _, err = command("run", "arithmetic", "--limit", "3")
    assert code == 2 and "asks a model; say which one: --model NAME" in err


def test_a_profile_is_made_with_the_agent_that_the_command_names(site: Path):
    line = ["profile", "arithmetic", "--models", "gold,null", "--limit", "3", "--repeats", "2", "--agent", "twice"]
    code, _, err = command(*line, "--out", "made")
    assert code == 0, err
    assert turns(Path("made/runs/gold")) == {2}


def test_what_is_no_agent_is_refused(site: Path):
    with pytest.raises(UnknownName, match="Did you mean twice"):
        load_agent("twise", own=assay_toml())
    with pytest.raises(UsageError, match=r"agent twice \(speed=9\): .*speed"):
        make_agent(AgentConfig(agent="twice", settings={"speed": 9}))
    with pytest.raises(UsageError, match="has no async def run"):
        make_agent(load_agent("idle"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "expected argv with a program"),
        ({"argv": "echo hello"}, r'argv: expected a list of texts, such as \["echo hello"\]'),
        ({"argv": ["echo"], "mounts": "/opt/mine"}, "mounts: expected a list"),
        ({"argv": ["echo"], "version": "mine --version"}, "version: expected a list"),
    ],
)
def test_settings_of_a_program_that_cannot_be_are_refused(settings: dict[str, object], said: str):
    with pytest.raises(UsageError, match=said):
        make_agent(AgentConfig(agent="command", settings=settings))
