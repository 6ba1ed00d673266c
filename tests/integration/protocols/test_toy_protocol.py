"""A wire in Python serves the handlers of a server together with the native protocol: the gate knows neither."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial

import msgspec
import pytest

import fastrpc
from fastrpc import Admission, Client, Limits, Server, ServerConfig, Timeouts, current_call
from fastrpc._core.base.histogram import default_registry
from fastrpc._core.server.link import Link
from fastrpc._core.server.served_connection import ServedConnection
from tests.support import toy_protocol
from tests.support.frame_factory import opening, request
from tests.support.kept_connection import KeptConnection
from tests.support.peer_writing import write_to
from tests.support.raw_peer import raw_client
from tests.support.served import SCHEMES, served
from tests.support.shop import Shop
from tests.support.waiting import eventually
from tests.support.wire_frames import Response, SettingsFrame

pytestmark = pytest.mark.one_loop

assert toy_protocol.toy_link is not None
BOTH = ("native", "toy")
serving_both = partial(served, scheme="tcp", config=ServerConfig(protocols=BOTH))


class Talk:
    """A caller that writes lines."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, *lines: str) -> None:
        write_to(self.writer, "".join(f"{line}\n" for line in lines).encode())

    async def hear(self) -> str:
        async with asyncio.timeout(20):
            return (await self.reader.readline()).decode().rstrip("\n")


@asynccontextmanager
async def toy(server: Server) -> AsyncIterator[Talk]:
    [listener] = server._listening.listeners
    talk = Talk(*await asyncio.open_connection(listener.address.host, listener.address.port))
    try:
        yield talk
    finally:
        talk.writer.close()


def answered(method: str, protocol: str) -> int:
    snapshot = default_registry.counters(method, "server", protocol).snapshot()
    calls: dict[str, int] = snapshot["calls"]
    return calls.get("OK", 0)


async def test_both_protocols_call_the_same_handlers() -> None:
    async with serving_both(Shop) as target, Client(target) as client, toy(target.server) as talk:
        talk.say('shop.price "apple"', 'shop.count "fig"')
        assert await talk.hear() == "1 OK 5"
        assert await talk.hear() == "2 OK 3"
        assert await client.call(Shop.price, "apple") == 5


@fastrpc.service("probe")
class Probe:
    """Returns the facts of a call, and passes calls on to the gate of its own server."""

    def __init__(self) -> None:
        self.connection: KeptConnection | None = None

    @fastrpc.method
    async def look(self, text: str) -> tuple[int, int, bool]:
        call = current_call()
        remaining = call.remaining()
        return call.attempt, call.priority, remaining is not None and remaining > 10

    @fastrpc.method
    async def hand_on(self, method: str, argument: str) -> bool:
        assert self.connection is not None
        before = asyncio.current_task()
        self.connection.call(method, argument)
        return before is not None and before is asyncio.current_task()


async def test_a_call_inherits_nothing_of_a_native_call_before_it() -> None:
    config = ServerConfig(protocols=BOTH, timeouts=Timeouts(call=60))
    async with serving_both(Probe, config=config) as target, toy(target.server) as talk:
        async with raw_client(target) as peer:
            peer.send(opening(False))
            await peer.next(SettingsFrame)
            fields = {"attempt": 3, "priority": 2, "timeout_us": 1_000_000}
            for id, more in enumerate(({}, {"compressor": 77})):
                payload = msgspec.msgpack.encode(["x"])
                peer.send(request(2 * id + 1, payload, method=b"probe.look", codec=1, **fields, **more))
                await peer.next(Response)
                talk.say('probe.look "a"')
                assert await talk.hear() == f"{id + 1} OK [0,0,true]"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("method", ["shop.price", "shop.count", "shop.pack", "shop.nothing"])
async def test_a_handler_may_hand_a_call_on_in_its_first_step(scheme: str, method: str) -> None:
    shop, probe = Shop(), Probe()
    async with served(shop, probe, scheme=scheme) as target, Client(target) as client:
        assert target.server._gate is not None
        probe.connection = KeptConnection(target.server._gate)
        async with asyncio.timeout(20):
            for _ in range(3):
                assert await client.call(Probe.hand_on, method, "apple")
                assert await client.call(Shop.price, "fig") == 3
            tasks = [asyncio.ensure_future(client.call(Probe.hand_on, method, "apple")) for _ in range(20)]
            assert all(await asyncio.gather(*tasks))
            shop.go_on.set()
            await eventually(lambda: target.server.stats()["live"]["calls"] == 0)
            ends = len(probe.connection.answers) + len(probe.connection.refusals)
            assert ends == 23


async def test_a_connection_above_the_limit_is_closed() -> None:
    config = ServerConfig(protocols=BOTH, limits=Limits(connections=2))
    await holds_the_limit(config)


async def test_the_limit_of_connections_holds_without_detection() -> None:
    await holds_the_limit(ServerConfig(protocols=("toy",), limits=Limits(connections=2)))


async def holds_the_limit(config: ServerConfig) -> None:
    async with serving_both(Shop, config=config) as target, AsyncExitStack() as stack:
        talks = [await stack.enter_async_context(toy(target.server)) for _ in range(4)]
        heard = []
        for talk in talks:
            talk.say('shop.price "apple"')
            with suppress(ConnectionError):
                heard.append(await talk.hear())
        assert [line for line in heard if line] == ["1 OK 5"] * 2
        assert target.server.stats()["totals"]["refused_connections"] == 2


