"""Plugins of packages that are installed for real, in a folder on sys.path."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from assay.errors import UnknownName, UsageError
from assay.plugins import describe, find, plugins, sentence


def install(site: Path, package: str, entries: str, code: str = "") -> None:
    """Put a package with entry points in place, as an installer leaves it."""
    info = site / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entries)
    (site / f"{package}.py").write_text(code)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return tmp_path


def test_a_plugin_is_found_by_its_name_and_described_by_its_docstring(site: Path):
    code = '"""walker: walks\nabout (Doe et al. 2021). Slowly."""\n\n\nclass Walker:\n    """Walks. Not fast."""\n'
    entries = "[assay.test_walkers]\nwalker = plugin_walker:Walker\nmodule = plugin_walker\nnone = plugin_walker:Run\n"
    install(site, "plugin_walker", entries, code)
    assert find("assay.test_walkers", "walker")().__class__.__name__ == "Walker"
    sentences = describe("assay.test_walkers")
    assert sentences["walker"] == "Walks."
    assert sentences["module"] == "Walks about (Doe et al. 2021)."
    assert "AttributeError" in sentences["none"]


def test_nothing_is_imported_to_name_the_plugins(site: Path):
    install(site, "plugin_broken", "[assay.test_broken]\nbad = plugin_broken\n", "raise OSError('no such luck')")
    assert list(plugins("assay.test_broken")) == ["bad"]
    with pytest.raises(UsageError, match=r"test_broken bad \(plugin_broken\) can't be imported: OSError: no such luck"):
        find("assay.test_broken", "bad")


def test_a_name_that_nobody_offers_is_refused_with_the_nearest(site: Path):
    install(site, "plugin_near", "[assay.test_boxes]\nbubble = plugin_near\n")
    with pytest.raises(UnknownName, match=r"there is no test_box 'bubbel'. Did you mean bubble\?"):
        find("assay.test_boxes", "bubbel")


def test_two_packages_cannot_offer_different_things_under_one_name(site: Path):
    for package in ("plugin_one", "plugin_two"):
        install(site, package, f"[assay.test_twins]\nsame = {package}\n")
    with pytest.raises(UsageError, match=r"plugin_one and plugin_two|plugin_two and plugin_one"):
        plugins("assay.test_twins")


def test_an_object_is_described_by_its_module(site: Path):
    install(site, "plugin_object", "[assay.test_objects]\none = plugin_object:ONE\n", '"""Is one."""\nONE = 1\n')
    assert describe("assay.test_objects") == {"one": "Is one."}


def test_a_docstring_gives_its_first_sentence():
    silent = type("Silent", (), {})
    assert (sentence(silent), sentence(test_a_docstring_gives_its_first_sentence)) == ("", "")
    silent.__doc__ = "mine/one: Follows Doe et al. 2021, e.g. in\nbrief. Then more."
    assert sentence(silent) == "Follows Doe et al. 2021, e.g. in brief."


PACKAGE = '''
"""A package that adds one of each."""

from assay.benchmark import Benchmark, Environment
from assay.fidelity.detectors.detector import RolloutDetector
from assay.model import Model
from assay.sandbox import SandboxConfig, open_sandbox
from assay.sandbox.bare import Bare
from assay.types import Message, Response, Score, Task, Text


class Echo(Environment):
    """Checks answers in the sandbox `plain`."""

    name = "echo"
    version = "1"

    def tasks(self):
        return [Task(id=word, input=[Message(role="user", content=word)], gold=word) for word in ("yes", "no")]

    async def verify(self, task: Task, response: Response) -> Score:
        async with open_sandbox(SandboxConfig(provider="plain")) as sandbox:
            finished = await sandbox.exec(["printf", "%s", response.text], timeout_s=20)
        return Score(reward=float(finished.stdout.decode() == task.gold), answer=finished.stdout.decode())


BENCHMARK = Benchmark(environment=Echo(), repeats=1)


class Parrot:
    """Answers with the last message."""

    def __init__(self, config) -> None:
        self.id = config.id

    async def respond(self, request) -> Response:
        return Response(output=[Message(role="assistant", content=[Text(text=request.input[-1].content)])])


class Plain(Bare):
    """Runs programs without protection."""


class Silent:
    """Ends every rollout at once."""

    needs_model = False

    async def run(self, task, model: Model, session) -> str:
        return "completed"


SHORT = RolloutDetector(
    name="short answers",
    fault="model",
    what="answered in fewer than three letters",
    meaning="The model may be in a hurry.",
    spot=lambda one: one.text if len(one.text) < 3 else None,
)
'''
ENTRIES = """
[assay.benchmarks]
echo = plugin_full
[assay.dialects]
parrot = plugin_full:Parrot
[assay.sandboxes]
plain = plugin_full:Plain
[assay.agents]
silent = plugin_full:Silent
[assay.detectors]
short-answers = plugin_full:SHORT
"""


def test_an_installed_package_adds_a_benchmark_a_dialect_a_sandbox_an_agent_and_a_detector(tmp_path: Path):
    site = tmp_path / "site"
    install(site, "plugin_full", ENTRIES, PACKAGE)
    script = """
import sys
from pathlib import Path
import assay
from assay.agent import needs_model
from assay.config import ModelConfig
from assay.fidelity.detectors import detect, detectors
from assay.plugins import describe, find

assert describe("assay.dialects")["parrot"] == "Answers with the last message."
assert describe("assay.sandboxes")["plain"] == "Runs programs without protection."
assert describe("assay.agents")["silent"] == "Ends every rollout at once."
assert detectors()["short answers"] == "Rollouts that answered in fewer than three letters."

run = assay.sync.run("echo", model=ModelConfig(dialect="parrot", id="grey"), out=sys.argv[1])
assert (run.score, run.failures) == (1.0, 0), run
agent = find("assay.agents", "silent")()
assert not needs_model(agent)
assert assay.sync.run("echo", model=ModelConfig(dialect="parrot", id="grey"), agent=agent).failures == 0
print(detect(Path(sys.argv[1]), "grey"))
"""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-c", script, str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert "answered in fewer than three letters" in done.stdout


def test_an_error_names_the_kind_in_the_singular():
    for group, noun in (("families", "family"), ("sandboxes", "sandbox"), ("agents", "agent")):
        with pytest.raises(UnknownName, match=f"there is no {noun} 'nobody'"):
            find(f"assay.{group}", "nobody")
