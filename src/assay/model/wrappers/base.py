"""The base of all wrappers: a model around another model."""

from assay.model import Model, close, identity_of


class Wrapper:
    """A model around another. Subclasses define `respond`; identity and closing are those of the inner model."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def identity(self) -> dict[str, str]:
        return identity_of(self._model)

    async def aclose(self) -> None:
        await close(self._model)
