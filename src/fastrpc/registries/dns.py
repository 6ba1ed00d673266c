"""DNS: A and AAAA records of `host:port`, SRV records of a name without a port; uses the package dnspython.

`dns://` reads the hosts file, then queries the system's resolver; `dns://10.0.0.2:53` queries another resolver. Each
name is queried again when its TTL has passed, or up to 10 % earlier. Options: `refresh`, the most seconds between two
queries (30); `timeout`, the seconds of one query (2).
"""

import ipaddress
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastrpc.endpoint import Endpoint
from fastrpc.errors import ConfigError, StoreError
from fastrpc.networks import place_name
from fastrpc.registries.base.backed import BackedRegistry
from fastrpc.registries.base.backend import Entry, Lease, Listing
from fastrpc.registries.base.decoded import DecodedRecords
from fastrpc.registries.base.record import RecordError, read_texts
from fastrpc.registries.base.rules import MOST_ENDPOINTS
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.status import Status

if TYPE_CHECKING:
    from dns.resolver import Answer, Resolver

__all__ = ["DnsLookup", "DnsNames", "open_dns"]

#: The hosts file, which the system reads before it queries its resolver.
HOSTS_FILE = "/etc/hosts"

#: The least seconds between two queries, because some servers answer with a TTL of 0.
LEAST_SECONDS = 1.0

#: The most seconds until a name without records is queried again.
MISSING_SECONDS = 5.0

#: The number of times a query is sent within its timeout.
TRIES = 4


class _SilenceError(StoreError):
    """The resolver did not answer."""


def open_dns(url: RegistryURL) -> BackedRegistry:
    """Open `dns://` or `dns://resolver:port`.

    Raises:
        ConfigError: an option is wrong, or dnspython is not installed.
    """
    url.package("dns.resolver", "dnspython")
    import dns.exception
    import dns.resolver

    try:
        resolver = dns.resolver.Resolver(configure=not url.place)
        resolver.use_search_by_default = True
        if url.place:
            (host, port), *others = url.places(53)
            resolver.nameservers = [_number(url, one) for one, _ in ((host, port), *others)]
            resolver.port = port
    except dns.exception.DNSException as error:
        raise ConfigError(f"{url}: the system's resolver is not set up: {error}") from error
    resolver.lifetime = url.take("timeout", 2.0, _seconds)
    # Resend a lost datagram within the lifetime.
    resolver.timeout = resolver.lifetime / TRIES
    refresh = url.take("refresh", 30.0, _seconds)
    hosts_file = None if url.place else HOSTS_FILE
    return BackedRegistry(DnsNames(resolver, refresh, hosts_file), str(url), **url.take_shared())


class DnsNames:
    """A backend over the hosts file and a resolver."""

    def __init__(self, resolver: "Resolver", refresh_seconds: float, hosts_file: str | None = None) -> None:
        self._resolver = resolver
        self._refresh_seconds = refresh_seconds
        self._hosts_file = hosts_file

    def open_lookup(self, service: str) -> "DnsLookup":
        return DnsLookup(service, self._resolver, self._refresh_seconds, hosts_file=self._hosts_file)

    def open_lease(self, service: str, endpoint: Endpoint) -> Lease:
        raise ConfigError(
            f"{service} cannot be registered with DNS",
            status=Status.UNIMPLEMENTED,
            hint="its records are managed elsewhere, for example by Kubernetes",
        )

    def list_services(self) -> Iterable[str]:
        raise ConfigError("DNS cannot list its names", hint="give one: dns://host:port")

    def close(self) -> None:
        """Do nothing: there are no resources."""


