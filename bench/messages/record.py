"""The message of the comparison: a typed record of 1 KiB as JSON, which each side encodes and decodes."""

from typing import Final

import msgspec

import fastrpc

__all__ = ["BODY", "TOPIC", "Order", "Shop", "order"]


class Order(msgspec.Struct):
    """An order."""

    id: int
    customer: str
    items: list[str]
    note: str


def order(id: int = 1) -> Order:
    """Return an order of 1,024 bytes as JSON, or a few more for a long number."""
    return Order(id, "customer-17", [f"item-{number}" for number in range(8)], _NOTE)


_NOTE = ""
_NOTE = "n" * (1024 - len(msgspec.json.encode(order())))

BODY: Final = msgspec.json.encode(order())

TOPIC: Final = "orders.new"


@fastrpc.service("shop")
class Shop:
    """The call that a publication is compared with."""

    @fastrpc.method(codec="json")
    async def keep(self, order: Order) -> int:
        return order.id
