import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from assay.errors import InputError
from assay.model.builtin import engine as engine_module
from assay.model.builtin.engine import Engine, Generation
from assay.model.builtin.engine.llama import Llama
from assay.model.builtin.engine.sampling import choose, truncate
from tests.model.random_llama import CONFIG, write_model

WEIGHTS = Path(engine_module.__file__).parents[1] / "weights"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module", params=["random", "shipped"])
def loaded(request: pytest.FixtureRequest, folder: Path) -> Iterator[Engine]:
    shipped = WEIGHTS / "nano-instruct"
    if request.param == "shipped" and not shipped.exists():
        pytest.skip("no shipped weights in this checkout")
    engine = Engine.load(shipped if request.param == "shipped" else folder, slots=5)
    yield engine
    asyncio.run(engine.aclose())


def reference(folder: Path, ids: list[int]) -> np.ndarray[Any, Any]:
    """Logits [tokens, vocabulary] in double precision, written as the papers do: no cache, no batch, no fusing."""
    config = json.loads((folder / "config.json").read_text())
    weights = {name: tensor.astype(float) for name, tensor in load_file(folder / "model.safetensors").items()}
    heads, kv_heads, dim = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]

    def norm(x: Any, name: str) -> Any:
        return weights[f"{name}.weight"] * x / np.sqrt((x**2).mean(-1, keepdims=True) + config["rms_norm_eps"])

    angles = np.outer(np.arange(len(ids)), 10000.0 ** (-np.arange(0, dim, 2) / dim))
    cos, sin = (np.concatenate([f(angles)] * 2, 1)[:, None] for f in (np.cos, np.sin))

    def rotate(x: Any) -> Any:
        return x * cos + np.concatenate([-x[..., dim // 2 :], x[..., : dim // 2]], -1) * sin

    x = weights["model.embed_tokens.weight"][ids]
    mask = np.triu(np.full((len(ids), len(ids)), -np.inf), 1)
    for number in range(config["num_hidden_layers"]):

        def project(x: Any, name: str, prefix: str = f"model.layers.{number}") -> Any:
            return x @ weights[f"{prefix}.{name}_proj.weight"].T

        h = norm(x, f"model.layers.{number}.input_layernorm")
        q, k, v = (project(h, f"self_attn.{n}").reshape(len(ids), -1, dim) for n in "qkv")
        q, k = rotate(q), rotate(k)
        k, v = (np.repeat(each, heads // kv_heads, axis=1) for each in (k, v))
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(dim) + mask
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        x = x + project(np.einsum("hqk,khd->qhd", shares, v).reshape(len(ids), -1), "self_attn.o")
        h = norm(x, f"model.layers.{number}.post_attention_layernorm")
        gate = project(h, "mlp.gate")
        x = x + project(gate / (1 + np.exp(-gate)) * project(h, "mlp.up"), "mlp.down")
    return norm(x, "model.norm") @ weights["model.embed_tokens.weight"].T


def log_softmax(logits: Any) -> Any:
    below = logits - logits.max(-1, keepdims=True)
    return below - np.log(np.exp(below).sum(-1, keepdims=True))


def ask(engine: Engine, *calls: dict[str, Any]) -> list[Generation]:
    async def together() -> list[Generation]:
        return await asyncio.gather(*(engine.generate(**call) for call in calls))

    return asyncio.run(asyncio.wait_for(together(), 60))


def calls(count: int) -> list[dict[str, Any]]:
    """Requests of every kind: short and long prompts, greedy and sampled, cut and not."""
    rng = np.random.default_rng(11)
    return [
        {
            "prompt_ids": rng.integers(7, 260, rng.integers(1, 90)).tolist(),
            "temperature": [0.0, 1.0, 0.7, 1.4][i % 4],
            "top_p": [1.0, 0.8][i % 3 % 2],
            "top_k": [0, 0, 20][i % 3],
            "max_tokens": int(rng.integers(1, 60)),
            "seed": i,
            "prompt_logprobs": i % 5 == 0,
        }
        for i in range(count)
    ]


def test_logits_are_those_of_the_formula_in_one_pass_and_token_by_token(folder: Path) -> None:
    model, ids = Llama.load(folder, 3), np.random.default_rng(0).integers(0, 263, 100).tolist()
    expected = reference(folder, ids)
    at_once = model.prefill(0, [ids, ids[:40]])
    assert np.allclose(model.logits(at_once[0, :100]), expected, atol=1e-4)
    assert np.allclose(model.logits(at_once[1, :40]), expected[:40], atol=1e-4)
    for position in range(40, 100):
        hidden = model.extend(1, np.array([[ids[position]]]), np.array([position]))
        assert np.allclose(model.logits(hidden[0]), expected[position], atol=1e-4)


def test_an_untied_head_is_its_own_matrix(tmp_path: Path) -> None:
    folder = write_model(tmp_path, tie_word_embeddings=False)
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"] * 2}, folder / "model.safetensors")
    logits = Llama.load(folder, 1).logits(np.eye(8, 24, dtype=np.float32))
    assert np.allclose(
        logits, Llama.load(write_model(tmp_path / "tied"), 1).logits(np.eye(8, 24, dtype=np.float32)) * 2
    )


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "qwen3"},
        {"attention_bias": True},
        {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5}},
    ],
)
def test_an_architecture_that_is_not_computed_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(change)).replace("parameters", "type")):
        Engine.load(write_model(tmp_path, **change))


