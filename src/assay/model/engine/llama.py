"""Llama in numpy: RMSNorm, rotary positions, grouped-query attention, SwiGLU, and a key-value cache for many sequences.

Every number of one sequence is the same whoever shares the batch. A BLAS rounds differently for different numbers of
rows, and for rows at the ragged end of its kernel, so no product's shape depends on the batch here: rows are multiplied
`ROWS` at a time, a context is read `BLOCK` positions at a time, and the blocks are added up in order.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from assay.errors import InputError

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Attend = Callable[[int, Floats], Floats]
"""A layer's attention: its number and [rows, heads + 2 kv_heads, head_dim] -> [rows, heads * head_dim]."""

ROWS = 24
"""A multiple of the rows that OpenBLAS's kernels take at once (4, 8 or 12): rows 13 to 16 of a tile of 16 come out
different in the last bit on its Haswell and Zen kernels."""
BLOCK = 64


@dataclass(frozen=True, slots=True)
class Shape:
    """The part of `config.json` that decides the arithmetic."""

    vocabulary: int
    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    context: int
    """Positions that a prompt and its output may fill together."""
    epsilon: float
    theta: float
    tied: bool
    end_ids: frozenset[int]

    @classmethod
    def read(cls, path: Path) -> Self:
        """The shape in a `config.json` of transformers 4 or 5. InputError where it asks for what is not done here."""
        config: dict[str, Any] = json.loads(path.read_text())
        rope: dict[str, Any] = config.get("rope_parameters") or config.get("rope_scaling") or {}
        asked = {
            "model_type": (config.get("model_type"), "llama"),
            "hidden_act": (config.get("hidden_act", "silu"), "silu"),
            "attention_bias": (config.get("attention_bias", False), False),
            "mlp_bias": (config.get("mlp_bias", False), False),
            "rope_type": (rope.get("rope_type", "default"), "default"),
        }
        for name, (got, expected) in asked.items():
            if got != expected:
                raise InputError(path, None, f"{name} = {got!r}", f"{expected!r}, all that this engine computes")
        heads = config["num_attention_heads"]
        end = config.get("eos_token_id")
        return cls(
            vocabulary=config["vocab_size"],
            hidden=config["hidden_size"],
            inner=config["intermediate_size"],
            layers=config["num_hidden_layers"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_dim=config.get("head_dim") or config["hidden_size"] // heads,
            context=config["max_position_embeddings"],
            epsilon=config["rms_norm_eps"],
            theta=rope.get("rope_theta") or config.get("rope_theta") or 10000.0,
            tied=config.get("tie_word_embeddings", False),
            end_ids=frozenset(end if isinstance(end, list) else [] if end is None else [end]),
        )


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer's matrices, each [in, out]. The norms' gains and attention's 1/sqrt(head_dim) are multiplied in."""

    qkv: Floats
    out: Floats
    gate_up: Floats
    down: Floats


class Llama:
    """The weights and the cache of `slots` sequences."""

    def __init__(self, shape: Shape, tensors: dict[str, NDArray[Any]], slots: int) -> None:
        weight = {name.removeprefix("model."): np.asarray(t, np.float32) for name, t in tensors.items()}
        self.shape = shape
        self.embedding: Floats = weight["embed_tokens.weight"]
        head = self.embedding if shape.tied else weight["lm_head.weight"]
        self.head: Floats = np.ascontiguousarray((head * weight["norm.weight"]).T)
        self.layers = [_layer(shape, weight, f"layers.{number}.") for number in range(shape.layers)]
        # A whole number of blocks and of row tiles. Pages that no sequence reaches are never touched, so cost nothing.
        capacity = _up(shape.context, math.lcm(BLOCK, ROWS))
        self.rotations = _rotations(shape, capacity)
        self.cache: Floats = np.zeros((shape.layers, slots, 2 * shape.kv_heads, capacity, shape.head_dim), np.float32)
        """[layer, slot, keys' heads then values' heads, position, dim]"""
        self.bias: Floats = np.full((slots, capacity), -np.inf, np.float32)
        """What a score gets added: 0 where a slot's context holds a token, -inf elsewhere."""

    @classmethod
    def load(cls, folder: Path, slots: int) -> Self:
        """The model in a folder as transformers writes it, in full float32."""
        return cls(Shape.read(folder / "config.json"), load_file(folder / "model.safetensors"), slots)

    def prefill(self, first: int, prompts: list[list[int]]) -> Floats:
        """Fill the slots from `first` on; final hidden states [prompts, padded length, hidden].

        The prompts must share one `padded` length, so that a prompt's own length alone decides the shapes.
        """
        shape, count, length = self.shape, len(prompts), padded(prompts[0])
        slots = slice(first, first + count)
        tokens = np.zeros((count, length), np.int64)
        self.bias[slots] = -np.inf
        for row, prompt in enumerate(prompts):
            tokens[row, : len(prompt)] = prompt
            self.bias[first + row, : len(prompt)] = 0
        group = shape.heads // shape.kv_heads
        causal = np.tile(np.triu(np.full((length, length), -np.inf, np.float32), 1), (group, 1))

        def attend(number: int, qkv: Floats) -> Floats:
            by_head = qkv.reshape(count, length, -1, shape.head_dim).swapaxes(1, 2)
            self.cache[number, slots, :, :length] = by_head[:, shape.heads :]
            queries = by_head[:, : shape.heads].reshape(count, shape.kv_heads, group * length, shape.head_dim)
            keys, values = np.split(by_head[:, shape.heads :], 2, axis=1)
            scores = queries @ keys.swapaxes(-1, -2)
            scores += causal
            scores -= scores.max(-1, keepdims=True)
            np.exp(scores, out=scores)
            mixed = (scores @ values) / scores.sum(-1, keepdims=True)
            by_head = mixed.reshape(count, shape.heads, length, shape.head_dim)
            return by_head.swapaxes(1, 2).reshape(count * length, -1)

        positions = np.tile(np.arange(length), count)
        return self._forward(tokens.reshape(-1), positions, attend).reshape(count, length, -1)

    def decode(self, tokens: Ints, lengths: Ints) -> Floats:
        """Append a token to each of the first slots, which hold `lengths`; final hidden states [tokens, hidden]."""
        shape, count = self.shape, len(tokens)
        slots = np.arange(count)
        self.bias[slots, lengths] = 0
        blocks = int(lengths.max()) // BLOCK + 1
        bias = self.bias[:count, : blocks * BLOCK].reshape(count, 1, blocks, 1, BLOCK)
        rows = _up(count, ROWS)
        mixed_rows = np.zeros((rows, shape.heads * shape.head_dim), np.float32)

        def attend(number: int, qkv: Floats) -> Floats:
            self.cache[number, slots, :, lengths] = qkv[:count, shape.heads :]
            cache = self.cache[number, :count, :, : blocks * BLOCK]
            cache = cache.reshape(count, 2, shape.kv_heads, blocks, BLOCK, shape.head_dim)
            queries = qkv[:count, : shape.heads].reshape(count, shape.kv_heads, 1, -1, shape.head_dim)
            scores = queries @ cache[:, 0].swapaxes(-1, -2)
            scores += bias
            scores -= scores.max(axis=(2, 4), keepdims=True)
            np.exp(scores, out=scores)
            mixed = _in_order(scores @ cache[:, 1]) / _in_order(scores.sum(-1, keepdims=True))
            mixed_rows[:count] = mixed.reshape(count, -1)
            return mixed_rows

        room = (0, rows - count)
        return self._forward(np.pad(tokens, room), np.pad(lengths, room), attend)[:count]

    def logits(self, hidden: Floats) -> Floats:
        """Scores over the vocabulary [rows, vocabulary] of final hidden states [rows, hidden]."""
        count = len(hidden)
        return _times(np.pad(hidden, ((0, _up(count, ROWS) - count), (0, 0))), self.head)[:count]

    def move(self, source: int, target: int, length: int) -> None:
        """Put the sequence in slot `source`, which holds `length` tokens, in place of the one in `target`."""
        self.cache[:, target, :, :length] = self.cache[:, source, :, :length]
        self.bias[target] = self.bias[source]

    def _forward(self, tokens: Ints, positions: Ints, attend: Attend) -> Floats:
        shape = self.shape
        turned_heads = shape.heads + shape.kv_heads
        rotation = self.rotations[positions][:, None]
        x = self.embedding[tokens]
        for number, layer in enumerate(self.layers):
            qkv = _times(_unit(x, shape.epsilon), layer.qkv).reshape(len(x), -1, shape.head_dim)
            turned = qkv[:, :turned_heads].view(np.complex64)
            turned *= rotation
            x += _times(attend(number, qkv), layer.out)
            gate_up = _times(_unit(x, shape.epsilon), layer.gate_up)
            x += _times(_swiglu(gate_up[:, : shape.inner], gate_up[:, shape.inner :]), layer.down)
        return _unit(x, shape.epsilon)


def padded(prompt: list[int]) -> int:
    """The rows that a prompt takes in a prefill."""
    return _up(len(prompt), ROWS)


def _layer(shape: Shape, weight: dict[str, Floats], prefix: str) -> Layer:
    def matrix(*names: str) -> Floats:
        return np.concatenate([weight[f"{prefix}{name}_proj.weight"] for name in names])

    q = _pairs(shape, matrix("self_attn.q") / np.float32(np.sqrt(shape.head_dim)))
    qkv = np.concatenate([q, _pairs(shape, matrix("self_attn.k")), matrix("self_attn.v")])
    return Layer(
        qkv=np.ascontiguousarray((qkv * weight[f"{prefix}input_layernorm.weight"]).T),
        out=np.ascontiguousarray(matrix("self_attn.o").T),
        gate_up=np.ascontiguousarray(
            (matrix("mlp.gate", "mlp.up") * weight[f"{prefix}post_attention_layernorm.weight"]).T
        ),
        down=np.ascontiguousarray(matrix("mlp.down").T),
    )


def _pairs(shape: Shape, projection: Floats) -> Floats:
    """The projection with the two numbers that a rotation turns side by side: one complex product then turns a head.

    transformers keeps them half a head apart. Queries and keys are re-ordered alike, so their products do not change.
    """
    halves = projection.reshape(-1, 2, shape.head_dim // 2, shape.hidden)
    return halves.swapaxes(1, 2).reshape(projection.shape)


def _rotations(shape: Shape, positions: int) -> NDArray[np.complex64]:
    """exp(i position theta^(-2j/head_dim)), [positions, head_dim / 2]."""
    frequency = shape.theta ** (-np.arange(0, shape.head_dim, 2) / shape.head_dim)
    return np.exp(1j * np.outer(np.arange(positions), frequency)).astype(np.complex64)


def _times(rows: Floats, matrix: Floats) -> Floats:
    """The product, computed ROWS rows at a time."""
    return (rows.reshape(-1, ROWS, rows.shape[1]) @ matrix).reshape(len(rows), -1)


def _unit(x: Floats, epsilon: float) -> Floats:
    """Each row over its root mean square."""
    scale = np.sqrt(np.vecdot(x, x) / np.float32(x.shape[1]) + np.float32(epsilon))
    return x / scale[:, None]


def _swiglu(gate: Floats, up: Floats) -> Floats:
    result = np.negative(gate)
    np.exp(result, out=result)
    result += 1
    np.divide(gate, result, out=result)
    result *= up
    return result


def _in_order(blocks: Floats) -> Floats:
    """The sum over axis 2, first to last: a longer neighbour's zero blocks at the end then change nothing."""
    total = blocks[:, :, 0]
    for number in range(1, blocks.shape[2]):
        total = total + blocks[:, :, number]
    return total


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
