"""Inference of the embedded models: numpy alone, with many requests decoded together, called from asyncio."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np

from assay.model.builtin.engine.batching import Batch, Output, Request
from assay.model.builtin.engine.llama import Llama, Shape
from assay.model.builtin.engine.tokenizer import Tokenizer
from assay.model.dialects.template import ChatTemplate

__all__ = ["Engine", "Generation"]

IDLE_S = 5.0
"""Seconds that the thread waits for another request before it ends."""
CLOSE_S = 30.0


@dataclass(frozen=True, slots=True)
class Generation:
    """One continuation of a prompt."""

    text: str
    """The output without special tokens. Reasoning tags are not special: they stay."""
    prompt_ids: list[int]
    output_ids: list[int]
    """Includes the end token, if the model ended."""
    output_logprobs: list[float]
    """Natural logarithms under the model's own distribution: at temperature 1, before top_p and top_k."""
    prompt_logprobs: list[float] | None
    """One less than `prompt_ids`, because the first token has none. None if they were not requested."""
    finish: Literal["stop", "length"]
    """`length` if max_tokens or the end of the context was reached."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    """A request, and the future that waits for its generation."""

    request: Request
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Generation]


class Engine:
    """A model for any number of concurrent callers: `slots` requests decode together, the others wait in order.

    A generation depends on its prompt, sampling and seed alone, never on other requests.
    One thread does the arithmetic. It starts with the first request and ends by itself when there are none.
    """

    def __init__(self, model: Llama, tokenizer: Tokenizer, template: ChatTemplate, slots: int) -> None:
        self._shape = model.shape
        self.tokenizer = tokenizer
        self.template = template
        self._batch = Batch(model, slots)
        self._changed = threading.Condition()
        # These four are read and written under _changed; the batch and _live are the thread's own.
        self._waiting: deque[_Waiter] = deque()
        self._given_up: list[Request] = []
        self._thread: threading.Thread | None = None
        self._closed = False
        self._live: dict[Request, _Waiter] = {}

    @classmethod
    def load(cls, folder: Path, slots: int = 64) -> Self:
        """Returns the engine of a folder that transformers 4 or 5 wrote: config, safetensors, tokenizer, template."""
        return cls.of(folder, Llama.load(folder, slots), slots)

    @classmethod
    def of(cls, folder: Path, model: Llama, slots: int = 64) -> Self:
        """Returns the engine of a model, with tokenizer and chat template from a folder."""
        template = folder / "chat_template.jinja"  # where transformers 5 writes it
        return cls(
            model=model,
            tokenizer=Tokenizer.load(folder / "tokenizer.json"),
            template=ChatTemplate.load(template if template.exists() else folder / "tokenizer_config.json"),
            slots=slots,
        )

    @property
    def context(self) -> int:
        """The most tokens of prompt and output together."""
        return self._shape.context

    @property
    def end(self) -> str:
        """The text of the token that ends an answer."""
        return self.tokenizer.decode(sorted(self._shape.end_ids)[:1], skip_special_tokens=False)

    async def generate(
        self,
        prompt_ids: Sequence[int],
        *,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        max_tokens: int | None = None,
        seed: int,
        prompt_logprobs: bool = False,
    ) -> Generation:
        """Returns the continuation of a prompt, up to an end token, max_tokens, or the end of the context.

        Greedy at temperature 0; top_k = 0 and top_p = 1 cut nothing off. Cancelling frees the slot. Raises ValueError
        for a prompt that is empty or fills the context, and for settings out of range; RuntimeError if the engine is
        closed or its thread has failed.
        """
        ids = list(prompt_ids)
        room = self._shape.context - len(ids)
        limit = room if max_tokens is None else min(room, max_tokens)
        loop = asyncio.get_running_loop()
        request = Request(ids, temperature, top_p, top_k, limit, seed, prompt_logprobs)
        _check(request, self._shape, max_tokens)
        waiter = _Waiter(request, loop, loop.create_future())
        self._submit(waiter)
        try:
            # Ends without a deadline of its own: the thread answers or fails every waiter, however it ends.
            return await waiter.future
        except asyncio.CancelledError:
            with self._changed:
                self._given_up.append(request)
            raise

    async def aclose(self) -> None:
        """Ends the thread. Requests that still wait get a RuntimeError."""
        with self._changed:
            self._closed = True
            thread = self._thread
            self._changed.notify()
        if thread is not None:
            await asyncio.to_thread(thread.join, CLOSE_S)

    def _submit(self, waiter: _Waiter) -> None:
        with self._changed:
            if self._closed:
                raise RuntimeError("the engine is closed")
            self._waiting.append(waiter)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="assay-engine", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        """The thread: makes steps while requests wait. However it ends, every request gets an answer or an error."""
        try:
            # exp(-gate) of a very negative gate is inf, and the gate is then shut, as it should be.
            with np.errstate(over="ignore"):
                while (newcomers := self._take()) is not None:
                    finished = self._batch.join(newcomers) if newcomers else []
                    if len(self._batch):
                        finished += self._batch.step()
                    _deliver(
                        (self._live.pop(request), self._generation(request, output)) for request, output in finished
                    )
        except BaseException as error:
            self._end(error)

    def _take(self) -> list[Request] | None:
        """Returns the requests that join now, in order. None, which ends the thread, after IDLE_S without a request."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting or len(self._batch), IDLE_S)
            for request in self._given_up:
                if self._live.pop(request, None):
                    self._batch.leave(request)
            self._given_up.clear()
            if self._closed or not (self._waiting or len(self._batch)):
                self._end(RuntimeError("the engine was closed"))
                return None
            newcomers: list[Request] = []
            while self._waiting and len(newcomers) < self._batch.free:
                waiter = self._waiting.popleft()
                if not waiter.future.cancelled():
                    self._live[waiter.request] = waiter
                    newcomers.append(waiter.request)
            return newcomers

    def _end(self, reason: BaseException) -> None:
        """Lets the next request start a new thread, and fails all waiting requests with the reason."""
        with self._changed:
            left = [*self._live.values(), *self._waiting]
            self._live.clear()
            self._waiting.clear()
            self._batch.clear()
            self._thread = None
        _deliver((waiter, reason) for waiter in left)

    def _generation(self, request: Request, output: Output) -> Generation:
        return Generation(
            text=self.tokenizer.decode(output.ids),
            prompt_ids=request.prompt_ids,
            output_ids=output.ids,
            output_logprobs=output.logprobs,
            prompt_logprobs=output.prompt_logprobs,
            finish=output.finish,
        )


