"""`python -m train MODEL`: trains an embedded model from nothing and writes its weights, tokenizer and log.

A run is a function of `recipe.toml` and the seed in it (to the bit on one machine and one thread). Every evaluation
leaves a checkpoint under `train/checkpoints/`; `python -m train policy` makes the policy model of one of them.
"""

import argparse
import json
import math
import shutil
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from assay import sync
from assay.benchmark.catalog import load
from assay.benchmarks.arithmetic.problems import Problem, test_problems
from assay.trainers import trl
from assay.trainers.tasks import training_tasks, with_tasks
from train import notes, tokens
from train.data import completion, held_out, training_problems
from train.notes import Conversation

HERE = Path(__file__).parent
WEIGHTS = HERE.parent / "src/assay/model/builtin/weights"
IGNORED = -100
"""The label that cross-entropy leaves out: prompts and padding."""


def main() -> None:
    recipe = tomllib.loads((HERE / "recipe.toml").read_text())
    names = [name for name, entry in recipe.items() if isinstance(entry, dict) and name != "sizes"]
    parser = argparse.ArgumentParser(description="Train an embedded model from nothing.")
    parser.add_argument("model", choices=[*names, "all"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--until", type=int, help="stop at this step and publish nothing, to try the recipe out")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name in names if arguments.model == "all" else [arguments.model]:
        entry = recipe[name]
        if "checkpoint_of" in entry:
            checkpoint = HERE / "checkpoints" / entry["checkpoint_of"] / str(entry["step"])
            if not checkpoint.exists():
                parser.error(f"{name} is a checkpoint of {entry['checkpoint_of']}: train that first")
            publish(checkpoint, name)
        else:
            train(name, recipe, until=arguments.until)


def train(name: str, recipe: dict[str, Any], *, until: int | None = None) -> None:
    """Train one model, log held-out accuracy as it goes, and publish the recipe's checkpoint as its weights.

    `until` stops at another step, and publishes nothing.
    """
    entry, seed = recipe[name], recipe["seed"]
    steps = entry["steps"]
    ships = entry.get("publish", steps)
    last = until or ships
    torch.manual_seed(seed)
    course = _notes(seed) if entry.get("tools") else _arithmetic(seed, thinking=entry["thinking"])
    tokenizer, size = course.tokenizer, entry.get("batch", recipe["batch"])
    model = LlamaForCausalLM(_config(recipe["sizes"][entry["size"]], tokenizer))
    data = batches(course.conversations, tokenizer, size, seed=seed)
    hidden = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    # Muon on the matrices learns this data in about half the steps of AdamW alone.
    optimizers = [
        torch.optim.Muon(hidden, lr=recipe["learning_rate"], weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=recipe["learning_rate"], betas=(0.9, 0.98), weight_decay=0.0),
    ]
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(o, lambda step: _rate(step, recipe["warmup"], steps)) for o in optimizers
    ]
    started, losses, log = time.monotonic(), [], []
    for step in range(1, last + 1):
        inputs, labels = next(data)
        loss = model(input_ids=inputs, labels=labels, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        losses.append(loss.item())
        if step % entry.get("eval_every", recipe["eval_every"]) == 0 or step == last:
            accuracy = course.evaluate(model)
            row = {
                "step": step,
                "examples": step * size,
                "loss": round(float(np.mean(losses)), 4),
                "held_out_accuracy": round(float(np.mean(list(accuracy.values()))), 4),
                "by_cell": accuracy,
                "seconds": round(time.monotonic() - started),
            }
            losses = []
            log.append(json.dumps(row))
            print(name, json.dumps(row), flush=True)
            save(model, course, HERE / "checkpoints" / name / str(step), log)
    if last == ships:
        publish(HERE / "checkpoints" / name / str(last), name)


@dataclass
class Course:
    """What a model is trained on, and how it is measured."""

    tokenizer: Tokenizer
    template: str
    conversations: Iterator[Conversation]
    evaluate: Callable[[LlamaForCausalLM], dict[str, float]]


def _arithmetic(seed: int, *, thinking: bool) -> Course:
    test = frozenset(p.identity for p in test_problems())
    measured = held_out(test)
    excluded = test | {p.identity for p in measured}
    tokenizer = tokens.of_arithmetic(seed, excluded)
    answered = (
        [(_prompt(problem), False), (f"{completion(problem, thinking=thinking)}<|end|>", True)]
        for problem in training_problems(seed, excluded)
    )
    return Course(tokenizer, tokens.CHAT_TEMPLATE, answered, lambda m: evaluate(m, tokenizer, measured, seed=seed))


def _notes(seed: int) -> Course:
    tokenizer = tokens.of_notes(seed)
    return Course(tokenizer, notes.CHAT_TEMPLATE, notes.conversations(seed), lambda m: play(m, tokenizer, seed=seed))


def play(model: LlamaForCausalLM, tokenizer: Tokenizer, *, seed: int) -> dict[str, float]:
    """The share of requests of each kind that are carried out, one rollout each at temperature 1."""
    tasks = training_tasks(load("notepad"), 192, seed=notes.HELD_OUT_SEED)
    with tempfile.TemporaryDirectory() as folder:
        tokens.save(tokenizer, Path(folder), notes.CHAT_TEMPLATE)
        engine = trl.engine_model(model, AutoTokenizer.from_pretrained(folder))
    made = sync.rollouts(with_tasks(load("notepad"), tasks), model=engine, seed=seed, repeats=1, concurrency=64)
    right: dict[str, list[float]] = {}
    for task, rollout in zip(tasks, made, strict=True):
        right.setdefault(task.tags["category"], []).append(getattr(rollout.outcome, "reward", 0.0))
    return {kind: round(sum(marks) / len(marks), 3) for kind, marks in sorted(right.items())}


def batches(
    conversations: Iterator[Conversation], tokenizer: Tokenizer, size: int, *, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Inputs and labels, both [size, longest], right-padded. Loss falls on what the model says alone.

    Examples of like length share a batch, 32 batches being sorted at a time: padding is then about 5 % of all tokens.
    """
    rng = np.random.default_rng(seed)
    pad = tokenizer.token_to_id("<|pad|>")
    while True:
        examples = sorted((_example(next(conversations), tokenizer) for _ in range(32 * size)), key=len)
        for start in rng.permutation(32) * size:
            chunk = examples[start : start + size]
            inputs = np.full((size, len(chunk[-1])), pad)
            labels = np.full_like(inputs, IGNORED)
            for row, example in enumerate(chunk):
                inputs[row, : len(example)], labels[row, : len(example)] = zip(*example, strict=True)
            yield torch.from_numpy(inputs), torch.from_numpy(labels)


def evaluate(model: LlamaForCausalLM, tokenizer: Tokenizer, measured: list[Problem], *, seed: int) -> dict[str, float]:
    """The share of right answers per category and level, one sample a problem at temperature 1."""
    generator_state = torch.get_rng_state()
    torch.manual_seed(seed)
    pad, end = tokenizer.token_to_id("<|pad|>"), tokenizer.token_to_id("<|end|>")
    prompts = [tokenizer.encode(_prompt(p)).ids for p in measured]
    width = max(map(len, prompts))
    inputs = torch.tensor([[pad] * (width - len(p)) + p for p in prompts])
    with torch.inference_mode():
        outputs = model.generate(
            inputs,
            attention_mask=(inputs != pad).long(),
            do_sample=True,
            top_k=0,
            max_new_tokens=160,
            pad_token_id=pad,
            eos_token_id=end,
        )
    torch.set_rng_state(generator_state)
    right: dict[str, list[bool]] = {}
    for problem, output in zip(measured, outputs[:, width:].tolist(), strict=True):
        text = tokenizer.decode(output, skip_special_tokens=True)
        answered = text.rpartition("</think>")[2] == str(problem.answer)
        right.setdefault(f"{problem.category}/{problem.level}", []).append(answered)
    return {cell: round(sum(marks) / len(marks), 3) for cell, marks in right.items()}


def save(model: LlamaForCausalLM, course: Course, folder: Path, log: list[str]) -> None:
    """Write the model in half precision as transformers reads it, with the log so far."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.architectures = [type(model).__name__]  # what servers choose the model's class by
    model.config.save_pretrained(folder)
    state = {n: p.detach().to(torch.float16) for n, p in model.state_dict().items() if n != "lm_head.weight"}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    tokens.save(course.tokenizer, folder, course.template)
    (folder / "log.jsonl").write_text("\n".join(log) + "\n")


def publish(checkpoint: Path, name: str) -> None:
    """Copy a checkpoint to where the package ships it, its log to where the repository keeps it."""
    (WEIGHTS / name).mkdir(parents=True, exist_ok=True)
    for file in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(checkpoint / file, WEIGHTS / name / file)
    (HERE / "logs").mkdir(exist_ok=True)
    shutil.copy(checkpoint / "log.jsonl", HERE / "logs" / f"{name}.jsonl")


def _example(conversation: Conversation, tokenizer: Tokenizer) -> list[tuple[int, int]]:
    """The token ids and their labels."""
    return [
        (number, number if learned else IGNORED)
        for text, learned in conversation
        for number in tokenizer.encode(text).ids
    ]


def _prompt(problem: Problem) -> str:
    return f"<|user|>{problem.question}<|end|><|assistant|>"


def _rate(step: int, warmup: int, steps: int) -> float:
    """The share of the full learning rate: linear warm-up, then a cosine to zero."""
    return min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))


def _config(size: dict[str, int], tokenizer: Tokenizer) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.token_to_id("<|end|>"),
        pad_token_id=tokenizer.token_to_id("<|pad|>"),
        num_key_value_heads=size["num_attention_heads"],
        **size,
    )


if __name__ == "__main__":
    main()
