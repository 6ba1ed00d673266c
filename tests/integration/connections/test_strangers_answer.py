"""Another program answers on the port: the call did not run there, even if it was written, and goes elsewhere."""

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, ClientConfig, ConnectError, FastRPCError, SyncClient
from fastrpc.testing import serving

pytestmark = pytest.mark.one_loop

KINDS = pytest.mark.parametrize("kind", ["async", "sync"])
STRANGERS = (
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"220 mail.example.org ESMTP\r\n",
    b"-ERR unknown command\r\n",
    b"\x15\x03\x01\x00\x02\x02\x0a",
    b"?",
    b"\xf5FRX\x01\x01\x00\x00",
    b"\xf5FRP\x00\x07\x00\x00",
)


@fastrpc.service("ledger")
class Ledger:
    @fastrpc.method(idempotent=True)
    async def read(self) -> int:
        return 42

    @fastrpc.method
    async def write(self) -> int:
        return 42


@contextmanager
def answering(first: bytes, *, speaks_first: bool) -> Iterator[str]:
    """A server of another protocol: it answers the same bytes to any input, and closes."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            # A client that knows already is gone.
            with connection, suppress(OSError):
                if not speaks_first:
                    connection.recv(4096)
                connection.sendall(first)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


async def outcome_of(kind: str, target: Any, use: Callable[[Any], Any], early: Any, **options: Any) -> Any:
    """Return the outcome of a use of a client, errors included."""
    config = ClientConfig(early_calls=early)

    def blocking() -> Any:
        with SyncClient(target, config=config, **options) as client:
            try:
                return use(client)
            except FastRPCError as error:
                return error

    if kind == "sync":
        return await asyncio.to_thread(blocking)
    async with Client(target, config=config, **options) as client:
        try:
            return await use(client)
        except FastRPCError as error:
            return error


def call_once(client: Any) -> Any:
    return client.with_options(fail_mode="failfast").call(Ledger.read)


def call_unsafe(client: Any) -> Any:
    return client.call(Ledger.write)


def call_batch(client: Any) -> Any:
    return client.call_many(Ledger.read, [(), ()])


def notify(client: Any) -> Any:
    return client.notify(Ledger.read)


@KINDS
@pytest.mark.parametrize("speaks_first", [False, True])
@pytest.mark.parametrize("use", [call_once, call_unsafe, call_batch, notify])
async def test_a_call_to_somebody_else_did_not_run(
    kind: str, speaks_first: bool, use: Callable[[Any], Any]
) -> None:
    for first in STRANGERS:
        await fail_at(first, kind, speaks_first, use)


async def fail_at(first: bytes, kind: str, speaks_first: bool, use: Callable[[Any], Any]) -> None:
    """Check the error of a call to somebody who says this."""
    with answering(first, speaks_first=speaks_first) as address:
        error = await outcome_of(kind, address, use, "all")
    assert type(error) is ConnectError
    assert (error.processed, error.retryable) == ("no", True)
    assert "may have run" not in str(error)
    assert address in str(error)
    if first.startswith(b"\xf5FRP"):
        assert "no common version: the server speaks up to 7" in str(error)
    else:
        assert "not a fastrpc server" in str(error)
        assert repr(first[:16]) in str(error)


@KINDS
@pytest.mark.parametrize("use", [call_unsafe, call_batch])
async def test_a_call_goes_elsewhere_from_somebody_else(kind: str, use: Callable[[Any], Any]) -> None:
    for first in STRANGERS:
        with answering(first, speaks_first=False) as address, serving(Ledger) as good:
            for _ in range(3):
                value = await outcome_of(kind, [address, good], use, "all")
                assert value in (42, [42, 42]), (first, value)


async def test_the_log_of_a_server_names_the_stranger_as_a_client(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "fastrpc.server"), serving(Ledger) as address:
        host, port = address.removeprefix("tcp://").split(":")
        with socket.create_connection((host, int(port))) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert await asyncio.to_thread(stranger.recv, 100) == b""
    assert "not a fastrpc client but one that speaks HTTP" in caplog.text
    assert "the first bytes are b'GET / HTTP/1.1" in caplog.text
