"""Caller and handler share nothing, not even over memory://, and neither do two calls."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

import fastrpc
from fastrpc import Call, Client, Proceed, Status
from fastrpc.testing import connected
from tests.support.arith import Arith
from tests.support.served import SCHEMES, served


@dataclass
class Basket:
    owner: str
    items: list[str] = field(default_factory=list)
    prices: dict[str, int] = field(default_factory=dict)


class Point(msgspec.Struct):
    x: list[int]


@fastrpc.service("shop")
class Shop:
    def __init__(self) -> None:
        self.kept: list[Any] = []
        self.inside = asyncio.Event()
        self.go_on = asyncio.Event()

    @fastrpc.method
    async def keep(self, value: Basket) -> Basket:
        self.kept.append(value)
        return value

    @fastrpc.method
    async def keep_later(self, value: Basket) -> Basket:
        self.inside.set()
        await self.go_on.wait()
        return value

    @fastrpc.method
    async def keep_plain(self, value):  # type: ignore[no-untyped-def]
        self.kept.append(value)
        return value

    @fastrpc.method
    async def keep_struct(self, value: Point) -> Point:
        self.kept.append(value)
        return value

    @fastrpc.method(codec="raw")
    async def keep_raw(self, data: bytes) -> bytes:
        self.kept.append(data)
        return data

    @fastrpc.method
    async def keep_bytearray(self, data: bytearray) -> bytearray:
        self.kept.append(data)
        return data


each_scheme = pytest.mark.parametrize("scheme", SCHEMES)


@each_scheme
async def test_values_are_copies_on_every_way(scheme: str) -> None:
    shop = Shop()
    async with served(shop, scheme=scheme) as target, Client(target) as client:
        sent = Basket("ada", ["tea"], {"tea": 5})
        answer = await client.call(Shop.keep, sent)
        sent.items.append("sent")
        answer.items.append("answer")
        shop.kept[0].items.append("kept")
        assert (sent.items, answer.items, shop.kept[0].items) == (
            ["tea", "sent"],
            ["tea", "answer"],
            ["tea", "kept"],
        )


@each_scheme
async def test_structs_and_plain_values_are_copies_too(scheme: str) -> None:
    shop = Shop()
    async with served(shop, scheme=scheme) as target, Client(target) as client:
        point, plain = Point([1]), {"a": [1]}
        answers = await client.call(Shop.keep_struct, point), await client.call(Shop.keep_plain, plain)
        assert answers[0] is not point
        assert answers[0].x is not point.x
        assert answers[0].x is not shop.kept[0].x
        assert answers[1]["a"] is not plain["a"]
        assert answers[1]["a"] is not shop.kept[1]["a"]


@each_scheme
async def test_changes_after_the_call_was_sent_are_not_seen(scheme: str) -> None:
    shop = Shop()
    async with served(shop, scheme=scheme) as target, Client(target) as client:
        sent = Basket("ada", ["tea"])
        call = asyncio.ensure_future(client.call(Shop.keep_later, sent))
        await shop.inside.wait()
        sent.items.append("late")
        shop.go_on.set()
        assert (await call).items == ["tea"]


@each_scheme
@pytest.mark.parametrize("size", [10, 300_000])
async def test_buffers_may_be_used_again_as_soon_as_the_call_is_under_way(scheme: str, size: int) -> None:
    shop = Shop()
    async with served(shop, scheme=scheme) as target, Client(target) as client:
        await client.ready()
        for method in (Shop.keep_raw, Shop.keep_bytearray):
            buffer = bytearray(b"a" * size)
            call = client.call(method, buffer)  # type: ignore[call-overload]
            future = call.send(None)
            buffer[:] = b"b" * size
            future._asyncio_future_blocking = False
            await asyncio.wait([future])
            with pytest.raises(StopIteration) as end:
                call.send(None)
            assert end.value.value == b"a" * size
            assert shop.kept[-1] == b"a" * size


@each_scheme
async def test_an_answer_changed_after_it_was_returned_is_not_seen(scheme: str) -> None:
    shop = Shop()
    async with served(shop, scheme=scheme) as target, Client(target) as client:
        answer = await client.call(Shop.keep_bytearray, bytearray(b"abc"))
        shop.kept[0][:] = b"xyz"
        assert answer == b"abc"


@each_scheme
async def test_large_answers_own_their_memory(scheme: str) -> None:
    shop = Shop()
    async with served(shop, scheme=scheme) as target, Client(target) as client:
        first = await client.call(Shop.keep_raw, b"1" * 400_000)
        others = await asyncio.gather(*(client.call(Shop.keep_raw, b"2" * 400_000) for _ in range(5)))
        assert first == b"1" * 400_000
        assert set(others) == {b"2" * 400_000}
        assert shop.kept[0] == b"1" * 400_000


@each_scheme
async def test_an_error_and_its_details_are_copies(scheme: str) -> None:
    details = {"tags": ["a"]}

    @fastrpc.service("refuser")
    class Refuser:
        @fastrpc.method
        async def refuse(self) -> None:
            raise fastrpc.CallError(fastrpc.Status.ABORTED, "no", details=details)

    async with served(Refuser, scheme=scheme) as target, Client(target) as client:
        with pytest.raises(fastrpc.CallError) as failed:
            await client.call(Refuser.refuse)
        assert failed.value.details == details
        assert failed.value.details is not details
        assert failed.value.__cause__ is None


async def test_an_interceptor_sees_no_outcome_of_the_calls_before() -> None:
    seen: list[Status | None] = []

    async def note(call: Call, proceed: Proceed) -> Any:
        seen.append(call.status)
        try:
            return await proceed(call)
        finally:
            seen.append(call.status)

    async with connected(Arith, interceptors=[note]) as client:
        for _ in range(3):
            assert await client.call(Arith.mul, 6, 7) == 42
    assert seen == [None, Status.OK] * 3
