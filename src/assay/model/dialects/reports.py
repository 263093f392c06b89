"""Responses for errors by which a server reports what the model did: reach the cap, or write a malformed call."""

import re
from typing import Any

import msgspec
from msgspec import Struct

from assay.model.dialects import thinking
from assay.model.http import ReportedAnswer
from assay.types import FunctionCall, Request, Response


def response_to_report(answer: ReportedAnswer, request: Request) -> Response:
    """Returns the response: cut at the cap, or a call of the tool that the server or the model's text names."""
    if answer.end == "max_output_tokens":
        return Response(output=[], status="incomplete", incomplete_reason=answer.end)
    place = re.search(r"for tool '?([\w.-]+)", str(answer))
    names = [tool.name for tool in request.tools]
    written = (name for name in names if re.search(rf"\b{re.escape(name)}\b", answer.text))
    name = place[1] if place and place[1] in names else next(written, None)
    if name is None:
        return Response(output=[thinking.message(answer.text)])
    # No id of the conversation so far ends in its length.
    call_id = f"refused_{len(request.input)}"
    return Response(output=[FunctionCall(call_id=call_id, name=name, arguments=_arguments(answer.text))])


class _Call(Struct):
    arguments: dict[str, Any] | None = None
    parameters: dict[str, Any] | None = None


def _arguments(text: str) -> str:
    """Returns the arguments in the text of a call; all of the text if they can't be read."""
    start, end = text.find("{"), text.rfind("}")
    try:
        call = msgspec.json.decode(text[start : end + 1], type=_Call)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return text
    found = call.arguments if call.arguments is not None else call.parameters
    return text if found is None else msgspec.json.encode(found).decode()
