"""The frames of a blocking client on the wire, against the reference stepped by hand."""

import socket
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

import fastrpc
from fastrpc import Backoff, ClientConfig, Keepalive, SyncClient, Timeouts
from fastrpc._core.io.blocking_io import BlockingIO, SocketIO
from fastrpc.transports.blocking import connect
from tests.support.frame_factory import cut
from tests.support.reference_server import ReferenceConnection, ReferenceServer, opened, reference_server
from tests.support.wire_frames import Response, Skipped
from tests.support.wire_layout import FLAG_IDEMPOTENT, Kind, Reason
from tests.support.wire_settings import Setting

CANCEL_DEADLINE = 1
#: Connections of a test live for milliseconds: longer than this they do not count as dropped at once.
QUICK = Backoff(first=0.0001)


@pytest.fixture
def server() -> Iterator[ReferenceServer]:
    with reference_server() as server:
        yield server


@pytest.fixture
def client(server: ReferenceServer) -> Iterator[SyncClient]:
    # The server of a test does not close its side by itself.
    config = ClientConfig(backoff=QUICK, timeouts=Timeouts(linger=0.0))
    with SyncClient(server.address, config=config) as client:
        yield client


# Opening


def test_opening_says_that_nobody_reads_while_idle(server: ReferenceServer, client: SyncClient) -> None:
    answer = server.start(client.call, "arith.mul", 6, 7)
    connection = server.accept()
    settings = dict(connection.next("settings")[1])
    assert settings[Setting.PING_REPLY_MS] == 0
    assert settings[Setting.MAX_CALLS] == 0
    connection.respond(connection.next("request")[1])
    answer.result()


def test_idempotent_call_goes_out_before_the_servers_settings(
    server: ReferenceServer, client: SyncClient
) -> None:
    answer = server.start(client.with_options(idempotent=True).call, "arith.mul", 6, 7)
    connection = server.accept()
    first = connection.stream.recv(1 << 16)
    assert b"arith.mul" in first
    assert connection.peer.receive(first)[-1][0] == "request"
    connection.respond(1)
    answer.result()


def test_other_calls_wait_for_the_servers_settings(server: ReferenceServer, client: SyncClient) -> None:
    answer = server.start(client.call, "arith.mul", 6, 7)
    connection = server.accept()
    first = connection.stream.recv(1 << 16)
    assert b"arith.mul" not in first
    connection.peer.receive(first)
    connection.send()
    connection.respond(connection.next("request")[1])
    answer.result()


def test_settings_are_acknowledged_by_the_call_that_reads_them(
    server: ReferenceServer, client: SyncClient
) -> None:
    answer = server.start(client.with_options(idempotent=True).call, "arith.mul", 6, 7)
    connection = server.accept()
    connection.peer.receive(connection.stream.recv(1 << 16))
    connection.respond(1)
    answer.result()
    assert connection.next("settings_ack")


def test_server_that_never_opens_costs_the_handshake_timeout(server: ReferenceServer) -> None:
    config = ClientConfig(timeouts=Timeouts(handshake=0.1))
    with SyncClient(server.address, config=config) as client:
        answer = server.start(client.call, "arith.mul", 6, 7)
        server.accept()
        assert isinstance(answer.exception(), fastrpc.UnavailableError)
        assert "the opening took more than 0.1 s" in str(answer.exception())


# While idle


def test_end_of_the_stream_while_idle_costs_no_call(server: ReferenceServer, client: SyncClient) -> None:
    opened(server, client).close()
    answer = server.start(client.call, "arith.mul", 6, 7)
    connection = server.accept()
    assert connection.next("request")[6] == 0, "the call is not a retry"
    connection.respond(1)
    answer.result()


def test_goaway_while_idle_costs_no_call(server: ReferenceServer, client: SyncClient) -> None:
    first = opened(server, client)
    first.peer.start_drain()
    first.send()
    answer = server.start(client.call, "arith.mul", 6, 7)
    second = server.accept()
    second.respond(second.next("request")[1])
    answer.result()
    assert [event for event in first.read_to_the_end() if event[0] == "request"] == []


def test_ping_is_answered_while_a_call_waits(server: ReferenceServer, client: SyncClient) -> None:
    connection = opened(server, client)
    answer = server.start(client.call, "arith.mul", 6, 7)
    call_id = connection.next("request")[1]
    connection.peer.ping(b"nowwhile")
    connection.send()
    assert connection.next("pong") == ("pong", b"nowwhile")
    connection.respond(call_id)
    answer.result()


