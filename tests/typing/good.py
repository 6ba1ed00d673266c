"""The knowledge of type checkers about fastrpc: each `assert_type` is a promise. Checked, and never called."""

# pyright: reportMissingModuleSource=false

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, MutableMapping
from datetime import datetime
from typing import Any, Literal, assert_type

import fastrpc
from fastrpc.coordination import RegistryServer
from fastrpc.errors import CallError, DeadlineExceededError, FastRPCError
from fastrpc.failmodes import FailFast
from fastrpc.files import FileDigest
from fastrpc.metrics.prometheus import CallCollector
from fastrpc.registries import StaticRegistry
from fastrpc.selectors import Canary, LeastLoaded, Random, Sticky, closest, subset, version, zones
from fastrpc.testing import FakeClock
from fastrpc.types import register
from tests.typing.services import (
    Arith,
    Clock,
    Feed,
    Files,
    Prices,
    StoredUsers,
    User,
    Users,
    UserTable,
    count,
    mul,
    name_of,
)

# The decorators change nothing.


async def decorators_keep_identity() -> None:
    arith = Arith(3)
    assert_type(arith, Arith)
    assert_type(await arith.mul(6, 7), int)
    assert_type(await arith.add(1, scale=0.5), float)
    assert_type(await arith.slow(0.1), str)
    assert_type(arith.offset, int)
    assert_type(Clock().now(), datetime)
    assert_type(Feed().count(3), AsyncIterator[int])
    assert_type(await StoredUsers().get(1), User)
    accepts: Callable[[Arith, int, int], Coroutine[Any, Any, int]] = Arith.mul
    kind: type[Arith] = Arith
    del accepts, kind


# Functions are called as they are, and by the verbs of a client.


async def functions(client: fastrpc.Client, blocking: fastrpc.SyncClient, server: fastrpc.Server) -> None:
    assert_type(await mul(6, 7), int)
    assert_type(name_of(User(1, "Ann")), str)
    assert_type(await client.call(mul, 6, 7), int)
    assert_type(await client.call(mul, a=6), int)
    assert_type(await client.call(name_of, User(1, "Ann")), str)
    assert_type((await client.request(mul, 6)).value, int)
    assert_type(await client.call_many(mul, [(6, 7)]), list[int])
    assert_type(blocking.call(name_of, User(1, "Ann")), str)
    async with client.stream(count, 3) as numbers:
        assert_type(await numbers.receive(), int)
    fastrpc.Server(mul, name_of)
    server.add(count)
    assert_type(await server.remove("math", timeout=1), bool)


# Endpoints are chosen by place, key and version.


async def choosing(client: fastrpc.Client) -> None:
    place = fastrpc.Place(zone="a", labels={"tier": "fast"}, weight=2)
    filters = [zones(["b"], place=place, client="all"), closest(2, place=place), subset(20)]
    canary = Canary(LeastLoaded(filters=filters), to=version(">=2"), percent=5, by="user", when={"x": "y"})
    canary.percent = 7.5
    fastrpc.Client("arith", registry="registry://127.0.0.1:1", selector=canary)
    fastrpc.SyncClient("memory://a", selector=Sticky("random", keep=60, most=10))
    reply = await client.request(mul, 6, 7)
    assert_type(client.with_options(prefer=reply.endpoint), fastrpc.Client)
    fastrpc.Server(mul, registry="registry://127.0.0.1:1", place=place)


# One import is enough.


def modules_of_the_package() -> None:
    assert_type(fastrpc.codecs.__name__, str)
    assert_type(fastrpc.config.Pool(), fastrpc.Pool)
    assert_type(fastrpc.endpoint.Address("unix", path="/run/a"), fastrpc.Address)
    assert_type(fastrpc.errors.CallError(fastrpc.status.Status.OK, "a"), CallError)
    assert_type(fastrpc.failmodes.FailFast(), FailFast)
    assert_type(fastrpc.metrics.collector(), CallCollector)
    assert_type(fastrpc.registries.StaticRegistry([]), StaticRegistry)
    assert_type(fastrpc.selectors.Random(), Random)
    assert_type(fastrpc.testing.FakeClock(), FakeClock)
    assert_type(fastrpc.coordination.RegistryServer, type[RegistryServer])
    assert_type(fastrpc.files.sync.download(fastrpc.SyncClient("memory://a"), "a", "b"), FileDigest)
    fastrpc.types.register(Money, encode=lambda money: money.cents, decode=Money)


