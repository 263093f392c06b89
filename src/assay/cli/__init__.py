"""The commands, thin: parse, call one function, print."""

import gc
import os
import select
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

import cyclopts

from assay.errors import AssayError, of_system
from assay.report.words import legible

COMMANDS = (
    (
        "run",
        "collect.run:run",
        "Run one benchmark on one model, or go on where an earlier command stopped.",
        "assay run gsm8k --model chat:Qwen/Qwen3-8B --base-url http://localhost:8000/v1 --limit 50",
    ),
    (
        "profile",
        "collect.profile:profile",
        "Run a benchmark on a suite of models, or go on with it, compute the gates, and write the report.",
        "assay profile arithmetic --suite embedded --budget-usd 20",
    ),
    (
        "report",
        "collect.profile:report",
        "Compute a profile again from its folder, without any model, and write its report.",
        "assay report profiles/arithmetic-embedded",
    ),
    (
        "ping",
        "collect.ping:ping",
        "Ask each model of a suite a few short questions, and say what its server offers.",
        "assay ping chat:Qwen/Qwen3-8B --base-url http://localhost:8000/v1",
    ),
    (
        "plan",
        "fidelity.plan:plan",
        "Say what a profile will cost and which gates a sound benchmark passes, before anything is spent.",
        "assay plan gsm8k --suite gym-2026-02 --guess policy=70",
    ),
    (
        "repeats",
        "fidelity.repeats:repeats",
        "Say how many repeats a run needs for a stable score, and what they cost.",
        "assay repeats runs/gsm8k/Qwen--Qwen3-8B --target 1",
    ),
    (
        "failures",
        "fidelity.failures:failures",
        "Show what detectors find in rollouts, failing and passing, and which tasks are suspect.",
        "assay failures profiles/arithmetic-embedded --model micro-instruct",
    ),
    (
        "view",
        "view:view",
        "Look at runs, profiles and comparisons in a browser, while they are made and after.",
        "assay view runs",
    ),
    (
        "review",
        "fidelity.review:review",
        "Read rollouts one by one, failing and passing, and say with a key whether the reward is right.",
        "assay review profiles/arithmetic-embedded --by ada",
    ),
    (
        "judge",
        "fidelity.judge:judge",
        "Ask a profile's judge again, and label answers without sight of its judgement.",
        "assay judge profiles/essays-mine --second gpt-5",
    ),
    (
        "parity",
        "fidelity.parity:parity",
        "Compare a benchmark with the results of its original code.",
        "assay parity gsm8k --reference results.jsonl --column score=is_correct",
    ),
    (
        "record",
        "fidelity.record:record",
        "Run the original's own code on a model, and make a reference of its prompts, outputs and scores.",
        "assay record --benchmark gsm8k --model micro-instruct --scores 'out/*.jsonl' -- python evaluate.py",
    ),
    (
        "merge",
        "collect.merge:merge",
        "Make one run of the parts that several machines made.",
        "assay merge runs/whole machine-1/run machine-2/run",
    ),
    (
        "rescore",
        "collect.rescore:rescore",
        "Score the rollouts of a run again with the verifier as it is now, without the model.",
        "assay rescore runs/gsm8k/Qwen--Qwen3-8B --processes 4",
    ),
    ("check", "fidelity.check:check", "Check a benchmark without any model, within a minute.", "assay check ./my-quiz"),
    (
        "compare",
        "fidelity.compare:compare",
        "Compare runs with a baseline, paired by task, and judge them by a release's policy.",
        "assay compare runs/gsm8k/old runs/gsm8k/new --policy default --markdown changes.md",
    ),
    (
        "certify",
        "fidelity.certificate:certify",
        "Write the certificate of a profile.",
        "assay certify profiles/arithmetic-embedded --new-key my.pem",
    ),
    (
        "verify",
        "fidelity.certificate:verify",
        "Say whether a certificate is valid, expired or forged, without any model.",
        "assay verify profiles/arithmetic-embedded/certificate.json --rescore",
    ),
    (
        "open",
        "fidelity.certificate:open_",
        "Open one row of a sealed certificate, or check a row that was opened.",
        "assay open profiles/p/sealed/certificate.json --row nano-thinking/sums-easy-00/0",
    ),
    (
        "audit",
        "collect.audit:audit",
        "Ask a model some tasks of a certificate again, and compare the fresh scores with the recorded ones.",
        "assay audit profiles/arithmetic-embedded/certificate.json --model nano-thinking --sample 60",
    ),
    (
        "new benchmark",
        "benchmark.new:benchmark",
        "Write a benchmark that runs, for you to change into your own.",
        "assay new benchmark my-quiz --kind qa",
    ),
    (
        "train",
        "train:train",
        "Train a small model on a benchmark's training tasks by GRPO, on a CPU, and compare it before and after.",
        "assay train arithmetic",
    ),
    (
        "serve model",
        "serve:model",
        "Serve a model over HTTP, as /v1/responses, /v1/chat/completions and /v1/messages.",
        "assay serve model micro-instruct --port 8000",
    ),
    (
        "serve environment",
        "serve:environment",
        "Serve a benchmark's environment over HTTP, as a resources server of NeMo Gym, and of OpenEnv under /openenv.",
        "assay serve environment office --port 8000",
    ),
    (
        "serve agent",
        "serve:agent",
        "Serve an agent over HTTP, as an agent server of NeMo Gym: each call of /run is a whole rollout, scored.",
        "assay serve agent loop --benchmark office --model chat:policy --base-url http://localhost:8001/v1",
    ),
    (
        "import",
        "benchmark.interchange:import_",
        "Make a run of another program's rollouts, or a benchmark's folder of NeMo Gym's tasks.",
        "assay import logs/2026-02-01_sums.eval --out runs/theirs",
    ),
    (
        "export",
        "benchmark.interchange:export",
        "Write a benchmark, a run or a profile in the form that another program reads.",
        "assay export office --format nemo-gym --out office.jsonl",
    ),
    (
        "prepare",
        "benchmark.prepare:prepare",
        "Get the data of a benchmark that is not in the package, once.",
        "assay prepare gsm8k",
    ),
    (
        "list",
        "benchmark.catalog:catalog",
        "List what can be named in a command, with a sentence each.",
        "assay list benchmarks",
    ),
)
"""Each command: its name, the function, its summary (the first sentence of the function's docstring), an example."""
GROUPS = {"new": "Write a benchmark of your own.", "serve": "Serve a model or an environment over HTTP."}