# The end of calls


def test_deadline_tells_the_server_at_once(server: ReferenceServer, client: SyncClient) -> None:
    connection = opened(server, client)
    answer = server.start(client.with_options(timeout=0.5).call, "arith.mul", 6, 7)
    call_id = connection.next("request")[1]
    assert connection.next("cancel") == ("cancel", call_id, CANCEL_DEADLINE)
    error = answer.exception()
    assert isinstance(error, fastrpc.DeadlineExceededError)
    assert error.processed == "unknown"
    assert server.address in str(error)


def test_answer_that_comes_after_the_deadline_is_dropped(server: ReferenceServer, client: SyncClient) -> None:
    connection = opened(server, client)
    late = server.start(client.with_options(timeout=0.5).call, "arith.mul", 6, 7)
    late_id = connection.next("request")[1]
    connection.next("cancel")
    assert isinstance(late.exception(), fastrpc.DeadlineExceededError)
    connection.respond(late_id, msgspec.msgpack.encode("late"))
    answer = server.start(client.call, "arith.mul", 6, 7)
    connection.respond(connection.next("request")[1], msgspec.msgpack.encode("in time"))
    assert answer.result() == "in time"
    assert client.stats()["live"]["calls"] == 0


def test_drain_ends_the_connection_with_its_last_call(server: ReferenceServer, client: SyncClient) -> None:
    connection = opened(server, client)
    answer = server.start(client.call, "arith.mul", 6, 7)
    call_id = connection.next("request")[1]
    connection.peer.start_drain()
    connection.peer.finish_drain()
    connection.send()
    connection.respond(call_id, msgspec.msgpack.encode("still here"))
    assert answer.result() == "still here"
    goodbye = connection.read_to_the_end()[-1]
    assert goodbye[0] == "goaway"
    assert goodbye[2] == Reason.DRAIN


def test_call_above_the_servers_last_id_is_tried_again(server: ReferenceServer, client: SyncClient) -> None:
    first = opened(server, client)
    answer = server.start(client.request, "arith.mul", 6, 7)
    assert b"arith.mul" in first.stream.recv(1 << 16)
    # The request crosses the GOAWAY: its id is above the last one that counts.
    first.peer.finish_drain()
    first.send()
    second = server.accept()
    second.respond(second.next("request")[1])
    assert answer.result().attempts == 2


def test_lost_connection_leaves_a_call_unknown(server: ReferenceServer, client: SyncClient) -> None:
    connection = opened(server, client)
    answer = server.start(client.call, "arith.mul", 6, 7)
    connection.next("request")
    connection.close()
    error = answer.exception()
    assert isinstance(error, fastrpc.ConnectionLostError)
    assert error.processed == "unknown"
    assert "the server closed it" in str(error)


def test_lost_connection_costs_an_idempotent_call_nothing(
    server: ReferenceServer, client: SyncClient
) -> None:
    connection = opened(server, client)
    answer = server.start(client.with_options(idempotent=True).request, "arith.mul", 6, 7)
    assert connection.next("request")[3] == FLAG_IDEMPOTENT
    connection.close()
    second = server.accept()
    request = second.next("request")
    assert request[6] == 1, "the attempt is counted on the wire"
    second.respond(request[1])
    assert answer.result().attempts == 2


def test_violation_is_said_and_ends_the_calls(server: ReferenceServer, client: SyncClient) -> None:
    connection = opened(server, client)
    answer = server.start(client.call, "arith.mul", 6, 7)
    connection.next("request")
    connection.stream.sendall(bytes.fromhex("00000000ff0000000000000000000000"))
    error = answer.exception()
    assert isinstance(error, fastrpc.ConnectionLostError)
    goodbye = connection.next("goaway")
    assert goodbye[2] == Reason.PROTOCOL


def test_silent_server_is_pinged_and_dropped(server: ReferenceServer) -> None:
    keepalive = Keepalive(interval=0.1, timeout=0.1, minimum_interval=0.01)
    with SyncClient(server.address, config=ClientConfig(keepalive=keepalive)) as client:
        answer = server.start(client.with_options(timeout=None).call, "arith.mul", 6, 7)
        connection = server.accept({Setting.MIN_PING_MS: 10})
        connection.next("request")
        error = answer.exception()
        assert isinstance(error, fastrpc.ConnectionLostError)
        assert "nothing came for" in str(error)
        assert connection.next("ping")
        assert connection.next("goaway")[2] == Reason.KEEPALIVE


