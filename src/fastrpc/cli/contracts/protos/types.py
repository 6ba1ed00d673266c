"""Fields of messages as annotations and defaults of a class."""

import math
from collections.abc import Collection
from typing import Any, Final, TypeAlias

from fastrpc.cli.contracts.names import literal
from fastrpc.cli.contracts.protos.layout import Group
from fastrpc.cli.contracts.protos.naming import Naming
from fastrpc.gateway.grpc_servers.described import is_repeated
from fastrpc.rpc.protobuf.field import KNOWN_KINDS
from fastrpc.rpc.protobuf.messages import KINDS, WRAPPED

__all__ = ["FieldTypes", "is_entry"]

Type: TypeAlias = Group | str

_KINDS: Final = {number: name for name, number in KINDS.items()}
_PLAIN: Final = {"bool": "bool", "bytes": "bytes", "double": "float", "float": "float", "string": "str"}
_DEFAULT_KINDS: Final = frozenset({"bool", "bytes", "double", "int64", "string"})
_ZEROS: Final = {"bool": "False", "bytes": 'b""', "float": "0.0", "int": "0", "str": '""'}
#: Messages of google.protobuf that have a Python type: its name and module.
_TYPES: Final = {
    "google.protobuf.Any": ("AnyMessage", "fastrpc.grpc"),
    "google.protobuf.Duration": ("timedelta", "datetime"),
    "google.protobuf.Timestamp": ("datetime", "datetime"),
    "google.protobuf.Value": ("Any", "typing"),
}
_ENUM: Final = KINDS["enum"]


def is_entry(message: Any) -> bool:
    """Return whether a message is the entry of a map."""
    return message is not None and bool(message.GetOptions().map_entry)


class FieldTypes:
    """The types of the fields in one class body.

    Args:
        hidden: names that mean something else in that class.
    """

    def __init__(self, naming: Naming, hidden: Collection[str] = ()) -> None:
        self._naming = naming
        self.hidden = hidden

    def use(self, name: str, module: str) -> str:
        """Import a name; return its name here."""
        return self._naming.imported.use(name, module, self.hidden)

    def annotation(self, field: Any, options: list[str]) -> Type:
        """Return the annotation of a field.

        Args:
            options: further options of `Field`.
        """
        kind, named = self._content(field)
        return self._annotated(kind, [str(field.number), *named, *options])

    def message(self, message: Any) -> Type:
        """Return the type of a whole message, which a method takes or returns."""
        kind, named = self._message(message)
        if not named and message.full_name in _TYPES and message.full_name != "google.protobuf.Any":
            named = [f"kind={literal(message.full_name)}"]
        return self._annotated(kind, named)

    def stream(self, message: Any, iterator: str) -> Group:
        """Return the type of a stream of messages."""
        return Group(
            f"{self.use(iterator, 'collections.abc')}[", (self.message(message),), "]", is_open=False
        )

    def default(self, field: Any) -> str | None:
        """Return the default of a single field as source; None for an enum, whose default is a member of its class."""
        if is_repeated(field):
            made = "dict" if is_entry(field.message_type) else "list"
            return f"{self.use('field', 'dataclasses')}(default_factory={self._builtin(made)})"
        if field.has_presence and not field.has_default_value:
            return "None"
        if field.type == _ENUM:
            return None
        return (
            self._literal(field.default_value) if field.has_default_value else _ZEROS[self._scalar(field)[0]]
        )

    def _literal(self, value: Any) -> str:
        if isinstance(value, float) and not math.isfinite(value):
            return f'{self._builtin("float")}("{value}")'
        text = literal(value)
        return f'b"{text[2:-1]}"' if text.startswith("b'") and '"' not in text else text

    def _content(self, field: Any) -> tuple[Type, list[str]]:
        """Return the type of a field, and the arguments of its `Field`."""
        inner = field.message_type
        if is_entry(inner):
            key, value = (
                self._annotated(*self._single(inner.fields_by_name[name])) for name in ("key", "value")
            )
            return Group(f"{self._builtin('dict')}[", (key, value), "]"), []
        kind, named = self._single(field)
        if is_repeated(field):
            # A `Field` around a list applies to the items, unless the message is itself a list or map.
            is_whole = isinstance(kind, Group)
            item = self._annotated(kind, named) if is_whole else kind
            return Group(f"{self._builtin('list')}[", (item,), "]", is_open=False), [] if is_whole else named
        takes_none = field.has_presence and not field.has_default_value
        is_any = inner is not None and inner.full_name == "google.protobuf.Value"
        return (_or_none(kind) if takes_none and not is_any else kind), named

    def _annotated(self, kind: Type, named: list[str]) -> Type:
        return (
            Group(f"{self.use('Annotated', 'typing')}[", (kind, self._field(named)), "]") if named else kind
        )

    def _single(self, field: Any) -> tuple[Type, list[str]]:
        if field.message_type is not None:
            return self._message(field.message_type)
        if field.enum_type is not None:
            return self._naming.reference(field.enum_type, self.hidden), []
        name, kind = self._scalar(field)
        return self._builtin(name), [] if kind in _DEFAULT_KINDS else [f'kind="{kind}"']

    def _scalar(self, field: Any) -> tuple[str, str]:
        kind = _KINDS[field.type]
        return _PLAIN.get(kind, "int"), kind

    def _message(self, message: Any) -> tuple[Type, list[str]]:
        name = message.full_name
        if name not in KNOWN_KINDS:
            return self._naming.reference(message, self.hidden), []
        if name in _TYPES:
            return self.use(*_TYPES[name]), []
        own, named = name.rpartition(".")[2], [f"kind={literal(name)}"]
        if own in WRAPPED:
            return self._builtin(_PLAIN.get(WRAPPED[own], "int")), named
        if own == "Struct":
            parts = (self._builtin("str"), self.use("Any", "typing"))
            return Group(f"{self._builtin('dict')}[", parts, "]"), named
        item = self._builtin("str") if own == "FieldMask" else self.use("Any", "typing")
        return Group(f"{self._builtin('list')}[", (item,), "]", is_open=False), named

    def _builtin(self, name: str) -> str:
        return self.use(name, "builtins") if name in self.hidden else name

    def _field(self, options: list[str]) -> Group:
        return Group(f"{self.use('Field', 'fastrpc')}(", options, ")")


def _or_none(kind: Type) -> Type:
    return (
        f"{kind} | None"
        if isinstance(kind, str)
        else Group(kind.head, kind.parts, f"{kind.end} | None", kind.is_open)
    )
