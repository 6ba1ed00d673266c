"""One connection to a server of Redis for several threads, and the commands of many callers in one write."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BufferedReader

import pytest

from fastrpc import BrokerError, FastRPCError, Status, StoreError

pytest.importorskip("redis", reason="redis is not installed")

from redis import connection, exceptions

from fastrpc.bounded_http import TimedSocket
from fastrpc.registries.redis.server import RedisAccess, RedisClient
from tests.support.redis_parsers import PARSERS, use_parser

#: Refusals of the server by the word that asks for them.
REFUSALS = {
    b"SCRIPT": b"-NOSCRIPT No matching script\r\n",
    b"DENIED": b"-NOPERM no right to it\r\n",
    b"REPLICA": b"-READONLY it is a replica\r\n",
    b"OTHER": b"-WRONGTYPE it is a list\r\n",
}


class SmallServer:
    """Echoes the word of each command, in the order in which they come; holds the answers to some.

    Attributes:
        connections: how many were accepted.
        together: commands that have to arrive before the first of them is answered.
        may_answer: answers wait for it.
        asked: set by each command.
        is_loading: it refuses new connections, as it still loads its data.
    """

    def __init__(self, listener: socket.socket) -> None:
        self.connections, self.together, self.is_loading = 0, 1, False
        self.may_answer, self.asked = threading.Event(), threading.Event()
        self.may_answer.set()
        self._listener = listener
        self._served: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def close(self) -> None:
        self.may_answer.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        for served in self._served:
            served.close()
        for thread in self._threads:
            thread.join(20)

    def cut(self) -> None:
        """End all connections."""
        for served in self._served:
            served.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                served, _ = self._listener.accept()
            except OSError:
                return
            served.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            self._served.append(served)
            self._threads.append(threading.Thread(target=self._serve, args=(served,)))
            self._threads[-1].start()

    def _serve(self, served: socket.socket) -> None:
        with served, served.makefile("rb") as file:
            waiting: list[bytes] = []
            while (words := _command(file)) is not None:
                if words[0] in (b"CLIENT", b"PING"):
                    served.sendall(b"-LOADING not yet\r\n" if self.is_loading else b"+OK\r\n")
                    continue
                waiting.append(_answer(words))
                self.asked.set()
                if len(waiting) < self.together:
                    continue
                self.may_answer.wait(20)
                for answer in waiting:
                    if not answer:
                        return
                    try:
                        served.sendall(answer)
                    except OSError:
                        return
                waiting.clear()


def _command(file: BufferedReader) -> list[bytes] | None:
    try:
        count = file.readline()
        return (
            [file.read(int(file.readline()[1:]) + 2)[:-2] for _ in range(int(count[1:]))] if count else None
        )
    except (OSError, ValueError):
        return None


def _answer(words: list[bytes]) -> bytes:
    """Return the answer to a command; empty: the connection ends in its place."""
    if words[0] == b"CUT":
        return b""
    return REFUSALS.get(words[0], b"$%d\r\n%b\r\n" % (len(words[-1]), words[-1]))


@pytest.fixture(params=PARSERS, autouse=True)
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each parser of redis-py reads the answers."""
    use_parser(request.param, monkeypatch)


@pytest.fixture
def server() -> Iterator[SmallServer]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        served = SmallServer(listener)
        yield served
        served.close()


@pytest.fixture
def connect(server: SmallServer) -> Iterator[Callable[[type[FastRPCError]], RedisClient]]:
    clients: list[RedisClient] = []

    def one(error: type[FastRPCError] = StoreError) -> RedisClient:
        access = RedisAccess([("127.0.0.1", server.port)], tls=None, login=None, db=0, error=error)
        clients.append(access.connect())
        return clients[-1]

    yield one
    for client in clients:
        client.close()


@pytest.fixture
def client(connect: Callable[..., RedisClient]) -> RedisClient:
    return connect()


def echoed(number: int) -> tuple[type[bytes], list[str | bytes | float]]:
    return bytes, ["ECHO", f"word {number}"]


def test_all_commands_of_a_pipeline_are_sent_before_the_first_is_answered(
    server: SmallServer, client: RedisClient
) -> None:
    server.together = 64
    assert client.pipeline([echoed(number) for number in range(64)]) == [
        b"word %d" % number for number in range(64)
    ]
    assert server.connections == 1
    assert client.pipeline([]) == []


