"""A model endpoint that costs nothing, so that what is measured is the caller: nginx with fixed answers."""

import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bench import texts

ECHO = Path("/usr/lib/nginx/modules/ngx_http_echo_module.so")
LONG_S = 10
"""Seconds of the slowest answer."""
WORKERS = 8
"""Of the slow one: each has a queue of its own for new connections, which Linux bounds at 4,096, and a connection that
finds it full is tried again after seconds. The instant one has a single worker, so as to use one core at most."""
CONFIG = """
load_module {echo};
worker_processes {workers};
worker_rlimit_nofile 65535;
pid {folder}/{port}.pid;
error_log {folder}/{port}.log warn;
events {{ worker_connections 65000; multi_accept on; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  client_body_buffer_size 1m;
  client_body_temp_path {folder};
  default_type application/json;
  open_file_cache max=100;
  sendfile on;
  server {{
    listen 127.0.0.1:{port} backlog=16384 reuseport;
    root {folder};
    {locations}
  }}
}}
"""
INSTANT = """
    location = /v1/responses {{ return 200 '{answer}'; }}
    location = /tools/v1/responses {{ return 200 '{call}'; }}
    # What is longer than a directive may be is a file, which nginx gives to a POST by this detour.
    location ~ ^/([a-z-]+)/v1/responses$ {{ error_page 405 =200 /$1.answer; return 405; }}
    location = /stream.answer {{ default_type text/event-stream; }}
"""
SLOW = """
    location = /v1/responses {{ echo_sleep 1; echo '{answer}'; }}
    location = /long/v1/responses {{ echo_sleep {long_s}; echo '{answer}'; }}
"""


class Urls(NamedTuple):
    """Base URLs of one that answers at once, and of one that answers after a second."""

    instant: str
    slow: str

    def of(self, name: str) -> str:
        """The base URL of another answer: tools, reasoning, stream, maths or code; or of `long`, which takes LONG_S."""
        return (self.slow if name == "long" else self.instant).replace("/v1", f"/{name}/v1")


def available() -> bool:
    """Returns whether nginx and its echo module are here (Debian: nginx-light, libnginx-mod-http-echo)."""
    return shutil.which("nginx") is not None and ECHO.exists()


@contextmanager
def running() -> Iterator[Urls]:
    """The endpoint, on ports that are free."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx may serve as another user
        for file, content in files().items():
            (folder / f"{file}.answer").write_bytes(content)
        # nginx takes a backslash for its own, and puts an id into each answer where $request_id stands.
        answer, call = (encode(item).decode().replace("\\", "\\\\") for item in (say(texts.ANSWER), CALL))
        with (
            _nginx(folder, 1, INSTANT.format(answer=answer, call=call)) as instant,
            _nginx(folder, WORKERS, SLOW.format(answer=answer, long_s=LONG_S)) as slow,
        ):
            yield Urls(instant, slow)


@contextmanager
def _nginx(folder: Path, workers: int, locations: str) -> Iterator[str]:
    """The base URL of one that serves these locations."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = folder / f"{port}.conf"
    config.write_text(CONFIG.format(echo=ECHO, folder=folder, port=port, workers=workers, locations=locations))
    command = ["nginx", "-c", str(config), "-p", str(folder), "-g", "daemon off;"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _wait_for(port, server)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(10)


def say(text: str) -> dict[str, Any]:
    """Returns a message of the model's."""
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": "m", "status": "completed", "role": "assistant", "content": content}


CALL = {
    "type": "function_call",
    "id": "f",
    "status": "completed",
    "call_id": "$request_id",
    "name": "look_up",
    "arguments": '{"page": 7}',
}


def response(*items: dict[str, Any], output_tokens: int = 16, reasoning_tokens: int = 0) -> dict[str, Any]:
    """Returns a whole response, with the fields that OpenAI's has."""
    return {
        "id": "r",
        "object": "response",
        "created_at": 1760000000,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "model": "fixed",
        "output": items,
        "parallel_tool_calls": True,
        "tools": [],
        "usage": {
            "input_tokens": 32,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": output_tokens,
            "output_tokens_details": {"reasoning_tokens": reasoning_tokens},
            "total_tokens": 32 + output_tokens,
        },
        "metadata": {},
    }


def encode(*items: dict[str, Any], **usage: int) -> bytes:
    return json.dumps(response(*items, **usage), separators=(",", ":")).encode()


def files() -> dict[str, bytes]:
    """Returns the answers that are files, by name."""
    text = texts.reasoning()
    thought = {"type": "reasoning", "id": "t", "summary": [], "content": [{"type": "reasoning_text", "text": text}]}
    long = response(
        thought, say(texts.ANSWER), output_tokens=16 + texts.REASONING_TOKENS, reasoning_tokens=texts.REASONING_TOKENS
    )
    return {
        "reasoning": json.dumps(long, separators=(",", ":")).encode(),
        "stream": b"".join(_events(long, text)),
        "maths": encode(say(texts.MATHS_ANSWER)),
        "code": encode(say(texts.CODE_ANSWER)),
    }


def _events(whole: dict[str, Any], text: str) -> Iterator[bytes]:
    """The same as a stream with an event a token, as servers of the Open Responses specification send it."""
    pieces = [text[at : at + 4] for at in range(0, len(text), 4)]
    events: list[dict[str, Any]] = [{"type": "response.created", "response": {**whole, "output": []}}]
    about = {"item_id": "t", "output_index": 0, "content_index": 0}
    events += [{"type": "response.reasoning_text.delta", **about, "delta": piece} for piece in pieces]
    events.append({"type": "response.completed", "response": whole})
    for number, event in enumerate(events):
        data = json.dumps({"sequence_number": number, **event}, separators=(",", ":"))
        yield f"event: {event['type']}\ndata: {data}\n\n".encode()


def _wait_for(port: int, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(100):
        if server.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("nginx does not take requests; what it says stands above")
