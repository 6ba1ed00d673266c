"""The registry object for users, over any backend. It owns threads, leases and lists."""

import asyncio
import itertools
import logging
import os
import threading
import time
from collections.abc import Iterator
from functools import partial

from fastrpc.config import TLS
from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import ConfigError
from fastrpc.escaping import without_secrets
from fastrpc.gauges import Gauge, tells_gauges
from fastrpc.registries.base.accepting import ListAcceptor
from fastrpc.registries.base.backend import Backend, RemovingBackend
from fastrpc.registries.base.cache import CacheFile
from fastrpc.registries.base.closing import Closing
from fastrpc.registries.base.followers import Followers, ServiceFollowing
from fastrpc.registries.base.lease_keeper import LeaseKeeper, Registration
from fastrpc.registries.base.names import SERVICE_NAME, NamesThread, named
from fastrpc.registries.base.policy import AddressPolicy
from fastrpc.registries.base.urls import UNDIALABLE, names_registry
from fastrpc.registries.base.watch import Channel, ServicesWatch, Watch

__all__ = ["BackedRegistry", "check_service_name"]

logger = logging.getLogger("fastrpc.registry")

#: The most seconds that `close` waits for the threads. They are daemons, so the process can still exit.
CLOSE_SECONDS = 5.0


def check_service_name(service: str) -> str:
    """Return the name of a service after checking that paths and log lines may contain it.

    Raises:
        ConfigError: the name is invalid.
    """
    if not isinstance(service, str) or not SERVICE_NAME.fullmatch(service):
        raise ConfigError(
            f"{without_secrets(service)!r} is not a service name",
            hint="write letters, digits, `_` and `-`, in parts joined by dots",
        )
    return service


def _check_reachable(endpoint: Endpoint) -> None:
    """Refuse addresses at which a server can listen but which no client can dial."""
    address = endpoint.address
    if address.host in UNDIALABLE or (address.host and not address.port):
        raise ConfigError(
            f"{address} is an address to listen at, no client can dial it",
            hint="register the address that clients dial: listen(…, advertise='tcp://10.0.0.7:8972')",
        )
    if names_registry(str(address)) or (address.host and address.path):
        raise ConfigError(f"{address} is not the address of a server", hint="write tcp://host:port")


class _Followed:
    """A watched service."""

    def __init__(self, acceptor: ListAcceptor, following: ServiceFollowing) -> None:
        self.acceptor = acceptor
        self.following = following
        self.channel = acceptor.channel
        self.watches = 0

    def stop(self) -> None:
        self.channel.close()
        self.following.stop()


