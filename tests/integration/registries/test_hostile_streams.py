"""Endless answers, line by line: each line, the silence and the rate are bounded."""

import itertools
import threading
import time
import tracemalloc
from collections.abc import Iterator

import pytest

from fastrpc.bounded_http import REST_SECONDS, BoundedHttpClient, HttpError, LineStream
from tests.support.hostile_http import HostileHttpServer, Reply, answer

MOST_BYTES = 1_000_000

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunk(content: bytes) -> bytes:
    return f"{len(content):x}\r\n".encode() + content + b"\r\n"


def pieces(*parts: bytes | None) -> Reply:
    return lambda: iter(parts)


def ended(*parts: bytes) -> Reply:
    """Return an answer after which the connection is closed."""

    def reply() -> Iterator[bytes]:
        yield from parts
        raise OSError("the end")

    return reply


def client_of(server: HostileHttpServer) -> BoundedHttpClient:
    host, _, port = server.place.partition(":")
    return BoundedHttpClient(host, int(port), most_bytes=MOST_BYTES)


def opened(client: BoundedHttpClient, idle_seconds: float = 20.0) -> LineStream:
    return client.stream("POST", "/watch", body=b"{}", idle_seconds=idle_seconds)


def read_all(stream: LineStream) -> list[bytes]:
    lines = []
    while line := stream.receive(20.0):
        lines.append(line)
    return lines


def refused(stream: LineStream) -> str:
    with pytest.raises(HttpError) as caught:
        read_all(stream)
    return str(caught.value)


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 1_000])
@pytest.mark.parametrize("size", [1, 2, 5, 1_000])
def test_lines_are_the_same_for_every_cut_of_their_bytes(cut: int, size: int) -> None:
    content = b'{"a":1}\n\r\n\n{"b":2}\r\n' + b"x" * 100 + b"\n"
    chunks = [chunk(content[start : start + size]) for start in range(0, len(content), size)]
    whole = CHUNKED + b"".join(chunks) + END
    parts = [whole[start : start + cut] for start in range(0, len(whole), cut)]
    with HostileHttpServer(pieces(*parts)) as server:
        client = client_of(server)
        assert read_all(opened(client)) == [b'{"a":1}', b'{"b":2}', b"x" * 100]
        client.close()


def test_line_that_has_not_come_is_waited_for_and_not_lost() -> None:
    reply = pieces(CHUNKED, chunk(b"one\ntwo"), *[None] * 3, chunk(b"\n"), *[None] * 300)
    with HostileHttpServer(reply) as server:
        client = client_of(server)
        stream = opened(client)
        assert stream.receive(5.0) == b"one"
        assert stream.receive(5.0) == b"two"
        assert stream.receive(0.0) is None
        assert stream.receive(0.05) is None
        client.close()


def test_status_of_the_answer_is_reported() -> None:
    with HostileHttpServer(answer({"code": 410}, status="410 Gone")) as server:
        client = client_of(server)
        assert opened(client).status == 410
        client.close()


def test_redirect_is_refused() -> None:
    with HostileHttpServer(answer(b"", status="302 Found", Location="http://127.0.0.1:1/")) as server:
        client = client_of(server)
        with pytest.raises(HttpError, match="redirects are not followed"):
            opened(client)
        client.close()


def test_endless_line_is_refused() -> None:
    with HostileHttpServer(
        lambda: itertools.chain([CHUNKED], itertools.repeat(chunk(b"x" * 65_000)))
    ) as server:
        client = client_of(server)
        stream = opened(client)
        tracemalloc.start()
        try:
            text = refused(stream)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert "a line has more bytes than the limit" in text or "bytes a second" in text
        assert peak < 8 * MOST_BYTES
        client.close()


def test_server_that_sends_too_fast_is_refused() -> None:
    line = chunk(b"x" * 99 + b"\n")
    with HostileHttpServer(lambda: itertools.chain([CHUNKED], itertools.repeat(line * 100))) as server:
        client = client_of(server)
        # So few that a busy machine takes in more.
        stream = client.stream(
            "POST", "/watch", body=b"{}", idle_seconds=20.0, bytes_per_second=MOST_BYTES // 10
        )
        assert "bytes a second" in refused(stream)
        # The bytes that the client read before, and the bytes that waited in the sockets.
        assert server.sent < 20 * MOST_BYTES
        client.close()


