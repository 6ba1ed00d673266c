"""Describe the classes in a service's payloads as plain data."""

import dataclasses
import types
import typing
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any, Final, NotRequired, Required, get_args, get_origin

from fastrpc.errors import ConfigError
from fastrpc.rpc.annotation import type_text
from fastrpc.rpc.definition import MethodDefinition
from fastrpc.rpc.signature import LONGEST_DEFAULT
from fastrpc.types.base import Field, find

__all__ = ["STRUCT_OPTIONS", "describe_types"]

#: Factories of defaults that have a short form.
_EMPTY: Final[dict[Any, str]] = {list: "[]", dict: "{}", set: "set()", frozenset: "frozenset()", tuple: "()"}
#: Options of a Struct that change its payload.
STRUCT_OPTIONS: Final = ("tag", "tag_field", "array_like", "forbid_unknown_fields", "omit_defaults")


def describe_types(methods: Iterable[MethodDefinition]) -> list[dict[str, Any]]:
    """Return the dataclasses, Structs, typed dicts, named tuples and enums in the types of these methods.

    Types are identified by name, so the first of two classes of one name represents both.
    """
    found: dict[str, dict[str, Any]] = {}
    waiting = list(_method_types(methods))
    while waiting:
        annotation = waiting.pop(0)
        arguments = get_args(annotation)
        waiting += [argument for argument in arguments if not isinstance(argument, str | int | bytes)]
        # A generic class would need one description for each of its arguments.
        if arguments or not isinstance(annotation, type) or annotation.__name__ in found:
            continue
        described = _describe_class(annotation)
        if described is not None:
            found[annotation.__name__], parts = described
            waiting += parts
    return list(found.values())


def _method_types(methods: Iterable[MethodDefinition]) -> Iterator[Any]:
    for method in methods:
        try:
            known = method.types()
        except ConfigError:  # unknown at run time; only its name is available
            continue
        yield from known.parameters
        yield known.result
        yield known.message


def _describe_class(cls: type[Any]) -> tuple[dict[str, Any], list[Any]] | None:
    """Return a class as plain data, and the types of its fields; None if it is not encoded by fields."""
    if issubclass(cls, Enum):
        members = {name: member.value for name, member in cls.__members__.items()}
        plain = {name: value for name, value in members.items() if isinstance(value, str | int)}
        return {"name": cls.__name__, "kind": "enum", "values": plain}, []
    if (known := find(cls)) is not None:
        return None if known.fields is None else _describe_model(cls, known.fields(cls))
    kind = _kind_of(cls)
    if kind is None or getattr(cls, "__parameters__", None):
        return None
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except Exception:  # a name that only type checkers resolve
        return None
    fields = list(_fields(cls, kind, hints))
    options = {}
    if kind == "struct":
        config = cls.__struct_config__
        options = {name: getattr(config, name) for name in STRUCT_OPTIONS if getattr(config, name)}
    described = {"name": cls.__name__, "kind": kind, "fields": fields, "options": options}
    return described, [hints[field["name"]] for field in fields]


def _describe_model(cls: type[Any], fields: list[Field]) -> tuple[dict[str, Any], list[Any]] | None:
    """Return a model as the Struct that has its payload; None if no Struct has."""
    if any(field.wire_name is None for field in fields):
        return None
    described = {
        "name": cls.__name__,
        "kind": "struct",
        "fields": [
            _field(
                field.name,
                field.annotation,
                None if field.is_required else _model_default(field),
                wire_name=field.wire_name,
            )
            for field in fields
        ],
        "options": {},
    }
    return described, [field.annotation for field in fields]


def _model_default(field: Field) -> str:
    return _literal(field.default) if field.factory is None else _EMPTY.get(field.factory, "...")


def _kind_of(cls: type[Any]) -> str | None:
    if hasattr(cls, "__struct_config__"):
        return "struct"
    if dataclasses.is_dataclass(cls):
        return "dataclass"
    if typing.is_typeddict(cls):
        return "typed_dict"
    if issubclass(cls, tuple) and hasattr(cls, "_field_defaults"):
        return "named_tuple"
    return None


def _fields(cls: Any, kind: str, hints: dict[str, Any]) -> Iterator[dict[str, Any]]:
    match kind:
        case "struct":
            import msgspec

            for one in msgspec.structs.fields(cls):
                default = _default_text(one.default, one.default_factory, msgspec.NODEFAULT)
                yield _field(one.name, hints[one.name], default, wire_name=one.encode_name)
        case "dataclass":
            for part in dataclasses.fields(cls):
                if part.init:
                    default = _default_text(part.default, part.default_factory, dataclasses.MISSING)
                    yield _field(part.name, hints[part.name], default)
        case "named_tuple":
            for name in cls._fields:
                defaults = cls._field_defaults
                yield _field(name, hints[name], _literal(defaults[name]) if name in defaults else None)
        case _:
            for name in dict.fromkeys(hints):
                # For string annotations the class itself does not know.
                said = {Required: True, NotRequired: False}.get(get_origin(hints[name]))
                is_required = name in cls.__required_keys__ if said is None else said
                yield _field(name, hints[name], None if is_required else "...")


def _field(
    name: str, annotation: Any, default: str | None, *, wire_name: str | None = None
) -> dict[str, Any]:
    while get_origin(annotation) in {Required, NotRequired}:
        annotation = get_args(annotation)[0]
    return {
        "name": name,
        "wire_name": wire_name or name,
        "type": type_text(_without_unset(annotation)),
        "required": default is None,
        "default": default,
    }


def _without_unset(annotation: Any) -> Any:
    """Return the type of a present field: UNSET is never encoded."""
    arguments = get_args(annotation) if get_origin(annotation) in {typing.Union, types.UnionType} else ()
    rest = tuple(one for one in arguments if getattr(one, "__name__", None) != "UnsetType")
    return annotation if len(rest) == len(arguments) else typing.Union[rest]  # noqa: UP007 (known at run time only)


def _default_text(default: Any, factory: Any, nothing: Any) -> str | None:
    """Return a default as source, `...` if it has no short form, None if there is none."""
    if factory is not nothing:
        return _EMPTY.get(factory, "...")
    return None if default is nothing else _literal(default)


def _literal(value: Any) -> str:
    text = repr(value)
    is_plain = type(value) in {bool, int, float, str, bytes, type(None)} and len(text) <= LONGEST_DEFAULT
    return text if is_plain else "..."
