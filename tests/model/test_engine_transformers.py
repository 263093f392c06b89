"""The embedded models under transformers: the same weights, the same logits, the same text."""

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.model.builtin import engine as engine_module
from assay.model.builtin.engine import Engine, Generation
from assay.model.builtin.engine.llama import Llama
from assay.model.builtin.engine.tokenizer import Tokenizer
from tests.model.random_llama import write_model

pytestmark = [
    pytest.mark.torch,
    # torch and transformers warn about their own insides.
    pytest.mark.filterwarnings("default"),
]
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

WEIGHTS = Path(engine_module.__file__).parents[1] / "weights"
SHIPPED = sorted(path.parent.name for path in WEIGHTS.glob("*/model.safetensors"))
QUESTIONS = [
    "What is 345 + 23?",
    "12 * 7 - 5 = ?",
    "Each of 3 boxes holds 12 pens. How many pens are there?",
    "é\n  ∑ <think>x</think>",
]
CHATS = [
    *([{"role": "user", "content": question}] for question in QUESTIONS),
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 1"}],
    [
        {"role": "user", "content": "1 + 1"},
        {"role": "assistant", "content": "<think>\n1 + 1 = 2</think>2"},
        {"role": "user", "content": "<|end|> and 2 + 2"},
    ],
]


@pytest.fixture(scope="module", params=["random", *SHIPPED])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model")) if request.param == "random" else WEIGHTS / request.param


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    return transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def test_logits_agree_to_a_thousandth(folder: Path, theirs: Any) -> None:
    model = Llama.load(folder, 4)
    rng = np.random.default_rng(0)
    for length in (1, 31, 32, 33, 150):
        ids = rng.integers(0, model.shape.vocabulary, length).tolist()
        with torch.inference_mode():
            expected = theirs(torch.tensor([ids])).logits[0].numpy()
        assert np.abs(model.logits(model.prefill(1, [ids])[0, :length]) - expected).max() < 1e-3


def test_greedy_text_is_identical(folder: Path, theirs: Any) -> None:
    async def ours() -> list[Generation]:
        async with aclosing(Engine.load(folder)) as engine:
            prompts = [engine.tokenizer.encode(engine.template.render(chat)) for chat in CHATS]
            return await asyncio.gather(
                *(engine.generate(p, temperature=0, max_tokens=60, seed=0, prompt_logprobs=True) for p in prompts)
            )

    for made in asyncio.run(ours()):
        prompt = torch.tensor([made.prompt_ids])
        with torch.inference_mode():
            ids = theirs.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=60)[0]
            own = theirs(ids[None]).logits[0].log_softmax(-1)[:-1].gather(1, ids[1:, None])[:, 0].numpy()
        assert ids.tolist() == made.prompt_ids + made.output_ids
        assert made.prompt_logprobs is not None
        assert np.allclose(made.prompt_logprobs + made.output_logprobs, own, atol=1e-3)


def test_prompts_and_texts_are_identical(folder: Path) -> None:
    engine, tokenizer = Engine.load(folder), transformers.AutoTokenizer.from_pretrained(folder)
    for chat in CHATS:
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
        assert engine.tokenizer.encode(engine.template.render(chat)) == ids
        assert engine.tokenizer.decode(ids) == tokenizer.decode(ids, skip_special_tokens=True)


PIECES = [
    "<think>",
    "</think>",
    "<|end|>",
    "<|",
    "'s",
    "'ll",
    "'S",
    " ",
    "  ",
    "\n",
    "\x1c",
    "\x85",
    "\u3000",
    "_",
    "12",
    "are",
]
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=8), max_size=12).map("".join)


@pytest.fixture(scope="module")
def pair(folder: Path) -> tuple[Tokenizer, Any]:
    """Our tokenizer and the library's, of the same file."""
    path = folder / "tokenizer.json"
    return Tokenizer.load(path), tokenizers.Tokenizer.from_file(str(path))


@given(text=TEXTS)
def test_any_text_has_the_librarys_ids(pair: tuple[Tokenizer, Any], text: str) -> None:
    ours, theirs = pair
    assert ours.encode(text) == theirs.encode(text, add_special_tokens=False).ids


@given(ids=st.lists(st.integers(0, 255), max_size=30), skip=st.booleans())
def test_any_ids_have_the_librarys_text(pair: tuple[Tokenizer, Any], ids: list[int], skip: bool) -> None:
    ours, theirs = pair
    assert ours.decode(ids, skip_special_tokens=skip) == theirs.decode(ids, skip_special_tokens=skip)
