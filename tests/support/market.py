"""A service of typed classes with a method of each kind, and the code generated from its .proto file."""

import asyncio
import dataclasses
import enum
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Annotated, Any

import msgspec

import fastrpc
from fastrpc import CallError, Status, current_call
from fastrpc.rpc.protobuf.packages import packages_of
from fastrpc.rpc.protobuf.text import proto_text
from fastrpc.rpc.service import service_definition
from tests.support.generated import Generated, generated_from

__all__ = ["Color", "Market", "Order", "Ripe", "Sour", "market_code"]


class Color(enum.Enum):
    RED = "red"
    DARK_GREEN = "green"


class Ripe(msgspec.Struct, tag=True):
    days: int


class Sour(msgspec.Struct, tag=True):
    note: str


@dataclasses.dataclass
class Order:
    """An order of apples."""

    id: int
    color: Color
    count: int = 1
    notes: list[str] = dataclasses.field(default_factory=list)
    stock: dict[str, int] = dataclasses.field(default_factory=dict)
    taste: Ripe | Sour | None = None
    made: datetime = datetime(2026, 1, 31, tzinfo=UTC)
    took: timedelta | None = None
    price: Annotated[float, fastrpc.Field(20, kind="float")] = 0.0
    more: Any = None


@fastrpc.service("market.v1.order_desk", grpc="pascal")
class Market:
    """Orders of a market."""

    @fastrpc.method
    async def put_order(self, order: Order) -> Order:
        """Return the order with one apple more."""
        order.count += 1
        return order

    @fastrpc.method
    async def add(self, a: int, b: int = 3) -> int:
        return a + b

    @fastrpc.method
    async def wait(self) -> None:
        await asyncio.Event().wait()

    @fastrpc.method
    async def find(self, id: int) -> Order | None:
        if id < 0:
            raise CallError(Status.NOT_FOUND, f"no order {id}", details={"id": id})
        return None if id == 0 else Order(id, Color.RED)

    @fastrpc.method
    async def follow(self, count: int) -> AsyncIterator[Order]:
        for at in range(count):
            yield Order(at, Color.DARK_GREEN)

    @fastrpc.method
    async def total(self, numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    @fastrpc.method
    async def talk(self, orders: AsyncIterator[Order]) -> AsyncIterator[str]:
        async for order in orders:
            yield f"{order.id} {order.color.value}"

    @fastrpc.method
    async def caller(self) -> str:
        return current_call().method


@cache
def market_code() -> Generated:
    """Return the code that grpcio-tools generates from our .proto file of the service."""
    (package,) = packages_of([service_definition(Market)])
    return generated_from("market", proto_text(package))
