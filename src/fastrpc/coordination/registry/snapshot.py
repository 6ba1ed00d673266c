"""The format of a snapshot: a JSON document with one record per line, so that damage to a line loses only that record.

::

    {"format": 2, "records": [
    ["arith", "tcp://10.0.0.7:8972", "{\\"v\\":1,…}", "c0ffee…", 10.0],
    ["arith", "tcp://10.0.0.8:8972", null, "decade…", 10.0]
    ]}

The elements are the service, the address, the record, the lease, and the seconds of the lease. The record is null if
another lease has taken over the address.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated

import msgspec

from fastrpc.coordination.registry.registration import (
    LONGEST_RECORD_BYTES,
    check_lease_seconds,
    check_registration,
)
from fastrpc.errors import StoreError
from fastrpc.stores.memory import SavedItem

__all__ = ["Fault", "encode_snapshot", "read_snapshot"]

_BEGIN = b'{"format": 2, "records": [\n'
_END = b"]}\n"

#: Most bytes of a line: a byte of a record may become six bytes in JSON, and all other fields are short.
_LINE_BYTES = 6 * LONGEST_RECORD_BYTES + 4_096

#: Bytes per write. Each write releases the GIL, so this limits how long an event loop of this process waits for the
#: thread: some 0.2 ms.
_BATCH_BYTES = 65_536

_LEASE = re.compile(r"[0-9a-f]{16}")


class _Line(msgspec.Struct, array_like=True):
    service: str
    address: str
    record: str | None
    lease: Annotated[str, msgspec.Meta(max_length=16)]
    seconds: float


@dataclass(frozen=True, slots=True)
class Fault:
    """A line that is not restored."""

    #: The service and the address, as far as they can be parsed, and the line number.
    name: str

    reason: str


def encode_snapshot(items: Iterable[SavedItem]) -> Iterator[bytes]:
    """Yield the text in pieces."""
    piece = bytearray(_BEGIN)
    separator = b""
    for item in items:
        record = None if item.value is None else item.value.decode()
        piece += separator
        piece += msgspec.json.encode(
            _Line(item.folder, item.key, record, item.lease or "", item.lease_seconds)
        )
        separator = b",\n"
        if len(piece) >= _BATCH_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece + b"\n" + _END)


def read_snapshot(read_line: Callable[[int], bytes]) -> tuple[list[SavedItem], list[Fault]]:
    """Return the valid records, and a fault for each invalid record.

    Args:
        read_line: returns the next line, cut at the given number of bytes; b"" at the end.

    Raises:
        StoreError: the file is not a snapshot of a known format.
    """
    if read_line(_LINE_BYTES) != _BEGIN:
        raise StoreError(f"it does not begin like a snapshot: {_BEGIN.decode().strip()}")
    items: list[SavedItem] = []
    faults: list[Fault] = []
    number = 1
    while (line := read_line(_LINE_BYTES)) != _END:
        number += 1
        if not line:
            faults.append(Fault(f"line {number}", "the snapshot is truncated"))
            break
        if not line.strip():
            continue  # A snapshot without records has one empty line.
        found = _read_line(line, number)
        if isinstance(found, Fault):
            faults.append(found)
        else:
            items.append(found)
    return items, faults


def _read_line(line: bytes, number: int) -> SavedItem | Fault:
    name = f"line {number}"
    try:
        found = msgspec.json.decode(line.rstrip().removesuffix(b","), type=_Line)
        name = f"{found.service} at {found.address}"[:300]
        if not _LEASE.fullmatch(found.lease):
            raise ValueError(f"{found.lease!r} is not a lease")
        check_lease_seconds(found.seconds)
        if found.record is not None:
            address = check_registration(found.service, found.record)
            if address != found.address:
                raise ValueError(f"its record belongs to {address}")
    except (ValueError, RecursionError) as error:
        # The errors of msgspec and of UTF-8 decoding are ValueErrors.
        return Fault(name, str(error))
    value = None if found.record is None else found.record.encode()
    return SavedItem(found.service, found.address, value, found.lease, found.seconds)
