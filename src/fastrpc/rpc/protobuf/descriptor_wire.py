"""The encoding of descriptors: writes their fields and reads names in them, without the protobuf package."""

from collections.abc import Iterable, Iterator

__all__ = ["imports_in", "names_in", "written_number", "written_part", "written_text"]

#: Parts with names: the kind of part in each field of a file, and in each field of a part. A "leaf" has only a name.
#: The names of an enum's values are siblings of the enum, not children.
_FILE = {4: "message", 5: "enum", 6: "service"}
_PARTS = {"message": {2: "leaf", 3: "message", 4: "enum"}, "enum": {2: "value"}, "service": {2: "leaf"}}


def written_number(field: int, value: int) -> bytes:
    """Return a field with a number."""
    return _varint(field << 3) + _varint(value)


def written_text(field: int, value: str) -> bytes:
    """Return a field with a text; an empty text is omitted."""
    return written_part(field, [value.encode()]) if value else b""


def written_part(field: int, parts: Iterable[bytes]) -> bytes:
    """Return a field with bytes or a message, made of these parts."""
    content = b"".join(parts)
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def names_in(file: bytes) -> Iterator[str]:
    """Yield the full names in a file: messages and their fields, enums and their values, services and methods.

    Args:
        file: a well-formed, encoded google.protobuf.FileDescriptorProto.
    """
    fields = list(_fields(file))
    package = next((value.decode() for number, value in fields if number == 2), "")
    for number, value in fields:
        if number in _FILE:
            yield from _names(package, _FILE[number], value)


def imports_in(file: bytes) -> list[str]:
    """Return the names of the files that a file imports."""
    return [value.decode() for number, value in _fields(file) if number == 3]


def _names(place: str, kind: str, part: bytes) -> Iterator[str]:
    fields = list(_fields(part))
    own = next((value.decode() for number, value in fields if number == 1), "")
    name = f"{place}.{own}" if place else own
    yield name
    for number, value in fields:
        inner = _PARTS.get(kind, {}).get(number)
        if inner is not None:
            yield from _names(place if inner == "value" else name, inner, value)


def _fields(part: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the fields with bytes. All other fields of descriptors are numbers and are skipped."""
    at = 0
    while at < len(part):
        tag, at = _read_varint(part, at)
        size, at = _read_varint(part, at)
        if tag & 7 == 2:
            yield tag >> 3, part[at : at + size]
            at += size


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    found = shift = 0
    while True:
        byte = data[at]
        found |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return found, at


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