class DnsLookup:
    """Resolves one name, again after the TTL of each answer."""

    def __init__(
        self,
        service: str,
        resolver: "Resolver",
        refresh_seconds: float,
        uniform: Callable[[float, float], float] = random.uniform,
        hosts_file: str | None = None,
    ) -> None:
        self._name, self._port = _name_and_port(service)
        self._resolver = resolver
        self._refresh_seconds = refresh_seconds
        self._uniform = uniform
        self._hosts_file = hosts_file
        self._decoded = DecodedRecords(_entry)
        # The record types that each name had in the last answer.
        self._kinds: dict[str, set[str]] = {}

    def fetch(self, wait_seconds: float) -> Listing:
        if self._port is None:
            entries, ttl = self._services(self._name)
        else:
            hosts, ttl = self._hosts(self._name)
            entries = self._entries({(host, self._port): 1 for host in hosts})
        longest = self._refresh_seconds if entries else min(self._refresh_seconds, MISSING_SECONDS)
        pause = min(max(ttl, LEAST_SECONDS), longest) * self._uniform(0.9, 1.0)
        return Listing(entries, pause_seconds=pause)

    def _services(self, name: str) -> tuple[list[Entry], float]:
        answer = self._ask(name, "SRV")
        if answer is None:
            return [], 0.0
        records: list[Any] = list(answer)
        # Omit records of a lower priority. They are only for callers that can reach no other server, and this list does
        # not know its callers.
        best = min(record.priority for record in records)
        names = {record.target.to_text() for record in records}
        self._kinds = {host: kinds for host, kinds in self._kinds.items() if host in names}
        ttl = float(answer.rrset.ttl if answer.rrset is not None else 0)
        resolved: dict[str, list[str]] = {}
        weights: dict[tuple[str, int], int] = {}
        for record in records:
            if record.priority != best or not record.port:
                continue
            if len(weights) > MOST_ENDPOINTS:
                # The reader of the list uses only this many endpoints, and logs that there are more.
                break
            target = record.target.to_text()
            if target not in resolved:
                resolved[target], host_ttl = self._hosts(target)
                ttl = min(ttl, host_ttl)
            for host in resolved[target]:
                # A weight of 0 means "seldom" in DNS, but "never" for an endpoint.
                weights.setdefault((host, record.port), max(1, record.weight))
        return self._entries(weights), ttl

    def _entries(self, weights: dict[tuple[str, int], int]) -> list[Entry]:
        """Return the entries for a table of weights by host and port."""
        return self._decoded.entries((place_name(*place), weight) for place, weight in weights.items())

    def _hosts(self, name: str) -> tuple[list[str], float]:
        try:
            return [str(ipaddress.ip_address(name.strip("[]")))], self._refresh_seconds
        except ValueError:
            pass
        listed = _listed_hosts(name, self._hosts_file)
        if listed:
            return listed, self._refresh_seconds
        hosts: list[str] = []
        ttls: list[float] = []
        failure: StoreError | None = None
        kinds = self._kinds.setdefault(name, set())
        for kind in ("A", "AAAA"):
            try:
                answer = self._ask(name, kind)
            except StoreError as error:
                if kind in kinds or (kind == "A" and isinstance(error, _SilenceError)):
                    # The resolver is unreachable, so do not query it for the other type.
                    raise
                # Some servers fail for a type that they do not support; the other type can still be used.
                failure = error
                continue
            if answer is None:
                kinds.discard(kind)
            else:
                kinds.add(kind)
                hosts.extend(record.to_text() for record in answer)
                ttls.append(float(answer.rrset.ttl if answer.rrset is not None else 0))
        if failure is not None and not hosts:
            raise failure
        return hosts, min(ttls, default=0.0)

    def _ask(self, name: str, kind: str) -> "Answer | None":
        """Return the answer for a name and a record type; None if there are no such records."""
        import dns.exception
        import dns.resolver

        try:
            return self._resolver.resolve(name, kind)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return None
        except dns.exception.Timeout as error:
            raise _SilenceError(
                f"DNS: {kind} of {name}: no answer within {self._resolver.lifetime:g} s"
            ) from error
        except (dns.exception.DNSException, OSError) as error:
            raise StoreError(f"DNS: {kind} of {name}: {str(error) or type(error).__name__}") from error

    def close(self) -> None:
        """Do nothing. A running query ends after its timeout."""


def _listed_hosts(name: str, hosts_file: str | None) -> list[str]:
    """Return the addresses of a name in the hosts file; an empty list if there is no file."""
    if hosts_file is None:
        return []
    try:
        text = Path(hosts_file).read_text("utf-8", "replace")
    except OSError:
        return []  # Windows keeps the file elsewhere, small containers have no file: the resolver is queried then.
    wanted = name.rstrip(".").lower()
    lines = (line.partition("#")[0].lower().split() for line in text.splitlines())
    return list(dict.fromkeys(words[0] for words in lines if wanted in words[1:]))


def _entry(place: str, weight: int) -> Entry:
    try:
        return place, read_texts(f"tcp://{place}", {"weight": weight})
    except RecordError as error:
        return place, error


def _name_and_port(service: str) -> tuple[str, int | None]:
    name, colon, port = service.rpartition(":")
    if not colon or "]" in port:
        return service, None
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65_536):
        raise ConfigError(
            f"{service!r} has port {port!r}", hint="write dns://host:port, or a name with SRV records"
        )
    return name, int(port)


def _number(url: RegistryURL, host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        raise ConfigError(f"{url}: {host!r} is not the IP address of a resolver") from None


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.1 <= seconds <= 86_400:
        raise ValueError("it must be seconds from 0.1 to 86400")
    return seconds
