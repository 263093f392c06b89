"""More than one core: worker processes, each of which collects a part of one run's plan into a file of its own.

The first process asks no model. It keeps other commands from the run, starts the workers, adds up their tallies, passes
on that they should stop, and decides what only the whole can tell: that nothing but failures comes, that a budget is
spent. A worker reads its part as a line and commands after it, and ends at once where that input does, so that none is
left behind however the first process ends. The workers inherit its locks: what one of them may still write, no other
command begins.
"""

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import BinaryIO

import msgspec
import uvloop

from assay.collect.collect import FAILURES_BEFORE_STOP, Interruption, Tally, hopeless, too_many
from assay.collect.parts import ERRORS, NOTHING, Ended, Part, Report, add_up, count_of, part_of, plan_of, report_of
from assay.collect.run import RunPlan, collect_run, spent
from assay.errors import AssayError, StoppedEarly
from assay.model.wrappers.budget import Budget
from assay.sandbox import PLACE
from assay.store import claim

REPORT_S, FIRST_REPORT_S = 0.25, 0.02
"""How often a worker reports; and before its first score, so that a hopeless run ends soon."""
ABANDON_S = 10.0
"""How long a worker may take to give up what is in flight before it is killed."""
LONGEST = 2**20
"""Bytes of a report."""
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
"""What linear algebra takes its number of threads from."""
PROGRAM = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); sys.path[:] = {path!r}; "
    "from assay.collect.processes import work; work()"
)


@dataclass(slots=True)
class Worker:
    """A process and what it has told."""

    name: str
    part: Part
    process: asyncio.subprocess.Process
    report: Report = NOTHING
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    """Set with its first report, or its end."""
    ended: Ended | None = None

    @property
    def begun(self) -> bool:
        return self.report is not NOTHING

    @property
    def running(self) -> bool:
        return self.ended is None and self.process.returncode is None

    def say(self, word: str) -> None:
        stdin = self.process.stdin
        if self.running and stdin and not stdin.is_closing():
            stdin.write(f"{word}\n".encode())

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()


async def spread(
    asked: RunPlan,
    processes: int = 1,
    *,
    interruption: Interruption | None = None,
    watch: Callable[[Tally], None] = lambda _: None,
    tell: Callable[[str], None] = lambda _: None,
) -> Tally:
    """Collect what the run still owes, as `collect_run` does, in so many processes; in this one where that is one.

    There are no more of them than requests may be in flight. A worker that dies is told; the others go on, and
    StoppedEarly is raised in the end.
    """
    interruption = interruption or Interruption()
    count = count_of(asked, processes)
    if count == 1:
        return await collect_run(asked, interruption=interruption, watch=watch)
    with ExitStack() as held:
        crew = Crew(asked, tuple(claim(held, asked.folder, asked.shard)), interruption, watch, tell)
        interruption.on_abandon(crew.abandon)
        while await crew.collect(count):
            # A budget's parts are spent unevenly. What is left is shared out again, and at last given to one alone.
            count = count if crew.progressed else 1
    return crew.tally


