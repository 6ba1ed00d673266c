"""Servers on the local network by DNS-SD over multicast DNS (RFC 6762, RFC 6763), with the package `zeroconf`.

Services are of the type `_fastrpc._tcp`. The text of a service has the pair `service`, and the pairs `record0`,
`record1`, …. These are parts of a JSON record, because a pair has at most 255 bytes. The text of a changed record also
has a number `change`. Anyone on the network can announce a service; only TLS authenticates a server.

Option: `interface`.
"""

import asyncio
import contextlib
import itertools
import secrets
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from typing import Any

from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import ConfigError, StoreError
from fastrpc.registries.base.announced import AnnouncedLookup
from fastrpc.registries.base.backed import BackedRegistry
from fastrpc.registries.base.backend import Lease
from fastrpc.registries.base.record import encode_record
from fastrpc.registries.base.rules import MOST_ENDPOINTS
from fastrpc.registries.base.shared import SingleLookup
from fastrpc.registries.base.urls import RegistryURL

__all__ = ["MdnsLease", "MdnsNetwork", "MdnsServices", "open_mdns"]

TYPE = "_fastrpc._tcp.local."

#: Seconds for which other hosts keep a record that is not announced again. A killed server is listed for this long.
TTL_SECONDS = 120

#: Seconds between two checks of a lease. The package announces records by itself.
RENEW_SECONDS = 10.0

#: Seconds to wait for answers after the start.
SETTLE_SECONDS = 0.5

#: Milliseconds to wait for the text of a service that was announced without its text, and the most texts that are
#: requested at the same time.
TEXT_MILLISECONDS, MOST_ASKED = 1_000, 100

#: The most bytes of a text, and of one value in a text.
TEXT_BYTES, VALUE_BYTES = 1_200, 240


def open_mdns(url: RegistryURL) -> BackedRegistry:
    """Open `mdns://`.

    Raises:
        ConfigError: the URL has a host or a path, an option is wrong, or `zeroconf` is not installed.
    """
    if url.place:
        raise ConfigError(
            f"{url}: mdns:// takes no host, as the registry is the network itself",
            hint="write mdns:// for the registry, mdns://arith for a target",
        )
    network = MdnsNetwork(url.package("zeroconf", "zeroconf"), url.take("interface", None, str))
    return BackedRegistry(MdnsServices(network), str(url), **url.take_shared())


