"""What all wrappers are: a model around another one."""

from assay.model import Model, close, identity_of


class Wrapper:
    """A model around another: `respond` is its own, the rest is what the inner one says."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def identity(self) -> dict[str, str]:
        return identity_of(self._model)

    async def aclose(self) -> None:
        await close(self._model)
