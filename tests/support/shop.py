"""A service with a handler of each kind, for tests of the gate."""

import asyncio
import threading
import time
from typing import Any, cast

import fastrpc
from fastrpc import CallError, Status, current_call
from fastrpc._core.server.served_call import ServerCall

__all__ = ["Shop"]


@fastrpc.service("shop")
class Shop:
    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.started = 0
        self.cancelled = 0
        self.thread_goes_on = threading.Event()
        self.seen: list[Any] = []

    @fastrpc.method
    async def price(self, item: str) -> int:
        self.started += 1
        return len(item)

    @fastrpc.method
    async def pack(self, item: str) -> str:
        self.started += 1
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return f"packed {item}"

    @fastrpc.method(inline=True)
    def count(self, item: str) -> int:
        return len(item)

    @fastrpc.method
    def weigh(self, item: str) -> str:
        assert self.thread_goes_on.wait(20)
        return f"{item} in {threading.current_thread() is not threading.main_thread()}"

    @fastrpc.method
    async def fail(self, text: str) -> None:
        current_call().reply_metadata["hint"] = "other"
        raise CallError(Status.NOT_FOUND, text, details={"item": text}, retry_after=1.5)

    @fastrpc.method
    async def crash(self) -> None:
        raise ZeroDivisionError

    @fastrpc.method
    async def look(self) -> str:
        call = current_call()
        self.seen.append((call.identity, dict(call.metadata), call.peer, call.remaining()))
        call.reply_metadata["seen"] = "yes"
        return call.method or ""

    @fastrpc.method(timeout=0.5)
    async def limited(self) -> float | None:
        return current_call().remaining()

    @fastrpc.method
    async def linger(self) -> str:
        await cast(ServerCall, current_call()).draining
        return "drained"

    @fastrpc.method
    async def total(self, prices: list[int]) -> int:
        return sum(prices)

    @fastrpc.method
    async def stall(self) -> None:
        end = time.monotonic() + 0.03
        while time.monotonic() < end:
            pass