def test_chunks_of_one_byte_count_for_their_work() -> None:
    line = chunk(b"x") * 10 + chunk(b"\n")
    with HostileHttpServer(lambda: itertools.chain([CHUNKED], itertools.repeat(line * 1_000))) as server:
        client = client_of(server)
        # A rate that the slowest of machines passes: at one near its own, the end would come late or never.
        stream = client.stream(
            "POST", "/watch", body=b"{}", idle_seconds=20.0, bytes_per_second=MOST_BYTES // 10
        )
        lines = 0
        with pytest.raises(HttpError, match="bytes a second"):
            while stream.receive(20.0):
                lines += 1
        # By their bytes alone some 15,000 would have been read.
        assert lines < MOST_BYTES / 100
        client.close()


@pytest.mark.measures
def test_line_that_drips_ends_in_time() -> None:
    with HostileHttpServer(
        lambda: itertools.chain([CHUNKED], itertools.cycle([chunk(b"x"), None]))
    ) as server:
        client = client_of(server)
        started = time.monotonic()
        assert "a line did not end" in refused(opened(client, idle_seconds=60.0))
        assert time.monotonic() - started < REST_SECONDS + 1.0
        client.close()


@pytest.mark.measures
def test_chunk_that_drips_ends_in_time() -> None:
    with HostileHttpServer(
        lambda: itertools.chain([CHUNKED, b"ff"], itertools.cycle([b"f", None]))
    ) as server:
        client = client_of(server)
        started = time.monotonic()
        refused(opened(client, idle_seconds=60.0))
        assert time.monotonic() - started < REST_SECONDS + 1.0
        client.close()


@pytest.mark.measures
def test_silent_server_is_left_in_time() -> None:
    with HostileHttpServer(
        lambda: itertools.chain([CHUNKED, chunk(b"one\n")], itertools.repeat(None))
    ) as server:
        client = client_of(server)
        stream = opened(client, idle_seconds=1.0)
        started = time.monotonic()
        assert stream.receive(5.0) == b"one"
        assert stream.receive(0.3) is None
        assert refused(stream) == "the server was silent for 1 s"
        assert 0.9 < time.monotonic() - started < 2.0
        client.close()


@pytest.mark.parametrize(
    "reply",
    [
        ended(CHUNKED, chunk(b"one")),
        ended(CHUNKED, b"5\r\none"),
        ended(CHUNKED, chunk(b"one"), END),
        ended(OK + b"\r\n", b"one"),
        ended(OK + b"Content-Length: 3\r\n\r\n", b"one"),
    ],
)
def test_answer_that_ends_within_a_line_is_refused(reply: Reply) -> None:
    with HostileHttpServer(reply) as server:
        client = client_of(server)
        assert refused(opened(client))
        client.close()


def test_garbage_between_chunks_is_refused() -> None:
    with HostileHttpServer(pieces(CHUNKED, chunk(b"one\n"), b"what?\r\n")) as server:
        client = client_of(server)
        assert refused(opened(client))
        client.close()


def test_closed_stream_leaves_its_connection_and_the_next_request_opens_another() -> None:
    with HostileHttpServer(pieces(CHUNKED, chunk(b"one\ntwo\n")), answer([1])) as server:
        client = client_of(server)
        stream = opened(client)
        assert stream.receive(5.0) == b"one"
        stream.close()
        assert stream.receive(5.0) == b""
        assert client.request("GET", "/").body == b"[1]"
        # A second close does not touch the new connection.
        stream.close()
        assert client.request("GET", "/").body == b"[1]"
        assert server.connections == 2
        client.close()


def test_no_request_takes_the_connection_of_a_stream() -> None:
    with HostileHttpServer(pieces(CHUNKED, chunk(b"one\n"), *[None] * 300), answer([1])) as server:
        client = client_of(server)
        stream = opened(client)
        for ask in (lambda: client.request("GET", "/"), lambda: opened(client)):
            with pytest.raises(RuntimeError, match="a stream has the connection"):
                ask()
        assert stream.receive(5.0) == b"one"
        stream.close()
        assert client.request("GET", "/").body == b"[1]"
        client.close()


def test_closing_the_client_ends_a_wait_of_another_thread() -> None:
    with HostileHttpServer(
        lambda: itertools.chain([CHUNKED, chunk(b"one\n")], itertools.repeat(None))
    ) as server:
        client = client_of(server)
        stream = opened(client, idle_seconds=60.0)
        assert stream.receive(5.0) == b"one"
        closer = threading.Timer(0.1, client.close)
        closer.start()
        assert refused(stream) == "the client is closed"
        closer.join()
