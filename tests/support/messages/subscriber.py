"""Handle messages until it is killed: `python -m tests.support.messages.subscriber URL FOLDER NAME [ordered]`."""

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import fastrpc
from fastrpc.brokers import Message
from fastrpc.errors import BrokerError
from tests.support.messages.ledger import EventLog
from tests.support.messages.opening import opened
from tests.support.messages.publisher import TOPIC

__all__ = ["GROUP"]

GROUP = "ledger"


async def handle(url: str, folder: Path, name: str, *, ordered: bool) -> None:
    """Handle messages of the group, some at a time."""
    log = EventLog(folder, name)

    async def one(message: Message[Any]) -> None:
        event = (message.id, message.value["key"], message.value["number"])
        log.note("start", *event)
        await asyncio.sleep(0.001)
        log.note("done", *event)
        try:
            if await message.ack():
                log.note("acked", *event)
        except BrokerError:
            # Whether it is kept is unknown: the broker may deliver it again.
            return

    async with AsyncExitStack() as stack:
        broker = await opened(stack, url)
        subscription = broker.subscribe(TOPIC, group=GROUP, start="oldest", ordered=ordered, in_flight=50)
        # The broker may be away for long on a busy machine.
        with fastrpc.timeout(60):
            messages = await stack.enter_async_context(subscription)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        while True:
            try:
                async for message in messages:
                    group.create_task(one(message))
            except BrokerError as error:
                if not error.retryable:
                    raise


if __name__ == "__main__":
    asyncio.run(handle(sys.argv[1], Path(sys.argv[2]), sys.argv[3], ordered="ordered" in sys.argv[4:]))
