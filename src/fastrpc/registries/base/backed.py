"""The registry object that users hold, over any backend: threads, leases and lists are shared, the backend differs."""

import asyncio
import itertools
import os
import re
import threading

from fastrpc.endpoint import Endpoint
from fastrpc.errors import ConfigError
from fastrpc.registries.base.backend import Backend, Lookup
from fastrpc.registries.base.cache import CacheFile
from fastrpc.registries.base.closing import Closing
from fastrpc.registries.base.lease_keeper import LeaseKeeper, Registration
from fastrpc.registries.base.policy import AddressPolicy
from fastrpc.registries.base.poller import Poller
from fastrpc.registries.base.urls import UNDIALABLE, names_registry
from fastrpc.registries.base.watch import Channel, Watch

__all__ = ["BackedRegistry", "check_service_name"]

#: Seconds that closing waits for threads to notice; they are daemons and hold nothing else up.
CLOSE_SECONDS = 5.0

_SERVICE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,254}")


def check_service_name(service: str) -> str:
    """Return the name of a service, if it is one that can stand in a path and a log line.

    Raises:
        ConfigError: it is not.
    """
    if not isinstance(service, str) or not _SERVICE.fullmatch(service):
        raise ConfigError(
            f"{service!r} is not a service name",
            hint="write letters, digits, `_` and `-`, in parts joined by dots",
        )
    return service


def _check_reachable(endpoint: Endpoint) -> None:
    """Refuse what a server may listen at, but nobody can dial."""
    address = endpoint.address
    if address.host in UNDIALABLE or (address.host and not address.port):
        raise ConfigError(
            f"{address} is where a server listens, nobody can dial it",
            hint="register the address that clients reach: listen(…, advertise='tcp://10.0.0.7:8972')",
        )
    if names_registry(str(address)) or (address.host and address.path):
        raise ConfigError(f"{address} is not where a server is", hint="write tcp://host:port")


class _Followed:
    """A service that somebody watches, and the thread that asks for it."""

    def __init__(self, service: str, lookup: Lookup, poller: Poller, channel: Channel) -> None:
        self.channel = channel
        self.watches = 0
        self._lookup = lookup
        self._stop = threading.Event()
        self.thread = threading.Thread(
            target=poller.run, args=(self._stop,), name=f"fastrpc registry watch of {service}", daemon=True
        )

    def stop(self) -> None:
        self._stop.set()
        self.channel.close()
        self._lookup.close()


class BackedRegistry(Closing):
    """A registry whose backend is asked in threads of its own, so that no event loop waits for it.

    All watches of one service share one thread, and all registrations one more. They start with the first use. A
    registry object that was used before a fork refuses to be used in the child.

    Args:
        name: how it is called in messages, without secrets.
        policy: which of the addresses it names may be dialled.
        cache_file: where the last good lists are kept for a start while the registry is away.
    """

    def __init__(
        self,
        backend: Backend,
        name: str,
        *,
        policy: AddressPolicy | None = None,
        cache_file: str | os.PathLike[str] | None = None,
    ) -> None:
        self._backend = backend
        self._name = name
        self._policy = policy or AddressPolicy()
        self._cache = None if cache_file is None else CacheFile(cache_file)
        # Re-entrant: a watch may be collected, and closed by that, in any line of the thread that holds it.
        self._lock = threading.RLock()
        self._versions = itertools.count(1)
        self._followed: dict[str, _Followed] = {}
        self._lease_keeper = LeaseKeeper()
        self._keeping: threading.Thread | None = None
        self._is_closed = False
        self._process_id = 0

    def register(self, service: str, endpoint: Endpoint) -> Registration:
        """Return what keeps an endpoint in the list of a service while its block lasts.

        Raises:
            ConfigError: this registry cannot hold it.
        """
        check_service_name(service)
        _check_reachable(endpoint)
        self._check_process()
        lease = self._backend.open_lease(service, endpoint)
        with self._lock:
            self._use()
            if self._keeping is None:
                self._keeping = threading.Thread(
                    target=self._lease_keeper.run,
                    name=f"fastrpc registry leases at {self._name}",
                    daemon=True,
                )
                self._keeping.start()
        return Registration(service, endpoint, lease, self._lease_keeper)

    def watch(self, service: str) -> Watch:
        """Follow who serves a service, until the watch is closed or dropped."""
        check_service_name(service)
        self._check_process()
        with self._lock:
            self._use()
            followed = self._followed.get(service)
            if followed is None:
                followed = self._followed[service] = self._follow(service)
                followed.thread.start()
            followed.watches += 1
        return Watch(followed.channel, lambda: self._release(service, followed))

    def check_service(self, service: str) -> None:
        """Refuse a name that cannot be watched here; does no I/O.

        Raises:
            ConfigError: it is none, or this kind of registry cannot look it up.
        """
        check_service_name(service)
        self._backend.open_lookup(service).close()

    def services(self) -> list[str]:
        """Return the names of the services the registry knows, blocking while it answers; for people who look around.

        Raises:
            ConfigError: this kind of registry cannot tell.
            StoreError: it cannot be asked now.
        """
        self._check_process()
        with self._lock:
            self._use()
        return sorted(self._backend.list_services())

    def _follow(self, service: str) -> _Followed:
        channel = Channel(self._versions)
        lookup = self._backend.open_lookup(service)
        poller = Poller(service, lookup, channel, policy=self._policy, cache=self._cache)
        return _Followed(service, lookup, poller, channel)

    def _release(self, service: str, followed: _Followed) -> None:
        with self._lock:
            followed.watches -= 1
            if followed.watches or self._followed.get(service) is not followed:
                return
            del self._followed[service]
        followed.stop()

    def _check_process(self) -> None:
        """Refuse before taking the lock: after a fork a thread that is not here may hold it."""
        if self._process_id not in (0, os.getpid()):
            raise RuntimeError(f"{self!r} was used before the fork; create it in the child")

    def _use(self) -> None:
        if self._is_closed:
            raise RuntimeError(f"{self!r} is closed")
        self._process_id = os.getpid()

    def close(self) -> None:
        """End all watches, take all registrations back, let go of the registry. Closing twice is fine.

        It blocks for as long as the registry takes to answer, at most about five seconds; on an event loop use
        `aclose`.
        """
        if self._process_id not in (0, os.getpid()):
            # The threads are the parent's, and one of them may have held the lock.
            return
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            followed, self._followed = list(self._followed.values()), {}
        for one in followed:
            one.stop()
        self._lease_keeper.close()
        for thread in [*(one.thread for one in followed), self._keeping]:
            if thread is not None and thread is not threading.current_thread():
                thread.join(CLOSE_SECONDS)
        self._backend.close()

    async def aclose(self) -> None:
        """Do what `close` does without blocking the loop."""
        await asyncio.to_thread(self.close)

    def __repr__(self) -> str:
        return f"<registry {self._name}>"