# Client.


async def calls(client: fastrpc.Client) -> None:
    assert_type(await client.call(Arith.mul, 6, 7), int)
    assert_type(await client.call(Arith.mul, a=6, b=7), int)
    assert_type(await client.call(Arith.add, 6), float)
    assert_type(await client.call(Arith.add, 6, scale=2), float)
    assert_type(await client.call(Arith.split, 6, 7), tuple[int, str | None])
    assert_type(await client.call(Arith.slow, 0.5), str)
    assert_type(await client.call(Arith.named, "a", 1, arguments=True), str)
    assert_type(await client.call(Arith.named, method="a", messages=1, arguments=True), str)
    assert_type(await client.call(Arith.same, 5), int)
    assert_type(await client.call(Arith.echo, b"x"), bytes)
    assert_type(await client.call(Clock.now), datetime)
    assert_type(await client.call(Clock.at, 2026, month=2), datetime)
    assert_type(await client.call(Clock.zone), str | None)
    await client.call(Arith.ping)
    # A method of an instance: a bound method takes only the arguments, so it is called by its class.
    assert_type(await client.call(StoredUsers.get, 1), User)


async def calls_by_contract(client: fastrpc.Client) -> None:
    assert_type(await client.call(Users.get, 1), User)
    assert_type(await client.call(Users.find, "ada", limit=3), list[User])
    assert_type(await client.call(Files.size, "/tmp"), int)
    assert_type(await client.request(Users.get, 1), fastrpc.Reply[User])


async def calls_of_generic_services(client: fastrpc.Client) -> None:
    assert_type(await client.call(UserTable.get, "ada"), User | None)
    await client.call(UserTable.put, "ada", User(1, "ada"))


async def calls_by_name(client: fastrpc.Client) -> None:
    assert_type(await client.call("arith.mul", 6, b=7), Any)
    assert_type(await client.request("arith.mul", 6, b=7), fastrpc.Reply[Any])
    assert_type(await client.call_many("arith.mul", [(1, 2)]), list[Any])
    await client.notify("arith.mul", 6, 7)


async def requests(client: fastrpc.Client) -> None:
    reply = await client.request(Arith.mul, 6, b=7)
    assert_type(reply, fastrpc.Reply[int])
    assert_type(reply.value, int)
    assert_type(reply.metadata, fastrpc.Metadata)
    assert_type(reply.metadata["trace"], str)
    assert_type(reply.metadata.binary["trace-bin"], bytes)
    assert_type(reply.endpoint, fastrpc.Endpoint)
    assert_type(reply.endpoint.address, fastrpc.Address)
    assert_type(reply.attempts, int)
    assert_type(reply.seconds, float)
    assert_type(await client.request(Clock.now), fastrpc.Reply[datetime])
    assert_type(await client.request(Arith.slow, 1.0), fastrpc.Reply[str])
    wider: fastrpc.Reply[int | None] = reply
    del wider


async def notifications(client: fastrpc.Client) -> None:
    await client.notify(Arith.mul, 6, b=7)
    await client.notify(Clock.at, 2026)
    later: Coroutine[Any, Any, None] = client.notify(Arith.ping)
    await later


async def batches(client: fastrpc.Client) -> None:
    assert_type(await client.call_many(Arith.mul, [(1, 2), (3, 4)]), list[int])
    assert_type(await client.call_many(Arith.mul, ((n, n) for n in range(9))), list[int])
    assert_type(await client.call_many(Arith.slow, [(0.1,)]), list[str])
    assert_type(await client.call_many(Clock.at, [(2026, 1)]), list[datetime])
    assert_type(await client.call_many(Arith.mul, [(1, 2)], return_exceptions=False), list[int])
    mixed = await client.call_many(Arith.mul, [(1, 2)], return_exceptions=True)
    assert_type(mixed, list[int | FastRPCError])
    assert_type([value for value in mixed if not isinstance(value, FastRPCError)], list[int])
    assert_type(
        await client.call_many(Clock.at, [(2026, 1)], return_exceptions=True), list[datetime | FastRPCError]
    )


