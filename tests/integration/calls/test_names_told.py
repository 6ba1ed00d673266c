"""The names at the positions of a client's REQUESTs, read by the reference."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest

import fastrpc
from fastrpc import Client, ClientConfig, SyncClient, Timeouts
from fastrpc.failmodes import FailBackup
from tests.support.peer_writing import write_to
from tests.support.reference_server import ReferenceServer, reference_server
from tests.support.wire_frames import Response
from tests.support.wire_layout import FLAG_ONE_WAY
from tests.support.wire_names import names_told
from tests.support.wire_peer import ReferencePeer

pytestmark = pytest.mark.one_loop

NAMES = ("source", "target", "cents", "note")
#: The positions of the fields in the events of the reference.
ATTEMPT, NAMES_AT, PAYLOAD_AT = 6, 9, 11


@fastrpc.service("bank")
class Bank(Protocol):
    @fastrpc.method(idempotent=True)
    async def transfer(
        self, source: str, target: str = "t", cents: int = 0, note: str = "", *, tag: str = ""
    ) -> Any: ...

    @fastrpc.method(codec="raw")
    async def echo(self, data: bytes) -> bytes: ...

    @fastrpc.method
    async def named(self, *, only: int) -> Any: ...

    @fastrpc.method
    async def nothing(self) -> None: ...


@pytest.fixture
def server() -> Iterator[ReferenceServer]:
    with reference_server() as server:
        yield server


@pytest.fixture
def client(server: ReferenceServer) -> Iterator[SyncClient]:
    config = ClientConfig(timeouts=Timeouts(linger=0.0), early_calls="all")
    with SyncClient(server.address, config=config) as client:
        yield client


def told(count: int) -> int:
    return names_told(NAMES[:count])


CALLS: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any], int, Any]] = {
    "one position": (Bank.transfer, ("a",), {}, told(1), ["a"]),
    "all positions": (Bank.transfer, ("a", "b", 1, "n"), {}, told(4), ["a", "b", 1, "n"]),
    "names in order": (Bank.transfer, (), {"target": "b", "source": "a"}, told(2), ["a", "b"]),
    "a hole": (Bank.transfer, ("a",), {"cents": 3}, told(3), {0: "a", 2: 3}),
    "a hole up to the last": (Bank.transfer, ("a",), {"note": "n"}, told(4), {0: "a", 3: "n"}),
    "position and name": (Bank.transfer, ("a",), {"tag": "x"}, told(1), {0: "a", "tag": "x"}),
    "names only": (Bank.named, (), {"only": 1}, 0, {"only": 1}),
    "nothing": (Bank.nothing, (), {}, 0, []),
    "by string, positions": ("bank.transfer", ("a", "b"), {}, 0, ["a", "b"]),
    "by string, names": ("bank.transfer", (), {"source": "a"}, 0, {"source": "a"}),
    "by string, both": ("bank.transfer", ("a",), {"target": "b"}, 0, {0: "a", "target": "b"}),
}


@asynccontextmanager
async def recorder(seen: list[int], *, answers: bool = True) -> AsyncIterator[str]:
    """Yield the address of a server that notes the names in REQUESTs, and answers None."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = ReferencePeer(is_server=True)
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                for event in peer.receive(data):
                    if event[0] != "request":
                        continue
                    seen.append(event[NAMES_AT])
                    if answers and not event[3] & FLAG_ONE_WAY:
                        peer.callee.respond(Response(event[1], payload=b"\xc0", codec=1))
                write_to(writer, peer.take_output())
        writer.close()

    with tempfile.TemporaryDirectory(prefix="fastrpc") as folder:
        path = Path(folder) / "socket"
        async with await asyncio.start_unix_server(serve, path):
            yield f"unix://{path}"


def decoded(event: Any) -> Any:
    return msgspec.msgpack.Decoder(strict=False).decode(event[PAYLOAD_AT])


@pytest.mark.parametrize("call", CALLS)
def test_a_call_tells_the_names_of_its_positions(
    call: str, server: ReferenceServer, client: SyncClient
) -> None:
    method, args, kwargs, names, payload = CALLS[call]
    answer = server.start(lambda: client.call(method, *args, **kwargs))
    connection = server.accept()
    event = connection.next("request")
    assert (event[NAMES_AT], decoded(event)) == (names, payload)
    connection.respond(event[1])
    assert answer.result() is None


