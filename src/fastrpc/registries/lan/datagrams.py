"""Signed datagrams. The signature is checked before anything else is parsed.

::

    "FRLA"  version  algorithm  kind  length of the id  id  time in ms  instance  sequence  nonce  body  signature
      4        1         1        1          1           n       8          16        8       16     m      32

The version is 1. The algorithm 1 is HMAC-SHA256 over all bytes before the signature. Numbers are big-endian. The body
is a MessagePack array of pairs: a service and a record in JSON. A query has no body; an answer repeats the nonce of its
query. The instance consists of the program's start time in ms, in 6 bytes, and 10 random bytes.
"""

import hmac
import struct
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

from fastrpc.registries.base.record import RecordError
from fastrpc.registries.lan.keys import LanKeys

__all__ = [
    "ANNOUNCE",
    "GOODBYE",
    "NO_NONCE",
    "DATAGRAM_BYTES",
    "QUERY",
    "RECORD_BYTES",
    "TIME_BYTES",
    "LanDatagram",
    "bodies_of",
    "checked_datagram",
    "is_datagram",
    "records_of",
    "signed_datagram",
    "signer_of",
]

#: The kinds of datagrams.
ANNOUNCE: Final = 1
QUERY: Final = 2
GOODBYE: Final = 3

#: The most bytes of a datagram. With headers and tunnels it still fits into an Ethernet frame.
DATAGRAM_BYTES: Final = 1_200

#: The most bytes of a record with the name of its service.
RECORD_BYTES: Final = 1_000

NO_NONCE: Final = bytes(16)

#: Bytes of the start time in an instance.
TIME_BYTES: Final = 6

_BEGIN: Final = b"FRLA\x01\x01"
_ID_AT: Final = len(_BEGIN) + 2
_FIELDS = struct.Struct("!Q16sQ16s")
_SIGNATURE_BYTES: Final = 32
_LEAST_BYTES: Final = _ID_AT + 1 + _FIELDS.size + _SIGNATURE_BYTES

#: Bytes for all records of a datagram with the longest id, without the header of the MessagePack array.
_BODY_BYTES: Final = DATAGRAM_BYTES - _LEAST_BYTES - 31 - 3

#: Bytes of the MessagePack headers of a service and its record: of the array of two, of the text, of the bytes.
_AROUND_BYTES: Final = 1 + 3 + 3


class LanDatagram(NamedTuple):
    kind: int
    milliseconds: int
    instance: bytes
    sequence: int
    nonce: bytes
    body: bytes = b""


def signed_datagram(datagram: LanDatagram, keys: LanKeys) -> bytes:
    """Return the bytes of a datagram, signed by the first key."""
    name, key = next(iter(keys.items()))
    fields = _FIELDS.pack(datagram.milliseconds, datagram.instance, datagram.sequence, datagram.nonce)
    signed = _BEGIN + bytes([datagram.kind, len(name)]) + name + fields + datagram.body
    return signed + hmac.digest(key, signed, "sha256")


def checked_datagram(data: bytes, keys: LanKeys) -> LanDatagram | None:
    """Return a datagram that one of the keys signed; None for all other bytes."""
    if not is_datagram(data):
        return None
    begin = _ID_AT + data[_ID_AT - 1]
    key = keys.get(data[_ID_AT:begin])
    if key is None:
        return None
    signed = data[:-_SIGNATURE_BYTES]
    is_signed = hmac.compare_digest(hmac.digest(key, signed, "sha256"), data[-_SIGNATURE_BYTES:])
    if not is_signed or len(signed) < begin + _FIELDS.size:
        return None
    milliseconds, instance, sequence, nonce = _FIELDS.unpack_from(signed, begin)
    body = signed[begin + _FIELDS.size :]
    return LanDatagram(data[_ID_AT - 2], milliseconds, instance, sequence, nonce, body)


def is_datagram(data: bytes) -> bool:
    """Return whether bytes have the form of a datagram; the signature is not checked."""
    return _LEAST_BYTES <= len(data) <= DATAGRAM_BYTES and data.startswith(_BEGIN)


def signer_of(datagram: bytes) -> str:
    """Return the id that a datagram states for its key."""
    return datagram[_ID_AT : _ID_AT + datagram[_ID_AT - 1]].decode("ascii", "replace")


def bodies_of(records: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    """Split records into the bodies of datagrams."""
    together: list[tuple[str, bytes]] = []
    size = 0
    for service, record in records:
        more = len(service.encode()) + len(record) + _AROUND_BYTES
        if together and size + more > _BODY_BYTES:
            yield msgspec.msgpack.encode(together)
            together, size = [], 0
        together.append((service, record))
        size += more
    if together:
        yield msgspec.msgpack.encode(together)


def records_of(datagram: LanDatagram) -> list[tuple[str, bytes]]:
    """Return the services and records of a datagram.

    Raises:
        RecordError: the body is malformed.
    """
    try:
        return msgspec.msgpack.decode(datagram.body, type=list[tuple[str, bytes]])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"it does not fit: {error}") from None
