"""The types of methods with routes: which parameters may be in a path, and which parameter is the whole body."""

from typing import Any, Final, get_origin

from fastrpc.errors import ConfigError
from fastrpc.rpc.definition import MethodDefinition
from fastrpc.rpc.routes import HttpRoute
from fastrpc.rpc.schema.annotation import type_text
from fastrpc.types.base import find

__all__ = ["check_route_types", "whole_body_of"]

#: The kinds of classes whose values are objects with fields.
_RECORDS: Final = frozenset({"struct", "dataclass", "typed_dict"})


def check_route_types(definition: MethodDefinition, route: HttpRoute) -> None:
    """Refuse parameters in a path whose values are not written as text or a number.

    Raises:
        ConfigError: the type of a parameter has no such form; or a class that inherits the route has made the method of
            a GET unsafe, or has replaced an `Upload` by another stream.
    """
    # Imported on first use, because few services have routes.
    from fastrpc.rpc.schema.json_schema import SchemaSet
    from fastrpc.rpc.schema.text_values import is_part_of_path

    label = definition.label
    if route.verb == "GET" and not definition.safe:
        raise ConfigError(f'{label} is not safe, but has the route "{route}"')
    if definition.signature.stream is not None and not definition.takes_upload:
        raise ConfigError(f'{label} takes a stream that is not an `Upload`, but has the route "{route}"')
    known = [parameter.name for parameter in definition.parameters]
    for name in route.names:
        schemas = SchemaSet()
        kind = definition.types().parameters[known.index(name)]
        try:
            is_part = is_part_of_path(schemas.schema_of(kind), schemas)
        except TypeError:  # its values do not travel as JSON
            is_part = False
        if not is_part:
            raise ConfigError(
                f'{label}: http="{route}": {name!r} is {type_text(kind)}, which is not part of a path',
                hint="a path takes str, int, float, bool, UUID, Decimal, dates, enums and literals",
            )


def whole_body_of(definition: MethodDefinition, route: HttpRoute) -> str | None:
    """Return the parameter that is the whole body: the only parameter outside the path, if its type has fields.

    If the body is a form, the fields of the form are the fields of this type.
    """
    # Imported on first use, because few services have routes.
    from fastrpc.rpc.schema.text_values import without_none

    pairs = zip(definition.parameters, definition.types().parameters, strict=True)
    others = [(parameter.name, kind) for parameter, kind in pairs if parameter.name not in route.names]
    if not route.has_body or len(others) != 1 or definition.takes_upload:
        return None
    name, kind = others[0]
    plain = without_none(kind)
    owner = get_origin(plain) or plain
    return name if isinstance(owner, type) and _is_record(owner) else None


def _is_record(cls: type[Any]) -> bool:
    """Return whether values of a class are objects with fields."""
    from fastrpc.rpc.schema.payload_classes import payload_class

    known = find(cls)
    # Models with different aliases for decoding and encoding are included: they have keys too.
    if known is not None and known.keys is not None:
        return known.keys(cls) is not None
    return payload_class(cls).kind in _RECORDS