@pytest.mark.parametrize("call", CALLS)
def test_a_notification_tells_the_same(call: str, server: ReferenceServer, client: SyncClient) -> None:
    method, args, kwargs, names, _ = CALLS[call]
    done = server.start(lambda: client.notify(method, *args, **kwargs))
    connection = server.accept()
    assert connection.next("request")[NAMES_AT] == names
    done.result()


@pytest.mark.parametrize("call", CALLS)
async def test_an_asynchronous_call_tells_the_same(call: str) -> None:
    method, args, kwargs, names, _ = CALLS[call]
    seen: list[int] = []
    async with recorder(seen) as target, Client(target) as client:
        await client.call(method, *args, **kwargs)
        await client.request(method, *args, **kwargs)
        await client.notify(method, *args, **kwargs)
        # Behind the notification on the same connection, so that it was read.
        await client.call("bank.nothing")
    assert seen == [names] * 3 + [0]


async def test_all_calls_of_a_batch_and_of_a_fan_out_send_their_names() -> None:
    seen: list[int] = []
    async with recorder(seen) as target, Client(target) as client:
        await client.call_many(Bank.transfer, [("a",), ("a", "b", 1), ("a", "b")])
        await client.broadcast(Bank.transfer, "a", "b")
        await client.fork(Bank.transfer, source="a", target="b", cents=1)
        await client.bind(Bank).transfer("a")
    assert seen == [told(1), told(3), told(2), told(2), told(3), told(1)]


async def test_a_hedge_tells_them_too() -> None:
    silent: list[int] = []
    quick: list[int] = []
    async with AsyncExitStack() as stack:
        targets = [
            await stack.enter_async_context(recorder(silent, answers=False)),
            await stack.enter_async_context(recorder(quick)),
        ]
        client = await stack.enter_async_context(Client(targets, fail_mode=FailBackup(delay=0.01)))
        # Whichever is asked first, both are after two calls.
        await client.call(Bank.transfer, "a", "b")
        await client.call(Bank.transfer, "a", "b")
    assert set(quick) == set(silent) == {told(2)}


def test_raw_bytes_have_no_positions(server: ReferenceServer, client: SyncClient) -> None:
    answer = server.start(client.call, Bank.echo, b"x")
    connection = server.accept()
    event = connection.next("request")
    assert event[NAMES_AT] == 0
    connection.respond(event[1], b"x", codec=0)
    assert answer.result() == b"x"


def test_json_tells_them_as_well(server: ReferenceServer, client: SyncClient) -> None:
    view = client.with_options(codec="json")
    answer = server.start(lambda: view.call(Bank.transfer, "a", cents=3))
    connection = server.accept()
    event = connection.next("request")
    assert (event[NAMES_AT], event[PAYLOAD_AT]) == (told(3), b'{"0":"a","2":3}')
    connection.respond(event[1], b'"done"', codec=2)
    assert answer.result() == "done"


def test_each_call_of_a_batch_sends_its_own_names(server: ReferenceServer, client: SyncClient) -> None:
    answer = server.start(client.call_many, Bank.transfer, [("a",), ("a", "b", 1), ("a", "b")])
    connection = server.accept()
    events = [connection.next("request") for _ in range(3)]
    assert [event[NAMES_AT] for event in events] == [told(1), told(3), told(2)]
    for event in events:
        connection.respond(event[1], msgspec.msgpack.encode(str(event[1])))
    assert answer.result() == [str(event[1]) for event in events]


def test_a_retry_tells_them_again(server: ReferenceServer, client: SyncClient) -> None:
    answer = server.start(client.call, Bank.transfer, "a", "b")
    connection = server.accept()
    first = connection.next("request")
    connection.respond(first[1], b"", status=14, outcome=1)
    second = connection.next("request")
    assert (second[ATTEMPT], second[NAMES_AT]) == (1, first[NAMES_AT]) == (1, told(2))
    connection.respond(second[1], msgspec.msgpack.encode("done"))
    assert answer.result() == "done"


def test_a_call_that_is_sent_before_the_settings_sends_its_names(
    server: ReferenceServer, client: SyncClient
) -> None:
    answer = server.start(client.call, Bank.transfer, "a")
    connection = server.accept()
    # No answer is sent before the request is complete.
    data = b""
    while told(1).to_bytes(8, "little") not in data:
        data += connection.stream.recv(1 << 20)
    assert connection.peer.receive(data)[-1][NAMES_AT] == told(1)
    connection.respond(1, msgspec.msgpack.encode("done"))
    assert answer.result() == "done"
