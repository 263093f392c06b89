"""The commands, thin: parse, call one function, print."""

import errno
import gc
import os
import select
import signal
import sys
from typing import NoReturn

import cyclopts

from assay.errors import AssayError, StoppedEarly
from assay.report.words import legible

app = cyclopts.App(
    name="assay",
    help="A gym for LLM benchmarks that computes whether a benchmark can be trusted.",
    version_flags=["--version"],
)
# Named by text, so that a command's own imports are paid by that command alone.
app.command("assay.cli.collect.run:run", name="run", help="Run one benchmark on one model, or go on with such a run.")
app.command(
    "assay.cli.collect.profile:profile", name="profile", help="Run a suite of models, compute the gates, report."
)
app.command(
    "assay.cli.collect.profile:report",
    name="report",
    help="Compute a profile again from its folder, and write its report.",
)
app.command(
    "assay.cli.collect.ping:ping",
    name="ping",
    help="Tell what each model of a suite gives, in seconds.\n\nExits 0 if every model answers, and 4 otherwise.",
)
app.command(
    "assay.cli.fidelity.repeats:repeats", name="repeats", help="Tell how many repeats it takes, and what they cost."
)
app.command("assay.cli.fidelity.failures:failures", name="failures", help="Show what machines see in failing rollouts.")
app.command(
    "assay.cli.fidelity.review:review", name="review", help="Read failing rollouts, and say whose fault each is."
)
app.command(
    "assay.cli.fidelity.parity:parity", name="parity", help="Compare a benchmark with its original code's results."
)
app.command("assay.cli.collect.merge:merge", name="merge", help="Make one run of the parts that several machines made.")
app.command("assay.cli.collect.rescore:rescore", name="rescore", help="Score a run again with today's verifier.")
app.command(
    "assay.cli.fidelity.check:check", name="check", help="Check a benchmark without any model, within a minute."
)
app.command(
    "assay.cli.fidelity.compare:compare",
    name="compare",
    help="Compare runs with a baseline, and judge them by a release's policy.\n\nExits 0 without a policy and where it "
    "says pass or warn, 3 where it says fail, 5 where it is inconclusive, and 2 where the runs are of other tasks, "
    "another verifier, sampling or limits.",
)
app.command("assay.cli.fidelity.certificate:certify", name="certify", help="Write the certificate of a profile.")
app.command(
    "assay.cli.fidelity.certificate:verify", name="verify", help="Tell whether a certificate is true, without a model."
)
new = cyclopts.App(name="new", help="Begin a benchmark of your own.")
new.command(
    "assay.cli.benchmark.new:benchmark", name="benchmark", help="Write a benchmark that runs, to be made yours."
)
app.command(new)
serve = cyclopts.App(name="serve", help="Put a model or an environment on HTTP.")
serve.command("assay.cli.serve:model", name="model", help="Put a model on HTTP, for the OpenAI SDK and agents.")
serve.command(
    "assay.cli.serve:environment", name="environment", help="Put an environment on HTTP, for NeMo Gym and its trainers."
)
app.command(serve)
app.command("assay.cli.benchmark.interchange:import_", name="import", help="Make a benchmark of another gym's tasks.")
app.command(
    "assay.cli.benchmark.interchange:export", name="export", help="Write a run or a benchmark as another gym's rows."
)
app.command("assay.cli.benchmark.prepare:prepare", name="prepare", help="Get the data of a benchmark, once.")
app.command("assay.cli.benchmark.catalog:catalog", name="list", help="List benchmarks, models or suites.")


def main() -> NoReturn:
    """The `assay` command. An AssayError is told without a traceback, with its own exit code; a full disk likewise."""
    # A command keeps most of what it makes: by Python's own thresholds, a fifth of a large profile's time goes into
    # looking for cycles that are not there.
    gc.set_threshold(100_000, 50, 50)
    try:
        result = app()
        sys.stdout.flush()
    except AssayError as error:
        # It may quote what a server said, and a terminal obeys control characters.
        print(f"assay: {legible(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        if not _unread():
            raise
        # Whoever read the output has enough of it, such as `head`. Python would flush once more, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        if error.filename is None or error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES):
            raise
        print(f"assay: {error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(StoppedEarly.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(result if isinstance(result, int) else 0)


def _unread() -> bool:
    """Whether nobody reads the output any more."""
    end = select.poll()
    end.register(sys.stdout.fileno(), 0)
    return bool(end.poll(0))
