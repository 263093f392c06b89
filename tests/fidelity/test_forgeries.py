"""Forged certificates: the files of a real profile are changed, and all that an attacker can make anew is made anew."""

import asyncio
import json
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from assay.cli.fidelity.certificate import verify as verify_command
from assay.errors import UsageError
from assay.fidelity.certificate.certificate import certify, with_digest
from assay.fidelity.certificate.files import file_record, render_file
from assay.fidelity.certificate.rollouts import is_alike
from assay.fidelity.certificate.schema import Certificate
from assay.fidelity.certificate.validity import Validity, verify
from assay.report.certificate import renderings
from assay.store import line_digest
from tests.commands import assay
from tests.fidelity.forgery import Line, change_lines, change_run, forge

ASKED = ("profile", "arithmetic", "--limit", "10", "--repeats", "4", "--out", "profiles/p")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("made")
    code, _, err = assay(*ASKED, "--models", "policy,nano-instruct", cwd=place)
    assert code == 0, err
    return place


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path / "profiles/p"


def certify_file(folder: Path, path: str) -> None:
    """Put the digest of a file as it is now into the certificate."""
    plain = json.loads((folder / "certificate.json").read_bytes())
    plain["evidence"][path] = msgspec.to_builtins(file_record(folder / path))
    certificate = with_digest(msgspec.convert(plain, Certificate))
    for name, data in {"certificate.json": render_file(certificate), **renderings(certificate)}.items():
        (folder / name).write_bytes(data)


def found(folder: Path, **more: Any) -> Validity:
    return asyncio.run(verify(folder / "certificate.json", renderings=renderings, **more))


def swap(folder: Path, name: str) -> None:
    policy, nano = folder / "runs/policy" / name, folder / "runs/nano-instruct" / name
    policy.rename(folder / "aside")
    nano.rename(policy)
    (folder / "aside").rename(nano)


def call_gpt_5(folder: Path) -> None:
    change_lines(folder / "plan.jsonl", lambda plan: plan["suite"]["models"]["policy"].update(id="gpt-5"))


def change_run_and_registry(**fields: Any) -> Callable[[Path], None]:
    """Change facts of a run, and the same where the registry states them."""

    def change(folder: Path) -> None:
        def of_line(line: Line) -> None:
            if line.get("model") == "policy":
                line.update({name: value for name, value in fields.items() if name in line})

        change_run(folder, lambda record: record.update(fields))
        change_lines(folder.parent / "started.jsonl", of_line)

    return change


def change_identity(folder: Path) -> None:
    identity = {"dialect": "local", "id": "gpt-5"}
    change_run(folder, lambda record: record.update(identity=identity, server=identity))
    digest = line_digest(msgspec.json.encode(identity, order="sorted"))
    change_lines(
        folder.parent / "started.jsonl",
        lambda line: line.update(identity=digest) if line.get("model") == "policy" else None,
    )


def change_registry(**fields: Any) -> Callable[[Path], None]:
    return lambda folder: change_lines(
        folder.parent / "started.jsonl", lambda line: line.update(fields) if "model" in line else None
    )


def share_an_id(folder: Path) -> None:
    other = json.loads((folder / "runs/nano-instruct/run.json").read_bytes())
    change_run(folder, lambda record: record.update(id=other["id"], started=other["started"]))


def keep_the_best_repeats(folder: Path) -> None:
    rows: dict[str, list[Line]] = defaultdict(list)
    path = folder / "runs/policy/rollouts.jsonl"
    for line in path.read_bytes().splitlines():
        rows[json.loads(line)["task"]].append(json.loads(line))
    best = [sorted(of_task, key=lambda row: -row["outcome"]["reward"])[:2] for of_task in rows.values()]
    kept = [{**row, "repeat": repeat} for of_task in best for repeat, row in enumerate(of_task)]
    path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in kept))
    for name in ("policy", "nano-instruct"):
        change_run(folder, lambda record: record.update(repeats=2), name)
    change_lines(folder / "plan.jsonl", lambda plan: plan.update(repeats=2))
    change_registry(repeats=2)(folder)
    path = folder / "runs/nano-instruct/rollouts.jsonl"
    lines = [line for line in path.read_bytes().splitlines(keepends=True) if json.loads(line)["repeat"] < 2]
    path.write_bytes(b"".join(lines))


def set_seeds(folder: Path) -> None:
    change_lines(folder / "runs/policy/rollouts.jsonl", lambda row: row.update(seed=1))