async def coroutine_objects(client: fastrpc.Client) -> None:
    later = client.call(Arith.mul, 6, 7)
    assert_type(later, Coroutine[Any, Any, int])  # type: ignore[unused-coroutine]
    assert_type(await later, int)
    async with asyncio.TaskGroup() as group:
        product = group.create_task(client.call(Arith.mul, 6, 7), name="product")
        moment = group.create_task(client.call(Clock.now))
        group.create_task(client.notify(Arith.ping))
        batch = group.create_task(client.call_many(Arith.mul, [(1, 2)]))
    assert_type(product, asyncio.Task[int])
    assert_type(moment.result(), datetime)
    assert_type(batch.result(), list[int])
    assert_type(
        await asyncio.gather(client.call(Arith.mul, 6, 7), client.call(Arith.mul, 8, 9)), tuple[int, int]
    )
    assert_type(await asyncio.gather(*(client.call(Arith.same, name) for name in "abc")), list[str])
    async with asyncio.timeout(1):
        assert_type(await asyncio.shield(client.call(Arith.mul, 6, 7)), int)


async def proxies(client: fastrpc.Client) -> None:
    arith = client.bind(Arith)
    assert_type(arith, Arith)
    assert_type(await arith.mul(6, 7), int)
    assert_type(await arith.slow(1), str)
    users = client.bind(Users)
    assert_type(users, Users)
    assert_type(await users.get(1), User)
    files = client.bind(Files)
    assert_type(files, Files)
    assert_type(await files.size("/tmp"), int)
    assert_type(await client.bind(UserTable).get("ada"), User | None)


async def views(client: fastrpc.Client) -> None:
    quick = client.with_options(timeout=0.2)
    assert_type(quick, fastrpc.Client)
    assert_type(await quick.call(Arith.mul, 6, 7), int)
    assert_type(
        client.with_options(timeout=None, metadata={"trace": "1"})
        .with_options(metadata={"trace-bin": b"1"}, codec="json", compressor="zstd", priority=0)
        .with_options(idempotent=True, wait_for_ready=True, hash_key="ada", metadata=None, compressor=None)
        .with_options(endpoint="tcp://127.0.0.1:1", fail_mode="failfast"),
        fastrpc.Client,
    )
    both_kinds: dict[str, str | bytes] = {"trace": "1", "trace-bin": b"1"}
    client.with_options(metadata=both_kinds)
    client.with_options(metadata=fastrpc.current_call().metadata)


class TracedClient(fastrpc.Client): ...


async def life_of_a_client() -> None:
    async with fastrpc.Client("tcp://127.0.0.1:8972") as client:
        assert_type(client, fastrpc.Client)
        await client.ready(timeout=1)
        assert_type(client.stats(), dict[str, Any])
    async with TracedClient(["tcp://127.0.0.1:1", fastrpc.Address("unix", path="/run/a")]) as traced_client:
        assert_type(traced_client, TracedClient)
        assert_type(traced_client.with_options(timeout=1), TracedClient)
    await fastrpc.Client("memory://a", config=fastrpc.ClientConfig(codec="json"), interceptors=[log]).close()
    async with fastrpc.timeout(0.5):
        await client.call(Arith.ping)
    with fastrpc.detached():
        await client.call(Arith.ping)


# SyncClient.


def blocking_calls(client: fastrpc.SyncClient) -> None:
    assert_type(client.call(Arith.mul, 6, 7), int)
    assert_type(client.call(Arith.mul, 6, b=7), int)
    assert_type(client.call(Arith.add, 6, scale=2), float)
    assert_type(client.call(Arith.slow, 0.5), str)
    assert_type(client.call(Arith.named, method="a", messages=1, arguments=True), str)
    assert_type(client.call(Arith.same, "a"), str)
    assert_type(client.call(Clock.now), datetime)
    assert_type(client.call(Users.get, 1), User)
    assert_type(client.call(Files.size, "/tmp"), int)
    assert_type(client.call(UserTable.get, "ada"), User | None)
    assert_type(client.call("arith.mul", 6, b=7), Any)
    assert_type(client.call(Feed.total, [1, 2]), int)
    assert_type(client.request(Feed.total, range(3)), fastrpc.Reply[int])
    assert_type(client.request(Arith.mul, 6, 7), fastrpc.Reply[int])
    assert_type(client.request(Clock.now).value, datetime)
    assert_type(client.request("arith.mul", 6, 7), fastrpc.Reply[Any])
    client.call(Arith.ping)
    client.notify(Arith.mul, 6, 7)
    client.notify(Clock.at, 2026)
    client.notify("arith.mul", 6, 7)


