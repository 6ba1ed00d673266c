"""The promises of every transport, under each event loop."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError, ConnectError
from fastrpc.transports.base import DialOptions, ListenOptions, Transport, transport_for
from tests.support.certificates import Authority
from tests.support.recording_session import RecordingSession, Sessions


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("contract"))


@pytest.fixture(scope="session", autouse=True)
def options(authority: Authority) -> None:
    """Set the certificates with which all tests listen and dial; other transports than `tls` ignore them."""
    tls = authority.certificate().tls(authority)
    LISTENING.append(ListenOptions(tls=tls))
    DIALLING.append(DialOptions(tls=tls))


LISTENING: list[ListenOptions] = []
DIALLING: list[DialOptions] = []


def listening() -> ListenOptions:
    return LISTENING[-1]


def dialling() -> DialOptions:
    return DIALLING[-1]


@pytest.fixture(params=["tcp", "tcp6", "tls", "unix", "memory"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Address:
    return {
        "tcp": Address("tcp", host="127.0.0.1"),
        "tcp6": Address("tcp", host="::1"),
        "tls": Address("tls", host="127.0.0.1"),
        "unix": Address("unix", path=str(tmp_path / "socket")),
        "memory": Address("memory", path="contract"),
    }[request.param]


@pytest.fixture
def transport(address: Address) -> Transport:
    return transport_for(address)


@asynccontextmanager
async def connection(
    transport: Transport, address: Address, server: Sessions | None = None, client: Sessions | None = None
) -> AsyncIterator[tuple[RecordingSession, RecordingSession]]:
    """Connect; yield the client's and the server's session; close everything."""
    server = server or Sessions()
    listener = await transport.listen(address, server, listening())
    try:
        _, near = await transport.dial(listener.address, client or Sessions(), dialling())
        far = await server.one()
        yield near, far
        for session in (near, far):
            session.transport.abort()
            await session.until_event("lost")
    finally:
        listener.close()
        await listener.wait_closed()


async def test_bytes_cross_both_ways(transport: Transport, address: Address) -> None:
    async with connection(transport, address) as (near, far):
        near.transport.write(b"to the server")
        await far.until_received(13)
        far.transport.writelines([b"to ", b"", b"the client"])
        await near.until_received(13)
    assert bytes(far.received) == b"to the server"
    assert bytes(near.received) == b"to the client"


async def test_dial_returns_the_transport_its_session_was_given(
    transport: Transport, address: Address
) -> None:
    listener = await transport.listen(address, Sessions(), listening())
    made, session = await transport.dial(listener.address, Sessions(), dialling())
    assert session.events == ["made"]
    assert session.transport is made
    assert made.get_protocol() is session
    made.abort()
    await session.until_event("lost")
    listener.close()


async def test_much_data_arrives_whole_through_a_small_buffer(transport: Transport, address: Address) -> None:
    sent = bytes(range(256)) * 8_192
    server = Sessions(lambda: RecordingSession(buffer_bytes=1_000))
    async with connection(transport, address, server) as (near, far):
        near.transport.write(sent)
        await far.until_received(len(sent))
    assert far.received == sent
    assert max(far.reads) <= 1_000


async def test_bytes_that_the_server_writes_at_once_are_not_lost(
    transport: Transport, address: Address
) -> None:
    class Greeting(RecordingSession):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport.write(b"hello")

    for _ in range(20):
        async with connection(transport, address, Sessions(Greeting)) as (near, _):
            await near.until_received(5)
            assert near.events == ["made"]
            assert bytes(near.received) == b"hello"


async def test_bytes_written_before_an_immediate_close_arrive(transport: Transport, address: Address) -> None:
    class Refusing(RecordingSession):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport.write(b"go away")
            self.transport.close()
            assert self.transport.is_closing()
            self.transport.write(b"nobody reads this")

    for _ in range(20):
        async with connection(transport, address, Sessions(Refusing)) as (near, far):
            await near.until_event("lost")
            await far.until_event("lost")
        assert near.events == ["made", "eof", "lost"]
        assert bytes(near.received) == b"go away"
        assert near.loss is None


async def test_bytes_written_before_an_immediate_end_arrive(transport: Transport, address: Address) -> None:
    class Listening(RecordingSession):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            assert self.transport.can_write_eof()
            self.transport.write(b"your turn")
            self.transport.write_eof()
            with pytest.raises(RuntimeError, match="write_eof"):
                self.transport.write(b"too late")

    client = Sessions(lambda: RecordingSession(keep_open=True))
    async with connection(transport, address, Sessions(Listening), client) as (near, far):
        await near.until_event("eof")
        assert bytes(near.received) == b"your turn"
        near.transport.write(b"all I have")
        near.transport.close()
        await far.until_event("lost")
        assert bytes(far.received) == b"all I have"


async def test_peer_close_is_end_of_file_and_then_loss(transport: Transport, address: Address) -> None:
    async with connection(transport, address) as (near, far):
        near.transport.write(b"last words")
        near.transport.close()
        await far.until_event("lost")
        await near.until_event("lost")
    assert far.events == ["made", "eof", "lost"]
    assert bytes(far.received) == b"last words"
    assert near.loss is None
    assert far.loss is None


async def test_half_closed_side_still_reads(transport: Transport, address: Address) -> None:
    server = Sessions(lambda: RecordingSession(keep_open=True))
    async with connection(transport, address, server) as (near, far):
        assert near.transport.can_write_eof()
        near.transport.write(b"question")
        near.transport.write_eof()
        await far.until_event("eof")
        far.transport.write(b"answer")
        far.transport.close()
        await near.until_event("lost")
        assert bytes(far.received) == b"question"
        assert bytes(near.received) == b"answer"


async def test_writing_after_end_of_file_is_refused(transport: Transport, address: Address) -> None:
    async with connection(transport, address, Sessions(lambda: RecordingSession(keep_open=True))) as (
        near,
        _,
    ):
        near.transport.write_eof()
        with pytest.raises(RuntimeError, match="write_eof"):
            near.transport.write(b"too late")


async def test_closing_twice_is_fine(transport: Transport, address: Address) -> None:
    async with connection(transport, address) as (near, _):
        near.transport.close()
        near.transport.close()
        assert near.transport.is_closing()
        await near.until_event("lost")
        near.transport.close()
        near.transport.abort()
    assert near.events.count("lost") == 1


async def test_writing_after_close_is_dropped(transport: Transport, address: Address) -> None:
    async with connection(transport, address) as (near, far):
        near.transport.close()
        near.transport.write(b"nobody reads this")
        await far.until_event("lost")
    assert far.received == b""


async def test_writing_to_a_closed_peer_loses_the_connection(transport: Transport, address: Address) -> None:
    client = Sessions(lambda: RecordingSession(keep_open=True))
    async with connection(transport, address, client=client) as (near, far):
        far.transport.close()
        await near.until_event("eof")
        await far.until_event("lost")
        async with asyncio.timeout(10):
            while "lost" not in near.events:
                near.transport.write(b"is anybody there")
                await asyncio.sleep(0)
    assert isinstance(near.loss, ConnectionError)


async def test_abort_ends_both_sides(transport: Transport, address: Address) -> None:
    async with connection(transport, address) as (near, far):
        near.transport.abort()
        await far.until_event("lost")
        await near.until_event("lost")
    assert near.loss is None


async def test_paused_reader_receives_nothing_until_it_resumes(
    transport: Transport, address: Address
) -> None:
    async with connection(transport, address) as (near, far):
        assert far.transport.is_reading()
        far.transport.pause_reading()
        far.transport.pause_reading()
        assert not far.transport.is_reading()
        near.transport.write(b"later")
        for _ in range(10):
            await asyncio.sleep(0.001)
        assert far.received == b""
        far.transport.resume_reading()
        far.transport.resume_reading()
        await far.until_received(5)


async def test_writer_is_paused_while_the_peer_does_not_read(transport: Transport, address: Address) -> None:
    async with connection(transport, address) as (near, far):
        far.transport.pause_reading()
        near.transport.set_write_buffer_limits(high=4_096)
        assert near.transport.get_write_buffer_limits() == (1_024, 4_096)
        sent = 0
        while "pause" not in near.events:
            near.transport.write(b"x" * 65_536)
            sent += 65_536
        assert near.transport.get_write_buffer_size() > 4_096
        far.transport.resume_reading()
        await near.until_event("resume")
        await far.until_received(sent)
    assert near.events == ["made", "pause", "resume", "lost"]


async def test_the_session_may_close_inside_any_callback(transport: Transport, address: Address) -> None:
    class Hasty(RecordingSession):
        def buffer_updated(self, nbytes: int) -> None:
            super().buffer_updated(nbytes)
            self.transport.close()

    async with connection(transport, address, Sessions(Hasty)) as (near, far):
        near.transport.write(b"x" * 1_000_000)
        await far.until_event("lost")
        await near.until_event("lost")


async def test_an_error_in_a_callback_is_reported_and_ends_the_connection(
    transport: Transport, address: Address
) -> None:
    class Broken(RecordingSession):
        def buffer_updated(self, nbytes: int) -> None:
            raise ValueError("broken session")

    reports: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, report: reports.append(report))
    async with connection(transport, address, Sessions(Broken)) as (near, far):
        near.transport.write(b"x")
        await far.until_event("lost")
        await near.until_event("lost")
    assert [str(report["exception"]) for report in reports] == ["broken session"]
    assert isinstance(far.loss, ValueError)


async def test_another_session_can_take_the_connection_over(transport: Transport, address: Address) -> None:
    async with connection(transport, address) as (near, far):
        successor = RecordingSession()
        successor.connection_made(far.transport)
        far.transport.set_protocol(successor)
        near.transport.write(b"to the successor")
        await successor.until_received(16)
        near.transport.close()
        await successor.until_event("lost")
        far.events.append("lost")
    assert far.received == b""


async def test_closed_listener_refuses_and_frees_its_address(transport: Transport, address: Address) -> None:
    listener = await transport.listen(address, Sessions(), listening())
    listener.close()
    listener.close()
    await listener.wait_closed()
    with pytest.raises(ConnectError):
        await transport.dial(listener.address, Sessions(), dialling())
    again = await transport.listen(listener.address, Sessions(), listening())
    assert again.address == listener.address
    again.close()


async def test_connections_outlive_their_listener(transport: Transport, address: Address) -> None:
    server = Sessions()
    listener = await transport.listen(address, server, listening())
    _, near = await transport.dial(listener.address, Sessions(), dialling())
    far = await server.one()
    listener.close()
    async with asyncio.timeout(20):
        await listener.wait_closed()
    near.transport.write(b"still here")
    await far.until_received(10)
    near.transport.close()
    await far.until_event("lost")


async def test_an_address_in_use_is_refused_naming_it(transport: Transport, address: Address) -> None:
    listener = await transport.listen(address, Sessions(), listening())
    with pytest.raises(OSError, match="already in use") as caught:
        await transport.listen(listener.address, Sessions(), listening())
    assert str(listener.address) in str(caught.value)
    assert not isinstance(caught.value, ConnectError)
    listener.close()


async def test_a_failed_dial_names_the_address_the_reason_and_the_remedy(
    transport: Transport, address: Address
) -> None:
    listener = await transport.listen(address, Sessions(), listening())
    listener.close()
    client = Sessions()
    with pytest.raises(ConnectError) as caught:
        await transport.dial(listener.address, client, dialling())
    text = str(caught.value)
    assert f"cannot connect to {listener.address}" in text
    assert ("No such file" if address.scheme == "unix" else "Connection refused") in text
    assert "is the server running?" in text
    assert isinstance(caught.value, ConnectionError)
    assert caught.value.errno
    assert caught.value.processed == "no"
    assert caught.value.retryable
    assert client.made == []


async def test_a_failing_session_factory_leaves_no_connection(transport: Transport, address: Address) -> None:
    def fail() -> RecordingSession:
        raise LookupError("no session today")

    server = Sessions()
    listener = await transport.listen(address, server, listening())
    with pytest.raises(LookupError, match="no session today"):
        await transport.dial(listener.address, fail, dialling())
    await (await server.one()).until_event("lost")
    listener.close()


async def test_no_resource_is_left_open(transport: Transport, address: Address) -> None:
    async with connection(transport, address) as (near, far):
        near.transport.close()
        await far.until_event("lost")
    gc.collect()  # Warnings are errors: an open transport or socket would show here.


async def test_unknown_scheme_names_those_that_are_known() -> None:
    with pytest.raises(ConfigError, match=r"'pigeon'.*known are memory, relay, tcp, tls, unix"):
        transport_for(Address("pigeon", path="loft"))
