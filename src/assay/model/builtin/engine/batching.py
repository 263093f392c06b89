"""Continuous batching: requests join and leave between steps. No threads, no text: token ids in, token ids out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from assay.model.builtin.engine.llama import Floats, Llama
from assay.model.builtin.engine.sampling import choose, logprobs

SLOT = np.dtype(
    [
        ("token", np.int64),
        ("length", np.int64),
        ("made", np.int64),
        ("limit", np.int64),
        ("temperature", np.float32),
        ("top_p", np.float64),
        ("top_k", np.int64),
    ]
)
"""A live sequence: its newest token, which is not in the cache yet; the number of tokens in the cache, made, and to
make at most; the sampling."""


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """A prompt to continue, and the sampling."""

    prompt_ids: list[int]
    temperature: float
    top_p: float
    top_k: int
    limit: int
    """The most output tokens, at least 1."""
    seed: int
    prompt_logprobs: bool


@dataclass(frozen=True, slots=True)
class Output:
    """The continuation of a request."""

    ids: list[int]
    logprobs: list[float]
    prompt_logprobs: list[float] | None
    finish: Literal["stop", "length"]


class Batch:
    """The sequences that decode together, one step at a time. Live slots are always the first ones."""

    def __init__(self, model: Llama, slots: int) -> None:
        context = model.shape.context
        self._model = model
        self._ends = np.isin(np.arange(model.shape.vocabulary), list(model.shape.end_ids))
        self._requests: list[Request] = []
        self._prompt_logprobs: dict[Request, list[float]] = {}
        self._state = np.zeros(slots, SLOT)
        self._uniforms = np.zeros((slots, context))
        self._ids = np.zeros((slots, context), np.int64)
        self._logprobs = np.zeros((slots, context))

    def __len__(self) -> int:
        return len(self._requests)

    @property
    def free(self) -> int:
        """How many requests may still join."""
        return len(self._state) - len(self._requests)

    def join(self, requests: Sequence[Request]) -> list[tuple[Request, Output]]:
        """Adds requests, and makes the first token of each. Returns those that end with it."""
        self._prefill(sorted(requests, key=lambda request: -len(request.prompt_ids)))
        return self._take_finished()

    def step(self) -> list[tuple[Request, Output]]:
        """Makes one token for each live sequence. Returns those that end with it."""
        state = self._state[: len(self)]
        hidden = self._model.extend(0, state["token"][:, None], state["length"])[:, 0]
        state["length"] += 1
        self._choose(0, self._model.logits(hidden))
        return self._take_finished()

    def leave(self, request: Request) -> None:
        """Removes a request, live or not."""
        if request in self._requests:
            self._remove(self._requests.index(request))

    def clear(self) -> None:
        """Removes all requests."""
        self._requests.clear()
        self._prompt_logprobs.clear()

    def _prefill(self, requests: list[Request]) -> None:
        first = len(self)
        hidden = self._model.prefill(first, [r.prompt_ids for r in requests])
        for slot, request in enumerate(requests, first):
            length = len(request.prompt_ids)
            sampling = request.temperature, request.top_p, request.top_k
            self._state[slot] = (0, length, 0, request.limit, *sampling)
            # As many as could be needed, so that the text does not depend on max_tokens, nor on the other slots.
            self._uniforms[slot, : request.limit] = np.random.default_rng(request.seed).random(request.limit)
            if request.prompt_logprobs:
                logits = self._model.logits(hidden[slot - first, : length - 1])
                self._prompt_logprobs[request] = logprobs(logits, np.array(request.prompt_ids[1:], int)).tolist()
        self._requests += requests
        last = self._state["length"][first : len(self)] - 1
        self._choose(first, self._model.logits(hidden[np.arange(len(requests)), last]))

    def _choose(self, first: int, logits: Floats) -> None:
        slots = np.arange(first, first + len(logits))
        state = self._state[first : first + len(logits)]
        uniform = self._uniforms[slots, state["made"]]
        tokens, chosen = choose(logits, state["temperature"], state["top_p"], state["top_k"], uniform)
        self._ids[slots, state["made"]] = tokens
        self._logprobs[slots, state["made"]] = chosen
        state["token"] = tokens
        state["made"] += 1

    def _take_finished(self) -> list[tuple[Request, Output]]:
        state = self._state[: len(self)]
        stopped = self._ends[state["token"]]
        finished: list[tuple[Request, Output]] = []
        # From the last slot down, because a removal moves the last slot into the gap.
        ended: list[int] = np.flatnonzero(stopped | (state["made"] == state["limit"])).tolist()
        for slot in reversed(ended):
            request, made = self._requests[slot], int(state["made"][slot])
            output = Output(
                ids=self._ids[slot, :made].tolist(),
                logprobs=self._logprobs[slot, :made].tolist(),
                prompt_logprobs=self._prompt_logprobs.get(request),
                finish="stop" if stopped[slot] else "length",
            )
            finished.append((request, output))
            self._remove(slot)
        return finished

    def _remove(self, slot: int) -> None:
        last = len(self) - 1
        self._prompt_logprobs.pop(self._requests[slot], None)
        if slot != last:
            self._model.move(last, slot, int(self._state["length"][last]))
            for kept in (self._state, self._uniforms, self._ids, self._logprobs):
                kept[slot] = kept[last]
            self._requests[slot] = self._requests[last]
        del self._requests[last]
