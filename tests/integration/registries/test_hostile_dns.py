"""Clients of a resolver that answers with bytes made to burn processor time."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("dns", reason="dnspython is not installed")

from fastrpc import StoreError
from fastrpc.registries import open_registry
from fastrpc.registries.base.backed import BackedRegistry

pytestmark = pytest.mark.one_loop

#: The greatest offset of a compressed name, and the bytes of the longest datagram here.
MOST_OFFSET, DATAGRAM_BYTES = 0x3FFF, 60_000

#: A record of a kind that nobody knows.
UNKNOWN = 65_280


def chained(question: bytes, owner_of: Callable[[int], int]) -> bytes:
    """Return an answer with a record of pointers, each to the one before, and records named by pointers into it.

    Args:
        owner_of: returns the number of the pointer that names a record.
    """
    answer = bytearray(question[:2] + struct.pack("!HHHHH", 0x8180, 1, 0, 0, 0) + question[12:])
    content = bytearray(b"\x01x\x00")
    begin = len(answer) + 12
    offsets = [begin]
    while (at := begin + len(content)) < MOST_OFFSET - 2:
        content += struct.pack("!H", 0xC000 | offsets[-1])
        offsets.append(at)
    answer += b"\xc0\x0c" + struct.pack("!HHIH", UNKNOWN, 1, 1, len(content)) + content
    records = 1
    while len(answer) + 16 < DATAGRAM_BYTES:
        owner = offsets[owner_of(records) % len(offsets)]
        answer += struct.pack("!H", 0xC000 | owner) + struct.pack("!HHIH", 1, 1, 1, 4) + b"\x0a\0\0\1"
        records += 1
    struct.pack_into("!H", answer, 6, records)
    return bytes(answer)


@contextlib.contextmanager
def resolver(answer: Callable[[bytes], bytes]) -> Iterator[int]:
    """Serve datagrams; yield the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as served:
        served.bind(("127.0.0.1", 0))
        port = served.getsockname()[1]

        def serve() -> None:
            while question := served.recvfrom(4096):
                if not question[0]:
                    return
                # Without the options after the question.
                body = question[0][: 12 + question[0][12:].index(b"\0") + 5]
                served.sendto(answer(body), question[1])

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield port
        finally:
            served.sendto(b"", ("127.0.0.1", port))
            thread.join(10)


@pytest.mark.parametrize("owner_of", [lambda _: -1, lambda number: number], ids=["longest", "all"])
def test_chains_of_pointers_in_an_answer_are_refused(owner_of: Callable[[int], int]) -> None:
    """They took dnspython 2.8 half a minute for a datagram."""
    with resolver(lambda question: chained(question, owner_of)) as port:
        registry = open_registry(f"dns://127.0.0.1:{port}?timeout=5")
        assert isinstance(registry, BackedRegistry)
        with registry:
            lookup = registry._backend.open_lookup("shop.example:80")
            with pytest.raises(StoreError, match="DNS: A of shop.example"):
                lookup.fetch(0.0)
            # The next answer counts as usual.
            assert registry.watch("127.0.0.1:80").wait(10) is not None
