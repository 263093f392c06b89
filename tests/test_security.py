"""What SECURITY.md says that no other test holds: hostile texts stay text, and only named files do dangerous things."""

import ast
import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from assay.benchmark.verify import maths
from assay.errors import VerifierError
from assay.fidelity.certificate.files import EVIDENCE
from tests.commands import assay, start
from tests.endpoint import Behave, Call, Endpoint, answering, http

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "SECURITY.md"
EVALUATED = {
    "benchmark/verify/code/candidate.py": "runs in the sandbox",
    "benchmark/verify/code/checker.py": "runs in the sandbox",
    "benchmarks/bfcl/worker.py": "in a process of its own: unpacks one wheel, known by its digest, and its own pickles",
    "sandbox/machine/keeper.py": "becomes the program that runs in the machine, and unpacks a tar within its root",
    "gyms/rows.py": "reads members of ZIP files in memory, up to a size; unpacks none to the disk",
}
"""The files that may execute what they are given, and where they do."""
TO_TERMINAL = "\x1b]0;owned\x07 \x1b[2J \x9b31m \x08\x08"
PAYLOADS = (
    "__import__('os').system('touch pwned')",
    "\\boxed{__import__('os').system('touch pwned')}",
    "$(touch pwned) `touch pwned`; touch pwned | touch pwned && touch pwned",
    "../../../../tmp/pwned",
    "{0.__class__.__mro__[1].__subclasses__()} %s %n ${PATH} {{ 7 * 7 }}",
    "2*3 + (lambda: open('pwned', 'w'))()",
)


def calls(tree: ast.AST) -> Iterator[str]:
    """The names of what is called, and `shell=True` where it is."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)
            yield from ("shell=True" for word in node.keywords if word.arg == "shell")


@pytest.mark.heavy
def test_nothing_but_what_runs_in_the_sandbox_evaluates_anything():
    dangerous = re.compile(
        r"eval|exec|compile|__import__|os\.(system|popen|exec\w+|spawn\w+)|pickle\.loads?|marshal\.loads?|shell=True"
        r"|subprocess\.(getoutput|getstatusoutput)|asyncio\.create_subprocess_shell|yaml\.load|parse_expr|sympify"
        r"|shutil\.unpack_archive|tarfile\.open|zipfile\.ZipFile"
    )
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "src/assay").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if used := {name for name in calls(tree) if dangerous.fullmatch(name)}:
            found[str(path.relative_to(ROOT / "src/assay"))] = used
    assert found.keys() == EVALUATED.keys(), found


def test_what_a_template_shows_is_escaped_unless_it_was_made_here():
    templates = sorted((ROOT / "src/assay/report/templates").glob("*.html"))
    assert len(templates) > 5
    for path in templates:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\|\s*safe\b|autoescape\s+false", text), path.name
    page = (ROOT / "src/assay/report/page.py").read_text(encoding="utf-8")
    assert "autoescape=True" in page


def test_an_answer_is_not_carried_out_by_a_verifier_in_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)  # where a shell would touch its file
    judging = maths.Processes(1)

    async def judged(text: str) -> float:
        try:
            return (await judging.verify("5", text)).reward
        except VerifierError:
            return 0.0

    async def main() -> list[float]:
        return [await judged(text) for text in PAYLOADS]

    try:
        assert asyncio.run(main()) == [0.0] * len(PAYLOADS)
    finally:
        judging.close()
    assert not list(tmp_path.rglob("pwned")) and not Path("/tmp/pwned").exists()


def test_an_answer_is_not_carried_out_by_a_run(tmp_path: Path):
    command = ["run", "arithmetic", "--limit", "2", "--repeats", "1", "--model", "chat:m"]
    with Endpoint(answering("\n".join(PAYLOADS))) as endpoint:
        code, _, err = assay(*command, "--base-url", endpoint.url, cwd=tmp_path)
    assert code == 0, err
    assert not list(tmp_path.rglob("pwned")) and not Path("/tmp/pwned").exists()


def refusing(words: str) -> Behave:
    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        writer.write(http(words.encode(), 400, "text/plain"))

    return behave


@pytest.mark.parametrize("command", [["run", "arithmetic", "--limit", "3"], ["ping"]])
def test_what_a_server_says_does_not_reach_the_terminal_as_it_is(command: list[str], tmp_path: Path):
    with Endpoint(refusing(f"no: {TO_TERMINAL}")) as endpoint:
        if command == ["ping"]:
            models = f'[models.m]\ndialect = "chat"\nid = "m"\nbase_url = "{endpoint.url}"\n'
            (tmp_path / "assay.toml").write_text(models)
            code, out, err = assay("ping", "m", cwd=tmp_path)
        else:
            code, out, err = assay(*command, "--model", "chat:m", "--base-url", endpoint.url, cwd=tmp_path)
    assert code == 4, err
    assert "[U+001B]" in out + err
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", out + err)


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../plan.jsonl", "runs/../../rollouts.jsonl", "runs/m/rollouts/../../../x.jsonl", "runs/m/x"],
)
def test_a_certificate_names_no_file_outside_its_profile(path: str):
    assert not EVIDENCE.fullmatch(path)


def test_the_page_names_tests_that_are_there():
    """Each test that SECURITY.md gives as a reason is defined in the file that it names."""
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", PAGE.read_text(encoding="utf-8"))
    assert len(named) > 20
    missing = [name for file, name in named if f"def {name}(" not in (ROOT / file).read_text(encoding="utf-8")]
    assert not missing


def test_a_model_chooses_no_path(tmp_path: Path):
    """Files of a run are named by the command alone, whatever ids and names the server answers with."""
    hostile = '{"id": "../../pwned", "model": "../../pwned", "choices": [{"message": {"content": "42"}, "index": 0}]}'

    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        writer.write(http(hostile.replace('"index"', '"finish_reason": "stop", "index"').encode()))

    with Endpoint(behave) as endpoint:
        command = ["run", "arithmetic", "--limit", "2", "--repeats", "1", "--model", "chat:m", "--out", "a/run"]
        code, _, err = assay(*command, "--base-url", endpoint.url, cwd=tmp_path)
    assert code == 0, err
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    run = {f"a/run/{name}" for name in ("run.json", "tasks.jsonl", "rollouts.jsonl", "summary.json")}
    assert files == run | {"a/started.jsonl"}


def test_listing_runs_no_code_of_the_folder(tmp_path: Path):
    """A benchmark's code is the user's to choose: none runs before it is named."""
    (tmp_path / "benchmark.py").write_text("open('pwned', 'w')")
    process = start("list", "benchmarks", cwd=tmp_path)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert not (tmp_path / "pwned").exists()
