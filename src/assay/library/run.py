"""`assay.Run`: one benchmark on one model, read from its folder."""

import importlib
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.errors import UsageError
from assay.store import read_rollouts, read_tasks
from assay.types import Failure, Rollout, Score, Task

if TYPE_CHECKING:
    from assay.fidelity.schema.profile import Summary
    from assay.view.server import Viewer


class Run:
    """A run: its score, both intervals, its failures and its rollouts, read from its folder.

    Example::

        run = await assay.run("arithmetic", model="nano-thinking", limit=50)
        run.score, run.interval          # 0.84, (0.73, 0.93)
        run.frame().groupby("task").reward.mean()
    """

    def __init__(self, folder: str | Path, *, _keep: object = None) -> None:
        """Opens the run in a folder. Raises UsageError or InputError if the folder holds none.

        A run that `assay.run` made without `out` is in a temporary folder, which is removed with this object.
        """
        self.folder = Path(folder)
        self._keep = _keep
        # numpy and scipy take longer to load than a first answer, so they are imported only once there are rollouts.
        self.summary: Summary = importlib.import_module("assay.fidelity.results.summary").write(self.folder)
        """All figures of the run: the content of `summary.json`."""

    @property
    def score(self) -> float | None:
        """The score that the benchmark declares, by default the mean over tasks; None if nothing was scored."""
        return self.summary.score

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the score on other tasks of the same kind; None if it can't be computed."""
        return self.summary.interval_task

    @property
    def interval_run(self) -> tuple[float, float] | None:
        """The 95 % interval of the score when the same tasks are run again; None if it can't be computed."""
        return self.summary.interval_run

    @property
    def failures(self) -> int:
        """The number of (task, repeat) with a failure and no score. They don't count in the score."""
        return self.summary.failures

    @property
    def tasks(self) -> list[Task]:
        """The tasks of the run, in their order."""
        return read_tasks(self.folder)

    def rollouts(self, *, failed: bool | None = None) -> Iterator[Rollout]:
        """Yields the rollouts in the order in which they ended.

        `failed=True` yields only those that failed, `failed=False` only those with a score.
        """
        for rollout in read_rollouts(self.folder):
            if failed is None or failed == isinstance(rollout.outcome, Failure):
                yield rollout

    def rows(self) -> list[dict[str, Any]]:
        """Returns one row for each rollout: task, repeat, reward, answer, stop, failure, tokens, seconds, the tags."""
        tags = {task.id: task.tags for task in self.tasks}
        return [row_of(rollout, tags[rollout.task]) for rollout in self.rollouts()]

    def frame(self) -> Any:
        """Returns `rows()` as a pandas DataFrame. Raises UsageError if pandas is not installed."""
        try:
            pandas = importlib.import_module("pandas")
        except ImportError:
            raise UsageError("frame() needs pandas; install it with: pip install pandas, or use rows()") from None
        return pandas.DataFrame(self.rows())

    def view(self, *, show: bool = True) -> "Viewer":
        """Opens the run's rollouts in a browser, as `assay view` does. Returns the viewer, whose `url` is the address.

        They are served until its `close` is called or the program ends. Without `show` no browser opens.
        """
        server = importlib.import_module("assay.view.server")
        return server.Viewer.of("run", self.folder, show=show, keep=self)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}: {self._text()})"

    def _repr_html_(self) -> str:
        score, run, task = self.score, self.interval_run, self.interval
        rows = {
            "score": "none" if score is None else f"{score:.1%}",
            "95 %, other tasks": _span(task),
            "95 %, these tasks again": _span(run),
            "rollouts": f"{self.summary.rollouts:,} (avg@{self.summary.repeats})",
            "failures": f"{self.failures:,}",
            "folder": str(self.folder),
        }
        cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows.items())
        return f"<table>{cells}</table>"

    def _text(self) -> str:
        return str(importlib.import_module("assay.fidelity.results.summary").text(self.summary))


def _span(interval: tuple[float, float] | None) -> str:
    return "unknown" if interval is None else "{:.1%} to {:.1%}".format(*interval)


def row_of(rollout: Rollout, tags: Mapping[str, str]) -> dict[str, Any]:
    """Returns a rollout's row. Tokens are the sum over turns; `seconds` is wall time."""
    score = rollout.outcome if isinstance(rollout.outcome, Score) else None
    failure = rollout.outcome if isinstance(rollout.outcome, Failure) else None
    return {
        "task": rollout.task,
        "repeat": rollout.repeat,
        "reward": score.reward if score else None,
        "answer": score.answer if score else None,
        "stop": rollout.stop,
        "failure": f"{failure.where}: {failure.kind}: {failure.message}" if failure else None,
        "turns": len(rollout.turns),
        "input_tokens": sum(turn.response.usage.input_tokens for turn in rollout.turns),
        "output_tokens": sum(turn.response.usage.output_tokens for turn in rollout.turns),
        "seconds": rollout.wall_s,
        **{f"tag.{name}": value for name, value in tags.items()},
    }