def build(arguments: Sequence[str]) -> cyclopts.App:
    """Returns the application. Functions are named by text, so that a command pays for its own imports alone.

    The help of a command is its docstring, which has to be imported. So that the list of all commands imports none,
    a command that is not among the arguments has its summary.
    """
    app = cyclopts.App(
        name="assay",
        help="A gym for LLM benchmarks that computes whether a benchmark can be trusted.",
        version_flags=["--version"],
        default_parameter=cyclopts.Parameter(show_default=_default),
    )
    groups = {name: cyclopts.App(name=name, help=summary) for name, summary in GROUPS.items()}
    for words, function, summary, example in COMMANDS:
        group, _, name = words.rpartition(" ")
        (groups[group] if group else app).command(
            f"assay.cli.{function}",
            name=name,
            help=None if name in arguments else summary,
            help_epilogue=f"Example: `{example}`",
        )
    for group in groups.values():
        app.command(group)
    return app


def _default(value: object) -> str | None:
    """Returns a default as the help shows it; None for one that says nothing, such as an empty list."""
    return None if value is None or value is False or value == () else str(value)


def main() -> NoReturn:
    """The `assay` command. An AssayError, or a full disk, is printed without a traceback and has its own exit code."""
    # A command keeps most of what it makes: by Python's own thresholds, a fifth of a large profile's time goes into
    # looking for cycles that are not there.
    gc.set_threshold(100_000, 50, 50)
    warnings.formatwarning = _warning
    try:
        result = build(sys.argv[1:])(sys.argv[1:])
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
        if (problem := of_system(error)) is None:
            raise
        print(f"assay: {legible(str(problem))}", file=sys.stderr)
        sys.exit(problem.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(result if isinstance(result, int) else 0)


def _warning(message: Warning | str, *_: object, **__: object) -> str:
    return f"assay: {legible(str(message))}\n"


def _unread() -> bool:
    """Returns whether nobody reads the output any more."""
    end = select.poll()
    end.register(sys.stdout.fileno(), 0)
    return bool(end.poll(0))