async def test_handlers_end_in_any_order() -> None:
    shop = Shop()
    async with serving_both(shop) as target, toy(target.server) as talk:
        talk.say('shop.pack "apple"', 'shop.weigh "pear"', 'shop.price "fig"')
        assert await talk.hear() == "3 OK 3"
        shop.thread_goes_on.set()
        assert await talk.hear() == '2 OK "pear in True"'
        shop.go_on.set()
        assert await talk.hear() == '1 OK "packed apple"'


async def test_refusals_and_failures_are_reported() -> None:
    async with serving_both(Shop) as target, toy(target.server) as talk:
        talk.say("shop.nothing 1", "shop.price 7", 'shop.price "', 'shop.fail "pear"')
        assert (await talk.hear()).startswith(
            "1 UNIMPLEMENTED no method 'shop.nothing' here; there are shop.count"
        )
        assert (await talk.hear()).startswith("2 INVALID_ARGUMENT shop.price: ")
        assert (await talk.hear()).startswith("3 INVALID_ARGUMENT shop.price: ")
        assert await talk.hear() == "4 NOT_FOUND pear"


async def test_a_deadline_stops_the_handler() -> None:
    shop = Shop()
    async with serving_both(shop) as target, toy(target.server) as talk:
        talk.say('shop.pack@10 "apple"')
        assert await talk.hear() == "1 DEADLINE_EXCEEDED shop.pack: its deadline passed"
        assert shop.cancelled == 1
        talk.say('shop.price@0 "apple"')
        assert (
            await talk.hear()
            == "2 DEADLINE_EXCEEDED shop.price: its deadline passed before the handler started"
        )


async def test_a_cancel_and_a_lost_connection_stop_handlers() -> None:
    shop = Shop()
    async with serving_both(shop) as target:
        async with toy(target.server) as talk:
            talk.say('shop.pack "apple"', "cancel 1")
            assert await talk.hear() == "1 CANCELLED shop.pack was cancelled"
            talk.say('shop.pack "apple"')
            await eventually(lambda: shop.started == 2)
        await eventually(lambda: shop.cancelled == 2)
        await eventually(lambda: not any(target.server.stats()["live"].values()))


async def test_a_full_queue_refuses_the_calls_of_one_connection_alone() -> None:
    config = ServerConfig(admission=Admission(queue_length=1), protocols=BOTH)
    async with (
        serving_both(Shop, config=config) as target,
        Client(target) as client,
        toy(target.server) as talk,
    ):
        talk.say('shop.price "apple"')
        assert await talk.hear() == "1 OK 5"
        [session] = [one for one in target.server._gate.engines if isinstance(one, Link)]  # type: ignore[union-attr]
        session.gate.weigh_output(session.connection, 64 << 20)
        talk.say('shop.price "apple"', 'shop.price "apple"')
        assert (await talk.hear()).startswith("3 RESOURCE_EXHAUSTED 1 calls wait for their start")
        assert await client.call(Shop.price, "fig") == 3
        session.stream.resume_writing()
        assert await talk.hear() == "2 OK 5"


async def test_a_drain_lets_calls_finish_and_serves_calls_that_arrive_meanwhile() -> None:
    shop = Shop()
    async with serving_both(shop) as target, toy(target.server) as talk:
        talk.say('shop.pack "apple"', "shop.linger ")
        await eventually(lambda: target.server.stats()["live"]["calls"] == 2)
        draining = asyncio.ensure_future(target.server.drain())
        assert await talk.hear() == '2 OK "drained"'
        talk.say('shop.price "apple"')
        # Without last words the protocol cannot tell its peer to make no further calls.
        assert await talk.hear() == "3 OK 5"
        assert not draining.done()
        shop.go_on.set()
        assert await talk.hear() == '1 OK "packed apple"'
        assert await talk.hear() == ""
        assert await draining


async def test_a_drain_that_takes_too_long_answers_for_the_handlers() -> None:
    async with serving_both(Shop) as target, toy(target.server) as talk:
        talk.say('shop.pack "apple"')
        await eventually(lambda: target.server.stats()["live"]["calls"] == 1)
        assert not await target.server.drain(0.01)
        assert (await talk.hear()).startswith("1 UNAVAILABLE the server stops")
        assert await talk.hear() == ""


async def test_calls_count_by_the_protocol_they_came_by() -> None:
    async with serving_both(Shop) as target, Client(target) as client, toy(target.server) as talk:
        before = [answered("shop.price", protocol) for protocol in BOTH]
        talk.say('shop.price "apple"', 'shop.price "fig"')
        await talk.hear()
        await talk.hear()
        await client.call(Shop.price, "apple")
        after = [answered("shop.price", protocol) for protocol in BOTH]
        assert [now - then for then, now in zip(before, after, strict=True)] == [1, 2]
        assert {connection.protocol for connection in connections(target.server)} == set(BOTH)


def connections(server: Server) -> list[ServedConnection]:
    assert server._gate is not None
    return [one.connection for one in server._gate.engines]
