"""A service whose messages are bytes as they are, with a method of each kind: for protocols below any codec."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import fastrpc
from fastrpc import CallError, Status, current_call

__all__ = ["Raw"]


@fastrpc.service("test.v1.Raw")
class Raw:
    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.started = self.cancelled = self.ended = 0
        self.received: list[bytes] = []
        self.calls: list[Any] = []

    @fastrpc.method(codec="raw")
    async def echo(self, data: bytes) -> bytes:
        self.started += 1
        self.calls.append(current_call())
        return data

    @fastrpc.method(codec="raw")
    async def wait(self, data: bytes) -> bytes:
        self.started += 1
        self.calls.append(current_call())
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return data

    @fastrpc.method(codec="raw")
    async def fail(self, text: bytes) -> bytes:
        current_call().reply_metadata["hint"] = "other"
        raise CallError(Status.NOT_FOUND, text.decode(), details={"item": text.decode()}, retry_after=1.5)

    @fastrpc.method(codec="raw")
    async def crash(self, data: bytes) -> bytes:
        raise ZeroDivisionError

    @fastrpc.method(codec="raw", timeout=0.2)
    async def limited(self, data: bytes) -> bytes:
        await self.go_on.wait()
        return data

    @fastrpc.method(codec="raw")
    async def look(self, data: bytes) -> bytes:
        call = current_call()
        metadata = {**call.metadata, **call.metadata.binary}
        self.calls.append((call.identity, metadata, call.peer, call.remaining(), call.attempt))
        call.reply_metadata["seen"] = "yes"
        call.reply_metadata.binary["seen-bin"] = b"\0\xff"
        return data

    @fastrpc.method(codec="raw")
    async def count(self, number: bytes) -> AsyncIterator[bytes]:
        self.started += 1
        current_call().reply_metadata["first"] = "1"
        try:
            for at in range(int(number)):
                yield b"%d" % at
                current_call().reply_metadata["last"] = str(at)
        finally:
            self.ended += 1

    @fastrpc.method(codec="raw")
    async def large(self, size: bytes) -> AsyncIterator[bytes]:
        for _ in range(8):
            yield bytes(int(size))

    @fastrpc.method(codec="raw")
    async def total(self, items: AsyncIterator[bytes]) -> bytes:
        self.started += 1
        try:
            async for item in items:
                self.received.append(item)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.ended += 1
        return b"%d" % sum(map(len, self.received))

    @fastrpc.method(codec="raw")
    async def first(self, items: AsyncIterator[bytes]) -> bytes:
        async for item in items:
            return item
        return b"none"

    @fastrpc.method(codec="raw")
    async def both(self, items: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for item in items:
            self.received.append(item)
            yield item
