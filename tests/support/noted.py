"""A service whose handlers write their work into a journal, for tests with a call ledger."""

import asyncio
import sys
from pathlib import Path

import fastrpc
from tests.support.ledger import Journal

__all__ = ["Noted"]


@fastrpc.service("noted")
class Noted:
    """Each handler answers the nonce it is called with.

    The first byte of a nonce, which is random, says for how many turns of the loop its handler takes.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.running = 0
        self.most_running = 0

    @fastrpc.method(codec="raw")
    async def once(self, nonce: bytes) -> bytes:
        return await self._answer(nonce)

    @fastrpc.method(codec="raw", idempotent=True)
    async def again(self, nonce: bytes) -> bytes:
        return await self._answer(nonce)

    @fastrpc.method(codec="raw")
    async def lasting(self, nonce: bytes) -> bytes:
        """Take up to a quarter of a second, so that there are always some under way."""
        with self._journal.handling(nonce, nonce):
            await asyncio.sleep(nonce[1] / 1024)
        return nonce

    @fastrpc.method(codec="raw")
    async def never(self, nonce: bytes) -> bytes:
        with self._journal.handling(nonce, nonce):
            await asyncio.Event().wait()
        return nonce

    @fastrpc.method(codec="raw", inline=True)
    def at_once(self, nonce: bytes) -> bytes:
        with self._journal.handling(nonce, nonce):
            return nonce

    @fastrpc.method(codec="raw", idempotent=True)
    async def padded(self, nonce: bytes) -> bytes:
        """Answer more than one frame holds; the call is known by its first 16 bytes."""
        with self._journal.handling(nonce[:16], nonce):
            return nonce

    async def _answer(self, nonce: bytes) -> bytes:
        with self._journal.handling(nonce, nonce):
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            try:
                for _ in range(nonce[0] % 8):
                    await asyncio.sleep(0)
            finally:
                self.running -= 1
            return nonce


async def serve(journal: Path) -> None:
    """Serve at a free port until killed, and print the address."""
    async with fastrpc.Server(Noted(Journal(journal))) as server:
        print(await server.listen("tcp://127.0.0.1:0"), flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
