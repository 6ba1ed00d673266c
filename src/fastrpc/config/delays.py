"""Times derived from settings: pauses between attempts, the silence after which a peer is dropped."""

import math
import random
from collections.abc import Callable

from fastrpc.config import Backoff, Keepalive

__all__ = ["Delays", "pause_after", "silence_seconds"]


def silence_seconds(keepalive: Keepalive) -> float:
    """Return the seconds of silence after which a peer is dropped."""
    return (keepalive.interval or 0.0) + keepalive.timeout


def pause_after(
    backoff: Backoff, failures: int, uniform: Callable[[float, float], float] = random.uniform
) -> float:
    """Return the seconds to wait after a number of failures, from 1 on."""
    times = failures - 1
    # The power of a large number exceeds all floats.
    is_longest = times * math.log(backoff.factor) >= math.log(max(backoff.longest / backoff.first, 1.0))
    pause = backoff.longest if is_longest else backoff.first * backoff.factor**times
    return pause * uniform(1 - backoff.jitter, 1 + backoff.jitter)


class Delays:
    """Pauses between attempts: growing, jittered, reset after a success."""

    def __init__(self, backoff: Backoff, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._backoff = backoff
        self._uniform = uniform
        # `_next`: the next pause. `_former`: the length from which `resume` continues.
        self._next = self._former = backoff.first

    def reset(self) -> None:
        """Start again with the shortest pause."""
        self._next = self._former = self._backoff.first

    def restart(self) -> None:
        """Start again with the shortest pause, until `resume`."""
        self._former = max(self._former, self._next)
        self._next = self._backoff.first

    def resume(self) -> None:
        """Continue with pauses at least as long as before `restart`."""
        self._next = max(self._next, self._former)

    def take(self) -> float:
        """Return the next pause in seconds."""
        backoff = self._backoff
        pause = self._next
        self._next = min(backoff.longest, pause * backoff.factor)
        return pause * self._uniform(1 - backoff.jitter, 1 + backoff.jitter)
