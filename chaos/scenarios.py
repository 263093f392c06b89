"""The scenarios: each harms a run, then lets it end undisturbed and checks what has to hold."""

import asyncio
import os
import resource
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from assay.benchmark.catalog import load
from assay.collect.run import RunPlan, collect_run
from assay.config import ModelConfig
from assay.errors import UsageError
from assay.sandbox import SandboxConfig, check_sandbox
from assay.store import read_rollouts
from assay.types import Failure
from chaos.checks import expect
from chaos.machine import ROOT, descendants, parent, program, resident_mib, words
from chaos.rounds import Round, Run, count_scores, until
from chaos.server import NETWORK, TEXTS, VERIFIER, FaultyServer, endpoint

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
SIGNALLED = (0, 1, 4, 7, 130, -signal.SIGINT, -signal.SIGTERM)
"""Exit codes of a command that may have got a signal. The last two are of one that had not begun, or had ended."""
GRACE_S = 10.0
"""Seconds within which a run has ended after SIGTERM, its summary included."""


@contextmanager
def running(round: Round, server: FaultyServer, *options: str, **plan: object) -> Generator[Run]:
    """A run on a server with these faults, which is completed and checked at the end."""
    with endpoint(server) as served:
        run = Run(round, server, served.url, options=options, **plan)  # type: ignore[arg-type]
        yield run
        run.finish()


def kills(round: Round) -> None:
    """SIGKILL at random moments, while it starts and while rollouts come in; then the last line torn at random."""
    server = round.server(delay_s=0.02)
    options = ("--concurrency", "8", "--processes", str(round.rng.choice([1, 1, 2, 3])))
    with running(round, server, *options, tasks=round.of(100, 300)) as run:
        for number in range(round.of(2, 8)):
            command = run.start()
            before = count_scores(run)
            if number % 2:
                until(lambda before=before: count_scores(run) > before, command)
            time.sleep(round.rng.random() * 0.5)
            run.kill(command)
            tear(round, run)


def tear(round: Round, run: Run) -> None:
    """Cut off the end of each file, as a loss of power does."""
    for path in run.folder.glob("rollouts*.jsonl"):
        whole = path.read_bytes()
        if whole and round.rng.random() < 0.5:
            last = whole.rfind(b"\n", 0, -1) + 1
            path.write_bytes(whole[: round.rng.randrange(last, len(whole))])
            round.faults += 1


def torn(round: Round) -> None:
    """The last line torn at every byte: that rollout alone is made again."""
    with running(round, round.server(), tasks=2, repeats=2) as run:
        run.end(run.start(), codes=(0,))
        path = run.folder / "rollouts.jsonl"
        whole = path.read_bytes()
        last = whole.rfind(b"\n", 0, -1) + 1
        asked = RunPlan.of(
            load(str(ROOT / "chaos/quiz")),
            name="m",
            server=ModelConfig(dialect="chat", id="m", base_url=run.url),
            folder=run.folder,
            repeats=2,
            limit=2,
        )
        for cut in range(last, len(whole), 7 if round.quick else 1):
            path.write_bytes(whole[:cut])
            tally = asyncio.run(collect_run(asked))
            expect(tally.scored == 1, f"cut at {cut - last}, {tally.scored} rollouts were made again; expected 1")
            expect(path.read_bytes()[:last] == whole[:last], f"cut at {cut - last}, an earlier line was changed")
            run.check(whole=False)
            round.faults += 1


def disk(round: Round) -> None:
    """A full disk that gets room later: a small tmpfs, or else a limit on the size of files."""
    with running(round, round.server(), tasks=100, repeats=round.of(6, 10)) as run:
        folder = round.folder / "disk"
        folder.mkdir()
        run.name = "disk/run"
        mounted = mount(folder, size_kib := round.of(120, 250))
        try:
            limits = {} if mounted else {resource.RLIMIT_FSIZE: size_kib * 1024}
            for _ in range(round.of(1, 3)):
                command = run.start(limits=limits)
                run.end(command, codes=(4,))
                expect(count_scores(run) or not mounted, "nothing was kept though there was room")
                round.faults += 1
            if mounted:
                subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
            run.finish()
        finally:
            if mounted:
                subprocess.run(["umount", folder], check=True)
        run.name = "after"


