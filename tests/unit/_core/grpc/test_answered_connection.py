"""Answers on a connection: their messages, limits, the end of a stream by either side."""

import asyncio
import struct

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from fastrpc import CallError, DeadlineExceededError, DecodeError, Status, UnavailableError
from fastrpc.compressors.base import compressor_named
from fastrpc.config import ClientConfig, Limits, Memory
from tests.support.grpc_link import HEAD, OK, GrpcLink, Head, Reset, error_of, message


class TestMessages:
    @pytest.mark.parametrize(
        ("messages", "status", "text"),
        [
            ((), Status.UNIMPLEMENTED, "no message where one belongs"),
            ((message(b"a") + message(b"b"),), Status.UNIMPLEMENTED, "two messages"),
            ((message(b"a"), message(b"b")), Status.UNIMPLEMENTED, "two messages"),
            ((message(b"hello")[:-1],), Status.INTERNAL, "ends inside a message"),
            ((b"\0\0",), Status.INTERNAL, "ends inside a message"),
            ((b"\x02" + message(b"hello")[1:],), Status.INTERNAL, "flags"),
            ((message(b"a", is_compressed=True),), Status.INTERNAL, "names no compressor"),
            ((struct.pack(">BI", 0, 100_001),), Status.RESOURCE_EXHAUSTED, "has 100001 bytes"),
        ],
    )
    async def test_an_answer_of_other_messages_is_an_error(
        self, messages: tuple[bytes, ...], status: Status, text: str
    ) -> None:
        link = GrpcLink(ClientConfig(wire_protocol="grpc", limits=Limits(message_bytes=100_000)))
        call = await link.call()
        await link.heard(Head)
        link.answer(1, *messages)
        error = await error_of(call)
        assert error.status == status
        assert text in error.message
        assert error.processed == "yes"

    async def test_long_answers_share_the_pool_and_one_always_comes(self) -> None:
        memory, limits = Memory(stream_pool=1_000_000), Limits(message_bytes=800_000)
        link = GrpcLink(ClientConfig(wire_protocol="grpc", memory=memory, limits=limits))
        assert link.engine.http2.stream_pool_left == 1_300_000
        calls = [await link.call() for _ in range(4)]
        await link.heard(Head)
        long = message(bytes(700_000))

        async def windows() -> list[int]:
            await link.heard(Head)
            return [link.server.local_flow_control_window(stream) for stream in (1, 3, 5, 7)]

        for stream in (1, 3, 5, 7):
            link.answer(stream, long[:60_000], trailers=None)
        # The pool has room for two, the third needs none, the last one waits.
        rest = len(long) - 60_000
        assert await windows() == [rest, rest, rest, 5_536]
        assert link.engine.http2.stream_pool_left < 0
        for stream in (1, 3, 5, 7):
            for at in range(60_000, len(long), 200_000):
                link.server.send_data(stream, long[at : at + 200_000])
            link.server.send_headers(stream, OK, end_stream=True)
            link.exchange()
            # The bytes of the third are returned first.
            assert (await windows())[-1] == {1: 5_536, 3: rest, 5: rest, 7: 0}[stream]
        assert [len(await call) for call in calls] == [700_000] * 4
        assert link.engine.http2.stream_pool_left == 1_300_000

    async def test_long_answers_that_wait_for_the_pool_come_in_their_order(self) -> None:
        memory, limits = Memory(stream_pool=1_000_000), Limits(message_bytes=800_000)
        link = GrpcLink(ClientConfig(wire_protocol="grpc", memory=memory, limits=limits))
        calls = [await link.call() for _ in range(12)]
        await link.heard(Head)
        streams = range(1, 24, 2)
        for stream in streams:
            link.answer(stream, message(bytes(700_000))[:60_000], trailers=None)
        for number, call in enumerate(calls):
            await link.heard(Head)
            left = streams[number:]
            wider = [one for one in left if link.server.local_flow_control_window(one) > 6_000]
            assert len(wider) >= min(2, len(left))
            assert wider == list(left[: len(wider)])
            call.cancel()
            await link.heard(Reset)

    async def test_a_short_answer_waits_behind_a_longer_one(self) -> None:
        memory, limits = Memory(stream_pool=1_000_000), Limits(message_bytes=800_000)
        link = GrpcLink(ClientConfig(wire_protocol="grpc", memory=memory, limits=limits))
        calls = [await link.call() for _ in range(5)]
        await link.heard(Head)
        for stream, size in ((1, 700_000), (3, 700_000), (5, 700_000), (7, 700_000), (9, 75_000)):
            link.answer(stream, message(bytes(size))[:60_000], trailers=None)
        await link.heard(Head)
        assert [link.server.local_flow_control_window(stream) for stream in (7, 9)] == [5_536, 5_536]
        calls[0].cancel()
        await link.heard(Reset)
        # Its bytes would suffice for the short one.
        assert [link.server.local_flow_control_window(stream) for stream in (7, 9)] == [5_536, 5_536]
        calls[1].cancel()
        await link.heard(Reset)
        assert [link.server.local_flow_control_window(stream) for stream in (7, 9)] == [640_005, 15_005]
        for call in calls[2:]:
            call.cancel()

    async def test_a_part_of_a_frame_takes_nothing_more_from_the_pool(self) -> None:
        link = GrpcLink(ClientConfig(wire_protocol="grpc", limits=Limits(message_bytes=800_000)))
        call = await link.call()
        await link.heard(Head)
        long = message(bytes(700_000))
        link.answer(1, long[:60_000], trailers=None)
        await link.heard(Head)
        left = link.engine.http2.stream_pool_left
        link.server.send_data(1, long[60_000:260_000])
        frame = link.server.data_to_send()
        link.receive(frame[:50_000])
        assert link.engine.http2.stream_pool_left == left
        link.receive(frame[50_000:])
        for at in range(260_000, len(long), 200_000):
            link.server.send_data(1, long[at : at + 200_000])
        link.server.send_headers(1, OK, end_stream=True)
        link.exchange()
        assert len(await call) == 700_000

    async def test_a_call_may_be_cancelled_while_its_answer_is_received_in_place(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        link = GrpcLink(settings={SettingCodes.MAX_CONCURRENT_STREAMS: 4_000})
        call, other = await link.call(), await link.call()
        await link.heard(Head)
        long = message(bytes(60_000))
        link.answer(1, long[:20_000], trailers=None)
        many = [await link.call() for _ in range(3_000)]
        # The rest comes in a single DATA frame.
        frame = (len(long) - 20_000).to_bytes(3, "big") + bytes((0, 0, 0, 0, 0, 1)) + long[20_000:]
        link.receive(frame[:20_000])
        place = link.stream.get_buffer(65_536)
        assert len(place) == len(frame) - 20_000
        place[:] = frame[20_000:]
        # The server would treat a reset of each stream as a flood, so the last ones are not reset.
        for cancelled in (*many, call):
            cancelled.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert call.cancelled()
        assert bytes((0, 0, 4, 3, 0, 0, 0, 0, 1)) not in link.transport.written
        link.stream.buffer_updated(len(place))
        link.answer(3, message(b"abc"))
        assert await other == b"abc"
        assert not caplog.records

    async def test_an_unknown_compressor_is_internal(self) -> None:
        link = GrpcLink()
        call = await link.call()
        await link.heard(Head)
        link.answer(
            1, message(b"a", is_compressed=True), head=[*HEAD, ("grpc-encoding", "snappy")], trailers=None
        )
        error = await error_of(call)
        assert (error.status, "snappy" in error.message) == (Status.INTERNAL, True)
        [reset] = await link.heard(Reset)
        assert reset.error_code == ErrorCodes.CANCEL

    @pytest.mark.parametrize("name", ["gzip", "deflate"])
    async def test_each_message_has_a_flag_for_compression(self, name: str) -> None:
        link = GrpcLink()
        first, second = await link.call(), await link.call()
        await link.heard(Head)
        head = [*HEAD, ("grpc-encoding", name)]
        packed = compressor_named(name).compress(b"a" * 100)
        link.answer(1, message(packed, is_compressed=True), head=head)
        link.answer(3, message(b"plain"), head=head)
        assert (await first, await second) == (b"a" * 100, b"plain")

    async def test_a_bomb_is_refused(self) -> None:
        link = GrpcLink(ClientConfig(wire_protocol="grpc", limits=Limits(message_bytes=100_000)))
        call = await link.call()
        await link.heard(Head)
        packed = compressor_named("gzip").compress(bytes(10_000_000))
        link.answer(1, message(packed, is_compressed=True), head=[*HEAD, ("grpc-encoding", "gzip")])
        error = await error_of(call)
        assert isinstance(error, DecodeError)
        assert error.status == Status.RESOURCE_EXHAUSTED

    async def test_too_much_metadata_is_an_error_of_the_call(self) -> None:
        link = GrpcLink(ClientConfig(wire_protocol="grpc", limits=Limits(metadata_bytes=1_024)))
        first, second, third = await link.call(), await link.call(), await link.call()
        await link.heard(Head)
        much = ("x-much", "x" * 2_000)
        link.answer(1, head=[*HEAD, much], trailers=None)
        link.answer(3, message(b"y"), trailers=[*OK, much])
        for call in (first, second):
            error = await error_of(call)
            assert error.status == Status.RESOURCE_EXHAUSTED
            assert "over our 1024 bytes" in error.message
        link.answer(5, message(b"y"))
        assert await third == b"y"

    async def test_equal_heads_and_trailers_are_read_once(self) -> None:
        link = GrpcLink()
        for number in range(5):
            call = await link.call()
            await link.heard(Head)
            link.answer(2 * number + 1, message(b"%d" % number))
            assert await call == b"%d" % number


class TestStreams:
    async def test_a_server_that_ends_early_ends_the_call(self) -> None:
        """It sends trailers, then RST_STREAM with NO_ERROR."""
        link = GrpcLink(settings={SettingCodes.INITIAL_WINDOW_SIZE: 10})
        call = await link.call(b"a" * 100)
        await link.heard(Head)
        link.server.send_headers(
            1, [*HEAD, ("grpc-status", "8"), ("grpc-message", "enough")], end_stream=True
        )
        link.server.reset_stream(1, ErrorCodes.NO_ERROR)
        link.send_out()
        error = await error_of(call)
        assert (error.status, error.message) == (Status.RESOURCE_EXHAUSTED, "enough")
        assert link.engine.calls_in_flight == 0


class TestResets:
    @pytest.mark.parametrize(
        ("code", "kind", "status", "processed"),
        [
            (ErrorCodes.REFUSED_STREAM, UnavailableError, Status.UNAVAILABLE, "no"),
            (ErrorCodes.CANCEL, CallError, Status.CANCELLED, "unknown"),
            (ErrorCodes.ENHANCE_YOUR_CALM, CallError, Status.RESOURCE_EXHAUSTED, "unknown"),
            (ErrorCodes.INTERNAL_ERROR, CallError, Status.INTERNAL, "unknown"),
            (ErrorCodes.NO_ERROR, CallError, Status.INTERNAL, "unknown"),
        ],
    )
    async def test_a_reset_stream_has_a_status(
        self, code: ErrorCodes, kind: type[Exception], status: Status, processed: str
    ) -> None:
        link = GrpcLink()
        call = await link.call()
        await link.heard(Head)
        link.server.reset_stream(1, code)
        link.send_out()
        error = await error_of(call)
        assert type(error) is kind
        assert (error.status, error.processed) == (status, processed)

    async def test_a_stream_refused_after_its_head_may_have_run(self) -> None:
        link = GrpcLink()
        call = await link.call()
        await link.heard(Head)
        link.server.send_headers(1, HEAD)
        link.server.reset_stream(1, ErrorCodes.REFUSED_STREAM)
        link.send_out()
        assert (await error_of(call)).processed == "unknown"

    async def test_a_cancel_just_before_the_deadline_is_the_deadline(self) -> None:
        link = GrpcLink()
        call = await link.call(b"", link.view(timeout=0.001))
        await link.heard(Head)
        link.server.reset_stream(1, ErrorCodes.CANCEL)
        link.send_out()
        assert isinstance(await error_of(call), DeadlineExceededError)

    async def test_a_call_that_is_abandoned_is_reset(self) -> None:
        link = GrpcLink()
        call = await link.call()
        await link.heard(Head)
        call.cancel()
        [reset] = await link.heard(Reset)
        assert (reset.stream_id, reset.error_code) == (1, ErrorCodes.CANCEL)
        assert link.engine.calls_in_flight == 0
        # Its answer may be under way.
        link.receive(b"\0\0\x02\0\x01\0\0\0\x01ab")
        assert not link.engine.is_closed

    async def test_a_deadline_resets_the_stream(self) -> None:
        link = GrpcLink()
        call = await link.call(b"", link.view(timeout=0.02))
        await link.heard(Head)
        error = await error_of(call)
        assert isinstance(error, DeadlineExceededError)
        assert error.processed == "unknown"
        [reset] = await link.heard(Reset)
        assert reset.error_code == ErrorCodes.CANCEL

    async def test_a_broken_rule_of_a_stream_ends_its_call_alone(self) -> None:
        link = GrpcLink()
        first, second = await link.call(), await link.call()
        await link.heard(Head)
        link.answer(
            1, head=[(":status", "200"), ("content-type", "application/grpc"), ("content-length", "1")]
        )
        error = await error_of(first)
        assert error.status == Status.INTERNAL
        assert "broke the protocol" in error.message
        link.answer(3, message(b"y"))
        assert await second == b"y"
