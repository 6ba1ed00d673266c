"""Clients of HTTP over connections that are kept: they retry nothing that was sent."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from tests.support.http_talk import HttpClient

__all__ = ["FairClients"]


class FairClients:
    """Callers of one method by POST, each with one connection at a time.

    A caller connects anew where the last answer said `Connection: close`, where its connection ended between two
    requests, and at the next address where nobody listens. Whatever else ends without an answer is a failure.
    """

    def __init__(self, addresses: Sequence[Any], path: str, body: Any) -> None:
        self._addresses = addresses
        self._path = path
        self._body = body
        self.failures: list[str] = []
        self.answered = 0
        self.connections = 0

    @contextlib.asynccontextmanager
    async def running(self, count: int, pause: float = 0.0) -> AsyncIterator[None]:
        """Keep calls going inside the block."""
        is_over = asyncio.Event()

        async def caller(number: int) -> None:
            places = itertools.cycle([*self._addresses[number % len(self._addresses) :], *self._addresses])
            connection = None
            while not is_over.is_set():
                connection = await self._ask(connection, places)
                await asyncio.sleep(pause)
            if connection is not None:
                connection.writer.close()

        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(caller(number))
            try:
                yield
            finally:
                is_over.set()

    async def _ask(self, connection: HttpClient | None, places: Iterator[Any]) -> HttpClient | None:
        """Make a request; return the connection for the next one, if it stays."""
        if connection is not None and connection.reader.at_eof():
            connection.writer.close()
            connection = None
        if connection is None:
            connection = await self._connected(places)
        try:
            answer = await connection.post(self._path, self._body)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            self.failures.append(repr(error))
            connection.writer.close()
            return None
        if answer.status != 200:
            self.failures.append(f"{answer.status} {answer.body!r}")
        self.answered += 1
        if ("connection", "close") in answer.fields:
            connection.writer.close()
            return None
        return connection

    async def _connected(self, places: Iterator[Any]) -> HttpClient:
        async with asyncio.timeout(20):
            while True:
                try:
                    made = await HttpClient.to(next(places))
                except ConnectionRefusedError:
                    await asyncio.sleep(0.01)
                else:
                    self.connections += 1
                    return made
