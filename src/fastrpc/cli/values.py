"""Arguments of a remote method as they are typed: each JSON, else text; `name=value` by name."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from fastrpc._core.metadata import check_entry
from fastrpc.errors import ConfigError
from fastrpc.rpc.description import nearest_name

__all__ = ["call_text", "read_arguments", "read_metadata"]

_BY_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)


def read_arguments(texts: Sequence[str], *, codec: str | None = None) -> tuple[list[Any], dict[str, Any]]:
    """Return positional and named arguments.

    Raises:
        ConfigError: one is an unknown option, or a name is given twice.
    """
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    read = _read_bytes if codec == "raw" else _read_value
    for text in texts:
        match = _BY_NAME.fullmatch(text)
        if match is None:
            args.append(read(text))
        elif match[1] in kwargs:
            raise ConfigError(f"argument {match[1]!r} is given twice")
        else:
            kwargs[match[1]] = read(match[2])
    return args, kwargs


def refuse_options(texts: Sequence[str], options: Sequence[str]) -> None:
    """Refuse values that look like an option, which typer let pass for the sake of negative numbers."""
    for text in texts:
        if re.match(r"-(-|[A-Za-z])", text) and not isinstance(_read_value(text), int | float):
            near = nearest_name(text.partition("=")[0], options)
            hint = (
                f"did you mean {near}?"
                if near
                else f"a text that begins with a dash is written as '\"{text}\"'"
            )
            raise ConfigError(f"there is no option {text}", hint=hint)


def read_metadata(texts: Sequence[str]) -> dict[str, str]:
    """Read `key=value` pairs.

    Raises:
        ConfigError: one has no `=`, or a key that cannot travel.
    """
    pairs: dict[str, str] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise ConfigError(f"metadata {text!r} has no key", hint="write it as --metadata key=value")
        try:
            check_entry(key, value)
        except (TypeError, ValueError) as error:
            raise ConfigError(str(error)) from None
        pairs[key] = value
    return pairs


def call_text(method: str, texts: Sequence[str]) -> str:
    """Return a call as one would write it."""
    return f"{method}({', '.join(texts)})"


def _read_value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _read_bytes(text: str) -> bytes:
    return text.encode()
