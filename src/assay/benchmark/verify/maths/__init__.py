"""Maths answers, judged by math-verify in processes that can be killed, because sympy may never end."""

import asyncio
import atexit
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from assay.benchmark.verify.maths.reading import alike, reference, stated_formula
from assay.benchmark.verify.process import Process
from assay.errors import UsageError, VerifierError
from assay.types import Score

START_S = 60.0
"""Seconds that a process may take to load sympy. It takes one on an idle machine."""
LONGEST = 20_000
"""The most characters of a message that are judged, from its end, because math-verify takes quadratic time."""


PATIENCE = 10
"""The wall time of a second try, as a multiple of its processor time."""
Formula = tuple[str, bool]


class Processes:
    """Judges as many answers at once as it has processes, started when needed: first, and after one had to die."""

    def __init__(self, count: int | None = None) -> None:
        count = count or min(8, os.cpu_count() or 1)
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="maths")
        self._idle: SimpleQueue[Process] = SimpleQueue()
        self._lone = threading.Lock()

    async def verify(self, gold: str, text: str, *, deadline_s: float = 10.0) -> Score:
        """Returns 1 if the message's answer equals the gold one as mathematics, else 0; the answer as LaTeX or a
        number.

        Both are LaTeX or plain: the last box of the message, else what follows "the answer is", else its last formula.
        The deadline counts from when a process takes the answer up, not while it waits for one. What can't be judged
        by then is tried again, alone and by processor time: if it can't be judged then either, although the gold
        answer can, it is a wrong answer, with the metric `undecided`. So is one that can't be compared, such as 0/0
        with a decimal. Raises VerifierError where the gold answer can't
        be read or judged; UsageError without math-verify.
        """
        expected, said = reference(gold), stated_formula(text[-LONGEST:])
        if expected[1] and said[1] and expected[0]:
            same = expected[0] == said[0] or alike(expected[0], said[0])
            if same is not None:
                return Score(reward=float(same), answer=said[0][:1000] or None)
        return await asyncio.wrap_future(self._threads.submit(self._judge, expected, said, deadline_s))

    def close(self) -> None:
        """Ends the processes after their current answers."""
        self._threads.shutdown(cancel_futures=True)
        while not self._idle.empty():
            self._idle.get().close()

    def _judge(self, gold: Formula, said: Formula, deadline_s: float) -> Score:
        """Returns the score. Runs in a thread, of which there are as many as processes."""
        process = self._take()
        question = {"gold": gold, "said": said, "deadline_s": deadline_s}
        try:
            answer = process.ask(question, deadline_s)
        except BaseException as error:
            process.close()
            if not isinstance(error, VerifierError):
                raise
        else:
            self._idle.put(process)
            if answer.get("error") != "resources":
                return _score(answer)
        return self._judge_alone(question, deadline_s)

    def _judge_alone(self, question: dict[str, Any], deadline_s: float) -> Score:
        """Returns the score by a new process, one at a time, with a limit on its processor time."""
        question = {**question, "by_processor": True}
        with self._lone, closing(_start()) as process:
            _score(process.ask({**question, "said": question["gold"]}, PATIENCE * deadline_s))
            try:
                return _score(process.ask(question, PATIENCE * deadline_s))
            except VerifierError:
                return Score(reward=0.0, metrics={"undecided": 1.0}, answer=question["said"][0][:1000])

    def _take(self) -> Process:
        try:
            while not (process := self._idle.get_nowait()).alive:
                process.close()
        except Empty:
            return _start()
        return process


def _start() -> Process:
    process = Process("maths", Path(__file__).with_name("worker.py"), start_s=START_S)
    if "error" in process.ready:
        process.close()
        raise UsageError(
            f"maths answers need the package math-verify: {process.ready['message']}\n  pip install 'assay[maths]'"
        )
    return process


def _score(answer: dict[str, Any]) -> Score:
    if "error" in answer:
        raise VerifierError(f"maths_{answer['error']}", answer["message"])
    metrics = {"undecided": 1.0} if answer["undecided"] else {}
    return Score(reward=float(answer["right"]), metrics=metrics, answer=answer["answer"])


_PROCESSES = Processes()
atexit.register(_PROCESSES.close)


async def verify(gold: str, text: str, *, deadline_s: float = 10.0) -> Score:
    """Returns the score of a message as `Processes.verify`, with processes that all environments share."""
    return await _PROCESSES.verify(gold, text, deadline_s=deadline_s)
