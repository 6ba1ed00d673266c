"""An event loop whose clock jumps to its next timer as soon as nothing else is left to do."""

import asyncio
import selectors

__all__ = ["VirtualTimeLoop", "pass_time"]


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
    """For tests without threads and sockets: `sleep` and timeouts take no time, `time()` is exact."""

    def __init__(self) -> None:
        self.now = 1_000.0
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now


async def pass_time(seconds: float) -> None:
    """Let the timers of so many seconds pass, at once."""
    await asyncio.sleep(seconds)
