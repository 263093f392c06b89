"""`assay record`."""

import asyncio
import os
import socket
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import uvloop
from cyclopts import Parameter

from assay.agent.door import variables
from assay.benchmark.catalog import load
from assay.cli.fidelity.parity import Form
from assay.cli.options import BenchmarkName, Paths
from assay.collect.run import tasks_of
from assay.config import ModelConfig, assay_toml, load_model
from assay.errors import UsageError
from assay.fidelity.original.recording import Recording, recording
from assay.gyms.rows import files_of
from assay.model import connect
from assay.model.wrappers.guard import GuardedModel
from assay.report.words import legible
from assay.sandbox import Place
from assay.sandbox.command import start_shut_off
from assay.sandbox.listener import PORT
from assay.serve.app import ServedModel
from assay.serve.gateway import AnsweredCall, Call, CallSettings, FailedCall, Gateway, calls_of
from assay.serve.http import serving
from assay.store import write_lines

NAME = "calls"
"""The rollout that all calls of the command are recorded as."""
FIRST = 10
"""Prompts and tasks of a kind that are printed."""
SETTINGS = ("temperature", "top_p", "top_k", "max_output_tokens")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Where:
    """Where the command runs."""

    sandbox: str | None = None
    """bubblewrap: the command reaches the recorder alone, and writes to the working directory alone. Default: it runs
    as you do."""
    unsafe: Annotated[bool, Parameter(negative="")] = False
    """Allow --sandbox subprocess, which isolates nothing and is the default."""

    def is_shut_off(self) -> bool:
        """Returns whether the command runs in bubblewrap. Raises UsageError."""
        provider = Place.parse(self.sandbox, unsafe=self.unsafe).provider if self.sandbox else "subprocess"
        if provider not in ("bubblewrap", "subprocess"):
            raise UsageError(
                f"--sandbox {provider}: a recorded command runs in bubblewrap, or as you do without --sandbox"
            )
        return provider == "bubblewrap"


def record(
    *command: Annotated[str, Parameter(allow_leading_hyphen=True)],
    benchmark: BenchmarkName,
    model: str,
    base_url: str | None = None,
    scores: Paths = (),
    form: Form = Form(),
    out: Path | None = None,
    concurrency: int = 64,
    where: Where = Where(),
) -> int:
    """Run the original's own code on a model, and make a reference of its prompts, outputs and scores.

    The command runs as it is, with OPENAI_BASE_URL, OPENAI_API_BASE and ANTHROPIC_BASE_URL set to a recorder of the
    model, and placeholder keys; {url} in it is the recorder's URL, up to and including /v1. Whatever the code calls
    the model, the answers are this model's. Prompts are matched with the benchmark's tasks; others are listed.

    Exits 4 if the command fails.

    Parameters
    ----------
    command
        The command and its arguments, after --. Without it, the recorded calls in --out are used.
    benchmark
        The benchmark whose tasks are asked.
    model
        A model's name (see `assay list models`), or PREFIX:ID such as chat:ID.
    base_url
        The URL of the model's server, up to and including /v1.
    scores
        What the original writes about each task: files, folders or patterns as `assay parity --reference` takes them.
    out
        A new folder for the calls and the reference. Default: recorded/BENCHMARK-MODEL.
    concurrency
        Requests in flight at the model at most.
    """
    bench = load(benchmark)
    short, config = load_model(model, base_url, own=assay_toml())
    if config.answers_tasks:
        raise UsageError(f"model {model} answers from a benchmark's tasks, so no other code can ask it")
    folder = out or Path("recorded", f"{bench.name}-{short}".replace("/", "--"))
    file = folder / f"{NAME}.jsonl"
    if command and file.exists():
        raise UsageError(f"{folder} holds calls already; choose another folder with --out, or leave out the command")
    if not command and not file.exists():
        raise UsageError("there is no command; give it after --, such as: assay record … -- python evaluate.py")
    code = uvloop.run(_run(list(command), short, config, folder, concurrency, where.is_shut_off())) if command else 0
    calls = list(calls_of(file)) if file.exists() else []
    turns = [call.turn for call in calls if isinstance(call, AnsweredCall)]
    tools = [{tool.name for tool in _request_of(calls, call).tools} for call in calls if isinstance(call, AnsweredCall)]
    results = form.read(files_of(scores), bench) if scores and turns else None  # once the command has written them
    output = recording(turns, tasks_of(bench), results, tools)
    _show(output, calls, results and results.record.remarks)
    if output.rows:
        write_lines(folder / "reference.jsonl", output.rows)
        print(f"\n{len(output.rows):,} results are in {folder}/reference.jsonl. Compare them with the benchmark here:")
        print(f"  assay parity {benchmark} --reference {folder}/reference.jsonl{_settings(calls)}")
    if code:
        print(f"the command ended with exit code {code}")
    return 4 if code or not output.rows else 0


