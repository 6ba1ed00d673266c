"""Opening registries by URL."""

from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest

from fastrpc import TLS, ConfigError
from fastrpc.registries import StaticRegistry, open_registry, split_target
from fastrpc.registries.base.urls import RegistryURL, target_for


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("consul://host:8500/arith", ("consul://host:8500", "arith")),
        (
            "consul://host:8500/shop.v1.arith?dc=west&tag=a",
            ("consul://host:8500?dc=west&tag=a", "shop.v1.arith"),
        ),
        ("registry://a:1,b:2/arith", ("registry://a:1,b:2", "arith")),
        ("dns://arith.svc:8972", ("dns://", "arith.svc:8972")),
        ("dns://arith.svc:8972?refresh=5", ("dns://?refresh=5", "arith.svc:8972")),
        ("dns://10.0.0.2:53/arith.svc:8972", ("dns://10.0.0.2:53", "arith.svc:8972")),
        ("dns://_arith._tcp.svc", ("dns://", "_arith._tcp.svc")),
        ("tcp://host:1", None),
        ("unix:///run/a.sock", None),
        ("memory://name", None),
        ("arith", None),
        ("kubernetes:///arith?port=rpc", ("kubernetes://?port=rpc", "arith")),
        ("kubernetes://shop/arith", ("kubernetes://shop", "arith")),
        ("lan://arith?interface=lo", ("lan://?interface=lo", "arith")),
        ("lan:///arith", ("lan://", "arith")),
        ("gopher://host:70/arith", None),
    ],
)
def test_target_is_split_into_its_parts(target: str, parts: tuple[str, str] | None) -> None:
    assert split_target(target) == parts


@pytest.mark.parametrize(
    ("target", "form"),
    [
        ("consul://host:8500", "consul://host:8500/service"),
        ("registry://host:1/", "registry://host:1/service"),
        ("consul://", "consul://host:port/service"),
        ("dns://", "dns://host:port"),
        ("kubernetes://shop", "kubernetes://shop/service"),
        ("lan://", "lan://service"),
    ],
)
def test_target_without_a_service_is_refused(target: str, form: str) -> None:
    with pytest.raises(ConfigError, match="names no service") as caught:
        split_target(target)
    assert caught.value.hint == f"write {form}"


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("tcp://127.0.0.1:8972", "tcp://127.0.0.1:8972"),
        ("registry://host:8970", "registry://host:8970/arith"),
        ("registry://host:8970/", "registry://host:8970/arith"),
        ("registry://host:8970/other", "registry://host:8970/other"),
        ("consul://host:8500?dc=west&tag=a/b", "consul://host:8500/arith?dc=west&tag=a/b"),
        ("consul://", "consul:///arith"),
        ("consul:///?dc=west", "consul:///arith?dc=west"),
        ("dns://host:8972", "dns://host:8972"),
    ],
)
def test_a_registry_without_a_service_gets_one(address: str, target: str) -> None:
    assert target_for(address, "arith") == target


