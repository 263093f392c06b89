import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.benchmark.verify import maths
from assay.benchmark.verify.maths import Processes
from assay.errors import VerifierError
from assay.types import Score
from bench.verifiers.maths import pairs

pytest.importorskip("math_verify", reason="the extra `maths` is not installed")

ENDLESS = "$" + r"\frac{1}{" * 1500 + "1" + "}" * 1500 + "$"
"""A formula that math-verify's parser does not come to an end with."""

ACCEPTED = [
    ("1/2", r"$\frac{1}{2}$"),
    ("1/2", "0.5"),
    (r"\frac12", "0.5"),
    (r"$\frac12$", "0.5"),
    (r"\frac12", "The answer is $1/2$."),
    (r"\frac12", r"So \boxed{\dfrac{2}{4}}, not 7"),
    ("1024", "2^{10}"),
    ("1024", "The answer is 2^{10}."),
    ("x^2-1", "$(x-1)(x+1)$"),
    ("x^2-1", r"\boxed{(x-1)(x+1)}"),
    ("x^2-1", r"\(-1 + x^2\)"),
    ("x^2-1", r"\[x^2 - 1\]"),
    (r"\{1,2\}", r"$\{2,1\}$"),
    ("(1,2)", "$(1, 2)$"),
    (r"\sqrt{8}", r"$2\sqrt2$"),
    (r"\sqrt{8}", r"$\frac{4}{\sqrt{2}}$"),
    (r"10\%", "0.1"),
    ("x=5", "5"),
    ("5", "$x=5$"),
    (r"\pi", r"$\pi$"),
    (r"\frac{\pi}{2}", r"\boxed{\frac{\pi}{2}}"),
    ("[0,1)", "$[0,1)$"),
    ("1,234", "1234"),
    (r"\infty", r"$\infty$"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"$\begin{pmatrix}1&2\\3&4\end{pmatrix}$"),
    (r"\text{even}", r"\boxed{\text{even}}"),
    ("x<3", "$3>x$"),
    (r"\sin^2 x+\cos^2 x", "$1$"),
    ("5", "5 cm"),
    ("-3", "$-3$"),
    (r"\frac{1}{25!}", r"\boxed{\frac{26}{26!}}"),
    (r"6.63\times10^{-34}", r"\boxed{6.626\times10^{-34}}"),
    ("10^{-9}", r"\boxed{1e-9}"),
    ("0.333", r"\boxed{\frac13}"),
    (r"\frac13", r"\boxed{0.333333}"),
    ("3.14", r"\boxed{\pi}"),
    ("9", r"\boxed{8} or rather \boxed {9}"),
    (r"\sqrt{12}", "\u221a12"),
    ("x^{10}", "x\u00b9\u2070"),
    (r"\frac52", "\\boxed{2\u00bd}"),
    (r"x \le 5", "The answer is x \u2264 5."),
    ("7", "**Answer:** 7."),
    ("7", "*7*"),
    (r"\sqrt{8}", r"The answer is $2\sqrt{2}$, because 7 is prime."),
    ("1,2", "The answer is $1$ and $2$."),
    ("7", r"\boxed{{7}}"),
    ("7", r"\boxed{\displaystyle 7\,}"),
    ("3:2", "The ratio is 3:2."),
    (r"8:30\text{ p.m.}", "8:30 PM"),
    ("8:30", r"\boxed{08:30}"),
    ("1F_{16}", r"\boxed{1f_{16}}"),
    (r"1011_{\text{two}}", "1011\u2082"),
    ("1011_2", "1011 base 2"),
    ("-221_3", r"\boxed{-221_{3}}"),
    ("12", r"\boxed{12_{10}}"),
    ("x<5", r"\boxed{-2x>-10}"),
    (r"(3,\infty)", r"\boxed{\{x \mid x > 3\}}"),
    (r"x<-1 \text{ or } x>2", r"\boxed{(-\infty,-1)\cup(2,\infty)}"),
    (r"(-\infty,-1)\cup(2,\infty)", r"\boxed{x<-1 \lor x>2}"),
    ("[1,3]", r"\boxed{x \ge 1 \text{ and } x \le 3}"),
    (r"\mathbb{R}", r"\boxed{x \in (-\infty,\infty)}"),
    ("2x+3y=6", r"\boxed{y=2-\frac{2}{3}x}"),
    (r"20\%", r"\boxed{20}"),
    ("1,2", "1 and 2"),
    ("-15", "It is not 7 but -15"),
    ("5", "3 and 2 make 5"),
]
REJECTED = [
    ("-15", "not -15"),
    ("-15", "The answer is not -15."),
    ("-15", "7 and -15"),
    ("-15", "-15 or 7"),
    ("-15", "either 7 or -15"),
    ("-15", "The answer is 7 or -15."),
    ("1/2", ""),
    ("1/2", "no idea"),
    ("1/2", "1/3"),
    ("1/2", "2"),
    ("1/2", r"\boxed{}"),
    ("1/2", r"\boxed{1/3}, not 1/2"),
    ("1/2", "$-1/2$"),
    ("2", "2^{10}"),
    ("2", "The answer is 2^{10}"),
    ("10", "2^{10}"),
    ("x^2-1", "$x^2+1$"),
    ("x^2-1", "$y^2-1$"),
    ("x^2-1", "$x^2$"),
    (r"\{1,2\}", r"$\{1,2,3\}$"),
    ("(1,2)", "$(2,1)$"),
    ("[0,1)", "$[0,1]$"),
    (r"\sqrt{8}", "2.828"),
    (r"\pi", "3.14159"),
    ("0", r"$\infty$"),
    ("x<3", r"$x\le 3$"),
    ("x<3", "$x>3$"),
    ("3", r"\boxed{4}"),
    (r"\text{even}", r"\boxed{\text{odd}}"),
    ("5", r"$\text{five}$"),
    ("7", "we get 7 or 8"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"$\begin{pmatrix}1&3\\2&4\end{pmatrix}$"),
    (r"\{1,2\}", "$3$"),
    ("0", r"\boxed{10^{-9}}"),
    (r"6.626\times10^{-34}", r"\boxed{6.63\times10^{-34}}"),
    ("0.5", r"\boxed{0.46}"),
    ("0.25", r"\boxed{0.251}"),
    ("558.30", r"\boxed{558.31}"),
    (r"\frac13", r"\boxed{0.33}"),
    (r"10^{-20}x", r"\boxed{2\cdot10^{-20}x}"),
    ("4,6", r"\boxed{4} and \boxed{6}"),
    ("8:30", r"\boxed{4:15}"),
    ("8:30", r"\boxed{8.5}"),
    ("1:2:3", r"\boxed{1:2}"),
    ("11", r"\boxed{1011_2}"),
    ("1011_2", r"\boxed{11}"),
    ("-221_3", r"\boxed{-221_4}"),
    ("-221_3", "-221"),
    ("x_1", r"\boxed{x_2}"),
    ("x^2+1=0", r"\boxed{x^2+2=0}"),
    ("x<5", r"\boxed{2x>10}"),
    (r"9\%", r"\boxed{0.09\%}"),
]