def invent_a_rescoring(folder: Path) -> None:
    old = {"run": "policy", "id": "0" * 16, "version": "0", "tasks_digest": "0" * 64, "code": "0" * 64, "rollouts": ""}
    change_run(folder, lambda record: record.update(rescored=old))


def rescore_from_another(folder: Path) -> None:
    """A run that is registered, and was made by another model."""
    other = json.loads((folder / "runs/nano-instruct/run.json").read_bytes())
    old = {name: other[name] for name in ("id", "version", "tasks_digest", "code")} | {"run": "policy", "rollouts": ""}
    change_run(folder, lambda record: record.update(rescored=old))


def plant_a_repeat(folder: Path) -> None:
    path = folder / "runs/policy/rollouts.jsonl"
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    planted = [{**row, "repeat": 4} for row in rows if row["outcome"]["reward"] and row["repeat"] == 0]
    with path.open("ab") as file:
        file.writelines(msgspec.json.encode(row) + b"\n" for row in planted)


def plant_scores(folder: Path) -> None:
    """A score more for each that is none, before the true ones: the first one used to count."""
    path = folder / "runs/policy/rollouts.jsonl"
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    right = {row["task"]: row for row in rows if row["outcome"]["reward"]}
    planted = [
        {**right[row["task"]], "repeat": row["repeat"], "seed": row["seed"]}
        for row in rows
        if not row["outcome"]["reward"] and row["task"] in right
    ]
    assert planted
    path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in (*planted, *rows)))


def plant_rewards(folder: Path) -> None:
    change_lines(folder / "runs/policy/rollouts.jsonl", lambda row: row["outcome"].update(reward=1.0))


def change_rollouts(change: Callable[[Line], object]) -> Callable[[Path], None]:
    return lambda folder: change_lines(folder / "runs/policy/rollouts.jsonl", change)


def change_response(**fields: Any) -> Callable[[Path], None]:
    return change_rollouts(lambda row: row["turns"][0]["response"].update(fields))


def fail(row: Line) -> None:
    """A wrong answer becomes a failure of the server, which counts for nothing."""
    if not row["outcome"]["reward"]:
        outcome = {"type": "failure", "where": "model", "kind": "http_500", "message": "", "retryable": True}
        row.update(stop="failed", outcome=outcome)


def think_first(row: Line) -> None:
    row["turns"].insert(0, row["turns"][0])


def leak(row: Line) -> None:
    row["turns"][0]["input"][0]["content"] += f" (the answer is {row['outcome'].get('answer')})"


def change_plan(**fields: Any) -> Callable[[Path], None]:
    """Change what the plan says of a model."""
    return lambda folder: change_lines(
        folder / "plan.jsonl", lambda plan: plan["suite"]["models"]["policy"].update(fields)
    )


def change_weights(folder: Path) -> None:
    identity = {"dialect": "local", "id": "policy", "weights": "0" * 64}
    change_run(folder, lambda record: record.update(identity=identity))
    digest = line_digest(msgspec.json.encode(identity, order="sorted"))
    change_lines(
        folder.parent / "started.jsonl",
        lambda line: line.update(identity=digest) if line.get("model") == "policy" else None,
    )


def call_it_gpt_5_everywhere(folder: Path) -> None:
    """The plan, run.json and registry say that the model is one of a server's; its answers say what they are."""
    identity = {"dialect": "chat", "id": "gpt-5"}
    change_plan(**identity)(folder)
    change_run(folder, lambda record: record.update(identity=identity, server=identity))
    change_registry(identity=line_digest(msgspec.json.encode(identity, order="sorted")))(folder)
    other = json.loads((folder / "runs/nano-instruct/run.json").read_bytes())["identity"]
    digest = line_digest(msgspec.json.encode(other, order="sorted"))
    change_lines(
        folder.parent / "started.jsonl",
        lambda line: line.update(identity=digest) if line.get("model") == "nano-instruct" else None,
    )


def forget_a_run(folder: Path) -> None:
    """Take the lines of one run out of the registry, and link the others anew."""
    path = folder.parent / "started.jsonl"
    id = json.loads((folder / "runs/policy/run.json").read_bytes())["id"]
    path.write_bytes(b"".join(line for line in path.read_bytes().splitlines(keepends=True) if id.encode() not in line))
    change_lines(path, lambda line: None)


def disown(certificate: Line) -> None:
    certificate["registry"]["unregistered"] = []
    certificate["missing"] = [line for line in certificate["missing"] if not line.startswith("not written down")]


