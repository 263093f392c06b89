"""Models that answer by a function, for gates and tests."""

from collections.abc import Callable

from assay.model.dialects import thinking
from assay.types import Request, Response


class FunctionModel:
    """Answers each request with the result of a function: raw text, or a whole response."""

    def __init__(self, answer: Callable[[Request], str | Response]) -> None:
        self._answer = answer

    async def respond(self, request: Request) -> Response:
        answer = self._answer(request)
        return Response(output=thinking.items(answer)) if isinstance(answer, str) else answer
