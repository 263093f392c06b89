"""Llama in numpy: RMSNorm, rotary positions, grouped-query attention, SwiGLU, and a key-value cache for many sequences.

Every number of one sequence is the same whoever shares the batch. A BLAS rounds differently for different numbers of
rows, so no product's shape depends on the batch here: rows are multiplied `ROWS` at a time, prompts are read `WIDTH`
tokens and contexts `BLOCK` positions at a time, and the blocks are added up in order.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file  # pyright: ignore[reportUnknownVariableType]

from assay.errors import InputError

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Attend = Callable[[int, Floats], Floats]
"""A layer's attention: its number and [rows, heads + 2 kv_heads, head_dim] -> [rows, heads * head_dim]."""

ROWS = 8
"""Of 2 to 16 rows, 8 is as fast as any, and all its rows come out alike: on OpenBLAS's Haswell and Zen kernels rows 6
to 11 of a tile of 12 differ from rows 0 to 5 in the last bit."""
WIDTH = 16
"""Prompts of about 17 tokens are read a quarter faster than at 32."""
BLOCK = 64
PRODUCT = 2**18
"""Multiply-adds of one product at most. OpenBLAS shares larger ones out to threads: 15 times slower where another
process has the cores, and no faster here where none has."""


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
        end: int | list[int] | None = config.get("eos_token_id")
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
    """A layer's matrices, as `_columns` keeps them; norms' gains and attention's 1/sqrt(head_dim) are multiplied in."""

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
        self.head: Floats = _columns(head * weight["norm.weight"])
        self.layers = [_layer(shape, weight, f"layers.{number}.") for number in range(shape.layers)]
        # Pages that no sequence reaches are never touched, so cost nothing.
        capacity = _up(shape.context, math.lcm(BLOCK, WIDTH))
        self.rotations = _rotations(shape, capacity)
        self.cache: Floats = np.zeros((shape.layers, slots, 2 * shape.kv_heads, capacity, shape.head_dim), np.float32)
        """[layer, slot, keys' heads then values' heads, position, dim]"""

    @classmethod
    def load(cls, folder: Path, slots: int) -> Self:
        """The model in a folder as transformers writes it, in full float32."""
        tensors: dict[str, NDArray[Any]] = load_file(folder / "model.safetensors")
        return cls(Shape.read(folder / "config.json"), tensors, slots)

    def prefill(self, first: int, prompts: list[list[int]]) -> Floats:
        """Fill the slots from `first` on with prompts, longest first; final hidden states [prompts, tokens, hidden]."""
        lengths = np.array([len(prompt) for prompt in prompts])
        tokens = np.zeros((len(prompts), _up(len(prompts[0]), WIDTH)), np.int64)
        for row, prompt in enumerate(prompts):
            tokens[row, : len(prompt)] = prompt
        hidden = np.zeros((*tokens.shape, self.shape.hidden), np.float32)
        for start in range(0, tokens.shape[1], WIDTH):
            count, columns = int((lengths > start).sum()), slice(start, start + WIDTH)
            hidden[:count, columns] = self.extend(first, tokens[:count, columns], np.full(count, start))
        return hidden

    def extend(self, first: int, tokens: Ints, lengths: Ints) -> Floats:
        """Append tokens [sequences, width] to the slots from `first` on, which hold `lengths` [sequences] tokens.

        Final hidden states [sequences, width, hidden].
        """
        shape, (count, width) = self.shape, tokens.shape
        group = shape.heads // shape.kv_heads
        slots = np.arange(first, first + count, dtype=np.int64).reshape(-1, 1)
        positions: Ints = lengths.reshape(-1, 1) + np.arange(width, dtype=np.int64)
        blocks = int(positions.max()) // BLOCK + 1
        seen: NDArray[np.bool] = np.arange(blocks * BLOCK) <= positions.reshape(count, width, 1)
        unseen = np.where(seen, np.float32(0), np.float32(-np.inf)).reshape(count, 1, width, blocks, BLOCK)
        bias = unseen.transpose(0, 3, 1, 2, 4)[:, None]
        rows = count * width
        mixed_rows = np.zeros((_up(rows, ROWS), shape.heads * shape.head_dim), np.float32)

        def attend(number: int, qkv: Floats) -> Floats:
            heads = qkv[:rows].reshape(count, width, -1, shape.head_dim)
            self.cache[number, slots, :, positions] = heads[:, :, shape.heads :]
            cache = self.cache[number, first : first + count, :, : blocks * BLOCK]
            cache = cache.reshape(count, 2, shape.kv_heads, blocks, BLOCK, shape.head_dim)
            queries = heads[:, :, : shape.heads].swapaxes(1, 2)
            queries = queries.reshape(count, shape.kv_heads, 1, group * width, shape.head_dim)
            scores = queries @ cache[:, 0].swapaxes(-1, -2)
            by_query = scores.reshape(count, shape.kv_heads, blocks, group, width, BLOCK)
            by_query += bias
            scores -= scores.max(axis=(2, 4), keepdims=True)
            np.exp(scores, out=scores)
            mixed = _in_order(scores @ cache[:, 1]) / _in_order(scores.sum(-1, keepdims=True))
            mixed = mixed.reshape(count, shape.heads, width, shape.head_dim).swapaxes(1, 2)
            mixed_rows[:rows] = mixed.reshape(rows, -1)
            return mixed_rows

        room = (0, len(mixed_rows) - rows)
        hidden = self._forward(np.pad(tokens.reshape(-1), room), np.pad(positions.reshape(-1), room), attend)
        return hidden[:rows].reshape(count, width, -1)

    def logits(self, hidden: Floats) -> Floats:
        """Scores over the vocabulary [rows, vocabulary] of final hidden states [rows, hidden]."""
        rows = len(hidden)
        return _times(np.pad(hidden, ((0, _up(rows, ROWS) - rows), (0, 0))), self.head)[:rows]

    def move(self, source: int, target: int, length: int) -> None:
        """Put the sequence in slot `source`, which holds `length` tokens, in place of the one in `target`."""
        self.cache[:, target, :, :length] = self.cache[:, source, :, :length]

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


