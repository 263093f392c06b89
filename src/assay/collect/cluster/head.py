"""The head: hands out slices of a run's plan, takes in what is finished, and does without whoever dies.

One message at a time goes to each actor, with the next slice in it, and comes back with finished rollouts. So an actor
holds no more than was handed to it, and the head no more than a batch of each; and where a message does not come back,
what was in that hand is handed out again.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from assay.benchmark.code import code_of
from assay.collect.cluster import Cluster
from assay.collect.cluster.actor import BEAT_S, Batch, Began, Unfit
from assay.collect.cluster.ledger import LIVES, Ledger
from assay.collect.collect import Interruption, Tally, hopeless, owed, too_many
from assay.collect.parts import NOTHING, Part, Report, add_up, count_of, part_of
from assay.collect.run import RunPlan, spent, tasks_of
from assay.digest import tasks_digest
from assay.errors import StoppedEarly, UsageError
from assay.store import RunRecord, Store, progress

START_S = 600.0
"""How long an actor may take to get a node and to load the benchmark: a cluster may have to start a machine first."""
TELL_S = 20.0
"""After so long it is told that one is waited for."""
SILENT_S = 600.0
"""An actor answers within a second. One that did not for so long has stalled, and counts as dead."""
CLOSE_S = 10.0
"""How long an actor may take to give back what it has opened, such as sandboxes."""
IN_VAIN = 8
"""So many actors die one after another in one seat before anything came from them, and it is given up."""
T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Hand:
    """One actor's life, as the head sees it."""

    name: str
    part: Part
    actor: Any
    node: str = ""
    report: Report = NOTHING
    exhausted: bool = False
    """Its share of the budget is spent."""
    died: bool = False

    @property
    def worked(self) -> bool:
        """Whether anything came from it."""
        return self.report is not NOTHING

    def __str__(self) -> str:
        return f"{self.name}, on {self.node}" if self.node else self.name


async def distribute(
    asked: RunPlan,
    processes: int | None,
    cluster: Cluster,
    *,
    interruption: Interruption | None = None,
    watch: Callable[[Tally], None] = lambda _: None,
    tell: Callable[[str], None] = lambda _: None,
) -> Tally:
    """Collect what the run still owes, as `collect_run` does, in so many actors; in as many as there is room for.

    An actor that dies is told and replaced. Raises StoppedEarly where something stays owed.
    """
    count = count_of(asked, cluster.room if processes is None else processes)
    with ExitStack() as held:
        head = Head(asked, cluster, held, interruption or Interruption(), watch, tell)
        while await head.collect(count):
            # A budget's parts are spent unevenly. What is left is shared out again, and at last given to one alone.
            count = count if head.progressed else 1
    return head.tally


