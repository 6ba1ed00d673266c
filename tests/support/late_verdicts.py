"""Verdicts about callers that a test gives when it wants."""

import asyncio

from fastrpc.auth import Identity
from fastrpc.auth.verdict import Answer, Presented, Refusal, Verdict

__all__ = ["Later"]


class Later:
    """Accepts one token, once a test says so."""

    version = 0

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.asked = 0

    def look(self) -> None:
        pass

    def handles(self, peer: Presented) -> bool:
        return True

    async def verify(self, peer: Presented) -> Answer:
        self.asked += 1
        await self.go_on.wait()
        return Verdict(Identity("ada")) if peer.credentials == "secret" else Refusal("unknown")
