"""The race between the addresses of a host: if an address does not answer soon, the next is tried in parallel.

`Race` is for threads without a loop. For event loops the race is in `tcp`.
"""

import errno
import os
import select
import socket
import time
from collections.abc import Iterable
from typing import Any, TypeAlias

from fastrpc.transports.sockets import close_all

__all__ = ["Failure", "Places", "Race", "next_delay"]

#: NEXT_SECONDS: seconds before the next address is tried. LEAST_SECONDS: the lowest value of this delay, for hosts with
#: many addresses. Source: RFC 8305, sections 5 and 8, "Connection Attempt Delay".
NEXT_SECONDS = 0.25
LEAST_SECONDS = 0.01

#: Seconds in which all addresses are tried, if the lowest delay allows it: half of the default of `Timeouts.connect`.
#: With a longer time a few silent addresses would make a host with many addresses unreachable.
ALL_SECONDS = 0.5

#: The addresses of a host, each with its family and its form for a socket.
Places: TypeAlias = dict[tuple[str, int], tuple[int, Any]]

#: An address that failed, and its error.
Failure: TypeAlias = tuple[str, Exception]


def next_delay(count: int) -> float:
    """Return the seconds before the next address is tried, for a host with `count` addresses."""
    return min(NEXT_SECONDS, max(LEAST_SECONDS, ALL_SECONDS / count))


class Race:
    """Connects to the first address that accepts.

    Args:
        places: the addresses.
        due: the instant at which the race ends; None: never.
        failures: a list to which the errors of failed addresses are added.
    """

    def __init__(self, places: Places, due: float | None, failures: list[Failure]) -> None:
        # The addresses that have neither failed nor won.
        self._left = places
        self._due = due
        self._failures = failures
        self._delay = next_delay(len(places))

    def run(self) -> tuple[str, socket.socket]:
        """Return the host and the socket of the next connection. Its address will not be tried again.

        Raises:
            OSError: every address failed, or the time is over.
        """
        trying: dict[socket.socket, tuple[str, int]] = {}
        untried, next_at = list(self._left), 0.0
        try:
            while untried or trying:
                now = time.monotonic()
                if untried and (not trying or now >= next_at):
                    next_at = now + self._delay if self._begin(untried.pop(0), trying) else 0.0
                for one in _decided(trying, self._patience(next_at if untried else None)):
                    place, code = trying.pop(one), one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if not code:
                        del self._left[place]
                        return place[0], one
                    one.close()
                    self._fail(place, OSError(code, os.strerror(code)))
                    next_at = 0.0
                if trying and self._patience(None) == 0.0:
                    for place in trying.values():
                        self._fail(place, TimeoutError("timed out"))
                    break
            raise self._failures[-1][1]
        finally:
            close_all(list(trying))

    def handshake_seconds(self) -> float | None:
        """Return the seconds for the handshake: half of the rest if addresses are left, else all. None: no limit."""
        left = self._patience(None)
        return left if left is None or not self._left else left / 2

    def _begin(self, place: tuple[str, int], trying: dict[socket.socket, tuple[str, int]]) -> bool:
        """Start to connect; return False if this failed immediately."""
        family, name = self._left[place]
        try:
            one = socket.socket(family, socket.SOCK_STREAM)
        except OSError as failure:
            self._fail(place, failure)
            return False
        trying[one] = place
        one.setblocking(False)
        code = one.connect_ex(name)
        if code in (0, errno.EINPROGRESS):
            return True
        del trying[one]
        one.close()
        self._fail(place, OSError(code, os.strerror(code)))
        return False

    def _fail(self, place: tuple[str, int], failure: OSError) -> None:
        del self._left[place]
        self._failures.append((place[0], failure))

    def _patience(self, until: float | None) -> float | None:
        """Return the seconds until an instant or the end of the race, whichever is earlier; None: no limit."""
        ends = min((one for one in (until, self._due) if one is not None), default=None)
        return None if ends is None else max(0.0, ends - time.monotonic())


def _decided(trying: Iterable[socket.socket], seconds: float | None) -> list[socket.socket]:
    """Wait for the sockets that have connected or failed, and return them."""
    # Not epoll, because a child would share its set, and a signal handler may fork here.
    poll = select.poll()
    numbers = {one.fileno(): one for one in trying}
    for number in numbers:
        poll.register(number, select.POLLOUT)
    if not numbers:
        return []
    return [numbers[number] for number, _ in poll.poll(None if seconds is None else seconds * 1000)]
