"""A model on HTTP, on loopback, in a thread of its own, and the specification that its answers are held against."""

import asyncio
import contextlib
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from jsonschema import Draft202012Validator

from assay.config import ModelConfig
from assay.model import Model, close, connect
from assay.model.builtin.function import FunctionModel
from assay.serve.app import ServedModel
from assay.serve.gateway import Gateway
from assay.serve.http import settings
from assay.types import Request, Response

SPECIFICATION = Path(__file__).parents[3] / "shared/data/openresponses/openapi-2026-04-24.json"


@contextlib.contextmanager
def serving(
    answer: Callable[[Request], str | Response] | ModelConfig | Model,
    *,
    key: str | None = None,
    record: Path | None = None,
    name: str = "m",
) -> Iterator[str]:
    """The address of a server whose model answers by a function, or is the one that a configuration names."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        started, box = threading.Event(), dict[str, Any]()

        async def main() -> None:
            config = answer if isinstance(answer, ModelConfig) else ModelConfig(dialect="scripted", id=name)
            model = connect(answer) if isinstance(answer, ModelConfig) else answer
            model = FunctionModel(model) if callable(model) else model
            served = ServedModel(name, config, model, Gateway(model, record) if record else None)
            server = uvicorn.Server(settings(served.app(key)))
            box["server"] = server
            serve = asyncio.create_task(server.serve(sockets=[listener]))
            while not server.started:
                await asyncio.sleep(0.01)
            started.set()
            await serve
            await close(model)

        thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
        thread.start()
        assert started.wait(20)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            box["server"].should_exit = True
            thread.join(20)


def post(url: str, body: bytes, path: str = "/v1/responses") -> tuple[int, Any]:
    """The status and the JSON of an answer."""
    request = urllib.request.Request(url + path, body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@cache
def _components() -> dict[str, Any]:
    if not SPECIFICATION.exists():
        pytest.skip("the Open Responses specification is not beside the repository")
    return json.loads(SPECIFICATION.read_bytes())["components"]


@cache
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": f"#/components/schemas/{schema}", "components": _components()})


def check(value: Any, schema: str) -> None:
    """Hold a value against one of the specification's schemas. Skips where the specification is not there."""
    _validator(schema).validate(value)


def check_event(event: dict[str, Any]) -> None:
    """Hold a server-sent event against the schema of its type."""
    schemas = {
        schema["properties"]["type"]["enum"][0]: name
        for name, schema in _components()["schemas"].items()
        if name.endswith("StreamingEvent")
    }
    check(event, schemas[event["type"]])