FORGERIES: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "two models' folders": (lambda folder: swap(folder, ""), "numbers", "model nano-instruct, and policy"),
    "two models' rollouts": (lambda folder: swap(folder, "rollouts.jsonl"), "numbers", "another model of the suite"),
    "the plan's server": (call_gpt_5, "numbers", r'server {"dialect":"local","id":"policy"}, and .*gpt-5'),
    "a run's model": (change_run_and_registry(model="gpt-5"), "numbers", "model gpt-5, and policy"),
    "a run's identity": (change_identity, "numbers", r'identity {"dialect":"local","id":"gpt-5"}, and'),
    "a run's sampling": (change_run_and_registry(sampling={"temperature": 0.0}), "numbers", "sampling .*and"),
    "a run's limits": (change_run_and_registry(limits={"steps": 2}), "numbers", "limits .*and"),
    "a run's agent": (change_run_and_registry(agent={"agent": "program"}), "numbers", "agent .*and"),
    "a run's seed": (change_run_and_registry(seed=7), "numbers", "seed 7, and 0"),
    "the registry's repeats": (change_registry(repeats=1), "numbers", r"repeats 4, and 1 in started\.jsonl"),
    "the registry's date": (change_registry(at="2020-01-01T00:00:00+00:00"), "numbers", "started .*, and 2020"),
    "the registry's seed": (change_registry(seed=3), "numbers", r"seed 0, and 3 in started\.jsonl"),
    "one id for two runs": (share_an_id, "numbers", "the id of runs/"),
    "the best repeats": (keep_the_best_repeats, "numbers", r"seed \d+, and \d+ from the run's seed"),
    "every seed": (set_seeds, "numbers", r"repeat \d: seed 1, and \d+ from the run's seed, task and repeat"),
    "an invented rescoring": (invent_a_rescoring, "registry", "names other runs"),
    "a rescoring of another's run": (rescore_from_another, "numbers", "rescored: model policy, and nano-instruct"),
    "a repeat that was never planned": (plant_a_repeat, "numbers", r"plan\.jsonl, which has 4, never asked for"),
    "prompts": (change_rollouts(leak), "numbers", "its prompt is not its task's"),
    "a turn more": (change_rollouts(think_first), "numbers", "its turns do not follow from each other"),
    "stop reasons": (
        change_rollouts(lambda row: row.update(stop="token_cap")),
        "numbers",
        "stop token_cap, and completed from its turns",
    ),
    "an answer that was cut off": (change_response(status="incomplete"), "numbers", "stop completed, and token_cap"),
    "an answer that failed": (change_rollouts(fail), "numbers", "a failure of the model, and its answer"),
    "usage": (
        change_response(usage={"input_tokens": 1, "output_tokens": 1}),
        "numbers",
        "its usage is not the number of its token ids",
    ),
    "the answers' model": (change_response(model="gpt-5"), "numbers", "answered by gpt-5, and by policy in plan"),
    "rewards": (plant_rewards, "rewards", "1 for .* in the file, 0 for .* from its output"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_fact_that_stands_in_two_files_is_compared(folder: Path, name: str):
    change, what, expected = FORGERIES[name]
    change(folder)
    forge(folder, disown)
    assert verify_command(folder / "certificate.json", strict=True, rescore=True) == 3
    looked = {one.what: one for one in found(folder, rescored=True).looked}
    assert looked[what].answer == "forged"
    assert re.search(expected, looked[what].reason), looked[what].reason
    if what == "numbers":
        with pytest.raises(UsageError, match="holds files that are not of one profile"):
            asyncio.run(certify(folder))


DOUBTS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "no registry": (lambda folder: (folder.parent / "started.jsonl").unlink(), "registry", "was not beside the prof"),
    "a registry without a run": (forget_a_run, "registry", "has no line for the run of policy"),
    "another model's name": (call_it_gpt_5_everywhere, "models", "policy: asked for gpt-5, and answers are by policy"),
    "other weights": (change_weights, "models", "policy: its weights are not those that Assay ships"),
}


@pytest.mark.parametrize("name", DOUBTS)
def test_what_no_file_decides_is_never_called_valid(folder: Path, name: str):
    change, what, expected = DOUBTS[name]
    change(folder)
    forge(folder)
    assert verify_command(folder / "certificate.json") == 5
    looked = {one.what: one for one in found(folder).looked}
    assert looked[what].answer == "not looked at"
    assert re.search(expected, looked[what].reason), looked[what].reason


