"""The promises of the page of the public interface, as a stranger's program would rely on them."""

import asyncio
import dataclasses
import datetime
import enum
import math
import pickle
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from decimal import Decimal
from typing import Any, NotRequired, Protocol, TypedDict

import msgspec
import pytest

import fastrpc
from fastrpc import Client, Server, Status
from fastrpc.testing import connected
from tests.support.served import served

pytestmark = pytest.mark.one_loop

WORDS = """
    service method Server serve Client SyncClient Reply current_call Call CallError Status timeout detached Interceptor
    Proceed Metadata Peer Identity Address Endpoint Timeouts Keepalive Limits Memory Admission Pool Backoff TLS
    ClientConfig ServerConfig FastRPCError DeadlineExceededError UnavailableError NoEndpointError CircuitOpenError
    OverloadedError ConnectError ConnectionLostError ProtocolError LocalProtocolError RemoteProtocolError CodecError
    EncodeError DecodeError StreamEndedError StoreError BrokerError
    ConfigError Topic __version__
"""
NAMES = WORDS.split()


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Box(msgspec.Struct):
    corners: list[Point]
    note: str | None = None


class Options(TypedDict):
    size: int
    colour: NotRequired[Colour]


@fastrpc.service("shop.v1.arith", version="1.2")
class Arith:
    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        return a * b

    @fastrpc.method(name="minus", idempotent=True)
    async def subtract(self, a: int, b: int = 1) -> int:
        return a - b

    @fastrpc.method
    def halve(self, a: float) -> float:
        return a / 2

    @fastrpc.method(inline=True)
    def negate(self, a: int) -> int:
        return -a

    @fastrpc.method
    async def echo(self, value):  # type: ignore[no-untyped-def]
        return value

    @fastrpc.method
    async def first(self, box: Box, options: Options) -> tuple[Point, int]:
        box.corners[0].x += 1
        return box.corners[0], options["size"]

    @fastrpc.method
    async def same(
        self, moment: datetime.datetime, key: uuid.UUID, price: Decimal, colour: Colour, either: int | str
    ) -> tuple[datetime.datetime, uuid.UUID, Decimal, Colour, int | str]:
        return moment, key, price, colour, either

    @fastrpc.method(codec="raw")
    async def raw(self, data: bytes) -> bytes:
        return data[::-1]

    @fastrpc.method
    async def refuse(self, retry_after: float | None = None) -> None:
        raise fastrpc.CallError(
            Status.NOT_FOUND, "no such user", details={"id": [7]}, retry_after=retry_after
        )

    @fastrpc.method(timeout=50)
    async def capped(self) -> float | None:
        return fastrpc.current_call().remaining()

    @fastrpc.method
    async def left(self) -> float | None:
        return fastrpc.current_call().remaining()

    @fastrpc.method
    async def wait(self) -> None:
        await asyncio.sleep(60)

    @fastrpc.method
    async def describe(self) -> dict[str, Any]:
        call = fastrpc.current_call()
        call.reply_metadata["text"] = "yes"
        call.reply_metadata.binary["raw-bin"] = b"\0\xff"
        call.state["seen"] = True
        return {
            "method": call.method,
            "kind": call.kind,
            "side": call.side,
            "metadata": dict(call.metadata),
            "binary": dict(call.metadata.binary),
            "peer": str(call.peer.address),
            "identity": call.identity,
            "attempt": call.attempt,
            "remaining": call.remaining(),
            "has_deadline": call.deadline is not None,
            "cancelled": call.cancelled,
            "arguments": list(call.arguments),
            "state": call.state,
        }


@fastrpc.service("contract")
class Contract(Protocol):
    @fastrpc.method
    async def twice(self, text: str) -> str: ...

    @fastrpc.method(name="none", idempotent=True)
    async def nothing(self) -> None: ...


class Inheriting(Contract):
    async def twice(self, text: str) -> str:
        return text * 2

    async def nothing(self) -> None:
        return None


@fastrpc.service("contract", implements=Contract)
class Standing:
    @fastrpc.method
    def twice(self, text: str) -> str:
        return text * 2

    @fastrpc.method(name="none", idempotent=True)
    def nothing(self) -> None:
        return None


def test_every_name_is_importable_from_the_package_itself() -> None:
    assert [name for name in NAMES if not hasattr(fastrpc, name)] == []
    assert [name for name in NAMES if name not in fastrpc.__all__] == []


async def test_decorators_leave_classes_and_methods_unchanged() -> None:
    assert await Arith().mul(6, 7) == 42
    assert Arith().halve(3) == 1.5
    assert isinstance(Arith, type)


