"""Services of a gRPC server as plain data, in the form in which fastrpc servers describe their services."""

from collections.abc import Sequence
from typing import Any, Final

from fastrpc.gateway.grpc_servers.reflection import ServerDescriptors
from fastrpc.grpc.definitions import kind_of

__all__ = ["describe_service", "describe_services", "is_repeated", "type_text"]

#: The names of types by google.protobuf.FieldDescriptorProto.Type.
_NAMES: Final = {
    1: "double",
    2: "float",
    3: "int64",
    4: "uint64",
    5: "int32",
    6: "fixed64",
    7: "fixed32",
    8: "bool",
    9: "string",
    12: "bytes",
    13: "uint32",
    15: "sfixed32",
    16: "sfixed64",
    17: "sint32",
    18: "sint64",
}


async def describe_services(
    found: ServerDescriptors, names: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Return the services of a server, or only the services with these names.

    Raises:
        CallError: the server has no reflection, or lacks one of these services.
        DecodeError: the server's descriptors are malformed.
    """
    wanted = await found.services() if names is None else names
    return [describe_service(await found.service(name)) for name in wanted]


def describe_service(service: Any) -> dict[str, Any]:
    """Return a service by its descriptor."""
    return {
        "name": service.full_name,
        "version": None,
        "documentation": "",
        "methods": [_method(one) for one in service.methods],
        "types": [],
    }


def _method(method: Any) -> dict[str, Any]:
    package = method.containing_service.file.package
    request, answer = (_short(one.full_name, package) for one in (method.input_type, method.output_type))
    result = f"stream {answer}" if method.server_streaming else answer
    parameters = (
        [] if method.client_streaming else [_parameter(one, package) for one in method.input_type.fields]
    )
    taken = ", ".join(f"{one['name']}: {one['type']}" for one in parameters)
    return {
        "name": method.name,
        "full_name": method.full_name,
        "kind": kind_of(method.client_streaming, method.server_streaming),
        "signature": f"{method.name}({f'stream {request}' if method.client_streaming else taken}) -> {result}",
        "documentation": "",
        "parameters": parameters,
        "stream": {"name": "requests", "type": request, "position": 0} if method.client_streaming else None,
        "result": result,
    }


def _parameter(field: Any, package: str) -> dict[str, Any]:
    return {"name": field.name, "type": type_text(field, package), "required": False, "by_position": True}


def type_text(field: Any, package: str) -> str:
    """Return the type of a field in the syntax of a .proto file; names in the package omit the package."""
    inner = field.message_type
    if inner is not None and inner.GetOptions().map_entry:
        key, value = (type_text(inner.fields_by_name[name], package) for name in ("key", "value"))
        return f"map<{key}, {value}>"
    named = inner if field.enum_type is None else field.enum_type
    text = _NAMES.get(field.type, "bytes") if named is None else _short(named.full_name, package)
    if is_repeated(field):
        return f"repeated {text}"
    has_mark = inner is None and field.has_presence and field.containing_oneof is not None
    return f"optional {text}" if has_mark and len(field.containing_oneof.fields) == 1 else text


def is_repeated(field: Any) -> bool:
    """Return whether a field has several values; a map counts as such a field."""
    # Later versions of the library have `is_repeated` instead of `label`, whose LABEL_REPEATED is 3.
    return bool(field.is_repeated if hasattr(field, "is_repeated") else field.label == 3)


def _short(name: str, package: str) -> str:
    return name.removeprefix(f"{package}.") if package else name
