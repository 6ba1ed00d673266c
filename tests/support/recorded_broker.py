"""A program that publishes to a broker in a folder and notes each acknowledgement in the log of `recorded_io.c`.

Eight tasks publish one message after the other; four members of a group settle them.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Final

from fastrpc.brokers.base import BrokerLimits, GroupSettings, Membership, OutgoingMessage, TopicSettings
from fastrpc.brokers.embedded import EmbeddedBroker, KeptBroker
from fastrpc.brokers.sqlite import SqliteBrokerJournal
from fastrpc.stores.sqlite import checkpoints
from tests.support.crash_states import note

__all__ = ["GROUP", "TOPICS", "label_of"]

TASKS: Final = 8
TOPICS: Final = ("a", "b")
GROUP: Final = "g"


def label_of(body: bytes) -> str:
    """Return the task and the number of a message."""
    return " ".join(body.decode("latin-1").split(" ", 2)[:2])


class UnsyncedJournal(SqliteBrokerJournal):
    """A mistake: commits are not synced."""

    def open(self) -> KeptBroker:
        kept = super().open()
        self.folder.connection.execute("PRAGMA synchronous = NORMAL")
        return kept


async def publish(broker: EmbeddedBroker, log: int, task: int, numbers: range) -> None:
    topic = TOPICS[task % 2]
    for number in numbers:
        body = f"{task} {number} ".encode() + os.urandom(200 + number % 5 * 700)
        id = f"{task}-{number}" if number % 3 else None
        (kept,) = await broker.publish([OutgoingMessage(topic, body, id=id)])
        note(log, json.dumps({"topic": topic, "sequence": kept.sequence, "label": label_of(body)}).encode())


async def settle(member: Membership, log: int) -> None:
    while True:
        for one in await member.take(1):
            if one.sequence % 7 == 3 and one.delivery == 1:
                await member.nack(one.token, 0.0)
            elif one.sequence % 11 == 5:
                await member.reject(one.token, "no", "")
                note(log, json.dumps({"dead": one.sequence}).encode())
            else:
                await member.ack(one.token)
                note(log, json.dumps({"acked": one.sequence}).encode())


async def main(folder: str, log: str, sync: str, first: int, messages: int) -> None:
    """Run all tasks; `sync` is the journal's `sync`, or `unsynced`."""
    place = Path(folder)
    journal = UnsyncedJournal(place) if sync == "unsynced" else SqliteBrokerJournal(place, sync=sync)  # type: ignore[arg-type]
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    async with EmbeddedBroker(BrokerLimits("sqlite"), journal) as broker:
        for topic in TOPICS:
            await broker.declare(TopicSettings(topic))
        members = [await broker.join(GroupSettings(GROUP, TOPICS[0])) for _ in range(4)]
        settling = [asyncio.create_task(settle(member, descriptor)) for member in members]
        numbers = range(first, first + messages)
        await asyncio.gather(*(publish(broker, descriptor, task, numbers) for task in range(TASKS)))
        for task in settling:
            task.cancel()
        await asyncio.gather(*settling, return_exceptions=True)


if __name__ == "__main__":
    # Several checkpoints, during commits and between them.
    checkpoints._LOG_BYTES = 32 * 1024  # type: ignore[misc]
    asyncio.run(main(*sys.argv[1:4], *map(int, sys.argv[4:])))
