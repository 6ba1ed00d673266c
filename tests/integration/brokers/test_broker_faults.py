"""`broker://` where the broker or the network goes away, and where many wait."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastrpc import Admission, BrokerError, Client, ConfigError, Server, Status, Topic, timeout
from fastrpc.brokers import open_broker
from fastrpc.brokers.base import GroupSettings, OutgoingMessage, TopicSettings
from fastrpc.brokers.broker_urls import open_backend
from fastrpc.brokers.remote.server import BrokerServer
from fastrpc.brokers.remote.service import BrokerService, broker_config
from tests.support.ports import free_address
from tests.support.proxy import FaultProxy
from tests.support.waiting import eventually

LOG = TopicSettings("orders.new")
ORDERS = Topic("orders.new", str)


@pytest.fixture
async def server() -> AsyncIterator[BrokerServer]:
    async with BrokerServer("tcp://127.0.0.1:0") as server:
        yield server


@pytest.fixture
async def patient(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[BrokerServer]:
    """A server that refuses no call for the stalls of a busy machine."""
    calm = replace(broker_config(None), admission=Admission(queue_age=30))
    monkeypatch.setattr("fastrpc.brokers.remote.server.broker_config", lambda tls: calm)
    async with BrokerServer("tcp://127.0.0.1:0") as server:
        yield server


def service_of(server: BrokerServer) -> BrokerService:
    return dict(server._server._served.instances())["fastrpc.broker"]


async def test_messages_of_a_cut_connection_go_to_other_consumers_at_once(server: BrokerServer) -> None:
    async with FaultProxy(str(server.address)) as proxy:
        place = str(proxy.address).replace("tcp://", "broker://")
        async with open_backend(place) as cut, open_backend(server.url) as broker:
            await broker.declare(LOG)
            leaving, staying = [await one.join(GroupSettings("g", "orders.new")) for one in (cut, broker)]
            await broker.publish([OutgoingMessage("orders.new", b"1")])
            (one,) = await leaving.take(5)
            taking = asyncio.ensure_future(staying.take(5))
            proxy.reset_all()
            (again,) = await taking
            assert (again.body, again.delivery) == (b"1", 2)
            await eventually(lambda: leaving.is_lost(one.token))
            assert not await leaving.ack(one.token)
            with pytest.raises(BrokerError) as caught:
                await leaving.take(5)
            assert caught.value.retryable


async def test_ack_with_a_lost_answer_has_an_unknown_outcome(server: BrokerServer) -> None:
    async with FaultProxy(str(server.address)) as proxy:
        place = str(proxy.address).replace("tcp://", "broker://")
        async with open_backend(place) as broker:
            await broker.declare(LOG)
            member = await broker.join(GroupSettings("g", "orders.new"))
            await broker.publish([OutgoingMessage("orders.new", b"1")])
            (one,) = await member.take(5)
            acking = asyncio.ensure_future(member.ack(one.token))
            await asyncio.sleep(0)
            proxy.reset_all()
            with pytest.raises(BrokerError) as caught:
                await acking
            assert (caught.value.processed, caught.value.retryable) == ("unknown", True)
            assert member.is_lost(one.token)


async def test_subscription_and_publisher_outlive_a_restart_of_a_kept_broker(tmp_path: Path) -> None:
    address = free_address()
    url = address.replace("tcp://", "broker://")
    async with open_broker(url) as broker:
        async with BrokerServer(address, data_dir=tmp_path / "kept"):
            await broker.publish(ORDERS, "first", id="1")
            messages = await broker.subscribe(ORDERS, group="g", start="oldest").__aenter__()
            held = await anext(messages)
        async with BrokerServer(address, data_dir=tmp_path / "kept"):
            second = asyncio.ensure_future(broker.publish(ORDERS, "second", id="2"))
            again = await anext(messages)
            assert (again.value, again.delivery, held.is_lost) == ("first", 2, True)
            assert await again.ack()
            assert (await anext(messages)).value == "second"
            assert not (await second).is_duplicate
            assert (await broker.publish(ORDERS, "first", id="1")).is_duplicate
            await messages.close()


@pytest.mark.parametrize("id", ["1", None])
async def test_publication_with_a_lost_answer_is_repeated(server: BrokerServer, id: str | None) -> None:
    async with FaultProxy(str(server.address)) as proxy:
        async with open_broker(str(proxy.address).replace("tcp://", "broker://")) as broker:
            await broker.declare(ORDERS)
            backend = service_of(server).backend
            publish = backend.publish

            async def keep_and_cut(messages: Any) -> Any:
                kept = await publish(messages)
                backend.publish = publish  # type: ignore[method-assign]
                proxy.reset_all()
                return kept

            backend.publish = keep_and_cut  # type: ignore[method-assign]
            assert (await broker.publish(ORDERS, "a", id=id)).is_duplicate


async def test_cancelled_takes_lose_and_count_nothing(server: BrokerServer) -> None:
    async with open_backend(server.url) as broker:
        await broker.declare(LOG)
        member = await broker.join(GroupSettings("g", "orders.new"))
        for number in range(50):
            taking = asyncio.ensure_future(member.take(3))
            for _ in range(number % 5):
                await asyncio.sleep(0)
            publishing = asyncio.ensure_future(
                broker.publish([OutgoingMessage("orders.new", b"%d" % number)])
            )
            for _ in range(number % 7):
                await asyncio.sleep(0)
            taking.cancel()
            await publishing
            (found,) = await asyncio.gather(taking, return_exceptions=True)
            if isinstance(found, BaseException):
                found = await member.take(3)
            assert [(one.body, one.delivery) for one in found] == [(b"%d" % number, 1)]
            assert await member.ack(found[0].token)
        (state,) = await broker.groups()
        assert (state.lag, state.under_way) == (0, 0)


async def test_member_that_leaves_hands_back_a_batch_on_its_way_uncounted(server: BrokerServer) -> None:
    async with open_backend(server.url) as broker:
        await broker.declare(LOG)
        leaving = await broker.join(GroupSettings("g", "orders.new"))
        taking = asyncio.ensure_future(leaving.take(5))
        await asyncio.sleep(0)
        publishing = asyncio.ensure_future(broker.publish([OutgoingMessage("orders.new", b"1")]))
        await asyncio.sleep(0)
        taking.cancel()
        await leaving.close()
        await publishing
        staying = await broker.join(GroupSettings("g", "orders.new"))
        (one,) = await staying.take(1)
        assert (one.body, one.delivery) == (b"1", 1)


async def test_thousand_members_are_woken_by_one_publication(patient: BrokerServer) -> None:
    async with open_backend(patient.url) as broker:
        await broker.declare(LOG)
        members = [await broker.join(GroupSettings(None, "orders.new")) for _ in range(1_000)]
        taking = [asyncio.ensure_future(member.take(1)) for member in members]
        await broker.publish([OutgoingMessage("orders.new", b"1")])
        for found in await asyncio.gather(*taking):
            assert [one.body for one in found] == [b"1"]


async def test_thousand_members_of_a_group_share_a_thousand_messages(patient: BrokerServer) -> None:
    async with open_backend(patient.url) as broker:
        await broker.declare(LOG)
        members = [await broker.join(GroupSettings("g", "orders.new")) for _ in range(1_000)]
        taking = [asyncio.ensure_future(member.take(1)) for member in members]
        await broker.publish([OutgoingMessage("orders.new", b"%d" % number) for number in range(1_000)])
        found = [one for batch in await asyncio.gather(*taking) for one in batch]
        assert sorted(int(one.body) for one in found) == list(range(1_000))


async def test_large_messages_come_in_several_parts_of_one_batch(server: BrokerServer) -> None:
    async with open_backend(server.url) as broker:
        await broker.declare(LOG)
        member = await broker.join(GroupSettings("g", "orders.new"))
        for size in (10, 1_000_000):
            await broker.publish([OutgoingMessage("orders.new", bytes(size)) for _ in range(8)])
            left = 8
            while left:
                found = await member.take(left)
                assert {len(one.body) for one in found} == {size}
                assert all([await member.ack(one.token) for one in found])
                left -= len(found)


async def test_long_list_of_dead_letters_comes_in_parts(server: BrokerServer) -> None:
    async with open_backend(server.url) as broker:
        await broker.declare(LOG)
        member = await broker.join(GroupSettings("g", "orders.new"))
        for _ in range(30):
            await broker.publish([OutgoingMessage("orders.new", bytes(1_000_000), headers={"a": "b"})])
            (one,) = await member.take(1)
            assert await member.reject(one.token, "no \udcff", "\ud800")
        letters = await broker.dead_letters("g")
        assert [(len(one.body), dict(one.headers)) for one in letters] == [(1_000_000, {"a": "b"})] * 30
        assert (letters[0].reason, letters[0].error) == ("no \\udcff", "\\ud800")


async def test_seek_of_another_program_reports_lost_messages_to_the_members(server: BrokerServer) -> None:
    async with open_backend(server.url) as broker, open_backend(server.url) as other:
        await broker.declare(LOG)
        member = await broker.join(GroupSettings("g", "orders.new"))
        await broker.publish([OutgoingMessage("orders.new", b"1")])
        (one,) = await member.take(1)
        await other.seek("g", "oldest")
        await eventually(lambda: member.is_lost(one.token))
        (again,) = await member.take(1)
        assert (again.body, again.delivery) == (b"1", 1)


async def test_drain_ends_consumers_with_an_error_that_lets_them_join_again() -> None:
    service = BrokerService()
    async with Server(service, config=broker_config(None)) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with open_backend(str(address).replace("tcp://", "broker://")) as broker:
            await broker.declare(LOG)
            member = await broker.join(GroupSettings("g", "orders.new"))
            taking = asyncio.ensure_future(member.take(1))
            await eventually(lambda: service.backend.takes._waiting)
            await server.drain()
            with pytest.raises(BrokerError) as caught:
                await taking
            assert (caught.value.status, caught.value.retryable) == (Status.UNAVAILABLE, True)


async def test_refusals_keep_their_kind_hint_and_pause(server: BrokerServer) -> None:
    async with open_backend(server.url) as broker:
        await broker.declare(TopicSettings("jobs", None, ("mail",), max_bytes=4_000))
        await broker.publish([OutgoingMessage("jobs", bytes(2_000))])
        with pytest.raises(BrokerError) as full:
            await broker.publish([OutgoingMessage("jobs", bytes(2_000))])
        assert (full.value.status, full.value.processed) == (Status.RESOURCE_EXHAUSTED, "no")
        assert full.value.retry_after is not None
        assert full.value.retryable
        with pytest.raises(ConfigError, match="has no group other") as wrong:
            await broker.join(GroupSettings("other", "jobs"))
        assert wrong.value.hint is not None
        assert "mail" in wrong.value.hint


async def test_broker_that_is_away_is_reported_as_away() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with open_backend(f"broker://127.0.0.1:{taken.getsockname()[1]}") as broker:
            for attempt in (
                broker.declare(LOG),
                broker.publish([OutgoingMessage("orders.new", b"")]),
                broker.join(GroupSettings("g", "orders.new")),
                broker.groups(),
                broker.dead_letters("g"),
            ):
                with pytest.raises(BrokerError) as caught:
                    await attempt
                assert (caught.value.processed, caught.value.retryable) == ("no", True)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("broker://a:1,b:2", "names several brokers"),
        ("broker://a:1/path", "is more than a broker"),
        ("broker://a:1?nosuch=1", "nosuch"),
        ("broker://example.org:1?token=secret", "token"),
    ],
)
def test_wrong_urls_are_refused(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        open_backend(url)


async def test_deadline_of_the_block_that_subscribes_does_not_end_the_subscription(
    server: BrokerServer,
) -> None:
    async with open_broker(server.url) as broker:
        with timeout(30):
            messages = await broker.subscribe(ORDERS, group="g").__aenter__()
        async with Client(server.address) as client:
            await client.call(BrokerService.publish, "orders.new", b'"a"')
        assert (await anext(messages)).value == "a"
        await messages.close()
