"""The memory transport: its promises beyond the contract of all transports."""

import asyncio
import contextvars
import gc
import weakref
from typing import Any

import pytest

from fastrpc.endpoint import Address
from fastrpc.errors import ConnectError
from fastrpc.transports.base import DialOptions, ListenOptions
from fastrpc.transports.memory import TRANSPORT, MemoryEnd, MemoryListener
from tests.support.recording_session import RecordingSession, Sessions

ADDRESS = Address("memory", path="unit")


class Pair:
    """A connection whose both sessions are at hand."""

    def __init__(self, *, near: RecordingSession | None = None, far: RecordingSession | None = None) -> None:
        self.near = near or RecordingSession()
        self.far = far or RecordingSession()
        self._listener: MemoryListener

    async def __aenter__(self) -> "Pair":
        self._listener = await TRANSPORT.listen(ADDRESS, lambda: self.far, ListenOptions())
        await TRANSPORT.dial(ADDRESS, lambda: self.near, DialOptions())
        await self.far.until_event("made")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        for session in (self.near, self.far):
            session.transport.abort()
            await session.until_event("lost")


async def turn() -> None:
    """Let the loop run once."""
    await asyncio.sleep(0)


async def test_all_writes_of_one_turn_arrive_together_in_the_next() -> None:
    async with Pair() as pair:
        for letter in (b"a", b"b", b"c"):
            pair.near.transport.write(letter)
        pair.near.transport.writelines([b"d", b"e"])
        assert pair.far.reads == []
        await turn()
        assert pair.far.reads == [5]
        assert bytes(pair.far.received) == b"abcde"


async def test_chunks_are_cut_where_the_buffer_ends() -> None:
    async with Pair(far=RecordingSession(buffer_bytes=4)) as pair:
        pair.near.transport.writelines([b"abc", b"defghijk", memoryview(b"lm")])
        await turn()
        assert pair.far.reads == [4, 4, 4, 1]
        assert bytes(pair.far.received) == b"abcdefghijklm"


async def test_changes_after_the_write_do_not_reach_the_peer() -> None:
    async with Pair() as pair:
        whole, viewed = bytearray(b"before"), bytearray(b"before")
        pair.near.transport.write(whole)
        pair.near.transport.write(memoryview(viewed).toreadonly())
        whole[:] = b"after!"
        viewed[:] = b"after!"
        await turn()
        assert bytes(pair.far.received) == b"beforebefore"


@pytest.mark.parametrize(
    "data",
    [
        b"0123456789",
        memoryview(b"0123456789"),
        memoryview(b"__0123456789")[2:],
        memoryview(b"9876543210")[::-1],
        memoryview(b"0123456789").cast("H"),
        bytearray(b"0123456789"),
    ],
    ids=["bytes", "view", "part", "reversed", "wide", "bytearray"],
)
async def test_any_bytes_like_object_can_be_written(data: bytes) -> None:
    async with Pair() as pair:
        pair.near.transport.write(data)
        assert pair.near.transport.get_write_buffer_size() == 10
        await turn()
        assert bytes(pair.far.received) == b"0123456789"


@pytest.mark.parametrize("data", [b"", bytearray(), memoryview(b""), memoryview(b"abc")[3:]])
async def test_nothing_is_sent_for_no_bytes(data: bytes) -> None:
    async with Pair() as pair:
        pair.near.transport.write(data)
        await turn()
        assert pair.far.reads == []


async def test_values_that_are_not_bytes_like_are_refused() -> None:
    async with Pair() as pair:
        with pytest.raises(TypeError, match="bytes-like"):
            pair.near.transport.write(5)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="bytes-like"):
            pair.near.transport.writelines([b"fine", "text"])  # type: ignore[list-item]
        await turn()
        assert pair.far.received == b""


async def test_reader_does_not_run_in_the_context_of_the_writer() -> None:
    variable = contextvars.ContextVar("variable", default="untouched")
    seen: list[str] = []
    async with Pair() as pair:
        pair.far.on_bytes = lambda chunk: seen.append(variable.get())
        variable.set("the writer's")
        pair.near.transport.write(b"x")
        await turn()
    assert seen == ["untouched"]


async def test_one_turn_delivers_a_bounded_amount() -> None:
    async with Pair() as pair:
        pair.near.transport.write(b"x" * 3_000_000)
        await turn()
        assert 1_000_000 <= len(pair.far.received) < 1_200_000
        await pair.far.until_received(3_000_000)


