"""Audits: of honest records, of forged ones, and of models that can't be asked."""

import json
import shutil
import socket
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from assay.fidelity.audit import ALPHA, MISSING, draw, judge, smallest_forgery
from assay.fidelity.certificate.certificate import with_digest
from assay.fidelity.certificate.files import render_file
from assay.fidelity.certificate.schema import Certificate
from assay.stats.paired import difference
from assay.stats.sample import sample
from tests.commands import assay
from tests.fidelity.forgery import Line, change_lines, forge

MODELS = "nano-thinking,policy"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("made")
    profile = ("profile", "arithmetic", "--models", MODELS, "--repeats", "2", "--out", "profiles/p")
    assert assay(*profile, cwd=place)[0] == 0
    assert assay("certify", "profiles/p", cwd=place)[0] == 0
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


def audit(place: Path, *more: str, model: str = "policy", seed: int = 1) -> tuple[int, dict[str, object], str]:
    command = ("audit", "profiles/p/certificate.json", "--model", model, "--seed", str(seed), "--json", *more)
    code, out, err = assay(*command, cwd=place)
    return code, json.loads(out) if out else {}, err


@pytest.mark.heavy
def test_an_honest_record_is_consistent_and_the_audit_says_what_it_could_miss_and_cost(place: Path):
    code, found, err = audit(place)
    assert (code, found["verdict"], found["tasks"], found["missing"]) == (0, "consistent", 60, []), err
    assert 0.1 < float(str(found["smallest"])) < 0.3
    assert found["tokens"] and found["differs"] == []
    code, out, err = assay("audit", "profiles/p/certificate.json", "--model", "policy", "--seed", "1", cwd=place)
    assert code == 0 and "60 tasks drawn by seed 1" in out, err  # goes on with the same rollouts, so it asks nothing
    assert "It would have seen, with 80 % or more, a forgery of" in out and "tokens in" in out


def inflate(place: Path, share: float) -> None:
    """Give full marks to a share of the tasks that the model fails, and certify that."""
    folder = place / "profiles/p"
    rows = [json.loads(line) for line in (folder / "runs/policy/rollouts.jsonl").read_bytes().splitlines()]
    failed = sorted({row["task"] for row in rows if not row["outcome"]["reward"]})
    chosen = set(np.random.default_rng(0).choice(failed, round(share * 240), replace=False).tolist())

    def change(row: Line) -> None:
        if row["task"] in chosen:
            row["outcome"]["reward"] = 1.0

    change_lines(folder / "runs/policy/rollouts.jsonl", change)
    forge(folder)


@pytest.mark.heavy
def test_inflated_rewards_contradict_fresh_scores(place: Path):
    inflate(place, 0.5)
    code, found, err = audit(place)
    assert (code, found["verdict"]) == (3, "contradicts"), err
    assert float(str(found["shift"])) < -0.3 and float(str(found["p"])) < ALPHA


@pytest.mark.heavy
def test_a_model_that_cant_be_asked_is_unknown_and_never_a_zero(place: Path):
    inflate(place, 0.5)
    here = ("--as", "chat:policy", "--base-url", "http://127.0.0.1:9/v1", "--set", "model.attempts=1")
    code, found, err = audit(place, *here)
    assert (code, found["verdict"], found["tasks"]) == (5, "inconclusive", 0), err
    assert found["fresh"] is None and len(list(found["missing"])) == 60  # type: ignore[call-overload]
    assert any(str(line).startswith("dialect: local certified, chat here") for line in list(found["differs"]))  # type: ignore[call-overload]


@pytest.mark.heavy
def test_an_address_that_only_the_certificate_names_is_not_called(place: Path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        path = place / "profiles/p/certificate.json"
        plain = json.loads(path.read_bytes())
        plain["models"]["other"] = plain["models"].pop("policy")
        plain["models"]["other"]["server"] = {"dialect": "chat", "id": "other", "base_url": url, "api_key_env": "HOME"}
        (place / "profiles/p/runs/policy").rename(place / "profiles/p/runs/other")
        plain["evidence"] = {name.replace("/policy/", "/other/"): one for name, one in plain["evidence"].items()}
        path.write_bytes(render_file(with_digest(msgspec.convert(plain, Certificate))))
        code, _, err = audit(place, model="other")
        assert code == 2 and "no model 'other'" in err, err
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.heavy
def test_what_cant_be_audited_is_refused(place: Path):
    for more, model, expected in (
        ((), "gpt-5", "no model that ran in this certificate 'gpt-5'"),
        (("--sample", "3"), "policy", "expected at least 10 tasks"),
        (("--benchmark", "office"), "policy", "is not the benchmark that was certified"),
    ):
        code, _, err = audit(place, *more, model=model)
        assert code == 2 and expected in err, err
    change_lines(place / "profiles/p/runs/policy/rollouts.jsonl", lambda row: row["outcome"].update(reward=1.0))
    code, _, err = audit(place)
    assert code == 2 and "is forged, so there is nothing to audit" in err


def test_the_auditors_seed_draws_the_tasks_and_more_of_them_hold_the_fewer():
    tasks = [f"t{number}" for number in range(200)]
    assert set(draw(tasks, 60, 1)) < set(draw(tasks, 120, 1))
    assert draw(tasks, 60, 1) != draw(tasks, 60, 2)
    assert len(draw(tasks, 500, 1)) == 200


def test_failures_that_could_hide_a_forgery_leave_it_open():
    assert judge(0.0, 0.9, 0.1, MISSING + 0.01)[0] == "inconclusive"
    assert judge(-0.4, 1e-6, 0.1, 0.5)[0] == "contradicts"  # what is known is enough
    assert judge(0.0, 0.9, 0.4, 0.0)[0] == "inconclusive"
    assert judge(-0.2, 0.03, 0.1, 0.0)[0] == "inconclusive"


def drawn(rng: np.random.Generator, p_T: NDArray[np.float64], repeats: int) -> NDArray[np.float64]:
    return (rng.random((len(p_T), repeats)) < p_T[:, None]).astype(float)


@pytest.mark.parametrize("sharp", [0.3, 3.0])
def test_honest_records_are_seldom_contradicted_and_forged_ones_seen_at_the_stated_size(sharp: float):
    rng = np.random.default_rng(2)
    p_T = rng.beta(0.6 * sharp, 0.4 * sharp, 60)
    within = float((p_T * (1 - p_T)).mean())
    size = smallest_forgery(np.sqrt(within * 1.25 / 60), 60, 1.0)
    accused = seen = 0
    for _ in range(200):
        recorded_TK, fresh_TK = drawn(rng, p_T, 4), drawn(rng, p_T, 1)
        accused += difference(sample(recorded_TK), sample(fresh_TK)).over_tasks.p < ALPHA
        # Forged by the whole span, on so many tasks that the mean moves by the size.
        down_T = p_T < 0.5
        room = (1 - recorded_TK.mean(axis=1))[down_T].sum() / 60
        forged_TK = np.where((rng.random(60) < size / room)[:, None] & down_T[:, None], 1.0, recorded_TK)
        seen += difference(sample(forged_TK), sample(fresh_TK)).over_tasks.p < ALPHA
    assert accused <= 8  # 2 expected
    assert seen >= 130  # 160 expected