class MdnsNetwork:
    """The announced services; one browser for all lookups.

    Args:
        package: the module `zeroconf`.
        interface: the only interface to use; None for all interfaces.
    """

    def __init__(self, package: Any, interface: str | None) -> None:
        #: The module `zeroconf`.
        self.package = package
        self._interface = interface
        #: Held while services are read or changed; notified of each change. Re-entrant: a finalizer may close a lookup.
        self.changed = threading.Condition(threading.RLock())
        # Service and record by name.
        self._found: dict[str, tuple[str, bytes]] = {}
        self.version = 0
        # Names whose texts are requested.
        self._asked: dict[str, Any] = {}
        self._zeroconf: Any = None
        self._browser: Any = None
        self._settled_at = 0.0

    def start(self) -> Any:
        """Start to listen, and return the package's responder.

        Raises:
            StoreError: no socket could be opened.
        """
        with self.changed:
            if self._zeroconf is None:
                with self.outages():
                    choice = self.package.InterfaceChoice.All
                    addresses = choice if self._interface is None else _addresses(self._interface)
                    self._zeroconf = self.package.Zeroconf(interfaces=addresses)
                self._settled_at = time.monotonic() + SETTLE_SECONDS
                self._browser = self.package.ServiceBrowser(self._zeroconf, TYPE, handlers=[self._note])
            return self._zeroconf

    def records(self, services: Iterable[str]) -> dict[str, list[tuple[str, bytes]]]:
        """Return the names and records of services, the latest first. Only the first record of an address counts."""
        found: dict[str, list[tuple[str, bytes]]] = {service: [] for service in services}
        for name, (service, record) in sorted(self._found.items(), reverse=True):
            if service in found:
                found[service].append((name, record))
        return found

    def services(self) -> set[str]:
        return {service for service, _ in self._found.values()}

    def wait(self, is_over: Callable[[], bool], wait_seconds: float, is_found: Callable[[], bool]) -> None:
        """Wait for the first answers after `start`, then until `is_over()`. The caller holds `changed`."""
        self.changed.wait_for(lambda: False, self._settled_at - time.monotonic())
        self.changed.wait_for(is_over, wait_seconds)

    def close(self) -> None:
        if self._browser is not None:
            # Closing the responder would not end the browser's thread.
            self._browser.cancel()
        if self._zeroconf is not None:
            self._zeroconf.close()

    @contextlib.contextmanager
    def outages(self) -> Iterator[None]:
        """Raise errors of sockets and of the package inside the block as StoreError."""
        try:
            yield
        except (OSError, self.package.Error) as error:
            raise StoreError(f"multicast DNS: {error or type(error).__name__}") from error

    def _note(self, zeroconf: Any, service_type: str, name: str, state_change: Any) -> None:
        """Handle a change. The browser's thread calls this, so it must not wait for the missing text of a name."""
        info = None
        if state_change is not self.package.ServiceStateChange.Removed:
            # The package raises an error for a name of another type. Uncaught, it would end the browser's thread.
            with contextlib.suppress(self.package.Error):
                info = self.package.ServiceInfo(service_type, name)
                info.load_from_cache(zeroconf)
        with self.changed:
            self._asked.pop(name, None)
            if info is not None and not info.properties:
                self._ask(zeroconf, name, info)
                return
        self._take(name, info)

    def _ask(self, zeroconf: Any, name: str, info: Any) -> None:
        """Request the text of a name in the background. The caller holds `changed`."""
        if len(self._asked) >= MOST_ASKED:
            return

        def take(_: object) -> None:
            with self.changed:
                is_wanted = self._asked.get(name) is info
                if is_wanted:
                    del self._asked[name]
            if is_wanted:
                self._take(name, info)

        self._asked[name] = info
        asking = asyncio.run_coroutine_threadsafe(
            info.async_request(zeroconf, TEXT_MILLISECONDS), zeroconf.loop
        )
        asking.add_done_callback(take)

    def _take(self, name: str, info: Any) -> None:
        """Store the record in the text of a name, or remove the name if its text has none."""
        found = _read_text(info.properties) if info is not None and info.properties else None
        with self.changed:
            if found is None:
                self._found.pop(name, None)
            elif name in self._found or len(self._found) < MOST_ENDPOINTS:
                self._found[name] = found
            self.version += 1
            self.changed.notify_all()


class MdnsServices:
    """A backend over announced services."""

    def __init__(self, network: MdnsNetwork) -> None:
        self._network = network

    def open_lookup(self, service: str) -> SingleLookup:
        return SingleLookup(self.open_shared(), service)

    def open_shared(self) -> AnnouncedLookup:
        return AnnouncedLookup(self._network)

    def open_lease(self, service: str, endpoint: Endpoint) -> Lease:
        text = _text(service, encode_record(endpoint))
        size = sum(len(name) + len(value) + 2 for name, value in text.items())
        if size > TEXT_BYTES or len(service) > VALUE_BYTES:
            raise ConfigError(
                f"{endpoint} has a record of {size} bytes with its service, a text holds {TEXT_BYTES}",
                hint="give it fewer labels",
            )
        if not endpoint.address.host:
            raise ConfigError(f"{endpoint.address} is not an address on a network")
        return MdnsLease(self._network, endpoint.address, text)

    def list_services(self) -> Iterable[str]:
        self._network.start()
        with self._network.changed:
            self._network.wait(lambda: True, 0.0, lambda: True)
            return self._network.services()

    def close(self) -> None:
        self._network.close()


