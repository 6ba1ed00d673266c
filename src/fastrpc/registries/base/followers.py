"""The threads in which a registry object follows services."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Protocol

from fastrpc.registries.base.accepting import ListAcceptor
from fastrpc.registries.base.backend import Backend, SharingBackend
from fastrpc.registries.base.poller import Poller, WakeFlag
from fastrpc.registries.base.shared import SharedPoller
from fastrpc.registries.base.turns import TurnPoller

__all__ = ["OWN_THREADS", "TURN_THREADS", "Followers", "ServiceFollowing"]

#: The number of services with a separate thread each, if the registry cannot report all services to one thread.
OWN_THREADS = 32

#: The number of threads that query further services in turn.
TURN_THREADS = 8


class ServiceFollowing(Protocol):
    """One service that is followed."""

    def stop(self) -> None:
        """Stop following without waiting; a finalizer may call this."""


class Followers:
    """Starts and stops the threads that follow services. The caller holds the lock of the registry object.

    If the registry reports many services over one connection, one thread follows all. Otherwise the first services have
    a thread each, and a few more threads query the others in turn. A finalizer may interrupt any line and stop
    following a service.

    Args:
        name: the name of the registry, in messages.
        refused: is called in a thread if the registry refuses to report many services together. The owner then follows
            the services again.
    """

    def __init__(self, backend: Backend, name: str, refused: Callable[[], None]) -> None:
        self._backend, self._name = backend, name
        self._refused = refused
        self._is_refused = False
        self._own: dict[str, _OwnThread] = {}
        self._turns: list[_Crew] = []
        self._shared: _Crew | None = None

    def follow(self, acceptor: ListAcceptor) -> ServiceFollowing:
        """Follow a service.

        Raises:
            ConfigError: this kind of registry cannot look the service up.
        """
        if isinstance(self._backend, SharingBackend) and not self._is_refused:
            # Raises ConfigError if the name cannot be looked up.
            self._backend.open_lookup(acceptor.service).close()
            return self._joined(self._sharing, acceptor)
        if len(self._own) < OWN_THREADS:
            own = _OwnThread(acceptor, self._backend, self._own)
            self._own[acceptor.service] = own
            return own
        return self._joined(self._in_turn, acceptor)

    def refuse(self) -> None:
        """Record that the shared thread has ended and must not be used again."""
        self._is_refused = True
        if self._shared is not None:
            self._shared.is_ended = True

    def threads(self) -> list[threading.Thread]:
        """Return the threads that follow services now."""
        crews = self._turns if self._shared is None else [*self._turns, self._shared]
        return [*(one.thread for one in self._own.values()), *(one.thread for one in crews)]

    def _joined(self, find: Callable[[], "_Crew"], acceptor: ListAcceptor) -> ServiceFollowing:
        while True:
            crew = find()
            crew.size += 1
            if not crew.is_ended:
                break
        try:
            crew.poller.add(acceptor)
        except BaseException:
            crew.leave()
            raise
        return _Member(crew, acceptor)

    def _sharing(self) -> "_Crew":
        """Return the thread that follows all services."""
        if self._shared is None or self._shared.is_ended:
            assert isinstance(self._backend, SharingBackend)
            poller = SharedPoller(self._name, self._backend.open_shared(), self._refused)
            self._shared = _Crew(poller, self._name)
        return self._shared

    def _in_turn(self) -> "_Crew":
        """Return the thread with the fewest services, among the threads that query in turn."""
        self._turns = [one for one in self._turns if not one.is_ended]
        if len(self._turns) < TURN_THREADS:
            self._turns.append(_Crew(TurnPoller(self._backend), self._name))
        return min(self._turns, key=lambda one: one.size)


class _OwnThread:
    """A thread for one service.

    Args:
        among: the threads by service; this thread is among them while it runs.
    """

    def __init__(self, acceptor: ListAcceptor, backend: Backend, among: "dict[str, _OwnThread]") -> None:
        self._lookup = backend.open_lookup(acceptor.service)
        self._service, self._among = acceptor.service, among
        self._stop = WakeFlag()
        run = partial(Poller(acceptor, self._lookup).run, self._stop)
        self.thread = _started(run, f"watch of {acceptor.service}", self.stop)

    def stop(self) -> None:
        if self._among.get(self._service) is self:
            del self._among[self._service]
        self._stop.set()
        self._lookup.close()


class _Crew:
    """A thread for several services. It ends when its last service is dropped."""

    def __init__(self, poller: SharedPoller | TurnPoller, name: str) -> None:
        self.poller = poller
        #: The number of services that use the thread.
        self.size = 0
        self.is_ended = False
        self.thread = _started(poller.run, f"watches at {name}", poller.stop)

    def leave(self) -> None:
        self.size -= 1
        if not self.size:
            self.is_ended = True
            self.poller.stop()


class _Member:
    """One service of a `_Crew`."""

    def __init__(self, crew: _Crew, acceptor: ListAcceptor) -> None:
        self._crew = crew
        self._acceptor = acceptor

    def stop(self) -> None:
        self._crew.poller.drop(self._acceptor)
        self._crew.leave()


def _started(run: Callable[[], None], name: str, stop: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=run, name=f"fastrpc registry {name}", daemon=True)
    try:
        thread.start()
    except BaseException:
        stop()
        raise
    return thread
