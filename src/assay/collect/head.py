"""The head: it hands out slices of a run's plan to workers, writes what they finish, and replaces workers that die.

One message at a time goes to each worker, with the next slice in it, and comes back with finished rollouts. So a worker
holds no more than was handed out to it, and the head no more than a batch of each. What a dead worker held is handed
out again. The head alone writes: the same file as one process.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Protocol, TypeVar

import msgspec

from assay.benchmark.code import code_of
from assay.collect.collect import Interruption, Tally, hopeless, too_many
from assay.collect.ledger import LIVES, Ledger
from assay.collect.plan import owed
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
"""How long a worker may take to begin: a cluster may have to start a machine for it first."""
TELL_S = 20.0
"""After this long the user is told that a worker is waited for."""
SILENT_S = 600.0
"""A worker answers within a second. One that did not for this long has stalled, and counts as dead."""
CLOSE_S = 10.0
"""How long a worker may take to give up what is in flight and to close what it has opened, such as sandboxes."""
IN_VAIN = 8
"""After this many workers died one after another in one place without a single rollout, it is given up."""
NOTHING = Report()
T = TypeVar("T")


class Collector(Protocol):
    """Collects what a run still owes, in one process or in many."""

    async def __call__(
        self,
        asked: RunPlan,
        /,
        *,
        interruption: Interruption | None = None,
        watch: Callable[[Tally], None] = ...,
        tell: Callable[[str], None] = ...,
    ) -> Tally: ...


async def distribute(
    asked: RunPlan,
    processes: int | None = 1,
    cluster: Cluster | None = None,
    *,
    interruption: Interruption | None = None,
    watch: Callable[[Tally], None] = lambda _: None,
    tell: Callable[[str], None] = lambda _: None,
) -> Tally:
    """Collect what the run still owes, as `collect_run` does, in several processes, or in actors on a cluster.

    Where there is one process and no cluster, it is this one. There are at most as many workers as requests may be in
    flight; on a cluster, as many as there is room for where `processes` is None. A worker that dies is told and
    replaced. Raises StoppedEarly where something stays owed.
    """
    interruption = interruption or Interruption()
    count = _count(asked, processes or (cluster.room if cluster else 1))
    if count == 1 and cluster is None:
        return await collect_run(asked, interruption=interruption, watch=watch)
    if asked.request.batch:
        raise UsageError("--batch: one process waits for batches; expected no --processes and no --ray")
    with ExitStack() as held:
        head = Head(asked, cluster or Processes(count), held, interruption, watch, tell)
        held.callback(setattr, head.tally, "ended", True)
        while await head.collect(count):
            # Shares of a budget are spent unevenly. What is left is shared out again, and at last given to one alone.
            count = count if head.progressed else 1
    return head.tally


def check_workers(asked: RunPlan, processes: int) -> None:
    """Raises UsageError where other processes could not make the run's rollouts."""
    if processes > 1 and (asked.model or asked.agent):
        raise UsageError("a model or agent object lives in this process alone; expected processes=1, or a name")
    if processes > 1 and asked.benchmark.origin is None:
        raise UsageError("other processes can't load a benchmark made in Python; expected processes=1, or its folder")


def _count(asked: RunPlan, processes: int) -> int:
    """Returns how many workers there can be, so that each may have a request in flight. Raises UsageError."""
    request = asked.request
    if processes < 1:
        raise UsageError(f"nothing to do: --processes {processes}; expected at least 1")
    if not 1 <= request.repeats <= MOST_REPEATS or request.concurrency < 1:
        raise UsageError(f"--repeats and --concurrency have to be at least 1, and --repeats at most {MOST_REPEATS}")
    check_workers(asked, processes)
    servers = (request.server, *request.roles.values())
    return min(processes, request.concurrency, *(server.limits.concurrency or processes for server in servers))


@dataclass(slots=True, eq=False)
class Member:
    """One worker's life, as the head sees it."""

    name: str
    request: Begin
    worker: Worker
    begun: bool = False
    report: Report = NOTHING
    size: int = 0
    """How many rollouts came with its last batch."""
    ended: bool = False
    """It makes nothing more: its share of the budget is spent, or it was asked to stop."""
    died: bool = False

    @property
    def worked(self) -> bool:
        """Whether anything came from it."""
        return self.report is not NOTHING

    def __str__(self) -> str:
        return f"{self.name}, on {self.worker.node}" if self.worker.node else self.name


