"""Typed classes by gRPC: code that grpcio-tools generated from our .proto file calls a service of Python's classes."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

import fastrpc
from fastrpc import (
    Address,
    CallError,
    Client,
    ClientConfig,
    EncodeError,
    Server,
    ServerConfig,
    Status,
    SyncClient,
)
from tests.support.generated import Generated
from tests.support.grpc_peer import GrpcPeer, grpc_peer
from tests.support.market import Color, Market, Order, Sour, market_code

pytestmark = pytest.mark.one_loop


@asynccontextmanager
async def serving(*sources: Any, **settings: Any) -> AsyncIterator[Address]:
    """Serve over TCP by native and gRPC; yield the address."""
    config = ServerConfig(protocols=("native", "grpc"), **settings)
    async with Server(*(sources or [Market()]), config=config) as server:
        yield await server.listen("tcp://127.0.0.1:0")


@asynccontextmanager
async def stubbing() -> AsyncIterator[tuple[Any, Any]]:
    """Yield the stub that was generated, and the module of its messages."""
    code: Generated = market_code()
    async with (
        serving() as address,
        grpc.aio.insecure_channel(f"{address.host}:{address.port}") as channel,
    ):
        yield code.pb2_grpc.OrderDeskStub(channel), code.pb2


@asynccontextmanager
async def peering(*sources: Any, **settings: Any) -> AsyncIterator[GrpcPeer]:
    async with serving(*sources, **settings) as address, grpc_peer(address) as peer:
        yield peer


@asynccontextmanager
async def our_client(address: Address, codec: str) -> AsyncIterator[Client]:
    config = ClientConfig(codec=codec)
    async with Client(f"grpc://{address.host}:{address.port}", config=config) as client:
        yield client


class TestGeneratedStub:
    async def test_an_object_goes_and_comes_back(self) -> None:
        async with stubbing() as (stub, pb2):
            order = pb2.Order(id=2**53 + 1, color=pb2.COLOR_DARK_GREEN, count=5, notes=["a", ""], price=0.5)
            order.stock["x"] = -1
            order.taste.sour.note = "lemon"
            order.more.struct_value["deep"] = [1, None]
            order.took.seconds = -3
            answer = await stub.PutOrder(order)
            assert (answer.id, answer.color, answer.count, list(answer.notes)) == (
                2**53 + 1,
                pb2.COLOR_DARK_GREEN,
                6,
                ["a", ""],
            )
            assert (dict(answer.stock), answer.taste.sour.note, answer.price) == ({"x": -1}, "lemon", 0.5)
            assert answer.took.seconds == -3
            assert list(answer.more.struct_value["deep"]) == [1, None]

    async def test_absence_is_the_default_of_python(self) -> None:
        async with stubbing() as (stub, pb2):
            answer = await stub.PutOrder(pb2.Order(color=pb2.COLOR_RED))
            assert (answer.count, answer.HasField("count")) == (2, True)
            assert answer.made.ToDatetime(UTC) == datetime(2026, 1, 31, tzinfo=UTC)
            assert not answer.HasField("taste")
            assert (await stub.PutOrder(pb2.Order(color=pb2.COLOR_RED, count=0))).count == 1

    async def test_parameters_and_results_are_fields(self) -> None:
        async with stubbing() as (stub, pb2):
            assert (await stub.Add(pb2.AddRequest(a=2))).value == 5
            assert (await stub.Add(pb2.AddRequest(a=2, b=0))).value == 2
            assert not (await stub.Find(pb2.FindRequest())).HasField("value")
            assert (await stub.Find(pb2.FindRequest(id=7))).value.id == 7
            # Policies and logs have the canonical name.
            assert (await stub.Caller(pb2.CallerRequest())).value == "market.v1.order_desk.caller"

    async def test_streams_have_messages_of_their_items(self) -> None:
        async with stubbing() as (stub, pb2):
            assert [order.id async for order in stub.Follow(pb2.FollowRequest(count=3))] == [0, 1, 2]
            numbers = (pb2.TotalRequest(value=number) for number in (1, 2, -5))
            assert (await stub.Total(numbers)).value == -2
            orders = (pb2.Order(id=at, color=pb2.COLOR_RED) for at in range(2))
            assert [answer.value async for answer in stub.Talk(orders)] == ["0 red", "1 red"]

    async def test_faults_of_a_caller_name_the_field(self) -> None:
        async with stubbing() as (stub, pb2):
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await stub.PutOrder(pb2.Order(id=5))
            assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "missing required field `color`" in failed.value.details()
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await stub.Find(pb2.FindRequest(id=-1))
            assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.NOT_FOUND, "no order -1")

    async def test_a_fault_in_a_stream_ends_it(self) -> None:
        async with stubbing() as (stub, pb2):
            call = stub.Talk(iter([pb2.Order(id=1, color=pb2.COLOR_RED), pb2.Order(id=2)]))
            answers = []
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                async for answer in call:
                    answers.append(answer.value)
            assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT


ORDER = Order(
    2**53 + 1,
    Color.DARK_GREEN,
    notes=["a", ""],
    stock={"x": -1},
    taste=Sour("lemon"),
    took=timedelta(seconds=-1.5),
    price=0.5,
    more={"deep": [1, None, 2.5]},
)


@pytest.mark.parametrize("codec", ["msgpack", "json"])
class TestOurClient:
    """Our own clients, which share the class; with codec json the messages are JSON."""

    async def test_values_go_and_come_back(self, codec: str) -> None:
        async with serving() as address, our_client(address, codec) as client:
            answer = await client.call(Market.put_order, ORDER)
            assert answer == replace(ORDER, count=2)
            assert await client.call(Market.add, 2) == 5
            assert await client.call(Market.add, a=2, b=0) == 2
            assert await client.call(Market.find, 0) is None
            assert await client.call(Market.find, 3) == Order(3, Color.RED)
            assert await client.bind(Market).caller() == "market.v1.order_desk.caller"

    async def test_streams_of_every_kind(self, codec: str) -> None:
        async with serving() as address, our_client(address, codec) as client:
            assert [order.id async for order in client.stream(Market.follow, 3)] == [0, 1, 2]
            assert await client.call(Market.total, iter([1, 2, -5])) == -2
            orders = iter([Order(1, Color.RED), Order(2, Color.DARK_GREEN)])
            assert [text async for text in client.stream(Market.talk, orders)] == ["1 red", "2 green"]

    async def test_failures_are_the_same_by_every_wire(self, codec: str) -> None:
        async with serving() as address, our_client(address, codec) as client:
            with pytest.raises(CallError) as failed:
                await client.call(Market.find, -1)
            assert (failed.value.status, failed.value.message) == (Status.NOT_FOUND, "no order -1")
            assert failed.value.details == {"id": -1}
            with pytest.raises(EncodeError, match="a: 9223372036854775808 is beyond int64"):
                await client.call(Market.add, 2**63)
            with pytest.raises(EncodeError, match="Order.color: expected a member of the enum, got str"):
                await client.call(Market.put_order, replace(ORDER, color="purple"))  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="missing 1 required"):
                await client.call(Market.add)

    async def test_a_client_without_a_loop_calls_the_same(self, codec: str) -> None:
        config = ClientConfig(codec=codec)
        async with serving() as address:

            def call() -> None:
                with SyncClient(f"grpc://{address.host}:{address.port}", config=config) as client:
                    assert client.call(Market.put_order, ORDER) == replace(ORDER, count=2)
                    assert [order.id for order in client.stream(Market.follow, 2)] == [0, 1]

            await asyncio.to_thread(call)


class TestByName:
    async def test_messages_are_bytes_or_values_of_json(self) -> None:
        async with serving() as address, our_client(address, "msgpack") as client:
            assert await client.call("market.v1.OrderDesk.Add", b"\x08\x02") == b"\x08\x05"
            with pytest.raises(EncodeError, match="takes its message as bytes"):
                await client.call("market.v1.OrderDesk.Add", {"a": 2})
            as_json = client.with_options(codec="json")
            assert await as_json.call("market.v1.OrderDesk.Add", {"a": 2}) == {"value": "5"}
            assert await as_json.call("market.v1.OrderDesk.Add", a=2, b="3") == {"value": "5"}


class TestJson:
    """Messages as JSON, by `application/grpc+json`."""

    async def call(self, peer: GrpcPeer, method: str, value: Any) -> Any:
        body = json.dumps(value).encode()
        answer = await peer.call(f"/market.v1.OrderDesk/{method}", body, kind="application/grpc+json")
        assert answer.head["content-type"] == "application/grpc+json"
        return answer

    async def test_an_object_goes_and_comes_back(self) -> None:
        async with peering() as peer:
            answer = await self.call(peer, "PutOrder", {"id": "5", "color": "COLOR_RED", "notes": ["x"]})
            assert answer.status == 0
            assert json.loads(answer.data[5:]) == {
                "id": "5",
                "color": "COLOR_RED",
                "count": "2",
                "notes": ["x"],
                "made": "2026-01-31T00:00:00Z",
            }

    async def test_faults_of_a_caller_name_the_field(self) -> None:
        async with peering() as peer:
            answer = await self.call(peer, "PutOrder", {"id": "x"})
            assert answer.status == 3
            assert "Order.id: expected an integer, got a text" in answer.end["grpc-message"]


@fastrpc.service("my-market.tables")
class Tables:
    @fastrpc.method
    async def rows(self) -> list[list[int]]:
        return [[1]]

    @fastrpc.method("count-all")
    async def count(self) -> int:
        return 5

    @fastrpc.method(codec="raw")
    async def copy(self, data: bytes) -> bytes:
        return data


class TestNamesAndForms:
    async def test_a_type_without_a_form_is_reported_once_and_unimplemented(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING, "fastrpc.server"):
            async with peering(Tables()) as peer:
                answers = [await peer.call("/my-market.tables/rows", b"") for _ in range(2)]
        assert {answer.status for answer in answers} == {12}
        (record,) = [one for one in caplog.records if "gRPC" in one.getMessage()]
        for text in (answers[0].end["grpc-message"], record.getMessage()):
            assert "Tables.rows: the result is list[list[int]]" in text
            assert "make the inner type the field of a separate dataclass" in text

    async def test_a_name_has_no_dash(self) -> None:
        async with peering(Tables()) as peer:
            for path in ("/my_market.tables/count_all", "/my-market.tables/count-all"):
                assert (await peer.call(path, b"")).data[5:] == b"\x08\x05"

    async def test_own_names_of_a_service_stay_valid(self) -> None:
        async with peering() as peer:
            for path in ("/market.v1.order_desk/add", "/market.v1.OrderDesk/Add"):
                assert (await peer.call(path, b"\x08\x02")).data[5:] == b"\x08\x05"

    async def test_bytes_have_no_json(self) -> None:
        async with peering(Tables()) as peer:
            answer = await peer.call("/my-market.tables/copy", b"{}", kind="application/grpc+json")
            assert answer.status == 12
            assert "no JSON" in answer.end["grpc-message"]

    async def test_malformed_messages_are_refused(self) -> None:
        async with peering() as peer:
            for payload in (b"\x08", b"\x0a\x05x", b"\xff" * 20, b"\x22\x01\xff"):
                answer = await peer.call("/market.v1.OrderDesk/PutOrder", payload)
                assert answer.status == 3

    async def test_other_formats_are_unsupported(self) -> None:
        async with peering() as peer:
            answer = await peer.call(
                "/market.v1.OrderDesk/Add",
                b"",
                kind="application/grpc+thrift",
            )
            assert answer.head[":status"] == "415"
