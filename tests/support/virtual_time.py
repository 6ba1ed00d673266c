"""An event loop whose clock jumps to its next timer as soon as nothing else is left to do."""

import asyncio
import contextvars
import selectors
from collections.abc import Callable
from typing import TypeVarTuple, Unpack

from fastrpc._core.loop.loop_state import LoopState

__all__ = ["VirtualTimeLoop", "pass_time"]

Arguments = TypeVarTuple("Arguments")


class _JumpingSelector(selectors.DefaultSelector):
    loop: "VirtualTimeLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("the test waits for an event that no timer brings")
        events = super().select(0)
        if not events:
            self.loop.now += timeout
        return events


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """For tests without threads and sockets: `sleep` and timeouts take no time, `time()` is exact.

    Timers of the core's wheel (`LoopState`), such as deadlines and pings, never come: they go by the machine's clock.
    If the machine has started a short time ago, that clock shows less than this one; the core would find nothing due,
    and arm its timer again in each turn, in which this clock stands still. Delays that the core gives to `call_later`
    pass like all others: `Gate.look_at`, the wait of a TLS connection that closes, the looks of `HeldSockets`, the
    grace of a mounted request.
    """

    def __init__(self) -> None:
        self.now = 1_000.0
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Arguments]], object],
        *args: Unpack[Arguments],
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        if isinstance(getattr(callback, "__self__", None), LoopState):
            # It is not scheduled: in the heap of the loop it would be an event to wait for.
            return asyncio.TimerHandle(when, callback, args, self, context)
        return super().call_at(when, callback, *args, context=context)


async def pass_time(seconds: float) -> None:
    """Let the timers of the given number of seconds pass, at once."""
    await asyncio.sleep(seconds)
