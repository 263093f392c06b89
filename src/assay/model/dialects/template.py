"""Chat templates, rendered as transformers renders them: a conversation becomes the text of a prompt."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn, Self

import msgspec
from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from msgspec import Struct

from assay.digest import digest
from assay.errors import InputError, UsageError
from assay.input import read_input


class ChatTemplate:
    """A Jinja chat template, with the special tokens that it may name."""

    def __init__(
        self, source: str, tokens: Mapping[str, str] = MappingProxyType({}), path: object = "the chat template"
    ) -> None:
        """Raises InputError where the source is no Jinja template; `path` says where it is from."""
        try:
            self._template = _environment().from_string(source, {**_FUNCTIONS, **tokens})
        except TemplateSyntaxError as error:
            raise InputError(path, error.lineno, error.message or "", "a Jinja chat template") from None
        self.digest = digest([source, dict(tokens)])
        """Of all that makes a conversation a prompt."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """The template of a Jinja file, or the one that a `tokenizer_config.json` holds; of several, the default.

        The special tokens are those of the `tokenizer_config.json`, which for a Jinja file is the one beside it, if
        there is one. Raises UsageError, and InputError where the file holds no template.
        """
        if path.suffix != ".json":
            beside = path.with_name("tokenizer_config.json")
            tokens = _tokenizer(beside).tokens() if beside.exists() else {}
            return cls(_read(path), tokens, path)
        tokenizer = _tokenizer(path)
        return cls(tokenizer.template(path), tokenizer.tokens(), path)

    def render(self, messages: list[dict[str, Any]], variables: Mapping[str, Any] = MappingProxyType({})) -> str:
        """Returns the prompt for the next answer. `variables` are the template's own, such as `enable_thinking`.

        Raises ValueError if the template refuses the messages.
        """
        # Templates ask whether tools `is not none`, which a variable that is not there would pass.
        asked = {"tools": None, "documents": None, "add_generation_prompt": True, **variables}
        try:
            return self._template.render(**asked, messages=messages)
        except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError) as error:
            raise ValueError(f"the chat template refuses these messages: {error}") from error


class _Generation(Extension):
    """`{% generation %}`, which marks what a model is trained to say, stands for what is in it."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        # A scope of its own: what is set in it does not hold after it.
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)


def _environment() -> ImmutableSandboxedEnvironment:
    extensions = ["jinja2.ext.loopcontrols", _Generation]
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
    environment.filters["tojson"] = _to_json  # pyright: ignore[reportUnknownMemberType]
    return environment


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own escapes what is special in HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


_FUNCTIONS: Mapping[str, Any] = {"raise_exception": _refuse, "strftime_now": _strftime_now}
"""What templates may call."""


class _Token(Struct):
    """A special token as transformers writes one that has settings."""

    content: str


class _Named(Struct):
    name: str
    template: str


class _Tokenizer(Struct):
    """What a `tokenizer_config.json` says of prompts."""

    chat_template: str | list[_Named] | None = None
    bos_token: str | _Token | None = None
    eos_token: str | _Token | None = None
    unk_token: str | _Token | None = None
    sep_token: str | _Token | None = None
    pad_token: str | _Token | None = None
    cls_token: str | _Token | None = None
    mask_token: str | _Token | None = None

    def tokens(self) -> dict[str, str]:
        named = [(name, getattr(self, name)) for name in self.__struct_fields__ if name.endswith("_token")]
        return {name: token.content if isinstance(token, _Token) else token for name, token in named if token}

    def template(self, path: Path) -> str:
        if isinstance(self.chat_template, str):
            return self.chat_template
        named = {one.name: one.template for one in self.chat_template or []}
        if "default" in named:
            return named["default"]
        got = f"chat templates named {', '.join(named)}" if named else "no chat_template"
        raise InputError(path, None, got, "a chat_template, or one named default; or name the path of a Jinja file")


def _tokenizer(path: Path) -> _Tokenizer:
    try:
        return msgspec.json.decode(_read(path), type=_Tokenizer)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(path, None, str(error), "a tokenizer_config.json as transformers writes it") from None


def _read(path: Path) -> str:
    try:
        return read_input(path).decode()
    except OSError as error:
        raise UsageError(f"the chat template {path} can't be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(path, None, f"not UTF-8 text ({error})", "a chat template") from None