def _deliver(outcomes: Iterable[tuple[_Waiter, Generation | BaseException]]) -> None:
    """Gives each waiter its outcome, with one call into each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Waiter, Generation | BaseException]]] = {}
    for waiter, outcome in outcomes:
        by_loop.setdefault(waiter.loop, []).append((waiter, outcome))
    for loop, pairs in by_loop.items():
        # A loop that was closed took its waiters with it.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, pairs)


def _settle(pairs: list[tuple[_Waiter, Generation | BaseException]]) -> None:
    for waiter, outcome in pairs:
        if waiter.future.done():
            continue
        if isinstance(outcome, Generation):
            waiter.future.set_result(outcome)
        else:
            error = RuntimeError(f"no generation: {outcome}")
            error.__cause__ = outcome
            waiter.future.set_exception(error)


def _check(request: Request, shape: Shape, max_tokens: int | None) -> None:
    ids = request.prompt_ids
    if not 0 < len(ids) < shape.context:
        most = shape.context - 1
        raise ValueError(f"a prompt of {len(ids)} tokens; expected 1 to {most}, for the context also holds the output")
    if min(ids) < 0 or max(ids) >= shape.vocabulary:
        raise ValueError(f"prompt token ids from {min(ids)} to {max(ids)}; expected 0 to {shape.vocabulary - 1}")
    for name, value, fits, expected in (
        ("temperature", request.temperature, 0 <= request.temperature < float("inf"), "0 or more"),
        ("top_p", request.top_p, 0 < request.top_p <= 1, "above 0, up to 1"),
        ("top_k", request.top_k, request.top_k >= 0, "0 (off) or more"),
        ("max_tokens", max_tokens, max_tokens is None or max_tokens > 0, "1 or more"),
        ("seed", request.seed, request.seed >= 0, "0 or more"),
    ):
        if not fits:
            raise ValueError(f"{name} = {value}; expected {expected}")
