"""Mistakes of newcomers: the error shows the right form."""

import asyncio
import copy
import inspect
import pickle
import pydoc
import re
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import pytest
import trio

import fastrpc
from fastrpc import (
    CallError,
    Client,
    ClientConfig,
    ConfigError,
    ConnectError,
    ConnectionLostError,
    DeadlineExceededError,
    EncodeError,
    Limits,
    Server,
    ServerConfig,
    Status,
    SyncClient,
    UnavailableError,
)
from fastrpc.testing import connected, serving
from tests.support.desk import Desk

pytestmark = pytest.mark.one_loop

NOWHERE = "tcp://127.0.0.1:9"
KINDS = pytest.mark.parametrize("kind", [Client, SyncClient])


# Options in the wrong place


@KINDS
@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"timeout": 3}, r"with_options\(timeout=….*Timeouts\(call=…"),
        ({"metadata": {}}, r"with_options\(metadata=…"),
        ({"hash_key": "a"}, r"with_options\(hash_key=…"),
        ({"compressor": "gzip"}, r"with_options\(compressor=…"),
        ({"tls": None}, r"ClientConfig\(tls=…"),
        ({"connect": 3}, r"ClientConfig\(timeouts=Timeouts\(connect=…"),
        ({"message_bytes": 3}, r"ClientConfig\(limits=Limits\(message_bytes=…"),
        ({"colour": "red"}, r"no argument 'colour' \(there are target, "),
    ],
)
def test_an_argument_that_a_client_does_not_take_says_where_it_belongs(
    kind: Any, options: dict[str, Any], advice: str
) -> None:
    with pytest.raises(TypeError, match=advice):
        kind(NOWHERE, **options)


async def test_an_option_among_the_arguments_of_a_call_says_where_it_belongs() -> None:
    async with connected(Desk) as client:
        for option in ("timeout", "metadata", "idempotent"):
            for verb in (client.call, client.request, client.notify):
                with pytest.raises(TypeError, match=rf"with_options\({option}=….*Desk\.mul"):
                    await verb(Desk.mul, 6, 7, **{option: 1})  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"unexpected keyword argument 'colour'$"):
            await client.call(Desk.mul, 6, 7, colour="red")  # type: ignore[call-arg]


@fastrpc.service("waiter")
class Waiter:
    @fastrpc.method
    async def wait(self, timeout: float) -> float:
        return timeout


async def test_a_parameter_may_be_called_as_an_option_is() -> None:
    async with connected(Waiter) as client:
        assert await client.call(Waiter.wait, timeout=3) == 3


def test_the_blocking_client_says_the_same() -> None:
    with serving(Desk) as address, SyncClient(address) as client:
        with pytest.raises(TypeError, match=r"with_options\(timeout=…"):
            client.call(Desk.mul, 6, 7, timeout=1)  # type: ignore[call-arg]


# A call where a method belongs


