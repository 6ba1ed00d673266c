"""Query a registry for the names of its services at intervals."""

import itertools
import random
import re
import threading
import time
from collections.abc import Callable, Iterable

from fastrpc.config.delays import Delays
from fastrpc.errors import ConfigError
from fastrpc.registries.base.poller import BACKOFF, REST_FACTOR, WakeFlag
from fastrpc.registries.base.rules import CONFIRM_SECONDS
from fastrpc.registries.base.watch import Latest

__all__ = ["ASK_SECONDS", "SERVICE_NAME", "NamesPoller", "NamesThread", "named"]

#: The name of a service.
SERVICE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,254}")

#: Seconds from one query for names to the next.
ASK_SECONDS = 2.0


def named(names: Iterable[str]) -> list[str]:
    """Return the valid service names, sorted. Other programs may have written invalid names."""
    return sorted({name for name in names if SERVICE_NAME.fullmatch(name)})


class NamesPoller:
    """The poller of the service names of one registry, driven step by step.

    A name is dropped only if two successive answers lack it.

    Args:
        ask: a blocking function that returns the names.
        work_clock: returns the processor time of this thread in seconds.
        uniform: returns a random number between two numbers.
    """

    def __init__(
        self,
        ask: Callable[[], Iterable[str]],
        channel: Latest[tuple[str, ...]],
        *,
        work_clock: Callable[[], float] = time.thread_time,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._ask, self._channel = ask, channel
        self._work_clock = work_clock
        self._delays = Delays(BACKOFF, uniform)
        # The names in the last answer.
        self._told: set[str] | None = None

    def run(self, stop: WakeFlag) -> None:
        """Run until stopped; the body of the thread."""
        while not stop.is_set():
            pause = self.step()
            if pause is None:
                return
            stop.wait(pause)

    def step(self) -> float | None:
        """Query once; return the seconds to pause before the next step, None after the last."""
        worked = self._work_clock()
        try:
            names = set(named(self._ask()))
        except ConfigError as error:
            # This kind of registry cannot list its services, so there is nothing to poll.
            self._channel.close(error)
            return None
        except Exception as error:
            self._channel.error = error
            return self._delays.take()
        self._channel.error = None
        self._delays.reset()
        before, self._told = self._told, names
        if not names and before is None:
            # The registry may have lost its data. Query again before publishing an empty list.
            return CONFIRM_SECONDS
        shown = tuple(sorted(names | (before or set())))
        self._channel.put(lambda _: shown, lambda latest: latest == shown)
        return max(ASK_SECONDS, REST_FACTOR * (self._work_clock() - worked))


class NamesThread:
    """The thread that queries a registry for service names, and passes them to its watches.

    Args:
        ask: a blocking function that returns the names.
        name: the name of the registry, in messages.
    """

    def __init__(self, ask: Callable[[], Iterable[str]], name: str) -> None:
        self.channel: Latest[tuple[str, ...]] = Latest(itertools.count(1))
        #: The number of watches that use the thread.
        self.watches = 0
        self._stop = WakeFlag()
        run, name = NamesPoller(ask, self.channel).run, f"fastrpc registry names at {name}"
        self.thread = threading.Thread(target=run, args=(self._stop,), name=name, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """End the thread and all watches, without waiting."""
        self._stop.set()
        self.channel.close()
