"""What is made of answers of the DNS."""

from pathlib import Path
from typing import Any

import dns.name
import dns.resolver
import dns.rrset
import pytest

from fastrpc import ConfigError, Endpoint, StoreError
from fastrpc.registries import open_registry
from fastrpc.registries.base.rules import MOST_ENDPOINTS
from fastrpc.registries.dns import DnsLookup


class Answer:
    """The part of dnspython's answer that is read."""

    def __init__(self, rrset: dns.rrset.RRset) -> None:
        self.rrset = rrset

    def __iter__(self) -> Any:
        return iter(self.rrset)


class Resolver:
    """Knows some names."""

    def __init__(self, records: dict[tuple[str, str], Any]) -> None:
        self._records = records
        #: Each question, in the order in which they came.
        self.asked: list[tuple[str, str]] = []

    def resolve(self, name: str, kind: str) -> Answer:
        self.asked.append((name, kind))
        found = self._records.get((name, kind))
        if found is None:
            raise (
                dns.resolver.NoAnswer
                if any(name == known for known, _ in self._records)
                else dns.resolver.NXDOMAIN
            )
        if isinstance(found, Exception) or found is dns.resolver.NoNameservers:
            raise found
        ttl, *texts = found
        return Answer(dns.rrset.from_text(f"{name}.".replace("..", "."), ttl, "IN", kind, *texts))


def lookup(service: str, records: dict[tuple[str, str], Any], *, refresh: float = 30.0) -> DnsLookup:
    return DnsLookup(service, Resolver(records), refresh, uniform=lambda low, high: high)


def endpoints(found: Any) -> list[Endpoint]:
    return [endpoint for _, endpoint in found.entries]


def test_addresses_of_both_kinds_are_endpoints() -> None:
    found = lookup(
        "a.b:80", {("a.b", "A"): (9, "10.0.0.1", "10.0.0.2"), ("a.b", "AAAA"): (7, "fd00::1")}
    ).fetch(0.0)
    assert [str(one) for one in endpoints(found)] == [
        "tcp://10.0.0.1:80",
        "tcp://10.0.0.2:80",
        "tcp://[fd00::1]:80",
    ]
    assert found.pause_seconds == 7.0


def test_service_records_name_hosts_and_ports() -> None:
    found = lookup(
        "_arith._tcp.b",
        {
            ("_arith._tcp.b", "SRV"): (20, "1 5 8001 x.b.", "1 0 8002 y.b.", "2 9 8003 z.b."),
            ("x.b.", "A"): (30, "10.0.0.1"),
            ("y.b.", "A"): (6, "10.0.0.2"),
            ("z.b.", "A"): (1, "10.0.0.3"),
        },
    ).fetch(0.0)
    assert endpoints(found) == [
        Endpoint("tcp://10.0.0.1:8001", weight=5),
        Endpoint("tcp://10.0.0.2:8002", weight=1),
    ]
    assert found.pause_seconds == 6.0


def test_numeric_address_is_itself() -> None:
    assert endpoints(lookup("10.0.0.1:80", {}).fetch(0.0)) == [Endpoint("tcp://10.0.0.1:80")]
    assert endpoints(lookup("[fd00::1]:80", {}).fetch(0.0)) == [Endpoint("tcp://[fd00::1]:80")]


def test_unknown_name_has_no_endpoints_and_is_soon_queried_again() -> None:
    found = lookup("gone.b:80", {}).fetch(0.0)
    assert endpoints(found) == []
    assert found.pause_seconds <= 5.0


@pytest.mark.parametrize(("ttl", "pause"), [(0, 1.0), (5, 5.0), (86_400, 30.0)])
def test_pause_is_the_ttl_within_bounds(ttl: int, pause: float) -> None:
    assert lookup("a.b:80", {("a.b", "A"): (ttl, "10.0.0.1")}).fetch(0.0).pause_seconds == pause


def test_failing_server_is_not_an_empty_list() -> None:
    failing = OSError("network is unreachable")
    for service, kind in (("a.b:80", "A"), ("a.b", "SRV")):
        with pytest.raises(StoreError, match=f"{kind}.*of a.b"):
            lookup(service, {("a.b", kind): failing, ("a.b", "AAAA"): failing}).fetch(0.0)


def test_failure_of_one_kind_does_not_hide_the_other() -> None:
    found = lookup(
        "a.b:80", {("a.b", "A"): (9, "10.0.0.1"), ("a.b", "AAAA"): OSError("network is unreachable")}
    ).fetch(0.0)
    assert len(endpoints(found)) == 1


