"""`assay ping`."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from typing import Annotated

import uvloop
from cyclopts import Parameter
from msgspec import Struct
from rich.console import Console
from rich.table import Table
from rich.text import Text

from assay.cli.collect.live import console
from assay.cli.options import Assignments
from assay.cli.output import print_json
from assay.config import ModelConfig, assay_toml, load_model, load_suite, models, override, suites
from assay.errors import UnknownName, UsageError
from assay.model.ping import CAP, Ping, PingResult, ping_all
from assay.report.words import legible

TITLES = {
    "answers": "answers",
    "thinking": "thinking",
    "tools": "tools",
    "repeats": "repeats",
    "logprobs": "logprobs",
    "token_ids": "token ids",
}
STYLES = {True: "green", False: "yellow", None: "dim"}


def ping(
    target: str,
    /,
    *,
    base_url: str | None = None,
    timeout: float = 60.0,
    cap: int = CAP,
    assign: Assignments = (),
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Ask each model of a suite a few short questions, and say what its server offers.

    Says whether the model answers; how its thinking arrives, and whether the suite says the same; whether tool calls
    work; whether two samples of one prompt are independent; whether log-probabilities and token ids are available. The
    reason for each no stands below the table. It takes four to nine requests per model.

    Exits 0 if every model answers, and 4 otherwise.

    Parameters
    ----------
    target
        A suite's name (see `assay list suites`) or TOML file, a model's name (see `assay list models`), or openai:ID or
        chat:ID for any OpenAI-compatible endpoint.
    base_url
        The URL of a single model's server, up to and including /v1.
    timeout
        Seconds that each model has for all its answers together.
    cap
        Output tokens of each answer at most.
    assign
        Change one setting; may be given several times: models.NAME.KEY in a suite, such as
        --set models.policy.base_url=http://gpu-1:8000/v1, and model.KEY of a single model.
    json
        Print the answers as JSON.
    """
    if timeout <= 0 or cap < 1:
        raise UsageError(f"--timeout {timeout:g} --cap {cap}: expected more than 0")
    configs = _targets(target, base_url, assign)
    pings = _drive(configs, timeout_s=timeout, cap=cap)
    if pings is None:
        return 130
    if json:
        print_json(pings)
    else:
        _show(pings)
    return 0 if all(each.answers.good for each in pings) else 4


class _One(Struct, frozen=True, forbid_unknown_fields=True):
    """What `--set` may change in a single model."""

    model: ModelConfig


def _targets(target: str, base_url: str | None, assign: tuple[str, ...]) -> Mapping[str, ModelConfig]:
    """Returns the models to ask, by name. Raises UsageError."""
    if target in suites() or target.endswith(".toml"):
        if base_url is not None:
            raise UsageError("--base-url is for a single model; in a suite say --set models.NAME.base_url=…")
        return load_suite(target, assign).models
    if ":" not in target and target not in models(assay_toml()):
        hint = "; what assay.toml in this directory names; a path that ends in .toml; openai:ID; chat:ID"
        raise UnknownName("suite or model", target, {**suites(), **models(assay_toml())}, hint)
    name, config = load_model(target, base_url, own=assay_toml())
    return {name: override(_One(config), assign).model}


def _drive(configs: Mapping[str, ModelConfig], *, timeout_s: float, cap: int) -> list[Ping] | None:
    """Returns the results; None after Ctrl-C. Shows meanwhile which models have not answered yet."""
    waiting = list(configs)
    try:
        with (
            console.status(_waiting(waiting)) as status,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):

            def note(result: Ping) -> None:
                waiting.remove(result.model)
                status.update(_waiting(waiting))

            return runner.run(ping_all(configs, timeout_s=timeout_s, cap=cap, watch=note))
    except KeyboardInterrupt:
        return None


def _waiting(names: list[str]) -> Text:
    return Text(f"asking {', '.join(names)}", style="dim")


def _show(pings: list[Ping]) -> None:
    out = Console(highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("model", overflow="fold")
    for title in TITLES.values():
        table.add_column(title, no_wrap=True)
    for each in pings:
        table.add_row(Text(each.model), *(_cell(each, check) for check in TITLES))
    out.print(table)
    notes = Table.grid(padding=(0, 2, 0, 0))
    notes.add_column(no_wrap=True)
    notes.add_column(no_wrap=True, style="dim")
    notes.add_column(overflow="fold")
    for each in pings:
        for index, (what, why) in enumerate(_notes(each)):
            notes.add_row(Text("" if index else each.model), what, Text(legible(why)))
    if notes.row_count:
        out.print("", notes)


def _cell(each: Ping, check: str) -> Text:
    finding: PingResult = getattr(each, check)
    if check == "answers" and finding.good and each.seconds is not None:
        return Text(f"{each.seconds:.1f} s" if each.seconds >= 0.1 else "<0.1 s", style="green")
    style = "red" if check == "answers" and not finding.good else STYLES[finding.good]
    return Text(legible(finding.says), style=style)


def _notes(each: Ping) -> Iterator[tuple[str, str]]:
    """What does not fit into a cell: the reasons, and another name than the one that was asked for."""
    if each.served_as and each.id and each.served_as != each.id:
        yield "served as", f"{each.served_as}; asked for {each.id}"
    for check, title in TITLES.items():
        why: str = getattr(each, check).why
        if why:
            # The address matters only if the server did not answer.
            yield title, why if check == "answers" else re.sub(r"https?://\S+(?= answered)", "the server", why)