def test_server_that_reads_only_while_it_waits_is_not_pinged(server: ReferenceServer) -> None:
    keepalive = Keepalive(interval=0.05, timeout=0.1, minimum_interval=0.01)
    with SyncClient(server.address, config=ClientConfig(keepalive=keepalive)) as client:
        answer = server.start(client.with_options(timeout=0.5).call, "arith.mul", 6, 7)
        connection = server.accept({Setting.MIN_PING_MS: 10, Setting.PING_REPLY_MS: 0})
        connection.next("request")
        assert isinstance(answer.exception(), fastrpc.DeadlineExceededError)
        assert connection.next("cancel")
        client.close()
        assert "ping" not in [event[0] for event in connection.read_to_the_end()]


def test_answer_that_stalls_fails_its_call_alone(server: ReferenceServer, client: SyncClient) -> None:
    connection = opened(server, client)
    client._pool.connections[0].engine.liveness.piece_wait_ns = 100_000_000
    answer = server.start(client.with_options(timeout=None).call, "arith.mul", 6, 7)
    call_id = connection.next("request")[1]
    first, *rest = cut(Response(call_id, 0, bytes(100_000), codec=1), 60_000)
    connection.stream.sendall(first)
    error = answer.exception()
    assert isinstance(error, fastrpc.DeadlineExceededError)
    assert "no piece of the message came for 0.1 s" in str(error)
    assert error.processed == "yes"
    assert connection.next("cancel")[1] == call_id
    connection.stream.sendall(b"".join(rest))
    other = server.start(client.call, "arith.mul", 6, 7)
    connection.respond(connection.next("request")[1], msgspec.msgpack.encode(42))
    assert other.result() == 42


# Writing


def test_server_that_reads_nothing_costs_the_deadline_only(
    server: ReferenceServer, client: SyncClient
) -> None:
    connection = opened(server, client)
    large = bytes(8 << 20)
    with pytest.raises(fastrpc.DeadlineExceededError) as caught:
        client.with_options(timeout=0.2, codec="raw").call("arith.keep", large)
    assert caught.value.processed == "no", "its last piece was not handed over"
    answer = server.start(client.call, "arith.mul", 6, 7)
    while True:
        request = connection.next("request")
        if request[2] == b"arith.mul":
            break
    connection.respond(request[1], msgspec.msgpack.encode(42))
    assert answer.result() == 42


def test_output_blocked_before_a_pause_does_not_end_the_connection_after_it(
    server: ReferenceServer, client: SyncClient
) -> None:
    connection = opened(server, client)
    (session,) = client._pool.connections
    session.engine.liveness.write_wait_ns = 1_000_000_000
    raw = client.with_options(timeout=20, codec="raw")
    # The server reads all bytes but returns no credit: the second call gets the remaining credit, the third gets none.
    for _ in range(3):
        early = server.start(raw.with_options(timeout=0.2).call, "arith.keep", bytes(12 << 20))
        connection.read_raw(early.done)
        assert isinstance(early.exception(), fastrpc.DeadlineExceededError)
    connection.take_read()
    # The pause itself: longer than output may wait.
    time.sleep(1.1)
    late = server.start(raw.call, "arith.keep", bytes(4 << 20))
    with pytest.raises(TimeoutError):
        # The server reads nothing for a moment, much shorter than output may wait.
        late.result(timeout=0.1)
    connection.respond(connection.next("request")[1], b"kept", codec=0)
    assert late.result() == b"kept"


def test_answers_arrive_while_the_server_reads_nothing(server: ReferenceServer, client: SyncClient) -> None:
    connection = opened(server, client)
    answer = server.start(client.call, "arith.mul", 6, 7)
    call_id = connection.next("request")[1]
    stuck = server.start(client.with_options(timeout=1, codec="raw").call, "arith.keep", bytes(8 << 20))
    # Its pieces fill the system's buffers: from here on the client cannot write.
    connection.stream.recv(1)
    connection.respond(call_id, msgspec.msgpack.encode(42))
    assert answer.result() == 42
    assert isinstance(stuck.exception(), fastrpc.DeadlineExceededError)