def _layer(shape: Shape, weight: dict[str, Floats], prefix: str) -> Layer:
    def matrix(*names: str) -> Floats:
        return np.concatenate([weight[f"{prefix}{name}_proj.weight"] for name in names])

    q = _pairs(shape, matrix("self_attn.q") / np.float32(np.sqrt(shape.head_dim)))
    qkv = np.concatenate([q, _pairs(shape, matrix("self_attn.k")), matrix("self_attn.v")])
    return Layer(
        qkv=_columns(qkv * weight[f"{prefix}input_layernorm.weight"]),
        out=_columns(matrix("self_attn.o")),
        gate_up=_columns(matrix("mlp.gate", "mlp.up") * weight[f"{prefix}post_attention_layernorm.weight"]),
        down=_columns(matrix("mlp.down")),
    )


def _columns(projection: Floats) -> Floats:
    """A projection [out, in] as [pieces, in, out / pieces]: the fewest equal pieces that keep to PRODUCT."""
    out, width = projection.shape
    fitting = (n for n in range(1, out) if out % n == 0 and ROWS * projection.size // n <= PRODUCT)
    pieces = next(fitting, out)
    return np.ascontiguousarray(projection.reshape(pieces, out // pieces, width).swapaxes(1, 2))


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


def _times(rows: Floats, pieces: Floats) -> Floats:
    """Rows [a multiple of ROWS, in] times a matrix in pieces."""
    tiles = rows.reshape(-1, 1, ROWS, rows.shape[1])
    result = np.empty((len(tiles), ROWS, len(pieces), pieces.shape[2]), np.float32)
    np.matmul(tiles, pieces, out=result.swapaxes(1, 2))
    return result.reshape(len(rows), -1)


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
