import asyncio
from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.benchmark import Call
from assay.benchmarks.mastermind import benchmark
from assay.benchmarks.mastermind.benchmark import BENCHMARK, DIGEST
from assay.benchmarks.mastermind.game import COLOURS, LEVELS, Level, pegs, reference
from assay.digest import tasks_digest
from assay.types import Score, Task

TASKS = {task.id: task for task in BENCHMARK.environment.tasks()}
ONE = TASKS["4-pegs-6-colours-00"]
SECRET = ONE.data["secret"]
codes = st.integers(1, 6).flatmap(lambda n: st.tuples(*[st.text("ABCDEF", min_size=n, max_size=n)] * 2))


def level_of(task: Task) -> Level:
    return next(level for level in LEVELS if level.name == task.tags["category"])


async def play(task: Task, guesses: Sequence[object]) -> tuple[list[str], Score]:
    async with BENCHMARK.environment.open(task, 0) as session:
        said = [await session.call("guess", {"code": code}) for code in guesses]
        return said, await session.score([])


def played(task: Task, *guesses: object) -> tuple[list[str], Score]:
    return asyncio.run(play(task, guesses))


def wrong(count: int) -> list[str]:
    """So many codes of the task that are not its secret."""
    return [code for code in level_of(ONE).codes() if code != SECRET][:count]


def test_40_frozen_games_no_two_the_same():
    assert tasks_digest(TASKS.values()) == DIGEST
    assert Counter(task.tags["category"] for task in TASKS.values()) == {level.name: 10 for level in LEVELS}
    assert len({(task.tags["category"], task.data["secret"]) for task in TASKS.values()}) == 40


def test_the_row_in_the_docstring_is_a_real_one():
    text = benchmark.__doc__ or ""
    said, _ = played(ONE, "AABB")
    assert ONE.id in text and f"secret {SECRET}" in text and said[0] in text
    assert str(ONE.input[0].content).partition("\n")[0] in text  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("secret", "guess", "expected"),
    [
        ("ABCD", "ABCD", (4, 0)),
        ("ABCD", "DCBA", (0, 4)),
        ("ABCD", "EFEF", (0, 0)),
        ("AABB", "BBAA", (0, 4)),
        ("AABB", "AAAA", (2, 0)),
        ("AAAB", "BAAA", (2, 2)),
        ("ABCC", "CCCA", (1, 2)),
        ("AAAA", "ABBB", (1, 0)),
    ],
)
def test_pegs_are_those_of_the_game(secret: str, guess: str, expected: tuple[int, int]):
    assert pegs(secret, guess) == expected


@given(codes)
def test_pegs_are_the_same_from_both_sides_and_never_more_than_the_letters_in_common(pair: tuple[str, str]):
    black, white = pegs(*pair)
    assert (black, white) == pegs(*reversed(pair))
    assert 0 <= black + white <= len(pair[0])
    assert (black == len(pair[0])) == (pair[0] == pair[1])
    assert black + white == sum(min(pair[0].count(letter), pair[1].count(letter)) for letter in COLOURS)


@pytest.mark.heavy
def test_the_reference_player_finds_codes_in_time():
    for level in LEVELS[:2]:
        for secret in level.codes()[::4]:
            assert len(reference(level, secret)) <= level.guesses


@pytest.mark.heavy
def test_the_reference_solution_of_every_task_scores_1_and_without_its_last_guess_less_than_half():
    for task in TASKS.values():
        *calls, last = BENCHMARK.environment.solution(task) or [""]
        guesses = [call.arguments["code"] for call in calls if isinstance(call, Call)]
        assert isinstance(last, str) and len(guesses) == len(calls)
        said, score = played(task, *guesses)
        assert score.reward == 1 and score.metrics["solved"] == 1
        assert "The code is found." in said[-1]
        assert played(task, *guesses[:-1])[1].reward < 0.5


def test_random_play_scores_the_stated_chance_and_silence_nothing():
    rng = Random(7)
    rewards: list[float] = []

    async def games() -> None:
        for _ in range(40):
            for task in TASKS.values():
                level = level_of(task)
                guesses = ["".join(rng.choices(level.letters, k=level.pegs)) for _ in range(level.guesses)]
                rewards.append((await play(task, guesses))[1].reward)

    asyncio.run(games())
    assert sum(rewards) / len(rewards) == pytest.approx(BENCHMARK.chance, abs=0.015)
    assert all(played(task)[1].reward == 0 for task in TASKS.values())


@pytest.mark.parametrize("guess", ["", "ABC", "ABCDE", "ABCG", "1234", "ÄBCD", "A B C D"])
def test_a_guess_that_is_no_code_is_told_and_used_up(guess: str):
    said, score = played(ONE, guess)
    assert "is no code: a code is 4 of the letters A, B, C, D, E, F. 7 guesses left." in said[0]
    assert score.metrics == {"solved": 0, "guesses": 1, "wasted": 1}
    assert score.answer is None


def test_a_guess_that_was_made_before_is_told_and_used_up():
    said, score = played(ONE, "AABB", " aabb ")
    assert "guessed before, 1 black" in said[1] and "6 guesses left" in said[1]
    assert score.metrics["wasted"] == 1


@pytest.mark.parametrize("arguments", [{}, {"code": 5}, {"code": None}, {"codes": "ABCD"}])
def test_arguments_that_are_not_the_tools_are_told_and_not_used_up(arguments: dict[str, object]):
    async def run() -> tuple[str, Score]:
        async with BENCHMARK.environment.open(ONE, 0) as session:
            return await session.call("guess", arguments), await session.score([])

    said, score = asyncio.run(run())
    assert said.startswith("error: guess:") and score.metrics["guesses"] == 0


def test_after_the_end_no_guess_counts():
    said, score = played(ONE, *wrong(8), SECRET)
    assert "No guesses left" in said[7] and "no guesses left" in said[8]
    assert score.reward < 0.5 and score.metrics["guesses"] == 8
    said, score = played(ONE, SECRET, *wrong(2))
    assert all("found already" in text for text in said[1:])
    assert score.reward == 1 and score.metrics["guesses"] == 1


@pytest.mark.parametrize(("black", "expected"), [(0, 0.0), (1, 1 / 32), (2, 1 / 8), (3, 9 / 32)])
def test_the_partial_reward_is_half_the_square_of_the_share_of_black_pegs(black: int, expected: float):
    guess = next(code for code in level_of(ONE).codes() if pegs(SECRET, code)[0] == black)
    _, score = played(ONE, guess)
    assert score.reward == pytest.approx(expected)
    assert score.answer == guess