def test_alone_and_in_a_crowd_a_request_gets_the_same_to_the_bit(loaded: Engine) -> None:
    requests = calls(23)
    crowd = ask(loaded, *requests)
    backwards = ask(loaded, *requests[::-1])[::-1]
    alone = [ask(loaded, request)[0] for request in requests]
    assert crowd == alone
    assert backwards == alone


def test_logprobs_are_the_models_own_at_temperature_1(folder: Path, loaded: Engine) -> None:
    shape = loaded._shape
    if shape.hidden != CONFIG["hidden_size"]:
        pytest.skip("the reference reads the random model")
    for made, asked in zip(ask(loaded, *calls(10)), calls(10), strict=True):
        ids = made.prompt_ids + made.output_ids
        everywhere = log_softmax(reference(folder, ids))[np.arange(len(ids) - 1), ids[1:]]
        given = len(made.prompt_ids) - 1
        assert np.allclose(made.output_logprobs, everywhere[given:], atol=1e-4)
        if asked["prompt_logprobs"]:
            assert made.prompt_logprobs is not None
            assert np.allclose(made.prompt_logprobs, everywhere[:given], atol=1e-4)
        else:
            assert made.prompt_logprobs is None


def test_greedy_takes_the_likeliest_token_whatever_the_seed(folder: Path, loaded: Engine) -> None:
    first, second = ask(
        loaded, *({"prompt_ids": [9, 30, 5], "temperature": 0, "seed": s, "max_tokens": 9} for s in (1, 2))
    )
    assert first == second
    if loaded._shape.hidden == CONFIG["hidden_size"]:
        logits = reference(folder, first.prompt_ids + first.output_ids)
        assert first.output_ids == logits[2:-1].argmax(-1).tolist()


def test_a_seed_gives_its_text_again_and_fewer_tokens_are_its_beginning(loaded: Engine) -> None:
    ask_for = {"prompt_ids": [9, 30, 5], "temperature": 1.5}
    long, again, short, other = ask(
        loaded,
        ask_for | {"seed": 4, "max_tokens": 12},
        ask_for | {"seed": 4, "max_tokens": 12},
        ask_for | {"seed": 4, "max_tokens": 3},
        ask_for | {"seed": 5, "max_tokens": 12},
    )
    assert long == again
    assert short.output_ids == long.output_ids[:3]
    assert other.output_ids != long.output_ids


def test_sampling_follows_the_models_distribution(folder: Path) -> None:
    engine, prompt = Engine.load(folder), [8, 20]
    made = ask(engine, *({"prompt_ids": prompt, "seed": seed, "max_tokens": 1} for seed in range(3000)))
    asyncio.run(engine.aclose())
    expected = np.exp(log_softmax(reference(folder, prompt)[-1]))
    seen = np.bincount([g.output_ids[0] for g in made], minlength=len(expected)) / 3000
    assert np.all(np.abs(seen - expected) < 5 * np.sqrt(expected * (1 - expected) / 3000) + 1 / 3000)