class Crew:
    """The workers of one run."""

    def __init__(
        self,
        asked: RunPlan,
        locks: tuple[int, ...],
        interruption: Interruption,
        watch: Callable[[Tally], None],
        tell: Callable[[str], None],
    ) -> None:
        self._asked = asked
        self._locks = locks
        self._interruption = interruption
        self._watch = watch
        self._tell = tell
        self._all: list[Worker] = []
        self._now: list[Worker] = []
        self._abandoned = False
        self._hopeless: StoppedEarly | None = None
        self.progressed = False
        """Whether the last workers made anything."""
        self.tally = Tally(
            planned=0,
            prices=asked.server.prices,
            struggling=lambda: sum(worker.report.struggling for worker in self._now if worker.running),
            level=self._level,
        )

    async def collect(self, count: int) -> bool:
        """Have so many workers make what is owed; whether others may make more, with what is left of the budget."""
        self._now, first = [], not self._all
        try:
            async with asyncio.TaskGroup() as group:
                for index in range(1, count + 1):
                    self._now.append(await self._start(index, count))
                    group.create_task(self._listen(self._now[-1]))
                self._all += self._now
                for worker in self._now:
                    await worker.heard.wait()
                if first and (begun := [worker.report for worker in self._now if worker.begun]):
                    self.tally.planned = sum(report.planned for report in begun)
                    self.tally.before = min(report.before for report in begun)
                    self._watch(self.tally)
                self._check()
        finally:
            for worker in self._now:
                worker.kill()
        return self._go_on(self._now)

    def abandon(self) -> None:
        """Have the workers give up what is in flight."""
        self._abandoned = True
        for worker in self._now:
            worker.say("abandon")
            if worker.running:
                asyncio.get_running_loop().call_later(ABANDON_S, worker.kill)

    async def _start(self, index: int, count: int) -> Worker:
        part = part_of(self._asked, index, count, self._asked.shard.part(index, count), self._locks)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-c", PROGRAM.format(path=sys.path)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=dict.fromkeys(THREADS, str(max(1, _cores() // count))) | os.environ,
            pass_fds=self._locks,
            limit=LONGEST,
        )
        assert process.stdin
        process.stdin.write(msgspec.json.encode(part) + b"\n")
        return Worker(f"process {index} of {count}", part, process)

    async def _listen(self, worker: Worker) -> None:
        """Take in what a worker tells, until it has ended."""
        stdout = worker.process.stdout
        assert stdout
        stopping = False
        while (line := await stdout.readline()).endswith(b"\n"):
            told = msgspec.json.decode(line, type=Report | Ended)
            if isinstance(told, Report):
                worker.report = told
                worker.heard.set()
                add_up(self.tally, (worker.report for worker in self._all))
                self._check()
            else:
                worker.ended = told
                if told.error and not issubclass(ERRORS[told.error], StoppedEarly):
                    self._stop_all()
            if self._interruption.stopping and not stopping:
                stopping = True
                worker.say("stop")
        code = await worker.process.wait()
        worker.heard.set()
        if worker.ended is None and not self._abandoned:
            worker.ended = Ended("StoppedEarly", _died(worker.name, code))
            self._tell(worker.ended.message)

    def _stop_all(self) -> None:
        for worker in self._now:
            worker.say("stop")

    def _check(self) -> None:
        """Give the run up where nothing but failures comes."""
        tally = self.tally
        if not self._asked.early_stop or tally.scored or not tally.failed or self._hopeless:
            return
        # Before all have begun it is not known how much there is to make.
        if tally.failed >= (too_many(tally) if tally.planned else FAILURES_BEFORE_STOP):
            self._hopeless = hopeless(tally)
            self.abandon()

    def _level(self) -> int | None:
        running = [worker for worker in self._now if worker.running]
        if all(worker.report.level is None for worker in running):
            return None
        return sum(worker.report.level or worker.part.concurrency for worker in running)

    def _go_on(self, workers: Sequence[Worker]) -> bool:
        """Whether more can be made. Raises what ended the run."""
        budget = self._asked.budget
        if budget:
            budget.tokens += sum(worker.report.spent_tokens for worker in workers)
            budget.usd += sum(worker.report.spent_usd for worker in workers)
        if self._hopeless:
            raise self._hopeless
        ends = [worker.ended for worker in workers if worker.ended]
        if errors := [end for end in ends if end.error not in ("", "BudgetSpent")]:
            raise ERRORS[errors[0].error]("\n".join(dict.fromkeys(end.message for end in errors)))
        if self._interruption.stopping:
            return False
        if stopped := [worker.name for worker in workers if worker.ended and worker.ended.stopped]:
            raise StoppedEarly(f"{', '.join(stopped)} was asked to stop; the same command goes on from here")
        if not budget or not any(end.error for end in ends):
            return False
        self.progressed = any(worker.report.scored or worker.report.failed for worker in workers)
        if len(workers) == 1 and not self.progressed:
            budget.reached = True
            raise spent(self._asked.name, budget, self.tally.planned - self.tally.scored)
        return True


def _died(name: str, code: int) -> str:
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    return (
        f"{name} ended by itself, {how}; what it wrote to the terminal says why, if anything. What it had made is "
        "kept.\n  The same command goes on from here, with fewer --processes where memory ran out."
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def work() -> None:
    """A worker's life: its part from the standard input, its reports to the standard output."""
    commands, reports = os.fdopen(os.dup(0), "rb", buffering=0), os.dup(1)
    # What a benchmark prints goes to the terminal, not among the reports.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    if not (line := commands.readline()).endswith(b"\n"):
        return  # the first process is gone already
    part = msgspec.json.decode(line, type=Part)
    for lock in part.locks:
        os.set_inheritable(lock, False)
    PLACE.set(part.place)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_work(part, commands, reports))


async def _work(part: Part, commands: BinaryIO, reports: int) -> None:
    loop, interruption = asyncio.get_running_loop(), Interruption()

    def stop() -> None:
        if not interruption.stopping:
            interruption.stop()

    def heed() -> None:
        for word in commands:
            loop.call_soon_threadsafe(stop)
            if word == b"abandon\n":
                loop.call_soon_threadsafe(interruption.stop)
        os._exit(1)

    # Ctrl-C reaches all processes of the terminal; the first one decides what it means.
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    loop.add_signal_handler(signal.SIGTERM, stop)
    threading.Thread(target=heed, daemon=True).start()
    _send(reports, await _collect(part, interruption, reports))


async def _collect(part: Part, interruption: Interruption, reports: int) -> Ended:
    budget = part.budget()
    reporting: list[tuple[Tally, asyncio.Task[None]]] = []

    def begin(tally: Tally) -> None:
        _send(reports, report_of(tally, budget))
        reporting.append((tally, asyncio.create_task(_keep_reporting(tally, budget, reports))))

    try:
        await collect_run(plan_of(part, budget), interruption=interruption, watch=begin)
    except AssayError as error:
        return Ended.by(error, stopped=interruption.stopping)
    finally:
        for tally, task in reporting:
            task.cancel()
            _send(reports, report_of(tally, budget))
    return Ended(stopped=interruption.stopping)


async def _keep_reporting(tally: Tally, budget: Budget | None, reports: int) -> None:
    told = 0
    told_at = time.monotonic()
    while True:
        await asyncio.sleep(REPORT_S if tally.scored else FIRST_REPORT_S)
        if tally.done != told or time.monotonic() - told_at >= REPORT_S:
            told, told_at = tally.done, time.monotonic()
            _send(reports, report_of(tally, budget))


def _send(reports: int, told: Report | Ended) -> None:
    line = memoryview(msgspec.json.encode(told) + b"\n")
    while line:
        line = line[os.write(reports, line) :]
