"""Bytes that came early reach the protocol that a transport has by then."""

import asyncio
from typing import Any, cast

import pytest

from fastrpc.transports.early_bytes import replay


class StandInTransport:
    """Has a protocol, and may close."""

    def __init__(self) -> None:
        self.protocol: Any = None
        self.closing = False

    def is_closing(self) -> bool:
        return self.closing


class Taking:
    """Takes the given number of bytes, then calls a function."""

    def __init__(self, size: int, then: Any = None) -> None:
        self.taken = b""
        self._place = bytearray(size)
        self._then = then

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._place

    def buffer_updated(self, nbytes: int) -> None:
        self.taken += self._place[:nbytes]
        if self._then is not None:
            self._then()


def replayed(transport: StandInTransport, early: bytes) -> None:
    replay(early, cast(asyncio.Transport, transport), lambda: transport.protocol)


def test_protocol_gets_them_in_pieces_that_it_has_room_for() -> None:
    transport = StandInTransport()
    transport.protocol = Taking(3)
    replayed(transport, b"abcdefgh")
    assert transport.protocol.taken == b"abcdefgh"


def test_remaining_bytes_go_to_the_protocol_that_took_over() -> None:
    transport = StandInTransport()
    second = Taking(100)
    first = Taking(3, lambda: setattr(transport, "protocol", second))
    transport.protocol = first
    replayed(transport, b"abcdefgh")
    assert (first.taken, second.taken) == (b"abc", b"defgh")


def test_a_closing_transport_gets_no_more() -> None:
    transport = StandInTransport()
    transport.protocol = Taking(3, lambda: setattr(transport, "closing", True))
    replayed(transport, b"abcdefgh")
    assert transport.protocol.taken == b"abc"


def test_a_protocol_without_room_is_an_error_and_no_endless_loop() -> None:
    transport = StandInTransport()
    transport.protocol = Taking(0)
    with pytest.raises(RuntimeError, match="Taking is full: 5 bytes that came early are left"):
        replayed(transport, b"early")
