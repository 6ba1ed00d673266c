"""Requests that are understood: their parts, their bodies, several on a connection."""

import asyncio
import itertools
import time

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastrpc._core.exchange.request_head import RequestLimits, RequestRefusedError
from fastrpc._core.http1.body import BodyReader
from fastrpc._core.http1.head import parse_request_head
from tests.support.http_echo import HttpTalk
from tests.support.waiting import eventually

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"

ACCEPTED = {
    "no body": (GET, ("GET", "/x", b"")),
    "length": (b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", ("POST", "/x", b"hello")),
    "length with zeros": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 005\r\n\r\nhello",
        ("POST", "/", b"hello"),
    ),
    "chunks": (
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nhel\r\n2;a\r\nlo\r\n0\r\nX: 1\r\n\r\n",
        ("POST", "/x", b"hello"),
    ),
    "chunk of A bytes": (
        b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n00A\r\n0123456789\r\n0\r\n\r\n",
        ("PUT", "/x", b"0123456789"),
    ),
    "query": (b"GET /x?a=b&c HTTP/1.1\r\nHost: a\r\n\r\n", ("GET", "/x?a=b&c", b"")),
    "absolute target": (b"GET http://A:80/x?y HTTP/1.1\r\nHost: a:80\r\n\r\n", ("GET", "/x?y", b"")),
    "absolute target without a path": (b"GET http://a?y HTTP/1.1\r\nHost: a\r\n\r\n", ("GET", "/?y", b"")),
    "options of the server": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", ("OPTIONS", "*", b"")),
    "version 1.0": (b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", ("GET", "/x", b"")),
    "an empty line before it": (b"\r\n" + GET, ("GET", "/x", b"")),
    "spaces around a value": (b"GET /x HTTP/1.1\r\nHost: \t a \t \r\n\r\n", ("GET", "/x", b"")),
    "an empty value": (b"GET /x HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n", ("GET", "/x", b"")),
    "the last port": (b"GET /x HTTP/1.1\r\nHost: a:65535\r\n\r\n", ("GET", "/x", b"")),
    "the port 0": (b"GET /x HTTP/1.1\r\nHost: a:0\r\n\r\n", ("GET", "/x", b"")),
    "an address of version 6": (b"GET /x HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", ("GET", "/x", b"")),
}


@pytest.mark.parametrize(("data", "expected"), ACCEPTED.values(), ids=ACCEPTED)
@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
async def test_a_request_is_understood_at_any_division(
    data: bytes, expected: tuple[str, str, bytes], size: int
) -> None:
    talk = HttpTalk()
    for at in range(0, len(data), size):
        talk.send(data[at : at + size])
    await talk.until_answered(1)
    assert (talk.engine.seen, talk.statuses, talk.is_over) == ([expected], [200], False)
    talk.send(data)
    await talk.until_answered(2)
    assert talk.engine.seen == [expected] * 2


async def test_pipelined_requests_are_answered_in_order() -> None:
    talk = HttpTalk()
    talk.send(b"".join(data for data, _ in ACCEPTED.values()))
    await talk.until_answered(len(ACCEPTED))
    assert talk.engine.seen == [expected for _, expected in ACCEPTED.values()]


async def test_the_next_request_starts_when_the_one_before_is_answered() -> None:
    talk = HttpTalk(later=True)
    talk.send(GET * 3)
    for number in (1, 2, 3):
        await talk.until_seen(number)
        assert talk.statuses == [200] * (number - 1)
        talk.engine.answer()
    assert not talk.engine.is_answering
    await talk.until_answered(3)
    talk.send(GET)
    await talk.until_seen(4)


async def test_a_client_may_send_64_kib_ahead() -> None:
    """Up to there the stream reads on, so that the end of the client is seen."""
    talk = HttpTalk(later=True)
    talk.send(GET)
    # A whole and a half request.
    talk.send(GET + GET[:10])
    await talk.until_seen(1)
    await eventually(lambda: not talk.is_held_back())
    assert len(talk.engine.seen) == 1
    talk.engine.answer()
    await talk.until_seen(2)
    talk.send(GET[10:])
    talk.engine.answer()
    await talk.until_seen(3)
    count = 65_536 // len(GET)
    talk.send(GET * count)
    await eventually(lambda: not talk.is_held_back())
    talk.send(GET)
    assert talk.is_held_back()
    for number in range(4, 4 + count):
        talk.engine.answer()
        await talk.until_seen(number)
    await eventually(lambda: not talk.is_held_back())
    assert len(talk.engine.seen) == 3 + count


async def test_a_whole_buffer_may_come_ahead() -> None:
    talk = HttpTalk(later=True)
    talk.send(GET)
    with memoryview(talk.session.get_buffer(-1)) as place:
        size = len(place)
        place[:] = (GET * (size // len(GET) + 1))[:size]
    talk.session.buffer_updated(size)
    for number in range(1, 20):
        await talk.until_seen(number)
        talk.engine.answer()
    assert not talk.is_over


async def test_pipelined_requests_give_turns_to_other_connections() -> None:
    """Each takes a millisecond: a thousand in one read must not hold the loop for a second."""
    talk = HttpTalk(milliseconds=1.0)
    talk.send(GET * 1_000)
    seen = [0]
    while len(talk.engine.seen) < 1_000:
        await asyncio.sleep(0)
        seen.append(len(talk.engine.seen))
    # By count, not by time: a turn of 4 ms has four of them, or a few more.
    assert max(after - before for before, after in itertools.pairwise(seen)) <= 10
    await talk.until_answered(1_000)


async def pause(seconds: float) -> None:
    """Let the loop run for a while: the test is about the passing of time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        await asyncio.sleep(0)


DRIPPED = {
    "the size of a chunk": b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a trailer": b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ",
    "content": b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n",
}


@pytest.mark.parametrize("begin", DRIPPED.values(), ids=DRIPPED)
async def test_a_body_cannot_be_dripped(begin: bytes) -> None:
    limits = RequestLimits(body_idle_seconds=0.2)
    talk = HttpTalk(limits, body_bytes=1_000_000)
    talk.send(begin)
    sent = 0
    async with asyncio.timeout(20):
        while not talk.statuses:
            talk.send(b"0")
            sent += 1
            await pause(0.005)
    assert talk.statuses == [408]
    assert 0 < sent < 2_000


@pytest.mark.parametrize(
    ("begin", "is_alone"), [(b"HEAD /x HTTP/1.1\r\nHo", True), (b"GET /x HTTP/1.1\r\nHo", False)]
)
async def test_a_head_that_does_not_come_in_time_is_answered_by_a_head_alone(
    begin: bytes, is_alone: bool
) -> None:
    talk = HttpTalk(RequestLimits(header_seconds=0.05))
    talk.send(begin)
    await talk.until_over()
    assert talk.statuses == [408]
    assert talk.transport.written.endswith(b"\r\n\r\n") == is_alone


async def test_a_body_that_comes_slowly_but_steadily_is_taken() -> None:
    limits = RequestLimits(body_idle_seconds=5)
    talk = HttpTalk(limits, body_bytes=1_000_000)
    talk.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 8000\r\n\r\n")
    for _ in range(80):
        talk.send(b"a" * 100)
        await pause(0.01)
    await talk.until_answered(1)
    assert talk.statuses == [200]


@pytest.mark.parametrize(
    ("request_data", "stays"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, close\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x,\tclose \r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\xa0\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", True),
    ],
)
async def test_a_connection_stays_open_as_the_client_asks(request_data: bytes, stays: bool) -> None:
    talk = HttpTalk()
    talk.send(request_data * 2)
    await (talk.until_answered(2) if stays else talk.until_over())
    assert talk.statuses == ([200, 200] if stays else [200])
    assert talk.is_over is not stays
    assert (b"\r\nConnection: close\r\n" in talk.transport.written) is not stays


async def test_a_head_request_gets_the_head_alone() -> None:
    talk = HttpTalk()
    talk.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    await talk.until_answered(1)
    assert talk.transport.written.endswith(b"\r\nContent-Length: 4\r\n\r\n")


async def test_a_client_that_asks_first_is_told_to_go_on() -> None:
    talk = HttpTalk()
    expecting = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    talk.send(expecting)
    await talk.until_answered(1)
    assert talk.transport.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    talk.send(b"hi")
    await talk.until_answered(2)
    assert talk.statuses == [100, 200]
    refused = HttpTalk(body_bytes=1)
    refused.send(expecting)
    await refused.until_answered(1)
    assert refused.statuses == [413]


async def test_a_long_body_leaves_after_its_head_and_is_never_copied() -> None:
    talk, body = HttpTalk(later=True), bytes(range(256)) * 100
    parts: list[bytes] = []
    talk.transport.writelines = parts.extend  # type: ignore[method-assign]
    talk.send(GET)
    await talk.until_seen(1)
    talk.engine.respond(200, [], body)
    await eventually(lambda: parts)
    head, sent = parts
    assert head.endswith(b"Content-Length: 25600\r\n\r\n")
    assert sent is body


@pytest.mark.parametrize("status", [204, 304])
async def test_a_response_without_content_has_neither_a_length_nor_a_body(status: int) -> None:
    talk = HttpTalk(later=True)
    talk.send(GET)
    await talk.until_seen(1)
    talk.engine.respond(status, [], b"content")
    await talk.until_answered(1)
    assert b"Content-Length" not in talk.transport.written
    assert talk.transport.written.endswith(b"\r\n\r\n")


async def test_a_draining_connection_serves_one_more_request() -> None:
    talk = HttpTalk()
    talk.send(GET)
    await talk.until_answered(1)
    talk.engine.begin_drain()
    assert not talk.is_over
    talk.send(GET + GET)
    await talk.until_over()
    assert talk.statuses == [200, 200]
    assert talk.transport.written.count(b"Connection: close") == 1


async def test_a_failing_application_is_an_internal_error() -> None:
    talk = HttpTalk()
    talk.engine.on_request = lambda head, body: 1 // 0  # type: ignore[method-assign]
    talk.send(GET)
    await talk.until_over()
    assert talk.statuses == [500]
    assert b"division" not in talk.transport.written


@pytest.mark.parametrize(
    "field", [("X", "a\r\nY: b"), ("X", "a\nb"), ("X\r\nY", "b"), ("X", "\0"), ("", "b")]
)
async def test_a_field_that_would_split_the_response_is_refused(field: tuple[str, str]) -> None:
    talk = HttpTalk(later=True)
    talk.send(GET)
    await talk.until_seen(1)
    with pytest.raises(ValueError, match="has an invalid name or value"):
        talk.engine.respond(200, [field], b"")
    with pytest.raises(RuntimeError, match="no request to answer"):
        HttpTalk().engine.respond(200, [], b"")


async def test_a_lost_connection_is_told_once() -> None:
    talk = HttpTalk(later=True)
    talk.send(GET)
    await talk.until_seen(1)
    talk.session.connection_lost(None)
    assert talk.engine.was_lost
    with pytest.raises(RuntimeError):
        talk.engine.answer()


def ours(data: bytes) -> tuple[str, str, list[tuple[str, str]], bytes] | None:
    """Return the first request as we understand it; None: it is refused or incomplete."""
    limits = RequestLimits()
    try:
        head, size = parse_request_head(data, limits)
        if head is None:
            return None
        body = BodyReader(head.content_length, 1_000, limits)
        body.take_data(data[size:])
    except RequestRefusedError:
        return None
    return (head.method, head.target, known(head.fields), body.value()) if body.is_whole else None


def known(fields: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return fields without the case of the one value that h11 writes small."""
    return [(name, value.lower() if name == "transfer-encoding" else value) for name, value in fields]


def theirs(data: bytes) -> tuple[str, str, list[tuple[str, str]], bytes] | None:
    """Return the same as h11 understands it."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    body = None
    try:
        request = connection.next_event()
        if not isinstance(request, h11.Request):
            return None
        body = b""
        while isinstance(event := connection.next_event(), h11.Data):
            body += event.data
    except h11.RemoteProtocolError as error:
        # It also checks the size and the coding in the last lines of a chunked body, where they have no meaning.
        if body is None or not any(name in str(error) for name in ("Content-Length", "Transfer-Encoding")):
            return None
    fields = [(name.decode(), value.decode("latin-1")) for name, value in request.headers]
    return (request.method.decode(), request.target.decode(), known(fields), body)


PIECES = st.sampled_from(
    [
        *(b"GET", b" ", b"/", b"x", b" HTTP/1.1", b" HTTP/1.0", b"\r\n", b"\n", b"\r", b"Host: a\r\n", b":"),
        *(b"\t", b"\0", b"Content-Length: ", b"5", b"Transfer-Encoding: chunked\r\n", b"hello", b";a", b"+"),
        *(b"5\r\nhello\r\n", b"0\r\n\r\n", b"-", b",", b"\xff", b"X: y\r\n", b"POST /x HTTP/1.1\r\n"),
    ]
)
WHOLE = [data for data, _ in ACCEPTED.values() if b"http://" not in data and not data.startswith(b"\r")]


@settings(max_examples=300, deadline=None)
@given(
    start=st.sampled_from(WHOLE),
    pieces=st.lists(st.tuples(st.integers(0, 120), st.integers(0, 3), PIECES), max_size=4),
)
@example(start=GET, pieces=[])
@example(
    start=b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    pieces=[(60, 0, b"Transfer-Encoding: chunked\r\n")] * 2,
)
def test_another_parser_reads_accepted_requests_as_we_do(
    start: bytes, pieces: list[tuple[int, int, bytes]]
) -> None:
    data = start
    for at, cut, piece in pieces:
        data = data[:at] + piece + data[at + cut :]
    found = ours(data)
    if found is not None:
        assert theirs(data) == found
