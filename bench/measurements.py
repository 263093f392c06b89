"""The measurements, in one table: what each measures, and what its floor is."""

import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from msgspec import Struct

from bench import endpoint, texts
from bench.figures import Figures, command, handles, inside

CLI = [sys.executable, "-m", "assay.cli"]
QUIZ = str(Path(__file__).parent / "quiz")
QUIZ_TASKS = 10_000
MODEL = ["--model", "openai:fixed", "--base-url"]


class Missing(Exception):
    """Something that a measurement needs is not installed."""


class Setup:
    """The endpoint and the synthetic folders of all measurements. They are made when needed, and removed at exit."""

    def __enter__(self) -> Self:
        self._open = ExitStack()
        self.folder = Path(self._open.enter_context(tempfile.TemporaryDirectory()))
        self._made: dict[tuple[str, int], Path] = {}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None):
        self._open.close()

    @cached_property
    def urls(self) -> endpoint.Urls:
        """Raises Missing."""
        if not endpoint.available():
            raise Missing("nginx with its echo module (Debian: nginx-light, libnginx-mod-http-echo)")
        return self._open.enter_context(endpoint.running())

    def folder_of(self, what: str, count: int) -> Path:
        """Returns the folder of a synthetic run or profile of `count` rollouts. A million take a minute."""
        if (what, count) not in self._made:
            folder = self.folder / f"{what}-{count}"
            url = [self.urls.instant] if what == "run" else []
            # In a process of its own: a child begins with its parent's peak of memory.
            subprocess.run([sys.executable, "-m", "bench.synthetic", what, str(folder), str(count), *url], check=True)
            self._made[what, count] = folder
        return self._made[what, count]


class Measurement(Struct, frozen=True, kw_only=True):
    """Assay and its floor, each a function of the setup and the number of rollouts."""

    what: str
    count: int
    quick: int
    floor_is: str
    floor: Callable[[Setup, int], Figures]
    assay: Callable[[Setup, int], Figures]


BARE_CLIENT = "the HTTP client alone posting the same bytes at the same concurrency"


def instant(
    what: str,
    count: int,
    quick: int,
    *,
    in_flight: int,
    answer: str | None = None,
    environment: str = "quiz",
    steps: int = 1,
    stream: bool = False,
) -> Measurement:
    """Returns the measurement of rollouts on one core at an endpoint that answers at once.

    `answer` is a name as `Urls.of` takes it.
    """

    def url(setup: Setup) -> str:
        return setup.urls.of(answer) if answer else setup.urls.instant

    def floor(setup: Setup, count: int) -> Figures:
        arguments = {"url": url(setup), "count": count, "in_flight": in_flight, "steps": steps}
        return inside("bench.bare", "posts", one_core=True, **arguments)

    def assay(setup: Setup, count: int) -> Figures:
        arguments: dict[str, Any] = {"url": url(setup), "count": count, "in_flight": in_flight}
        return inside("bench.rollouts", "run", one_core=True, environment=environment, stream=stream, **arguments)

    return Measurement(what=what, count=count, quick=quick, floor_is=BARE_CLIENT, floor=floor, assay=assay)


