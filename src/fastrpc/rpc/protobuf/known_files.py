"""Descriptors of well-known files: the files of google.protobuf that schemas import, error details, and gRPC's own
services.

https://protobuf.dev/reference/protobuf/google.protobuf/, https://github.com/grpc/grpc-proto,
https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto
"""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Final, NamedTuple

from fastrpc.rpc.protobuf.descriptor_wire import written_number, written_part, written_text
from fastrpc.rpc.protobuf.messages import KINDS, WRAPPED

__all__ = ["ERROR_DETAILS", "HEALTH", "REFLECTIONS", "known_file", "service_file"]

#: gRPC's service for health checks.
HEALTH: Final = "grpc.health.v1.Health"
#: gRPC's services for reflection, the newer version first. Both have the same messages.
REFLECTIONS: Final = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")

#: The file of google.rpc with the messages that servers put into errors.
ERROR_DETAILS: Final = "google/rpc/error_details.proto"

_REPEATED: Final = 3


class _Message(NamedTuple):
    """A message. Its fields are written as in a .proto file, except that types have their full names."""

    name: str
    fields: Sequence[str] = ()
    oneof: str = ""
    enums: Mapping[str, Sequence[str]] = {}
    nested: Sequence["_Message"] = ()
    is_entry: bool = False


class _Method(NamedTuple):
    """A method of a service, and which sides send a stream."""

    name: str
    request: str
    answer: str
    takes_stream: bool = False
    gives_stream: bool = False


_TIME: Final = ("int64 seconds = 1", "int32 nanos = 2")

_ENTRY: Final = _Message(
    "FieldsEntry", ("string key = 1", "message google.protobuf.Value value = 2"), is_entry=True
)

_STRUCT: Final = (
    _Message("Struct", ("repeated message google.protobuf.Struct.FieldsEntry fields = 1",), nested=(_ENTRY,)),
    _Message(
        "Value",
        (
            "oneof enum google.protobuf.NullValue null_value = 1",
            "oneof double number_value = 2",
            "oneof string string_value = 3",
            "oneof bool bool_value = 4",
            "oneof message google.protobuf.Struct struct_value = 5",
            "oneof message google.protobuf.ListValue list_value = 6",
        ),
        oneof="kind",
    ),
    _Message("ListValue", ("repeated message google.protobuf.Value values = 1",)),
)

