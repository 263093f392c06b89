"""What a person sees while rollouts come in, and how they stop it."""

import asyncio
import signal
import threading
import time
from collections.abc import Coroutine, Iterable
from typing import Any, Self, TypeVar

import uvloop
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from assay.collect.collect import Interruption, Tally

T = TypeVar("T")
GRACE_S = 5.0
"""How long what is in flight may take after SIGTERM. Schedulers kill 10 s (Docker) to 30 s (Slurm) later."""
EVERY_S = 10.0
"""Seconds between two lines of progress where the output is not a terminal."""
console = Console(stderr=True, highlight=False)


class Live:
    """A progress line a run: done, rate, time left, mean reward, failures, tokens.

    If the output is not a terminal, a plain line when a run begins, every `every_s` seconds, and when it ends.
    """

    def __init__(self, every_s: float = EVERY_S) -> None:
        self._every_s = every_s
        self._end_of_run = threading.Event()
        self._speaker = threading.Thread(target=self._speak, daemon=True)
        self._progress = _Tallies(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24 if console.width > 110 else 8),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            _Rate(),
            TimeRemainingColumn(compact=True),
            _Figures(),
            console=console,
            refresh_per_second=4,
            disable=not console.is_terminal,
        )
        self._runs: dict[str, tuple[str, Tally]] = {}
        """The runs that go on, by what they are called: their models and tallies."""

    def __enter__(self) -> Self:
        self._progress.start()
        if not console.is_terminal:
            self._speaker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end_of_run.set()
        if self._speaker.is_alive():
            self._speaker.join()
        self._end(list(self._runs))
        self._progress.stop()

    def begin(self, model: str, tally: Tally, benchmark: str = "") -> None:
        """Show a run from now on. One of several benchmarks is named, too."""
        self._end([name for name, (_, shown) in self._runs.items() if shown.ended])
        name = f"{benchmark} on {model}" if benchmark else model
        self._runs = self._runs | {name: (model, tally)}
        self._progress.add_task(name, total=tally.planned, tally=tally)
        if not console.is_terminal and tally.planned:
            _say(f"{name}: {tally.planned} rollouts to make")

    def _end(self, names: Iterable[str]) -> None:
        """Say what has come of these runs."""
        for name in names:
            model, tally = self._runs[name]
            self._runs = {other: shown for other, shown in self._runs.items() if other != name}
            if not console.is_terminal:
                _say(f"{name}: {figures(tally)}")
            for line in tally.warnings(model):
                _say(f"{name}: warning: {line}")

    def _speak(self) -> None:
        """Say how far the runs are, in a thread, so that no line waits for the event loop."""
        while not self._end_of_run.wait(self._every_s):
            for name, (_, tally) in self._runs.items():
                if not tally.planned:
                    continue
                _say(f"{name}: {tally.done:,} of {tally.planned:,} rollouts · {figures(tally)}")


def _say(line: str) -> None:
    """Print a line, which stays one where the output is no terminal."""
    console.print(line, markup=False, soft_wrap=not console.is_terminal)


class _Tallies(Progress):
    """Reads the tallies when the lines are drawn: collecting never waits for the display."""

    def get_renderables(self) -> Iterable[RenderableType]:
        for task in self.tasks:
            self.update(task.id, completed=task.fields["tally"].done)
        return super().get_renderables()


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        tally: Tally = task.fields["tally"]
        seconds = max(1e-9, (task.finished_time or (time.monotonic() - tally.started)))
        return Text(f"{tally.done / seconds:,.0f}/s", style="cyan")


class _Figures(ProgressColumn):
    def render(self, task: Task) -> Text:
        tally: Tally = task.fields["tally"]
        words = figures(tally) if console.width > 110 else rewards(tally)
        return Text(words, style="red" if tally.failed else "", no_wrap=True)


def rewards(tally: Tally) -> str:
    """Mean reward of this command's rollouts so far, and failures, in a few words."""
    if not tally.planned:
        return "complete"
    # The score may be another mean, over groups or of attempts, and has what earlier commands made.
    words = f"mean reward {tally.reward / tally.scored:.1%}" if tally.scored else "no score yet"
    empty = tally.empty if tally.mostly_empty else 0
    for count, what in ((tally.failed, "failed"), (tally.retrying(), "retrying"), (empty, "empty")):
        words += f" · {count:,} {what}" if count else ""
    return words


def figures(tally: Tally) -> str:
    """Returns score, failures, tokens and cost so far, in a few words."""
    if not tally.planned:
        return f"complete: {tally.before:,} rollouts were there"
    words = f"{rewards(tally)} · {_short(tally.input_tokens)} in, {_short(tally.output_tokens)} out"
    if tally.prices:
        words += f" · ${tally.usd:,.2f}"
    level = tally.level()
    return words if level is None else f"{words} · server takes {level:,} at once"


def drive(work: Coroutine[Any, Any, T], interruption: Interruption) -> T:
    """Run to the end on uvloop. Ctrl-C finishes what is in flight and a second one abandons it; SIGTERM does both,
    GRACE_S apart."""

    async def main() -> T:
        loop = asyncio.get_running_loop()

        def interrupt() -> None:
            words = "abandoning what is in flight" if interruption.stopping else "finishing what is in flight"
            console.print(f"{words}; the same command goes on from here")
            interruption.stop()

        def terminate() -> None:
            interrupt()
            loop.call_later(GRACE_S, interruption.stop)

        loop.add_signal_handler(signal.SIGINT, interrupt)
        loop.add_signal_handler(signal.SIGTERM, terminate)
        return await work

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def _short(count: int) -> str:
    return (
        f"{count / 1e6:.1f}M tokens"
        if count >= 1e6
        else f"{count / 1e3:.1f}k tokens"
        if count >= 1e4
        else f"{count} tokens"
    )
