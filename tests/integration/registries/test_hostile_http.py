"""An HTTP server that attacks the package's client: answers cost bounded bytes and time, and harm no later one."""

import gzip
import itertools
import json
import threading
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from fastrpc.bounded_http import ANSWER_SECONDS, REST_SECONDS, BoundedHttpClient, HttpError, timed_socket
from fastrpc.bounded_http import client as http_client
from tests.support.hostile_http import ENDLESS, HostileHttpServer, Reply, answer, dripping

MOST_BYTES = 1_000_000

OK = b"HTTP/1.1 200 OK\r\n"


def endless(begin: bytes, piece: bytes) -> Reply:
    return lambda: itertools.chain([begin], itertools.repeat(piece))


def whole(*pieces: bytes) -> Reply:
    return lambda: iter(pieces)


def then_end(*pieces: bytes) -> Reply:
    """Return an answer after which the connection is closed."""

    def reply() -> Iterator[bytes]:
        yield from pieces
        raise OSError("the end")

    return reply


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

#: Answers that are refused, and by which words.
REFUSED = {
    "endless body": (endless(OK + b"\r\n", b"x" * 65_536), "more bytes than the limit of 1,000,000"),
    "endless chunks": (endless(CHUNKED, b"4000\r\n" + b"x" * 0x4000 + b"\r\n"), "more bytes than the limit"),
    "endless small chunks": (endless(CHUNKED, b"1\r\nx\r\n" * 1_000), "more bytes than the limit"),
    "endless chunk extension": (endless(CHUNKED + b"1;", b"x" * 65_536), "chunk size|IncompleteRead"),
    "endless trailers": (
        endless(CHUNKED + b"0\r\n", b"a: b\r\n" * 1_000),
        "more bytes than the limit|more than 100 trailers",
    ),
    "endless header line": (endless(OK + b"A: ", b"x" * 65_536), "header line"),
    "endless headers": (endless(OK, b"a: b\r\n" * 1_000), "100 headers"),
    "endless status line": (endless(b"HTTP/1.1 200 ", b"x" * 65_536), "status line"),
    "endless interim answers": (
        endless(b"", b"HTTP/1.1 100 Continue\r\nA: " + b"x" * 60_000 + b"\r\n\r\n"),
        "more bytes than the limit",
    ),
    "announced length": (whole(OK + f"Content-Length: {ENDLESS}\r\n\r\n".encode()), "the limit is 1,000,000"),
    "announced chunk": (then_end(CHUNKED + f"{ENDLESS:x}\r\nx".encode()), "IncompleteRead"),
    "truncated body": (then_end(OK + b"Content-Length: 10\r\n\r\n[1"), "ended after 2 of 10 bytes"),
    "truncated chunk": (then_end(CHUNKED + b"a\r\n[1"), "IncompleteRead"),
    "truncated chunks": (then_end(CHUNKED + b"2\r\n[]\r\n"), "IncompleteRead"),
    "truncated head": (then_end(OK + b"Content-Le"), "ended within its head"),
    "no answer": (then_end(b""), "closed connection"),
    "no HTTP": (whole(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "SSH-2.0"),
    "page": (whole(b"<html><body>hello</body></html>\r\n\r\n"), "<html>"),
    "bad length": (then_end(OK + b"Content-Length: -5\r\n\r\n"), "Content-Length '-5'"),
    "two lengths": (
        whole(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n11"),
        "Content-Length '1, 2'",
    ),
    "long length": (
        whole(OK + b"Content-Length: " + b"1" * 5_000 + b"\r\n\r\n"),
        "the limit is|Content-Length",
    ),
    "head without an end": (then_end(OK), "ended within its head"),
    "redirect without a place": (answer(b"", status="302 Found"), "it answered 302"),
    "not modified": (answer(b"", status="304 Not Modified"), "it answered 304"),
    "switching protocols": (answer(b"", status="101 Switching Protocols"), "it answered 101"),
    "early hints": (answer(b"", status="103 Early Hints"), "it answered 103"),
    "strange status": (answer(b"", status="999 Strange"), "it answered 999"),
    "compressed": (
        answer(gzip.compress(b"[]" * 50_000) * 1_000, Content_Encoding="gzip"),
        "Content-Encoding 'gzip'",
    ),
    "compressed by something else": (answer(b"[]", Content_Encoding="br"), "Content-Encoding 'br'"),
    "compressed in transfer": (
        whole(OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        "Transfer-Encoding 'gzip, chunked'",
    ),
}


@pytest.fixture(autouse=True)
def patience(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have limits of bytes found on a busy machine as well: only tests that measure keep the limits of time."""
    if request.node.get_closest_marker("measures") is None:
        monkeypatch.setattr(http_client, "ANSWER_SECONDS", 60.0)
        monkeypatch.setattr(timed_socket, "REST_SECONDS", 60.0)


def refused(client: BoundedHttpClient, **options: Any) -> str:
    with pytest.raises(HttpError) as caught:
        client.request("GET", "/v1/agent/self", **options)
    return str(caught.value)


def client_of(server: HostileHttpServer, **options: Any) -> BoundedHttpClient:
    host, _, port = server.place.partition(":")
    return BoundedHttpClient(host, int(port), most_bytes=MOST_BYTES, **options)


@pytest.mark.parametrize("name", REFUSED)
def test_bad_answer_is_refused_and_the_next_one_is_read(name: str) -> None:
    reply, words = REFUSED[name]
    with HostileHttpServer(reply, answer([1])) as server:
        client = client_of(server)
        tracemalloc.start()
        try:
            text = refused(client)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert json.loads(client.request("GET", "/").body) == [1]
        client.close()
    assert any(word in text for word in words.split("|")), text
    assert len(text) <= 300
    assert text.isprintable()
    # The limit, a copy of it, and buffers; the server's own pieces are in it.
    assert peak < 8 * MOST_BYTES


def test_redirect_is_not_followed_and_takes_no_secret_along() -> None:
    with HostileHttpServer(answer([])) as other:
        for status in ("301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"):
            with HostileHttpServer(answer(b"", status=status, Location=f"http://{other.place}/")) as server:
                client = client_of(server)
                text = refused(client, headers={"X-Secret": "s"})
                assert f"it answered {status[:3]} and leads to 'http://{other.place}/'" in text
                client.close()
        assert other.requests == []


@pytest.mark.measures
@pytest.mark.parametrize(
    "begin",
    [
        b"H",
        OK,
        OK + b"X: ",
        OK + b"\r\n",
        OK + b"Content-Length: 100000\r\n\r\n",
        CHUNKED,
        CHUNKED + b"FFFF\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
def test_answer_that_drips_ends_in_time(begin: bytes) -> None:
    with HostileHttpServer(dripping(begin, b"1"), answer([1])) as server:
        client = client_of(server)
        started = time.monotonic()
        # However long the server was allowed to hold it: the drops have begun.
        assert refused(client, held_seconds=60.0) == "no answer in time"
        assert time.monotonic() - started < REST_SECONDS + 1.0
        assert client.request("GET", "/").status == 200
        client.close()


@pytest.mark.measures
def test_server_that_is_silent_is_left_in_time() -> None:
    with HostileHttpServer(lambda: itertools.repeat(None)) as server:
        client = client_of(server)
        for held in (0.0, 1.0):
            started = time.monotonic()
            assert refused(client, held_seconds=held) == "no answer in time"
            assert held + ANSWER_SECONDS <= time.monotonic() - started + 0.01 < held + ANSWER_SECONDS + 1.0
        client.close()


def test_connection_is_kept_and_made_again_when_it_was_closed() -> None:
    with HostileHttpServer(answer([1]), answer([2]), answer([3], Connection="close"), answer([4])) as server:
        client = client_of(server)
        bodies = [client.request("PUT", "/", body=b"x" * 100_000).body for _ in range(4)]
        client.close()
        assert bodies == [b"[1]", b"[2]", b"[3]", b"[4]"]
        assert server.connections == 2


def test_bytes_that_nobody_asked_for_are_no_answer() -> None:
    forged = answer({"forged": True})().__next__()
    with HostileHttpServer(
        whole(answer([1])().__next__() + forged), whole(b"", forged), answer([2])
    ) as server:
        client = client_of(server)
        assert client.request("GET", "/first").body == b"[1]"
        client.close()


def test_closing_ends_a_request_that_another_thread_makes() -> None:
    with HostileHttpServer(lambda: itertools.repeat(None)) as server:
        client = client_of(server)
        closer = threading.Thread(target=lambda: (server.await_requests(1), client.close()))
        closer.start()
        assert refused(client, held_seconds=60.0) == "the client is closed"
        closer.join()
        assert refused(client) == "the client is closed"


def test_text_with_too_many_values_is_refused_before_it_is_parsed() -> None:
    with HostileHttpServer(answer(b"[" + b"{}," * 2_000_000 + b"{}]")) as server:
        host, _, port = server.place.partition(":")
        client = BoundedHttpClient(host, int(port))
        got = client.request("GET", "/")
        with pytest.raises(HttpError, match="4,000,002 JSON values, the limit is 2,000,000"):
            got.json_text()
        client.close()