class Head:
    """The plan, the store, and the workers that make rollouts."""

    def __init__(
        self,
        asked: RunPlan,
        workers: Workers,
        held: ExitStack,
        interruption: Interruption,
        watch: Callable[[Tally], None],
        tell: Callable[[str], None],
    ) -> None:
        self._asked = asked
        self._workers = workers
        self._held = held
        self._interruption = interruption
        self._watch = watch
        self._tell = tell
        self._members: list[Member] = []
        self._living: set[Member] = set()
        self._able: set[str] = set()
        """The places whose worker, or the next one, may make more."""
        self._changed = asyncio.Event()
        self._reasons: list[str] = []
        """Why places were given up."""
        self._request = asked.request
        self._tasks = tasks_of(asked.benchmark, self._request.selection)
        self._here = tasks_digest(self._tasks), code_of(asked.benchmark)
        self._store: Store | None = None
        self._ledger: Ledger | None = None
        self._record: RunRecord | None = None
        self._attempts: dict[tuple[str, int], int] = {}
        self.progressed = False
        """Whether the last workers made anything."""
        self.tally = Tally(
            planned=0,
            prices=self._request.server.prices,
            retrying=lambda: sum(member.report.retrying for member in self._living),
            level=self._level,
        )

    async def collect(self, count: int) -> bool:
        """Have `count` workers make what is owed.

        Returns whether others may make more, with what is left of the budget.
        """
        first, noun = len(self._members), self._workers.noun
        requests = {f"{noun} {index} of {count}": self._share(index, count) for index in range(1, count + 1)}
        self._able = set(requests)
        try:
            async with asyncio.TaskGroup() as group:
                for name, request in requests.items():
                    place = group.create_task(self._keep(name, request))
                    self._interruption.on_abandon(place.cancel)
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return self._go_on(self._members[first:])

    def _share(self, index: int, count: int) -> Begin:
        """Returns what worker `index` of `count`, from 1, is sent: the request, with its share of the limits."""
        tokens, usd = self._asked.budget.left if self._asked.budget else (None, None)
        names = [*self._workers.env, *self._request.secrets()]
        return Begin(
            run=self._request.share(index, count),
            tokens=None if tokens is None else tokens // count,
            usd=None if usd is None else usd / count,
            variables={name: os.environ[name] for name in names if name in os.environ},
        )

    async def _keep(self, name: str, request: Begin) -> None:
        """Keep a worker at work until all is made: one that dies is replaced."""
        in_vain = 0
        while name in self._able and not self._over():
            member = Member(name, request, self._workers.start(SERVICE))
            self._members.append(member)
            self._living.add(member)
            try:
                try:
                    if await self._begin(member):
                        await self._serve(member)
                finally:
                    await self._close(member)
            except (LostWorker, TimeoutError) as error:
                self._lose(member, error)
                in_vain = 0 if member.worked else in_vain + 1
                if in_vain == IN_VAIN:
                    self._give_up(name, f"{member}: {in_vain} died there before they made anything")
                if self._asked.budget:
                    self._able.discard(name)  # what its share was spent on is not known; others go on with theirs
            finally:
                self._living.discard(member)
                await member.worker.end()
                self._notify()

    async def _begin(self, member: Member) -> bool:
        """Returns whether rollouts can be made there. What a node lacks is told, and the others go on without it."""
        timer = asyncio.get_running_loop().call_later(TELL_S, self._tell, f"{member} waits for a node that has room")
        try:
            async with asyncio.timeout(START_S):
                reply = await self._unless_over(member.worker.begin(msgspec.msgpack.encode(member.request)))
        except TimeoutError:
            self._give_up(member.name, f"{member}: no worker began within {START_S:g} s")
            return False
        except AssayError as error:
            if self._workers.alike:
                raise
            self._give_up(member.name, f"{member}: {error}")
            return False
        finally:
            timer.cancel()
        if reply is None:
            return False
        member.begun = True
        if lacks := self._differences(msgspec.msgpack.decode(reply, type=RunRecord)):
            self._give_up(member.name, f"{member}: {lacks}")
        return not lacks

    def _differences(self, record: RunRecord) -> str:
        """Returns why what a worker would make is none of this run. The run begins with the first worker's record."""
        if (record.tasks_digest, record.code) != self._here:
            return "the benchmark has other tasks or another verifier there than here"
        if self._record is None:
            self._open(record)
            self._record = record
        return "\n  ".join(self._record.differences(record, here="where the first worker began", elsewhere="there"))

    def _open(self, record: RunRecord) -> None:
        asked, tasks, repeats = self._asked, self._tasks, self._request.repeats
        self._store = self._held.enter_context(Store(asked.folder, record, tasks, asked.shard, registry=asked.registry))
        scored, self._attempts = progress(asked.folder)
        tally = self.tally
        tally.planned = sum(1 for _ in owed(tasks, repeats, scored=scored, shard=asked.shard))
        tally.before = len(scored)
        plan = owed(tasks, repeats, scored=scored, shard=asked.shard)
        numbers = (repeat * len(tasks) + index for index, repeat in plan)
        self._ledger = Ledger(numbers, tally.planned, len(self._able))
        self._watch(tally)

    async def _serve(self, member: Member) -> None:
        """Hand out slices and take in batches, until all is made or can't be made here."""
        ledger = self._ledger
        assert ledger
        while not self._over():
            stopping = self._interruption.stopping
            # Where rollouts end fast, the next ones wait there, so that none has to wait for a message.
            room = member.request.run.concurrency + 2 * member.size
            numbers = [] if stopping or member.ended else ledger.draw(member, room)
            if numbers or ledger.held(member):
                work = Work([(number, self._attempt(number)) for number in numbers], stopping)
                async with asyncio.timeout(SILENT_S):
                    reply = await member.worker.exchange(msgspec.msgpack.encode(work))
                self._take_in(member, msgspec.msgpack.decode(reply, type=Batch), ledger)
                self._notify()
            elif member.ended:
                return
            else:
                # What others have in flight may come back, if they die.
                await self._change()

    def _take_in(self, member: Member, batch: Batch, ledger: Ledger) -> None:
        assert self._store
        new = ledger.take(member, batch.numbers)
        lines = batch.lines
        if not all(new):
            lines = b"".join(line for line, keep in zip(lines.splitlines(keepends=True), new, strict=True) if keep)
        self._store.append_line(lines)
        self._store.flush()
        member.report, member.size = batch.report, len(batch.numbers)
        if batch.stopped and member.name in self._able and not self._interruption.stopping:
            self._give_up(member.name, f"{member} was asked to stop")
        if batch.ended:
            member.ended = True
            self._able.discard(member.name)
        ledger.give_back(member, batch.unmade)
        tally = self.tally
        self._add_up()
        if self._request.early_stop and tally.failed >= too_many(tally) and not tally.scored:
            raise hopeless(tally)

    def _add_up(self) -> None:
        """Make the tally of the whole run what all workers have reported."""
        tally, reports = self.tally, [member.report for member in self._members]
        for name in ("scored", "failed", "reward", "input_tokens", "output_tokens", "usd", "empty", "marked"):
            setattr(tally, name, sum(getattr(report, name) for report in reports))
        for name in ("last_failure", "mark"):
            setattr(tally, name, next((value for report in reports if (value := getattr(report, name))), None))

    def _lose(self, member: Member, error: BaseException) -> None:
        member.died = True
        lost = self._ledger.lose(member) if self._ledger else 0
        why = str(error) or f"no answer within {SILENT_S:g} s"
        self._tell(f"{member} has died ({why}); the {lost:,} rollouts that it held are handed out again")

    async def _close(self, member: Member) -> None:
        if not member.begun:
            return
        with suppress(TimeoutError, LostWorker):
            async with asyncio.timeout(CLOSE_S):
                await member.worker.close()

    def _give_up(self, name: str, why: str) -> None:
        self._able.discard(name)
        self._reasons.append(why)
        self._tell(why)

    def _over(self) -> bool:
        """Returns whether nothing is in flight, and nothing more will be."""
        ledger = self._ledger
        if ledger and ledger.out:
            return False
        return self._interruption.stopping or not self._able or (ledger is not None and not ledger.left)

    async def _unless_over(self, reply: Awaitable[T]) -> T | None:
        """Returns the reply; None where all is made before it comes."""
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
        if all(member.report.level is None for member in self._living):
            return None
        return sum(member.report.level or member.request.run.concurrency for member in self._living)

    def _go_on(self, members: Sequence[Member]) -> bool:
        """Returns whether more can be made. Raises what ended the run."""
        ledger, budget = self._ledger, self._asked.budget
        if budget:
            # What one that died was given may all be spent.
            for member in members:
                report, request = member.report, member.request
                budget.tokens += (request.tokens or 0) if member.died else report.spent_tokens
                budget.usd += (request.usd or 0.0) if member.died else report.spent_usd
        if self._interruption.stopping:
            return False
        if ledger and not ledger.left:
            if ledger.given_up:
                raise StoppedEarly(self._message_of(ledger.given_up))
            return False
        if not any(member.ended or member.died for member in members) or not budget:
            raise StoppedEarly("\n".join(["nobody is left to make rollouts:", *dict.fromkeys(self._reasons)]))
        self.progressed = any(member.worked and (member.report.scored or member.report.failed) for member in members)
        if len(members) == 1 and not self.progressed:
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
