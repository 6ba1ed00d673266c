"""The arguments in a query: `?id=7&name=Ada&tags=a&tags=b`."""

import types
from typing import Annotated, Any, Union, get_args, get_origin
from urllib.parse import unquote_to_bytes

import msgspec

from fastrpc.errors import CallError
from fastrpc.rpc.definition import MethodDefinition
from fastrpc.status import Status

__all__ = ["QueryArguments"]

_LISTS = (list, tuple, set, frozenset)


class QueryArguments:
    """Turns the query of a method into its arguments by name, as JSON.

    A parameter of type `str` is text as it is; any other is JSON. A list is its parameter repeated, or one array.
    """

    def __init__(self, definition: MethodDefinition) -> None:
        self._definition = definition
        self._kinds: dict[str, Any] | None = None

    def __call__(self, query: str) -> bytes:
        """Return the arguments.

        Raises:
            CallError: the query is none of this method.
        """
        if not query:
            return b""
        given: dict[str, list[str]] = {}
        for part in query.split("&"):
            name, _, value = part.partition("=")
            if part:
                given.setdefault(_text(name), []).append(_text(value))
        kinds = self._known()
        arguments: dict[str, Any] = {}
        for name, values in given.items():
            if name not in kinds:
                raise _refusal(f"{name!r:.100}: {self._definition.full_name} has no such parameter")
            arguments[name] = _argument(name, kinds[name], values)
        return msgspec.json.encode(arguments)

    def _known(self) -> dict[str, Any]:
        if self._kinds is None:
            definition = self._definition
            names = [parameter.name for parameter in definition.parameters]
            self._kinds = dict(zip(names, definition.types().parameters, strict=True))
            self._kinds |= {old: self._kinds[new] for old, new in definition.renamed.items()}
        return self._kinds


def _argument(name: str, kind: Any, values: list[str]) -> Any:
    item = _item_kind(kind)
    if item is _NO_LIST:
        if len(values) > 1:
            raise _refusal(f"{name}: comes {len(values)} times, it is no list and must come once")
        return _value(name, kind, values[0])
    if len(values) == 1 and values[0].startswith("["):
        return _value(name, Any, values[0])
    return [_value(name, item, value) for value in values]


def _value(name: str, kind: Any, text: str) -> Any:
    """Return one value: a text, or the JSON in it."""
    if _is_text(kind):
        return text
    raw = text.encode()
    try:
        # Checked alone: what is no value would change the meaning of what stands around it.
        msgspec.json.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise _refusal(f"{name}: {text!r:.100} must be written as JSON") from None
    return msgspec.Raw(raw)


#: Instead of the type of items.
_NO_LIST: Any = object()


def _plain(kind: Any) -> Any:
    """Return a type without what is beside it, and without None."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in {Union, types.UnionType}:
        members = [member for member in get_args(kind) if member is not type(None)]
        if len(members) == 1:
            return _plain(members[0])
    return kind


def _item_kind(kind: Any) -> Any:
    kind = _plain(kind)
    if (get_origin(kind) or kind) not in _LISTS:
        return _NO_LIST
    return next((argument for argument in get_args(kind) if argument is not Ellipsis), Any)


def _is_text(kind: Any) -> bool:
    return _plain(kind) is str


def _text(part: str) -> str:
    """Return a part of a query, decoded as HTML forms encode it."""
    try:
        return unquote_to_bytes(part.replace("+", " ")).decode()
    except UnicodeDecodeError:
        raise _refusal(f"{part!r:.100} is no text in UTF-8") from None


def _refusal(message: str) -> CallError:
    return CallError(Status.INVALID_ARGUMENT, message, processed="no")