class MdnsLease:
    """One announced service, which the package announces again and again."""

    renew_seconds = RENEW_SECONDS

    def __init__(self, network: MdnsNetwork, address: Address, text: dict[str, bytes]) -> None:
        self._network = network
        self._address = address
        self.record = text
        # A unique name. It begins with the time, so that readers find the latest record.
        self._name = ""
        # The announced service as an object of the package.
        self._info: Any = None
        # The text of the announced service.
        self._announced = text
        # Makes the text of each change unique: readers ignore a text that they have received in the last ten seconds.
        self._changes = 0
        # The task that sends the announcement three times.
        self._announcing: Any = None

    def acquire(self) -> None:
        zeroconf = self._network.start()
        if self._info is not None:
            self.rewrite()
            return
        self._name = f"{int(time.time() * 1000):012x}-{secrets.token_hex(8)}"
        with self._network.outages():
            info = self._described()
            self._begin(zeroconf.async_register_service(info, cooperating_responders=True))
            self._info, self._announced = info, self.record

    def renew(self) -> bool:
        return self._info is not None

    def rewrite(self) -> bool:
        if self._info is not None and self._announced != self.record:
            zeroconf = self._network.start()
            with self._network.outages():
                self._changes += 1
                info = self._described()
                self._begin(zeroconf.async_update_service(info))
                self._info, self._announced = info, self.record
        return self.renew()

    def release(self) -> None:
        info, self._info = self._info, None
        if info is not None:
            with self._network.outages():
                self._stop()
                self._network.start().unregister_service(info)

    def _described(self) -> Any:
        """Return the record as an object of the package."""
        # The package requires addresses, but fastrpc reads only the record.
        host, port = self._address.host, self._address.port
        change = {"change": b"%d" % self._changes} if self._changes else {}
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return self._network.package.ServiceInfo(
            TYPE,
            f"{self._name}.{TYPE}",
            port=port,
            properties=self.record | change,
            server=f"{self._name}.local.",
            parsed_addresses=sorted({str(one[4][0]) for one in found}),
            host_ttl=TTL_SECONDS,
            other_ttl=TTL_SECONDS,
        )

    def _begin(self, announcing: Coroutine[Any, Any, Any]) -> None:
        """Start to announce, without waiting for the announcements: that would delay other leases."""
        self._stop()
        begun = asyncio.run_coroutine_threadsafe(announcing, self._network.start().loop)
        self._announcing = begun.result(3.0)

    def _stop(self) -> None:
        """Stop the running announcements, so that none is sent after a change or a goodbye."""
        if self._announcing is not None:
            self._network.start().loop.call_soon_threadsafe(self._announcing.cancel)
            self._announcing = None


def _text(service: str, record: bytes) -> dict[str, bytes]:
    """Return the text of a record."""
    parts = [record[begin : begin + VALUE_BYTES] for begin in range(0, len(record), VALUE_BYTES)]
    return {"service": service.encode()} | {f"record{number}": part for number, part in enumerate(parts)}


def _read_text(text: Mapping[bytes, bytes | None]) -> tuple[str, bytes]:
    """Return service and record of a text; both are empty in the text of another program."""
    parts = itertools.takewhile(bool, (text.get(b"record%d" % number) for number in itertools.count()))
    return (text.get(b"service") or b"").decode("utf-8", "replace"), b"".join(filter(None, parts))


def _addresses(interface: str) -> list[str]:
    """Return the addresses of an interface. The package that lists them is a dependency of `zeroconf`."""
    import ifaddr

    found = [one for adapter in ifaddr.get_adapters() if adapter.name == interface for one in adapter.ips]
    addresses = [str(one.ip if one.is_IPv4 else one.ip[0]) for one in found]
    # Linux has no multicast from ::1.
    usable = [address for address in addresses if address != "::1"]
    if not usable:
        raise OSError(f"there is no interface {interface!r} with an address")
    return usable
