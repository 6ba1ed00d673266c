"""Publish until this process is killed: `python -m tests.support.messages.publisher URL FOLDER NAME RATE KEYS`.

It continues with the numbers after the ones in its file, and publishes one message of a key after the other.
"""

import asyncio
import sys
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import fastrpc
from fastrpc.errors import BrokerError
from tests.support.messages.ledger import EventLog, read_events
from tests.support.messages.opening import opened

__all__ = ["TOPIC"]

TOPIC: Final = "ledger.messages"


async def publish(url: str, folder: Path, name: str, rate: float, keys: int) -> None:
    """Publish at `rate` messages a second in all."""
    sent = Counter(event.key for event in read_events(folder, name) if event.kind == "sent")
    log = EventLog(folder, name)
    async with AsyncExitStack() as stack:
        broker = await opened(stack, url)

        async def of_key(key: str) -> None:
            number = sent[key]
            while True:
                id = f"{key}-{number}"
                log.note("sent", id, key, number)
                # Under its id until it is kept: the broker may be killed as often as it likes.
                while True:
                    try:
                        with fastrpc.timeout(60):
                            await broker.publish(TOPIC, {"key": key, "number": number}, key=key, id=id)
                        break
                    except BrokerError as error:
                        log.note("error", id, key, number)
                        if not error.retryable and error.processed == "no":
                            raise
                log.note("kept", id, key, number)
                number += 1
                await asyncio.sleep(keys / rate)

        async with asyncio.TaskGroup() as group:
            for place in range(keys):
                group.create_task(of_key(f"{name}-{place}"))


if __name__ == "__main__":
    asyncio.run(publish(sys.argv[1], Path(sys.argv[2]), sys.argv[3], float(sys.argv[4]), int(sys.argv[5])))
