"""An independent server, `transformers serve`, runs an embedded model, and Assay asks it over HTTP.

`pytest -m interop` needs the extra `trl`; the comparison of sampled scores takes minutes and is marked slow too.
"""

import asyncio
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from assay.benchmarks.arithmetic.benchmark import BENCHMARK
from assay.config import ModelConfig
from assay.fidelity.results.results import read
from assay.fidelity.schema.profile import Profile
from assay.model import connect
from assay.model.builtin.local import WEIGHTS
from assay.stats.compare import equivalence
from assay.stats.sample import sample
from assay.types import Request, Response, Sampling
from tests.commands import assay

pytestmark = [pytest.mark.interop, pytest.mark.timeout(1800)]
pytest.importorskip("torch")
pytest.importorskip("transformers")
NAME = "nano-thinking"
SUITE = '''
name = "independent"

[models.nano-thinking]
role = "open"
kind = "thinking"
dialect = "chat"
id = "{folder}"
base_url = "{url}"
limits = {{ concurrency = 4 }}
# transformers is greedy, and samples from the 50 likeliest tokens alone, unless it is told not to. What it is told
# takes the place of all that it knows, the token that ends a text included.
extra_body.generation_config = """
{{"do_sample": true, "top_k": 0, "max_new_tokens": 480, "eos_token_id": 1, "pad_token_id": 0}}"""
'''


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("transformers")
    command = [program, "serve", WEIGHTS / NAME, "--port", str(port), "--device", "cpu", "--dtype", "float32"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(f"http://localhost:{port}/health", process)
            yield f"http://localhost:{port}/v1"
        finally:
            process.terminate()


def _wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, "transformers serve ended before it was ready"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.5)
    raise AssertionError("transformers serve was not ready within two minutes")


def greedy(config: ModelConfig, count: int) -> list[Response]:
    async def main() -> list[Response]:
        model = connect(config)
        limit = asyncio.Semaphore(4)

        async def ask(task: int) -> Response:
            async with limit:
                return await model.respond(Request(input=tasks[task].input, sampling=Sampling(temperature=0.0)))

        try:
            return await asyncio.gather(*map(ask, range(count)))
        finally:
            await model.aclose()

    tasks = list(BENCHMARK.environment.tasks())
    return asyncio.run(main())


def remote(url: str, **config: object) -> ModelConfig:
    settings = {"dialect": "chat", "id": str(WEIGHTS / NAME), "base_url": url, **config}
    return ModelConfig(**settings)  # type: ignore[arg-type]


def test_greedy_answers_are_those_of_the_embedded_server(url: str):
    ours = greedy(ModelConfig(dialect="local", id=NAME), 240)
    theirs = greedy(remote(url), 240)
    assert [(r.reasoning, r.text, r.status) for r in theirs] == [(r.reasoning, r.text, r.status) for r in ours]
    assert [r.usage.output_tokens for r in theirs] == [r.usage.output_tokens for r in ours]
    assert sum(bool(r.reasoning) for r in theirs) > 230


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", ["chat", "completions", "responses"])
def test_each_dialect_and_a_real_stream_give_the_same_answers(url: str, dialect: str, stream: bool):
    template = str(WEIGHTS / NAME / "tokenizer_config.json") if dialect == "completions" else None
    cap = Sampling(max_output_tokens=400)
    ours = greedy(ModelConfig(dialect="local", id=NAME), 12)
    theirs = greedy(remote(url, dialect=dialect, stream=stream, chat_template=template, sampling=cap), 12)
    assert [(r.reasoning, r.text, r.status) for r in theirs] == [(r.reasoning, r.text, r.status) for r in ours]


@pytest.mark.slow
def test_sampled_scores_are_those_of_the_embedded_server(url: str, tmp_path: Path):
    """By two one-sided tests with a margin of 3 points, 16 repeats a side."""
    (tmp_path / "suite.toml").write_text(SUITE.format(folder=WEIGHTS / NAME, url=url))
    code, _, err = assay(
        "profile",
        "arithmetic",
        "--suite",
        "suite.toml",
        "--repeats",
        "16",
        "--out",
        "there",
        cwd=tmp_path,
        timeout=1700,
    )
    assert code == 0, err
    code, _, err = assay("run", "arithmetic", "--model", NAME, "--repeats", "16", "--out", "here", cwd=tmp_path)
    assert code == 0, err
    profile = msgspec.json.decode((tmp_path / "there/profile.json").read_bytes(), type=Profile)
    there, here = read(tmp_path / "there/runs" / NAME), read(tmp_path / "here")
    found = equivalence(sample(there.rewards_TK), sample(here.rewards_TK), 0.03)
    print(json.dumps({"difference": found.difference, "se": found.se, "score": profile.models[NAME].score}))
    assert profile.models[NAME].failures == 0
    assert {gate.name: gate.verdict for gate in profile.gates}["range"] == "pass"
    assert found.verdict == "equivalent", found
