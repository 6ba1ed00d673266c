"""Lines that type checkers must refuse: each ends in `# error`, and no other is refused. Never run."""

# pyright: reportMissingModuleSource=false

from typing import Any, Literal

import fastrpc
from fastrpc.errors import CallError
from tests.typing.services import Arith, Clock, Feed, Files, Photos, Prices, User, Users, UserTable, mul


def modules_of_the_package() -> None:
    fastrpc.metrcs.collector()  # error
    fastrpc.metrics.colector()  # error


async def arguments(client: fastrpc.Client) -> None:
    await client.call(Arith.mul, 6, "7")  # error
    await client.call(Arith.mul, 6)  # error
    await client.call(Arith.mul, 6, 7, 8)  # error
    await client.call(Arith.mul, 6, c=7)  # error
    await client.call(Arith.mul, 6, a=7)  # error
    await client.call(Arith.mul)  # error
    await client.call(Arith.add, 1, 2, 0.5)  # error
    await client.call(Arith.add, 1, scale="2")  # error
    await client.call(Arith.slow, "soon")  # error
    await client.call(Arith.named, "a", 1)  # error
    await client.call(Arith.ping, 1)  # error
    await client.call(Arith.echo, "text")  # error
    await client.call(Clock.at, "2026")  # error
    await client.call(Clock.now, 1)  # error
    await client.call(Users.get, "ada")  # error
    await client.call(Users.find, "ada", count=3)  # error
    await client.call(Files.size, 1)  # error
    await client.call(UserTable.get, 1)  # error
    await client.call(UserTable.put, "ada", "ada")  # error
    await client.request(Arith.mul, 6, "7")  # error
    await client.request(Clock.at)  # error
    await client.notify(Arith.mul, 6, "7")  # error
    await client.notify(Clock.at)  # error


async def results(client: fastrpc.Client) -> None:
    product: str = await client.call(Arith.mul, 6, 7)  # error
    moment: int = await client.call(Clock.now)  # error
    unawaited: int = client.call(Arith.mul, 6, 7)  # error
    user: User = await client.call(UserTable.get, "ada")  # error
    found: list[str] = await client.call(Users.find, "ada")  # error
    reply: fastrpc.Reply[str] = await client.request(Arith.mul, 6, 7)  # error
    narrower: fastrpc.Reply[bool] = await client.request(Arith.mul, 6, 7)  # error
    value: str = (await client.request(Arith.mul, 6, 7)).value  # error
    answer: int = await client.notify(Arith.mul, 6, 7)  # error
    print(product, moment, unawaited, user, found, reply, narrower, value, answer)
    client.call(Arith.mul, 6, 7)  # error
    client.notify(Arith.ping)  # error
    (await client.request(Arith.mul, 6, 7)).value = 1  # error
    (await client.call(Arith.mul, 6, 7)).upper()  # error


async def methods(client: fastrpc.Client) -> None:
    await client.call(7)  # error
    await client.call(Arith.div, 6, 7)  # error
    await client.call(b"arith.mul", 6, 7)  # error
    await client.call(method=Arith.mul, a=6, b=7)  # error
    await client.mul(6, 7)  # error
    await client.call(Feed.count, 3)  # error
    await client.call(Feed.lines, "a")  # error
    await client.call(Feed.total, [1, 2])  # error
    await client.request(Feed.count, 3)  # error


async def batches(client: fastrpc.Client) -> None:
    await client.call_many(Arith.mul, [(1,)])  # error
    await client.call_many(Arith.mul, [("a", 2)])  # error
    await client.call_many(Arith.mul, [1, 2])  # error
    await client.call_many(Arith.mul, (1, 2))  # error
    await client.call_many(Clock.at, [("2026", 1)])  # error
    await client.call_many("arith.mul", [1, 2])  # error
    await client.call_many(Arith.mul, [(1, 2)], return_exceptions=1)  # error
    first: list[int] = await client.call_many(Arith.mul, [(1, 2)], return_exceptions=True)  # error
    second: list[str] = await client.call_many(Arith.mul, [(1, 2)])  # error
    print(first, second)


async def proxies(client: fastrpc.Client) -> None:
    await client.bind(Arith).mul(6, "7")  # error
    await client.bind(Arith).div(6, 7)  # error
    await client.bind(Users).get("ada")  # error
    client.bind("arith")  # error
    wrong: Users = client.bind(Arith)  # error
    print(wrong)


