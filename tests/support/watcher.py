"""A service of clients, and one of the server that calls it: each handler may call the other side."""

import asyncio
from collections.abc import AsyncIterator, Iterator

from fastrpc import CallError, PeerClient, Status, current_call, method, service

__all__ = ["Hub", "Watcher", "caller"]


def caller() -> PeerClient:
    """Return the client for the other side of the handled call."""
    client = current_call().peer.client
    assert client is not None
    return client


@service("watcher")
class Watcher:
    """The service of a client."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.seen: list[str] = []
        self.ended: list[str] = []
        self.began = asyncio.Event()
        self.go_on = asyncio.Event()
        self.sent = 0

    @method
    async def changed(self, what: str) -> int:
        """Note a change, and return how many there were."""
        self.seen.append(what)
        return len(self.seen)

    @method
    def read(self, size: int) -> bytes:
        """Return bytes from a thread."""
        return bytes(size)

    @method
    async def swallow(self, data: bytes) -> int:
        """Return the size of the data."""
        return len(data)

    @method
    async def refuse(self, text: str) -> None:
        """Refuse on purpose."""
        raise CallError(Status.NOT_FOUND, text)

    @method
    async def crash(self) -> None:
        """Fail by accident."""
        raise ValueError("private")

    @method
    async def wait(self) -> str:
        """Wait until `go_on`; `ended` records how the wait ended."""
        self.began.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        self.ended.append("done")
        return self.name

    @method
    async def left(self) -> float | None:
        """Return the seconds that are left of the call."""
        return current_call().remaining()

    @method
    async def side(self) -> str:
        """Return the side, the method and the scheme of this call, by `current_call`."""
        call = current_call()
        return f"{call.side} {call.method} {call.peer.address.scheme}"

    @method
    async def count(self, limit: int) -> AsyncIterator[int]:
        """Stream numbers."""
        for number in range(limit):
            yield number

    @method
    def lines(self, limit: int) -> Iterator[int]:
        """Stream numbers from a thread."""
        yield from range(limit)

    @method
    async def total(self, numbers: AsyncIterator[int]) -> int:
        """Add a stream up."""
        return sum([number async for number in numbers])

    @method
    async def scale(self, numbers: AsyncIterator[int], factor: int) -> AsyncIterator[int]:
        """Multiply a stream."""
        async for number in numbers:
            yield number * factor

    @method
    async def flood(self, size: int) -> AsyncIterator[bytes]:
        """Stream without an end."""
        try:
            while True:
                self.sent += 1
                yield bytes(size)
        finally:
            self.ended.append("flood")

    @method
    async def ignore(self, blocks: AsyncIterator[bytes]) -> None:
        """Take nothing of a stream."""
        self.began.set()
        await self.go_on.wait()

    @method
    async def descend(self, depth: int) -> int:
        """Call the server, which calls us, the given number of times."""
        return 0 if depth == 0 else 1 + await caller().call(Hub.descend, depth - 1)


@service("hub")
class Hub:
    """The service of the server."""

    def __init__(self) -> None:
        self.clients: list[PeerClient] = []
        self.ended: list[str] = []

    @method
    async def echo(self, text: str) -> str:
        """Return the text."""
        return text

    @method
    async def watch(self) -> str | None:
        """Keep the caller's client, and return the caller's id."""
        peer = current_call().peer
        assert peer.client is not None
        self.clients.append(peer.client)
        return peer.id

    @method
    async def serves(self) -> bool:
        """Return whether the caller serves."""
        return current_call().peer.client is not None

    @method
    async def descend(self, depth: int) -> int:
        """Call the caller, which calls us, the given number of times."""
        return 0 if depth == 0 else 1 + await caller().call(Watcher.descend, depth - 1)

    @method
    async def ask_left(self) -> float | None:
        """Return the remaining time of this call at the caller's handler."""
        return await caller().call(Watcher.left)

    @method
    async def wait_for_caller(self) -> str:
        """Wait for a handler of the caller."""
        try:
            return await caller().call(Watcher.wait)
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise

    @method
    async def sum_of_caller(self, limit: int) -> int:
        """Add up a stream of the caller."""
        async with caller().stream(Watcher.count, limit) as numbers:
            return sum([number async for number in numbers])

    @method
    async def endless(self) -> AsyncIterator[int]:
        """Stream until the connection drains."""
        yield 0
        await current_call().draining
        yield 1
