"""Models that answer by a function: the gates' own, and those that tests script."""

from collections.abc import Callable

from assay.model.dialects import thinking
from assay.types import Request, Response


class Fixed:
    """Answers each request with what a function says: raw text, or a whole response."""

    def __init__(self, answer: Callable[[Request], str | Response]) -> None:
        self._answer = answer

    async def respond(self, request: Request) -> Response:
        answer = self._answer(request)
        return Response(output=thinking.items(answer)) if isinstance(answer, str) else answer