async def test_handlers_of_every_kind_are_called_by_method_and_by_name() -> None:
    async with connected(Arith()) as client:
        assert await client.call(Arith.mul, 6, b=7) == 42
        assert await client.call("shop.v1.arith.mul", 6, 7) == 42
        assert await client.call(Arith.subtract, 6) == 5
        assert await client.call("shop.v1.arith.minus", 6, b=2) == 4
        assert await client.call(Arith.halve, 3) == 1.5
        assert await client.call(Arith.negate, 3) == -3
        assert await client.call(Arith.echo, {"a": [1, None, b"x"]}) == {"a": [1, None, b"x"]}
        assert await client.call(Arith.raw, b"abc") == b"cba"


async def test_types_cross_and_nothing_is_shared() -> None:
    box = Box([Point(1)], "n")
    values = (
        datetime.datetime(2024, 2, 29, tzinfo=datetime.UTC),
        uuid.uuid4(),
        Decimal("1.10"),
        Colour.RED,
        "x",
    )
    async with connected(Arith()) as client:
        assert await client.call(Arith.first, box, {"size": 3}) == (Point(2), 3)
        assert box.corners[0].x == 1
        assert await client.call(Arith.same, *values) == values


@pytest.mark.parametrize("source", [Inheriting, Standing])
async def test_a_contract_is_all_that_a_caller_needs(source: type[Any]) -> None:
    async with connected(source()) as client:
        assert await client.call(Contract.twice, "ab") == "abab"
        assert await client.call("contract.twice", "ab") == "abab"
        assert await client.bind(Contract).nothing() is None


def test_a_contract_with_differences_lists_every_difference() -> None:
    with pytest.raises(TypeError) as caught:

        @fastrpc.service("contract", implements=Contract)
        class Wrong:
            @fastrpc.method
            def twice(self, text: int) -> str:
                return ""

    assert "twice" in str(caught.value)
    assert "nothing is missing" in str(caught.value)


async def test_request_gives_a_reply_with_all_its_fields() -> None:
    async with served(Arith(), scheme="tcp") as target, Client(target) as client:
        reply = await client.request(Arith.mul, 6, 7)
        assert isinstance(reply, fastrpc.Reply)
        assert (reply.value, reply.attempts, str(reply.endpoint)) == (42, 1, target)
        assert isinstance(reply.endpoint, fastrpc.Endpoint)
        assert isinstance(reply.metadata, fastrpc.Metadata)
        assert 0 < reply.seconds < 5


async def test_current_call_has_its_attributes_and_metadata_of_both_kinds() -> None:
    async with served(Arith(), scheme="tcp") as target, Client(target) as client:
        view = client.with_options(metadata={"tenant": "acme", "key-bin": b"\1"}, timeout=2)
        reply = await view.request(Arith.describe)
    told = reply.value
    assert told.pop("peer").startswith("tcp://127.0.0.1:")
    assert 1 < told.pop("remaining") <= 2
    assert told == {
        "method": "shop.v1.arith.describe",
        "kind": "unary",
        "side": "server",
        "metadata": {"tenant": "acme"},
        "binary": {"key-bin": b"\1"},
        "identity": None,
        "attempt": 0,
        "has_deadline": True,
        "cancelled": False,
        "arguments": [],
        "state": {"seen": True},
    }
    assert reply.metadata["text"] == "yes"
    assert dict(reply.metadata.binary) == {"raw-bin": b"\0\xff"}


def test_metadata_is_a_mapping_of_text_and_another_of_bytes() -> None:
    metadata = fastrpc.Metadata({"a": "1", "b-bin": b"2"})
    assert isinstance(metadata, MutableMapping)
    assert isinstance(metadata.binary, MutableMapping)
    assert dict(metadata) == {"a": "1"}
    metadata.update({"c": "3"})
    metadata.binary["d-bin"] = b"4"
    assert (len(metadata), "c" in metadata, metadata.get("b-bin"), metadata.pop("c")) == (2, True, None, "3")
    assert metadata.binary.pop("b-bin") == b"2"
    assert dict(metadata.binary) == {"d-bin": b"4"}
    with pytest.raises(ValueError, match=r"\.binary"):
        metadata["e-bin"] = "5"


