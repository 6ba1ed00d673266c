"""From the outcomes of calls to heads, messages and trailers."""

import gzip
import zlib
from collections.abc import Callable

import pytest

import fastrpc
from fastrpc import Admission, CallError, Limits, Memory, Status, current_call
from tests.support.grpc_peer import message, served_grpc
from tests.support.raw_methods import Raw
from tests.support.waiting import eventually

ECHO = "/test.v1.Raw/echo"
TEXT = b"text " * 2_000
PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}
UNPACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.decompress, "deflate": zlib.decompress}


@fastrpc.service("test.v1.Own")
class Own:
    @fastrpc.method(codec="raw")
    async def early(self, data: bytes) -> bytes:
        call = current_call()
        call.reply_metadata["first"] = "1"
        await call.send_metadata()
        call.reply_metadata = {"last": "2"}
        return data

    @fastrpc.method(codec="raw")
    async def end(self, data: bytes) -> bytes:
        text = data.decode()
        raise CallError(Status.ABORTED, text * 3_000, details=text * 5_000)


class TestHeads:
    async def test_a_head_may_leave_before_a_unary_answer(self) -> None:
        async with served_grpc(Own()) as link:
            answer = await link.call("/test.v1.Own/early", b"x")
            assert (answer.head["first"], answer.messages) == ("1", [b"x"])
            assert answer.trailers == {"grpc-status": "0", "last": "2"}

    async def test_an_error_without_a_head_is_one_block(self) -> None:
        async with served_grpc(Raw()) as link:
            answer = await link.call("/test.v1.Raw/fail", b"x")
            assert (answer.trailers, answer.head[":status"], answer.status) == (None, "200", Status.NOT_FOUND)
            assert (answer.head["hint"], answer.head["content-type"]) == ("other", "application/grpc")
            assert "frpc-outcome" not in answer.head

    async def test_long_texts_are_cut_and_long_details_left_out(self) -> None:
        async with served_grpc(Own()) as link:
            answer = await link.call("/test.v1.Own/end", b"long")
            assert answer.status == Status.ABORTED
            assert 1_000 < len(answer.text) <= 4_096
            # `h2` takes 64 KiB of fields.
            assert len(answer.end["grpc-status-details-bin"]) > 20_000
            link.h2.update_settings({6: 8_192})
            await link.talk()
            answer = await link.call("/test.v1.Own/end", b"long")
            assert (answer.status, "grpc-status-details-bin" in answer.end) == (Status.ABORTED, False)


class TestCompression:
    @pytest.mark.parametrize("name", PACK)
    async def test_an_answer_is_compressed_as_its_request(self, name: str) -> None:
        async with served_grpc(Raw()) as link:
            fields = [("grpc-encoding", name), ("grpc-accept-encoding", f"identity, {name}")]
            stream = link.open(ECHO, fields)
            link.send(stream, message(PACK[name](TEXT), flags=1), ends=True)
            answer = await link.end(stream)
            assert (answer.head["grpc-encoding"], answer.data[0]) == (name, 1)
            assert UNPACK[name](answer.messages[0]) == TEXT

    async def test_plain_messages_may_come_despite_an_encoding(self) -> None:
        async with served_grpc(Raw()) as link:
            fields = [("grpc-encoding", "gzip"), ("grpc-accept-encoding", "gzip")]
            answer = await link.call(ECHO, TEXT, fields)
            assert (answer.data[0], answer.messages) == (0, [TEXT])

    @pytest.mark.parametrize("name", PACK)
    async def test_messages_of_streams_are_compressed_one_by_one(self, name: str) -> None:
        async with served_grpc(Raw()) as link:
            fields = [("grpc-encoding", name), ("grpc-accept-encoding", name)]
            stream = link.open("/test.v1.Raw/both", fields)
            link.send(
                stream, message(PACK[name](TEXT), flags=1) + message(b"short") + message(TEXT), ends=True
            )
            answer = await link.end(stream)
            assert answer.head["grpc-encoding"] == name
            packed, short, other = answer.messages
            assert (UNPACK[name](packed), short, UNPACK[name](other)) == (TEXT, b"short", TEXT)

    async def test_a_compressed_message_without_an_encoding_is_internal(self) -> None:
        async with served_grpc(Raw()) as link:
            stream = link.open(ECHO)
            link.send(stream, message(gzip.compress(TEXT), flags=1), ends=True)
            assert (await link.end(stream)).status == Status.INTERNAL

    async def test_a_bomb_is_refused_at_the_limit(self) -> None:
        async with served_grpc(Raw(), limits=Limits(message_bytes=100_000)) as link:
            for path in (ECHO, "/test.v1.Raw/total"):
                stream = link.open(path, [("grpc-encoding", "gzip")])
                link.send(stream, message(gzip.compress(bytes(1_000_000)), flags=1), ends=True)
                assert (await link.end(stream)).status == Status.RESOURCE_EXHAUSTED
            assert (await link.call(ECHO, b"x")).messages == [b"x"]