class Head:
    """The plan, the store, and the hands that make rollouts."""

    def __init__(
        self,
        asked: RunPlan,
        cluster: Cluster,
        held: ExitStack,
        interruption: Interruption,
        watch: Callable[[Tally], None],
        tell: Callable[[str], None],
    ) -> None:
        self._asked = asked
        self._cluster = cluster
        self._held = held
        self._interruption = interruption
        self._watch = watch
        self._tell = tell
        self._hands: list[Hand] = []
        self._living: set[Hand] = set()
        self._able: set[str] = set()
        """The seats whose hand, or the next one, may make more."""
        self._changed = asyncio.Event()
        self._unfit: list[str] = []
        self._tasks = tasks_of(asked.benchmark, asked.limit)
        if asked.repeats < 1:
            raise UsageError("nothing to do: --repeats has to be at least 1")
        self._store: Store | None = None
        self._ledger: Ledger | None = None
        self._record: RunRecord | None = None
        self._attempts: dict[tuple[str, int], int] = {}
        self.progressed = False
        """Whether the last hands made anything."""
        self.tally = Tally(
            planned=0,
            prices=asked.server.prices,
            struggling=lambda: sum(hand.report.struggling for hand in self._living),
            level=self._level,
        )

    async def collect(self, count: int) -> bool:
        """Have so many hands make what is owed; whether others may make more, with what is left of the budget."""
        first = len(self._hands)
        parts = {
            f"actor {index} of {count}": part_of(self._asked, index, count, self._asked.shard)
            for index in range(1, count + 1)
        }
        self._able = set(parts)
        try:
            async with asyncio.TaskGroup() as group:
                for name, part in parts.items():
                    seat = group.create_task(self._keep(name, part))
                    self._interruption.on_abandon(seat.cancel)
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return self._go_on(self._hands[first:])

    async def _keep(self, name: str, part: Part) -> None:
        """Keep a seat filled until all is made: a hand that dies is replaced."""
        in_vain = 0
        while name in self._able and not self._over():
            hand = Hand(name, part, self._cluster.hire())
            self._hands.append(hand)
            self._living.add(hand)
            try:
                if await self._begin(hand):
                    await self._serve(hand)
                    await self._close(hand)
            except self._cluster.lost as error:
                self._lose(hand, error)
                in_vain = 0 if hand.worked else in_vain + 1
                if in_vain == IN_VAIN:
                    self._give_up(name, f"{hand}: {in_vain} actors have died there before they made anything")
                if self._asked.budget:
                    self._able.discard(name)  # what its share was spent on is not known; others go on with theirs
            finally:
                self._living.discard(hand)
                self._cluster.fire(hand.actor)
                self._notify()

    async def _begin(self, hand: Hand) -> bool:
        """Whether rollouts can be made there. What a node lacks is told, and the others go on without it."""
        timer = asyncio.get_running_loop().call_later(TELL_S, self._tell, f"{hand} waits for a node that has room")
        try:
            async with asyncio.timeout(START_S):
                answer = await self._unless_over(
                    hand.actor.begin.remote(msgspec.json.encode(hand.part), self._secrets(hand.part))
                )
        except TimeoutError:
            wanted = {"CPU": self._cluster.config.cpus, **self._cluster.config.resources}
            self._give_up(hand.name, f"{hand}: no node had room within {START_S:g} s; one actor needs {wanted}")
            return False
        finally:
            timer.cancel()
        if answer is None:
            return False
        told = msgspec.json.decode(answer, type=Began | Unfit)
        hand.node = told.node
        lacks = told.why if isinstance(told, Unfit) else self._differences(told.record)
        if lacks:
            self._give_up(hand.name, f"{hand}: {lacks}")
        return not lacks

    def _secrets(self, part: Part) -> dict[str, str]:
        """What an actor needs of this process' environment variables."""
        servers = (part.server, *part.roles.values())
        names = [*self._cluster.config.env, *(name for server in servers for name in server.secrets())]
        return {name: os.environ[name] for name in names if name in os.environ}

    def _differences(self, record: RunRecord) -> str:
        """Why what a hand would make is none of this run. The first one's record is what the run begins with."""
        here = tasks_digest(self._tasks), code_of(self._asked.benchmark)
        if (record.tasks_digest, record.code) != here:
            return "the benchmark has other tasks or another verifier there than here"
        if self._record is None:
            self._record = record
            self._open(record)
        return "\n  ".join(self._record.differences(record, here="on the first node", elsewhere="there"))

    def _open(self, record: RunRecord) -> None:
        asked, tasks = self._asked, self._tasks
        self._store = self._held.enter_context(Store(asked.folder, record, tasks, asked.shard, registry=asked.registry))
        scored, self._attempts = progress(asked.folder)
        tally = self.tally
        tally.planned = sum(1 for _ in owed(tasks, asked.repeats, scored=scored, shard=asked.shard))
        tally.before = len(scored)
        plan = owed(tasks, asked.repeats, scored=scored, shard=asked.shard)
        numbers = (repeat * len(tasks) + index for index, repeat in plan)
        self._ledger = Ledger(numbers, tally.planned, len(self._able))
        self._watch(tally)

    async def _serve(self, hand: Hand) -> None:
        """Hand out slices and take in batches, until all is made or can't be made here."""
        ledger = self._ledger
        assert ledger
        while not self._over():
            done = self._interruption.stopping or hand.exhausted
            slice = [] if done else ledger.draw(hand, hand.part.concurrency)
            if slice or ledger.held(hand):
                async with asyncio.timeout(SILENT_S):
                    batch = await hand.actor.exchange.remote([(number, self._attempt(number)) for number in slice])
                self._take_in(hand, batch, ledger)
                self._notify()
            elif hand.exhausted:
                return
            else:
                # What others have in flight may come back, if they die.
                await self._change()

    def _take_in(self, hand: Hand, batch: Batch, ledger: Ledger) -> None:
        assert self._store
        new = ledger.take(hand, batch.numbers)
        lines = batch.lines
        if not all(new):
            lines = b"".join(line for line, keep in zip(lines.splitlines(keepends=True), new, strict=True) if keep)
        self._store.append_line(lines)
        self._store.flush()
        hand.report = msgspec.json.decode(batch.report, type=Report)
        if batch.unmade:
            hand.exhausted = True
            self._able.discard(hand.name)
            ledger.give_back(hand, batch.unmade)
        tally = self.tally
        add_up(tally, (other.report for other in self._hands))
        if self._asked.early_stop and tally.failed >= too_many(tally) and not tally.scored:
            raise hopeless(tally)

    def _lose(self, hand: Hand, error: BaseException) -> None:
        hand.died = True
        lost = self._ledger.lose(hand) if self._ledger else 0
        # Ray tells much of its own parts; what happened stands in the first sentence.
        why = str(error).partition("\n")[0] or f"no answer within {SILENT_S:g} s"
        self._tell(f"{hand} has died ({why}); {lost:,} rollouts were in flight there, and are handed out again")

    async def _close(self, hand: Hand) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await hand.actor.close.remote()

    def _give_up(self, name: str, why: str) -> None:
        self._able.discard(name)
        self._unfit.append(why)
        self._tell(why)

    def _over(self) -> bool:
        """Whether nothing is in flight, and nothing more will be."""
        ledger = self._ledger
        if ledger and ledger.out:
            return False
        return self._interruption.stopping or not self._able or (ledger is not None and not ledger.left)

    async def _unless_over(self, answer: Awaitable[T]) -> T | None:
        """The answer; None where all is made before it comes."""
        waiting = asyncio.ensure_future(answer)
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
        if all(hand.report.level is None for hand in self._living):
            return None
        return sum(hand.report.level or hand.part.concurrency for hand in self._living)

    def _go_on(self, hands: Sequence[Hand]) -> bool:
        """Whether more can be made. Raises what ended the run."""
        ledger, budget = self._ledger, self._asked.budget
        if budget:
            # What one that died was given may all be spent.
            budget.tokens += sum((hand.part.tokens or 0) if hand.died else hand.report.spent_tokens for hand in hands)
            budget.usd += sum((hand.part.usd or 0.0) if hand.died else hand.report.spent_usd for hand in hands)
        if self._interruption.stopping:
            return False
        if ledger and not ledger.left:
            if ledger.given_up:
                raise StoppedEarly(self._told_given_up(ledger.given_up))
            return False
        if not any(hand.exhausted or hand.died for hand in hands) or not budget:
            raise StoppedEarly("\n".join(["nobody is left to make rollouts:", *dict.fromkeys(self._unfit)]))
        self.progressed = any(hand.worked and (hand.report.scored or hand.report.failed) for hand in hands)
        if len(hands) == 1 and not self.progressed:
            budget.reached = True
            raise spent(self._asked.name, budget, self.tally.planned - self.tally.scored)
        return True

    def _told_given_up(self, numbers: Sequence[int]) -> str:
        some = [divmod(number, len(self._tasks)) for number in numbers[:3]]
        named = ", ".join(f"task {self._tasks[index].id} repeat {repeat}" for repeat, index in some)
        return (
            f"{len(numbers)} rollouts are owed: {LIVES} actors died while these were in flight, such as {named}.\n"
            "  The same command tries them again; where memory ran out, with less --concurrency or more --processes."
        )