def mount(folder: Path, size_kib: int) -> bool:
    """Mount a tmpfs of this size. Returns whether that worked, which needs root."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "chaos", str(folder)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def network(round: Round) -> None:
    """A server that fails in every way of the network, by faults that change."""
    faults = round.rng.sample(NETWORK, 6)
    server = round.server(*faults, share=0.3, delay_s=0.005)
    options = ("--concurrency", str(round.rng.choice([4, 32, 128])), "--no-early-stop")
    with running(round, server, *options, tasks=round.of(30, 200)) as run:
        for _ in range(round.of(1, 3)):
            run.end(run.start(), codes=(0,))
            server.share = round.rng.choice([0.1, 0.5, 0.9])
            server.faults = tuple(round.rng.sample(NETWORK, 4))


def silence(round: Round) -> None:
    """A server that never answers some of the requests."""
    server = round.server("never", share=0.1)
    with running(round, server, "--set", "model.timeout_s=1", "--concurrency", "64", tasks=50, repeats=2) as run:
        run.end(run.start(), codes=(0,))


def storm(round: Round) -> None:
    """A server that answers 429 alone, with and without Retry-After: the run ends by itself, every rollout owed."""
    server = round.server("429", "429 named", share=1.0)
    options = ("--concurrency", "32", "--set", "model.limits.patience_s=0.2")
    with running(round, server, *options, tasks=40, repeats=2) as run:
        run.end(run.start(), codes=(4,))
        expect(run.check(whole=False) == 0, "a score came out of a server that never answered")
        server.share = 0.7
        run.end(run.start(), codes=(0, 4))


def verifier(round: Round) -> None:
    """A verifier that raises, leaks open files, returns no score, and ends the whole process."""
    server = round.server(*VERIFIER, share=0.2)
    with running(round, server, "--concurrency", "16", tasks=round.of(40, 80)) as run:
        run.end(run.start(), codes=(0,))
        server.faults, server.share = ("!exit",), 0.05
        for _ in range(round.of(1, 3)):
            run.end(run.start(), codes=(0, 7))


def spinning(round: Round) -> None:
    """A verifier that blocks the event loop for ever: it is ended, and the other rollouts go on."""
    server = round.server("!spin", share=0.15)
    options = ("--concurrency", "8", "--set", "model.deadline_s=1")
    with running(round, server, *options, tasks=20, repeats=1) as run:
        run.end(run.start(), codes=(0,))
        failed = Counter(one.outcome.kind for one in read_rollouts(run.folder) if isinstance(one.outcome, Failure))
        # The rollout's own deadline comes at the same time: either failure is right.
        ended = failed["stalled"] + failed["deadline"]
        expect(failed["stalled"] > 0 and ended >= server.met["!spin"], f"{failed} of {server.met['!spin']} that spun")


def workers(round: Round) -> None:
    """The processes that judge maths answers are killed one by one."""
    with running(
        round, round.server(delay_s=0.01), "--concurrency", "8", "--no-early-stop", benchmark="sums", tasks=100
    ) as run:
        harass(round, run, lambda pid: "maths/worker.py" in words(pid), every_s=1.0)


def sandbox(round: Round) -> None:
    """Sandboxes are killed during rollouts: the process that keeps their disk, or bubblewrap."""
    try:
        asyncio.run(check_sandbox(SandboxConfig()))
    except UsageError as error:
        round.skipped = str(error)
        return
    options = ("--concurrency", "4", "--no-early-stop")
    with running(round, round.server(), *options, benchmark="boxed", tasks=round.of(8, 20), repeats=2) as run:
        # Not what runs within, of which bubblewrap's child is the first: nobody can tell who killed a program. And no
        # bubblewrap that has not got so far as to start one: its child would wait for it for ever.
        name = round.rng.choice(["cat", "bwrap"])

        def hit(pid: int) -> bool:
            started = name == "cat" or any(program(one) not in (name, "") for one in descendants(pid))
            return started and program(pid) == name != program(parent(pid))

        harass(round, run, hit, every_s=0.1)


def harass(round: Round, run: Run, hit: Callable[[int], bool], *, every_s: float) -> None:
    """Kill the processes of a run that `hit` chooses, one by one until it ends. Raises Broken where there was none."""
    command = run.start()
    until(lambda: count_scores(run), command)
    deadline = time.monotonic() + 60
    while command.running and time.monotonic() < deadline:
        if found := [pid for pid in descendants(command.pid) if hit(pid)]:
            try:
                os.kill(round.rng.choice(found), signal.SIGKILL)
            except ProcessLookupError:
                continue
            round.faults += 1
        time.sleep(round.rng.random() * 2 * every_s)
    run.end(command, codes=(0,))
    expect(round.faults, "no process was killed")


def clock(round: Round) -> None:
    """The wall clock jumps by hours, forwards and back, while the monotonic clock goes on."""
    if FAKETIME is None:
        round.skipped = "there is no libfaketime here (Debian: faketime)"
        return
    stamp = round.folder / "clock"
    stamp.write_text("+0")
    environment = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(stamp),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    server = round.server("500", "429 named", share=0.1, delay_s=0.05)
    with running(round, server, "--concurrency", "4", tasks=round.of(20, 50), repeats=2) as run:
        began = time.monotonic()
        command = run.start(environment=environment)
        while command.running and time.monotonic() - began < 60:
            stamp.write_text(round.rng.choice(["+9h", "-9h", "+400d", "-400d", "+0"]))
            round.faults += 1
            time.sleep(0.1)
        run.end(command, codes=(0,))
        for rollout in read_rollouts(run.folder):
            expect(0 <= rollout.wall_s < 30, f"a rollout is told to have taken {rollout.wall_s} s")


def two(round: Round) -> None:
    """Two commands on one directory: the second is refused, and a killed one blocks nobody."""
    options = ("--concurrency", "4")
    processes = ("--processes", str(round.rng.choice([1, 2])))
    with running(round, round.server(delay_s=0.02), *options, tasks=round.of(100, 200)) as run:
        for _ in range(round.of(2, 4)):
            first = run.start(*processes)
            before = count_scores(run)
            if not until(lambda before=before: count_scores(run) > before, first):
                run.end(first)
                break
            second = run.start()
            if run.end(second, codes=(0, 2)) == 0 or not first.running:
                run.end(first)  # it came to its end by itself while the second began, as on a loaded machine
                break
            round.faults += 1
            run.kill(first)


def terminated(round: Round) -> None:
    """SIGTERM, as schedulers send it, while slow answers are in flight: the run ends soon."""
    server = round.server("never", share=0.1, delay_s=0.03)
    options = ("--concurrency", "16", "--set", "model.timeout_s=600", "--processes", str(round.rng.choice([1, 2])))
    with running(round, server, *options, tasks=round.of(60, 100)) as run:
        for _ in range(round.of(1, 2)):
            command, before = run.start(), count_scores(run)
            until(lambda before=before: count_scores(run) > before, command)
            time.sleep(round.rng.random() * 0.3)
            told = time.monotonic()
            command.send(signal.SIGTERM)
            run.end(command, within_s=GRACE_S + 3, codes=(130, 0))
            expect(time.monotonic() - told < GRACE_S + 2, "it took longer to end than schedulers wait")
            round.faults += 1


def handles(round: Round) -> None:
    """64 open files for 256 rollouts in flight."""
    limits = {resource.RLIMIT_NOFILE: round.rng.randint(24, 64)}
    with running(round, round.server(delay_s=0.02), "--concurrency", "256", tasks=100, repeats=4) as run:
        for _ in range(round.of(1, 2)):
            run.end(run.start("--no-early-stop", limits=limits), codes=(0, 1, 4))
            round.faults += 1


def hostile(round: Round) -> None:
    """Hostile texts in answers and errors: NUL, surrogates, 10 MB, control characters of a terminal."""
    server = round.server("words", share=1.0)
    with running(round, server, "--concurrency", "8", tasks=round.of(20, 60), repeats=2) as run:
        run.end(run.start(), codes=(4,))
        # A rollout that has a score is not made again: what is owed in the end gets the plain answers.
        server.faults, server.share = (*TEXTS, "surrogate"), 0.3
        run.end(run.start("--processes", "2"), codes=(0,))
        expect(not list(round.folder.rglob("pwned")), "a text reached a shell")


def memory(round: Round) -> None:
    """Answers of 10 MB, then short ones: the memory of the long ones is given back."""
    server = round.server("big", share=0.5)
    with running(round, server, "--concurrency", "16", tasks=100, repeats=round.of(4, 10)) as run:
        command = run.start()
        until(lambda: server.met["big"] > 20, command)
        server.share = 0.0
        until(lambda: count_scores(run) > 0.9 * run.tasks * run.repeats, command)
        peak_mib, now_mib = command.peak_mib, resident_mib(command.pid)
        expect(now_mib < max(250.0, 0.8 * peak_mib), f"{now_mib:.0f} MiB are kept of {peak_mib:.0f}")
        run.end(command, codes=(0,))


def everything(round: Round) -> None:
    """All faults at once."""
    server = round.server(*NETWORK, *VERIFIER, "!exit", *TEXTS[:-1], share=0.15, delay_s=0.01)
    with running(round, server, "--no-early-stop", tasks=round.of(30, 200)) as run:
        for _ in range(round.of(2, 8)):
            few = {resource.RLIMIT_NOFILE: 64} if round.rng.random() < 0.3 else {}
            options = ("--concurrency", str(round.rng.choice([1, 8, 64])), "--processes", str(round.rng.randint(1, 3)))
            command = run.start(*options, limits=few)
            if round.rng.random() < 0.5:
                until(lambda command=command: "to make" in command.said, command)
            time.sleep(round.rng.random() * 1.5)
            match round.rng.randrange(4):
                case 0:
                    until(lambda command=command: "to make" in command.said, command)
                    command.send(signal.SIGTERM)
                    run.end(command, within_s=GRACE_S + 3, codes=SIGNALLED)
                case 1:
                    until(lambda command=command: "to make" in command.said, command)
                    command.send(signal.SIGINT)
                    run.end(command, codes=SIGNALLED)
                case 2:
                    run.end(command, codes=(0, 1, 4, 7))
                case _:
                    run.kill(command)
                    tear(round, run)
            round.faults += 1


SCENARIOS: dict[str, Callable[[Round], None]] = {
    one.__name__: one
    for one in (
        kills,
        torn,
        disk,
        network,
        silence,
        storm,
        verifier,
        spinning,
        workers,
        sandbox,
        clock,
        two,
        terminated,
        handles,
        hostile,
        memory,
        everything,
    )
}