class TestWindows:
    async def test_a_deadline_inside_a_message_resets_its_stream(self) -> None:
        raw = Raw()
        async with served_grpc(raw, takes=False) as link:
            stream = link.request("/test.v1.Raw/large", b"100000", [("grpc-timeout", "300m")])
            answer = link.answers[stream]
            await link.talk()
            assert (answer.is_over, len(answer.data)) == (False, 65_535)
            assert ((await link.end(stream)).reset, answer.trailers) == (8, None)

    async def test_an_unread_message_delays_no_long_answer_of_another_call(self) -> None:
        async with served_grpc(Raw(), takes=False) as link:
            link.h2.increment_flow_control_window(20_000_000)
            # More than `Memory.send_soft`.
            unread = link.request("/test.v1.Raw/large", b"6000000")
            await link.talk()
            assert len(link.answers[unread].data) == 65_535
            stream = link.open(ECHO)
            link.h2.increment_flow_control_window(4_000_000, stream)
            await link.pour(stream, message(bytes(3_000_000)))
            assert (await link.end(stream)).messages == [bytes(3_000_000)]
            assert len(link.answers[unread].data) == 65_535

    async def test_unread_messages_above_the_memory_of_a_connection_delay_calls(self) -> None:
        raw = Raw()
        memory, limits = Memory(send_soft=100_000, send_hard=100_000), Limits(message_bytes=300_000)
        async with served_grpc(
            raw, takes=False, memory=memory, limits=limits, admission=Admission(queue_age=30)
        ) as link:
            link.h2.increment_flow_control_window(20_000_000)
            unread, calls = [], []
            for _ in range(2):
                unread.append(link.request("/test.v1.Raw/large", b"280000"))
                await link.talk()
                calls.append(link.request(ECHO, b"x"))
                await link.talk()
            assert (raw.started, link.answers[calls[1]].is_over) == (1, False)
            # All of its messages.
            link.h2.increment_flow_control_window(3_000_000, unread[0])
            assert (await link.end(calls[1])).messages == [b"x"]

    async def test_an_answer_that_waits_for_its_window_counts_until_it_left(self) -> None:
        async with served_grpc(Raw(), takes=False) as link:
            link.h2.increment_flow_control_window(10_000_000)
            stream = link.request("/test.v1.Raw/large", b"10")
            await link.end(stream)
            served = link.engine.connection
            before = served.held_bytes
            stream = link.open(ECHO)
            data = message(bytes(1_000_000))
            while data:
                await link.talk()
                size = link.h2.local_flow_control_window(stream)
                link.send(stream, data[:size], ends=size >= len(data))
                data = data[size:]
            await link.talk()
            assert served.held_bytes >= before + 900_000
            link.h2.increment_flow_control_window(10_000_000, stream)
            assert (await link.end(stream)).messages == [bytes(1_000_000)]
            link.look(5)
            await eventually(lambda: served.held_bytes < before + 100_000)
