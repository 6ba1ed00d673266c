"""Write the defaults of a description as source: literals, enum members, and values of known types.

The defaults come from a server and are not trusted: each is parsed, evaluated with the known types only, and written
anew.
"""

import ast
import collections
import datetime
import decimal
import ipaddress
import pathlib
import uuid
from collections.abc import Callable, Collection
from typing import Any, Final, NamedTuple

from fastrpc.cli.contracts.names import Names, is_name, literal
from fastrpc.rpc.described_services import ClassDescription

__all__ = ["WrittenDefault", "written_default"]

#: Longest default, in characters, that is parsed. The text comes from a peer.
_LONGEST: Final = 1_000

_MAKERS: Final[dict[str, Callable[..., Any]]] = {
    "Decimal": decimal.Decimal,
    "UUID": uuid.UUID,
    "bytearray": bytearray,
    "date": datetime.date,
    "datetime": datetime.datetime,
    "deque": collections.deque,
    "Counter": collections.Counter,
    "OrderedDict": collections.OrderedDict,
    "float": float,
    "frozenset": frozenset,
    "set": set,
    "time": datetime.time,
    "timedelta": datetime.timedelta,
    "timezone": datetime.timezone,
    **{name: getattr(pathlib, name) for name in ("PurePosixPath", "PureWindowsPath")},
    # A `PosixPath` cannot be created on Windows.
    "PosixPath": pathlib.PurePosixPath,
    **{
        f"IPv{version}{kind}": getattr(ipaddress, f"IPv{version}{kind}")
        for version in "46"
        for kind in ("Address", "Interface", "Network")
    },
}
_BUILTIN: Final = frozenset({"list", "dict", "bytearray", "float", "frozenset", "set"})

#: Types whose values a class cannot share as a default: each object needs a new value.
_CHANGEABLE: Final = (list, dict, set, bytearray, collections.deque)


class WrittenDefault(NamedTuple):
    """A default as source."""

    text: str
    #: The factory of the default, if each object needs a new value.
    factory: str | None = None


def written_default(text: str | None, names: Names, hidden: Collection[str] = ()) -> WrittenDefault | None:
    """Return a default as source; None without a default, or if it cannot be written.

    Args:
        hidden: names that mean something else in the surrounding class.
    """
    if text is None or len(text) > _LONGEST:
        return None
    try:
        reader = _Reader(names, hidden)
        source, value = reader.read(ast.parse(text, mode="eval").body)
    except (ValueError, TypeError, SyntaxError, ArithmeticError, RecursionError, MemoryError):
        return None
    if not isinstance(value, _CHANGEABLE):
        return WrittenDefault(source)
    if value:
        return WrittenDefault(source, f"lambda: {source}")
    return WrittenDefault(source, reader.name_of(type(value).__name__))


class _Member:
    """Stands for the value of an enum member of the contract: the enum class does not exist here."""


class _Reader:
    """Reads one default."""

    def __init__(self, names: Names, hidden: Collection[str]) -> None:
        self._names = names
        self._hidden = hidden

    def read(self, node: ast.expr) -> tuple[str, Any]:
        """Return the source of a value, and the value."""
        match node:
            case ast.Constant(value=value) if value is None or type(value) in {bool, int, float, str, bytes}:
                return literal(value), value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return literal(-value), -value
            case ast.Tuple(elts=items):
                sources, values = self._all(items)
                return f"({', '.join(sources)}{',' if len(sources) == 1 else ''})", tuple(values)
            case ast.List(elts=items):
                sources, values = self._all(items)
                return f"[{', '.join(sources)}]", values
            case ast.Set(elts=items):
                sources, values = self._all(items)
                return f"{{{', '.join(sources)}}}", set(values)
            case ast.Dict(keys=keys, values=parts):
                return self._dict([one for one in keys if one is not None], parts)
            case ast.Attribute(value=ast.Name(id="timezone"), attr="utc"):
                return f"{self.name_of('timezone')}.utc", datetime.UTC
            case ast.Attribute(value=ast.Name(id=name), attr=member):
                return self._member(name, member)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=options):
                return self._call(name, arguments, options)
            case ast.Call(func=ast.Attribute(value=ast.Name(), attr=name), args=arguments, keywords=options):
                # The description qualifies the name with its module if a class of the contract has the same name.
                return self._call(name, arguments, options, is_library=True)
        raise ValueError("it is not a default that can be written")

    def _all(self, nodes: list[ast.expr]) -> tuple[list[str], list[Any]]:
        found = [self.read(node) for node in nodes]
        return [source for source, _ in found], [value for _, value in found]

    def _dict(self, keys: list[ast.expr], values: list[ast.expr]) -> tuple[str, Any]:
        (names, known), (sources, parts) = self._all(keys), self._all(values)
        pairs = ", ".join(f"{name}: {source}" for name, source in zip(names, sources, strict=True))
        return f"{{{pairs}}}", dict(zip(known, parts, strict=True))

    def name_of(self, name: str) -> str:
        """Return the name, in this module, of a type that creates values."""
        if name in _BUILTIN:
            return self._names.use(name, "builtins", self._hidden) if name in self._hidden else name
        found = self._names.library(name, self._hidden)
        if found is None:
            raise ValueError(f"{name} is unknown")
        return found

    def _member(self, name: str, member: str) -> tuple[str, Any]:
        described = self._names.classes.get(name)
        if (
            described is None
            or described.kind != "enum"
            or member not in described.values
            or not is_name(member)
        ):
            raise ValueError(f"{name}.{member} is not a member of an enum")
        return f"{self._names.class_name(name, self._hidden)}.{member}", _Member()

    def _call(
        self, name: str, arguments: list[ast.expr], options: list[ast.keyword], *, is_library: bool = False
    ) -> tuple[str, Any]:
        sources, values = self._all(arguments)
        if any(one.arg is None for one in options):
            raise ValueError("it has arguments without names")
        named = {one.arg: self.read(one.value) for one in options if one.arg is not None}
        inner = ", ".join([*sources, *(f"{key}={source}" for key, (source, _) in named.items())])
        described = None if is_library else self._names.classes.get(name)
        if described is not None:
            if described.kind != "enum" or len(values) != 1 or not _is_value(described, values[0]):
                raise ValueError(f"{inner} is not a value of {name}")
            return f"{self._names.class_name(name, self._hidden)}({inner})", _Member()
        if name == "bytearray" and not all(type(one) is bytes for one in values):
            # The argument could be an int, the size of the bytearray, which may be arbitrarily large.
            raise ValueError(f"{inner} are not bytes")
        # Evaluate the default here too, so that the module of the contract cannot fail when it is imported.
        value = (
            _MAKERS[name](*values, **{key: one for key, (_, one) in named.items()})
            if name in _MAKERS
            else None
        )
        if value is None:
            raise ValueError(f"{name} is unknown")
        return f"{self.name_of(name)}({inner})", value


def _is_value(described: ClassDescription, value: Any) -> bool:
    """Return whether an enum has a value; the value of a flag may combine several members."""
    if "Flag" not in str(described.options.get("enum", "")):
        return type(value) in {int, str} and value in described.values.values()
    every = 0
    for one in described.values.values():
        every |= one if isinstance(one, int) else 0
    return type(value) is int and value >= 0 and value | every == every