def blocking_batches(client: fastrpc.SyncClient) -> None:
    assert_type(client.call_many(Arith.mul, [(1, 2)]), list[int])
    assert_type(client.call_many(Clock.at, [(2026, 1)]), list[datetime])
    assert_type(client.call_many(Arith.mul, [(1, 2)], return_exceptions=True), list[int | FastRPCError])
    assert_type(
        client.call_many(Clock.at, [(2026, 1)], return_exceptions=True), list[datetime | FastRPCError]
    )
    assert_type(client.call_many("arith.mul", [(1, 2)]), list[Any])


def blocking_proxies(client: fastrpc.SyncClient) -> None:
    prices = client.bind(Prices)
    assert_type(prices, Prices)
    assert_type(prices.price("tea", currency="USD"), int)
    assert_type(prices.items(), list[str])
    assert_type(client.call(Prices.price, "tea"), int)
    assert_type(client.with_options(timeout=1).bind(Clock).at(2026), datetime)


async def same_contract_on_a_client(client: fastrpc.Client) -> None:
    assert_type(await client.call(Prices.price, "tea", currency="USD"), int)
    assert_type(await client.call_many(Prices.items, [()]), list[list[str]])


def life_of_a_sync_client() -> None:
    with fastrpc.SyncClient("tcp://127.0.0.1:8972", interceptors=[log]) as client:
        assert_type(client, fastrpc.SyncClient)
        client.ready(timeout=1)
        assert_type(client.with_options(timeout=0.2, metadata={"a": "b"}), fastrpc.SyncClient)
        clock = client.bind(Clock)
        assert_type(clock, Clock)
        assert_type(clock.now(), datetime)
        assert_type(client.stats(), dict[str, Any])
    client.close()


# All endpoints.


async def all_endpoints(client: fastrpc.Client, blocking: fastrpc.SyncClient) -> None:
    everywhere = await client.broadcast(Arith.mul, 6, 7)
    assert_type(everywhere, dict[fastrpc.Endpoint, fastrpc.Reply[int] | FastRPCError])
    assert_type(
        await client.broadcast(Clock.now), dict[fastrpc.Endpoint, fastrpc.Reply[datetime] | FastRPCError]
    )
    assert_type(await client.fork(Arith.mul, 6, 7), int)
    assert_type(await client.fork(Clock.now), datetime)
    assert_type(blocking.fork(Arith.mul, 6, 7), int)
    assert_type(
        blocking.broadcast(Arith.mul, 6, 7), dict[fastrpc.Endpoint, fastrpc.Reply[int] | FastRPCError]
    )


# Tests of programs.


async def test_with_a_client(fastrpc_connected: fastrpc.testing.ConnectedFixture) -> None:
    async with fastrpc_connected(Arith(1), Clock, identity=fastrpc.Identity("ada")) as client:
        assert_type(client, fastrpc.Client)
    assert_type(await fastrpc_connected(Arith, interceptors=[log]), fastrpc.Client)


def test_with_a_server(fastrpc_serving: fastrpc.testing.ServingFixture) -> None:
    with fastrpc_serving(Arith(1), address="tcp://127.0.0.1:0") as address:
        assert_type(address, str)
    fastrpc.SyncClient(fastrpc_serving(Arith, config=fastrpc.ServerConfig()))


# Interceptors, calls, servers.


async def log(call: fastrpc.Call, proceed: fastrpc.Proceed) -> Any:
    try:
        return await proceed(call)
    finally:
        assert_type(call.status, fastrpc.Status | None)
        assert_type(call.error, BaseException | None)


class Cached:
    def __init__(self) -> None:
        self.answers: dict[str, str] = {}

    async def __call__(self, call: fastrpc.Call, proceed: fastrpc.Proceed) -> str:
        if call.method not in self.answers:
            self.answers[call.method] = await proceed(call)
        return self.answers[call.method]