def test_each_command_of_a_pipeline_has_its_answer_or_its_own_refusal(
    server: SmallServer, connect: Callable[..., RedisClient]
) -> None:
    client = connect(BrokerError)
    found = client.pipeline(
        [echoed(1), (bytes, ["SCRIPT"]), (bytes, ["DENIED"]), (bytes, ["OTHER"]), echoed(2)]
    )
    assert (found[0], found[4]) == (b"word 1", b"word 2")
    assert [type(one) for one in found[1:4]] == [BrokerError] * 3
    assert isinstance(found[1].__cause__, exceptions.NoScriptError)
    assert found[2].status is Status.PERMISSION_DENIED
    assert "WRONGTYPE" in found[3].message


def test_a_word_that_is_no_utf_8_is_the_error_of_its_command_alone(
    server: SmallServer, connect: Callable[..., RedisClient]
) -> None:
    client = connect(BrokerError)
    found = client.pipeline([echoed(1), (bytes, ["ECHO", "\ud800"]), (bytes, ["SCRIPT"]), echoed(2)])
    assert (found[0], found[3]) == (b"word 1", b"word 2")
    assert isinstance(found[2].__cause__, exceptions.NoScriptError)
    assert (found[1].status, found[1].processed) == (Status.INVALID_ARGUMENT, "no")
    assert "is not UTF-8" in found[1].message
    (alone,) = client.pipeline([(bytes, ["ECHO", "\ud800"])])
    assert alone.status is Status.INVALID_ARGUMENT
    assert client.pipeline([echoed(3)]) == [b"word 3"]
    assert server.connections == 1


def test_a_request_that_was_not_sent_is_told_from_one_without_an_answer(
    server: SmallServer, client: RedisClient
) -> None:
    server.is_loading = True
    found = client.pipeline([echoed(1), echoed(2)])
    assert [("not yet" in one.message, one.processed) for one in found] == [(True, "no")] * 2
    server.is_loading = False
    assert client.pipeline([echoed(3)]) == [b"word 3"]
    found = client.pipeline([echoed(1), (bytes, ["CUT"]), echoed(2)])
    assert found[0] == b"word 1"
    assert [one.processed for one in found[1:]] == ["unknown", "unknown"]


def test_an_answer_of_another_type_ends_the_pipeline_and_its_connection(
    server: SmallServer, client: RedisClient
) -> None:
    # The answers after it may be of other commands.
    found = client.pipeline([echoed(1), (int, ["ECHO", "4"]), echoed(2)])
    assert found[0] == b"word 1"
    assert ["Expected `int`" in one.message for one in found[1:]] == [True, True]
    assert client.pipeline([echoed(3)]) == [b"word 3"]
    assert server.connections == 2


def test_refusals_keep_the_connection(server: SmallServer, client: RedisClient) -> None:
    client.pipeline([(bytes, ["SCRIPT"]), echoed(1)])
    assert client.ask(bytes, "ECHO", "next") == b"next"
    assert server.connections == 1


def test_a_server_that_became_a_replica_is_left_after_the_answers(
    server: SmallServer, client: RedisClient
) -> None:
    refused, answered = client.pipeline([(bytes, ["REPLICA"]), echoed(1)])
    assert isinstance(refused, StoreError)
    assert answered == b"word 1"
    assert client.ask(bytes, "ECHO", "next") == b"next"
    assert server.connections == 2


def test_answers_before_the_loss_of_the_connection_are_kept(server: SmallServer, client: RedisClient) -> None:
    found = client.pipeline([echoed(1), (bytes, ["CUT"]), echoed(2), echoed(3)])
    assert found[0] == b"word 1"
    assert [type(one) for one in found[1:]] == [StoreError] * 3
    assert len({id(one) for one in found[1:]}) == 3
    assert {one.status for one in found[1:]} == {Status.UNAVAILABLE}
    assert client.pipeline([echoed(4)]) == [b"word 4"]