def test_calls_above_the_servers_limit_wait_their_turn(server: ReferenceServer, client: SyncClient) -> None:
    answers = [server.start(client.call, "arith.mul", number, 1) for number in range(4)]
    connection = server.accept({Setting.MAX_CALLS: 1, Setting.MAX_STREAMS: 1})
    for _ in answers:
        request = connection.next("request")
        connection.respond(request[1], msgspec.msgpack.encode(msgspec.msgpack.decode(request[-1])[0]))
    assert [answer.result() for answer in answers] == [0, 1, 2, 3]


def test_close_says_goodbye_and_waits_for_the_server(server: ReferenceServer) -> None:
    client = SyncClient(server.address)
    connection = opened(server, client)
    closing = server.start(client.close)
    goodbye = connection.read_to_the_end()[-1]
    assert goodbye[0] == "goaway"
    assert goodbye[2] == Reason.DRAIN
    assert not closing.done()
    connection.close()
    closing.result()


def test_close_ends_the_calls_of_other_threads(server: ReferenceServer) -> None:
    client = SyncClient(server.address)
    connection = opened(server, client)
    answers = [server.start(client.call, "arith.mul", 6, 7) for _ in range(3)]
    for _ in answers:
        connection.next("request")
    client.close()
    for answer in answers:
        assert isinstance(answer.exception(), fastrpc.ConnectionLostError)


# Connections that are given up


@pytest.mark.parametrize(
    "settings", [{"timeouts": Timeouts(idle=0.001, linger=0.0)}, {"keepalive": Keepalive(max_age=0.001)}]
)
def test_a_connection_unused_or_old_is_replaced_by_the_next_call(
    server: ReferenceServer, settings: dict[str, Any]
) -> None:
    with SyncClient(server.address, config=ClientConfig(backoff=QUICK, **settings)) as client:
        used: list[ReferenceConnection] = []
        for _ in range(2):
            # One may be too old before its first call where the machine stalls.
            answer = server.start(client.call, "arith.mul", 6, 7)
            connection, request = server.next_request()
            connection.respond(request[1], msgspec.msgpack.encode(42))
            assert answer.result() == 42
            used.append(connection)
            over = time.monotonic() + 0.002
            while time.monotonic() < over:
                pass
        first, second = used
        assert second is not first
        assert first.next("goaway")


def test_a_connection_in_use_is_not_idle(server: ReferenceServer) -> None:
    timeouts = Timeouts(idle=0.001, linger=0.0)
    with SyncClient(server.address, config=ClientConfig(backoff=QUICK, timeouts=timeouts)) as client:
        slow = server.start(client.call, "arith.mul", 6, 7)
        connection, request = server.next_request()
        over = time.monotonic() + 0.002
        while time.monotonic() < over:
            pass
        other = server.start(client.call, "arith.mul", 6, 7)
        connection.respond(connection.next("request")[1], msgspec.msgpack.encode(1))
        connection.respond(request[1], msgspec.msgpack.encode(2))
        assert (other.result(), slow.result()) == (1, 2)


def test_partly_written_calls_may_have_run(server: ReferenceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def narrow(*args: Any, **options: Any) -> BlockingIO:
        io = connect(*args, **options)
        assert isinstance(io, SocketIO)
        io.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        return io

    monkeypatch.setattr("fastrpc.client.blocking.dialing.connect", narrow)
    with SyncClient(
        server.address, config=ClientConfig(backoff=QUICK, timeouts=Timeouts(linger=0.0))
    ) as client:
        connection = opened(server, client)
        patient = client.with_options(timeout=2)
        answers = server.start(
            lambda: patient.call_many("arith.mul", [(bytes(200), 2)] * 100, return_exceptions=True)
        )
        # The buffer takes the beginning of one write, including the first request.
        connection.stream.recv(1)
        connection.close()
        error = answers.result()[0]
    assert isinstance(error, fastrpc.ConnectionLostError)
    assert error.processed == "unknown"


def test_a_pushing_thread_takes_over_reading_when_the_reader_has_its_answer(
    server: ReferenceServer, client: SyncClient
) -> None:
    connection = opened(server, client)
    reading = server.start(client.call, "arith.mul", 6, 7)
    number = connection.next("request")[1]
    pushing = server.start(client.call, "arith.put", bytes(8 * 1024 * 1024))
    connection.stream.recv(1, socket.MSG_PEEK)
    connection.respond(number)
    reading.result()
    # A server that reads no more before all it has to say was taken, which is more than any buffer holds.
    connection.stream.sendall(Skipped(Kind.TEST, 16_384).encode() * 500)
    connection.respond(connection.next("request")[1])
    assert pushing.result() is None