def test_a_target_without_a_service_is_the_address() -> None:
    assert target_for("registry://host:8970", "") == "registry://host:8970"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("consul", "not the URL of a registry"),
        ("tcp://host:1", "no registry has the scheme 'tcp'"),
        (
            "gopher://host:1",
            "known are any, consul, deimos, dns, etcd, host, kubernetes, lan, mdns, nats, redis, rediss, registry, ",
        ),
        ("consul://me:secret@host:8500", "takes no user name"),
        ("consul://", "is not host and port"),
        ("consul://host:port", "is not host and port"),
        ("consul://a:1,b:2", "names 2 agents"),
        (
            "consul://host?color=red&moon=full",
            r"has no option color, moon \(there are allow_insecure, ca_file, cache_file, cert_file, check, dc",
        ),
        ("consul://host?dc=a&dc=b", "given 2 times"),
        ("consul://host?layout=etcd", "one of catalogue, rpcx"),
        ("consul://host?ttl=10s", "the option ttl is '10s': it must be a whole number of seconds"),
        ("consul://host:0", "is not host and port"),
        ("consul://host?ttl=1", "from 2 to 86400"),
        ("consul://host?tls=perhaps", "true or false"),
        ("consul://host?ca_file=ca.pem", r"the option ca_file has no effect without tls \(add tls=true\)"),
        ("consul://host?tls=true&ca_file=", "the option ca_file is '': it must be the path of a file"),
        (
            "consul://host?tls=true&ca_file=/nowhere/ca.pem",
            r"TLS\.ca_file is '/nowhere/ca\.pem': No such file",
        ),
        ("registry://host:1?tls=false&server_name=a", "the option server_name has no effect without tls"),
        ("registry://host:1?tls=true&key_file=a.key", r"TLS\.key_file is 'a\.key', but cert_file is None"),
        ("consul://host?layout=rpcx&base=/", "base is empty"),
        ("consul://host?networks=10.0.0.0/99", "is not a network"),
        ("registry://host", "is not host and port"),
        ("registry://host:1?ttl=0.1", "from 2 to 3600"),
        ("static://", "names no address"),
        ("static://a", "names no port"),
        ("dns://resolver.name:53", "not the IP address of a resolver"),
        ("dns://?refresh=0", "from 0.1 to 86400"),
    ],
)
def test_url_that_cannot_work_is_refused_with_its_reason(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_registry(url)


def test_secret_is_in_no_message() -> None:
    with pytest.raises(ConfigError) as caught:
        open_registry("consul://127.0.0.1:8500?token=secret&color=red")
    assert "secret" not in str(caught.value)
    with open_registry("consul://127.0.0.1:8500?token=secret") as registry:  # type: ignore[attr-defined]
        assert "secret" not in repr(registry)


def test_registry_object_is_returned_unchanged() -> None:
    registry = StaticRegistry()
    assert open_registry(registry) is registry


def test_other_objects_are_not_registries() -> None:
    with pytest.raises(ConfigError, match="is not a registry"):
        open_registry(5)


def test_missing_package_is_named_with_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for url, module, extra in (
        ("consul://host", "consul", "consul"),
        ("dns://", "dns.resolver", "dns"),
        ("nats://host", "nats.aio.client", "nats"),
        ("redis://host", "redis", "redis"),
        ("zookeeper://host", "kazoo.client", "zookeeper"),
    ):
        monkeypatch.setitem(__import__("sys").modules, module, None)
        with pytest.raises(ConfigError, match=rf"pip install 'fastrpc\[{extra}\]'"):
            open_registry(url)


class Foreign:
    """What another package brings."""

    def __init__(self, url: RegistryURL) -> None:
        self.url = url
        self.color = url.take("color", "blue", str)


def test_other_packages_bring_registries_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(**selection: Any) -> EntryPoints:
        assert selection == {"group": "fastrpc.registries"}
        return EntryPoints([EntryPoint("zoo", f"{__name__}:Foreign", "fastrpc.registries")])

    monkeypatch.setattr("importlib.metadata.entry_points", installed)
    monkeypatch.setattr(EntryPoint, "load", lambda self: Foreign)
    found: Any = open_registry("zoo://keeper:1?color=red")
    assert (found.url.place, found.color) == ("keeper:1", "red")
    assert split_target("zoo://keeper:1/arith") == ("zoo://keeper:1", "arith")


def test_places_take_the_default_port() -> None:
    assert RegistryURL("consul://a,b:1,[::1]:2").places(8500) == [("a", 8500), ("b", 1), ("::1", 2)]


def test_certificates_are_given_by_the_url_or_by_the_caller() -> None:
    mine = TLS(ca_file="mine.pem")
    assert RegistryURL("registry://host:1", mine).take_tls() is None
    assert RegistryURL("registry://host:1?tls=true", mine).take_tls() is mine
    assert RegistryURL("registry://host:1?tls=yes").take_tls() == TLS()
    theirs = RegistryURL("registry://host:1?tls=1&ca_file=theirs.pem&server_name=registry.corp", mine)
    assert theirs.take_tls() == TLS(ca_file="theirs.pem", server_name="registry.corp")
