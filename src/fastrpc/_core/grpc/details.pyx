"""Details of errors in `grpc-status-details-bin`: a google.rpc.Status, written and read by hand.

::

    message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
    message Any    { string type_url = 1; bytes value = 2; }
    message Value  { oneof kind { NullValue null_value = 1; double number_value = 2; string string_value = 3;
                                  bool bool_value = 4; Struct struct_value = 5; ListValue list_value = 6; } }
    message Struct { map<string, Value> fields = 1; }        message ListValue { repeated Value values = 1; }

The code is small, and serves only errors: plain Python, compiled. Everything that a peer sends is bounded by its header
block.
"""

import logging
import struct

from fastrpc.types.any_message import AnyMessage


logger = logging.getLogger("fastrpc.server")

TYPE_PREFIX = "type.googleapis.com/"

cdef str VALUE_TYPE = "google.protobuf.Value"

cdef enum:
    VARINT = 0
    EIGHT_BYTES = 1
    BYTES = 2
    FOUR_BYTES = 5
    LONGEST_VARINT = 10
    # Levels of lists and objects; a block of 64 KiB could have thousands.
    DEPTH = 100

# Integers up to here are exact as a double.
cdef object EXACT = 2**53


# Writing

cpdef bytes encode_details(int status, str message, object details):
    if details is None:
        return None
    try:
        held = b"".join([field(3, any_of(detail)) for detail in messages_of(details)])
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        logger.warning("the details of an error are left out: no protobuf message holds them (%s)", error)
        return None
    return b"\x08" + varint(status) + field(2, message.encode("utf-8", "replace")) + held


cdef list messages_of(object details):
    """Return the messages that the details consist of."""
    if is_message(details):
        return [details]
    if isinstance(details, (list, tuple)) and details and all([is_message(detail) for detail in details]):
        return list(details)
    return [AnyMessage(TYPE_PREFIX + VALUE_TYPE, value_of(plain_value(details)))]


cdef bint is_message(object value) except -1:
    return isinstance(value, AnyMessage) or hasattr(value, "SerializeToString") and hasattr(value, "DESCRIPTOR")


cdef bytes any_of(object message):
    if not isinstance(message, AnyMessage):
        name = message.DESCRIPTOR.full_name
        if name == "google.protobuf.Any":
            message = AnyMessage(message.type_url, message.value)
        else:
            message = AnyMessage(TYPE_PREFIX + name, message.SerializeToString())
    return field(1, message.type_url.encode()) + field(2, message.value)


cdef object plain_value(object details):
    """Return the details as values that JSON has."""
    import msgspec  # On first use: a client that makes no call does not load it.

    return msgspec.to_builtins(details, str_keys=True)


cdef bytes value_of(object value):
    """Return a plain value as a google.protobuf.Value."""
    if value is None:
        return b"\x08\x00"
    if value is True or value is False:
        return b"\x20\x01" if value else b"\x20\x00"
    if isinstance(value, int) and not -EXACT <= value <= EXACT:
        # As text, as in the JSON of protobuf: a double would be another number.
        value = str(value)
    if isinstance(value, (int, float)):
        return b"\x11" + struct.pack("<d", value)
    if isinstance(value, str):
        return field(3, value.encode("utf-8", "replace"))
    if isinstance(value, dict):
        return field(5, b"".join([
            field(1, field(1, str(key).encode("utf-8", "replace")) + field(2, value_of(held)))
            for key, held in value.items()
        ]))
    return field(6, b"".join([field(1, value_of(held)) for held in value]))


cdef bytes field(int number, bytes content):
    """Return a field of bytes."""
    return bytes((number << 3 | BYTES,)) + varint(len(content)) + content


cdef bytes varint(Py_ssize_t value):
    cdef list found = []
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


# Reading

cpdef object decode_details(bytes data):
    try:
        found = messages_in(data)
        if len(found) == 1 and found[0].type_url.rpartition("/")[2] == VALUE_TYPE:
            return read_value(found[0].value, DEPTH)
    except (ValueError, OverflowError):
        return None
    return found or None


cpdef list messages_in(bytes data):
    return [read_any(content) for number, content in read_fields(data) if number == 3 and type(content) is bytes]


cdef object read_any(bytes data):
    cdef str type_url = ""
    cdef bytes value = b""
    for number, content in read_fields(data):
        if number == 1:
            type_url = bytes_of(content).decode()
        elif number == 2:
            value = bytes_of(content)
    return AnyMessage(type_url, value)


cdef bytes bytes_of(object content):
    if type(content) is not bytes:
        raise ValueError("a field of bytes has another wire type")
    return content


cdef object read_value(bytes data, int depth):
    """Return the plain value of a google.protobuf.Value; the last of its kinds counts."""
    found = None
    if depth == 0:
        raise ValueError("the value is nested too deep")
    for number, content in read_fields(data):
        if number == 1:
            found = None
        elif number == 2:
            found = number_of(content)
        elif number == 3:
            found = bytes_of(content).decode()
        elif number == 4:
            found = bool(content)
        elif number == 5:
            found = read_struct(bytes_of(content), depth - 1)
        elif number == 6:
            found = [
                read_value(bytes_of(held), depth - 1) for place, held in read_fields(bytes_of(content)) if place == 1
            ]
    return found


cdef object number_of(object content):
    """Return a double; a whole number becomes an int, as before it was sent."""
    if type(content) is not float:
        raise ValueError("a number has another wire type")
    return int(content) if -EXACT <= content <= EXACT and content == int(content) else content


cdef dict read_struct(bytes data, int depth):
    cdef dict found = {}
    for place, entry in read_fields(data):
        if place != 1:
            continue
        key, value = "", None
        for number, content in read_fields(bytes_of(entry)):
            if number == 1:
                key = bytes_of(content).decode()
            elif number == 2:
                value = read_value(bytes_of(content), depth)
        found[key] = value
    return found


cdef list read_fields(bytes data):
    """Return the numbers of all fields with their contents: an int, a float of eight bytes, or bytes."""
    cdef list found = []
    cdef Py_ssize_t at = 0, size
    while at < len(data):
        tag, at = read_varint(data, at)
        kind = tag & 7
        if kind == VARINT:
            content, at = read_varint(data, at)
            found.append((tag >> 3, content))
            continue
        if kind == BYTES:
            size, at = read_varint(data, at)
        elif kind == EIGHT_BYTES or kind == FOUR_BYTES:
            size = 8 if kind == EIGHT_BYTES else 4
        else:
            raise ValueError("a field has a wire type that no field has")
        if not 0 <= size <= len(data) - at:
            raise ValueError("a field is cut")
        content = data[at:at + size]
        found.append((tag >> 3, struct.unpack("<d", content)[0] if kind == EIGHT_BYTES else content))
        at += size
    return found


cdef tuple read_varint(bytes data, Py_ssize_t at):
    cdef int shift, byte
    value = 0
    for shift in range(0, 7 * LONGEST_VARINT, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= <object>(byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number is too long or cut")
