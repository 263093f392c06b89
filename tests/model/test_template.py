"""Chat templates: where they come from, and what they make of messages."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from assay.errors import InputError, UsageError
from assay.model.dialects.template import ChatTemplate

ASKED = [{"role": "system", "content": "<Be> brief."}, {"role": "user", "content": "1 é"}]
CHATML = (
    "{% for message in messages %}\n"
    "    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}\n"
)


@pytest.mark.parametrize(
    ("source", "prompt"),
    [
        (CHATML, "<|im_start|>system\n<Be> brief.<|im_end|>\n<|im_start|>user\n1 é<|im_end|>\n<|im_start|>assistant\n"),
        ("{{ messages | tojson }}", json.dumps(ASKED, ensure_ascii=False)),
        ("{{ messages[0] | tojson(indent=1) }}", json.dumps(ASKED[0], indent=1)),
        ("{{ strftime_now('%Y') }}", str(datetime.now().year)),
        ("{% if tools is not none %}tools{% endif %}{% if documents %}documents{% endif %}", ""),
        ("{% for m in messages %}{% if loop.last %}{% break %}{% endif %}{{ m.role }}{% endfor %}", "system"),
        ("a{% generation %}{{ messages[1].content }}{% endgeneration %}b", "a1 éb"),
        ("{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}", "21"),
        ("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "2"),
        ("{{ bos_token }}|{{ eos_token }}|{{ pad_token }}", "<s>|</s>|"),
        ("{{ 'on' if enable_thinking else 'off' }}", "on"),
    ],
)
def test_a_template_is_rendered(source: str, prompt: str):
    template = ChatTemplate(source, {"bos_token": "<s>", "eos_token": "</s>"})
    assert template.render(ASKED, {"enable_thinking": True}) == prompt


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{{ raise_exception('no system role') }}", "no system role"),
        ("{{ messages[7].content.strip() }}", "no element 7"),
        ("{{ messages[0].content + 1 }}", "refuses these messages"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe|not safely"),
    ],
)
def test_a_template_that_refuses_is_a_value_error(source: str, words: str):
    with pytest.raises(ValueError, match=words):
        ChatTemplate(source).render(ASKED)


def write(path: Path, value: Any) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("t.jinja", {"t.jinja": "{{ bos_token }}{{ eos_token }}x", "tokenizer_config.json": {"bos_token": "<s>"}}),
        ("c.json", {"c.json": {"chat_template": "{{ bos_token }}x", "bos_token": {"content": "<s>", "lstrip": False}}}),
        (
            "c.json",
            {
                "c.json": {
                    "chat_template": [{"name": "rag", "template": "y"}, {"name": "default", "template": "<s>x"}],
                    "eos_token": None,
                    "model_max_length": 4096,
                }
            },
        ),
    ],
)
def test_a_template_is_loaded_with_its_tokens(tmp_path: Path, name: str, files: dict[str, Any]):
    for file, value in files.items():
        write(tmp_path / file, value)
    assert ChatTemplate.load(tmp_path / name).render(ASKED) == "<s>x"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("c.json", {}, "no chat_template"),
        ("c.json", {"chat_template": [{"name": "rag", "template": ""}]}, "named rag"),
        ("c.json", {"chat_template": 3}, r"Expected `str \| array"),
        ("c.json", "{", "as transformers writes it"),
        ("t.jinja", "a\n{% if %}", "line 2"),
        ("t.jinja", "{% nonsense %}", "line 1"),
    ],
)
def test_a_file_without_a_template_is_told(tmp_path: Path, name: str, value: Any, words: str):
    with pytest.raises(InputError, match=words):
        ChatTemplate.load(write(tmp_path / name, value))


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path):
    with pytest.raises(UsageError, match="No such file"):
        ChatTemplate.load(tmp_path / "t.jinja")
    (tmp_path / "t.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        ChatTemplate.load(tmp_path / "t.jinja")


def test_the_digest_is_of_all_that_decides_the_prompt():
    same = {ChatTemplate("x", {"bos_token": "<s>"}).digest for _ in range(2)}
    others = {ChatTemplate("y", {"bos_token": "<s>"}).digest, ChatTemplate("x").digest}
    assert len(same) == 1
    assert len(same | others) == 3
