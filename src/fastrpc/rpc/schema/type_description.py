"""Describe the classes in a service's payloads as plain data."""

import types
import typing
from collections.abc import Iterable, Iterator
from typing import Any, get_args, get_origin

from fastrpc.errors import ConfigError
from fastrpc.rpc.definition import MethodDefinition
from fastrpc.rpc.schema.annotation import substitute
from fastrpc.rpc.schema.default_text import field_default_text
from fastrpc.rpc.schema.payload_classes import PayloadClass, PayloadField, payload_classes
from fastrpc.rpc.schema.type_names import TypeNames

__all__ = ["describe_type", "describe_types", "method_types"]


def describe_types(methods: Iterable[MethodDefinition], names: TypeNames) -> list[dict[str, Any]]:
    """Return the classes in the types of these methods. A class with a custom encoding has only a name."""
    return [_describe_class(one, names) for one in payload_classes(method_types(methods))]


def method_types(methods: Iterable[MethodDefinition]) -> Iterator[Any]:
    """Yield the types of the parameters, results and messages of methods."""
    for method in methods:
        try:
            known = method.types()
        except ConfigError:  # unknown at run time; only its name is available
            continue
        yield from known.parameters
        yield known.result
        yield known.message


def describe_type(
    annotation: Any, names: TypeNames, key: str = "type", full_key: str = "full_type"
) -> dict[str, str]:
    """Return a type as source, with its constraints."""
    text, full = names.text(annotation), names.text(annotation, with_constraints=True)
    return {key: text} if text == full else {key: text, full_key: full}


def _describe_class(described: PayloadClass, names: TypeNames) -> dict[str, Any]:
    """Return a class as plain data."""
    cls, kind = described.cls, described.kind
    found: dict[str, Any] = {"name": names.of_class(cls), "kind": kind}
    if kind == "enum":
        members = {name: member.value for name, member in cls.__members__.items()}
        found["values"] = {name: value for name, value in members.items() if isinstance(value, str | int)}
        return found | ({"options": dict(described.options)} if described.options else {})
    if kind in {"protobuf", "opaque"}:
        return found | {"options": dict(described.options)}
    found["fields"] = [_describe_field(field, names) for field in described.fields]
    found["options"] = dict(described.options)
    parameters = getattr(cls, "__parameters__", ())
    if parameters:
        found["parameters"] = {one.__name__: names.text(substitute(one, {})) for one in parameters}
    return found


def _describe_field(field: PayloadField, names: TypeNames) -> dict[str, Any]:
    default = field_default_text(field, names)
    return {
        "name": field.name,
        "wire_name": field.wire_name,
        **describe_type(_without_unset(field.annotation), names),
        "required": default is None,
        "default": default,
        **({"kw_only": True} if field.is_keyword else {}),
    }


def _without_unset(annotation: Any) -> Any:
    """Return the type without UNSET, which is never encoded."""
    arguments = get_args(annotation) if get_origin(annotation) in {typing.Union, types.UnionType} else ()
    rest = tuple(one for one in arguments if getattr(one, "__name__", None) != "UnsetType")
    return annotation if len(rest) == len(arguments) else typing.Union[rest]  # noqa: UP007 (known at run time only)
