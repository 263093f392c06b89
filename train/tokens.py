"""The embedded models' tokenizer: byte-level BPE, digits apart, trained on the training text itself."""

import itertools
import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from train.data import completion, training_problems

VOCABULARY = 384
SPECIAL = ("<|pad|>", "<|end|>", "<|system|>", "<|developer|>", "<|user|>", "<|assistant|>", "<|tool|>")
THINK = ("<think>", "</think>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def build(seed: int, excluded: frozenset[str]) -> Tokenizer:
    """The trained tokenizer. Every text encodes without an unknown token, because every byte is in the vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[*SPECIAL, *THINK],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    problems = itertools.islice(training_problems(seed, excluded), 4000)
    tokenizer.train_from_iterator(
        (text for p in problems for text in (p.question, completion(p, thinking=True))), trainer
    )
    # Reasoning tags stay in the decoded text: the model server reads them there, as it does any remote model's.
    trained = json.loads(tokenizer.to_str())
    for token in trained["added_tokens"]:
        token["special"] = token["content"] not in THINK
    return Tokenizer.from_str(json.dumps(trained))


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json` so that `AutoTokenizer` reads them unchanged."""
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<|pad|>",
        "eos_token": "<|end|>",
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
