"""Streams by HTTP: lines of JSON, and server-sent events."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

import fastrpc
from fastrpc import Server, ServerConfig
from tests.support.http_shop import Shop
from tests.support.http_talk import HttpClient, request, soon
from tests.support.waiting import eventually

LINES = "application/x-ndjson"
EVENTS = "text/event-stream"


@contextlib.asynccontextmanager
async def serving(*services: Any, **options: Any) -> AsyncIterator[HttpClient]:
    config = ServerConfig(protocols=("native", "http"), **options)
    async with Server(*(services or (Shop(),)), config=config) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            yield client


def chunked(path: str, *lines: Any, is_whole: bool = True, **fields: str | None) -> bytes:
    """Return a request whose body is lines, each in a chunk."""
    given: dict[str, str | None] = {
        "Content_Type": LINES,
        "Content_Length": None,
        "Transfer_Encoding": "chunked",
    }
    head = request("POST", path, b"", **(given | fields))
    return head + b"".join(chunk(line) for line in lines) + (b"0\r\n\r\n" if is_whole else b"")


def chunk(line: Any) -> bytes:
    data = line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


def events(body: bytes) -> list[tuple[str, Any]]:
    found = []
    for block in body.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if fields:
            found.append((fields.get("event", "message"), json.loads(fields["data"])))
    return found


@pytest.mark.parametrize("path", ["count", "count_in_thread"])
@pytest.mark.parametrize("accept", [LINES, None, "*/*", "application/json", "text/html, */*;q=0.8"])
async def test_a_stream_is_answered_in_lines(path: str, accept: str | None) -> None:
    async with serving() as client:
        answer = await client.post(f"/shop.v1/{path}", {"to": 3}, Accept=accept)
        assert (answer.status, answer["content-type"]) == (200, LINES)
        assert answer.lines == [{"value": 0}, {"value": 1}, {"value": 2}, {"end": {"metadata": {}}}]
        assert (await client.post("/shop.v1/echo", {"text": "a"})).value == "a"


async def test_a_stream_is_answered_in_events() -> None:
    async with serving() as client:
        answer = await client.post("/shop.v1/count", {"to": 2}, Accept=EVENTS)
        assert answer["content-type"] == EVENTS
        assert answer["cache-control"] == "no-store"
        assert events(answer.body) == [("message", 0), ("message", 1), ("end", {"metadata": {}})]


async def test_an_empty_stream_has_its_end() -> None:
    async with serving() as client:
        assert (await client.post("/shop.v1/count", {"to": 0})).lines == [{"end": {"metadata": {}}}]


async def test_an_error_after_messages_is_the_last_line() -> None:
    async with serving() as client:
        answer = await client.post("/shop.v1/count", {"to": 5, "fail_at": 2})
        assert [*answer.lines[0], *answer.lines[1], *answer.lines[2]] == ["value", "value", "error"]
        problem = answer.lines[2]["error"]
        assert (problem["code"], problem["status"], problem["detail"]) == ("ABORTED", 409, "enough")
        answer = await client.post("/shop.v1/count", {"to": 5, "fail_at": 1}, Accept=EVENTS)
        assert [kind for kind, _ in events(answer.body)] == ["message", "error"]


async def test_an_error_before_the_first_message_has_its_status() -> None:
    async with serving() as client:
        for accept in (LINES, EVENTS):
            answer = await client.post("/shop.v1/count", {"to": 5, "fail_at": 0}, Accept=accept)
            assert (answer.status, answer["content-type"]) == (409, "application/problem+json")
            answer = await client.post("/shop.v1/count", {"to": "x"}, Accept=accept)
            assert answer.status == 400


@pytest.mark.parametrize("accept", ["application/msgpack", "text/html", "image/png"])
async def test_a_form_that_streams_have_not_is_refused(accept: str) -> None:
    async with serving() as client:
        assert (await client.post("/shop.v1/count", {"to": 1}, Accept=accept)).status == 406


async def test_metadata_is_sent_before_and_after_messages() -> None:
    @fastrpc.service("meta")
    class Meta:
        @fastrpc.method
        async def both(self) -> AsyncIterator[int]:
            call = fastrpc.current_call()
            call.reply_metadata["first"] = "1"
            yield 1
            call.reply_metadata["last"] = "2"

    async with serving(Meta()) as client:
        answer = await client.post("/meta/both", {})
        assert answer["meta-first"] == "1"
        assert answer.lines[-1] == {"end": {"metadata": {"last": "2"}}}


async def test_an_old_client_gets_a_stream_to_the_end_of_the_connection() -> None:
    async with serving() as client:
        client.send(request("POST", "/shop.v1/count", {"to": 2}, version="1.0"))
        answer = await client.response()
        assert "transfer-encoding" not in answer
        assert len(answer.lines) == 3


async def test_messages_are_sent_as_soon_as_they_come() -> None:
    @fastrpc.service("slow")
    class Slow:
        def __init__(self) -> None:
            self.go = asyncio.Event()

        @fastrpc.method
        async def two(self) -> AsyncIterator[int]:
            yield 1
            await self.go.wait()
            yield 2

    slow = Slow()
    async with serving(slow) as client:
        client.send(request("POST", "/slow/two", {}))
        await client.head()
        assert await client.chunk() == b'{"value":1}\n'
        slow.go.set()
        assert await client.chunk() == b'{"value":2}\n'


@pytest.mark.parametrize("ending", ["close", "abort"])
async def test_the_end_of_a_reader_ends_its_stream(ending: str) -> None:
    @fastrpc.service("endless")
    class Endless:
        def __init__(self) -> None:
            self.ended = asyncio.Event()

        @fastrpc.method
        async def numbers(self, *, pause: float) -> AsyncIterator[int]:
            try:
                while True:
                    yield 1
                    await asyncio.sleep(pause)
            finally:
                self.ended.set()

    service = Endless()
    async with serving(service) as client:
        client.send(request("POST", "/endless/numbers", {"pause": 0.001}))
        await client.head()
        if ending == "close":
            client.writer.close()
        else:
            client.writer.transport.abort()
        await soon(service.ended)


async def test_a_slow_reader_holds_its_stream_back() -> None:
    @fastrpc.service("big")
    class Big:
        def __init__(self) -> None:
            self.sent = 0

        @fastrpc.method
        async def blocks(self, count: int) -> AsyncIterator[str]:
            for _ in range(count):
                self.sent += 1
                yield "x" * 100_000

    big = Big()
    count = 600
    async with serving(big) as client:
        client.send(request("POST", "/big/blocks", {"count": count}))
        await client.head()
        before = -1
        while before != big.sent:
            before = big.sent
            for _ in range(2_000):
                await asyncio.sleep(0)
        assert big.sent < count // 2
        seen = 0
        while (await client.chunk()) != b"":
            seen += 1
        assert seen == count + 1


@pytest.mark.parametrize("start", [None, 5])
async def test_a_stream_of_the_caller_comes_in_lines(start: int | None) -> None:
    async with serving() as client:
        first = [] if start is None else [{"arguments": {"start": start}}]
        client.send(chunked("/shop.v1/total", *first, {"value": 1}, {"value": 2}))
        assert (await client.response()).value == 3 + (start or 0)
        client.send(chunked("/shop.v1/total", *first, {"value": 1}, {"end": True}))
        assert (await client.response()).value == 1 + (start or 0)
        client.send(chunked("/shop.v1/total"))
        assert (await client.response()).value == 0


async def test_lines_may_come_with_a_length_or_cut_anywhere() -> None:
    async with serving() as client:
        body = b'{"value": 1}\n\n{"value": 2}\r\n{"value":3}'
        answer = await client.post("/shop.v1/total", body, Content_Type=LINES)
        assert answer.value == 6
        for size in (1, 2, 7):
            pieces = [body[at : at + size] for at in range(0, len(body), size)]
            client.send(chunked("/shop.v1/total", *pieces))
            assert (await client.response()).value == 6


@pytest.mark.parametrize(
    "lines",
    [
        [b"nonsense\n"],
        [b"1\n"],
        [b"[]\n"],
        [{"other": 1}],
        [{"value": 1, "end": True}],
        [b'{"value": {"a": 1, "a": 2}}\n'],
        [{"value": "text"}],
        [{"value": 1}, {"arguments": {}}],
        [{"value": 1}, {"end": False}],
        [{"end": True}, {"value": 1}],
        [{"arguments": {"none": 1}}],
        [{"arguments": [1]}],
    ],
)
async def test_lines_that_are_no_messages_are_refused(lines: list[Any]) -> None:
    async with serving() as client:
        client.send(chunked("/shop.v1/total", *lines))
        answer = await client.response()
        assert answer.status == 400 or lines == [{"end": True}, {"value": 1}]


async def test_both_directions_stream_at_once() -> None:
    async with serving() as client:
        client.send(chunked("/shop.v1/double", {"value": 1}, is_whole=False))
        await client.head()
        assert await client.chunk() == b'{"value":2}\n'
        client.send(chunk({"value": 5}))
        assert await client.chunk() == b'{"value":10}\n'
        client.send(b"0\r\n\r\n")
        assert json.loads(await client.chunk()) == {"end": {"metadata": {}}}
        assert await client.chunk() == b""
        assert (await client.post("/shop.v1/echo", {"text": "a"})).value == "a"


async def test_an_early_answer_closes_a_connection_with_unread_bytes() -> None:
    @fastrpc.service("early")
    class Early:
        @fastrpc.method
        async def first(self, numbers: AsyncIterator[int]) -> int:
            async for number in numbers:
                return number
            return -1

    async with serving(Early()) as client:
        client.send(chunked("/early/first", {"value": 7}, is_whole=False))
        answer = await client.response()
        assert (answer.value, answer["connection"]) == (7, "close")
        assert await client.is_closed()


async def test_a_caller_that_sends_faster_than_its_handler_reads_is_held_back() -> None:
    @fastrpc.service("sink")
    class Sink:
        def __init__(self) -> None:
            self.go = asyncio.Event()

        @fastrpc.method
        async def size(self, blocks: AsyncIterator[str]) -> int:
            await self.go.wait()
            total = 0
            async for block in blocks:
                total += len(block)
            return total

    sink = Sink()
    config = ServerConfig(protocols=("http",))
    async with Server(sink, config=config) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            client.send(chunked("/sink/size", is_whole=False))
            line = {"value": "x" * 10_000}
            for _ in range(3_000):
                client.send(chunk(line))
            for _ in range(3_000):
                await asyncio.sleep(0)
            (session,) = server._gate.engines
            assert session.connection.held_bytes < 1_000_000
            sink.go.set()
            client.send(b"0\r\n\r\n")
            assert (await client.response()).value == 30_000_000


async def test_messages_beyond_the_window_follow_each_other() -> None:
    @fastrpc.service("sink")
    class Sink:
        @fastrpc.method
        async def size(self, blocks: AsyncIterator[str]) -> int:
            return sum([len(block) async for block in blocks])

    async with serving(Sink()) as client:
        client.send(chunked("/sink/size", *[{"value": "x" * 400_000}] * 3))
        assert (await client.response()).value == 1_200_000


async def test_messages_of_a_few_bytes_count_their_overhead() -> None:
    """Otherwise a window that holds 64 KiB of a peer's bytes would hold some megabytes of objects."""
    go = asyncio.Event()

    @fastrpc.service("sink")
    class Sink:
        @fastrpc.method
        async def total(self, numbers: AsyncIterator[int]) -> int:
            await go.wait()
            return sum([number async for number in numbers])

    async with Server(Sink(), config=ServerConfig(protocols=("http",))) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            client.send(chunked("/sink/total", *[{"value": 1}] * 500, is_whole=False))
            await eventually(lambda: server._gate.engines)
            (session,) = server._gate.engines
            await eventually(lambda: session.connection.held_bytes >= 500 * 64)
            go.set()
            client.send(b"0\r\n\r\n")
            assert (await client.response()).value == 500
            await eventually(lambda: session.connection.held_bytes == 0)