def slow(what: str, count: int, quick: int, *, in_flight: int, delay_s: float) -> Measurement:
    """Returns the measurement of rollouts that wait for their answers, as many in flight as open files allow."""

    def side(module: str, name: str, **own: Any) -> Callable[[Setup, int], Figures]:
        def measure(setup: Setup, count: int) -> Figures:
            url = setup.urls.slow if delay_s == 1 else setup.urls.of("long")
            at_once = min(in_flight, count // 2, handles() - 100)
            arguments = {"url": url, "count": count, "in_flight": at_once, "delay_s": delay_s}
            figures = inside(module, name, one_core=False, **arguments, **own)
            figures.more["in_flight"] = at_once
            return figures

        return measure

    return Measurement(
        what=what,
        count=count,
        quick=quick,
        floor_is=BARE_CLIENT,
        floor=side("bench.bare", "posts"),
        assay=side("bench.rollouts", "run", environment="quiz"),
    )


def maths_floor(setup: Setup, count: int) -> Figures:
    if importlib.util.find_spec("math_verify") is None:
        raise Missing("math-verify (the extra `maths`)")
    return inside("bench.bare", "judge", one_core=False, count=count)


def maths(setup: Setup, count: int) -> Figures:
    arguments = {"url": setup.urls.of("maths"), "count": count, "in_flight": 64}
    return inside("bench.rollouts", "run", one_core=False, environment="sums", **arguments)


def sandbox_floor(setup: Setup, count: int) -> Figures:
    if shutil.which("bwrap") is None:
        raise Missing("bubblewrap")
    return inside("bench.bare", "sandboxes", one_core=False, count=count)


def sandbox(setup: Setup, count: int) -> Figures:
    arguments = {"url": setup.urls.of("code"), "count": count, "in_flight": 64}
    return inside("bench.rollouts", "run", one_core=False, environment="functions", **arguments)


def processes(number: int) -> Callable[[Setup, int], Figures]:
    def measure(setup: Setup, count: int) -> Figures:
        told = subprocess.run([*CLI, "run", "--help"], check=True, capture_output=True, text=True).stdout
        if "--processes" not in told:
            raise Missing("`assay run --processes`")
        with tempfile.TemporaryDirectory(dir=setup.folder) as folder:
            arguments = ["--repeats", str(count // QUIZ_TASKS), "--processes", str(number), "--out", f"{folder}/run"]
            return command([*CLI, "run", QUIZ, *MODEL, setup.urls.instant, *arguments])

    return measure


def one_post(setup: Setup, count: int) -> Figures:
    arguments = json.dumps({"url": setup.urls.instant, "count": 1, "in_flight": 1})
    return command([sys.executable, "-m", "bench.bare", "posts", arguments])


def first_rollout(setup: Setup, count: int) -> Figures:
    with tempfile.TemporaryDirectory(dir=setup.folder) as name:
        folder = Path(name, "run")
        arguments = ["run", "arithmetic", *MODEL, setup.urls.instant, "--repeats", "1", "--out", str(folder)]
        return command([*CLI, *arguments], until=lambda: _size(folder) > 0)


def decode(what: str, parts: str) -> Callable[[Setup, int], Figures]:
    def measure(setup: Setup, count: int) -> Figures:
        arguments = json.dumps({"folder": str(setup.folder_of(what, count)), "what": parts})
        return command([sys.executable, "-m", "bench.bare", "decode", arguments])

    return measure


def resume(setup: Setup, count: int) -> Figures:
    """To the first new rollout; then the run is as it was."""
    folder = setup.folder_of("run", count)
    before = {path: path.stat().st_size for path in folder.glob("rollouts*.jsonl")}
    size, repeats = _size(folder), count // QUIZ_TASKS + 1
    arguments = ["run", QUIZ, *MODEL, setup.urls.instant, "--repeats", str(repeats), "--out", str(folder)]
    figures = command([*CLI, *arguments], until=lambda: _size(folder) > size)
    for path in folder.glob("rollouts*.jsonl"):
        if path in before:
            with path.open("rb+") as file:
                file.truncate(before[path])
        else:
            path.unlink()
    _forget(folder)
    return figures


def report(*, again: bool) -> Callable[[Setup, int], Figures]:
    """`assay report` on a profile that it reads for the first time, or again."""

    def measure(setup: Setup, count: int) -> Figures:
        folder = setup.folder_of("profile", count)
        arguments = [*CLI, "report", str(folder)]
        if not again:
            _forget(folder)
        elif not (folder / "report.html").exists():
            command(arguments)
        return command(arguments)

    return measure


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("rollouts*.jsonl"))


def _forget(folder: Path) -> None:
    """Remove the derived files, in another process, because `bench.synthetic` imports much."""
    subprocess.run([sys.executable, "-m", "bench.synthetic", "forget", str(folder)], check=True)


STEPS = texts.STEPS
MEASUREMENTS = {
    "single-64": instant("single-turn, one core, 64 in flight", 30_000, 2_000, in_flight=64),
    "single-512": instant("single-turn, one core, 512 in flight", 30_000, 2_000, in_flight=512),
    "single-4096": instant("single-turn, one core, 4,096 in flight", 30_000, 5_000, in_flight=4096),
    "tools": instant(
        f"{STEPS} model calls a rollout with a tool's 2,000 characters between them, one core, 64 in flight",
        *(4_000, 200),
        in_flight=64,
        answer="tools",
        environment="library",
        steps=STEPS,
    ),
    "reasoning": instant(
        "32,000 tokens of reasoning an answer, one core, 64 in flight", 10_000, 500, in_flight=64, answer="reasoning"
    ),
    "stream": instant(
        "the same as a stream of 32,000 events, one core, 64 in flight",
        *(300, 20),
        in_flight=64,
        answer="stream",
        stream=True,
    ),
    "maths": Measurement(
        what="answers judged by math-verify in processes, 64 in flight",
        count=4_000,
        quick=200,
        floor_is="math-verify on the same answers in as many bare processes as cores, their start included",
        floor=maths_floor,
        assay=maths,
    ),
    "sandbox": Measurement(
        what="tiny programs tested in bubblewrap, 64 in flight",
        count=400,
        quick=20,
        floor_is="one bubblewrap around one Python with program and tests, as many at once as cores",
        floor=sandbox_floor,
        assay=sandbox,
    ),
    "waiting-5000": slow("rollouts of 1 s, 5,000 in flight", 10_000, 1_000, in_flight=5_000, delay_s=1),
    "waiting-20000": slow(
        f"rollouts of {endpoint.LONG_S} s, 20,000 in flight as far as file handles allow",
        *(40_000, 2_000),
        in_flight=20_000,
        delay_s=endpoint.LONG_S,
    ),
    "two-processes": Measurement(
        what="`assay run --processes 2`, start and summary included",
        count=60_000,
        quick=10_000,
        floor_is="the same with --processes 1",
        floor=processes(1),
        assay=processes(2),
    ),
    "first-rollout": Measurement(
        what="from the command to the first rollout on disk",
        count=1,
        quick=1,
        floor_is="a bare Python that posts one request with the same client",
        floor=one_post,
        assay=first_rollout,
    ),
    "resume-million": Measurement(
        what="from the command to the first new rollout of a run that has a million",
        count=1_000_000,
        quick=20_000,
        floor_is="a bare Python that decodes the outcome of each line",
        floor=decode("run", "rows"),
        assay=resume,
    ),
    "profile-million": Measurement(
        what="`assay report` on four models' million rollouts, read for the first time",
        count=1_000_000,
        quick=40_000,
        floor_is="a bare Python that decodes outcome, texts and tokens of each line",
        floor=decode("profile", "turns"),
        assay=report(again=False),
    ),
    "profile-again": Measurement(
        what="the same once more",
        count=1_000_000,
        quick=40_000,
        floor_is="a bare Python that decodes outcome, texts and tokens of each line",
        floor=decode("profile", "turns"),
        assay=report(again=True),
    ),
}