class BackedRegistry(Closing):
    """A registry that calls its backend in its own threads, so that no event loop blocks.

    All watches of one service share a thread. If the registry can report many services together, all watches share one
    thread. All registrations share a second thread. Threads start on first use. After a fork a registry object that was
    used before raises an error in the child.

    Args:
        name: the name of the registry in messages, without secrets.
        policy: decides which of the registry's addresses may be dialled.
        cache_file: the file with the last good lists, for starts while the registry is unreachable.
        tls: the certificates for clients without certificates.
    """

    def __init__(
        self,
        backend: Backend,
        name: str,
        *,
        policy: AddressPolicy | None = None,
        cache_file: str | os.PathLike[str] | None = None,
        tls: TLS | None = None,
    ) -> None:
        self._backend, self._name = backend, name
        self._policy = policy or AddressPolicy()
        self._tls = tls
        self._cache = None if cache_file is None else CacheFile(cache_file)
        # Re-entrant: a watch may be collected, and so be closed, on any line of the thread that holds the lock.
        self._lock = threading.RLock()
        self._versions = itertools.count(1)
        self._followed: dict[str, _Followed] = {}
        self._followers = Followers(backend, name, self._follow_singly)
        self._names: NamesThread | None = None
        self._lease_keeper = LeaseKeeper()
        self._keeping: threading.Thread | None = None
        self._is_closed = False
        self._process_id = 0
        tells_gauges(self)

    def tls_for(self, endpoint: Endpoint, own: TLS | None) -> TLS | None:
        """Return the certificates for connections of a client to an endpoint.

        Args:
            own: the certificates of the client.
        """
        return self._tls if own is None else own

    def register(self, service: str, endpoint: Endpoint) -> Registration:
        """Return a registration that keeps an endpoint in the list of a service while its block lasts.

        Raises:
            ConfigError: this registry cannot hold the endpoint. The status UNIMPLEMENTED means that no server registers
                in this kind of registry.
        """
        check_service_name(service)
        _check_reachable(endpoint)
        self._check_process()
        open_lease = partial(self._backend.open_lease, service)
        registration = Registration(service, endpoint, open_lease, self._lease_keeper)
        with self._lock:
            self._use()
            if self._keeping is None:
                name = f"fastrpc registry leases at {self._name}"
                self._keeping = threading.Thread(target=self._lease_keeper.run, name=name, daemon=True)
                try:
                    self._keeping.start()
                except Exception:
                    # The thread did not start; the next use starts one. After a KeyboardInterrupt the thread may run
                    # nevertheless.
                    self._keeping = None
                    raise
        return registration

    def watch(self, service: str) -> Watch:
        """Watch the endpoints of a service, until the watch is closed or dropped."""
        check_service_name(service)
        self._check_process()
        with self._lock:
            self._use()
            while True:
                followed = self._followed.get(service) or self._begin(service)
                followed.watches += 1
                # A garbage collection on these lines may drop the last watch, and so stop following the service. Then
                # try again.
                if self._followed.get(service) is followed:
                    break
        return Watch(followed.channel, lambda: self._release(service, followed))

    def check_service(self, service: str) -> None:
        """Refuse a name that this registry cannot watch. No I/O.

        Raises:
            ConfigError: the name is invalid, or this kind of registry cannot look it up.
        """
        check_service_name(service)
        self._backend.open_lookup(service).close()

    def services(self) -> list[str]:
        """Return the names of the services in the registry; blocks while it answers.

        Raises:
            ConfigError: this kind of registry cannot list its services.
            StoreError: the registry cannot be reached now.
        """
        self._check_process()
        with self._lock:
            self._use()
        return named(self._backend.list_services())

    def watch_services(self) -> ServicesWatch:
        """Watch the names of the services in the registry, which is queried every two seconds.

        If the registry cannot list its services, the watch ends with ConfigError.
        """
        self._check_process()
        with self._lock:
            self._use()
            while True:
                listed = self._names or self._begin_names()
                listed.watches += 1
                # A garbage collection on these lines may drop the last watch, and so end the thread. Then try again.
                if self._names is listed:
                    break
        return ServicesWatch(listed.channel, lambda: self._release_names(listed))

    def remove(self, service: str, address: str | Address) -> bool:
        """Delete the record of an address, whichever program wrote it; blocks while the registry answers.

        A server that still runs writes its record again.

        Returns:
            Whether there was a record.

        Raises:
            ConfigError: the address is invalid, or records of this kind of registry cannot be deleted.
            StoreError: the registry cannot be reached now, or refuses.
        """
        check_service_name(service)
        place = Address.parse(address)
        if not isinstance(self._backend, RemovingBackend):
            raise ConfigError(
                f"{self!r} deletes no records of other programs", hint="its records end with their servers"
            )
        self._check_process()
        with self._lock:
            self._use()
        return self._backend.remove(service, place)

    def gauges(self) -> Iterator[Gauge]:
        """Yield 1 if the last query for each service and the last write of a record were answered, else 0.

        Yield nothing before the first answer, and after `close`.
        """
        is_up = [
            channel.error is None
            for channel in [one.channel for one in list(self._followed.values())]
            if channel.error is not None or channel.latest is not None
        ]
        if self._keeping is not None and self._lease_keeper.is_up is not None:
            is_up.append(self._lease_keeper.is_up)
        if is_up and not self._is_closed:
            yield "fastrpc_registry_up", (self._name,), float(all(is_up))

    def _begin(self, service: str) -> _Followed:
        """Follow a service."""
        channel = Channel(self._versions)
        acceptor = ListAcceptor(
            service, channel, policy=self._policy, cache=self._cache, clock=time.monotonic
        )
        # Add the service after its thread has started. Otherwise later watches would wait for ever if the start failed.
        followed = _Followed(acceptor, self._followers.follow(acceptor))
        self._followed[service] = followed
        return followed

    def _follow_singly(self) -> None:
        """Follow each service separately. Called in the thread that followed all services; that thread then ends."""
        with self._lock:
            self._followers.refuse()
            logger.info("%s refuses to list all services, each is requested separately", self._name)
            for service, followed in list(self._followed.items()):
                try:
                    followed.following = self._followers.follow(followed.acceptor)
                except Exception as error:
                    logger.warning("%s cannot be followed: %s", service, error)
                    followed.acceptor.fail(error)
                    continue
                if self._followed.get(service) is not followed:
                    # The last watch was collected in the meantime, or the registry was closed.
                    followed.following.stop()

    def _release(self, service: str, followed: _Followed) -> None:
        with self._lock:
            followed.watches -= 1
            if followed.watches or self._followed.get(service) is not followed:
                return
            del self._followed[service]
        followed.stop()

    def _begin_names(self) -> NamesThread:
        self._names = NamesThread(self._backend.list_services, self._name)
        return self._names

    def _release_names(self, listed: NamesThread) -> None:
        with self._lock:
            listed.watches -= 1
            if listed.watches or self._names is not listed:
                return
            self._names = None
        listed.stop()

    def _check_process(self) -> None:
        """Refuse use in the child of a fork, before taking the lock: a thread of the parent may hold it."""
        if self._process_id not in (0, os.getpid()):
            raise RuntimeError(f"{self!r} was used before the fork; create it in the child")

    def _use(self) -> None:
        if self._is_closed:
            raise RuntimeError(f"{self!r} is closed")
        self._process_id = os.getpid()

    def close(self) -> None:
        """End all watches, remove all registrations, release the backend. Closing twice is allowed.

        It blocks until the registry answers, at most about five seconds; on an event loop use `aclose`.
        """
        if self._process_id not in (0, os.getpid()):
            # The threads run in the parent. One of them may have held the lock during the fork.
            return
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            ended: list[_Followed | NamesThread] = list(self._followed.values())
            threads = self._followers.threads()
            if self._names is not None:
                ended.append(self._names)
                threads.append(self._names.thread)
            self._followed, self._names = {}, None
        for one in ended:
            one.stop()
        self._lease_keeper.close()
        for thread in [*threads, self._keeping]:
            if thread is not None and thread is not threading.current_thread():
                thread.join(CLOSE_SECONDS)
        self._backend.close()

    async def aclose(self) -> None:
        """Close without blocking the loop."""
        await asyncio.to_thread(self.close)

    def __repr__(self) -> str:
        return f"<registry {self._name}>"
