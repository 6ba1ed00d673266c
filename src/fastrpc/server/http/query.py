"""The arguments in a query, `?id=7&name=Ada&tags=a&tags=b`, and in the fields of a form."""

from collections.abc import Iterable
from typing import Any, Final, get_args, get_origin
from urllib.parse import unquote_to_bytes

import msgspec

from fastrpc.errors import CallError
from fastrpc.rpc.definition import MethodDefinition
from fastrpc.rpc.schema.text_values import TextForm, TextValue, without_none
from fastrpc.status import Status

__all__ = ["QueryArguments"]

_LISTS: Final = (list, tuple, set, frozenset)

#: The most names of a query in an error text.
_MOST_SHOWN: Final = 5


class QueryArguments:
    """Converts the query of a method to arguments by name, as JSON.

    `TextValue` parses each value from its text. A list is a repeated parameter. A list whose items are not `str` may
    also be one JSON array.
    """

    def __init__(self, definition: MethodDefinition) -> None:
        self._definition = definition
        self._known: dict[str, _Parameter] | None = None

    def __call__(self, query: str) -> bytes:
        """Return the arguments.

        Raises:
            CallError: the query has a wrong name or value.
        """
        parts = [part.partition("=") for part in query.split("&") if part]
        return self.of_pairs((_text(name), _text(value)) for name, _, value in parts)

    def names(self, query: str) -> list[str]:
        """Return the first names in a query, quoted for an error text."""
        names = dict.fromkeys(part.partition("=")[0] for part in query.split("&") if part)
        return [f"{name!r:.100}" for name in [*names][:_MOST_SHOWN]]

    def of_pairs(self, pairs: Iterable[tuple[str, str]]) -> bytes:
        """Return the arguments in pairs of names and values. Raises the errors of `__call__`."""
        given: dict[str, list[str]] = {}
        for name, value in pairs:
            given.setdefault(name, []).append(value)
        if not given:
            return b""
        known = self._parameters()
        arguments: dict[str, Any] = {}
        for name, values in given.items():
            if name not in known:
                raise _refusal(f"{name!r:.100}: {self._definition.full_name} has no such parameter")
            arguments[name] = known[name].argument(name, values)
        return msgspec.json.encode(arguments)

    def value(self, name: str, text: str, codec: str) -> bytes:
        """Return the value of a parameter in a path, in "json" or "msgpack". Raises the errors of `__call__`."""
        return bytes(_value(name, self._parameters()[name].whole, text, codec))

    def _parameters(self) -> "dict[str, _Parameter]":
        if self._known is None:
            definition = self._definition
            names = [parameter.name for parameter in definition.parameters]
            found = dict(zip(names, map(_Parameter, definition.types().parameters), strict=True))
            self._known = found | {old: found[new] for old, new in definition.renamed.items()}
        return self._known


class _Parameter:
    """A parameter of a method in a query."""

    def __init__(self, kind: Any) -> None:
        plain = without_none(kind)
        origin, arguments = get_origin(plain) or plain, get_args(plain)
        self._is_list = origin in _LISTS
        kinds = [argument for argument in arguments if argument is not Ellipsis] or [Any]
        # A tuple of fixed length has a type for each item. Other tuples and lists have one type for all items.
        is_fixed = origin is tuple and Ellipsis not in arguments
        self._items = [TextValue(one) for one in (kinds if is_fixed else kinds[:1])] if self._is_list else []
        self._takes_array = any(item.form is not TextForm.AS_IS for item in self._items)
        self.whole = TextValue(Any if self._is_list else kind)

    def argument(self, name: str, values: list[str]) -> Any:
        if not self._is_list:
            if len(values) > 1:
                raise _refusal(f"{name}: given {len(values)} times, but it is not a list")
            return _value(name, self.whole, values[0])
        if self._takes_array and len(values) == 1 and values[0].startswith("["):
            return _value(name, self.whole, values[0])
        last = len(self._items) - 1
        return [_value(name, self._items[min(at, last)], value) for at, value in enumerate(values)]


def _value(name: str, kind: TextValue, text: str, codec: str = "json") -> msgspec.Raw:
    try:
        return msgspec.Raw(kind.json(text) if codec == "json" else kind.msgpack(text))
    except ValueError as error:
        raise _refusal(f"{name}: {text!r:.100} {error}") from None


def _text(part: str) -> str:
    """Decode a part of a query, with `+` for a space as in HTML forms."""
    try:
        return unquote_to_bytes(part.replace("+", " ")).decode()
    except UnicodeDecodeError:
        raise _refusal(f"{part!r:.100} is not text in UTF-8") from None


def _refusal(message: str) -> CallError:
    return CallError(Status.INVALID_ARGUMENT, message, processed="no")