async def views(client: fastrpc.Client) -> None:
    client.with_options(timeout="1")  # error
    client.with_options(deadline=1)  # error
    client.with_options(1)  # error
    client.with_options(metadata={"trace": 1})  # error
    client.with_options(priority="high")  # error
    client.with_options(codec=b"json")  # error
    client.with_options(hash_key=1.5)  # error
    await client.with_options(timeout=1).call(Arith.mul, 6, "7")  # error
    fastrpc.Client("memory://a", config=fastrpc.ServerConfig())  # error
    fastrpc.Client(8972)  # error
    fastrpc.Client()  # error


def blocking(client: fastrpc.SyncClient) -> None:
    client.call(Arith.mul, 6, "7")  # error
    client.call(Arith.mul, 6)  # error
    client.call(Clock.at, "2026")  # error
    client.call(Users.get, "ada")  # error
    client.call(Feed.total, ["a"])  # error
    client.call(Feed.total)  # error
    client.call(Feed.total, 1)  # error
    client.call(7)  # error
    client.request(Arith.mul, 6)  # error
    client.notify(Arith.mul, 6)  # error
    client.call_many(Arith.mul, [(1,)])  # error
    client.with_options(timeout="1")  # error
    product: str = client.call(Arith.mul, 6, 7)  # error
    total: str = client.call(Feed.total, [1, 2])  # error
    numbers: list[int] = client.call(Feed.count, 3)  # error
    moment: str = client.bind(Clock).now()  # error
    price: str = client.bind(Prices).price("tea")  # error
    client.bind(Prices).price(1)  # error
    client.bind(Prices).prise("tea")  # error
    mixed: list[int] = client.call_many(Arith.mul, [(1, 2)], return_exceptions=True)  # error
    print(product, total, numbers, moment, price, mixed)


async def blocking_in_a_coroutine(client: fastrpc.SyncClient) -> None:
    await client.call(Arith.mul, 6, 7)  # error
    async with client:  # error
        pass


async def all_endpoints(client: fastrpc.Client) -> None:
    await client.broadcast(Arith.mul, 6)  # error
    await client.broadcast(Feed.count, 3)  # error
    await client.fork(Arith.mul, 6, "7")  # error


async def test_of_a_program(
    connected: fastrpc.testing.ConnectedFixture, serving: fastrpc.testing.ServingFixture
) -> None:
    connected(Arith, interceptor=[])  # error
    connected(Arith, config=fastrpc.ClientConfig())  # error
    address: int = serving(Arith)  # error
    serving(Arith, port=8972)  # error
    client: fastrpc.SyncClient = await connected(Arith)  # error
    print(address, client)


async def streams(client: fastrpc.Client, chat: fastrpc.Stream[str, bytes]) -> None:
    client.stream(Feed.count, "3")  # error
    client.stream(Arith.mul, 6, 7)  # error
    client.open(Feed.count, 3)  # error
    client.open(Feed.chat)  # error
    await client.stream(Feed.count, 3)  # error
    await chat.send(b"hello")  # error
    await client.call(Feed.total, ["1"])  # error
    client.stream(Feed.chat, [1], "lobby")  # error
    client.stream(Feed.chat, ["hello"], 7)  # error
    await client.call(Photos.put, ["a"], "a")  # error
    await client.call(Photos.put, [b"a"], 7)  # error
    await client.open(Photos.put, "a").send("a")  # error
    client.open(Feed.chat, 7)  # error
    await client.call(Feed.count, 3)  # error
    await chat.receive_many("16")  # error
    counts: list[int] = await chat.receive_many()  # error
    text: str = await chat.receive()  # error
    print(counts, text)


def blocking_streams(client: fastrpc.SyncClient) -> None:
    client.stream(Feed.count, "3")  # error
    client.stream(Feed.chat, [1], "lobby")  # error
    client.stream(Arith.mul, 6, 7)  # error
    client.open(Feed.chat)  # error
    client.open(Feed.total).send("1")  # error
    client.call(Feed.total, ["1"])  # error
    texts: list[str] = client.stream(Feed.count, 3).receive_many()  # error
    print(texts)


# Services.


@fastrpc.service  # error
class Nameless: ...


@fastrpc.service("versioned", version=2)  # error
class Versioned: ...


@fastrpc.service("wrong")
class Wrong:
    @fastrpc.method(idempotent="yes")  # error
    async def one(self) -> int:
        return 1

    @fastrpc.method(timeout="1 s")  # error
    async def two(self) -> int:
        return 2

    @fastrpc.method(retries=3)  # error
    async def three(self) -> int:
        return 3


