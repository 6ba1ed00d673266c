"""One-way calls of a blocking client: handed over to the system, against the reference stepped by hand."""

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

import fastrpc
from fastrpc import Call, ClientConfig, Keepalive, SyncClient, Timeouts
from fastrpc._core.client.blocking_call import BlockingCall
from fastrpc.client.blocking.attempting import SyncAttempting
from tests.support.reference_server import ReferenceServer, opened, reference_server
from tests.support.waiting import eventually
from tests.support.wire_layout import CONNECTION_WINDOW as WINDOW_BYTES
from tests.support.wire_layout import FLAG_ONE_WAY


@pytest.fixture
def server() -> Iterator[ReferenceServer]:
    with reference_server() as server:
        yield server


@pytest.fixture
def client(server: ReferenceServer) -> Iterator[SyncClient]:
    # The server of a test does not close its side by itself.
    with SyncClient(server.address, config=ClientConfig(timeouts=Timeouts(linger=0.0))) as client:
        yield client


def test_one_way_call_is_handed_over_and_not_waited_for(server: ReferenceServer, client: SyncClient) -> None:
    connection = opened(server, client)
    assert client.notify("arith.mul", 6, 7) is None
    request = connection.next("request")
    assert request[3] & FLAG_ONE_WAY


def test_one_way_call_that_another_thread_sends_is_handed_over(
    server: ReferenceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, begun = SyncAttempting._note_sent, 0

    def note_sent(self: SyncAttempting) -> None:
        # Between the start of an attempt and the wait for it.
        nonlocal begun
        real(self)
        begun += 1
        if begun == 1:
            server.start(patient.notify, "arith.mul", 2, 2).result()

    async def interceptor(call: Call, proceed: Any) -> Any:
        return await proceed(call)

    # No PING, which would report earlier hand-overs as each flush does.
    config = ClientConfig(keepalive=Keepalive(interval=60), timeouts=Timeouts(linger=0.0))
    with SyncClient(server.address, config=config, interceptors=[interceptor]) as client:
        connection = opened(server, client)
        patient = client.with_options(timeout=20)
        monkeypatch.setattr(SyncAttempting, "_note_sent", note_sent)
        patient.notify("arith.mul", 1, 1)
        requests = [connection.next("request") for _ in range(2)]
    assert [msgspec.msgpack.decode(request[-1]) for request in requests] == [[1, 1], [2, 2]]


def test_one_way_call_is_handed_over_with_its_last_piece(server: ReferenceServer, client: SyncClient) -> None:
    connection = opened(server, client)
    raw = client.with_options(timeout=20, codec="raw")
    # Together they exceed the window: the rest of the second call waits here for credit.
    first = server.start(raw.notify, "arith.keep", bytes(WINDOW_BYTES * 3 // 4))
    connection.read_raw(first.done)
    second = server.start(raw.notify, "arith.keep", bytes(WINDOW_BYTES * 3 // 4))
    connection.read_raw(lambda: second.done() or len(connection.unread) >= WINDOW_BYTES * 15 // 16)
    with pytest.raises(TimeoutError):
        second.result(timeout=0.1)
    connection.take_read()
    connection.next("request")
    assert (first.result(), second.result()) == (None, None)


def test_wait_for_a_one_way_call_ends_with_its_hand_over_or_its_deadline(
    server: ReferenceServer, client: SyncClient
) -> None:
    connection = opened(server, client)
    raw = client.with_options(timeout=20, codec="raw")
    early = server.start(raw.notify, "arith.keep", bytes(WINDOW_BYTES * 3 // 4))
    connection.read_raw(early.done)
    late = server.start(raw.with_options(timeout=0.2).notify, "arith.keep", bytes(WINDOW_BYTES * 3 // 4))
    connection.read_raw(late.done)
    assert isinstance(late.exception(), fastrpc.DeadlineExceededError)
    connection.take_read()
    assert early.result() is None
    # A call brings the waits up to date once all output before it has left.
    for _ in range(20):
        answer = server.start(client.call, "arith.mul", 6, 7)
        connection.respond(connection.next("request")[1], msgspec.msgpack.encode(42))
        assert answer.result() == 42
        if not waits_for("arith.keep"):
            break
    assert waits_for("arith.keep") == []


def waits_for(method: str) -> list[tuple[Any, ...]]:
    """Return the waits for the hand-over of calls of a method."""
    calls = [one for one in gc.get_objects() if isinstance(one, BlockingCall) and one.method == method]
    return [held for call in calls for held in gc.get_referrers(call) if isinstance(held, tuple)]


class Queued:
    """A one-way call behind a long call of which the system takes a part only, as the server reads nothing."""

    def __init__(self, server: ReferenceServer, client: SyncClient) -> None:
        self.connection = opened(server, client)
        (session,) = client._pool.connections
        for function, arguments in ((self._keep, (client,)), (client.notify, ("arith.mul", 6, 7))):
            before = session.engine.stats()["credit"]
            self.call = server.start(function, *arguments)
            asyncio.run(eventually(lambda before=before: session.engine.stats()["credit"] < before))

    @staticmethod
    def _keep(client: SyncClient) -> Any:
        return client.with_options(timeout=20, codec="raw").call("arith.keep", bytes(8 << 20))


def test_one_way_call_that_the_system_has_not_taken_did_not_run(
    server: ReferenceServer, client: SyncClient
) -> None:
    queued = Queued(server, client)
    # Its next attempt finds no server.
    server.close()
    error = queued.call.exception()
    assert isinstance(error, fastrpc.UnavailableError)
    assert error.processed == "no"


def test_one_way_call_that_is_sent_before_the_close_may_run(
    server: ReferenceServer, client: SyncClient
) -> None:
    queued = Queued(server, client)
    closing = server.start(client.close)
    error = queued.call.exception()
    assert isinstance(error, fastrpc.ConnectionLostError)
    assert error.processed == "unknown"
    queued.connection.close()
    closing.result()
