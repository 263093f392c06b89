"""`assay check`."""

import uvloop
from msgspec.structs import replace
from rich.markup import escape
from rich.panel import Panel

from assay.cli.collect.live import console
from assay.cli.collect.profile import STYLES
from assay.cli.options import BenchmarkName, Code, Columns, Roles
from assay.cli.output import plain_table, print_json
from assay.config import assay_toml, load_model
from assay.fidelity.check.check import check as make_check
from assay.fidelity.schema.profile import Check, Checked
from assay.library.names import load
from assay.model.builtin.engine.tokenizer import Tokenizer
from assay.model.builtin.local import folder_of
from assay.trainers.fitness import fitness


def check(
    benchmark: BenchmarkName,
    *,
    columns: Columns = Columns(),
    training: str | None = None,
    base_url: str | None = None,
    on_test: bool = False,
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
    training
        A model. 128 training tasks are asked of it eight times each, to say whether it can be trained on them: groups
        without variance, failures, what lengths are rewarded, token ids, whether the same words get the same reward,
        rollouts a second without the model, wrong answers that are rewarded, and rewards that seem to be mistakes.
    base_url
        URL of that model's server, as `assay run` has it.
    on_test
        Ask test tasks for --training where the benchmark has no others.
    json
        Print everything as JSON.
    """
    result = uvloop.run(make_check(columns.of(benchmark), roles.configs(), place=code.place()))
    if training:
        result = replace(result, checks=[*result.checks, *_pilot(benchmark, training, base_url, on_test)])
    if json:
        print_json(result)
    else:
        _show(result)
    return 3 if result.failed else 0


def _pilot(benchmark: str, name: str, base_url: str | None, on_test: bool) -> list[Check]:
    _, model = load_model(name, base_url, own=assay_toml())
    tokenizer = Tokenizer.load(folder_of(model.id) / "tokenizer.json") if model.dialect == "local" else None
    return uvloop.run(fitness(load(benchmark), model, on_test=on_test, tokenizer=tokenizer))


def _show(result: Checked) -> None:
    console.print(Panel(escape(result.prompt), title="the first prompt", title_align="left", expand=False))
    checks = plain_table("check", "verdict", "what was found")
    for one in result.checks:
        reason = escape(one.reason) + (f"\n[bold]{escape(one.remedy)}[/]" if one.remedy else "")
        checks.add_row(one.name, f"[{STYLES[one.verdict]}]{one.verdict}[/]", reason)
    console.print(checks)
    failed = sum(one.verdict == "fail" for one in result.checks)
    verdict = f"{failed} of {len(result.checks)} checks fail" if failed else "no check fails"
    print(f"{result.benchmark} {result.version}: {verdict} ({result.tasks:,} tasks, {result.wall_s:.1f} s)")
