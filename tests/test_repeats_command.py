"""`assay repeats` as a user gives it, on runs of the embedded models and on copies of them."""

import json
import os
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from assay.fidelity.results.repeats import Outlook, outlook
from assay.fidelity.results.results import read
from tests.commands import assay
from tests.endpoint import Call, Endpoint, answer_body, http

NANO = ("--model", "nano-instruct")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 tasks, three repeats."""
    folder = tmp_path_factory.mktemp("repeats") / "run"
    code, out, err = assay("run", "arithmetic", *NANO, "--repeats", "3", "--out", str(folder), cwd=folder.parent)
    assert code == 0, err
    assert "warning" not in out
    return folder


def told(folder: Path, *arguments: str) -> str:
    code, out, err = assay("repeats", str(folder), *arguments, cwd=folder.parent)
    assert (code, err) == (0, "")
    return out


def found(folder: Path, target_points: float = 1.0) -> Outlook:
    return outlook(folder, read(folder), target_points)


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rollouts.jsonl").read_text().splitlines()]


def copy(folder: Path, place: Path, change: Callable[[list[dict[str, Any]]], object] = lambda rows: None) -> Path:
    """The run again, with its rollouts changed."""
    made = place / "copy"
    shutil.copytree(folder, made)
    changed = rows(made)
    change(changed)
    (made / "rollouts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in changed))
    return made


def test_what_a_run_says_of_its_repeats(folder: Path):
    got = json.loads(told(folder, "--json"))
    summary = json.loads((folder / "summary.json").read_text())
    assert got["sd"] == pytest.approx(100 * summary["se_run"], rel=0.02)  # that allows for few rollouts
    assert got["sd_lower"] < got["sd"] < got["sd_upper"]
    assert 1 < got["k_star"] <= got["k_upper"]
    assert got["independence"]["verdict"] == "independent"
    costs = {cost["k"]: cost for cost in got["costs"]}
    assert {1, 2, 3, 4, got["k_star"], got["k_upper"]} <= costs.keys()
    assert costs[got["k_upper"]]["sd_upper"] <= 1 < costs[2]["sd_upper"]
    each = (summary["tokens"]["input"] + summary["tokens"]["output"]) / 720
    assert costs[4]["tokens"] == pytest.approx(240 * each, abs=1)
    assert costs[4]["usd"] is costs[4]["wall_s"] is None


def test_the_table_fits_eighty_columns(folder: Path):
    code, out, err = assay("repeats", str(folder), cwd=folder.parent, COLUMNS="80")
    assert code == 0, err
    assert max(map(len, out.splitlines())) <= 80
    assert out.startswith("arithmetic on nano-instruct: 240 tasks × 3 repeats\nThe SD of avg@3 is ")
    assert out.split("\n\n")[1].split()[:8] == ["k", "SD", "at", "most", "rollouts", "to", "add", "tokens"]
    assert {"now", "needed", "sure"} <= set(out.replace(",", "").split())


def test_a_run_that_goes_on_as_told_comes_to_stand_still(folder: Path, tmp_path: Path):
    run = copy(folder, tmp_path)
    ks = [3]
    while (k := found(run).next_k) is not None:
        ks.append(k)
        assert len(ks) < 8
        code, _, err = assay("run", "arithmetic", *NANO, "--repeats", str(k), "--out", str(run), cwd=tmp_path)
        assert code == 0, err
    assert 1 < len(ks) == len(set(ks))
    assert (found(run).sd_upper or 9) <= 1
    assert "within 1 point" in found(run).advice
    assert (found(run, 0.5).next_k or 0) > ks[-1]


def test_greedy_repeats_are_told_at_once_and_get_no_number(tmp_path: Path):
    command = ("run", "arithmetic", *NANO, "--repeats", "3", "--limit", "60", "--out", "greedy")
    code, out, _ = assay(*command, "--set", "sampling.temperature=0", cwd=tmp_path)
    assert code == 0
    assert "\nwarning: All repeats have identical texts" in out
    out = told(tmp_path / "greedy")
    assert out.splitlines()[1].startswith("NOT INDEPENDENT All repeats have identical texts")
    assert "to be sure" not in out
    got = found(tmp_path / "greedy")
    assert (got.k_star, got.k_upper, got.next_k, got.costs) == (None, None, None, [])


def recorded_again(rows: list[dict[str, Any]]) -> None:
    """Repeat 2 is what repeat 0 was."""
    first = {row["task"]: row for row in rows if row["repeat"] == 0}
    for row in rows:
        if row["repeat"] == 2:
            row |= {key: first[row["task"]][key] for key in ("turns", "outcome")}


def by_calls(rows: list[dict[str, Any]]) -> None:
    """What was said is the argument of a tool's call, and ids are new each time."""
    for number, row in enumerate(rows):
        for turn in row["turns"]:
            said = json.dumps([item.get("content") for item in turn["response"]["output"]])
            call = {"type": "function_call", "call_id": str(number), "name": "say", "arguments": said}
            turn["response"]["output"] = [call]