async def test_writing_inside_a_callback_waits_for_the_next_turn() -> None:
    async with Pair() as pair:
        pair.far.on_bytes = pair.far.transport.write
        pair.near.on_bytes = pair.near.transport.write
        pair.near.transport.write(b"ball")
        for count in range(1, 5):
            await turn()
            assert len(pair.near.reads) + len(pair.far.reads) == count


async def test_abort_drops_the_bytes_that_the_peer_has_not_read() -> None:
    async with Pair() as pair:
        pair.near.transport.write(b"never read")
        pair.near.transport.abort()
        assert pair.near.transport.is_closing()
        await pair.far.until_event("lost")
        assert pair.far.received == b""
        assert pair.far.events == ["made", "lost"]
        assert isinstance(pair.far.loss, ConnectionResetError)


async def test_abort_reaches_a_paused_reader() -> None:
    async with Pair() as pair:
        pair.far.transport.pause_reading()
        pair.near.transport.abort()
        await pair.far.until_event("lost")


async def test_abort_after_end_of_file_keeps_the_bytes_written_before() -> None:
    async with Pair(far=RecordingSession(keep_open=True)) as pair:
        pair.near.transport.write(b"last words")
        pair.near.transport.write_eof()
        pair.near.transport.abort()
        await pair.far.until_event("eof")
        assert bytes(pair.far.received) == b"last words"


async def test_answers_written_before_a_close_arrive_although_the_reader_writes_on() -> None:
    async with Pair(near=RecordingSession(keep_open=True)) as pair:
        pair.far.transport.write(b"the answer")
        pair.far.transport.close()
        await pair.far.until_event("lost")
        pair.near.transport.write(b"one more question")
        await pair.near.until_event("lost")
        assert bytes(pair.near.received) == b"the answer"
        assert pair.near.events == ["made", "eof", "lost"]
        assert isinstance(pair.near.loss, ConnectionResetError)


async def test_half_open_end_stays_open_while_it_writes_nothing() -> None:
    async with Pair(near=RecordingSession(keep_open=True)) as pair:
        pair.far.transport.close()
        await pair.far.until_event("lost")
        for _ in range(5):
            await turn()
        assert pair.near.events == ["made", "eof"]
        assert pair.near.transport.get_write_buffer_size() == 0
        pair.near.transport.write(b"x")
        await pair.near.until_event("lost")
        assert isinstance(pair.near.loss, ConnectionResetError)


async def test_paused_reader_learns_of_a_dead_peer_by_writing() -> None:
    async with Pair() as pair:
        pair.near.transport.pause_reading()
        pair.far.transport.close()
        await pair.far.until_event("lost")
        pair.near.transport.write(b"x")
        await pair.near.until_event("lost")
        assert isinstance(pair.near.loss, ConnectionResetError)


async def test_bytes_the_peer_never_read_before_it_closed_are_a_reset() -> None:
    async with Pair(near=RecordingSession(keep_open=True)) as pair:
        pair.near.transport.write(b"unread")
        pair.far.transport.close()
        await pair.near.until_event("lost")
        assert isinstance(pair.near.loss, ConnectionResetError)


async def test_lowering_the_limits_pauses_at_once() -> None:
    async with Pair() as pair:
        pair.near.transport.write(b"x" * 1_000)
        assert "pause" not in pair.near.events
        pair.near.transport.set_write_buffer_limits(high=999, low=500)
        assert "pause" in pair.near.events
        await turn()
        await turn()
        assert pair.near.events == ["made", "pause", "resume"]


async def test_peer_that_read_before_it_saw_the_pause_does_not_leave_the_writer_paused() -> None:
    class ReadInAnotherThread(RecordingSession):
        def pause_writing(self) -> None:
            super().pause_writing()
            far = pair.far.transport
            assert isinstance(far, MemoryEnd)
            far._inbox.clear()
            far.taken += 100_000

    async with Pair(near=ReadInAnotherThread()) as pair:
        pair.near.transport.write(b"x" * 100_000)
        await turn()
        assert pair.near.events == ["made", "pause", "resume"]


async def test_limits_are_checked_and_completed_as_in_asyncio() -> None:
    async with Pair() as pair:
        transport = pair.near.transport
        assert transport.get_write_buffer_limits() == (16_384, 65_536)
        transport.set_write_buffer_limits(low=100)
        assert transport.get_write_buffer_limits() == (100, 400)
        with pytest.raises(ValueError, match="must be >="):
            transport.set_write_buffer_limits(high=1, low=2)


async def test_extra_info_names_both_ends_and_no_socket() -> None:
    async with Pair() as pair:
        near, far = pair.near.transport, pair.far.transport
        assert near.get_extra_info("peername") == "unit"
        assert near.get_extra_info("sockname").startswith("unit#")
        assert far.get_extra_info("sockname") == "unit"
        assert far.get_extra_info("peername") == near.get_extra_info("sockname")
        assert near.get_extra_info("socket") is None
        assert near.get_extra_info("ssl_object", "nothing") == "nothing"


