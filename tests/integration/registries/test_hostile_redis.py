"""A server of Redis whose answers never end."""

import itertools
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from fastrpc.errors import StoreError

pytest.importorskip("redis", reason="redis is not installed")

from fastrpc.registries.redis import server
from fastrpc.registries.redis.server import RedisAccess, RedisClient
from tests.support.redis_parsers import PARSERS, use_parser

pytestmark = pytest.mark.one_loop

Pieces = Callable[[], Iterator[bytes]]


@pytest.fixture(params=PARSERS, autouse=True)
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each parser of redis-py reads the answers."""
    use_parser(request.param, monkeypatch)


@pytest.fixture
def opened() -> Iterator[Callable[[Pieces, float], RedisClient]]:
    """Return clients of servers that answer every connection with these pieces, seconds apart."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads: list[threading.Thread] = []

        def open_one(pieces: Pieces, pause: float) -> RedisClient:
            def serve() -> None:
                served, _ = listener.accept()
                with served:
                    # A client that no longer reads holds up no test.
                    served.settimeout(60)
                    served.recv(1000)
                    for piece in pieces():
                        if over.wait(pause):
                            break
                        try:
                            served.sendall(piece)
                        except OSError:
                            break
                    over.wait()

            threads.append(threading.Thread(target=serve))
            threads[-1].start()
            access = RedisAccess([("127.0.0.1", listener.getsockname()[1])], tls=None, login=None, db=0)
            return access.connect()

        yield open_one
        over.set()
        for thread in threads:
            thread.join()


def test_answer_that_drips_is_abandoned(
    opened: Callable[[Pieces, float], RedisClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each byte comes in time; the whole answer never does.
    monkeypatch.setattr(server, "ANSWER_SECONDS", 0.5)
    client = opened(lambda: itertools.chain([b"$1000\r\n"], itertools.repeat(b"x")), 0.1)
    with pytest.raises(StoreError, match="Timeout reading"):
        client.ask(bytes, "GET", "x")
    client.close()


@pytest.mark.parametrize("begin", [b"$999999999\r\n", b"*999999999\r\n$1\r\na\r\n"])
def test_endless_answer_is_abandoned(
    opened: Callable[[Pieces, float], RedisClient], begin: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So few that a busy machine takes them in time, one by one in Python.
    monkeypatch.setattr(server, "ANSWER_BYTES", 100_000)
    monkeypatch.setattr(server, "ANSWER_SECONDS", 30.0)
    client = opened(lambda: itertools.chain([begin], itertools.repeat(b"$1\r\na\r\n" * 10_000)), 0.0)
    with pytest.raises(StoreError, match="more bytes than the limit"):
        client.ask(list[bytes], "GET", "x")
    client.close()


#: The answers to the name and the version of the package, and to the first PING.
GREETED = b"+OK\r\n+OK\r\n+PONG\r\n"


def record(size: int) -> bytes:
    return b"$%d\r\n%s\r\n" % (size, b"x" * size)


@pytest.mark.parametrize(("first", "other"), [(1_100_000, 1), (500_000, 500_000)])
def test_answers_to_one_request_have_bounds_alone_and_together(
    opened: Callable[[Pieces, float], RedisClient], monkeypatch: pytest.MonkeyPatch, first: int, other: int
) -> None:
    monkeypatch.setattr(server, "ANSWER_BYTES", 1_000_000)
    monkeypatch.setattr(server, "REQUEST_BYTES", 4_000_000)
    client = opened(lambda: iter([GREETED, record(first), record(other) * 8]), 0.0)
    with pytest.raises(StoreError, match="more bytes than the limit"):
        client.ask_all(bytes, [["GET", "x"]] * 9)
    client.close()


def test_each_answer_to_one_request_has_separate_time(
    opened: Callable[[Pieces, float], RedisClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "ANSWER_SECONDS", 2.0)
    client = opened(lambda: itertools.chain([GREETED], itertools.repeat(record(1), 6)), 0.4)
    assert client.ask_all(bytes, [["GET", "x"]] * 6) == [b"x"] * 6
    client.close()


def message(number: int) -> bytes:
    channel = b"fastrpc:%d" % number
    return b"*3\r\n$7\r\nmessage\r\n$%d\r\n%s\r\n$0\r\n\r\n" % (len(channel), channel)


SUBSCRIBED = b"*3\r\n$9\r\nsubscribe\r\n$9\r\nfastrpc:0\r\n:1\r\n"


def test_messages_that_come_later_and_in_pieces_are_waited_for(
    opened: Callable[[Pieces, float], RedisClient],
) -> None:
    pieces = [GREETED, SUBSCRIBED, message(1), message(2)[:9], message(2)[9:]]
    client = opened(lambda: iter(pieces), 0.1)
    client.subscribe("SUBSCRIBE", ["fastrpc:0"])
    assert client.receive(60.0) == {b"fastrpc:1"}
    assert client.receive(60.0) == {b"fastrpc:2"}
    assert client.receive(0.01) == set()
    client.close()


def test_flood_of_messages_is_read_in_parts(opened: Callable[[Pieces, float], RedisClient]) -> None:
    count = 3 * server.MOST_MESSAGES
    client = opened(lambda: iter([GREETED, b"".join(map(message, range(count)))]), 0.0)
    client.ask(list[bytes], "SUBSCRIBE", "fastrpc:0")
    found: set[bytes] = set()
    while len(found) < count - 1:
        part = client.receive(5.0)
        assert 0 < len(part) <= server.MOST_MESSAGES
        found |= part
    client.close()


def test_endless_messages_in_place_of_a_confirmation_are_abandoned(
    opened: Callable[[Pieces, float], RedisClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "ANSWER_BYTES", 1_000_000)
    monkeypatch.setattr(server, "ANSWER_SECONDS", 30.0)
    client = opened(lambda: itertools.chain([GREETED], map(message, itertools.count())), 0.0)
    with pytest.raises(StoreError, match="more bytes than the limit"):
        client.subscribe("SUBSCRIBE", ["fastrpc:0"])
    client.close()


@pytest.mark.parametrize("answer", [b"*0\r\n", b"*1\r\n$9\r\nsubscribe\r\n", b":7\r\n"])
def test_answer_that_is_no_message_is_abandoned(
    opened: Callable[[Pieces, float], RedisClient], answer: bytes
) -> None:
    client = opened(lambda: iter([GREETED + answer]), 0.0)
    with pytest.raises(StoreError, match="Expected"):
        client.subscribe("SUBSCRIBE", ["fastrpc:0"])
    client.close()
