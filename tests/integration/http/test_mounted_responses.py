"""Responses of mounted applications: each event of ASGI 3.0 that they send, and the errors of those that misuse it."""

import asyncio
from typing import Any

import pytest

from tests.support.http_talk import WAIT_SECONDS, request
from tests.support.mounted import Event, Sending, answering, mounted, part, start

pytestmark = pytest.mark.one_loop


async def test_response_in_one_part_states_its_length() -> None:
    app = Sending(start(201, content_type="text/plain", X_Own="a  b"), part(b"hello"))
    async with mounted(app) as client:
        answer = await client.get("/")
        assert (answer.status, answer["x-own"], answer["content-length"]) == (201, "a  b", "5")
        assert (answer.body, "date" in answer) == (b"hello", True)
        # Nothing of the gateway is added.
        assert "x-content-type-options" not in answer
        assert (await client.get("/")).body == b"hello"


async def test_response_in_parts_is_chunked_or_as_long_as_stated() -> None:
    parts = (part(b"ab", more=True), part(b"", more=True), part(b"cde", more=True), part())
    async with mounted(
        {"/chunks": Sending(start(), *parts), "/sized": Sending(start(content_length="5"), *parts)}
    ) as client:
        chunked = await client.get("/chunks")
        assert (chunked.chunks, "content-length" in chunked) == ([b"ab", b"cde"], False)
        sized = await client.get("/sized")
        assert (sized.body, sized["content-length"], "transfer-encoding" in sized) == (b"abcde", "5", False)
        assert (await client.get("/chunks")).body == b"abcde"


async def test_first_part_leaves_before_the_next_one_is_made() -> None:
    goes_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", scope["type"]
        await send(start())
        await send(part(b"first", more=True))
        await goes_on.wait()
        await send(part(b"last"))

    async with mounted(app) as client:
        client.send(request("GET", "/"))
        await client.head()
        assert await client.chunk() == b"first"
        goes_on.set()
        assert await client.chunk() == b"last"
        assert await client.chunk() == b""


async def test_head_has_the_length_of_the_body_that_it_leaves_out() -> None:
    streamed = Sending(start(), part(b"ab", more=True), part(b"c"))
    stated = Sending(start(content_length="77"), part())
    async with mounted({"/whole": answering(b"abc"), "/parts": streamed, "/stated": stated}) as client:
        assert (await client.ask("HEAD", "/whole"))["content-length"] == "3"
        assert "content-length" not in await client.ask("HEAD", "/parts")
        assert (await client.ask("HEAD", "/stated"))["content-length"] == "77"
        assert (await client.get("/whole")).body == b"abc"


@pytest.mark.parametrize("status", [204, 304])
async def test_status_without_a_body_has_none(status: int) -> None:
    apps = {
        "/plain": Sending(start(status), part(b"dropped")),
        "/parts": Sending(start(status), part(b"dropped", more=True), part(b"dropped")),
        "/sized": Sending(start(status, content_length="9"), part()),
    }
    async with mounted(apps) as client:
        for path in apps:
            answer = await client.get(path)
            assert (answer.status, answer.body, "transfer-encoding" in answer) == (status, b"", False)
            assert ("content-length" in answer) == (path == "/sized" and status == 304)


async def test_client_of_http_1_0_gets_parts_until_the_end_of_the_connection() -> None:
    parts = (part(b"ab", more=True), part(b"c"))
    async with mounted(
        {"/sized": Sending(start(content_length="3"), *parts), "/": Sending(start(), *parts)}
    ) as client:
        client.send(request("GET", "/sized", version="1.0", Connection="keep-alive"))
        answer = await client.response()
        assert (answer.body, answer["connection"]) == (b"abc", "keep-alive")
        client.send(request("GET", "/", version="1.0", Connection="keep-alive"))
        answer = await client.response()
        assert (answer.body, answer["connection"]) == (b"abc", "close")


async def test_fields_about_the_connection_are_the_servers_own() -> None:
    app = Sending(
        start(connection="close", Transfer_Encoding="gzip", keep_alive="timeout=5", date="yesterday", x="y"),
        part(b"z"),
    )
    async with mounted(app) as client:
        for _ in range(2):
            answer = await client.get("/")
            names = sorted(name for name, _ in answer.fields)
            assert (names, answer.body) == (["content-length", "date", "x"], b"z")
            assert answer["date"] != "yesterday"


