"""The text of a snapshot: a JSON document with one record on each line, so that a damaged line costs itself only.

::

    {"format": 2, "records": [
    ["arith", "tcp://10.0.0.7:8972", "{\\"v\\":1,…}", "c0ffee…", 10.0],
    ["arith", "tcp://10.0.0.8:8972", null, "decade…", 10.0]
    ]}

The elements are service, address, record, lease and the seconds of the lease; without a record the lease had written
the address before another one took it over.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated

import msgspec

from fastrpc.coordination.registration import LONGEST_RECORD_BYTES, check_lease_seconds, check_registration
from fastrpc.errors import StoreError
from fastrpc.stores.memory import SavedItem

__all__ = ["Fault", "encode_snapshot", "read_snapshot"]

_BEGIN = b'{"format": 2, "records": [\n'
_END = b"]}\n"

#: Longest line: each byte of a record may take six in JSON, and the rest is short.
_LINE_BYTES = 6 * LONGEST_RECORD_BYTES + 4_096

#: Bytes of lines that are written together. Each write lets other threads go on, so it bounds how long an event loop
#: of this process waits for this one: some 0.2 ms.
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
    """A line that is left out."""

    #: Service and address as far as they can be read, and where the line is.
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
    """Return the good records and what is wrong with the others.

    Args:
        read_line: returns the next line, or the so many first bytes of it; b"" at the end.

    Raises:
        StoreError: it is no snapshot of a known format.
    """
    if read_line(_LINE_BYTES) != _BEGIN:
        raise StoreError(f"it does not begin as a snapshot does: {_BEGIN.decode().strip()}")
    items: list[SavedItem] = []
    faults: list[Fault] = []
    number = 1
    while (line := read_line(_LINE_BYTES)) != _END:
        number += 1
        if not line:
            faults.append(Fault(f"line {number}", "the snapshot ends before its end"))
            break
        if not line.strip():
            continue  # Without records there is one empty line.
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
            raise ValueError(f"{found.lease!r} is no lease")
        check_lease_seconds(found.seconds)
        if found.record is not None:
            address = check_registration(found.service, found.record)
            if address != found.address:
                raise ValueError(f"its record is that of {address}")
    except (ValueError, RecursionError) as error:
        # Those of msgspec and of decoding UTF-8 are ValueErrors.
        return Fault(name, str(error))
    value = None if found.record is None else found.record.encode()
    return SavedItem(found.service, found.address, value, found.lease, found.seconds)
