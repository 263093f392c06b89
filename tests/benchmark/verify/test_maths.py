import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.benchmark.verify import maths
from assay.benchmark.verify.maths import Processes
from assay.errors import VerifierError
from assay.types import Score

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
]
REJECTED = [
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


def test_an_answer_that_never_ends_is_an_error_and_the_next_is_judged():
    async def main(pool: Processes) -> None:
        await pool.verify("1", "1")
        with pytest.raises(VerifierError, match=r"could not be judged within 1\.\d s") as error:
            await pool.verify("1", ENDLESS, deadline_s=1.0)
        assert error.value.kind == "maths_deadline"
        assert (await pool.verify("1", "1")).reward == 1

    asyncio.run(with_processes(main))


def test_a_process_that_dies_over_an_answer_is_an_error_and_the_next_is_judged():
    async def main(pool: Processes) -> None:
        await pool.verify("1", "1")
        asked = asyncio.create_task(pool.verify("1", ENDLESS, deadline_s=30.0))
        await asyncio.sleep(0.5)
        os.kill(await asyncio.to_thread(newest_worker), signal.SIGKILL)
        with pytest.raises(VerifierError, match="ended with code -9") as error:
            await asked
        assert error.value.kind == "maths_crash"
        assert (await pool.verify("1", "1")).reward == 1

    asyncio.run(with_processes(main))


def test_a_process_that_died_idle_is_replaced_unseen():
    async def main(pool: Processes) -> None:
        await pool.verify("1", "1")
        os.kill(await asyncio.to_thread(newest_worker), signal.SIGKILL)
        await asyncio.sleep(0.2)
        assert (await pool.verify("1", "1")).reward == 1

    asyncio.run(with_processes(main))


def test_what_waits_for_a_process_does_not_use_up_its_deadline():
    async def main(pool: Processes) -> None:
        await pool.verify("1", "1")
        slow = asyncio.create_task(pool.verify("1", ENDLESS, deadline_s=2.0))
        await asyncio.sleep(0)
        assert (await pool.verify("1", "1", deadline_s=1.5)).reward == 1
        with pytest.raises(VerifierError):
            await slow

    asyncio.run(with_processes(main))


def test_closing_leaves_no_process():
    async def main(pool: Processes) -> None:
        await pool.verify("1", "1")
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


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text() | st.text("0123456789x^{}\\$+-=()fracsqt "))
def test_any_text_is_judged_or_told_to_be_beyond_judging_and_twice_the_same(text: str):
    first, again = judge(("1", text), ("1", text), deadline_s=5.0)
    assert isinstance(first, Score | VerifierError)
    assert str(first) == str(again) or isinstance(first, VerifierError)


@settings(max_examples=20, deadline=None)
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
