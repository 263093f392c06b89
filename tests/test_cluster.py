"""Handing out a plan, without Ray: whoever dies, and whatever is told twice, each rollout is made once."""

import asyncio
import random
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.benchmark import Origin
from assay.benchmark.catalog import load
from assay.collect.collect import Tally
from assay.collect.ledger import LIVES, Ledger
from assay.collect.rollouts import BATCH_BYTES, Batch, Begin, Outbox, Queue, Rollouts, Work
from assay.collect.run import RunPlan
from assay.config import ModelConfig
from assay.errors import UsageError
from assay.store import RunRecord
from assay.types import Message, Response, Rollout, Score, Turn
from studies.scale import COLUMNS, SCENARIOS, Scenario, simulate


@given(st.integers(0, 300), st.integers(1, 5), st.integers(1, 40), st.floats(0, 0.3), st.integers(0, 2**20))
def test_each_number_is_made_once_or_given_up(count: int, hands: int, room: int, dying: float, seed: int):
    rng, ledger = random.Random(seed), Ledger(iter(range(count)), count, hands)
    made: list[int] = []
    held: dict[int, list[int]] = {hand: [] for hand in range(hands)}
    while ledger.left or ledger.out:
        hand = rng.choice(list(held))
        drawn = ledger.hand_out(hand, room)
        held[hand] += drawn
        assert len(held[hand]) == ledger.count_of(hand) <= room
        if rng.random() < dying:
            assert ledger.lose(hand) == len(held.pop(hand))
            held[max([hand, *held]) + 1] = []
            continue
        rng.shuffle(held[hand])
        cut = rng.randint(min(1, len(held[hand])), len(held[hand]))
        done, held[hand] = held[hand][:cut], held[hand][cut:]
        if done and rng.random() < 0.1:
            ledger.give_back(hand, done)
            continue
        assert all(ledger.take(hand, done))
        assert not any(ledger.take(hand, done))
        made += done
    assert sorted([*made, *ledger.given_up]) == list(range(count))


def test_what_kills_every_hand_is_given_up_after_a_few():
    ledger = Ledger(iter(range(1)), 1, 1)
    for hand in range(LIVES):
        assert ledger.hand_out(hand, 10) == [0]
        ledger.lose(hand)
    assert ledger.hand_out("next", 10) == []
    assert (ledger.left, ledger.out, ledger.given_up) == (0, 0, [0])


def test_what_dies_along_with_the_cause_is_not_given_up():
    ledger = Ledger(iter(range(40)), 40, 2)
    made: list[int] = []
    for hand in range(99):
        if not ledger.left:
            break
        while drawn := ledger.hand_out(hand, 10):
            if 7 in drawn:
                ledger.lose(hand)
                break
            assert all(ledger.take(hand, drawn))
            made += drawn
    assert ledger.given_up == [7]
    assert sorted(made) == [number for number in range(40) if number != 7]


def test_what_a_dead_hand_tells_later_is_not_taken():
    ledger = Ledger(iter(range(2)), 2, 1)
    assert ledger.hand_out("one", 2) == [0]
    ledger.lose("one")
    assert ledger.take("one", [0]) == [False]
    assert ledger.hand_out("two", 2) == [0]
    assert ledger.take("two", [0, 1]) == [True, False]


def test_slices_fill_a_hands_room_and_become_smaller_towards_the_end():
    ledger = Ledger(iter(range(100)), 100, 2)
    assert len(ledger.hand_out("one", 1000)) == 25
    assert len(ledger.hand_out("two", 8)) == 8
    assert ledger.hand_out("two", 8) == []
    ledger.take("two", [25, 26])
    assert ledger.hand_out("two", 8) == [33, 34]
    ledger.lose("two")
    assert len(ledger.hand_out("one", 1000)) == 19


def rollout(task: str, text: str) -> Rollout:
    said = Response(output=[Message(role="assistant", content=text)])
    return Rollout(task, "digest", 0, 0, 1, [Turn(input=[], response=said)], "completed", Score(1.0))


