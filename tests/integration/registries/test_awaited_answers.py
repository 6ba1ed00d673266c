"""Answers that a loop awaits: short ones come whole, and a thread takes over all that a loop would wait for."""

import asyncio
import itertools
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from fastrpc.bounded_http import ANSWER_SECONDS, BoundedHttpClient, HttpError, begin_get
from fastrpc.bounded_http.awaited import MOST_BYTES, MOST_PIECES
from tests.integration.registries.test_hostile_http import CHUNKED, OK, REFUSED, client_of, whole
from tests.integration.registries.test_hostile_http import patience as patience
from tests.support.hostile_http import HostileHttpServer, Reply, answer

LOADED = b"[%s]" % (b"1, " * 20_000 + b"1")

#: Answers that are read, whether or not a loop can take them, and their bodies.
READ: dict[str, tuple[Reply, bytes]] = {
    "short": (answer([1]), b"[1]"),
    "empty": (answer(b""), b""),
    "the longest": (answer(b" " * (MOST_BYTES - 100)), b" " * (MOST_BYTES - 100)),
    "longer": (answer(LOADED), LOADED),
    "byte by byte": (
        lambda: iter(bytes([one]) for one in OK + b"Content-Length: 2\r\n\r\n[]"),
        b"[]",
    ),
    "head and body apart": (whole(OK, b"Content-Length: 2\r\n\r\n", b"[", b"]"), b"[]"),
    "chunks": (whole(CHUNKED + b"2\r\n[]\r\n0\r\n\r\n"), b"[]"),
    "folded": (whole(OK + b"A: b\r\n c\r\nContent-Length: 2\r\n\r\n[]"), b"[]"),
    "a long head": (answer([1], X=" y" * 10_000), b"[1]"),
    "an interim answer": (whole(b"HTTP/1.1 100 Continue\r\n\r\n", answer([1])().__next__() or b""), b"[1]"),
    "another version": (whole(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n[]"), b"[]"),
    "two equal lengths": (whole(OK + b"Content-Length: 2\r\ncontent-length: 2\r\n\r\n[]"), b"[]"),
    "more than was asked for": (whole(OK + b"Content-Length: 2\r\n\r\n[][]"), b"[]"),
}


def asked(client: BoundedHttpClient, **options: Any) -> tuple[bytes, bool]:
    """Return the body of an answer, and whether the loop alone received it."""
    begun = asyncio.run(begin_get(client, "/", {"X-Secret": "s"}, **options))
    return (begun, True) if isinstance(begun, bytes) else (begun().body, False)


def with_kept(server: HostileHttpServer) -> BoundedHttpClient:
    """Return a client whose connection is open: its first answer is taken."""
    client = client_of(server)
    assert asked(client) == (b"[0]", False), "a thread dials"
    return client


@pytest.mark.parametrize("name", READ)
def test_an_answer_is_read_and_the_next_one_as_well(name: str) -> None:
    reply, body = READ[name]
    with HostileHttpServer(answer([0]), reply, answer([2])) as server:
        client = with_kept(server)
        assert asked(client)[0] == body
        assert asked(client)[0] == b"[2]"
        client.close()


def test_short_answers_need_no_thread() -> None:
    with HostileHttpServer(answer([0]), answer([1]), answer([1])) as server:
        client = with_kept(server)
        assert [asked(client), asked(client)] == [(b"[1]", True)] * 2
        client.close()
        assert server.connections == 1
        assert all("\r\nX-Secret: s" in head for head in server.requests)
        first, *others = [set(head.split("\r\n")) - {"Content-Length: 0"} for head in server.requests]
        assert others == [first, first], "the loop and a thread make the same request"


def test_an_answer_in_many_pieces_is_left_to_a_thread() -> None:
    text = OK + b"Content-Length: 2\r\n\r\n[]"
    pieces: list[bytes | None] = []
    for number in range(MOST_PIECES + 1):
        pieces += [text[number : number + 1], None]
    pieces.append(text[MOST_PIECES + 1 :])
    with HostileHttpServer(answer([0]), lambda: iter(pieces)) as server:
        client = with_kept(server)
        assert asked(client) == (b"[]", False)
        client.close()


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_answer_is_refused_in_the_same_words(name: str) -> None:
    reply, words = REFUSED[name]
    with HostileHttpServer(answer([0]), reply, answer([1])) as server:
        client = with_kept(server)
        with pytest.raises(HttpError) as caught:
            asked(client)
        assert any(word in str(caught.value) for word in words.split("|")), str(caught.value)
        assert json.loads(asked(client)[0]) == [1]
        client.close()


@pytest.mark.measures
@pytest.mark.parametrize("held", [0.0, 1.0])
def test_a_silent_server_is_left_in_time(held: float) -> None:
    with HostileHttpServer(answer([0]), lambda: itertools.repeat(None)) as server:
        client = with_kept(server)
        started = time.monotonic()
        with pytest.raises(HttpError, match="no answer in time"):
            asked(client, held_seconds=held)
        assert held + ANSWER_SECONDS <= time.monotonic() - started + 0.01 < held + ANSWER_SECONDS + 1.0
        client.close()


def test_closing_ends_a_request_that_a_loop_awaits() -> None:
    with HostileHttpServer(answer([0]), lambda: itertools.repeat(None)) as server:
        client = with_kept(server)

        closer = threading.Thread(target=lambda: (server.await_requests(2), client.close()))
        closer.start()
        with pytest.raises(HttpError, match="the client is closed"):
            asked(client, held_seconds=60.0)
        closer.join()


def test_a_cancelled_request_ends_the_connection() -> None:
    with HostileHttpServer(answer([0]), lambda: itertools.repeat(None), answer([2])) as server:
        client = with_kept(server)

        async def cancel() -> None:
            asking = asyncio.create_task(begin_get(client, "/", {}, held_seconds=60.0))
            while len(server.requests) < 2:
                await asyncio.sleep(0.001)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

        asyncio.run(cancel())
        assert asked(client) == (b"[2]", False), "no late answer is taken for the next one"
        client.close()


@pytest.mark.parametrize(
    ("target", "headers"),
    [("/", {"A": "b\r\nC: d"}), ("/", {"A": "b\n"}), ("/a\r\nB: c", {}), ("/a b", {})],
)
def test_a_request_with_another_one_in_it_is_refused(target: str, headers: dict[str, str]) -> None:
    with HostileHttpServer(answer([0]), answer([1])) as server:
        client = with_kept(server)

        def ask() -> Callable[[], Any] | bytes:
            return asyncio.run(begin_get(client, target, headers))

        begun = ask()
        assert not isinstance(begun, bytes)
        with pytest.raises((ValueError, HttpError), match="nvalid|control characters"):
            begun()
        client.close()
        assert len(server.requests) == 1