def test_requests_of_threads_take_turns_and_each_gets_its_own_answers(
    server: SmallServer, client: RedisClient
) -> None:
    def ask(thread: int) -> None:
        for number in range(100):
            word = f"{thread} {number}".encode()
            assert client.ask(bytes, "ECHO", word) == word
            many = [(bytes, ["ECHO", b"%b %d" % (word, part)]) for part in range(5)]
            assert client.pipeline(many) == [b"%b %d" % (word, part) for part in range(5)]

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(ask, thread) for thread in range(4)]:
            done.result()
    assert server.connections == 1


def test_a_drop_by_another_thread_waits_for_the_request_and_the_next_one_connects_again(
    server: SmallServer, client: RedisClient
) -> None:
    server.may_answer.clear()
    with ThreadPoolExecutor(2) as pool:
        asking = pool.submit(client.ask, bytes, "ECHO", "first")
        assert server.asked.wait(20)
        dropping = pool.submit(client.drop)
        server.may_answer.set()
        assert asking.result() == b"first"
        dropping.result()
    assert client.ask(bytes, "ECHO", "next") == b"next"
    assert server.connections == 2


def test_close_interrupts_the_request_of_one_thread_and_refuses_the_waiting_one(
    server: SmallServer, client: RedisClient
) -> None:
    server.may_answer.clear()
    with ThreadPoolExecutor(2) as pool:
        asking = pool.submit(client.ask, bytes, "ECHO", "first")
        assert server.asked.wait(20)
        waiting = pool.submit(client.pipeline, [echoed(1)])
        client.close()
        with pytest.raises(StoreError):
            asking.result()
        (refused,) = waiting.result()
        assert isinstance(refused, StoreError)
    with pytest.raises(StoreError, match="the connection is closed"):
        client.ask(bytes, "ECHO", "later")


def test_a_request_whose_parser_was_closed_reports_a_closed_connection(
    client: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.ask(bytes, "ECHO", "first") == b"first"

    def torn(*_: object, **__: object) -> None:
        client.close()
        raise AttributeError("the parser has no buffer")

    monkeypatch.setattr(connection.AbstractConnection, "read_response", torn)
    with pytest.raises(StoreError, match="the connection is closed"):
        client.ask(bytes, "ECHO", "second")


@pytest.mark.parametrize("verb", ["ask", "ask_all", "pipeline", "subscribe", "messages", "run_id"])
def test_a_fault_of_redis_py_is_an_error_of_ours_and_the_next_request_connects_again(
    server: SmallServer, client: RedisClient, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    requests: dict[str, Callable[[], object]] = {
        "ask": lambda: client.ask(bytes, "ECHO", "1"),
        "ask_all": lambda: client.ask_all(bytes, [["ECHO", "1"]]),
        "pipeline": lambda: client.pipeline([echoed(1)]),
        "subscribe": lambda: client.subscribe("SUBSCRIBE", ["a"]),
        "messages": lambda: client.messages(60.0),
        "run_id": client.run_id,
    }

    def broken(*_: object, **__: object) -> None:
        raise AttributeError("planted")

    assert client.ask(bytes, "ECHO", "first") == b"first"
    with monkeypatch.context() as patched:
        for name in ("read_response", "can_read"):
            patched.setattr(connection.AbstractConnection, name, broken)
        if verb == "pipeline":
            (error,) = client.pipeline([echoed(1)])
        else:
            with pytest.raises(StoreError) as caught:
                requests[verb]()
            error = caught.value
    assert "AttributeError('planted')" in error.message
    assert error.status is Status.INTERNAL
    assert client.ask(bytes, "ECHO", "next") == b"next"
    assert server.connections == 2


@pytest.mark.parametrize("end", ["server", "client"])
def test_a_wait_for_messages_ends_with_its_connection_and_opens_no_other(
    server: SmallServer, client: RedisClient, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    assert client.ask(bytes, "ECHO", "first") == b"first"
    receives, receive_into = threading.Event(), TimedSocket.receive_into

    def receive(timed: TimedSocket, place: memoryview) -> int:
        receives.set()
        return receive_into(timed, place)

    monkeypatch.setattr(TimedSocket, "receive_into", receive)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.messages, 60.0)
        assert receives.wait(20)
        if end == "server":
            server.cut()
        else:
            client.close()
        with pytest.raises(StoreError):
            waiting.result(30)
    assert server.connections == 1