async def _run(
    command: list[str], short: str, config: ModelConfig, folder: Path, concurrency: int, shut_off: bool
) -> int:
    """Returns the command's exit code, once its calls are recorded in the folder."""
    guarded = GuardedModel(connect(config), config, concurrency=concurrency)
    try:
        app = ServedModel(short, config, guarded, Gateway(guarded, folder), any_name=True).app()
        process, listener = await (_start_shut_off(command, folder) if shut_off else _start(command))
        with listener:
            async with serving(app, listener):
                return await process.wait()
    finally:
        await guarded.aclose()


async def _start_shut_off(command: list[str], folder: Path) -> tuple[Process, socket.socket]:
    words, variables = _with_url(command, PORT)
    return await start_shut_off(words, variables, read_only=folder)


async def _start(command: list[str]) -> tuple[Process, socket.socket]:
    """Returns the command's process and the socket that it may call already."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    words, variables = _with_url(command, listener.getsockname()[1])
    try:
        return await asyncio.create_subprocess_exec(*words, env=os.environ | variables), listener
    except (FileNotFoundError, PermissionError) as error:
        listener.close()
        raise UsageError(f"{words[0]} can't be started: {error.strerror}") from None


def _with_url(command: list[str], port: int) -> tuple[list[str], dict[str, str]]:
    """Returns the command and its variables, with the recorder's URL in them."""
    url = f"http://127.0.0.1:{port}/rollouts/{NAME}"
    return [word.replace("{url}", f"{url}/v1") for word in command], variables(url)


def _show(reference: Recording, calls: Sequence[Call], remarks: Sequence[str] | None) -> None:
    failed = [call.failure.message for call in calls if isinstance(call, FailedCall)]
    print(f"{len(calls):,} calls were recorded")
    for remark in remarks or ():
        print(legible(remark))
    if failed:
        print(legible(f"{len(failed):,} of them failed, the first with: {failed[0]}"))
    for words, some in (
        ("prompts are no task's", [" ".join(prompt.split())[-100:] for prompt in reference.unmatched]),
        ("conversations have no score and are left out", reference.unscored),
        ("scores have no conversation", reference.unrecorded),
    ):
        if some:
            print(f"{len(some):,} {words}:")
            print("\n".join(legible(f"  {one}") for one in [*some[:FIRST], *["…"] * (len(some) > FIRST)]))


def _settings(calls: Sequence[Call]) -> str:
    """Returns the options that state the sampling which the code asked for most often."""
    counts = Counter(msgspec.json.encode(_request_of(calls, call).sampling) for call in calls)
    sampling = msgspec.json.decode(counts.most_common(1)[0][0])
    return "".join(f" --setting {name}={sampling[name]}" for name in SETTINGS if name in sampling)


def _request_of(calls: Sequence[Call], call: Call) -> CallSettings:
    """Returns what a call asked for. It is written in full at the first call that asked for it."""
    while isinstance(call.asked, int):
        call = calls[call.asked]
    return call.asked
