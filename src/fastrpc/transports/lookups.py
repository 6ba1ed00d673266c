"""Look-ups of host names for event loops, in separate threads.

The loop's default executor belongs to the program. While a resolver does not answer, abandoned look-ups would occupy
all its threads, and the end of the loop would wait for them.
"""

import asyncio
import errno
import os
import socket
import threading
from typing import Any

__all__ = ["look_up"]

#: The most concurrent look-ups of one name. With a single one, a lost DNS query would block the name for seconds, until
#: the resolver gives up; many would send query after query to a silent resolver.
MOST_OF_A_NAME = 3

#: The most concurrent look-ups of one loop.
MOST_LOOKUPS = 64

_Answer = list[tuple[Any, ...]]
_Name = tuple[str | None, int, int]


class _Lookups:
    """The running look-ups of one event loop. The object exists while there are any."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._room = asyncio.Semaphore(MOST_LOOKUPS)
        # The lookups of each name, the newest last.
        self._under_way: dict[_Name, list[asyncio.Future[_Answer]]] = {}

    async def answer(self, name: _Name) -> _Answer:
        """Return the answer of a new look-up, or of the newest running one if the name has the most."""
        if self._takes(name):
            await self._room.acquire()
            # Checked again: other dials that waited may have started the most look-ups meanwhile.
            if self._takes(name):
                self._begin(name)
            else:
                self._room.release()
        return await asyncio.shield(self._under_way[name][-1])

    def _takes(self, name: _Name) -> bool:
        """Return whether a further look-up of a name may start."""
        return len(self._under_way.get(name, ())) < MOST_OF_A_NAME

    def _begin(self, name: _Name) -> None:
        begun: asyncio.Future[_Answer] = self._loop.create_future()
        thread = threading.Thread(
            target=_look_up, args=(name, begun), name=f"fastrpc lookup of {name[0]}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            self._room.release()
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None
        self._under_way.setdefault(name, []).append(begun)
        begun.add_done_callback(lambda done: self._end(name, done))

    def _end(self, name: _Name, done: asyncio.Future[_Answer]) -> None:
        self._room.release()
        self._under_way[name].remove(done)
        if not self._under_way[name]:
            del self._under_way[name]
        if not self._under_way:
            _of_loops.pop(self._loop, None)
        # Mark the error as retrieved: it came too late for every dial, and need not be reported.
        done.exception()


_of_loops: dict[asyncio.AbstractEventLoop, _Lookups] = {}


async def look_up(host: str | None, port: int, flags: int) -> _Answer:
    """Return the answer of `socket.getaddrinfo` for streams, without blocking the loop.

    Raises:
        OSError, UnicodeError: as `socket.getaddrinfo` raises them.
    """
    loop = asyncio.get_running_loop()
    lookups = _of_loops.get(loop)
    if lookups is None:
        for other in list(_of_loops):
            # A loop that is closed before it gets an answer does not remove itself.
            if other.is_closed():
                _of_loops.pop(other, None)
        lookups = _of_loops[loop] = _Lookups(loop)
    return await lookups.answer((host, port, flags))


def _look_up(name: _Name, begun: asyncio.Future[_Answer]) -> None:
    host, port, flags = name
    result: _Answer = []
    failure: BaseException | None = None
    try:
        result = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except BaseException as error:
        failure = error

    def conclude() -> None:
        if failure is None:
            begun.set_result(result)
        else:
            begun.set_exception(failure)

    loop = begun.get_loop()
    try:
        loop.call_soon_threadsafe(conclude)
    except RuntimeError:
        # The loop is closed, so no dial waits.
        _of_loops.pop(loop, None)
