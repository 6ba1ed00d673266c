"""The parts that socket transports share, without a socket."""

import asyncio
import errno
import socket
from typing import Any, cast

import pytest

from fastrpc.endpoint import Address
from fastrpc.transports.sockets import Handover, connect_error, listen_error
from tests.support.recording_session import RecordingSession

ADDRESS = Address("tcp", host="db", port=1)


class StandInTransport:
    """Notes its calls."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.protocol: asyncio.BaseProtocol | None = None
        self.closing = False

    def __getattr__(self, name: str) -> Any:
        return lambda: self.asked.append(name)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def is_closing(self) -> bool:
        return self.closing


def connected() -> tuple[StandInTransport, Handover]:
    transport, handover = StandInTransport(), Handover()
    handover.connection_made(cast(asyncio.Transport, transport))
    return transport, handover


def receive(handover: Handover, data: bytes) -> None:
    handover.get_buffer(-1)[: len(data)] = data
    handover.buffer_updated(len(data))


async def test_early_bytes_are_kept_and_reading_pauses_until_the_session_exists() -> None:
    transport, handover = connected()
    receive(handover, b"early")
    assert transport.asked == ["pause_reading"]
    session = handover.to(lambda: RecordingSession(buffer_bytes=2))
    assert transport.protocol is session
    assert transport.asked == ["pause_reading", "resume_reading"]
    assert bytes(session.received) == b"early"
    assert session.reads == [2, 2, 1]


async def test_early_end_of_file_is_delivered_after_the_bytes() -> None:
    transport, handover = connected()
    receive(handover, b"early")
    assert handover.eof_received()
    session = handover.to(RecordingSession)
    assert session.events == ["made", "eof"]
    assert transport.asked[-1] == "close"


async def test_session_that_closes_while_it_is_made_gets_no_callbacks() -> None:
    transport, handover = connected()
    receive(handover, b"early")

    class Closing(RecordingSession):
        def connection_made(self, made: asyncio.BaseTransport) -> None:
            super().connection_made(made)
            transport.closing = True

    assert handover.to(Closing).received == b""


async def test_connection_lost_before_the_session_is_the_error_it_was_lost_with() -> None:
    _, handover = connected()
    handover.ensure_alive()
    handover.connection_lost(ConnectionAbortedError("gone"))
    with pytest.raises(ConnectionAbortedError, match="gone"):
        handover.ensure_alive()


async def test_connection_closed_without_error_before_the_session_is_a_reset() -> None:
    _, handover = connected()
    handover.connection_lost(None)
    with pytest.raises(ConnectionResetError):
        handover.ensure_alive()


async def test_session_that_cannot_start_aborts_the_connection() -> None:
    class Broken(RecordingSession):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            raise ValueError("broken session")

    transport, handover = connected()
    with pytest.raises(ValueError, match="broken session"):
        handover.to(Broken)
    assert transport.asked == ["abort"]


def test_connect_error_lists_each_place_with_the_words_of_the_system() -> None:
    refused = ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('10.0.0.1', 1)")
    silent = TimeoutError("timed out")
    error = connect_error(ADDRESS, [("10.0.0.1", refused), ("10.0.0.2", silent)], 1.25)
    assert (
        str(error)
        == "cannot connect to tcp://db:1 (1.250 s): 10.0.0.1: Connection refused; 10.0.0.2: timed out"
    )
    assert error.__cause__ is silent


def test_connect_error_carries_number_and_hint() -> None:
    error = connect_error(ADDRESS, [("", ConnectionRefusedError(errno.ECONNREFUSED, "x"))], 0.0)
    assert error.errno == errno.ECONNREFUSED
    assert error.hint == "nothing listens there; is the server running?"
    unknown = connect_error(ADDRESS, [("", socket.gaierror(-2, "Name or service not known"))], 0.0)
    assert "Name or service not known" in str(unknown)
    assert unknown.hint == "check the host name"
    assert "label too long" in str(connect_error(ADDRESS, [("", UnicodeError("label too long"))], 0.0))


def test_listen_error_keeps_class_and_number() -> None:
    error = listen_error(ADDRESS, PermissionError(errno.EACCES, "?"))
    assert isinstance(error, PermissionError)
    assert error.errno == errno.EACCES
    assert "cannot listen at tcp://db:1: Permission denied" in str(error)
    assert isinstance(listen_error(ADDRESS, socket.gaierror(-2, "unknown")), socket.gaierror)
    assert "embedded null" in str(listen_error(ADDRESS, ValueError("embedded null byte")))


def test_listen_error_names_a_remedy() -> None:
    for number, hint in (
        (errno.EADDRINUSE, "hint: another program listens there: stop it, or give another address"),
        (errno.EACCES, "hint: this user may not listen there: ports below 1024 need privileges"),
    ):
        assert listen_error(ADDRESS, OSError(number, "?")).__notes__ == [hint]
    assert not hasattr(listen_error(ADDRESS, OSError(errno.EMFILE, "?")), "__notes__")