async def test_the_timeout_of_a_call_is_the_first_that_is_set() -> None:
    config = fastrpc.ClientConfig(timeouts=fastrpc.Timeouts(call=300))
    async with connected(Arith(), client_config=config) as client:

        async def left(view: Client, method: Any = Arith.left) -> float | None:
            """Return the time that the handler has, to the next ten seconds: some of it has passed."""
            seconds = await view.call(method)
            return None if seconds is None else math.ceil(seconds / 10) * 10

        assert await left(client) == 300
        assert await left(client.with_options(timeout=100)) == 100
        assert await left(client.with_options(timeout=None)) is None
        assert await left(client.with_options(timeout=100).with_options(metadata={"a": "b"})) == 100
        # A method's own is the client's default and the server's cap.
        assert await left(client, Arith.capped) == 50
        assert await left(client, "shop.v1.arith.capped") == 50
        assert await left(client.with_options(timeout=20), Arith.capped) == 20
        assert await left(client.with_options(timeout=900), Arith.capped) == 50
        async with fastrpc.timeout(200):
            assert await left(client) == 200
            async with fastrpc.timeout(None):
                assert await left(client.with_options(timeout=None)) == 200
            with fastrpc.detached():
                assert await left(client) == 300


@pytest.mark.parametrize("seconds", [-1, "1", float("nan"), float("inf"), True])
async def test_an_invalid_timeout_is_refused_by_its_name(seconds: Any) -> None:
    for wrong in (
        lambda: Client("tcp://127.0.0.1:1").with_options(timeout=seconds),
        lambda: fastrpc.method(timeout=seconds),
        lambda: fastrpc.timeout(seconds),
    ):
        with pytest.raises(fastrpc.ConfigError, match="timeout is"):
            wrong()


async def test_errors_say_which_side_failed_and_whether_the_call_may_have_run() -> None:
    async with connected(Arith()) as client:
        told = []
        for call in (
            client.call("shop.v1.arith.mull", 6, 7),
            client.call("shop.v1.arith.mul", 6, "x"),
            client.call(Arith.refuse),
            client.call(Arith.refuse, 1.5),
            client.with_options(timeout=0.3).call(Arith.wait),
            client.call(Arith.echo, object()),
        ):
            with pytest.raises(fastrpc.FastRPCError) as caught:
                await call
            error = caught.value
            told.append((type(error).__name__, error.status.name, error.processed, error.retryable))
            again = pickle.loads(pickle.dumps(error))
            assert (str(again), again.status, again.hint) == (str(error), error.status, error.hint)
        assert told == [
            ("CallError", "UNIMPLEMENTED", "no", False),
            ("CallError", "INVALID_ARGUMENT", "no", False),
            ("CallError", "NOT_FOUND", "yes", False),
            ("CallError", "NOT_FOUND", "yes", True),
            ("DeadlineExceededError", "DEADLINE_EXCEEDED", "unknown", False),
            ("EncodeError", "INVALID_ARGUMENT", "no", False),
        ]
        with pytest.raises(fastrpc.CallError) as refused:
            await client.call(Arith.refuse, 1.5)
        assert (refused.value.message, refused.value.details, refused.value.retry_after) == (
            "no such user",
            {"id": [7]},
            1.5,
        )


def test_errors_are_also_errors_of_the_language() -> None:
    assert issubclass(fastrpc.DeadlineExceededError, TimeoutError)
    assert issubclass(fastrpc.ConnectError, ConnectionError)
    assert issubclass(fastrpc.ConnectionLostError, ConnectionError)
    assert issubclass(fastrpc.ConfigError, ValueError)
    assert (Status.OK.value, Status.NOT_FOUND.value, Status.UNAUTHENTICATED.value) == (0, 5, 16)


async def test_a_server_listens_at_many_addresses_and_drains() -> None:
    server = Server(Arith)
    async with server:
        addresses = [await server.listen("tcp://127.0.0.1:0"), await server.listen("memory://api-page")]
        assert addresses[0].port
        for address in addresses:
            async with Client(str(address)) as client:
                assert await client.call(Arith.mul, 6, 7) == 42
        assert {"live", "buffered", "credit", "totals"} <= server.stats().keys()
        states = [server.is_draining]
    assert [*states, server.is_draining] == [False, True]
    await server.close()
    with pytest.raises(RuntimeError):
        await server.listen("memory://api-page")


async def test_an_option_that_listening_does_not_have_is_refused_by_name() -> None:
    async with Server(Arith) as server:
        with pytest.raises(TypeError, match="unexpected keyword argument .blacklog."):
            await server.listen("memory://api-page", blacklog=5)  # type: ignore[call-arg]