def test_how_a_generation_ends(folder: Path, tmp_path: Path) -> None:
    ends = write_model(tmp_path, eos_token_id=[1, *range(7, 263, 3)])
    engine = Engine.load(ends)
    (stopped,) = ask(engine, {"prompt_ids": [9], "seed": 0})
    assert stopped.finish == "stop"
    assert stopped.output_ids[-1] % 3 == 1
    asyncio.run(engine.aclose())
    engine = Engine.load(write_model(tmp_path / "endless", eos_token_id=None))
    cut, full, exact = ask(
        engine,
        {"prompt_ids": [9] * 10, "seed": 0, "max_tokens": 7},
        {"prompt_ids": [9] * 10, "seed": 0},
        {"prompt_ids": [9] * 159, "seed": 0},
    )
    asyncio.run(engine.aclose())
    assert [len(g.output_ids) for g in (cut, full, exact)] == [7, 150, 1]
    assert {g.finish for g in (cut, full, exact)} == {"length"}
    assert all(len(g.output_logprobs) == len(g.output_ids) for g in (cut, full, exact))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt_ids": []}, "a prompt of 0 tokens; expected 1 to 159"),
        ({"prompt_ids": [9] * 160}, "a prompt of 160 tokens"),
        ({"prompt_ids": [9, 263]}, "expected 0 to 262"),
        ({"prompt_ids": [-1]}, "from -1"),
        ({"temperature": -0.1}, "temperature = -0.1"),
        ({"temperature": float("nan")}, "temperature = nan"),
        ({"top_p": 0.0}, "top_p = 0.0"),
        ({"top_k": -1}, "top_k = -1"),
        ({"max_tokens": 0}, "max_tokens = 0"),
        ({"seed": -3}, "seed = -3"),
    ],
)
def test_what_cannot_be_asked_is_a_value_error(folder: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ask(Engine.load(folder), {"prompt_ids": [9], "seed": 0} | change)


def test_the_chat_template_makes_the_prompt_and_tags_stay_in_the_text(folder: Path) -> None:
    engine = Engine.load(folder)
    messages = [{"role": "system", "content": "Be <think>."}, {"role": "user", "content": "1 é"}]
    ids = engine.tokenizer.encode(engine.template.render(messages))
    assert engine.tokenizer.decode(ids, skip_special_tokens=False) == (
        "<|system|>Be <think>.<|end|><|user|>1 é<|end|><|assistant|>"
    )
    assert (ids[0], ids[-1], 5 in ids) == (2, 4, True)
    assert engine.tokenizer.decode([5, 9, 6, 1]) == "<think>" + engine.tokenizer.decode([9]) + "</think>"
    with pytest.raises(ValueError, match="no tools here"):
        engine.template.render([{"role": "tool", "content": "4"}])


def until(true: Callable[[], bool]) -> Any:
    async def poll() -> None:
        while not true():
            await asyncio.sleep(0.001)

    return asyncio.wait_for(poll(), 20)


def test_cancelled_requests_free_their_slots_and_leave_the_others_alone(folder: Path, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with aclosing(Engine.load(write_model(tmp_path, eos_token_id=None), slots=2)) as engine:
            expected = await engine.generate([9], seed=5, max_tokens=40)
            tasks = [asyncio.create_task(engine.generate([9], seed=i)) for i in range(40)]
            await until(lambda: len(engine._batch) == 2)
            kept = asyncio.create_task(engine.generate([9], seed=5, max_tokens=40))
            for task in tasks:
                task.cancel()
            assert await asyncio.wait_for(kept, 20) == expected
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert sum(isinstance(result, asyncio.CancelledError) for result in results) >= 35
            await until(lambda: not len(engine._batch))
            assert not engine._live

    asyncio.run(scenario())


def test_an_error_in_the_thread_reaches_every_waiter_and_the_next_request_is_served(folder: Path) -> None:
    class Broken(Llama):
        broken = True

        def extend(self, first: int, tokens: Any, lengths: Any) -> Any:
            if self.broken:
                raise MemoryError("no room")
            return super().extend(first, tokens, lengths)

    async def scenario() -> None:
        whole, model = Engine.load(folder), Broken.load(folder, 2)
        async with aclosing(Engine(model, whole.tokenizer, whole.template, 2)) as engine:
            asked = [engine.generate([9], seed=i) for i in range(9)]
            results = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 20)
            assert all(isinstance(r, RuntimeError) and "no room" in str(r) for r in results)
            assert all(isinstance(r, Exception) and isinstance(r.__cause__, MemoryError) for r in results)
            model.broken = False
            again = await engine.generate([9], seed=1, max_tokens=5)
        async with aclosing(whole):
            assert again == await whole.generate([9], seed=1, max_tokens=5)

    asyncio.run(scenario())


def test_closing_ends_the_thread_and_fails_whoever_waits(folder: Path, tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = Engine.load(write_model(tmp_path, eos_token_id=None), slots=1)
        tasks = [asyncio.create_task(engine.generate([9], seed=i)) for i in range(30)]
        await until(lambda: len(engine._batch) == 1)
        await engine.aclose()
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)
        assert isinstance(results[-1], RuntimeError)
        assert engine._thread is None
        with pytest.raises(RuntimeError, match="closed"):
            await engine.generate([9], seed=0)
        await engine.aclose()

    asyncio.run(scenario())


def test_the_thread_ends_when_idle_and_starts_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "IDLE_S", 0.01)

    async def scenario() -> None:
        async with aclosing(Engine.load(folder)) as engine:
            others = set(threading.enumerate())
            assert engine._thread is None
            first = await engine.generate([9], seed=1)
            threads = set(threading.enumerate()) - others
            await until(lambda: engine._thread is None)
            await until(lambda: not (threads & set(threading.enumerate())))
            assert await engine.generate([9], seed=1) == first

    asyncio.run(scenario())


