"""`assay new`."""

import re
from pathlib import Path
from typing import Literal

from assay.errors import UsageError

TEMPLATES = Path(__file__).parents[2] / "templates"
"""A folder a kind, each a benchmark that runs as it is."""
NAME, CLASS, MODULE = "my-benchmark", "MyBenchmark", "my_benchmark"
"""The placeholders of the name in the templates."""


def benchmark(
    name: Path,
    /,
    *,
    kind: Literal["qa", "choice", "code", "tools", "judge", "dialogue", "game"] = "qa",
) -> None:
    """Write a benchmark that runs, for you to change into your own.

    Writes an environment, a few tasks, tests and a README.

    Parameters
    ----------
    name
        The folder to make. Its last part is the benchmark's name: small letters, digits and -.
    kind
        qa: a short answer. choice: options by letters. code: functions and tests, in a sandbox. tools: tools and a
        state. judge: free text, by a rubric. dialogue: a user who is asked. game: many turns and a partial reward.
    """
    benchmark_name = name.name
    if not re.fullmatch(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*", benchmark_name):
        raise UsageError(
            f"'{benchmark_name}' is no name for a benchmark; expected small letters, digits and -, as in my-quiz"
        )
    try:
        name.mkdir(parents=True)
    except FileExistsError:
        raise UsageError(f"{name} is there already; nothing was written") from None
    words = {NAME: benchmark_name, CLASS: "".join(part.capitalize() for part in re.split("[-_]", benchmark_name))}
    for file in sorted(path for path in (TEMPLATES / kind).iterdir() if path.is_file()):
        text = re.sub(f"{NAME}|{CLASS}", lambda found: words[found[0]], file.read_text(encoding="utf-8"))
        copy = name / file.name.replace(MODULE, benchmark_name.replace("-", "_"))
        copy.write_text(text, encoding="utf-8")
        print(copy)
    place = name if name.is_absolute() else f"./{name}"
    role = " --with judge=NAME" if kind == "judge" else ""
    print(f"\nassay check {place}\npython -m pytest {place}        # pip install pytest")
    print(f"assay run {place} --model gold{role}        # its reference answers, without any model")
