"""A service for tests of the HTTP gateway."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import fastrpc
from fastrpc import CallError, Status, current_call

__all__ = ["Item", "Shop"]


@dataclass
class Item:
    name: str
    price: int
    tags: list[str]


@fastrpc.service("shop.v1")
class Shop:
    """Every shape of method, and every way to fail."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.started = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.noted: list[str] = []

    @fastrpc.method
    async def echo(self, text: str) -> str:
        return text

    @fastrpc.method
    async def later(self, text: str) -> str:
        await asyncio.sleep(0)
        return text

    @fastrpc.method
    def threaded(self, text: str, times: int = 2) -> str:
        return text * times

    @fastrpc.method(inline=True)
    def inline(self) -> None:
        return None

    @fastrpc.method
    async def raise_price(self, item: Item, by: int = 1) -> Item:
        return Item(item.name, item.price + by, item.tags)

    @fastrpc.method
    async def blob(self, data: bytes) -> bytes:
        return data[::-1]

    @fastrpc.method
    async def number(self, value: float) -> float:
        return value

    @fastrpc.method
    async def division(self, value: float) -> list[float | None]:
        return [None, value * 1e300 * 1e300]

    @fastrpc.method
    async def large(self, number: int) -> int:
        return number

    @fastrpc.method
    async def anything(self, value: Any) -> Any:
        return value

    @fastrpc.method
    async def note(self, text: str) -> None:
        self.noted.append(text)

    @fastrpc.method
    async def fail(self, status: str) -> None:
        raise CallError(Status[status], f"it is {status}", details={"why": [1, "b"]})

    @fastrpc.method
    async def crash(self) -> None:
        raise ZeroDivisionError("a secret")

    @fastrpc.method
    async def wait(self) -> None:
        self.started.set()
        try:
            await self.goes_on.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    @fastrpc.method
    async def remaining(self) -> float | None:
        return current_call().remaining()

    @fastrpc.method
    async def metadata(self) -> dict[str, str]:
        call = current_call()
        call.reply_metadata["answer"] = "ä b%c"
        call.reply_metadata.binary["raw-bin"] = b"\0\xff"
        found = dict(call.metadata)
        return found | {key: value.hex() for key, value in call.metadata.binary.items()}

    @fastrpc.method
    async def breaking(self) -> None:
        current_call().reply_metadata["bad"] = "a\r\nSet-Cookie: x"

    @fastrpc.method
    async def who(self) -> str:
        identity = current_call().identity
        return "nobody" if identity is None else identity.name

    @fastrpc.method
    async def count(self, to: int, fail_at: int = -1) -> AsyncIterator[int]:
        for number in range(to):
            if number == fail_at:
                raise CallError(Status.ABORTED, "enough")
            yield number

    @fastrpc.method
    def count_in_thread(self, to: int) -> Iterator[int]:
        yield from range(to)

    @fastrpc.method
    async def total(self, numbers: AsyncIterator[int], start: int = 0) -> int:
        async for number in numbers:
            start += number
        return start

    @fastrpc.method
    async def double(self, numbers: AsyncIterator[int]) -> AsyncIterator[int]:
        async for number in numbers:
            yield 2 * number
