"""Parse the arguments of a call on the command line: each is JSON, or else text; `name=value` is an argument by name.

If the parameter's type is known, it decides: `str`, paths and IP addresses get the raw text; `bool` accepts True as
well as true.
"""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from fastrpc._core.payload.metadata import check_entry
from fastrpc.errors import ConfigError
from fastrpc.rpc.description import nearest_name

__all__ = ["call_text", "needs_types", "read_arguments", "read_message", "read_metadata", "refuse_options"]

#: Longest type, in characters, that is parsed. The text comes from a peer.
LONGEST_TYPE = 1000

_SCALARS = {"None", "bool", "int", "float", "str"}

#: Stands for any type of `_TEXTS`: types whose payload is text.
_TEXT = '"'

#: Values that Python spells differently from JSON.
_PYTHON = {"True": True, "False": False, "None": None}

_TEXTS = {
    # A JSON number would lose digits.
    "Decimal",
    *("Path", "PurePath", "PurePosixPath", "PureWindowsPath", "PosixPath"),
    *(f"IPv{version}{kind}" for version in "46" for kind in ("Address", "Interface", "Network")),
}

#: Stands for any other type.
_OTHER = "…"

_BY_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)


def read_arguments(
    texts: Sequence[str], *, codec: str | None = None, types: Mapping[str, str] | None = None
) -> tuple[list[Any], dict[str, Any]]:
    """Return positional and named arguments.

    Args:
        types: the parameters of the method in order, if known.

    Raises:
        ConfigError: a name is given twice, or a text is not UTF-8.
    """
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    known = {} if types is None else types
    by_position = list(known.values())
    for text in texts:
        _check_unicode(text)
        match = _BY_NAME.fullmatch(text)
        if match is None:
            kind = by_position[len(args)] if len(args) < len(by_position) else ""
            args.append(_read(text, codec, kind))
        elif match[1] in kwargs:
            raise ConfigError(f"argument {match[1]!r} is given twice")
        else:
            kwargs[match[1]] = _read(match[2], codec, known.get(match[1], ""))
    return args, kwargs


def needs_types(texts: Sequence[str], *, codec: str | None = None) -> bool:
    """Return whether a text could be either JSON or plain text, so that the parameter types are needed to decide."""
    if codec == "raw":
        return False
    values = [match[2] if (match := _BY_NAME.fullmatch(text)) else text for text in texts]
    return any(value in _PYTHON or _read_value(value) is not value for value in values)


def read_message(text: str, codec: str | None = None, kind: str = "") -> Any:
    """Return a message of a stream; `kind` is its type, if known."""
    return _read(text, codec, kind)


def refuse_options(texts: Sequence[str], options: Sequence[str]) -> None:
    """Refuse values that look like options; typer lets them pass so that negative numbers can be values."""
    for text in texts:
        if re.match(r"-(-|[A-Za-z])", text) and not isinstance(_read_value(text), int | float):
            near = nearest_name(text.partition("=")[0], options)
            hint = (
                f"did you mean {near}?"
                if near
                else f"a text that begins with a dash is given by the name of its parameter: name={text}"
            )
            raise ConfigError(f"there is no option {text}", hint=hint)


def read_metadata(texts: Sequence[str]) -> dict[str, str]:
    """Read `key=value` pairs.

    Raises:
        ConfigError: a text has no `=`, or a key that cannot be sent.
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
    """Return a call as Python source."""
    return f"{method}({', '.join(texts)})"


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"argument {text!r} is not UTF-8") from None


def _read(text: str, codec: str | None, kind: str) -> Any:
    if codec == "raw":
        return text.encode()
    return _read_value(text) if not kind else _read_as(text, kind)


def _read_as(text: str, kind: str) -> Any:
    """Return a value for a parameter of this type."""
    value = _read_value(text)
    members = list(_members(kind))
    if any(text in literals for literals in map(_literals, members)):
        return text
    names = set(map(_name_of, members))
    if _TEXT in names and not (value is None and "None" in names):
        # A class of the server may have the same name as a type in `_TEXTS`. Its values are JSON objects or arrays.
        return value if isinstance(value, dict | list) else text
    if "str" not in names:
        return _PYTHON[text] if text in _PYTHON and _fits(_PYTHON[text], names) else value
    if isinstance(value, str):
        return text if names == {"str"} else value
    return value if _fits(value, names - {"str"}) else text


def _members(kind: str) -> Iterator[ast.expr]:
    """Return the members of a union."""
    try:
        waiting = [ast.parse(kind, mode="eval").body] if len(kind) <= LONGEST_TYPE else []
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    while waiting:
        one = waiting.pop()
        if isinstance(one, ast.BinOp) and isinstance(one.op, ast.BitOr):
            waiting += (one.left, one.right)
        else:
            yield one


def _name_of(member: ast.expr) -> str:
    if isinstance(member, ast.Constant) and member.value is None:
        return "None"
    if not isinstance(member, ast.Name):
        return _OTHER
    if member.id in _TEXTS:
        return _TEXT
    return member.id if member.id in _SCALARS else _OTHER


def _literals(member: ast.expr) -> list[Any]:
    """Return the values of `Literal[…]`; empty for another type."""
    if not (isinstance(member, ast.Subscript) and isinstance(member.value, ast.Name)):
        return []
    if member.value.id != "Literal":
        return []
    inside = member.slice.elts if isinstance(member.slice, ast.Tuple) else [member.slice]
    return [one.value for one in inside if isinstance(one, ast.Constant)]


def _fits(value: Any, names: set[str]) -> bool:
    """Return whether a JSON value other than text fits one of the named types."""
    if value is None or isinstance(value, bool | int | float):
        wanted = {"None"} if value is None else {type(value).__name__}
        return bool(names & (wanted | {"float"} if wanted == {"int"} else wanted))
    return _OTHER in names


def _read_value(text: str) -> Any:
    """Return the JSON value of a text, or the text itself if it is not JSON."""
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return text
