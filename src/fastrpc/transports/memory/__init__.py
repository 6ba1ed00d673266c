"""Memory connections, `memory://name`, between parts of one process and without a socket.

A connection is a pair of `MemoryEnd`s. An end writes immutable chunks to the inbox of the other end, whose event loop
copies them into its session's buffer: all chunks written in one loop iteration arrive by one callback in the next. The
two ends may be on different loops in different threads.
"""

import asyncio
import contextvars
import errno
import itertools
import os
import socket
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from fastrpc._core.io.blocking_io import SocketIO
from fastrpc.endpoint import Address
from fastrpc.errors import ConnectError
from fastrpc.transports.base import DialOptions, ListenOptions, SessionFactory
from fastrpc.transports.memory.end import MemoryEnd
from fastrpc.transports.sockets import connect_error, listen_error

__all__ = ["TRANSPORT", "MemoryEnd", "MemoryListener", "MemoryTransport"]

S = TypeVar("S", bound=asyncio.BufferedProtocol)


class MemoryListener:
    """A name that any thread of the process can dial."""

    def __init__(self, address: Address, session_factory: SessionFactory, backlog: int) -> None:
        self.address = address
        self.process_id = os.getpid()
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._session_factory = session_factory
        self._backlog = backlog
        self._numbers = itertools.count(1)
        # Any thread may append.
        self._waiting: deque[MemoryEnd | socket.socket] = deque()
        self._starting: set[asyncio.Task[Any]] = set()
        self._is_closed = False

    @property
    def is_alive(self) -> bool:
        """Whether the listener can accept: it is open, in the process that made it, and its loop is not closed."""
        return not self._is_closed and self.process_id == os.getpid() and not self._loop.is_closed()

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        _forget(self)
        while self._waiting:
            self._refuse(self._waiting.popleft())

    async def wait_closed(self) -> None:
        await asyncio.sleep(0)

    def new_pair(self) -> tuple[MemoryEnd, MemoryEnd]:
        """Make a connection from the running loop to this listener; return the dialling end first."""
        far = self.address.path
        near = f"{far}#{next(self._numbers)}"
        loop = asyncio.get_running_loop()
        return MemoryEnd.pair(
            (loop, contextvars.copy_context(), (near, far)), (self._loop, self._context.copy(), (far, near))
        )

    def take(self, arrival: MemoryEnd | socket.socket) -> None:
        """Queue the listener's end of a new connection. May be called from any thread.

        Raises:
            OSError: the listener cannot accept it.
        """
        if len(self._waiting) >= self._backlog:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self._waiting.append(arrival)
        try:
            self._loop.call_soon_threadsafe(self._accept, context=self._context)
        except RuntimeError:
            raise _refused() from None

    def _accept(self) -> None:
        while self._waiting:
            arrival = self._waiting.popleft()
            if self._is_closed:
                self._refuse(arrival)
            elif isinstance(arrival, socket.socket):
                task = self._loop.create_task(self._start(arrival))
                self._starting.add(task)
                task.add_done_callback(self._starting.discard)
            else:
                self._start_end(arrival)

    def _start_end(self, end: MemoryEnd) -> None:
        try:
            end.start(self._session_factory)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._report(error)

    async def _start(self, arrival: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._session_factory, arrival)
        except Exception as error:
            arrival.close()
            self._report(error)

    def _report(self, error: BaseException) -> None:
        self._loop.call_exception_handler(
            {"message": f"no session could be made for a connection to {self.address}", "exception": error}
        )

    def _refuse(self, arrival: MemoryEnd | socket.socket) -> None:
        if isinstance(arrival, MemoryEnd):
            arrival.abort()
        else:
            arrival.close()


#: Name -> listener. Only single dict operations are used: these need no lock, which a fork could leave locked.
_listeners: dict[str, MemoryListener] = {}


def _forget(listener: MemoryListener) -> None:
    if _listeners.get(listener.address.path) is listener:
        del _listeners[listener.address.path]


def _sweep() -> None:
    """Remove listeners that cannot accept any more, because they would keep their server and loop alive."""
    for listener in list(_listeners.values()):
        if not listener.is_alive:
            _forget(listener)


def _find(address: Address) -> MemoryListener:
    listener = _listeners.get(address.path)
    if listener is None:
        raise _refused()
    if not listener.is_alive:
        _forget(listener)
        raise _refused()
    return listener


def _refused() -> ConnectionRefusedError:
    return ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))


class MemoryTransport:
    """Dial and listen for names within the process."""

    scheme = "memory"

    async def dial(
        self, address: Address, session_factory: Callable[[], S], options: DialOptions
    ) -> tuple[asyncio.Transport, S]:
        """Connect to the listener of a name; it accepts in a later turn of the listener's loop."""
        try:
            listener = _find(address)
            near, far = listener.new_pair()
            listener.take(far)
        except OSError as failure:
            raise _connect_error(address, failure) from failure
        return near, near.start(session_factory)

    async def listen(
        self, address: Address, session_factory: SessionFactory, options: ListenOptions
    ) -> MemoryListener:
        """Listen at a name. The name is free again after the listener or its loop was closed."""
        _sweep()
        listener = MemoryListener(address, session_factory, options.backlog)
        holder = _listeners.setdefault(address.path, listener)
        if holder is not listener:
            raise listen_error(address, OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)))
        return listener

    def connect(self, address: Address, timeout: float | None, options: DialOptions) -> SocketIO:
        """Connect without an event loop: by a socket pair whose other end the listener's loop serves."""
        near, far = socket.socketpair()
        try:
            _find(address).take(far)
        except OSError as failure:
            near.close()
            far.close()
            raise _connect_error(address, failure) from failure
        return SocketIO(near)


def _connect_error(address: Address, failure: Exception) -> ConnectError:
    return connect_error(address, [("", failure)], 0.0)


TRANSPORT = MemoryTransport()