_STATES: Final = {"ServingStatus": ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")}

_HEALTH: Final = (
    _Message("HealthCheckRequest", ("string service = 1",)),
    _Message(
        "HealthCheckResponse",
        ("enum grpc.health.v1.HealthCheckResponse.ServingStatus status = 1",),
        enums=_STATES,
    ),
)

#: The messages of the services for reflection, whose file exists in two packages. A leading dot in the type of a field
#: stands for the package.
_REFLECTION: Final = (
    _Message(
        "ServerReflectionRequest",
        (
            "string host = 1",
            "oneof string file_by_filename = 3",
            "oneof string file_containing_symbol = 4",
            "oneof message .ExtensionRequest file_containing_extension = 5",
            "oneof string all_extension_numbers_of_type = 6",
            "oneof string list_services = 7",
        ),
        oneof="message_request",
    ),
    _Message("ExtensionRequest", ("string containing_type = 1", "int32 extension_number = 2")),
    _Message(
        "ServerReflectionResponse",
        (
            "string valid_host = 1",
            "message .ServerReflectionRequest original_request = 2",
            "oneof message .FileDescriptorResponse file_descriptor_response = 4",
            "oneof message .ExtensionNumberResponse all_extension_numbers_response = 5",
            "oneof message .ListServiceResponse list_services_response = 6",
            "oneof message .ErrorResponse error_response = 7",
        ),
        oneof="message_response",
    ),
    _Message("FileDescriptorResponse", ("repeated bytes file_descriptor_proto = 1",)),
    _Message("ExtensionNumberResponse", ("string base_type_name = 1", "repeated int32 extension_number = 2")),
    _Message("ListServiceResponse", ("repeated message .ServiceResponse service = 1",)),
    _Message("ServiceResponse", ("string name = 1",)),
    _Message("ErrorResponse", ("int32 error_code = 1", "string error_message = 2")),
)


def _violations(owner: str, name: str, *fields: str) -> _Message:
    """Return a message with a list of messages inside it."""
    return _Message(
        owner,
        (f"repeated message .{owner}.{name} {name.lower()}s = 1",),
        nested=(_Message(name, fields),),
    )


_DETAILS: Final = (
    _Message(
        "ErrorInfo",
        ("string reason = 1", "string domain = 2", "repeated message .ErrorInfo.MetadataEntry metadata = 3"),
        nested=(_Message("MetadataEntry", ("string key = 1", "string value = 2"), is_entry=True),),
    ),
    _Message("RetryInfo", ("message google.protobuf.Duration retry_delay = 1",)),
    _Message("DebugInfo", ("repeated string stack_entries = 1", "string detail = 2")),
    _violations("QuotaFailure", "Violation", "string subject = 1", "string description = 2"),
    _violations(
        "PreconditionFailure", "Violation", "string type = 1", "string subject = 2", "string description = 3"
    ),
    _Message(
        "BadRequest",
        ("repeated message .BadRequest.FieldViolation field_violations = 1",),
        nested=(
            _Message(
                "FieldViolation",
                (
                    "string field = 1",
                    "string description = 2",
                    "string reason = 3",
                    "message .LocalizedMessage localized_message = 4",
                ),
            ),
        ),
    ),
    _Message("RequestInfo", ("string request_id = 1", "string serving_data = 2")),
    _Message(
        "ResourceInfo",
        (
            "string resource_type = 1",
            "string resource_name = 2",
            "string owner = 3",
            "string description = 4",
        ),
    ),
    _violations("Help", "Link", "string description = 1", "string url = 2"),
    _Message("LocalizedMessage", ("string locale = 1", "string message = 2")),
)

_CHECK: Final = ("HealthCheckRequest", "HealthCheckResponse")
_ASK: Final = ("ServerReflectionRequest", "ServerReflectionResponse")

_SERVICES: Final[Mapping[str, tuple[Sequence[_Message], Sequence[_Method]]]] = {
    HEALTH: (_HEALTH, (_Method("Check", *_CHECK), _Method("Watch", *_CHECK, gives_stream=True))),
    **dict.fromkeys(
        REFLECTIONS,
        (_REFLECTION, (_Method("ServerReflectionInfo", *_ASK, takes_stream=True, gives_stream=True),)),
    ),
}

_FILES: Final[Mapping[str, tuple[Sequence[_Message], Mapping[str, Sequence[str]], Sequence[str]]]] = {
    "google/protobuf/empty.proto": ((_Message("Empty"),), {}, ()),
    "google/protobuf/timestamp.proto": ((_Message("Timestamp", _TIME),), {}, ()),
    "google/protobuf/duration.proto": ((_Message("Duration", _TIME),), {}, ()),
    "google/protobuf/any.proto": ((_Message("Any", ("string type_url = 1", "bytes value = 2")),), {}, ()),
    "google/protobuf/field_mask.proto": ((_Message("FieldMask", ("repeated string paths = 1",)),), {}, ()),
    "google/protobuf/wrappers.proto": (
        tuple(_Message(name, (f"{kind} value = 1",)) for name, kind in WRAPPED.items()),
        {},
        (),
    ),
    "google/protobuf/struct.proto": (_STRUCT, {"NullValue": ("NULL_VALUE",)}, ()),
    ERROR_DETAILS: (_DETAILS, {}, ("google/protobuf/duration.proto",)),
}


@cache
def known_file(name: str) -> bytes | None:
    """Return the descriptor of a file of google.protobuf or google.rpc; None for an unknown file."""
    if name not in _FILES:
        return None
    package = ".".join(name.split("/")[:2])
    messages, enums, imports = _FILES[name]
    return _file(name, package, messages, enums=enums, imports=imports)


def service_file(service: str, methods: Collection[str]) -> tuple[str, bytes]:
    """Return name and descriptor of the file of one of gRPC's own services, with only these methods."""
    messages, known = _SERVICES[service]
    package, _, own = service.rpartition(".")
    # The file has the name of the second part of the package, such as health for grpc.health.v1.
    name = f"{package.replace('.', '/')}/{package.split('.')[1]}.proto"
    parts = [written_part(2, _method(package, method)) for method in known if method.name in methods]
    return name, _file(name, package, messages, service=written_part(6, [written_text(1, own), *parts]))


def _file(
    name: str,
    package: str,
    messages: Sequence[_Message],
    *,
    enums: Mapping[str, Sequence[str]] = {},
    imports: Sequence[str] = (),
    service: bytes = b"",
) -> bytes:
    parts = [
        written_text(1, name),
        written_text(2, package),
        *(written_text(3, one) for one in imports),
        *(written_part(4, _message(package, one)) for one in messages),
        *(written_part(5, _enum(*pair)) for pair in enums.items()),
    ]
    return b"".join([*parts, service, written_text(12, "proto3")])


def _message(package: str, message: _Message) -> list[bytes]:
    return [
        written_text(1, message.name),
        *(written_part(2, _field(package, text)) for text in message.fields),
        *(written_part(3, _message(package, one)) for one in message.nested),
        *(written_part(4, _enum(*pair)) for pair in message.enums.items()),
        *([written_part(7, [written_number(7, 1)])] if message.is_entry else []),
        *([written_part(8, [written_text(1, message.oneof)])] if message.oneof else []),
    ]


def _field(package: str, text: str) -> list[bytes]:
    *words, name, _, number = text.split()
    label = words.pop(0) if words[0] in {"repeated", "oneof"} else ""
    kind = words[0]
    parts = [
        written_text(1, name),
        written_number(3, int(number)),
        written_number(4, _REPEATED if label == "repeated" else 1),
        written_number(5, KINDS[kind]),
    ]
    if kind in {"message", "enum"}:
        full = f"{package}{words[1]}" if words[1].startswith(".") else words[1]
        parts.append(written_text(6, f".{full}"))
    return [*parts, written_number(9, 0)] if label == "oneof" else parts


def _enum(name: str, values: Sequence[str]) -> list[bytes]:
    members = [
        written_part(2, [written_text(1, one), written_number(2, at)]) for at, one in enumerate(values)
    ]
    return [written_text(1, name), *members]


def _method(package: str, method: _Method) -> list[bytes]:
    parts = [
        written_text(1, method.name),
        written_text(2, f".{package}.{method.request}"),
        written_text(3, f".{package}.{method.answer}"),
    ]
    streams = {5: method.takes_stream, 6: method.gives_stream}
    return [*parts, *(written_number(field, 1) for field, is_set in streams.items() if is_set)]