@KINDS
@pytest.mark.parametrize("verb", ["call", "request", "notify"])
def test_a_method_that_was_called_already_is_refused_without_a_second_warning(kind: Any, verb: str) -> None:
    client = kind(NOWHERE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(TypeError, match=r"separately, as in call\(Desk\.mul, …\)"):
            getattr(client, verb)(Desk().mul(6, 7))
        with pytest.raises(TypeError, match=r"42 is not a remote method.*separately"):
            getattr(client, verb)(42, 1)
        with pytest.raises(TypeError, match="is not a remote method"):
            getattr(client, verb)(None)
        with pytest.raises(TypeError, match=r"separately, as in call\(Desk\.mul, …\)"):
            client.call_many(Desk().mul(6, 7), [()])


# Loops


def test_a_client_under_trio_says_that_it_needs_asyncio() -> None:
    async def main() -> None:
        client = Client(NOWHERE)
        for use in (lambda: client.call(Desk.mul, 6, 7), client.__aenter__, client.ready):
            with pytest.raises(RuntimeError, match=r"asyncio.*trio.*SyncClient"):
                await use()
        with pytest.raises(RuntimeError, match=r"Server needs asyncio.*trio"):
            await Server(Desk).start()

    trio.run(main)


# Errors of calls


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_deadline_that_passes_in_a_retry_names_the_time_of_the_whole_call(kind: str) -> None:
    attempts: list[int] = []
    blocked = threading.Event()

    @fastrpc.service("flaky")
    class Flaky:
        @fastrpc.method(idempotent=True, inline=True)
        def late(self) -> None:
            attempts.append(1)
            if len(attempts) == 1:
                blocked.wait(0.3)
                raise CallError(Status.UNAVAILABLE, "not yet", retry_after=0.05)
            # It answers nothing meanwhile, not even that the deadline passed.
            blocked.wait(20)

    with serving(Flaky) as address:
        with pytest.raises(DeadlineExceededError) as late:
            if kind == "sync":
                client = SyncClient(address)
                await asyncio.to_thread(client.with_options(timeout=1.3).call, Flaky.late)
            else:
                async with Client(address) as patient:
                    await patient.with_options(timeout=1.3).call(Flaky.late)
        blocked.set()
        if kind == "sync":
            client.close()
    assert len(attempts) == 2
    assert re.search(r"within 1\.3 s, the last [01]\.\d+ s in a retry", str(late.value)), late.value


@contextmanager
def vanishing() -> Iterator[str]:
    """A server that answers the opening and then ends each connection at the first request."""

    def serve() -> None:
        from tests.support.frame_factory import opening
        from tests.support.wire_frames import Request
        from tests.support.wire_parser import Parser

        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(opening(True))
                parser = Parser(True)
                while not any(isinstance(frame, Request) for frame in iter(parser.next_frame, None)):
                    if not (received := connection.recv(65_536)):
                        break
                    parser.feed(received)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_lost_connection_is_named(kind: str) -> None:
    with vanishing() as address:
        with pytest.raises(ConnectionLostError, match=rf"desk\.mul: the connection to {address} was lost"):
            if kind == "sync":
                with SyncClient(address) as client:
                    await asyncio.to_thread(client.call, Desk.mul, 6, 7)
            else:
                async with Client(address) as patient:
                    await patient.call(Desk.mul, 6, 7)


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (CallError(Status.NOT_FOUND, "no such user"), "CallError(Status.NOT_FOUND, 'no such user')"),
        (CallError(Status.INTERNAL), "CallError(Status.INTERNAL)"),
        (
            CallError(Status.ABORTED, "again", details={"a": 1}, retry_after=0.5),
            "CallError(Status.ABORTED, 'again', details={'a': 1}, retry_after=0.5)",
        ),
    ],
)
def test_the_repr_of_a_call_error_shows_its_status(error: CallError, shown: str) -> None:
    assert repr(error) == shown
    assert repr(eval(shown)) == shown
    assert repr(copy.copy(error)) == repr(pickle.loads(pickle.dumps(error))) == shown


@dataclass
class Cat:
    name: str


@dataclass
class Dog:
    name: str


@pytest.mark.parametrize("place", ["parameter", "result", "inside"])
async def test_a_union_of_dataclasses_is_refused_with_the_way_out(place: str) -> None:
    @fastrpc.service("pets")
    class Pets:
        if place == "parameter":

            @fastrpc.method
            async def take(self, pet: Cat | Dog) -> None: ...

        elif place == "result":

            @fastrpc.method
            async def give(self) -> Cat | Dog:
                return Cat("Tom")

        else:

            @fastrpc.method
            async def all(self) -> list[Cat | Dog | None]:
                return []

    with pytest.raises(ConfigError, match=r"msgspec\.Struct, tag=True"):
        await Server(Pets).start()
    with pytest.raises(ConfigError, match=r"msgspec\.Struct, tag=True"):
        client: Any = Client(NOWHERE)
        client.call(next(getattr(Pets, name) for name in ("take", "give", "all") if hasattr(Pets, name)))


# Somebody else answers


@contextmanager
def answering(first: bytes) -> Iterator[str]:
    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(4)
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


@pytest.mark.parametrize("kind", ["async", "sync"])
@pytest.mark.parametrize(
    ("first", "who"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "an HTTP server"),
        (b"<!DOCTYPE HTML>\n<html>", "an HTTP server"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "an SSH server"),
        (b"\x15\x03\x01\x00\x02\x02\x0a", "a TLS server"),
        (b"+OK POP3 ready\r\n", "something else"),
    ],
)
async def test_an_unexpected_peer_that_answers_is_named(kind: str, first: bytes, who: str) -> None:
    with answering(first) as address:
        with pytest.raises(ConnectError) as refused:
            if kind == "sync":
                with SyncClient(address) as client:
                    await asyncio.to_thread(client.call, "a.b")
            else:
                async with Client(address) as patient:
                    await patient.call("a.b")
    assert f"{who} answered there" in (refused.value.hint or "")
    assert "is a server running" not in str(refused.value)
    assert address in str(refused.value)


