"""Other gyms' tasks as benchmarks. Each library is an extra, and is loaded where a benchmark of it is named."""

import importlib
from collections.abc import Collection, Mapping
from typing import Any, NoReturn, cast

import msgspec

from assay.benchmark.catalog import divide
from assay.errors import UsageError
from assay.types import Content, InputImage, InputText, RolloutLimits, Sampling

SAMPLING = ("temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty")
"""The settings of `assay.types.Sampling` that other gyms call as it does."""

UNLIMITED = RolloutLimits(steps=1000)
"""For a rollout that has no limit in the other gym."""


def require(module: str, extra: str) -> Any:
    """The module, untyped. Raises UsageError where the extra is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(f"{module} can't be loaded ({error}).\n  pip install 'assay[{extra}]'") from error


def refuse(name: str, what: str) -> NoReturn:
    """Raises UsageError for a setting or a part without an equal here. Never returns."""
    raise UsageError(f"{name} can't be carried over: {what}")


def divided(name: str) -> tuple[str, str | None]:
    """Returns a name such as `PACKAGE/TASK,gold=FIELD` in its parts: what is loaded, and the field of the golds.

    Raises UsageError for another setting.
    """
    loaded, stated = divide(name)
    gold = stated.pop("gold", None)
    if stated:
        raise UsageError(f"{name}: there is no setting '{next(iter(stated))}'; expected gold=FIELD")
    return loaded, gold


def gold_in(name: str, task: str, fields: Mapping[str, Any], field: str) -> str:
    """Returns the text or number in a task's field, with dots for nested ones. Raises UsageError."""
    value: Any = fields
    for part in field.split("."):
        value = cast(Mapping[str, Any], value).get(part) if isinstance(value, Mapping) else None
    if isinstance(value, str | int | float):
        return str(value)
    got = f"the field {field} of task {task} is {str(value)[:60]}"
    raise UsageError(f"{name}: {got}; expected a text or a number\n  fields: {_names(fields)}")


def _names(fields: Mapping[str, Any], before: str = "") -> str:
    names: list[str] = []
    for name, value in fields.items():
        inner = cast(Mapping[str, Any], value) if isinstance(value, Mapping) else None
        names.append(_names(inner, f"{before}{name}.") if inner else f"{before}{name}")
    return ", ".join(names)


def sampling_of(name: str, settings: dict[str, Any], *, stop: str, ignored: Collection[str] = ()) -> Sampling:
    """Returns the sampling that another gym's settings fix; `stop` names the texts at which an output ends.

    Raises UsageError for a setting that has no equal here and is not `ignored`.
    """
    ours: dict[str, Any] = {}
    for key, value in settings.items():
        if key in SAMPLING:
            ours[key] = value
        elif key in ("max_tokens", "max_completion_tokens"):
            ours["max_output_tokens"] = value
        elif key == stop:
            ours["stop"] = (value,) if isinstance(value, str) else tuple(value)
        elif value is not None and key not in ignored:
            refuse(name, f"it generates with {key}={value!r}")
    return Sampling(**ours)


def plain(value: Any) -> Any:
    """Returns the value as JSON data, for the task's digest. What JSON can't hold becomes the name of its type."""
    return msgspec.json.decode(msgspec.json.encode(value, enc_hook=lambda other: f"({type(other).__name__})"))


def content_of(name: str, content: Any) -> str | list[Content]:
    """Returns the content of a chat message in OpenAI's form. Raises UsageError for other kinds of parts."""
    if content is None or isinstance(content, str):
        return content or ""
    return [_part(name, part) for part in content]


def _part(name: str, part: Any) -> Content:
    match part:
        case {"type": "text", "text": str(text)}:
            return InputText(text=text)
        case {"type": "image_url", "image_url": {"url": str(url)}}:
            return InputImage(image_url=url)
        case _:
            kind = part.get("type") if isinstance(part, dict) else type(part).__name__  # pyright: ignore
            refuse(name, f"a message has a part of the kind '{kind}'; expected text or image_url")