async def test_empty_buffer_is_reported_and_ends_the_connection() -> None:
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, report: reports.append(report))
    async with Pair(far=RecordingSession(buffer_bytes=0)) as pair:
        pair.near.transport.write(b"x")
        await pair.far.until_event("lost")
    assert "empty buffer" in str(reports[0]["exception"])


@pytest.mark.parametrize("name", ["pause_writing", "resume_writing"])
async def test_error_while_pausing_is_reported_and_survived(name: str) -> None:
    class Broken(RecordingSession):
        pass

    def fail(self: RecordingSession) -> None:
        raise ValueError("cannot pause")

    setattr(Broken, name, fail)
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, report: reports.append(report))
    async with Pair(near=Broken()) as pair:
        pair.near.transport.write(b"x" * 100_000)
        await pair.far.until_received(100_000)
        await turn()
        assert not pair.near.transport.is_closing()
    assert [report["message"] for report in reports] == [f"protocol.{name}() failed"]


async def test_unbuffered_protocol_is_refused() -> None:
    async with Pair() as pair:
        with pytest.raises(TypeError, match="buffered protocol"):
            pair.near.transport.set_protocol(asyncio.Protocol())


async def test_failing_session_of_the_server_is_reported_and_ends_the_client() -> None:
    def fail() -> RecordingSession:
        raise ValueError("no session")

    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, report: reports.append(report))
    listener = await TRANSPORT.listen(ADDRESS, fail, ListenOptions())
    _, near = await TRANSPORT.dial(ADDRESS, RecordingSession, DialOptions())
    await near.until_event("lost")
    assert "memory://unit" in reports[0]["message"]
    listener.close()


async def test_connections_above_the_backlog_are_refused() -> None:
    listener = await TRANSPORT.listen(ADDRESS, Sessions(), ListenOptions(backlog=2))
    ends = [await TRANSPORT.dial(ADDRESS, RecordingSession, DialOptions()) for _ in range(2)]
    with pytest.raises(ConnectError, match="temporarily unavailable"):
        await TRANSPORT.dial(ADDRESS, RecordingSession, DialOptions())
    listener.close()
    for _, session in ends:
        await session.until_event("lost")
        assert isinstance(session.loss, ConnectionResetError)


async def test_unknown_name_is_refused() -> None:
    with pytest.raises(ConnectError, match=r"memory://nobody.*Connection refused.*is the server running"):
        await TRANSPORT.dial(Address("memory", path="nobody"), RecordingSession, DialOptions())


async def test_listener_copied_by_a_fork_does_not_answer() -> None:
    listener = await TRANSPORT.listen(ADDRESS, Sessions(), ListenOptions())
    listener.process_id += 1
    with pytest.raises(ConnectError):
        await TRANSPORT.dial(ADDRESS, RecordingSession, DialOptions())
    successor = await TRANSPORT.listen(ADDRESS, Sessions(), ListenOptions())
    listener.close()
    _, session = await TRANSPORT.dial(ADDRESS, RecordingSession, DialOptions())
    session.transport.abort()
    await session.until_event("lost")
    successor.close()


def test_name_is_free_again_once_the_loop_of_its_listener_is_closed() -> None:
    async def listen() -> MemoryListener:
        return await TRANSPORT.listen(ADDRESS, Sessions(), ListenOptions())

    first = asyncio.run(listen())
    second = asyncio.run(listen())
    first.close()
    second.close()


async def test_forgotten_connection_warns() -> None:
    context = contextvars.copy_context()
    loop = asyncio.get_running_loop()
    near, far = MemoryEnd.pair((loop, context.copy(), ("a", "b")), (loop, context.copy(), ("b", "a")))
    near.start(RecordingSession)
    assert "a -> b open" in repr(near)
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        del near, far
        gc.collect()


def test_the_listener_of_a_closed_loop_is_forgotten_without_its_name_being_used_again() -> None:
    async def leave_open(name: str) -> "weakref.ref[MemoryListener]":
        return weakref.ref(
            await TRANSPORT.listen(Address("memory", path=name), RecordingSession, ListenOptions())
        )

    first = asyncio.run(leave_open("left-open"))
    second = asyncio.run(leave_open("left-open-too"))
    gc.collect()
    assert first() is None

    with pytest.raises(ConnectError):
        TRANSPORT.connect(Address("memory", path="left-open-too"), None, DialOptions(silence_seconds=1))
    gc.collect()
    assert second() is None
