"""Training data out of a real run's rollouts."""

import json
from pathlib import Path
from typing import Any

import pytest

from assay.digest import task_digest
from assay.errors import UsageError
from assay.exports import write
from assay.exports.training import read_attempts
from assay.fidelity.review.marks import content, keep
from assay.fidelity.schema.evidence import Fault, Mark
from assay.store import read_rollouts, read_tasks
from assay.types import Score
from tests.commands import assay


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("profile")
    arguments = ("arithmetic", "--models", "micro-instruct,null", "--limit", "24", "--repeats", "4", "--out", "p")
    code, _, err = assay("profile", *arguments, cwd=folder)
    assert code in (0, 3, 5), err
    return folder / "p"


@pytest.fixture
def run(profile: Path) -> Path:
    return profile / "runs/micro-instruct"


def rows(place: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (place / "train.jsonl").read_text().splitlines()]


def rewards(run: Path) -> dict[tuple[str, int], float]:
    return {one.key: one.outcome.reward for one in read_rollouts(run) if isinstance(one.outcome, Score)}


def test_what_is_imitated_has_full_marks_and_the_models_messages_have_weight(run: Path, tmp_path: Path):
    write(str(run), "sft", tmp_path / "sft")
    found, all_rewards = rows(tmp_path / "sft"), rewards(run)
    assert {(row["task"], row["repeat"]) for row in found} == {key for key, value in all_rewards.items() if value == 1}
    assert [[(m["role"], m.get("weight")) for m in row["messages"]] for row in found] == [
        [("user", None), ("assistant", 1)]
    ] * len(found)
    card = (tmp_path / "sft/README.md").read_text()
    wrong = sum(value < 1 for value in all_rewards.values())
    assert wrong and f"- {wrong}: its reward is below 1" in card
    record = json.loads((run / "run.json").read_text())
    assert record["tasks_digest"] in card and record["code"] in card and "can't be measured by it" in card


def test_a_pair_is_two_attempts_at_one_task_of_which_one_is_better(run: Path, tmp_path: Path):
    write(str(run), "dpo", tmp_path / "dpo")
    found = rows(tmp_path / "dpo")
    assert found and all(row["chosen_reward"] > row["rejected_reward"] for row in found)
    assert all(row["chosen"] != row["rejected"] and row["prompt"][-1]["role"] == "user" for row in found)
    mixed = {task for task, _ in rewards(run)} - {row["task"] for row in found}
    assert all(len({value for (task, _), value in rewards(run).items() if task == one}) == 1 for one in mixed)


def test_attempts_with_rewards_keep_their_tokens(run: Path, tmp_path: Path):
    write(str(run), "rft", tmp_path / "rft")
    found = rows(tmp_path / "rft")
    assert {(row["task"], row["repeat"]): row["reward"] for row in found} == rewards(run)
    [tokens] = found[0]["tokens"]
    assert len(tokens["output"]) == len(tokens["output_logprobs"]) and tokens["prompt"]


def test_a_reader_who_doubts_a_reward_takes_the_attempt_out(profile: Path, run: Path):
    tasks = {task.id: task for task in read_tasks(run)}
    first = next(one for one in read_rollouts(run) if isinstance(one.outcome, Score) and one.outcome.reward == 1)
    before, _ = read_attempts(run, doubted=False)
    same = [one for one in before if content(one.rollout, one.task) == content(first, tasks[first.task])]

    def mark(fault: Fault) -> None:
        task = tasks[first.task]
        mark = Mark(
            model="micro-instruct",
            task=task.id,
            repeat=first.repeat,
            content=content(first, task),
            task_digest=task_digest(task),
            reward=1.0,
            fault=fault,
            by="r",
            at="2026-01-01T00:00:00Z",
        )
        keep(profile, mark)

    mark("verifier")
    after, left_out = read_attempts(run, doubted=False)
    assert len(before) - len(after) == len(same) > 0
    assert left_out["a reader's mark says verifier"] == len(same)
    mark("model")
    assert len(read_attempts(run, doubted=False)[0]) == len(before)


def test_conversations_with_tools_say_who_said_what(tmp_path: Path):
    arguments = ("run", "office", "--model", "gold", "--limit", "3", "--repeats", "1", "--out", "r")
    assert assay(*arguments, cwd=tmp_path)[0] == 0
    write(str(tmp_path / "r"), "sft", tmp_path / "sft")
    [row, *_] = rows(tmp_path / "sft")
    roles = [message["role"] for message in row["messages"]]
    assert roles[-1] == "assistant" and "tool" in roles
    assert [m["weight"] for m in row["messages"] if m["role"] == "assistant"] == [1] * roles.count("assistant")
    assert json.loads(row["tools"])[0]["type"] == "function"
    called = [call for message in row["messages"] for call in message.get("tool_calls", ())]
    assert {call["id"] for call in called} == {m["tool_call_id"] for m in row["messages"] if m["role"] == "tool"}


def test_options_are_checked_and_an_empty_result_is_refused(profile: Path, run: Path, tmp_path: Path):
    with pytest.raises(UsageError, match=r"has no rows for sft\. Left out:\n(.*\n)*- \d+: its reward is below 1"):
        write(str(profile / "runs/null"), "sft", tmp_path / "null")
    assert not (tmp_path / "null").exists()
    with pytest.raises(UsageError, match="min_reward, doubted, parquet"):
        write(str(run), "sft", tmp_path / "o", ["reward=1"])
    with pytest.raises(UsageError, match="the format nemo-gym has no options"):
        write(str(run), "nemo-gym", tmp_path / "o.jsonl", ["parquet=true"])
    with pytest.raises(UsageError, match="is a profile, and the format sft takes a run"):
        write(str(profile), "sft", tmp_path / "o")


@pytest.mark.parametrize("kind", ["sft", "dpo", "rft"])
@pytest.mark.parametrize("parquet", [False, True])
def test_datasets_loads_it(kind: str, parquet: bool, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    datasets = pytest.importorskip("datasets", reason="needs datasets")
    write(str(run), kind, tmp_path / "out", [f"parquet={str(parquet).lower()}"])
    loaded = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    write(str(run), kind, tmp_path / "lines")
    assert [row["task"] for row in loaded] == [row["task"] for row in rows(tmp_path / "lines")]
    assert ("messages" in loaded.features) == (kind != "dpo")
