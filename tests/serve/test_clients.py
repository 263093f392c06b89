"""What people call models with, against a served and recorded model: text, streams, reasoning, tools and errors.

The packages of these clients are in an environment of their own, which `.ci/run` makes, and so is node's.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from assay.errors import ModelError
from assay.types import FunctionCall, FunctionCallOutput, Message, Reasoning, ReasoningText, Request, Response, Text
from tests.serve.served import serving

pytestmark = pytest.mark.clients
SCRIPTS = Path(__file__).with_name("clients")
NODE_PACKAGES = os.environ.get("ASSAY_NODE_PACKAGES", "")
"""The folder whose node_modules hold `openai`."""


def answer(request: Request) -> Response:
    """Answers `text` at length, `tools` by a call and then by its output; fails for `fail`."""
    said = next(item.text for item in request.input if isinstance(item, Message) and item.role == "user")
    if said == "fail":
        raise ModelError("http_401", "the key is not valid", retryable=False)
    outputs = [item.text for item in request.input if isinstance(item, FunctionCallOutput)]
    if said == "tools" and not outputs:
        thought = Reasoning(content=[ReasoningText("A sum.")])
        return Response([thought, FunctionCall("call_1", "add", '{"a": 19, "b": 23}')])
    text = f"The sum is {outputs[0]}." if outputs else LONG
    return Response([Reasoning(content=[ReasoningText(THOUGHT)]), Message("assistant", [Text(text)])])


LONG, THOUGHT = "It is 42. " * 60 + "Done.", "Six by seven. " * 40
EXPECTED = {"text": LONG, "stream": LONG, "reasoning": THOUGHT, "tools": "The sum is 42.", "error": 401}
CLIENTS = {
    "openai_python.py": {"responses", "chat"},
    "openai_node.mjs": {"responses", "chat"},
    "openai_agents.py": {"responses", "chat"},
    "anthropic_python.py": {"messages"},
    "pydantic_agents.py": {"responses", "chat", "messages"},
    "litellm_python.py": {"chat", "messages"},
}


@pytest.mark.parametrize("script", CLIENTS)
def test_a_client_gets_what_the_model_answers_and_is_recorded(script: str, tmp_path: Path):
    source = SCRIPTS / script
    if source.suffix == ".mjs":
        # Node looks for packages beside the script.
        source = Path(shutil.copy(source, NODE_PACKAGES))
    interpreter = "node" if source.suffix == ".mjs" else sys.executable
    with serving(answer, record=tmp_path) as url:
        command = [interpreter, str(source), f"{url}/rollouts/r"]
        made = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout) == dict.fromkeys(CLIENTS[script], EXPECTED)
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert sum(line["type"] == "failure" for line in lines) == len(CLIENTS[script]), "nothing was tried again"
