"""A protobuf message class made at run time from its descriptor, so that no test needs protoc.

::

    message Person {
        string name = 1;
        repeated int32 scores = 2;
        Person friend = 3;
        repeated Tag tags = 4;
        map<string, Tag> named = 5;
        repeated string lines = 2000;
    }
    message Tag { bytes text = 1; }
"""

from functools import cache
from typing import Any

import pytest


@cache
def person_class() -> Any:
    pytest.importorskip("google.protobuf")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="people.proto", package="people", syntax="proto3")
    person = file.message_type.add(name="Person")
    _add(person, "name", 1, kind.TYPE_STRING)
    _add(person, "scores", 2, kind.TYPE_INT32, repeated=True)
    _add(person, "friend", 3, kind.TYPE_MESSAGE, message=".people.Person")
    _add(person, "tags", 4, kind.TYPE_MESSAGE, message=".people.Tag", repeated=True)
    _add(person, "named", 5, kind.TYPE_MESSAGE, message=".people.Person.NamedEntry", repeated=True)
    _add(person, "lines", 2000, kind.TYPE_STRING, repeated=True)
    entry = person.nested_type.add(name="NamedEntry")
    entry.options.map_entry = True
    _add(entry, "key", 1, kind.TYPE_STRING)
    _add(entry, "value", 2, kind.TYPE_MESSAGE, message=".people.Tag")
    _add(file.message_type.add(name="Tag"), "text", 1, kind.TYPE_BYTES)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("people.Person"))


def nested_people(depth: int) -> bytes:
    """Return the payload of a person whose friend has a friend …, `depth` of them."""
    heads: list[bytes] = []
    size = 0
    for _ in range(depth):
        length, rest = bytearray(), size
        while rest > 0x7F:
            length.append(rest & 0x7F | 0x80)
            rest >>= 7
        length.append(rest)
        heads.append(b"\x1a" + length)
        size += len(heads[-1])
    return b"".join(reversed(heads))


def _add(
    owner: Any, name: str, number: int, kind: int, *, message: str | None = None, repeated: bool = False
) -> None:
    field = owner.field.add(name=name, number=number, type=kind, label=3 if repeated else 1)
    if message is not None:
        field.type_name = message
