"""A provider on loopback that speaks both batch APIs, OpenAI's and Anthropic's, as their documentation says."""

import asyncio
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.endpoint import Call, answer_body, http

EXPIRED = "This request could not be executed before the completion window expired."


@dataclass
class Provider:
    """Answers each row with the same text, except where `fault` names what comes of its prompt."""

    text: str = "42"
    polls: int = 1
    """Times that a batch is said to go on."""
    fault: dict[str, str] = field(default_factory=dict[str, str])
    """By a word in the prompt: expired, errored, overflow (unless the cap is gone or small) or lost."""
    silent: bool = False
    """Whether the answer to a new batch never comes."""
    refuse: int = 0
    """How many new batches are turned away first."""
    failed: bool = False
    """Whether every batch fails as a whole."""
    paid: Counter[str] = field(default_factory=Counter[str])
    """Prompts that were answered."""
    batches: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    _answered: set[str] = field(default_factory=set[str])
    _files: dict[str, bytes] = field(default_factory=dict[str, bytes])

    async def __call__(self, call: Call, writer: asyncio.StreamWriter) -> None:
        path, _, _ = call.path.partition("?")
        creates = path in ("/v1/batches", "/v1/messages/batches") and call.body
        if creates and self.refuse:
            self.refuse -= 1
            writer.write(http(b'{"error": {"message": "slow down"}}', 429))
            return
        answer = self._messages(path, call) if path.startswith("/v1/messages") else self._openai(path, call)
        if creates and self.silent:
            await asyncio.sleep(60)
        writer.write(http(answer, kind="application/json"))

    def _openai(self, path: str, call: Call) -> bytes:
        if path == "/v1/files":
            boundary = call.headers["content-type"].partition("boundary=")[2].encode()
            parts = [part.partition(b"\r\n\r\n") for part in call.body.split(b"--" + boundary)[1:-1]]
            (purpose, _, use), (head, _, content) = parts
            assert b'name="purpose"' in purpose
            assert use == b"batch\r\n"
            assert b'name="file"; filename="' in head
            self._files[f"file-{len(self._files)}"] = content.removesuffix(b"\r\n")
            return json.dumps({"id": list(self._files)[-1], "object": "file", "purpose": "batch"}).encode()
        if path == "/v1/batches" and call.body:
            wanted = call.json
            assert wanted["endpoint"] == "/v1/responses"
            assert wanted["completion_window"] == "24h"
            rows = [json.loads(line) for line in self._files[wanted["input_file_id"]].splitlines()]
            assert {(row["method"], row["url"]) for row in rows} == {("POST", "/v1/responses")}
            asked = [(row["custom_id"], row["body"]) for row in rows]
            batch = self._new("batch", asked, status="validating", metadata=wanted["metadata"])
            return json.dumps(_shown(batch)).encode()
        if path == "/v1/batches":
            return json.dumps({"data": [_shown(one) for one in self.batches.values()], "has_more": False}).encode()
        if match := re.fullmatch(r"/v1/batches/(\w+)", path):
            batch = self.batches[match[1]]
            if self._over(batch):
                if self.failed:
                    errors = {"data": [{"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}]}
                    return json.dumps(_shown(batch) | {"status": "failed", "errors": errors}).encode()
                names = {"output_file_id": f"{match[1]}-out", "error_file_id": f"{match[1]}-err"}
                return json.dumps(_shown(batch) | {"status": "completed", **names}).encode()
            return json.dumps(_shown(batch) | {"status": "in_progress"}).encode()
        match = re.fullmatch(r"/v1/files/(\w+)-(out|err)/content", path)
        assert match
        lines: list[str] = []
        batch = self.batches[match[1]]
        for custom, body in batch["rows"]:
            end, answer = self._result(batch, body, body["input"][-1]["content"], "/responses")
            row: dict[str, Any] = {"id": "batch_req_1", "custom_id": custom, "response": None, "error": None}
            if end == "expired":
                row["error"] = {"code": "batch_expired", "message": EXPIRED}
            else:
                row["response"] = {"status_code": 200 if end == "succeeded" else 400, "request_id": "r", "body": answer}
            if end != "lost" and (end == "succeeded") == (match[2] == "out"):
                lines.append(json.dumps(row))
                self._pay(custom, end, body["input"][-1]["content"])
        return "\n".join(lines).encode()

    def _messages(self, path: str, call: Call) -> bytes:
        assert call.headers["anthropic-version"]
        if path == "/v1/messages/batches" and call.body:
            asked = [(row["custom_id"], row["params"]) for row in call.json["requests"]]
            assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", custom) for custom, _ in asked)
            return json.dumps(_shown(self._new("msgbatch", asked, processing_status="in_progress"))).encode()
        if path == "/v1/messages/batches":
            return json.dumps({"data": [_shown(one) for one in self.batches.values()], "has_more": False}).encode()
        name = path.split("/")[4]
        batch = self.batches[name]
        if not path.endswith("/results"):
            status = "ended" if self._over(batch) else "in_progress"
            return json.dumps(_shown(batch) | {"processing_status": status}).encode()
        lines: list[str] = []
        for custom, params in batch["rows"]:
            content = params["messages"][-1]["content"]
            prompt = content if isinstance(content, str) else content[-1]["text"]
            end, answer = self._result(batch, params, prompt, "/messages")
            result: dict[str, Any] = {"type": end}
            if end == "succeeded":
                result["message"] = answer
            elif end == "errored":
                result["error"] = {"type": "error", **answer}
            if end != "lost":
                lines.append(json.dumps({"custom_id": custom, "result": result}))
                self._pay(custom, end, prompt)
        return "\n".join(lines).encode()

    def _new(self, kind: str, rows: list[tuple[str, Any]], **fields: Any) -> dict[str, Any]:
        name = f"{kind}_{len(self.batches)}"
        counts = {"processing": len(rows), "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
        if kind == "batch":
            counts = {"total": len(rows), "completed": 0, "failed": 0}
        self.batches[name] = {
            "id": name,
            "rows": rows,
            "polls": 0,
            "fault": dict(self.fault),
            "request_counts": counts,
            **fields,
        }
        return self.batches[name]

    def _over(self, batch: dict[str, Any]) -> bool:
        batch["polls"] += 1
        return batch["polls"] > self.polls

    def _result(self, batch: dict[str, Any], body: dict[str, Any], prompt: str, path: str) -> tuple[str, Any]:
        """What comes of a row, and its body."""
        cap = "max_tokens" if path == "/messages" else "max_output_tokens"
        assert "stream" not in body
        fault = next((end for word, end in batch["fault"].items() if word in prompt), "succeeded")
        if fault == "overflow":
            if body.get(cap, 0) > 100:
                error = {"type": "invalid_request_error", "message": "input and max_tokens exceed context limit"}
                return "errored", {"error": error}
            fault = "succeeded"
        if fault == "succeeded":
            return fault, json.loads(answer_body(path, self.text))
        return fault, {"error": {"type": "invalid_request_error", "message": "no such thing"}}

    def _pay(self, custom: str, end: str, prompt: str) -> None:
        """Count an answer once, however often it is fetched."""
        self.paid[prompt] += end == "succeeded" and custom not in self._answered
        self._answered.add(custom)


def _shown(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in batch.items() if name not in ("rows", "polls", "fault")}
