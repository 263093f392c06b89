"""The head: it hands out slices of a run's plan to workers, writes what they finish, and replaces workers that die.

Each worker gets one message at a time, with the next slice in it, and answers with finished rollouts. So a worker holds
no more than was handed out to it, and the head no more than a batch of each. What a dead worker held is handed out
again. The head alone writes, the same file as one process would.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Protocol, TypeVar

import msgspec

from assay.benchmark.code import code_of
from assay.collect.collect import Interruption, Tally, failures_to_stop, nothing_scored_error
from assay.collect.ledger import LIVES, Ledger
from assay.collect.plan import owed_cells
from assay.collect.rollouts import BEAT_S, Batch, Begin, Report, Work
from assay.collect.run import RunPlan, budget_error, collect_run, tasks_of
from assay.collect.workers import LostWorker, Worker, Workers
from assay.collect.workers.process import Processes
from assay.collect.workers.ray import Cluster
from assay.digest import tasks_digest
from assay.errors import AssayError, StoppedEarly, UsageError
from assay.store import RunRecord, Store, progress
from assay.types import MOST_REPEATS

SERVICE = "assay.collect.rollouts:Rollouts"
START_S = 600.0
"""Seconds that a worker may take to begin: a cluster may have to start a machine for it first."""
TELL_S = 20.0
"""Seconds after which a line says that a worker has not begun yet."""
SILENT_S = 600.0
"""Seconds without an answer after which a worker counts as dead. A working one answers within a second."""
CLOSE_S = 10.0
"""Seconds that a worker may take to abandon what is in flight and to close what it opened, such as sandboxes."""
IN_VAIN = 8
"""A place is given up after this many workers in a row died there without a single rollout."""
NOTHING = Report()
T = TypeVar("T")


class Collector(Protocol):
    """Makes the rollouts that a run still owes, in one process or in several."""

    async def __call__(
        self,
        run: RunPlan,
        /,
        *,
        interruption: Interruption | None = None,
        watch: Callable[[Tally], None] = ...,
        tell: Callable[[str], None] = ...,
    ) -> Tally: ...


async def distribute(
    run: RunPlan,
    processes: int | None = 1,
    cluster: Cluster | None = None,
    *,
    interruption: Interruption | None = None,
    watch: Callable[[Tally], None] = lambda _: None,
    tell: Callable[[str], None] = lambda _: None,
) -> Tally:
    """Makes the rollouts that the run still owes, as `collect_run` does, in several processes or on a cluster.

    With one process and no cluster, this process makes them. There are at most as many workers as requests may be in
    flight; on a cluster, as many as it has room for if `processes` is None. A worker that dies is reported and
    replaced. Returns the tally. Raises StoppedEarly if rollouts stay owed.
    """
    interruption = interruption or Interruption()
    count = _count(run, processes or (cluster.room if cluster else 1))
    if count == 1 and cluster is None:
        return await collect_run(run, interruption=interruption, watch=watch)
    if run.request.batch:
        raise UsageError("--batch: one process waits for batches; expected no --processes and no --ray")
    with ExitStack() as stack:
        head = Head(run, cluster or Processes(count), stack, interruption, watch, tell)
        stack.callback(setattr, head.tally, "ended", True)
        while await head.collect(count):
            # Workers spend their shares of a budget unevenly. What is left is shared again, and at last one worker gets
            # it.
            count = count if head.has_progressed else 1
    return head.tally


def check_workers(run: RunPlan, processes: int) -> None:
    """Raises UsageError if other processes can't make the run's rollouts."""
    if processes > 1 and (run.model or run.agent):
        raise UsageError("a model or agent object lives in this process alone; expected processes=1, or a name")
    if processes > 1 and run.benchmark.origin is None:
        raise UsageError("other processes can't load a benchmark made in Python; expected processes=1, or its folder")


def _count(run: RunPlan, processes: int) -> int:
    """Returns the number of workers, so that each may have a request in flight. Raises UsageError."""
    request = run.request
    if processes < 1:
        raise UsageError(f"nothing to do: --processes {processes}; expected at least 1")
    if not 1 <= request.repeats <= MOST_REPEATS or request.concurrency < 1:
        raise UsageError(f"--repeats and --concurrency have to be at least 1, and --repeats at most {MOST_REPEATS}")
    check_workers(run, processes)
    servers = (request.server, *request.roles.values())
    return min(processes, request.concurrency, *(server.limits.concurrency or processes for server in servers))


@dataclass(slots=True, eq=False)
class WorkerState:
    """What the head knows of one worker."""

    name: str
    request: Begin
    worker: Worker
    begun: bool = False
    report: Report = NOTHING
    size: int = 0
    """How many rollouts came with its last batch."""
    ended: bool = False
    """It makes no more: its share of the budget is spent, or it was asked to stop."""
    died: bool = False

    @property
    def has_reported(self) -> bool:
        """Whether it has sent a batch."""
        return self.report is not NOTHING

    def __str__(self) -> str:
        return f"{self.name}, on {self.worker.node}" if self.worker.node else self.name


class Head:
    """The plan, the store, and the workers that make rollouts."""

    def __init__(
        self,
        run: RunPlan,
        workers: Workers,
        stack: ExitStack,
        interruption: Interruption,
        watch: Callable[[Tally], None],
        tell: Callable[[str], None],
    ) -> None:
        self._run = run
        self._workers = workers
        self._stack = stack
        self._interruption = interruption
        self._watch = watch
        self._tell = tell
        self._states: list[WorkerState] = []
        self._living: set[WorkerState] = set()
        self._able: set[str] = set()
        """The places whose worker, or its successor, may make more."""
        self._changed = asyncio.Event()
        self._reasons: list[str] = []
        """Why each place was given up."""
        self._request = run.request
        self._tasks = tasks_of(run.benchmark, self._request.selection)
        self._here = tasks_digest(self._tasks), code_of(run.benchmark)
        self._store: Store | None = None
        self._ledger: Ledger | None = None
        self._record: RunRecord | None = None
        self._attempts: dict[tuple[str, int], int] = {}
        self.has_progressed = False
        """Whether the last workers made any rollout."""
        self.tally = Tally(
            planned=0,
            prices=self._request.server.prices,
            retrying=lambda: sum(state.report.retrying for state in self._living),
            level=self._level,
        )

    async def collect(self, count: int) -> bool:
        """Starts `count` workers, which make what is owed.

        Returns whether other workers may make more with the rest of the budget.
        """
        first, noun = len(self._states), self._workers.noun
        requests = {f"{noun} {index} of {count}": self._share(index, count) for index in range(1, count + 1)}
        self._able = set(requests)
        try:
            async with asyncio.TaskGroup() as group:
                for name, request in requests.items():
                    place = group.create_task(self._keep(name, request))
                    self._interruption.on_abandon(place.cancel)
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return self._go_on(self._states[first:])

    def _share(self, index: int, count: int) -> Begin:
        """Returns the first message to worker `index` of `count`, from 1: the request with its share of the limits."""
        tokens, usd = self._run.budget.left if self._run.budget else (None, None)
        names = [*self._workers.env, *self._request.secrets()]
        return Begin(
            run=self._request.share(index, count),
            tokens=None if tokens is None else tokens // count,
            usd=None if usd is None else usd / count,
            variables={name: os.environ[name] for name in names if name in os.environ},
        )

    async def _keep(self, name: str, request: Begin) -> None:
        """Keeps a worker at work until all is made: one that dies is replaced."""
        in_vain = 0
        while name in self._able and not self._over():
            state = WorkerState(name, request, self._workers.start(SERVICE))
            self._states.append(state)
            self._living.add(state)
            try:
                try:
                    if await self._begin(state):
                        await self._serve(state)
                finally:
                    await self._close(state)
            except (LostWorker, TimeoutError) as error:
                self._lose(state, error)
                in_vain = 0 if state.has_reported else in_vain + 1
                if in_vain == IN_VAIN:
                    self._give_up(name, f"{state}: {in_vain} died there before they made anything")
                if self._run.budget:
                    self._able.discard(name)  # nobody knows how much of its share was spent
            finally:
                self._living.discard(state)
                await state.worker.end()
                self._notify()

    async def _begin(self, state: WorkerState) -> bool:
        """Returns whether the worker can make rollouts. What its node lacks is reported, and the others go on."""
        timer = asyncio.get_running_loop().call_later(TELL_S, self._tell, f"{state} waits for a node that has room")
        try:
            async with asyncio.timeout(START_S):
                reply = await self._unless_over(state.worker.begin(msgspec.msgpack.encode(state.request)))
        except TimeoutError:
            self._give_up(state.name, f"{state}: no worker began within {START_S:g} s")
            return False
        except AssayError as error:
            if self._workers.alike:
                raise
            self._give_up(state.name, f"{state}: {error}")
            return False
        finally:
            timer.cancel()
        if reply is None:
            return False
        state.begun = True
        if lacks := self._differences(msgspec.msgpack.decode(reply, type=RunRecord)):
            self._give_up(state.name, f"{state}: {lacks}")
        return not lacks

    def _differences(self, record: RunRecord) -> str:
        """Returns why a worker's rollouts would not belong to this run. The first worker's record begins the run."""
        if (record.tasks_digest, record.code) != self._here:
            return "the benchmark has other tasks or another verifier there than here"
        if self._record is None:
            self._open(record)
            self._record = record
        return "\n  ".join(self._record.differences(record, here="where the first worker began", elsewhere="there"))

    def _open(self, record: RunRecord) -> None:
        run, tasks, repeats = self._run, self._tasks, self._request.repeats
        self._store = self._stack.enter_context(Store(run.folder, record, tasks, run.shard, registry=run.registry))
        scored, self._attempts = progress(run.folder)
        tally = self.tally
        tally.planned = sum(1 for _ in owed_cells(tasks, repeats, scored=scored, shard=run.shard))
        tally.before = len(scored)
        plan = owed_cells(tasks, repeats, scored=scored, shard=run.shard)
        numbers = (repeat * len(tasks) + index for index, repeat in plan)
        self._ledger = Ledger(numbers, tally.planned, len(self._able))
        self._watch(tally)

    async def _serve(self, state: WorkerState) -> None:
        """Hands out slices and takes in batches, until all is made or this worker can make no more."""
        ledger = self._ledger
        assert ledger
        while not self._over():
            stopping = self._interruption.stopping
            # If rollouts end fast, the next ones wait at the worker, so that none has to wait for a message.
            room = state.request.run.concurrency + 2 * state.size
            numbers = [] if stopping or state.ended else ledger.hand_out(state, room)
            if numbers or ledger.count_of(state):
                work = Work([(number, self._attempt(number)) for number in numbers], stopping)
                async with asyncio.timeout(SILENT_S):
                    reply = await state.worker.exchange(msgspec.msgpack.encode(work))
                self._take_in(state, msgspec.msgpack.decode(reply, type=Batch), ledger)
                self._notify()
            elif state.ended:
                return
            else:
                # What other workers have in flight may come back, if they die.
                await self._change()

    def _take_in(self, state: WorkerState, batch: Batch, ledger: Ledger) -> None:
        assert self._store
        new = ledger.take(state, batch.numbers)
        lines = batch.lines
        if not all(new):
            lines = b"".join(line for line, keep in zip(lines.splitlines(keepends=True), new, strict=True) if keep)
        self._store.append_line(lines)
        self._store.flush()
        state.report, state.size = batch.report, len(batch.numbers)
        if batch.stopped and state.name in self._able and not self._interruption.stopping:
            self._give_up(state.name, f"{state} was asked to stop")
        if batch.ended:
            state.ended = True
            self._able.discard(state.name)
        ledger.give_back(state, batch.unmade)
        tally = self.tally
        self._add_up()
        if self._request.early_stop and tally.failed >= failures_to_stop(tally) and not tally.scored:
            raise nothing_scored_error(tally)

    def _add_up(self) -> None:
        """Sets the run's tally to the sum of all workers' reports."""
        tally, reports = self.tally, [state.report for state in self._states]
        for name in ("scored", "failed", "reward", "input_tokens", "output_tokens", "usd", "empty", "marked"):
            setattr(tally, name, sum(getattr(report, name) for report in reports))
        for name in ("last_failure", "mark"):
            setattr(tally, name, next((value for report in reports if (value := getattr(report, name))), None))

    def _lose(self, state: WorkerState, error: BaseException) -> None:
        state.died = True
        lost = self._ledger.lose(state) if self._ledger else 0
        why = str(error) or f"no answer within {SILENT_S:g} s"
        self._tell(f"{state} has died ({why}); the {lost:,} rollouts that it held are handed out again")

    async def _close(self, state: WorkerState) -> None:
        if not state.begun:
            return
        with suppress(TimeoutError, LostWorker):
            async with asyncio.timeout(CLOSE_S):
                await state.worker.close()

    def _give_up(self, name: str, why: str) -> None:
        self._able.discard(name)
        self._reasons.append(why)
        self._tell(why)

    def _over(self) -> bool:
        """Returns whether nothing is in flight and no more will be handed out."""
        ledger = self._ledger
        if ledger and ledger.out:
            return False
        return self._interruption.stopping or not self._able or (ledger is not None and not ledger.left)

    async def _unless_over(self, reply: Awaitable[T]) -> T | None:
        """Returns the reply; None if all is made before it comes."""
        waiting = asyncio.ensure_future(reply)
        try:
            while not self._over():
                done, _ = await asyncio.wait((waiting,), timeout=BEAT_S)
                if done:
                    return waiting.result()
        finally:
            waiting.cancel()
        return None

    async def _change(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(BEAT_S):
                await self._changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _attempt(self, number: int) -> int:
        repeat, index = divmod(number, len(self._tasks))
        return self._attempts.get((self._tasks[index].id, repeat), 0)

    def _level(self) -> int | None:
        if all(state.report.level is None for state in self._living):
            return None
        return sum(state.report.level or state.request.run.concurrency for state in self._living)

    def _go_on(self, states: Sequence[WorkerState]) -> bool:
        """Returns whether more can be made. Raises what ended the run."""
        ledger, budget = self._ledger, self._run.budget
        if budget:
            # A dead worker may have spent all of its share.
            for state in states:
                report, request = state.report, state.request
                budget.tokens += (request.tokens or 0) if state.died else report.spent_tokens
                budget.usd += (request.usd or 0.0) if state.died else report.spent_usd
        if self._interruption.stopping:
            return False
        if ledger and not ledger.left:
            if ledger.given_up:
                raise StoppedEarly(self._message_of(ledger.given_up))
            return False
        if not any(state.ended or state.died for state in states) or not budget:
            raise StoppedEarly("\n".join(["no worker is left:", *dict.fromkeys(self._reasons)]))
        self.has_progressed = any(
            state.has_reported and (state.report.scored or state.report.failed) for state in states
        )
        if len(states) == 1 and not self.has_progressed:
            budget.reached = True
            raise budget_error(self._request.name, budget, self.tally.planned - self.tally.scored)
        return True

    def _message_of(self, given_up: Sequence[int]) -> str:
        some = [divmod(number, len(self._tasks)) for number in given_up[:3]]
        named = ", ".join(f"task {self._tasks[index].id} repeat {repeat}" for repeat, index in some)
        return (
            f"{len(given_up)} rollouts are owed: {LIVES} workers died while these were in flight, such as {named}.\n"
            "  The same command tries them again; where memory ran out, give less --concurrency or other --processes."
        )
