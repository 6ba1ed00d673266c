"""A package as the text of a .proto file: the same each time for the same services."""

from collections.abc import Iterator, Set

from fastrpc.rpc.protobuf.messages import ProtoEnum, ProtoField, ProtoMessage
from fastrpc.rpc.protobuf.packages import ProtoMethod, ProtoPackage, ProtoService, enum_values
from fastrpc.rpc.schema.payload_classes import documentation_of

__all__ = ["proto_text"]

_INDENT = "  "


def proto_text(package: ProtoPackage) -> str:
    """Return the .proto file of a package."""
    parts = [["// Written by `fastrpc proto`.", 'syntax = "proto3";']]
    if package.name:
        parts.append([f"package {package.name};"])
    if imports := package.imports():
        parts.append([f'import "{file}";' for file in imports])
    parts += [list(_service(package, service)) for service in package.services]
    parts += [list(_message(package, message)) for message in package.messages]
    parts += [list(_enum(package, enum)) for enum in package.enums]
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def _service(package: ProtoPackage, service: ProtoService) -> Iterator[str]:
    yield from _comment(service.definition.documentation)
    yield f"service {service.name} {{"
    taken = {method.name for method in service.methods}
    for number, method in enumerate(service.methods):
        comment = list(_comment(method.definition.documentation, _INDENT))
        if number and comment:
            yield ""
        yield from comment
        yield _INDENT + _method(package, method, taken)
    yield "}"


def _method(package: ProtoPackage, method: ProtoMethod, taken: Set[str]) -> str:
    """Return a method; `taken` are the names of its service's methods."""
    if method.messages is None:
        return f"// {method.name}: its messages are bytes of the program's own."
    kind = method.definition.kind
    request = ("stream " if kind in {"client_stream", "both_ways"} else "") + _type(
        package, method.messages.request, taken
    )
    result = ("stream " if kind in {"server_stream", "both_ways"} else "") + _type(
        package, method.messages.result, taken
    )
    return f"rpc {method.name}({request}) returns ({result});"


def _message(package: ProtoPackage, message: ProtoMessage) -> Iterator[str]:
    owner = message.owner if isinstance(message.owner, type) else None
    yield from _comment("" if owner is None else documentation_of(owner))
    name = package.name_of(message)
    if not message.fields:
        yield f"message {name} {{}}"
        return
    yield f"message {name} {{"
    if message.form == "union":
        yield f"{_INDENT}oneof value {{"
        yield from (f"{_INDENT}{_INDENT}{_field(package, field)}" for field in message.fields)
        yield f"{_INDENT}}}"
    else:
        yield from (f"{_INDENT}{_field(package, field)}" for field in message.fields)
    yield "}"


def _field(package: ProtoPackage, field: ProtoField) -> str:
    kind = _field_type(package, field)
    if field.shape == "repeated":
        kind = f"repeated {kind}"
    elif field.is_optional:
        kind = f"optional {kind}"
    return f"{kind} {field.name} = {field.number};"


def _field_type(package: ProtoPackage, field: ProtoField) -> str:
    if field.shape == "map" and field.message is not None:
        key, value = (_field_type(package, one) for one in field.message.fields)
        return f"map<{key}, {value}>"
    found = field.message or field.enum
    return field.kind if found is None else _type(package, found)


def _type(package: ProtoPackage, found: ProtoMessage | ProtoEnum, taken: Set[str] = frozenset()) -> str:
    """Return the name of a type as it is found from inside the package, where a service has `taken` some names."""
    name = package.name_of(found)
    if name in taken:
        return f".{package.full_name(found)}"
    # A name with dots is looked up by its first part, which a part of the package hides.
    is_hidden = "." in name and name.partition(".")[0] in package.name.split(".")
    return f".{name}" if is_hidden else name


def _enum(package: ProtoPackage, enum: ProtoEnum) -> Iterator[str]:
    yield from _comment(documentation_of(enum.cls))
    yield f"enum {package.name_of(enum)} {{"
    values = enum_values(package, enum)
    if len({number for _, number in values}) < len(values):
        yield f"{_INDENT}option allow_alias = true;"
    yield from (f"{_INDENT}{name} = {number};" for name, number in values)
    yield "}"


def _comment(text: str, indent: str = "") -> Iterator[str]:
    for line in text.strip().splitlines():
        yield f"{indent}// {line.rstrip()}".rstrip()
