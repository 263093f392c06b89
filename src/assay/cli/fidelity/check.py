"""`assay check`."""

import sys

import msgspec
import uvloop
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from assay.cli.collect.live import console
from assay.cli.collect.profile import STYLES
from assay.cli.options import BenchmarkName, Code, Columns, Roles
from assay.fidelity.check.check import check as make_check
from assay.fidelity.schema.profile import Checked


def check(
    benchmark: BenchmarkName,
    *,
    columns: Columns = Columns(),
    json: bool = False,
    roles: Roles = Roles(),
    code: Code = Code(),
) -> int:
    """Check a benchmark without any model, within a minute.

    Checks tasks, digests, duplicates, prompts, leaked answers, declared defects and score, published scores, the gold
    and verifier gates, determinism, isolation of sessions, wrong calls of tools, and the time of a verification.

    Exits 3 if a check fails.

    Parameters
    ----------
    json
        Print everything as JSON.
    """
    checked = uvloop.run(make_check(columns.of(benchmark), roles.configs(), place=code.place()))
    if json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(checked), indent=2) + b"\n")
    else:
        _show(checked)
    return 3 if checked.failed else 0


def _show(checked: Checked) -> None:
    console.print(Panel(escape(checked.prompt), title="the first prompt", title_align="left", expand=False))
    table = Table(box=None, pad_edge=False)
    for column in ("check", "verdict", "what was found"):
        table.add_column(column, overflow="fold")
    for one in checked.checks:
        reason = escape(one.reason) + (f"\n[bold]{escape(one.remedy)}[/]" if one.remedy else "")
        table.add_row(one.name, f"[{STYLES[one.verdict]}]{one.verdict}[/]", reason)
    console.print(table)
    failed = sum(one.verdict == "fail" for one in checked.checks)
    verdict = f"{failed} of {len(checked.checks)} checks fail" if failed else "no check fails"
    print(f"{checked.benchmark} {checked.version}: {verdict} ({checked.tasks:,} tasks, {checked.wall_s:.1f} s)")