@pytest.mark.heavy
@pytest.mark.parametrize(("field", "value"), [("role", "closed"), ("tier", 7), ("kind", "thinking")])
def test_a_place_in_a_suite_that_ships_is_compared_with_it(folder: Path, field: str, value: Any):
    def rename(plan: Line) -> None:
        """The suite `embedded`, whose other models did not run."""
        plan["suite"]["name"] = "embedded"
        order = [["micro-instruct", "nano-instruct"], ["micro-thinking", "nano-thinking"]]
        plan["suite"]["order"] = [*order, ["nano-thinking", "nano-instruct"], ["micro-thinking", "micro-instruct"]]

    change_lines(folder / "plan.jsonl", rename)
    forge(folder)
    assert verify_command(folder / "certificate.json") == 0
    change_plan(**{field: value})(folder)
    forge(folder)
    looked = {one.what: one for one in found(folder).looked}
    assert re.match(rf"Not decided by any file: policy: {field} {value}, and \w+ in the", looked["models"].reason)
    assert verify_command(folder / "certificate.json") == 5


@pytest.mark.parametrize(
    ("asked", "said", "alike"),
    [
        ("gpt-4o", "gpt-4o-2024-08-06", True),
        ("Qwen/Qwen3-4B", "qwen3-4b", True),
        ("claude-3-5-haiku-latest", "claude-3-5-haiku-20241022", True),
        ("qwen3-4b", "/models/Qwen3-4B-Q4_K_M.gguf", True),
        ("", "anything", True),
        ("Qwen/Qwen3-4B", "gpt-5", False),
        ("gpt-4o", "claude-3-5-haiku-20241022", False),
    ],
)
def test_a_servers_own_name_of_a_model_is_known_where_it_is_like_the_one_asked_for(asked: str, said: str, alike: bool):
    assert is_alike(asked, said) == alike


def test_a_second_score_is_forged(folder: Path):
    forge(folder)
    plant_scores(folder)
    certify_file(folder, "runs/policy/rollouts.jsonl")
    assert verify_command(folder / "certificate.json", strict=True, rescore=True) == 3
    looked = {one.what: one for one in found(folder).looked}
    assert (looked["files"].answer, looked["numbers"].answer) == ("ok", "forged")
    assert "a second score for repeat" in looked["numbers"].reason


def test_what_nobody_changed_is_valid(folder: Path):
    forge(folder)
    validity = found(folder, rescored=True, strict=True)
    assert (validity.verdict, validity.unseen) == ("valid", [])


# ---- What a certificate's folder may hold


@pytest.mark.parametrize("name", ["plan.jsonl", "runs/policy/run.json", "runs/policy/rollouts.jsonl", "marks.jsonl"])
@pytest.mark.parametrize("kind", ["link", "pipe", "device"])
def test_only_regular_files_of_the_profile_are_opened(folder: Path, tmp_path: Path, name: str, kind: str):
    forge(folder)
    path, aside = folder / name, tmp_path / "aside"
    if path.exists():
        path.rename(aside)
    if kind == "link":
        aside.touch()
        path.symlink_to(aside)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    code, out, err = assay("verify", str(folder / "certificate.json"), cwd=tmp_path, timeout=60)
    assert code == 3 and out.startswith("forged"), err
    words = "".join(err.split())
    assert name in words and ("alink" in words or "pipe" in words)


@pytest.mark.parametrize("name", ["profile.json", "certificate.md", "certificate.sig", "../started.jsonl"])
def test_a_pipe_in_place_of_any_other_file_holds_nothing_up(folder: Path, tmp_path: Path, name: str):
    forge(folder)
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    code, _, err = assay("verify", str(folder / "certificate.json"), cwd=tmp_path, timeout=60)
    assert code == 3, err


def test_a_run_that_is_a_link_to_another_folder_is_refused(folder: Path, tmp_path: Path):
    forge(folder)
    (folder / "runs/policy").rename(tmp_path / "aside")
    (folder / "runs/policy").symlink_to(tmp_path / "aside")
    before = sorted(tmp_path.rglob("*"))
    assert verify_command(folder / "certificate.json", rescore=True) == 3
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["../../elsewhere", "/etc/elsewhere", "a/../../b"])
def test_a_models_name_leads_nowhere_else(folder: Path, tmp_path: Path, name: str):
    forge(folder)

    def rename(plan: Line) -> None:
        plan["suite"]["models"] = {name: plan["suite"]["models"]["policy"]}

    change_lines(folder / "plan.jsonl", rename)
    certify_file(folder, "plan.jsonl")
    before = sorted(tmp_path.rglob("*"))
    assert verify_command(folder / "certificate.json", rescore=True) == 3
    assert "can't be a folder's" in next(one.reason for one in found(folder).looked if one.what == "numbers")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_registry_that_names_a_foreign_folder_has_it_opened_by_nobody(folder: Path, tmp_path: Path):
    """A run that was thrown away is looked for where the registry says, and only below the registry's folder."""
    os.mkfifo(tmp_path / "run.json")
    line = json.loads((folder.parent / "started.jsonl").read_bytes().splitlines()[0])
    with (folder.parent / "started.jsonl").open("ab") as file:
        for path in ("..", "../profiles/..", str(tmp_path)):
            file.write(msgspec.json.encode({**line, "id": path, "path": path, "previous": ""}) + b"\n")
    change_lines(folder.parent / "started.jsonl", lambda line: None)
    forge(folder)
    code, _, err = assay("verify", str(folder / "certificate.json"), cwd=tmp_path, timeout=60)
    assert code == 0, err


