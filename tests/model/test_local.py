"""The embedded models behind the same model server as any remote one."""

import asyncio
import math
from pathlib import Path

import pytest

from assay.config import ModelConfig, load_suite
from assay.errors import ModelError, UsageError
from assay.model import ContextOverflow, connect
from assay.model.builtin.local import WEIGHTS
from assay.types import Content, InputImage, InputText, Message, Request, Response, Sampling

SHIPPED = sorted(path.parent.name for path in WEIGHTS.glob("*/config.json"))


def ask(name: str, question: str, *, logprobs: bool = False, **sampling: object) -> Response:
    async def main() -> Response:
        model = connect(ModelConfig(dialect="local", id=name, logprobs=logprobs))
        try:
            request = Request(
                input=[Message(role="user", content=question)],
                sampling=Sampling(**sampling),  # type: ignore[arg-type]
                seed=3,
            )
            return await model.respond(request)
        finally:
            await model.aclose()

    return asyncio.run(main())


def test_every_model_of_the_suites_ships_in_under_eight_megabytes():
    assert sorted([*load_suite("embedded").models, *load_suite("tools").models]) == SHIPPED
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) < 8e6


@pytest.mark.parametrize("name", load_suite("embedded").models)
def test_greedy_gives_an_answer_its_tokens_and_their_logprobs(name: str):
    response = ask(name, "What is 12 + 34?", temperature=0)
    assert response.text == "46"
    assert bool(response.reasoning) == ("thinking" in name)
    assert response.tokens is not None
    assert len(response.tokens.output) == len(response.tokens.output_logprobs) == response.usage.output_tokens
    assert all(-math.inf < logprob <= 0 for logprob in response.tokens.output_logprobs)
    assert len(response.tokens.prompt) == response.usage.input_tokens
    assert 0 <= response.usage.reasoning_tokens < response.usage.output_tokens


def test_the_prompts_logprobs_come_where_they_are_asked_for():
    tokens = ask("nano-instruct", "What is 12 + 34?", logprobs=True).tokens
    assert tokens is not None
    assert len(tokens.prompt_logprobs) == len(tokens.prompt) - 1


def test_a_cap_in_the_middle_of_reasoning_leaves_no_answer():
    response = ask("nano-thinking", "What is 12 + 34?", temperature=0, max_output_tokens=5)
    assert (response.status, response.incomplete_reason) == ("incomplete", "max_output_tokens")
    assert response.text == ""
    assert response.usage.reasoning_tokens == response.usage.output_tokens == 5


def test_a_prompt_beyond_the_context_is_told():
    with pytest.raises(ContextOverflow, match="the context of nano-instruct is 512"):
        ask("nano-instruct", "What is 1 + 1? " * 500)


def test_an_image_is_refused_rather_than_spelled_out():
    content: list[Content] = [InputText("what?"), InputImage(image_url="data:image/png;base64,AAAA")]
    model = connect(ModelConfig(dialect="local", id="nano-instruct"))

    async def main() -> None:
        try:
            await model.respond(Request(input=[Message(role="user", content=content)]))
        finally:
            await model.aclose()

    with pytest.raises(ModelError, match="images can't be sent"):
        asyncio.run(main())


def test_sampling_that_cannot_be_is_told():
    with pytest.raises(ModelError, match="temperature = -1"):
        ask("nano-instruct", "What is 1 + 1?", temperature=-1.0)


def test_weights_that_are_not_there_bring_the_nearest(tmp_path: Path):
    with pytest.raises(UsageError, match="Did you mean nano-instruct"):
        ask("nano-instuct", "?")
    with pytest.raises(UsageError, match="there is no local weights"):
        ask(str(tmp_path), "?")


def test_without_a_seed_each_sample_is_its_own():
    async def main() -> list[str]:
        model = connect(ModelConfig(dialect="local", id="nano-thinking"))
        asked = Request(input=[Message(role="user", content="What is 48 * 77 - 395?")])
        try:
            return [(await model.respond(asked)).reasoning for _ in range(6)]
        finally:
            await model.aclose()

    assert len(set(asyncio.run(main()))) > 1
