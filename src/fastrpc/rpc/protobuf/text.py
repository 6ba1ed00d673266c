"""A package as the text of a .proto file, which is always the same for the same services."""

from collections.abc import Iterator, Set

from fastrpc.rpc.protobuf.declared import Declared
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
    messages, enums = package.nested(None)
    parts += [list(_message(package, message)) for message in messages]
    parts += [list(_enum(package, enum)) for enum in enums]
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
    """Return a method as text; `taken` has the names of its service's methods."""
    if method.messages is None:
        return f"// {method.name}: its messages are bytes of the program's own."
    kind = method.definition.kind
    request = ("stream " if kind in {"client_stream", "both_ways"} else "") + _type(
        package, method.messages.request, taken
    )
    result = ("stream " if kind in {"server_stream", "both_ways"} else "") + _type(
        package, method.messages.result, taken
    )
    options = method.definition.options
    level = "NO_SIDE_EFFECTS" if options.safe else "IDEMPOTENT" if options.idempotent else ""
    body = f" {{\n{_INDENT * 2}option idempotency_level = {level};\n{_INDENT}}}" if level else ";"
    return f"rpc {method.name}({request}) returns ({result}){body}"


def _message(package: ProtoPackage, message: ProtoMessage) -> Iterator[str]:
    owner = message.owner if isinstance(message.owner, type) else None
    yield from _comment("" if owner is None else documentation_of(owner))
    lines = [f"{_INDENT}{line}" if line else "" for line in _content(package, message)]
    name = package.name_of(message).rpartition(".")[2]
    yield from [f"message {name} {{", *lines, "}"] if lines else [f"message {name} {{}}"]


def _content(package: ProtoPackage, message: ProtoMessage) -> Iterator[str]:
    """Yield the lines inside a message."""
    messages, enums = package.nested(message)
    inner = [*(_message(package, one) for one in messages), *(_enum(package, one) for one in enums)]
    for number, part in enumerate(inner):
        yield from ("",) if number else ()
        yield from part
    if inner and message.fields:
        yield ""
    yield from _reserved(message.declared, (1 << 29) - 1)
    hidden = _scope(message)
    if message.form == "union":
        yield "oneof value {"
        yield from (f"{_INDENT}{_field(package, field, hidden)}" for field in message.fields)
        yield "}"
        return
    written: set[str] = set()
    for field in message.fields:
        if field.oneof is None:
            yield _field(package, field, hidden)
        elif field.oneof not in written:
            written.add(field.oneof)
            members = [one for one in message.fields if one.oneof == field.oneof]
            yield f"oneof {field.oneof} {{"
            yield from (f"{_INDENT}{_field(package, one, hidden)}" for one in members)
            yield "}"


def _scope(message: ProtoMessage) -> set[str]:
    """Return the names in a message and in its outer messages, which hide types of the package."""
    found: set[str] = set()
    place: ProtoMessage | None = message
    while place is not None:
        found |= {*(field.name for field in place.fields), *place.oneofs}
        place = place.outer
    return found


def _reserved(declared: Declared, most: int) -> Iterator[str]:
    numbers = ", ".join(_range(one, most) for one in declared.numbers)
    names = ", ".join(f'"{name}"' for name in declared.names)
    yield from (f"reserved {one};" for one in (numbers, names) if one)


def _range(numbers: range, most: int) -> str:
    if len(numbers) == 1:
        return str(numbers[0])
    return f"{numbers[0]} to {'max' if numbers[-1] == most else numbers[-1]}"


def _field(package: ProtoPackage, field: ProtoField, hidden: Set[str]) -> str:
    kind = _field_type(package, field, hidden)
    if field.shape == "repeated":
        kind = f"repeated {kind}"
    elif field.is_optional:
        kind = f"optional {kind}"
    return f"{kind} {field.name} = {field.number};"


def _field_type(package: ProtoPackage, field: ProtoField, hidden: Set[str]) -> str:
    if field.shape == "map" and field.message is not None:
        key, value = (_field_type(package, one, hidden) for one in field.message.fields)
        return f"map<{key}, {value}>"
    found = field.message or field.enum
    return field.kind if found is None else _type(package, found, hidden)


def _type(package: ProtoPackage, found: ProtoMessage | ProtoEnum, hidden: Set[str]) -> str:
    """Return a name that refers to a type inside the package, where the names in `hidden` mean other things."""
    name = package.name_of(found)
    first = name.partition(".")[0]
    # protobuf looks up the first part of a dotted name alone, and finds an equal part of the package's name instead.
    is_hidden = found.known_as is not None and "." in name and first in package.name.split(".")
    return f".{package.full_name(found)}" if is_hidden or first in hidden else name


def _enum(package: ProtoPackage, enum: ProtoEnum) -> Iterator[str]:
    yield from _comment(documentation_of(enum.cls))
    yield f"enum {package.name_of(enum).rpartition('.')[2]} {{"
    values = enum_values(package, enum)
    if len({number for _, number in values}) < len(values):
        yield f"{_INDENT}option allow_alias = true;"
    yield from (f"{_INDENT}{line}" for line in _reserved(enum.declared, (1 << 31) - 1))
    yield from (f"{_INDENT}{name} = {number};" for name, number in values)
    yield "}"


def _comment(text: str, indent: str = "") -> Iterator[str]:
    for line in text.strip().splitlines():
        yield f"{indent}// {line.rstrip()}".rstrip()
