"""docs/adding-a-benchmark.md: every command in it is run, and gives what the page says.

Of its fences: `sh` is run, in order and in one folder, and exits 0 or as `# exits N` says; `text` behind it is lines of
its output in their order, `…` standing for anything; a language with a path behind it is a file; `console` needs a
network or a GPU, and only its options are looked up.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from assay.cli import build
from assay.config import load_suite
from tests.benchmarks.data import beside

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/adding-a-benchmark.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+) ?(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LAST = "## To the end"
"""The heading of the part that walks on a benchmark of its own."""
GROUPED = "## A mean of means"
"""The heading of the part behind it."""
READER = f"""
assay() {{
  if [ "$1" = review ]; then shift; {shlex.quote(sys.executable)} -m tests.reader "$@"
  else {shlex.quote(sys.executable)} -m assay.cli "$@"; fi
}}
"""
"""The command with somebody who reads in a terminal and knows the truth."""


def walk(part: str, folder: Path) -> None:
    """Do what a part of the page says in a folder. Tables are as wide as their lines, so that none is broken."""
    environment = os.environ | {"ASSAY_DATA": str(folder / "data"), "COLUMNS": "2000", "PYTHONUNBUFFERED": "1"}
    environment["PYTHONPATH"] = str(ROOT)
    out = ""
    for language, said, body in FENCE.findall(part):
        if said:
            (folder / said).parent.mkdir(exist_ok=True)
            (folder / said).write_text(body, encoding="utf-8")
        elif language == "sh":
            done = subprocess.run(
                ["bash", "-c", READER + body],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=300,
                check=False,
            )
            expected = int("".join(re.findall(r"# exits (\d+)", body)) or 0)
            assert done.returncode == expected, body + done.stdout
            out = done.stdout
        elif language == "text":
            assert missing(body, out) is None, f"{missing(body, out)}\nis not said there, or not in this order:\n{out}"


def missing(shown: str, out: str) -> str | None:
    """The first line of the page that is none of the output's, behind the one before; None where all are."""
    lines = iter([" ".join(line.split()) for line in out.splitlines()])
    for line in shown.splitlines():
        wanted = ".*".join(re.escape(" ".join(piece.split())) for piece in re.split(r"\s*…\s*", line))
        if not any(re.fullmatch(wanted, said) for said in lines):
            return line
    return None


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_the_walk_on_gsm8k_is_as_the_page_says(tmp_path: Path):
    shutil.copy(beside("gsm8k", "test.jsonl"), tmp_path)
    shutil.copy(beside("gsm8k", "recorded_solutions.jsonl"), tmp_path / "example_model_solutions.jsonl")
    walk(PAGE.partition(LAST)[0], tmp_path)
    assert load_suite(str(tmp_path / "gym.toml")).models.keys() >= {"qwen3-30b-instruct"}


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_the_walk_on_arithmetic_ends_in_a_verified_certificate(tmp_path: Path):
    walk(PAGE.partition(LAST)[2].partition(GROUPED)[0], tmp_path)


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_the_walk_on_27_subsets_reproduces_a_mean_of_means(tmp_path: Path):
    walk(PAGE.partition(GROUPED)[2], tmp_path)


def test_what_the_page_does_not_run_are_commands_that_exist():
    commands = [
        shlex.split(line.partition(" > ")[0])[1:]
        for language, _, body in FENCE.findall(PAGE)
        if language == "console"
        for line in body.replace("\\\n", "").splitlines()
        if line.startswith("assay ")
    ]
    assert commands
    for command in commands:
        build(()).parse_args(command, exit_on_error=False, print_error=False)


def test_published_scores_are_shown_as_they_stand_beside_the_benchmark():
    shown = [body for language, said, body in FENCE.findall(PAGE) if language == "toml" and not said]
    there = (ROOT / "src/assay/benchmarks/gsm8k/published.toml").read_text(encoding="utf-8")
    assert len(shown) == 1 and shown[0] in there


def test_every_link_of_the_page_leads_somewhere():
    headings = {
        file: {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in re.findall(r"^#+ (.*)", text, re.M)}
        for file in ("", *(path.name for path in (ROOT / "docs").glob("*.md")))
        for text in [(ROOT / "docs" / (file or "adding-a-benchmark.md")).read_text(encoding="utf-8")]
    }
    for file, _, heading in (link.partition("#") for link in re.findall(r"\]\((?!https:)(.*?)\)", PAGE)):
        assert (ROOT / "docs" / file).exists(), file
        assert not heading or heading in headings[file], heading


@pytest.mark.parametrize(
    ("shown", "left"),
    [
        ("a  1 …\n", None),
        ("c 3\n", None),
        ("a … 2\nb …\n", None),
        ("a 1\n", "a 1"),
        ("b 2\na 1 2\n", "a 1 2"),
        ("a … 3\n", "a … 3"),
    ],
)
def test_a_line_is_looked_for_whole_and_behind_the_one_before(shown: str, left: str | None):
    assert missing(shown, "a   1  2\nb 2\nc 3\n") == left
