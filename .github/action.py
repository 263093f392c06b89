"""The steps of action.yml: `python action.py check`, then `verify`, then `comment`, in the folder of a checkout."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import msgspec

from assay.fidelity.certificate.schema import Certificate
from assay.report.certificate import markdown
from assay.report.words import markdown_table, plain

MARKER = "<!-- assay -->"
"""The first line of the comment. The next push finds the comment by it."""
LONGEST = 60_000
"""Characters of a comment; GitHub takes 65,536."""
WHAT_VERIFY_SAYS = {0: "valid", 3: "forged", 5: "expired, or not all of it could be looked at"}


def api(path: str, method: str = "GET", body: Any = None) -> Any:
    """Returns what GitHub's REST API answers. Raises HTTPError."""
    headers = {"Authorization": f"Bearer {os.environ['GITHUB_TOKEN']}", "Accept": "application/vnd.github+json"}
    url = f"{os.environ['GITHUB_API_URL']}/repos/{os.environ['GITHUB_REPOSITORY']}/{path}"
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, data, headers, method=method), timeout=60) as answer:
        return json.load(answer)


def pages(path: str) -> list[Any]:
    """Returns all that a list of the API has."""
    found: list[Any] = []
    for page in range(1, 31):
        found += (more := api(f"{path}?per_page=100&page={page}"))
        if len(more) < 100:
            break
    return found


def pull_request() -> int | None:
    """Returns the number of the pull request; None where the event is of none."""
    return json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text()).get("pull_request", {}).get("number")


def places(marker: str) -> list[Path]:
    """Returns the files of this name that are given, or beside or above a changed file, or of the whole checkout.

    `GIVEN` names the files or their folders. All of the checkout counts where there is no pull request.
    """
    if given := os.environ["GIVEN"].splitlines():
        return [path if path.name == marker else path / marker for path in map(Path, filter(None, given))]
    number = pull_request()
    if number is None:
        return _all(marker)
    changed = [Path(one["filename"]) for one in pages(f"pulls/{number}/files")]
    nearest = (next((p / marker for p in path.parents if (p / marker).is_file()), None) for path in changed)
    return sorted({path for path in nearest if path})


def _all(marker: str) -> list[Path]:
    return sorted(path for path in Path().rglob(marker) if not any(part.startswith(".") for part in path.parts))


def assay(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Returns the result of a command of Assay. What it says of an error is shown in the log too."""
    done = subprocess.run(["assay", *arguments], capture_output=True, text=True, check=False)
    print(f"assay {' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}{done.stderr}", flush=True)
    return done


def write(text: str) -> None:
    """Adds Markdown to the job's summary, and to what becomes the comment."""
    for file in (Path(os.environ["GITHUB_STEP_SUMMARY"]), _draft()):
        with file.open("a", encoding="utf-8") as opened:
            opened.write(text + "\n\n")


def _draft() -> Path:
    return Path(os.environ["RUNNER_TEMP"], "assay.md")


def check() -> int:
    """Checks benchmarks. Returns 3 if a check fails, and 2 if a benchmark can't be checked."""
    worst = 0
    for file in places("benchmark.py"):
        done = assay("check", f"./{file.parent}", "--json")
        worst = max(worst, done.returncode)
        if done.returncode not in (0, 3):
            write(f"## {plain(str(file.parent))}: it can't be checked\n\n{plain(done.stderr.strip())}")
            continue
        found = json.loads(done.stdout)
        failing = sum(one["verdict"] == "fail" for one in found["checks"])
        rows = [
            (one["name"], one["verdict"], " ".join(filter(None, [one["reason"], one.get("remedy")])))
            for one in found["checks"]
        ]
        verdict = f"{failing} of {len(rows)} checks fail" if failing else "no check fails"
        name = f"{plain(found['benchmark'])} {plain(found['version'])}"
        write(f"## {name}: {verdict}\n\n{markdown_table(('check', 'verdict', 'what was found'), rows)}")
    return worst


def verify() -> int:
    """Verifies certificates. Returns 3 if one is forged, and 2 if one can't be read; one that has expired may stand."""
    worst = 0
    for file in places("certificate.json"):
        rescore = ["--rescore"] if os.environ["RESCORE"] == "true" else []
        done = assay("verify", f"./{file}", *_benchmark_of(file), *rescore)
        says = WHAT_VERIFY_SAYS.get(done.returncode, "it can't be verified")
        last = (done.stdout or done.stderr).strip().rpartition("\n")[2]
        write(f"## {plain(str(file))}: {says}\n\n{plain(last)}")
        if done.returncode in (0, 5):
            write(markdown(msgspec.json.decode(file.read_bytes(), type=Certificate)))
        else:
            worst = max(worst, done.returncode)
    return worst


def _benchmark_of(file: Path) -> list[str]:
    """Returns the option for the benchmark's folder, if the checkout has one of the name that the certificate says."""
    try:
        name = json.loads(file.read_bytes())["benchmark"]["name"]
    except (OSError, ValueError, KeyError, TypeError):
        return []  # `assay verify` says what is wrong with it
    return [f"--benchmark=./{one.parent}" for one in _all("benchmark.py") if one.parent.name == name][:1]


def comment() -> int:
    """Writes the comment, or writes it anew. Without the right to, it only says so."""
    number, file = pull_request(), _draft()
    if not file.exists():
        print("The pull request changes no benchmark and no certificate.")
        return 0
    text = f"{MARKER}\n{file.read_text(encoding='utf-8')}"
    file.unlink()
    if number is None or os.environ["COMMENT"] != "true":
        return 0
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}\n\nThe rest is in the job's summary."
    try:
        before = [one["id"] for one in pages(f"issues/{number}/comments") if one["body"].startswith(MARKER)]
        path, method = (f"issues/comments/{before[0]}", "PATCH") if before else (f"issues/{number}/comments", "POST")
        api(path, method, {"body": text})
    except HTTPError as error:
        print(f"::warning::The comment can't be written: {error}. It needs `permissions: pull-requests: write`.")
    return 0


if __name__ == "__main__":
    sys.exit({"check": check, "verify": verify, "comment": comment}[sys.argv[1]]())