def settings(rows: int, **given: float) -> dict[str, Any]:
    return {
        "temperature": np.full(rows, given.get("temperature", 1), np.float32),
        "top_p": np.full(rows, given.get("top_p", 1.0)),
        "top_k": np.full(rows, given.get("top_k", 0), np.int64),
    }


def test_choose_is_the_inverse_of_the_cumulative_distribution() -> None:
    logits = np.log(np.array([[0.1, 0.4, 0.0, 0.5]], np.float32) + 1e-30).repeat(6, 0)
    uniform = np.array([0.0, 0.0999, 0.1001, 0.4999, 0.5001, np.nextafter(1, 0)])
    tokens, logprobs = choose(logits, **settings(6), uniform=uniform)
    assert tokens.tolist() == [0, 0, 1, 1, 3, 3]
    assert np.allclose(logprobs, np.log([0.1, 0.1, 0.4, 0.4, 0.5, 0.5]))
    cold, own = choose(logits, **settings(6, temperature=0.5, top_k=2), uniform=uniform)
    edge = 0.4**2 / (0.4**2 + 0.5**2)
    assert cold.tolist() == [1 if u < edge else 3 for u in uniform]
    assert np.allclose(own, np.log([0.4 if token == 1 else 0.5 for token in cold]))
    assert choose(logits, **settings(6, temperature=0), uniform=uniform)[0].tolist() == [3] * 6


@pytest.mark.parametrize(
    ("top_p", "top_k", "kept"),
    [
        (1.0, 0, {0, 1, 2, 3, 4}),
        (1.0, 1, {3}),
        (1.0, 3, {1, 2, 3, 4}),
        (1.0, 9, {0, 1, 2, 3, 4}),
        (0.39, 0, {3}),
        (0.41, 0, {1, 3}),
        (0.7, 0, {1, 2, 3, 4}),
        (0.55, 2, {3}),
        (0.6, 2, {1, 3}),
        (1e-9, 0, {3}),
    ],
)
def test_truncate_cuts_top_k_first_then_the_nucleus_of_what_is_left(top_p: float, top_k: int, kept: set[int]) -> None:
    weights = np.array([[0.1, 0.28, 0.11, 0.4, 0.11]], np.float32)
    cut = truncate(weights, np.array([top_p]), np.array([top_k]))
    assert set(np.flatnonzero(cut[0]).tolist()) == kept
    assert np.array_equal(cut[cut > 0], weights[cut > 0])
