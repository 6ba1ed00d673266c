"""Calls of `Noted` by one client, written down: the load that load tests offer and then judge."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastrpc import Client
from tests.support.ledger import Entry, Journal, Ledger
from tests.support.noted import Noted

__all__ = ["NotedCall", "NotedCalls"]


@dataclass(slots=True)
class NotedCall:
    """One call that has ended."""

    entry: Entry
    begun_at: float
    ended_at: float
    error: BaseException | None

    #: How often it was tried; 0 when it failed.
    attempts: int

    #: Who answered.
    endpoint: str


class NotedCalls:
    """Makes calls of the given methods by turns, and keeps the outcome of each."""

    def __init__(
        self, client: Client, methods: Sequence[Any] = (Noted.again,), *, timeout: float = 5.0
    ) -> None:
        self.ledger = Ledger()
        #: Ended calls, in the order of their ends.
        self.ended: list[NotedCall] = []
        self._methods = methods
        self._timeout = timeout
        self.move_to(client)

    def move_to(self, client: Client) -> None:
        """Make further calls by this client."""
        self.client = client.with_options(timeout=self._timeout)

    async def __call__(self, number: int) -> None:
        method = self._methods[number % len(self._methods)]
        entry = self.ledger.begin(idempotent=method is Noted.again, timeout=self._timeout)
        begun_at = time.monotonic()
        reply: Any = None

        async def answer() -> bytes:
            nonlocal reply
            reply = await self.client.request(method, entry.nonce)
            value: bytes = reply.value
            return value

        result = await self.ledger.run(entry, answer())
        error = result if isinstance(result, BaseException) else None
        attempts, endpoint = (reply.attempts, str(reply.endpoint)) if error is None else (0, "")
        self.ended.append(NotedCall(entry, begun_at, time.monotonic(), error, attempts, endpoint))

    def failures(self) -> list[str]:
        """Return those that failed, as lines."""
        return [f"at {call.begun_at:.3f}: {call.error!r}" for call in self.ended if call.error is not None]

    def begun_after(self, instant: float) -> list[NotedCall]:
        """Return those that were made after an instant of the monotonic clock."""
        return [call for call in self.ended if call.begun_at > instant]

    def problems(self, journal: Path) -> list[str]:
        """Return contradictions between the calls and the records of handlers in this journal."""
        return self.ledger.problems(Journal.read(journal))