def test_a_benchmark_that_is_made_of_a_file_is_not_read_by_the_certificates_word(folder: Path):
    def rename(plan: Line) -> None:
        plan["source"] = "mcq:/etc/passwd"

    change_lines(folder / "plan.jsonl", rename)
    forge(folder)
    validity = found(folder)
    assert (validity.verdict, validity.unseen) == ("valid", ["benchmark"])
    assert "mcq:/etc/passwd is not installed here" in next(o.reason for o in validity.looked if o.what == "benchmark")
    assert verify_command(folder / "certificate.json") == 5
    assert verify_command(folder / "certificate.json", benchmark="arithmetic") == 0


# ---- What is said


def test_rewards_that_nobody_found_again_are_named_under_strict(folder: Path):
    forge(folder)
    assert found(folder).unseen == []
    validity = found(folder, strict=True)
    assert (validity.verdict, validity.unseen) == ("valid", ["rewards"])
    assert verify_command(folder / "certificate.json", strict=True) == 5
    assert verify_command(folder / "certificate.json") == 0


def test_a_date_to_come_and_another_code_are_said(folder: Path):
    forge(folder, lambda plain: plain.update(made="2999-01-01T00:00:00+00:00", computed_by="0" * 64))
    looked = {one.what: one for one in found(folder).looked}
    assert looked["date"].answer == "not looked at" and "2999-01-01" in looked["date"].reason
    assert "Another code of Assay" in looked["certificate"].reason
    assert verify_command(folder / "certificate.json") == 5
    forge(folder, lambda plain: plain.update(made="yesterday"))
    assert verify_command(folder / "certificate.json") == 3


def test_a_model_with_a_slash_in_its_name_is_certified(tmp_path: Path):
    (tmp_path / "suite.toml").write_text(
        'name = "mine"\norder = [["Qwen/Qwen3-4B", "nano"]]\n'
        '[models."Qwen/Qwen3-4B"]\ndialect = "local"\nid = "policy"\nrole = "closed"\nkind = "instruct"\n'
        '[models.nano]\ndialect = "local"\nid = "nano-instruct"\nrole = "open"\nkind = "instruct"\n'
    )
    arguments = ("--limit", "10", "--repeats", "1", "--out", "profiles/p", "--suite", "suite.toml")
    code, _, err = assay("profile", "arithmetic", *arguments, cwd=tmp_path)
    assert code == 0, err
    assert sorted(path.name for path in (tmp_path / "profiles/p/runs").iterdir()) == ["Qwen--Qwen3-4B", "nano"]
    assert assay("certify", "profiles/p", cwd=tmp_path)[0] == 0
    code, out, err = assay("verify", "profiles/p/certificate.json", "--rescore", cwd=tmp_path)
    assert code == 0 and out.startswith("valid"), err


@pytest.mark.heavy
def test_a_profile_whose_settings_changed_is_certified_and_so_is_its_rescoring(tmp_path: Path):
    arguments = ("profile", "arithmetic", "--limit", "10", "--out", "profiles/p", "--models", "policy")
    for change in ((), ("--repeats", "2", "--set", "models.policy.timeout_s=7")):
        code, _, err = assay(*arguments, *change, cwd=tmp_path)
        assert code == 0, err
    code, _, err = assay("rescore", "profiles/p", "--out", "profiles/q", cwd=tmp_path)
    assert code == 0, err
    for name in ("p", "q"):
        code, _, err = assay("certify", f"profiles/{name}", cwd=tmp_path)
        assert code == 0, err
        code, out, err = assay("verify", f"profiles/{name}/certificate.json", "--rescore", cwd=tmp_path)
        assert code == 0 and out.startswith("valid"), err
    made = msgspec.json.decode((tmp_path / "profiles/q/certificate.json").read_bytes(), type=Certificate)
    assert made.models["policy"].rescored and not made.registry.unregistered