def test_a_repeat_that_is_a_copy_is_named(folder: Path, tmp_path: Path):
    run = copy(folder, tmp_path, recorded_again)
    assert "repeats 0 and 2 have identical texts" in told(run)
    assert found(run).independence.copied == [(0, 2)]


def test_calls_tell_copies_too(folder: Path, tmp_path: Path):
    assert found(copy(folder, tmp_path, by_calls)).independence.verdict == "independent"
    again = tmp_path / "again"
    again.mkdir()
    run = copy(folder, again, lambda rows: (recorded_again(rows), by_calls(rows)))
    assert found(run).independence.copied == [(0, 2)]


def test_one_repeat_needs_another(folder: Path, tmp_path: Path):
    run = copy(folder, tmp_path, only_the_first)
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "repeats": 1}))
    assert "2 are needed" in told(run)
    got = found(run)
    assert got.next_k == 2
    assert [(cost.k, cost.more, cost.sd) for cost in got.costs] == [(1, 0, None), (2, 240, None)]


def only_the_first(rows: list[dict[str, Any]]) -> None:
    rows[:] = [row for row in rows if row["repeat"] == 0]


def cut_off(rows: list[dict[str, Any]]) -> None:
    del rows[700:]


def test_an_unfinished_run_says_what_is_owed(folder: Path, tmp_path: Path):
    run = copy(folder, tmp_path, cut_off)
    with (run / "rollouts.jsonl").open("a") as file:
        file.write('{"task": "torn')
    out = told(run)
    assert "unfinished 20 rollouts are still owed" in out
    assert "20 of 720 rollouts are still owed: they come first." in out
    got = found(run)
    assert (got.owed, got.next_k) == (20, 3)
    assert next(cost for cost in got.costs if cost.k == 3).more == 20


def fail_some(rows: list[dict[str, Any]]) -> None:
    for row in rows[:120]:
        row["outcome"] = {"type": "failure", "where": "model", "kind": "x", "message": "y", "retryable": True}


def test_failed_rollouts_cost_too_and_are_told(folder: Path, tmp_path: Path):
    run = copy(folder, tmp_path, fail_some)
    assert "failed 120 rollouts" in told(run)
    whole, part = (next(cost for cost in found(each).costs if cost.k == 4) for each in (folder, run))
    assert (whole.more, part.more) == (240, 360)
    assert (part.tokens or 0) / 360 == pytest.approx((whole.tokens or 0) / 240 * 720 / 600, rel=1e-3)