async def test_drain_says_whether_every_call_ended_by_itself() -> None:
    async with served(Arith(), scheme="tcp") as target, Client(target) as client:
        call = asyncio.create_task(client.with_options(timeout=None).call(Arith.wait))
        while not target.server.stats()["live"]["calls"]:
            await asyncio.sleep(0)
        forever = asyncio.create_task(target.server.serve_forever())
        assert await target.server.drain(timeout=0.05) is False
        with pytest.raises(fastrpc.FastRPCError):
            await call
        async with asyncio.timeout(5):
            await forever


async def test_closing_does_not_wait_for_calls() -> None:
    async with served(Arith(), scheme="tcp") as target, Client(target) as client:
        call = asyncio.create_task(client.with_options(timeout=None).call(Arith.wait))
        while not target.server.stats()["live"]["calls"]:
            await asyncio.sleep(0)
        async with asyncio.timeout(3):
            await target.server.close()
            with pytest.raises(fastrpc.UnavailableError):
                await call


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (None, "the target is None"),
        (5, "the target is 5"),
        ([], "is empty"),
        ("127.0.0.1:80", "is not an address"),
        ([None], "None is not an address"),
        ("http://127.0.0.1:80", "no transport has the scheme 'http'"),
        ("tcp://127.0.0.1", "names no port"),
    ],
)
@pytest.mark.parametrize("kind", [Client, fastrpc.SyncClient])
def test_an_invalid_target_is_refused_when_the_client_is_made(
    kind: Callable[..., Any], target: Any, words: str
) -> None:
    with pytest.raises(fastrpc.ConfigError, match=words):
        kind(target)


def test_settings_of_the_other_side_are_refused() -> None:
    for make in (
        lambda: Client("tcp://127.0.0.1:1", config=fastrpc.ServerConfig()),  # type: ignore[arg-type]
        lambda: fastrpc.SyncClient("tcp://127.0.0.1:1", config={}),  # type: ignore[arg-type]
        lambda: Server(Arith, config=fastrpc.ClientConfig()),  # type: ignore[arg-type]
    ):
        with pytest.raises(fastrpc.ConfigError, match="config is .* it must be a"):
            make()


@pytest.mark.parametrize("kind", [Client, fastrpc.SyncClient])
def test_an_endpoint_that_calls_would_not_go_to_is_refused(kind: Callable[..., Any]) -> None:
    one = kind("tcp://127.0.0.1:1")
    one.with_options(endpoint="tcp://127.0.0.1:1", hash_key="any")
    with pytest.raises(fastrpc.ConfigError, match=r"endpoint is tcp://127\.0\.0\.1:2, this client has"):
        one.with_options(endpoint="tcp://127.0.0.1:2")
    two = kind(["tcp://127.0.0.1:1", "tcp://127.0.0.1:2"])
    two.with_options(endpoint="tcp://127.0.0.1:2", hash_key=7)


async def test_an_answer_of_an_interceptor_to_a_notification_goes_nowhere() -> None:
    async def answer(call: fastrpc.Call, proceed: fastrpc.Proceed) -> Any:
        return 99

    async with connected(Arith(), client_interceptors=[answer]) as client:
        assert await client.notify(Arith.mul, 6, 7) is None  # type: ignore[func-returns-value]
        assert await client.call(Arith.mul, 6, 7) == 99


async def test_a_stream_written_without_yield_is_refused_with_a_remedy() -> None:
    with pytest.raises(TypeError, match="yield"):

        @fastrpc.service("wrong")
        class Wrong:
            @fastrpc.method
            async def numbers(self) -> AsyncIterator[int]:
                raise NotImplementedError


async def test_a_method_that_streams_is_refused_here_by_the_verbs_of_one_answer() -> None:
    @fastrpc.service("numbers")
    class Numbers:
        @fastrpc.method
        async def count(self, limit: int) -> AsyncIterator[int]:
            for n in range(limit):
                yield n

        @fastrpc.method
        async def one(self) -> int:
            return 1

    async with connected(Numbers()) as client:
        for verb in (client.call, client.request, client.notify):
            with pytest.raises(TypeError, match=r"numbers\.count streams"):
                verb(Numbers.count, 3)
        with pytest.raises(fastrpc.CallError, match="INVALID_ARGUMENT"):
            await client.call("numbers.count", 3)
        assert await client.call(Numbers.one) == 1


async def test_a_call_is_awaitable_and_takes_a_task() -> None:
    async with connected(Arith()) as client:
        call: Awaitable[int] = client.call(Arith.mul, 6, 7)
        assert asyncio.iscoroutine(call)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(client.call(Arith.mul, n, n)) for n in range(3)]
        assert [task.result() for task in tasks] == [0, 1, 4]
        assert await call == 42
