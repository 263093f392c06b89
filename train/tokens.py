"""The embedded models' tokenizer: byte-level BPE, digits apart, trained on the training text itself."""

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from train.data import completion, training_problems
from train.notes import conversations

VOCABULARY = 384
TOOL_VOCABULARY = 448
SPECIAL = ("<|pad|>", "<|end|>", "<|system|>", "<|developer|>", "<|user|>", "<|assistant|>", "<|tool|>")
THINK = ("<think>", "</think>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


RESPONSE: dict[str, Any] = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|assistant|>",
    "fields": {
        "tool_calls": {
            "open": "<tool_call>",
            "close_pattern": r"</tool_call>\s*",
            "repeats": True,
            "content": "json",
            "transform": {"type": "function", "function": "{content}"},
        },
        "content": {"close_pattern": r"<\|end\|>", "content": "text"},
    },
}
"""How transformers reads calls out of what a model said; TRL's own tool loop needs it."""
CALL = ('<tool_call>{"name": "', '", "arguments": {"', '": "', '", "', '": ', '"}}</tool_call>', "}}</tool_call>")
"""What every call is made of, a token each: a rollout then has half as many tokens."""


def of_arithmetic(seed: int, excluded: frozenset[str]) -> Tokenizer:
    problems = itertools.islice(training_problems(seed, excluded), 4000)
    return build((text for p in problems for text in (p.question, completion(p, thinking=True))), VOCABULARY, THINK)


def of_notes(seed: int) -> Tokenizer:
    """The tokenizer of the model that calls tools, which has words of its own."""
    said = itertools.islice(conversations(seed), 4000)
    return build((text for pieces in said for text, _ in pieces), TOOL_VOCABULARY, THINK + CALL)


def build(texts: Iterator[str], vocabulary: int, marks: Sequence[str]) -> Tokenizer:
    """The trained tokenizer. Every text encodes without an unknown token, because every byte is in the vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[*SPECIAL, *marks],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    # Marks of reasoning and calls stay in the decoded text: the model server reads them there, as any remote model's.
    trained = json.loads(tokenizer.to_str())
    for token in trained["added_tokens"]:
        token["special"] = token["content"] not in marks
    return Tokenizer.from_str(json.dumps(trained))


def save(tokenizer: Tokenizer, folder: Path, template: str) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json` so that `AutoTokenizer` reads them unchanged."""
    tokenizer.save(str(folder / "tokenizer.json"))
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<|pad|>",
        "eos_token": "<|end|>",
        "chat_template": template,
        "clean_up_tokenization_spaces": False,
    }
    if "<tool_call>" in template:
        config["response_template"] = RESPONSE
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