@asynccontextmanager
async def processes(count: int = 1) -> AsyncIterator[Processes]:
    found = Processes(count)
    try:
        yield found
    finally:
        await asyncio.to_thread(found.close)


def judge(*questions: tuple[str, str], deadline_s: float = 20.0) -> list[Score | BaseException]:
    """What becomes of each question, by the processes that all environments share."""

    async def main() -> list[Score | BaseException]:
        asked = (maths.verify(gold, text, deadline_s=deadline_s) for gold, text in questions)
        return await asyncio.gather(*asked, return_exceptions=True)

    return asyncio.run(main())


@pytest.mark.parametrize(("gold", "text"), ACCEPTED)
def test_what_is_the_same_mathematics(gold: str, text: str):
    [score] = judge((gold, text))
    assert isinstance(score, Score) and score.reward == 1 and score.answer


@pytest.mark.parametrize(("gold", "text"), REJECTED)
def test_what_is_other_mathematics(gold: str, text: str):
    [score] = judge((gold, text))
    assert isinstance(score, Score) and score.reward == 0


def test_many_at_once_are_each_given_their_own_verdict():
    scores = judge(*[("3", str(n % 7)) for n in range(60)])
    assert scores == [Score(reward=float(n % 7 == 3), answer=str(n % 7)) for n in range(60)]


@pytest.mark.parametrize("gold", ["", "  ", "$$"])
def test_a_gold_answer_that_cannot_be_read_is_an_error(gold: str):
    [error] = judge((gold, "5"))
    assert isinstance(error, VerifierError) and error.kind == "maths_gold" and "can't be read as maths" in str(error)


@pytest.mark.parametrize(
    ("text", "metrics"), [(r"\infty-\infty", {"undecided": 1.0}), (r"\frac{0}{0}", {"undecided": 1.0}), ("x > 2", {})]
)
def test_what_cannot_be_compared_is_undecided_unless_it_is_of_another_kind(text: str, metrics: dict[str, float]):
    [score] = judge(("0.333", f"\\boxed{{{text}}}"))
    assert isinstance(score, Score) and (score.reward, score.metrics) == (0.0, metrics)


def test_a_gold_answer_that_is_not_equal_to_itself_is_an_error():
    [error] = judge((r"\frac{0}{0}", "5"))
    assert isinstance(error, VerifierError) and error.kind == "maths_gold" and "compared with itself" in str(error)


@pytest.mark.heavy
def test_an_answer_that_never_ends_is_wrong_and_counted_and_the_next_is_judged():
    async def main(pool: Processes) -> None:
        score = await pool.verify("1", ENDLESS, deadline_s=1.0)
        assert (score.reward, score.metrics) == (0.0, {"undecided": 1.0}) and score.answer
        assert await pool.verify("1", "2/2") == Score(reward=1.0, answer="1")

    asyncio.run(with_processes(main))