async def decorated() -> None:
    await Arith().mul(6, "7")  # error
    text: str = Clock().now()  # error
    Clock().at()  # error
    fastrpc.asgi(config={})  # error
    fastrpc.asgi(limits=())  # error
    print(text)


# Interceptors, calls, servers.


def no_coroutine(call: fastrpc.Call, proceed: fastrpc.Proceed) -> int:
    return 1


async def takes_too_little(call: fastrpc.Call) -> Any:
    return None


async def takes_another(call: str, proceed: fastrpc.Proceed) -> Any:
    return None


async def forgets_the_call(call: fastrpc.Call, proceed: fastrpc.Proceed) -> Any:
    return await proceed()  # error


def interceptors() -> None:
    fastrpc.Client("memory://a", interceptors=[no_coroutine])  # error
    fastrpc.Client("memory://a", interceptors=[takes_too_little])  # error
    fastrpc.Server(Arith, interceptors=[takes_another])  # error
    fastrpc.Server(Arith, interceptors=takes_another)  # error


async def calls() -> None:
    call = fastrpc.current_call()
    call.method = "arith.div"  # error
    call.metadata["trace"] = 1  # error
    call.metadata.binary["trace-bin"] = "1"  # error
    print(call.deadline + 1)  # error
    print(call.identity.name)  # error
    print(call.no_such_attribute)  # error
    side: Literal["caller", "callee"] = call.side  # error
    fastrpc.Identity("ada").name = "bob"  # error
    fastrpc.Identity()  # error
    print(side)
    raise CallError("no such user")  # error


def settings() -> None:
    fastrpc.Limits(concurrent_calls="3")  # error
    fastrpc.Limits(3)  # error
    fastrpc.Limits(calls=3)  # error
    fastrpc.ClientConfig(timeouts=fastrpc.Limits())  # error
    fastrpc.ClientConfig().codec = "json"  # error


async def life_of_a_server(server: fastrpc.Server) -> None:
    text: str = await server.listen("tcp://127.0.0.1:0")  # error
    await server.listen(8972)  # error
    fastrpc.Server(Arith, config=fastrpc.ClientConfig())  # error
    fastrpc.serve(Arith, address="tcp://127.0.0.1:1", workers="2")  # error
    print(text)


async def dynamic_batches() -> None:
    async def run(users: list[User]) -> list[float]:
        return [0.5 for _ in users]

    await fastrpc.Batcher(run)("Ada")  # error
    text: str = await fastrpc.Batcher(run)(User(1, "Ada"))  # error
    fastrpc.Batcher(run, key=lambda user: user.nme)  # error
    fastrpc.Batcher(run, size="8")  # error
    print(text)


async def functions(client: fastrpc.Client, server: fastrpc.Server) -> None:
    await client.call(mul, "6")  # error
    await client.call(mul, 6, 7, 8)  # error
    await client.call(mul, c=6)  # error
    text: str = await client.call(mul, 6)  # error
    await mul("6")  # error
    await server.remove(Arith)  # error
    fastrpc.function("math.div", idempotant=True)  # error
    print(text)


def choosing(client: fastrpc.Client) -> None:
    client.with_options(prefer=7)  # error
    fastrpc.Place("a")  # error
    fastrpc.Server(Arith, place="a")  # error
    fastrpc.selectors.zones(headroom="2")  # error
    fastrpc.selectors.Canary(percent=5)  # error
    fastrpc.selectors.Sticky(most="5")  # error


async def many_services(services: fastrpc.Services, blocking: fastrpc.SyncServices) -> None:
    await services.call(Arith.mul, 6, "7")  # error
    text: str = await services.call(Arith.mul, 6, 7)  # error
    await services.call(Feed.count, 3)  # error
    await services.with_options(tiemout=1).call(Arith.mul, 6, 7)  # error
    text = blocking.call(Arith.mul, 6, 7)  # error
    services[5]  # error
    fastrpc.Services("consul://a", selector=fastrpc.selectors.Random())  # error
    fastrpc.SyncServices("consul://a", names=["a"])  # error
    print(text)


@fastrpc.function  # error
def without_name() -> None: ...


async def messages(broker: fastrpc.brokers.Broker, user: User) -> None:
    users = fastrpc.Topic("users.new", User)
    await broker.publish(users, "ada")  # error
    await broker.publish(users, user, delay="1")  # error
    await broker.publish_many(users, [user, "ada"])  # error
    broker.subscribe(users, start=1.5)  # error
    users.name = "other"  # error
    async for message in broker.subscribe(users):
        number: int = message.value  # error
        print(number)
