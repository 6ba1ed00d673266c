"""A service that handles the messages of the ledger, for `fastrpc run` with the folder of events in LEDGER."""

import asyncio
import os
from pathlib import Path
from typing import Any

import fastrpc
from tests.support.messages.ledger import EventLog
from tests.support.messages.publisher import TOPIC

__all__ = ["Handling"]


@fastrpc.service("ledger")
class Handling:
    """Notes each message in a file of its process."""

    def __init__(self) -> None:
        self._log = EventLog(Path(os.environ["LEDGER"]), f"worker-{os.getpid()}")
        _note_acks(self._log)

    @fastrpc.subscriber(TOPIC, start="oldest")
    async def handle(self, message: fastrpc.Message[Any]) -> None:
        event = (message.id, message.value["key"], message.value["number"])
        self._log.note("start", *event)
        await asyncio.sleep(0.001)
        self._log.note("done", *event)


def _note_acks(log: EventLog) -> None:
    """Note each acknowledgement of this process that the broker has kept: a server sends it after the handler."""
    acknowledge = fastrpc.Message.ack

    async def ack(message: fastrpc.Message[Any]) -> bool:
        is_kept = await acknowledge(message)
        if is_kept:
            log.note("acked", message.id, message.value["key"], message.value["number"])
        return is_kept

    noted = fastrpc.Message.note_ack

    def note_ack(message: fastrpc.Message[Any], is_ours: bool) -> None:
        noted(message, is_ours)
        if is_ours:
            log.note("acked", message.id, message.value["key"], message.value["number"])

    # Most are sent in one call, some alone.
    fastrpc.Message.note_ack = note_ack  # type: ignore[method-assign]
    fastrpc.Message.ack = ack  # type: ignore[method-assign]
