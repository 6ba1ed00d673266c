"""Opening a broker that is killed as often as it likes."""

import asyncio
from contextlib import AsyncExitStack

from fastrpc.brokers import open_broker
from fastrpc.brokers.broker import Broker
from fastrpc.errors import BrokerError

__all__ = ["opened"]


async def opened(stack: AsyncExitStack, url: str) -> Broker:
    """Open a broker for as long as a stack lasts; again where it is away, or still reads its files."""
    while True:
        try:
            return await stack.enter_async_context(open_broker(url))
        except BrokerError as error:
            if not error.retryable:
                raise
        await asyncio.sleep(0.05)