@pytest.mark.parametrize("service", ["a.b:80", "_arith._tcp.b"])
@pytest.mark.parametrize("kind", ["A", "AAAA"])
def test_failure_of_one_record_type_does_not_remove_its_records(service: str, kind: str) -> None:
    name = "a.b" if service == "a.b:80" else "a.b."
    records: dict[tuple[str, str], Any] = {
        ("_arith._tcp.b", "SRV"): (20, "1 5 80 a.b."),
        (name, "A"): (9, "10.0.0.1"),
        (name, "AAAA"): (9, "fd00::1"),
    }
    asked = lookup(service, records)
    assert len(endpoints(asked.fetch(0.0))) == 2
    had, records[name, kind] = records[name, kind], dns.resolver.NoNameservers
    for _ in range(2):
        with pytest.raises(StoreError, match=f"{kind} of a.b"):
            asked.fetch(0.0)
    records[name, kind] = had
    assert len(endpoints(asked.fetch(0.0))) == 2
    # The server itself says that there are none: from then on its failures take nothing away.
    del records[name, kind]
    assert len(endpoints(asked.fetch(0.0))) == 1
    records[name, kind] = dns.resolver.NoNameservers
    assert len(endpoints(asked.fetch(0.0))) == 1


def test_hosts_that_no_service_record_names_are_forgotten() -> None:
    records: dict[tuple[str, str], Any] = {("_arith._tcp.b", "SRV"): (20, "1 5 80 x.b.")}
    asked = lookup("_arith._tcp.b", records)
    for host in ("x.b.", "y.b."):
        records["_arith._tcp.b", "SRV"] = (20, f"1 5 80 {host}")
        records[host, "A"] = (9, "10.0.0.1")
        asked.fetch(0.0)
    assert asked._kinds == {"y.b.": {"A"}}


def test_host_of_many_service_records_is_asked_for_once() -> None:
    resolver = Resolver(
        {
            ("_arith._tcp.b", "SRV"): (
                20,
                *(f"1 {n} {8001 + n % 3} x.b." for n in range(1, 10)),
                "1 1 80 y.b.",
            ),
            ("x.b.", "A"): (30, "10.0.0.1", "10.0.0.2"),
            ("y.b.", "A"): (6, "10.0.0.2", "10.0.0.3"),
        }
    )
    found = DnsLookup("_arith._tcp.b", resolver, 30.0, uniform=lambda low, high: high).fetch(0.0)
    # Each place once, with the weight of its first record.
    assert sorted((str(one.address), one.weight) for one in endpoints(found)) == [
        ("tcp://10.0.0.1:8001", 3),
        ("tcp://10.0.0.1:8002", 1),
        ("tcp://10.0.0.1:8003", 2),
        ("tcp://10.0.0.2:80", 1),
        ("tcp://10.0.0.2:8001", 3),
        ("tcp://10.0.0.2:8002", 1),
        ("tcp://10.0.0.2:8003", 2),
        ("tcp://10.0.0.3:80", 1),
    ]
    assert found.pause_seconds == 6.0
    names = ("x.b.", "y.b.")
    assert sorted(resolver.asked) == sorted(
        [("_arith._tcp.b", "SRV"), *((name, kind) for name in names for kind in ("A", "AAAA"))]
    )


def test_no_more_hosts_are_asked_for_than_a_list_holds() -> None:
    hosts = [f"h{n}.b." for n in range(MOST_ENDPOINTS // 1_000 + 5)]
    addresses = {host: [f"10.{n}.{i // 250}.{i % 250}" for i in range(1_000)] for n, host in enumerate(hosts)}
    resolver = Resolver(
        {("_arith._tcp.b", "SRV"): (20, *(f"1 1 80 {host}" for host in hosts))}
        | {(host, "A"): (30, *texts) for host, texts in addresses.items()}
    )
    found = DnsLookup("_arith._tcp.b", resolver, 30.0).fetch(0.0)
    # One host more than needed: so the reader of the list sees that more exist.
    assert len(found.entries) == MOST_ENDPOINTS + 1_000
    assert len([1 for _, kind in resolver.asked if kind == "A"]) == MOST_ENDPOINTS // 1_000 + 1


@pytest.mark.parametrize("service", ["a.b:0", "a.b:port", "a.b:70000"])
def test_invalid_port_is_refused(service: str) -> None:
    with pytest.raises(ConfigError, match="has port"):
        lookup(service, {})


def test_nothing_can_be_registered() -> None:
    with open_registry("dns://127.0.0.1:1") as registry:  # type: ignore[attr-defined]
        with pytest.raises(ConfigError, match="cannot be registered with DNS"):
            registry.register("arith", Endpoint("tcp://h:1"))


def test_the_file_of_hosts_comes_before_the_resolver(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text(
        "127.0.0.1\tlocalhost  Here # away\n::1 localhost\n# 10.0.0.9 here\n127.0.0.1 localhost\n"
    )
    resolver = Resolver({("away", "A"): (9, "10.0.0.1")})

    def found(service: str, hosts_file: str | None) -> list[str]:
        asked = DnsLookup(service, resolver, 30.0, hosts_file=hosts_file)
        return [str(endpoint) for endpoint in endpoints(asked.fetch(0.0))]

    assert found("localhost:80", str(hosts)) == ["tcp://127.0.0.1:80", "tcp://[::1]:80"]
    assert found("HERE.:80", str(hosts)) == ["tcp://127.0.0.1:80"]
    assert found("away:80", str(hosts)) == ["tcp://10.0.0.1:80"]
    assert found("localhost:80", None) == []
    assert found("away:80", str(tmp_path / "none")) == ["tcp://10.0.0.1:80"]
