"""A hub on loopback: the endpoints of the Hugging Face Hub that `huggingface_hub` uses to list and get a data set."""

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class DataSet:
    """What a hub holds of one data set."""

    files: dict[str, bytes]
    card: dict[str, Any] = field(default_factory=dict)
    commit: str = COMMIT
    gated: bool = False


class Hub:
    """Serves data sets in a thread of its own while the context lasts.

    `asked` are the paths of all requests, `variables` what a command has to have in its environment to ask it.
    """

    def __init__(self, sets: dict[str, DataSet]) -> None:
        self.sets = sets
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub.asked.append(self.path)
                status, headers, body = hub.answer(unquote(self.path))
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.variables = {"HF_ENDPOINT": f"http://127.0.0.1:{self._server.server_port}"}

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        words = path.strip("/").split("/")
        listing = words[0] == "api"
        name = "/".join(words[2:4] if listing else words[1:3])
        found = self.sets.get(name)
        if found is None:
            return 404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}, b"{}"
        if found.gated:
            return 403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"}, b"{}"
        revision = (words[5] if len(words) > 5 else "main") if listing else words[4]
        if revision not in ("main", found.commit):
            return 404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Revision not found"}, b"{}"
        if listing:
            siblings = [{"rfilename": file} for file in found.files]
            said = {"id": name, "sha": found.commit, "siblings": siblings, "cardData": found.card}
            return 200, {"Content-Type": "application/json"}, json.dumps(said).encode()
        body = found.files["/".join(words[5:])]
        return 200, {"X-Repo-Commit": found.commit, "ETag": f'"{hashlib.sha256(body).hexdigest()}"'}, body