def test_batches_are_bounded_and_each_tells_of_its_own_rollouts_alone():
    async def main() -> None:
        tally = Tally(planned=99)
        outbox = Outbox(tally, None, Queue())
        for number in range(40):
            outbox.open[str(number), 0] = number
        for number in range(40):
            made = rollout(str(number), "x" * (BATCH_BYTES // 4))
            outbox.append(made)
            tally.add(made)
        outbox.flush()
        numbers: list[int] = []
        while len(numbers) < 40:
            batch = await outbox.take()
            numbers += batch.numbers
            lines = batch.lines.splitlines()
            assert [msgspec.json.decode(line, type=Rollout).task for line in lines] == list(map(str, batch.numbers))
            assert len(batch.lines) < 1.5 * BATCH_BYTES
            assert batch.report.scored == len(numbers)
        assert numbers == list(range(40))

    asyncio.run(main())


def request(source: str) -> bytes:
    benchmark = replace(load("arithmetic"), origin=Origin(source))
    asked = RunPlan.of(benchmark, name="gold", server=ModelConfig(dialect="gold"), repeats=2)
    return msgspec.msgpack.encode(Begin(asked.request, None, None, {}))


async def exchange(service: Rollouts, *numbers: tuple[int, int], stopping: bool = False) -> Batch:
    work = msgspec.msgpack.encode(Work(list(numbers), stopping))
    return msgspec.msgpack.decode(await service.exchange(work), type=Batch)


def test_a_worker_makes_what_is_handed_out_to_it():
    async def main() -> None:
        service = Rollouts()
        record = msgspec.msgpack.decode(await service.begin(request("arithmetic")), type=RunRecord)
        assert record.benchmark == "arithmetic"
        tasks = record.tasks
        numbers: list[int] = []
        made: list[Rollout] = []
        batch = await exchange(service, (0, 0), (tasks, 2), (3, 0))
        while True:
            numbers += batch.numbers
            made += [msgspec.json.decode(line, type=Rollout) for line in batch.lines.splitlines()]
            if len(made) == 3:
                break
            batch = await exchange(service)
        first = made[numbers.index(0)]
        again = made[numbers.index(tasks)]
        assert (first.task, first.repeat, first.attempt) == (again.task, 0, 0)
        assert (again.repeat, again.attempt) == (1, 2)
        assert sorted(numbers) == [0, 3, tasks]
        assert not batch.unmade
        assert batch.report.scored == 3
        await service.close()

    asyncio.run(main())


def test_a_worker_gives_back_what_it_has_not_begun():
    async def main() -> None:
        service = Rollouts()
        await service.begin(request("arithmetic"))
        stopped = await exchange(service, *((number, 0) for number in range(100)), stopping=True)
        assert stopped.unmade == list(range(100))
        assert not stopped.ended
        service.stop()
        ended = await exchange(service, (7, 0))
        assert (ended.unmade, ended.ended, ended.stopped) == ([7], True, True)
        await service.close()

    asyncio.run(main())


def test_a_worker_says_why_it_can_make_none():
    async def main() -> None:
        with pytest.raises(UsageError, match="nowhere"):
            await Rollouts().begin(request("nowhere"))

    asyncio.run(main())


@pytest.mark.parametrize("changed", [{}, {"deaths": 5}, {"slow": 3}, {"mean_s": 0.001}, {"size": 4 * BATCH_BYTES}])
def test_the_simulation_makes_every_rollout_once(changed: dict[str, int]):
    asked = Scenario(**{"name": "", "count": 5000, "actors": 8, "in_flight": 50, "mean_s": 10.0} | changed)
    came = simulate(asked)
    assert (came.made, came.twice) == (5000, 0)
    assert came.wall_s > asked.ideal_s
    assert came.waiting_bytes <= asked.actors * max(BATCH_BYTES, asked.size)
    assert (came.again > 0) == ("deaths" in changed)


def test_the_page_has_the_simulations_lines():
    page = (Path(__file__).parent.parent / "docs/scale.md").read_text(encoding="utf-8")
    found = page.partition("<!-- table: scale -->")[2].partition("<!-- end -->")[0]
    lines = [[cell.strip() for cell in line.strip("| ").split("|")] for line in found.strip().splitlines()]
    assert tuple(lines[0]) == COLUMNS
    assert [cells[0] for cells in lines[2:]] == [asked.name for asked in SCENARIOS]
    assert {cells[-1] for cells in lines[2:]} == {"all"}
