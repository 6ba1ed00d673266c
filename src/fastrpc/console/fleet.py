"""All services, endpoints and servers of a registry, with the figures of the servers."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from fastrpc.config import TLS
from fastrpc.console.admin_labels import ADMIN_LABEL, admin_of, server_key
from fastrpc.console.allowed import AllowedServers, admin_address
from fastrpc.console.budget import FleetBudget
from fastrpc.console.events import FleetEvents
from fastrpc.console.following import RegistryFollower
from fastrpc.console.history import FigureHistory
from fastrpc.console.pages import EndpointsPage, FiguresPage
from fastrpc.console.reading import AdminReader, PageError
from fastrpc.console.servers import WHOLE_PATH, CountedPage, FleetServer
from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import ConfigError
from fastrpc.registries.base.policy import AddressRefusedError
from fastrpc.registries.base.registry import WatchedRegistry
from fastrpc.time_limit import time_limit

__all__ = ["MOST_SERVERS", "POLL_SECONDS", "SHOWN_SECONDS", "Fleet"]

T = TypeVar("T")
R = TypeVar("R")

logger = logging.getLogger("fastrpc.server")

#: Seconds between two polls of a server. SHOWN_SECONDS: the same while a view shows the server. FAILING_SECONDS: the
#: longest such time after failures.
POLL_SECONDS: Final = 10.0
SHOWN_SECONDS: Final = 2.0
FAILING_SECONDS: Final = 60.0

#: Seconds for which a server counts as shown after a view of it.
VIEW_SECONDS: Final = 15.0

#: Seconds between two readings of the endpoints of a client.
ENDPOINTS_SECONDS: Final = 30.0

#: GONE_SECONDS: seconds after which a server without records is forgotten. MOST_SERVERS: the most servers.
GONE_SECONDS: Final = 600.0
MOST_SERVERS: Final = 4_096

#: The most breakers of a server, opened between two readings, that become events.
MOST_OPENED: Final = 20

#: The most names of services that are kept because a server reported them.
MOST_FIGURED: Final = 10_000

#: Seconds that `look`, an act or a view waits for the first lists of a registry.
LISTED_SECONDS: Final = 5.0

#: The most servers that are read at the same time: by polls (THREADS), for views, and for acts. MOST_VIEWS: the most
#: views that read one server or wait for it.
THREADS: Final = 16
VIEW_THREADS: Final = 8
ACT_THREADS: Final = 16
MOST_VIEWS: Final = 4

#: The longest page that the loop itself decodes and counts: 100 methods, which take 2 ms.
SHORT_BYTES: Final = 32 * 1024

#: Seconds between two checks for servers that are due.
TICK_SECONDS: Final = 0.2


class Fleet:
    """The fleet, polled inside its `async with` block.

    It is used on one loop; threads read servers that are slow or have long pages.

    Args:
        registry: lists the services; None: only the targets are read. It is closed at the end.
        targets: addresses of admin pages that are read in addition to the lists of a registry.
        tls, token: the certificates that are trusted, and the function that returns the reading token.
        clock: returns an instant in seconds that never decreases.
        uniform: returns a random number between two.

    Raises:
        ConfigError: a target is neither encrypted nor on this machine.
    """

    def __init__(
        self,
        registry: WatchedRegistry | None,
        allowed: AllowedServers,
        *,
        targets: Sequence[Address] = (),
        tls: TLS | None = None,
        token: Callable[[], str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.clock, self._uniform = clock, uniform
        self._allowed, self._token = allowed, token
        #: The certificates that are trusted.
        self.tls = tls or TLS()
        self.history, self.events = FigureHistory(clock), FleetEvents()
        #: `services`: the endpoints of each service, by address. `servers`: all servers, by key.
        self.services: dict[str, dict[str, Endpoint]] = {}
        self.servers: dict[str, FleetServer] = {}
        self.budget = FleetBudget(self.servers, self._note_cut)
        # `_figured`: the services of all servers with figures. `_keys`: for each service, its servers' keys by address.
        self._figured, self._keys = set[str](), dict[str, dict[str, str]]()
        #: Records beyond the largest number of servers, by service and address.
        self.left_out: dict[tuple[str, str], Endpoint] = {}
        self.polls = self.failed_polls = 0
        for address in targets:
            try:
                allowed.check_encrypted(address)
            except AddressRefusedError as error:
                raise ConfigError(f"--target: {error}", hint="give an address https://") from None
            self.servers[str(address)] = FleetServer(str(address), address, is_target=True)
        self._registry = registry
        self.follower = (
            None if registry is None else RegistryFollower(registry, self.set_endpoints, self.events)
        )
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="fastrpc-console")
        self._view_threads = ThreadPoolExecutor(VIEW_THREADS, thread_name_prefix="fastrpc-console-view")
        self._act_threads = ThreadPoolExecutor(ACT_THREADS, thread_name_prefix="fastrpc-console-act")
        self._tasks: set[asyncio.Task[None]] = set()
        self._reads: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._begin(self._run(), self._tasks)
        if self.follower is not None:
            self._begin(self.follower.run(), self._tasks)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        tasks = [*self._tasks, *self._reads]
        for task in tasks:
            task.cancel()
        for server in self.servers.values():
            _close(server)
        await asyncio.gather(*tasks, return_exceptions=True)
        for threads in (self._threads, self._view_threads, self._act_threads):
            threads.shutdown(wait=False, cancel_futures=True)
        if self._registry is not None:
            await self._registry.aclose()

    def set_endpoints(self, service: str, endpoints: Iterable[Endpoint]) -> None:
        """Replace the endpoints of a service by its list."""
        known = self.services.get(service, {})
        found = {str(one.address): one for one in endpoints}
        for address, endpoint in known.items():
            if found.get(address) != endpoint:
                self._leave(service, address, endpoint)
        for address in sorted(known.keys() - found):
            self.events.add("gone", service=service, place=address)
        for address, endpoint in found.items():
            before = known.get(address)
            if before != endpoint:
                self._enter(service, address, endpoint)
                kind = "appeared" if before is None else "changed"
                text = "" if before is None else _change_of(before, endpoint)
                self.events.add(kind, service=service, place=address, text=text)
        if found:
            self.services[service] = found
            self._keys[service] = {address: server_key(one) for address, one in found.items()}
        else:
            self.services.pop(service, None)
            self._keys.pop(service, None)

    def _enter(self, service: str, address: str, endpoint: Endpoint) -> None:
        key = server_key(endpoint)
        server = self.servers.get(key)
        if server is None:
            if len(self.servers) >= MOST_SERVERS:
                self.left_out[service, address] = endpoint
                return
            server = self.servers[key] = FleetServer(key, None)
            if ADMIN_LABEL in endpoint.labels:
                server.error = "its label admin is not an address of admin pages"
        if server.admin is None and (admin := admin_of(endpoint)) is not None:
            server.admin, server.error = admin, None
        server.put_record(service, address, endpoint)
        # The server is read soon, but only as often as others, even if its records change often.
        server.gone_at, server.due = None, min(server.due, server.asked_at + POLL_SECONDS)

    def _leave(self, service: str, address: str, endpoint: Endpoint) -> None:
        self.left_out.pop((service, address), None)
        server = self.servers.get(server_key(endpoint))
        if server is not None:
            server.drop_record(service, address)
            if not server.records and not server.is_target:
                server.gone_at = self.clock()

    async def server_named(self, text: str) -> FleetServer | None:
        """Return a server by its key or by another form of its address; None if the registry does not list it."""
        forms = [text]
        with suppress(ConfigError):
            forms.append(str(admin_address(text)))
        found = [one for form in forms if (one := self.servers.get(form)) is not None]
        if not found and await self._lists_come():
            found = [one for form in forms if (one := self.servers.get(form)) is not None]
        return found[0] if found else None

    async def _lists_come(self) -> bool:
        """Wait for the first lists of the registry, with a limit; return False if there was nothing to wait for."""
        if self.follower is None or self.follower.completed.is_set():
            return False
        with suppress(TimeoutError):
            async with time_limit(LISTED_SECONDS):
                await self.follower.completed.wait()
        return True

    @property
    def trouble(self) -> str | None:
        """The reason why the registry's lists are outdated or missing; None if they are up to date."""
        if self.follower is None:
            return None
        if self.follower.error is not None:
            return f"the registry cannot be asked: {self.follower.error}"
        if not self.follower.completed.is_set():
            return "the registry has not sent its lists yet"
        return None

    def has_figures(self, service: str) -> bool:
        """Return whether a server of a service reports its figures."""
        return service in self._figured

    def servers_of(self, service: str) -> list[FleetServer]:
        """Return the servers of a service."""
        keys = sorted(set(self.keys_of(service).values()))
        return [self.servers[key] for key in keys if key in self.servers]

    def keys_of(self, service: str) -> Mapping[str, str]:
        """Return the keys of the servers of a service by the addresses of its endpoints."""
        return self._keys.get(service, {})

    def show(self, server: FleetServer) -> None:
        """Read a server more often, since a view shows it."""
        now = self.clock()
        server.shown_until = now + VIEW_SECONDS
        if not server.failures:
            server.due = min(server.due, (server.read_at or now) + SHOWN_SECONDS)

    async def page(self, server: FleetServer, path: str, kind: type[T]) -> T:
        """Return an admin page of a server for a view.

        Raises:
            PageError: the page cannot be read; the text says why.
        """
        if server.views >= MOST_VIEWS:
            raise PageError(f"{server.views} views wait for its pages, the most")
        server.views += 1
        try:
            return await self._ask(server, self._view_threads, lambda reader: reader.page(path, kind))
        finally:
            server.views -= 1

    async def _ask(
        self, server: FleetServer, threads: ThreadPoolExecutor, work: Callable[[AdminReader], T]
    ) -> T:
        """Return the result of work in a thread, once no other work reads the server."""
        reader = self._reader(server)
        await server.reading.acquire()
        reading = asyncio.get_running_loop().run_in_executor(threads, work, reader)

        def end(done: asyncio.Future[T]) -> None:
            server.reading.release()
            # Retrieve the error of the work, as nothing else does if the view was cancelled.
            _ = done.cancelled() or done.exception()

        reading.add_done_callback(end)
        # The thread continues after a view is cancelled.
        return await asyncio.shield(reading)

    def _reader(self, server: FleetServer) -> AdminReader:
        if server.reader is None or server.passed_with is not self._allowed.own_ports:
            address = self._checked(server, self._allowed.check, "it is not read")
            server.passed_with = self._allowed.own_ports
        if server.reader is None:
            try:
                server.reader = AdminReader(address, self.tls, self._token)
            except ConfigError as error:
                raise PageError(str(error)) from None
        return server.reader

    def address_for_acts(self, server: FleetServer) -> Address:
        """Return the address of a server, if the token of an operator may be sent there.

        Raises:
            PageError: the token may not be sent there; the text says why.
        """
        return self._checked(server, self._allowed.check_act, "it gets no acts")

    def _checked(
        self, server: FleetServer, check: Callable[[Address, Iterable[Address]], None], refusal: str
    ) -> Address:
        """Return the address of a server's pages; a target needs no check."""
        if server.admin is None:
            raise PageError(server.error or "it has no admin pages in its record")
        if not server.is_target:
            try:
                check(server.admin, [one.address for one in server.records.values()])
            except AddressRefusedError as error:
                raise PageError(f"{refusal}: {error}") from None
        return server.admin

    async def in_act_thread(self, work: Callable[[], T]) -> T:
        """Return the result of work in one of the threads for acts."""
        return await asyncio.get_running_loop().run_in_executor(self._act_threads, work)

    async def poll(self, *, is_forced: bool = False) -> None:
        """Read all servers that are due, or all servers, and return once no server is being read."""
        self._start_due(is_forced=is_forced)
        await asyncio.gather(*self._reads)

    async def look(self) -> None:
        """Wait for the lists of the registry, and read every server twice, as rates need two readings."""
        await self._lists_come()
        await self.poll(is_forced=True)
        await asyncio.sleep(SHOWN_SECONDS)
        await self.poll(is_forced=True)

    async def _run(self) -> None:
        while True:
            self._start_due()
            await asyncio.sleep(TICK_SECONDS)

    def _start_due(self, *, is_forced: bool = False) -> None:
        now = self.clock()
        for server in list(self.servers.values()):
            if server.gone_at is not None and not server.is_target:
                if now - server.gone_at >= GONE_SECONDS:
                    self._forget(server)
            elif server.admin is not None and not server.is_read_now and (is_forced or server.due <= now):
                server.is_read_now = True
                self._begin(self._read(server), self._reads)
        while self.left_out and len(self.servers) < MOST_SERVERS:
            (service, address), endpoint = self.left_out.popitem()
            self._enter(service, address, endpoint)

    def _begin(self, work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
        task = asyncio.ensure_future(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _read(self, server: FleetServer) -> None:
        self.polls += 1
        server.asked_at = self.clock()
        path, name = server.figures_path, server.name
        is_whole = path == WHOLE_PATH

        def counted(page: FiguresPage) -> CountedPage:
            return server.count(page, name, self.has_figures, is_whole=is_whole)

        try:
            self._take(server, await self._polled(server, path, FiguresPage, counted))
            if server.calls_others and self.clock() >= server.endpoints_due:
                server.endpoints_due = self.clock() + ENDPOINTS_SECONDS
                await self._read_endpoints(server)
        except PageError as error:
            self._fail(server, str(error))
        finally:
            server.is_read_now = False
            server.due = self.clock() + self._pause(server) * self._uniform(0.9, 1.1)

    async def _read_endpoints(self, server: FleetServer) -> None:
        """Read the endpoints that a server calls; if that fails, its figures remain valid."""
        try:
            page = await self._polled(server, "/endpoints", EndpointsPage, lambda found: found)
        except PageError as error:
            if server.endpoints_error is None:
                logger.warning("the endpoints that %s calls cannot be read: %s", server.key, error)
            server.endpoints_error = str(error)
        else:
            server.endpoints_error = None
            self._take_endpoints(server, page)

    async def _polled(self, server: FleetServer, path: str, kind: type[T], take: Callable[[T], R]) -> R:
        """Read a page, and return the result of `take` on it. The loop awaits the page; a thread runs blocking work."""
        reader = self._reader(server)
        # Polls are cancelled only at the end, when nothing else reads the server.
        async with server.reading:
            begun = await reader.begin(path)
            if isinstance(begun, bytes) and len(begun) <= SHORT_BYTES:
                return reader.taken(begun, kind, take)

            def work() -> R:
                return reader.taken(begun if isinstance(begun, bytes) else begun(), kind, take)

            return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _pause(self, server: FleetServer) -> float:
        if server.failures:
            return min(FAILING_SECONDS, POLL_SECONDS * 2.0 ** (server.failures - 1))
        return SHOWN_SECONDS if self.clock() < server.shown_until else POLL_SECONDS

    def _take(self, server: FleetServer, counted: CountedPage) -> None:
        if len(self._figured) < MOST_FIGURED:
            listed = {service for service, _ in server.records}
            told = {one.name for one in counted.page.services}
            self._figured |= told if server.is_target else told & listed
        with self.budget.changing(server):
            server.take(counted, self.clock(), self.history)
        if counted.is_restarted:
            self.events.add("restarted", place=server.key, text=server.name)
        if server.error is not None:
            self.events.add("readable", place=server.key, text=server.name)
        server.error, server.failures = None, 0

    def _take_endpoints(self, server: FleetServer, page: EndpointsPage) -> None:
        before = {(one.target, one.address): one.breaker for one in server.endpoints}
        opened = [
            f"to {one.address} of {one.target}"
            for one in page.endpoints
            if one.breaker == "open" and before.get((one.target, one.address), "closed") != "open"
        ]
        for text in opened[:MOST_OPENED]:
            self.events.add("breaker opened", place=server.key, text=text)
        with self.budget.changing(server):
            server.keep_endpoints(page.endpoints)

    def _note_cut(self, server: FleetServer) -> None:
        text = (
            "all figures together were over their budget, and this server had most; it may keep "
            f"{server.most_bytes:,} bytes now"
        )
        logger.warning("the figures of %s were dropped: %s", server.key, text)
        self.events.add("cut", place=server.key, text=text)

    def _fail(self, server: FleetServer, text: str) -> None:
        self.failed_polls += 1
        server.failures += 1
        if server.error is None:
            logger.warning("the admin pages at %s cannot be read: %s", server.key, text)
            self.events.add("unreadable", place=server.key, text=text)
        server.error = text

    def _forget(self, server: FleetServer) -> None:
        _close(server)
        self.budget.forget(server)
        del self.servers[server.key]
        self.history.forget(("server", server.key))


def _change_of(before: Endpoint, after: Endpoint) -> str:
    """Return the properties of a record that changed, in words."""
    names = ("weight", "version", "zone", "protocols", "labels")
    changed = [name for name in names if getattr(before, name) != getattr(after, name)]
    return ", ".join(
        f"weight {before.weight} → {after.weight}" if name == "weight" else name for name in changed
    )


def _close(server: FleetServer) -> None:
    if server.reader is not None:
        server.reader.close()
        server.reader = None
