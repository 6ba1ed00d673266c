"""The kinds of load for a broker and any client: publications, messages until their acks, the time to the start."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from bench.beside import in_flight
from bench.beside.in_flight import Window, together
from bench.compare.measurement import percentile
from bench.messages.record import Order, order

__all__ = ["KINDS", "BrokerClient", "Handle", "handled", "publish", "start"]

#: Messages a second while the time to the start of a handler is measured.
PACE = 1_000

#: Does the work of a handler.
Handle = Callable[[Order], None]


class BrokerClient(Protocol):
    """A connected client of one broker with one topic."""

    async def publish(self, order: Order) -> object:
        """Return once the broker has kept an order."""

    def subscribed(self, handle: Handle, acked: Callable[[int], None]) -> AbstractAsyncContextManager[object]:
        """Call `handle` for each order, and `acked` with the number of messages whose acks were sent or kept."""


async def publish(client: BrokerClient, seconds: float) -> float:
    """Return the time of one publication, 64 in flight."""
    return await together(lambda number: client.publish(order(number)), seconds)


async def handled(client: BrokerClient, seconds: float) -> float:
    """Return the time of one message from its publisher to its ack, 64 under way."""
    window = Window()
    room = asyncio.Semaphore(in_flight.IN_FLIGHT)
    running = True

    def acked(count: int) -> None:
        window.note(count)
        for _ in range(count):
            room.release()

    async def keep_publishing(number: int) -> None:
        while running:
            await room.acquire()
            await client.publish(order(number))

    async with client.subscribed(lambda order: None, acked), _ended(keep_publishing):
        found = await window.measure(seconds)
        running = False
    return found


async def start(client: BrokerClient, seconds: float) -> float:
    """Return the median time from a publication to the start of its handler, at 1,000 messages a second."""
    return percentile(await starts(client, seconds), 0.5)


async def starts(client: BrokerClient, seconds: float) -> list[float]:
    """Return the times from each publication to the start of its handler, sorted."""
    found: list[float] = []

    def handle(order: Order) -> None:
        # The number is the instant of the publication.
        found.append(time.perf_counter() - order.id / 1e9)

    async with client.subscribed(handle, lambda count: None), asyncio.TaskGroup() as group:
        began = time.perf_counter()
        for number in range(int((in_flight.WARM_SECONDS + seconds) * PACE)):
            await asyncio.sleep(began + number / PACE - time.perf_counter())
            group.create_task(client.publish(order(time.perf_counter_ns())))
    del found[: int(in_flight.WARM_SECONDS * PACE)]
    return sorted(found)


@asynccontextmanager
async def _ended(keep_publishing: Callable[[int], Awaitable[None]]) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(keep_publishing(number)) for number in range(in_flight.IN_FLIGHT)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        # A publisher that failed ends the measurement.
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result


#: The keys are names that the command line takes.
KINDS: dict[str, Callable[[BrokerClient, float], Awaitable[float]]] = {
    one.__name__: one for one in (publish, handled, start)
}