def test_prices_make_a_cost_and_a_known_rate_a_time(tmp_path: Path):
    async def varied(call: Call, writer: Any) -> None:
        number = len(endpoint.calls)
        writer.write(http(answer_body(call.path, "42" if number % 3 else f"It is {number}.")))

    with Endpoint(varied) as endpoint:
        (tmp_path / "assay.toml").write_text(
            f'[models.paid]\ndialect = "chat"\nid = "m"\nbase_url = "{endpoint.url}"\n'
            "prices = { input = 100.0, output = 1000.0 }\n"
        )
        command = ("run", "arithmetic", "--model", "paid", "--repeats", "1", "--limit", "40", "--out", "paid")
        assert assay(*command, cwd=tmp_path)[0] == 0
    run = tmp_path / "paid"
    # The endpoint counts 9 tokens in and 4 out. The run took less than ten seconds, so its rate isn't known.
    cost = found(run).costs[-1]
    assert (cost.more, cost.tokens, cost.wall_s) == (40, 40 * 13, None)
    assert cost.usd == pytest.approx(40 * 4900 / 1e6)
    # The same run, made in 20 seconds by rollouts of a second each: two a second.
    file = run / "rollouts.jsonl"
    file.write_text("".join(json.dumps({**row, "wall_s": 1.0}) + "\n" for row in rows(run)))
    ended = datetime.fromisoformat(json.loads((run / "run.json").read_text())["started"]).timestamp() + 20
    os.utime(file, (ended, ended))
    assert found(run).costs[-1].wall_s == pytest.approx(20)
    assert told(run).splitlines()[-1].split() == ["2", "80", "40", "520", "$0.20", "20", "s"]
    # Rollouts of 40 seconds in all can't have filled ten minutes: it paused, or the file was copied.
    os.utime(file, (ended + 600, ended + 600))
    assert found(run).costs[-1].wall_s is None


@pytest.mark.heavy
def test_a_profile_shows_every_model_and_the_costs_of_the_strongest_open_one(tmp_path: Path):
    command = ("profile", "arithmetic", "--limit", "40", "--repeats", "2", "--out", "profile")
    assert assay(*command, cwd=tmp_path)[0] == 0
    got = json.loads(told(tmp_path / "profile", "--json"))
    models = json.loads((tmp_path / "profile/profile.json").read_text())["models"]
    scores = {name: model["score"] for name, model in models.items() if model["role"] == "open"}
    assert got["runs"].keys() == models.keys()
    assert scores[got["strongest_open"]] == max(scores.values())
    out = told(tmp_path / "profile")
    assert f"{got['strongest_open']} *" in out
    assert f"arithmetic on {got['strongest_open']}: 40 tasks × 2 repeats" in out


def damage_line(folder: Path) -> str:
    file = folder / "rollouts.jsonl"
    lines = file.read_text().splitlines()
    lines[6] = lines[6][:-1]
    file.write_text("\n".join(lines) + "\n")
    return "rollouts.jsonl, line 7: "


def damage_record(folder: Path) -> str:
    (folder / "run.json").write_text('{"benchmark": ')
    return "run.json: "


def damage_tasks(folder: Path) -> str:
    lines = (folder / "tasks.jsonl").read_text().splitlines()
    (folder / "tasks.jsonl").write_text("\n".join(lines[1:]) + "\n")
    return "these are not the tasks in run.json's digest"


def lose_tasks(folder: Path) -> str:
    (folder / "tasks.jsonl").unlink()
    return "tasks.jsonl: no such file"


@pytest.mark.parametrize("damage", [damage_line, damage_record, damage_tasks, lose_tasks])
def test_damaged_files_are_named(folder: Path, tmp_path: Path, damage: Callable[[Path], str]):
    run = copy(folder, tmp_path)
    words = damage(run)
    code, out, err = assay("repeats", str(run), cwd=tmp_path)
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere",), "nowhere is neither a run's directory nor a profile's"),
        (("nowhere", "--target", "0"), "--target 0: expected percentage points above 0"),
        (("nowhere", "--target", "nan"), "--target nan: expected"),
    ],
)
def test_what_cannot_be_asked(tmp_path: Path, arguments: tuple[str, ...], words: str):
    code, _, err = assay("repeats", *arguments, cwd=tmp_path)
    assert code == 2
    assert words in err