@pytest.mark.parametrize(
    "headers",
    [
        [(b"x", b"a\r\nEvil: 1")],
        [(b"x", b"a\nb")],
        [(b"x", b"a\0b")],
        [(b"x\r\nEvil", b"1")],
        [(b"x y", b"1")],
        [(b"", b"1")],
        [(b"x:", b"1")],
        [(b" ", b"1")],
        [("é".encode(), b"1")],
        [(b"content-length", b"1x")],
        [(b"content-length", b"-1")],
        [(b"content-length", b"1"), (b"content-length", b"2")],
        [("text", "instead of bytes")],
        [7],
        7,
    ],
)
async def test_fields_that_would_break_the_head_are_an_error_with_an_id(headers: Any) -> None:
    app = Sending({"type": "http.response.start", "status": 200, "headers": headers}, part(b"x"))
    async with mounted(app) as client:
        answer = await client.get("/")
        assert (answer.status, "evil" in answer) == (500, False)
        assert "the server's log has the reason under id" in answer.value["detail"]
        assert (await client.get("/stock/count")).value == 0


@pytest.mark.parametrize("status", [0, 101, 199, 1000, "200", None])
async def test_invalid_status_is_an_error(status: Any) -> None:
    async with mounted(Sending({"type": "http.response.start", "status": status}, part())) as client:
        assert (await client.get("/")).status == 500


MISUSES: dict[str, tuple[Event, ...]] = {
    "without a response": (),
    "before the end of its response": (start(),),
    "has sent http.response.start twice": (start(), start()),
    "a body before http.response.start": (part(),),
    "which is no event of a response": ({"type": "http.response.push"},),
    "is shorter than its Content-Length, 5": (start(content_length="5"), part(b"abc")),
    "is longer than its Content-Length, 2": (start(content_length="2"), part(b"abc")),
}


@pytest.mark.parametrize("reason", MISUSES)
async def test_misuse_before_the_head_is_an_error_with_its_reason_in_the_log(
    reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with mounted(Sending(*MISUSES[reason])) as client:
        answer = await client.get("/")
        assert (answer.status, answer.value["code"]) == (500, "INTERNAL")
        identifier = answer.value["detail"].rpartition(" ")[2]
        assert (await client.get("/stock/count")).value == 0
    (record,) = [one for one in caplog.records if getattr(one, "error_id", "") == identifier]
    assert record.exc_info is not None
    assert reason in str(record.exc_info[1])


@pytest.mark.parametrize(
    "events",
    [
        (start(), part(b"ab", more=True)),
        (start(content_length="9"), part(b"ab", more=True)),
        (start(content_length="9"), part(b"ab", more=True), part(b"c")),
        (start(content_length="3"), part(b"ab", more=True), part(b"cd")),
        (start(), part(b"ab", more=True), start()),
        (start(), part(b"ab", more=True), {"type": "http.response.trailers"}),
    ],
)
async def test_misuse_after_the_head_closes_the_connection(events: tuple[Event, ...]) -> None:
    async with mounted(Sending(*events)) as client:
        client.send(request("GET", "/"))
        assert (await client.head()).status == 200
        async with asyncio.timeout(WAIT_SECONDS):
            rest = await client.reader.read()
    # The received bytes are not a whole response.
    assert not rest.endswith(b"0\r\n\r\n")
    assert b"ab" in rest
    assert len(rest) <= len(b"2\r\nab\r\n")


async def test_event_after_the_response_is_refused_and_harms_no_other_request() -> None:
    app = Sending(start(), part(b"one"), part(b"two"))
    async with mounted(app) as client:
        assert (await client.get("/")).body == b"one"
        assert (await client.get("/stock/count")).value == 0
    assert isinstance(app.error, RuntimeError)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
async def test_body_may_be_any_buffer(kind: Any) -> None:
    async with mounted(Sending(start(), part(kind(b"abc")))) as client:
        assert (await client.get("/")).body == b"abc"