async def what_a_call_knows() -> None:
    call = fastrpc.current_call()
    assert_type(call, fastrpc.Call)
    assert_type(call.method, str)
    assert_type(call.kind, Literal["unary", "client_stream", "server_stream", "both_ways"])
    assert_type(call.side, Literal["client", "server"])
    assert_type(call.metadata, fastrpc.Metadata)
    call.reply_metadata["cached"] = "yes"
    call.reply_metadata.binary["digest-bin"] = b"1"
    assert_type(call.peer, fastrpc.Peer)
    assert_type(call.peer.address, fastrpc.Address)
    assert_type(call.peer.scheme, str)
    assert_type(call.peer.credentials, str | None)
    assert_type(call.identity, fastrpc.Identity | None)
    assert_type(call.attempt, int)
    assert_type(call.deadline, float | None)
    assert_type(call.remaining(), float | None)
    assert_type(call.cancelled, bool)
    assert_type(call.arguments, tuple[Any, ...])
    call.state["user"] = User(1, "ada")
    await call.sleep(0.1)
    await call.send_metadata()
    await call.draining


async def check(peer: fastrpc.Peer) -> fastrpc.Identity | None:
    if peer.credentials is None:
        return None
    identity = fastrpc.Identity("ada", roles={"admin"}, claims={"tenant": "acme"})
    assert_type(identity.name, str)
    assert_type(identity.roles, frozenset[str])
    assert_type(identity.claims["tenant"], Any)
    return identity


@contextlib.asynccontextmanager
async def everything() -> AsyncGenerator[list[object], None]:
    yield [Arith(1), Clock]


async def life_of_a_server() -> None:
    async with fastrpc.Server(Arith(1), Clock, [Feed], everything, interceptors=[log, Cached()]) as server:
        assert_type(server, fastrpc.Server)
        address = await server.listen("tcp://127.0.0.1:0")
        assert_type(address, fastrpc.Address)
        server.add(UserTable())
        fastrpc.Client(str(address))
        assert_type(server.is_draining, bool)
        assert_type(await server.drain(timeout=1), bool)
    fastrpc.Server(Arith, config=fastrpc.ServerConfig(limits=fastrpc.Limits(concurrent_calls=10)))


async def errors(client: fastrpc.Client) -> None:
    try:
        await client.call(Arith.mul, 6, 7)
    except CallError as error:
        assert_type(error.status, fastrpc.Status)
        assert_type(error.message, str)
        assert_type(error.details, Any)
        assert_type(error.retry_after, float | None)
    except DeadlineExceededError as error:
        assert_type(error.processed, Literal["no", "yes", "unknown"])
        assert_type(error.hint, str | None)
        assert_type(error.retryable, bool)
    raise CallError(fastrpc.Status.NOT_FOUND, "no such user", details={"id": 1}, retry_after=0.5)


def programs() -> None:
    fastrpc.serve(Arith, Clock(), everything, address="tcp://127.0.0.1:8972", workers=2, interceptors=[log])


# Types of one's own.


class Money:
    def __init__(self, cents: int) -> None:
        self.cents = cents


def registering() -> None:
    register(Money, encode=lambda money: money.cents, decode=Money)
    encode: Callable[[Money], int] = lambda money: money.cents  # noqa: E731
    register(Money, encode=encode, decode=lambda plain: Money(int(plain)))


# Batches keep the types of items and results.


class Model:
    def __init__(self) -> None:
        self._score = fastrpc.Batcher(self._run, size=8, wait=0.002, key=lambda user: user.name)

    async def score(self, user: User) -> float:
        assert_type(self._score, fastrpc.Batcher[User, float])
        return await self._score(user)

    async def _run(self, users: list[User]) -> list[float | Exception]:
        return [0.5 for _ in users]


def lengths(texts: list[str]) -> list[int]:
    return [len(text) for text in texts]


async def in_a_server_of_asgi() -> None:
    app = fastrpc.asgi(Arith(3), config=fastrpc.ServerConfig(), call_limits=())
    scope: MutableMapping[str, Any] = {"type": "http"}

    async def receive() -> MutableMapping[str, Any]:
        return {}

    async def send(event: MutableMapping[str, Any]) -> None:
        del event

    # As Starlette calls applications.
    called: Callable[
        [
            MutableMapping[str, Any],
            Callable[[], Awaitable[MutableMapping[str, Any]]],
            Callable[[MutableMapping[str, Any]], Awaitable[None]],
        ],
        Awaitable[None],
    ] = app
    await called(scope, receive, send)
    async with app.lifespan() as entered:
        assert_type(entered, None)


async def dynamic_batches(model: Model) -> None:
    assert_type(await model.score(User(1, "Ada")), float)
    assert_type(await fastrpc.Batcher(lengths)("a"), int)