async def test_a_malformed_chunk_cancels_the_call() -> None:
    @fastrpc.service("reader")
    class Reader:
        def __init__(self) -> None:
            self.ended = asyncio.Event()
            self.started = asyncio.Event()

        @fastrpc.method
        async def read(self, numbers: AsyncIterator[int]) -> int:
            self.started.set()
            try:
                return sum([number async for number in numbers])
            except BaseException:
                self.ended.set()
                raise

    reader = Reader()
    async with serving(reader) as client:
        client.send(chunked("/reader/read", {"value": 1}, is_whole=False))
        await soon(reader.started)
        client.send(b"nonsense\r\n")
        answer = await client.response()
        assert answer.status == 400
        assert await client.is_closed()
        await soon(reader.ended)


async def test_a_stream_needs_its_type() -> None:
    async with serving() as client:
        assert (await client.post("/shop.v1/total", {"start": 1})).status == 415
        assert (await client.post("/shop.v1/echo", b"{}", Content_Type=LINES)).status == 415


@fastrpc.service("encoded")
class Encoded:
    @fastrpc.method
    async def one(self) -> msgspec.Raw:
        return msgspec.Raw(b'{\n"a": null}')

    @fastrpc.method
    async def parts(self) -> AsyncIterator[msgspec.Raw]:
        yield msgspec.Raw(b'{\r\n"a":\n\n1}')


async def test_a_value_that_was_encoded_elsewhere_stays_on_its_line() -> None:
    async with serving(Encoded()) as client:
        assert (await client.post("/encoded/one", {})).value == {"a": None}
        assert (await client.post("/encoded/parts", {})).lines[0] == {"value": {"a": 1}}
        answer = await client.post("/encoded/parts", {}, Accept=EVENTS)
        assert events(answer.body)[0] == ("message", {"a": 1})
