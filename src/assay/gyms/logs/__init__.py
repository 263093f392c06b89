"""Logs of other harnesses, read as they are. A reader a format; the content says which format it is.

A reader makes plain rows, in whose cells stand, where the harness has written them,

    task     the sample's id
    repeat   from 0
    prompt   a text, or messages
    output   the model's text, or the items of each turn
    score    a number, where there is one score; with several, each stands under its name, and `scores` has the names
    failed   why there is no score, and `where` what failed: the environment, unless it says otherwise
    items    all that followed the prompt: also what tools and users answered
    is_cut   whether the last output reached its limit of tokens
    usage    the tokens, as `input_tokens` and `output_tokens`
    model    its name
    agent    what drove it, with `agent_version`; `stop` why it ended, `wall_s` how long it took
    trajectories   files in ATIF that have the turns, in place of the output

beside what else the harness wrote.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from assay.gyms.logs import bfcl, harbor, inspect, lm_eval, nemo_gym, verifiers
from assay.gyms.logs.log import Log
from assay.gyms.rows import Row, files_of, iterate_rows, with_rows

LOGS = (lm_eval.LOG, inspect.LOG, nemo_gym.LOG, verifiers.LOG, bfcl.LOG, harbor.LOG)


def log_files(paths: Sequence[str]) -> list[Path]:
    """Returns the files of a log: the results of the trials in folders of Harbor's, else as `files_of`."""
    return harbor.trials(map(Path, paths)) or files_of(paths)


def read_log(paths: Sequence[Path]) -> tuple[Log | None, Iterator[Row]]:
    """Returns the format of a harness's log and its plain rows, or None and the rows as they are, lazily.

    The first row says which format it is. Raises UsageError, and InputError with the line.
    """
    rows = iterate_rows(paths, _samples)
    first = next(rows, None)
    if first is None:
        return None, iter(())
    whole = chain([first], rows)
    log = next((log for log in LOGS if log.fits(first.cells)), None)
    return log, whole if log is None else log.read(_fitting(whole, log))


def _fitting(rows: Iterable[Row], log: Log) -> Iterator[Row]:
    for row in rows:
        if not log.fits(row.cells):
            raise row.error(f"no row of {log.name}, as those before are", "the logs of one harness")
        yield row


def _samples(names: list[str]) -> list[str]:
    """Returns the members of an archive that hold rows: of an Inspect log its samples."""
    return inspect.samples(names) or with_rows(names)
