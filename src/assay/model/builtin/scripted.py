"""Scripted answers, for tests and for trying an environment out: the configuration has the answer of each turn."""

from assay.config import ModelConfig
from assay.errors import ModelError, UsageError
from assay.model.dialects import thinking
from assay.types import Item, Request, Response


class Scripted:
    """Gives entry N of `script` as the answer to turn N of every rollout."""

    def __init__(self, config: ModelConfig) -> None:
        """Raises UsageError for a script without an answer."""
        if not config.script:
            raise UsageError('a scripted model needs the answer of each turn, such as script = ["42"]')
        self._config = config

    async def respond(self, request: Request) -> Response:
        """Raises ModelError past the script's end."""
        script = self._config.script
        if request.turn >= len(script):
            message = f"the script ends after {len(script)} turns; add the answer of turn {request.turn + 1} to script"
            raise ModelError("script_ended", message, retryable=False)
        return answer(script[request.turn], self._config)


def answer(said: str | list[Item], config: ModelConfig) -> Response:
    """Returns a response with these items, or with the items of a raw text by the setting `reasoning`."""
    if not isinstance(said, str):
        return Response(output=said)
    if config.reasoning in ("none", "field"):
        return Response(output=[thinking.message(said)])
    return Response(output=thinking.items(said, tags=config.thinking_tags))
