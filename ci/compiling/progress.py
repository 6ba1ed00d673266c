"""The progress of a build: one changing line on a terminal, otherwise one line for each tenth."""

import time
from collections.abc import Callable
from typing import TextIO

__all__ = ["Progress"]

#: Processor seconds for a thousand bytes of source, before a tenth of the build gives a better figure.
SECONDS_PER_KILOBYTE = 0.08


class Progress:
    """Writes `compiling 12 of 115, about 2 minutes; log: build/release/build.log`.

    Args:
        sizes: of the sources that are compiled, in bytes.
        cores: the number of modules that are compiled at a time.
    """

    def __init__(
        self,
        sizes: list[int],
        cores: int,
        log: str,
        stream: TextIO,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._count = len(sizes)
        self._bytes = sum(sizes)
        self._cores = min(cores, len(sizes))
        self._log = log
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._clock = clock
        self._started = clock()
        self._done = self._done_bytes = self._told = 0

    def start(self) -> None:
        """Tell that the build begins."""
        self._tell()

    def advance(self, size: int) -> None:
        """Count a module whose source has this size."""
        self._done += 1
        self._done_bytes += size
        tenth = self._done * 10 // self._count
        if self._done < self._count and (self._is_terminal or tenth > self._told):
            self._told = tenth
            self._tell()

    def finish(self, taken: int) -> None:
        """Report how long the build took, and how many more modules came from the cache."""
        shared = f", {taken} from the cache" if taken else ""
        spent = duration(self._clock() - self._started)
        self._write(f"compiled {self._count} modules in {spent}{shared}", "\n")

    def _tell(self) -> None:
        ending = "" if self._is_terminal else "\n"
        left = about(self._seconds_left())
        self._write(f"compiling {self._done} of {self._count}, {left}; log: {self._log}", ending)

    def _seconds_left(self) -> float:
        left = self._bytes - self._done_bytes
        if self._done * 10 < self._count:
            return left / 1000 * SECONDS_PER_KILOBYTE / self._cores
        return (self._clock() - self._started) * left / self._done_bytes

    def _write(self, line: str, ending: str) -> None:
        self._stream.write(f"\r{line}\x1b[K{ending}" if self._is_terminal else line + ending)
        self._stream.flush()


def about(seconds: float) -> str:
    """Return a time, rounded as an estimate."""
    if seconds < 10:
        return "a few seconds"
    if seconds < 55:
        return f"about {round(seconds, -1):.0f} seconds"
    minutes = round(seconds / 60)
    return f"about {minutes} minute{'s' if minutes > 1 else ''}"


def duration(seconds: float) -> str:
    """Return a time that was measured."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