@pytest.mark.heavy
def test_a_gold_answer_that_never_ends_is_an_error():
    async def main(pool: Processes) -> None:
        with pytest.raises(VerifierError, match="could not be judged within") as error:
            await pool.verify(ENDLESS, "1", deadline_s=1.0)
        assert error.value.kind == "maths_deadline"

    asyncio.run(with_processes(main))


@pytest.mark.heavy
def test_an_answer_whose_process_died_is_judged_by_another():
    async def main(pool: Processes) -> None:
        await pool.verify("1", "2/2")
        asked = asyncio.create_task(pool.verify("1", ENDLESS, deadline_s=3.0))
        await asyncio.sleep(0.5)
        first = await asyncio.to_thread(newest_worker)
        os.kill(first, signal.SIGKILL)
        await asyncio.sleep(1.5)
        assert await asyncio.to_thread(newest_worker) != first
        assert (await asked).metrics == {"undecided": 1.0}

    asyncio.run(with_processes(main))


def test_a_process_that_died_idle_is_replaced_unseen():
    async def main(pool: Processes) -> None:
        await pool.verify("1", "2/2")
        os.kill(await asyncio.to_thread(newest_worker), signal.SIGKILL)
        await asyncio.sleep(0.2)
        assert (await pool.verify("1", "2/2")).reward == 1

    asyncio.run(with_processes(main))


@pytest.mark.heavy
def test_what_waits_for_a_process_does_not_use_up_its_deadline():
    async def main(pool: Processes) -> None:
        await pool.verify("1", "2/2")
        slow = asyncio.create_task(pool.verify("1", ENDLESS, deadline_s=2.0))
        await asyncio.sleep(0)
        assert (await pool.verify("1", "2/2", deadline_s=1.5)).reward == 1
        assert (await slow).metrics == {"undecided": 1.0}

    asyncio.run(with_processes(main))


def test_closing_leaves_no_process():
    async def main(pool: Processes) -> None:
        await pool.verify("1", "2/2")
        worker = await asyncio.to_thread(newest_worker)
        await asyncio.to_thread(pool.close)
        assert not await asyncio.to_thread(Path(f"/proc/{worker}").exists)

    asyncio.run(with_processes(main))


def test_a_program_that_just_ends_leaves_no_process():
    program = (
        "import asyncio, os\nfrom assay.benchmark.verify import maths\n"
        "print(asyncio.run(maths.verify('1/2', '$0.5$')).reward)\n"
        "print(*(pid for task in os.listdir('/proc/self/task')"
        " for pid in open(f'/proc/self/task/{task}/children').read().split()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    reward, worker = done.stdout.split()
    assert reward == "1.0" and done.stderr == "" and not Path(f"/proc/{worker}").exists()


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(st.text() | st.text("0123456789x^{}\\$+-=()fracsqt "))
def test_any_text_is_judged_or_told_to_be_beyond_judging_and_twice_the_same(text: str):
    first, again = judge(("1", text), ("1", text), deadline_s=5.0)
    assert isinstance(first, Score | VerifierError)
    assert str(first) == str(again) or isinstance(first, VerifierError)


@settings(max_examples=20)
@given(st.integers(-999, 999), st.sampled_from(["${}$", r"\boxed{{{}}}", "**{}**", "\n {} \n", "The answer is {}."]))
def test_rewrapping_does_not_matter(value: int, wrap: str):
    assert [score.reward for score in judge((str(value), wrap.format(value))) if isinstance(score, Score)] == [1]


async def with_processes(main: Callable[[Processes], Awaitable[None]]) -> None:
    async with processes() as pool:
        await main(pool)


def newest_worker() -> int:
    """The process that this one started last."""
    tasks = Path("/proc/self/task").glob("*/children")
    return max((int(pid) for children in tasks for pid in children.read_text().split()), key=started)


def started(pid: int) -> int:
    """When a process started, in ticks. Process ids begin anew, so the highest need not be the newest."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def test_a_rational_answer_is_counted_alike_however_it_is_written():
    said = [
        r"\boxed{\frac{3}{4}}",
        "0.75",
        r"\boxed{x=0.750}",
        r"\boxed{1/3}",
        r"\boxed{\frac{2}{6}}",
        "2/3",
        "12.0",
        r"\boxed{\sqrt{8}}",
    ]
    answers = [score.answer for score in judge(*[("5", text) for text in said]) if isinstance(score, Score)]
    assert answers == ["0.75", "0.75", "0.75", "1/3", "1/3", "2/3", "12", r"\sqrt{8}"]


@pytest.mark.heavy
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("count", [200, pytest.param(20_000, marks=pytest.mark.slow)])
def test_of_generated_pairs_fewer_than_one_in_two_hundred_is_judged_wrongly(count: int):
    made = list(islice(pairs(Random(0)), count))
    scores = judge(*[(gold, text) for gold, text, _ in made])
    wrong = [
        (*pair, score)
        for pair, score in zip(made, scores, strict=True)
        if not isinstance(score, Score) or score.reward != pair[2]
    ]
    for right in (False, True):
        assert sum(pair[2] is right for pair in wrong) < 0.005 * sum(pair[2] is right for pair in made), wrong[:10]
