"""A blocking client over bytes that differ from the bytes of its socket, as where they are encrypted.

The client reads and writes a `MaskedIO`, which reads ahead and sends in small pieces; behind it a relay takes the mask
off. Bytes that bypassed the I/O object would reach the server masked.
"""

import itertools
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest

import fastrpc
from fastrpc import ClientConfig, DeadlineExceededError, SyncClient, Timeouts
from fastrpc.endpoint import Address
from fastrpc.testing import serving
from fastrpc.transports.base import DialOptions, add_transport, remove_transport
from fastrpc_harness.masked_io import MaskedIO

MASK = bytes(number ^ 0x5A for number in range(256))


@fastrpc.service("masked")
class Echo:
    def __init__(self) -> None:
        self.noted: list[int] = []
        self.released = threading.Event()

    @fastrpc.method(codec="raw")
    def echo(self, payload: bytes) -> bytes:
        return payload

    @fastrpc.method
    def note(self, number: int) -> None:
        self.noted.append(number)

    @fastrpc.method
    def notes(self) -> list[int]:
        return self.noted

    @fastrpc.method
    def wait(self) -> None:
        self.released.wait(20)


class MaskedTransport:
    """Connects to one TCP address through a relay that takes the mask off."""

    numbers = itertools.count(1)

    def __init__(self, target: Address) -> None:
        self.scheme = f"masked-{next(self.numbers)}"
        self._target = target
        self._threads: list[threading.Thread] = []
        self.sent = bytearray()
        self.ends: list[socket.socket] = []

    def connect(self, address: Address, timeout: float | None, options: DialOptions) -> MaskedIO:
        near, far = socket.socketpair()
        # Small, so that the system often takes a part only.
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        server = socket.create_connection((self._target.host, self._target.port))
        self.ends += [far, server]
        for source, sink, kept in ((far, server, self.sent), (server, far, bytearray())):
            thread = threading.Thread(target=relay, args=(source, sink, kept))
            thread.start()
            self._threads.append(thread)
        return MaskedIO(near)

    def cut(self) -> None:
        for end in self.ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def wait_ended(self) -> None:
        for thread in self._threads:
            thread.join()

    def close(self) -> None:
        self.cut()
        self.wait_ended()
        for end in self.ends:
            end.close()


def relay(source: socket.socket, sink: socket.socket, kept: bytearray) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            kept += data
            sink.sendall(data.translate(MASK))
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def masked(service: Echo) -> Iterator[tuple[MaskedTransport, str]]:
    with ExitStack() as stack:
        transport = MaskedTransport(Address.parse(stack.enter_context(serving(service))))
        stack.callback(transport.close)
        add_transport(transport)  # type: ignore[arg-type]
        stack.callback(remove_transport, transport)
        yield transport, f"{transport.scheme}://here:1"


@pytest.fixture
def connected() -> Iterator[tuple[Echo, MaskedTransport, SyncClient]]:
    service = Echo()
    config = ClientConfig(timeouts=Timeouts(call=20.0, linger=5.0))
    with masked(service) as (transport, target), SyncClient(target, config=config) as client:
        yield service, transport, client


Connected = tuple[Echo, MaskedTransport, SyncClient]


@pytest.mark.parametrize("size", [0, 1, 4_999, 5_001, 40_000, 300_000, 3_000_000])
def test_payloads_of_any_size_arrive_whole_both_ways(connected: Connected, size: int) -> None:
    _, transport, client = connected
    payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    for _ in range(3):
        assert client.call(Echo.echo, payload) == payload
    assert b"masked.echo" not in transport.sent
    assert b"masked.echo" in transport.sent.translate(MASK)


def test_batches_and_one_way_calls_pass_through(connected: Connected) -> None:
    _, _, client = connected
    payloads = [bytes([number % 256]) * 700 for number in range(200)]
    assert client.call_many(Echo.echo, [(payload,) for payload in payloads]) == payloads
    for number in range(50):
        client.notify(Echo.note, number)
    assert client.call(Echo.notes) == list(range(50))


def test_answers_that_were_read_ahead_are_found_by_the_next_call(connected: Connected) -> None:
    # Answers of a batch come in one piece; the first reader takes a part of it.
    _, _, client = connected
    for _ in range(100):
        assert client.call_many(Echo.echo, [(b"x",)] * 20) == [b"x"] * 20
        assert client.call(Echo.echo, b"y") == b"y"


def test_threads_share_one_masked_connection(connected: Connected) -> None:
    _, transport, client = connected

    def work(number: int) -> None:
        for step in range(20):
            payload = bytes([number, step]) * (10 if step % 5 else 60_000)
            assert client.call(Echo.echo, payload) == payload

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert len(transport.ends) == 2


def test_deadline_ends_a_wait_for_masked_bytes(connected: Connected) -> None:
    service, _, client = connected
    try:
        with pytest.raises(DeadlineExceededError):
            client.with_options(timeout=0.05).call(Echo.wait)
    finally:
        service.released.set()
    assert client.call(Echo.echo, b"x") == b"x"


def test_a_lost_connection_is_made_again_masked(connected: Connected) -> None:
    _, transport, client = connected
    assert client.call(Echo.echo, b"x") == b"x"
    transport.cut()
    results: list[Any] = []
    while not results:
        with suppress(fastrpc.FastRPCError):
            results.append(client.call(Echo.echo, b"y"))
    assert results == [b"y"]
    assert len(transport.ends) == 4


def test_closing_says_goodbye_through_the_mask() -> None:
    with masked(Echo()) as (transport, target):
        with SyncClient(target) as client:
            client.call(Echo.echo, b"x")
            before = len(transport.sent)
        # A GOAWAY, and then the end of the stream, which the server answers with its own.
        transport.wait_ended()
        assert len(transport.sent) > before
