"""A service that returns which server answered."""

import asyncio

import fastrpc

__all__ = ["Who"]


@fastrpc.service("who")
class Who:
    """Answers its name, and behaves as configured."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls = 0
        self.attempts: list[int] = []
        self.cancelled = 0
        self.is_failing = False
        self.is_stuck = False
        #: How long `slowly` takes.
        self.seconds = 0.0

    @fastrpc.method(idempotent=True)
    async def name_of(self) -> str:
        self.calls += 1
        self.attempts.append(fastrpc.current_call().attempt)
        if self.is_failing:
            raise fastrpc.CallError(fastrpc.Status.INTERNAL, "broken")
        if self.is_stuck:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        return self.name

    @fastrpc.method
    async def once(self) -> str:
        self.calls += 1
        await asyncio.sleep(0)
        return self.name

    @fastrpc.method(idempotent=True)
    async def slowly(self) -> str:
        self.calls += 1
        await asyncio.sleep(self.seconds)
        return self.name

    @fastrpc.method
    async def until_drained(self) -> str:
        await fastrpc.current_call().draining
        return self.name