# Output of help() and completion


@pytest.mark.parametrize("kind", [Client, SyncClient, Server])
def test_help_does_not_show_every_default(kind: Any) -> None:
    shown = pydoc.render_doc(kind, renderer=pydoc.plaintext)
    assert len(str(inspect.signature(kind))) < 800
    assert "Keepalive(" not in str(inspect.signature(kind))
    assert "config: " in str(inspect.signature(kind))
    assert "concurrent_calls=10000" not in shown


def test_settings_show_only_differences_from_their_defaults() -> None:
    assert repr(ClientConfig()) == "ClientConfig()"
    assert repr(ClientConfig(codec="json", limits=Limits(depth=7))) == (
        "ClientConfig(codec='json', limits=Limits(depth=7))"
    )
    assert eval(repr(ClientConfig(limits=Limits(depth=7)))) == ClientConfig(limits=Limits(depth=7))


OPTIONS = ["codec", "compressor", "endpoint", "fail_mode", "hash_key", "idempotent", "metadata", "priority"]
OPTIONS += ["wait_for_ready"]
VERBS = [
    "bind",
    "broadcast",
    "call",
    "call_many",
    "close",
    "fork",
    "notify",
    "open",
    "ready",
    "request",
    "stats",
    "stream",
]
CLIENT = sorted({*OPTIONS, *VERBS, "with_options"})
#: PEP 492, and the members for interceptors, selectors and fail modes.
COROUTINE = ["close", "cr_await", "cr_code", "cr_frame", "cr_running", "send", "throw"]
CALL = [
    "arguments",
    "attempt",
    "cancelled",
    "deadline",
    "draining",
    "error",
    "http",
    "id",
    "identity",
    "kind",
    "metadata",
]
CALL += [
    "method",
    "peer",
    "priority",
    "remaining",
    "reply_metadata",
    "route",
    "send_metadata",
    "side",
    "sleep",
    "state",
    "status",
]
FAIL_MODE = ["hash_key", "inside_retry", "is_idempotent"]


@KINDS
def test_completion_shows_the_verbs_and_options_of_a_client_and_nothing_else(kind: Any) -> None:
    client = kind(NOWHERE)
    assert public_names(client) == CLIENT
    assert public_names(client.with_options(timeout=1)) == CLIENT


def test_completion_of_a_call_shows_only_its_public_members() -> None:
    client = Client(NOWHERE)
    call, batch = client.call("a.b"), client.call_many("a.b", [()])
    calls = [*COROUTINE, *CALL, *FAIL_MODE, "wrap_received", "wrap_sent"]
    assert public_names(call) == public_names(batch) == sorted([*calls, "endpoint", "retry_policy"])
    call.close()
    batch.close()  # type: ignore[attr-defined]


def public_names(thing: object) -> list[str]:
    return [name for name in dir(thing) if not name.startswith("_")]


# Values over a limit


async def test_hint_for_a_value_over_a_limit_advises_to_stream() -> None:
    config = ClientConfig(limits=Limits(message_bytes=4096))
    async with connected(Desk) as client, connected(Desk, client_config=config) as small:
        for one in (client, small):
            with pytest.raises(EncodeError) as refused:
                await one.call(Desk.echo, bytes(20_000_000))
            assert "in pieces, as a stream" in (refused.value.hint or "")


@pytest.mark.parametrize("kind", ["async", "sync"])
@pytest.mark.parametrize(
    ("served", "spoken", "told"),
    [
        ("rpcx", "native", 'wire_protocol="rpcx"'),
        ("native", "rpcx", "does it speak rpcx?"),
        ("native", "phobos", "does it speak phobos?"),
    ],
)
async def test_a_server_of_another_protocol_is_explained(
    kind: str, served: str, spoken: Literal["native", "rpcx", "phobos"], told: str
) -> None:
    config = ClientConfig(wire_protocol=spoken)

    def call_blocking(address: str) -> None:
        with SyncClient(address, config=config) as client:
            client.call("a.b")

    async with Server(config=ServerConfig(protocols=(served,))) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        with pytest.raises(UnavailableError, match=re.escape(told)):
            if kind == "sync":
                await asyncio.to_thread(call_blocking, address)
            else:
                async with Client(address, config=config) as client:
                    await client.call("a.b")


async def test_an_address_in_the_place_of_a_source_is_named() -> None:
    with pytest.raises(ConfigError, match="write address='tcp://127.0.0.1:1'"):
        await Server("tcp://127.0.0.1:1").start()
