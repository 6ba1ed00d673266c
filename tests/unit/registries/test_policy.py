"""Which addresses are dialled when a registry names them."""

import pytest

from fastrpc import Address, ConfigError
from fastrpc.registries import AddressPolicy
from fastrpc.registries.base.policy import AddressRefusedError


@pytest.mark.parametrize(
    "text",
    [
        "tcp://10.0.0.1:8972",
        "tcp://127.0.0.1:8972",
        "tcp://8.8.8.8:53",
        "tcp://[fd00::1]:8972",
        "tcp://[fd20:ce::253]:8972",
        "tcp://[fd00:42::41]:8972",
        "tcp://[fd00::5efe:a00:1]:8972",
        "tcp://[2002:a00:1::1]:8972",
        "tcp://[64:ff9b::a00:1]:8972",
        "tcp://[64:ff9b:1::a00:1]:8972",
        "tcp://[64:ff9b:1:a00:0:100::]:8972",
        "tcp://[::1]:8972",
        "tcp://[::ffff:10.0.0.1]:1",
        "tcp://arith.default.svc:8972",
        "tcp://arith-0.arith:8972",
        "tcp://my_host:1",
        "tcp://host.:1",
        "tcp://4server:1",
    ],
)
def test_honest_address_is_allowed(text: str) -> None:
    AddressPolicy().check(Address.parse(text))


@pytest.mark.parametrize(
    "text",
    [
        "unix:///var/run/docker.sock",
        "memory://inside",
        "http://10.0.0.1:80",
        "tcp://10.0.0.1:0",
        "tcp://:80",
        "tcp://10.0.0.1:80/path",
        "tcp://169.254.169.254:80",
        "tcp://169.254.1.1:80",
        "tcp://[fe80::1]:80",
        "tcp://[fe80::1%eth0]:80",
        "tcp://[::ffff:169.254.169.254]:80",
        "tcp://[64:ff9b::a9fe:a9fe]:80",
        "tcp://[2002:a9fe:a9fe::]:80",
        "tcp://[64:ff9b:1::a9fe:a9fe]:80",
        "tcp://[::ffff:0:169.254.169.254]:80",
        "tcp://[2001:0:a9fe:a9fe::1]:80",
        "tcp://[::169.254.169.254]:80",
        "tcp://[64:ff9b:1:a9fe:a9:fe00::]:80",
        "tcp://[64:ff9b:1:a9:fe:a9fe::]:80",
        "tcp://[64:ff9b:1:0:a9:fea9:fe00::]:80",
        "tcp://[2001:db8::5efe:a9fe:a9fe]:80",
        "tcp://[2001:db8::200:5efe:169.254.169.254]:80",
        "tcp://[2002:a00:1::5efe:a9fe:a9fe]:80",
        "tcp://[2002:6464:64c8::1]:80",
        "tcp://[::ffff:100.100.100.200]:80",
        "tcp://[64:ff9b::192.0.0.192]:80",
        "tcp://[fd00:ec2::254]:80",
        "tcp://[fd00:ec2::23]:80",
        "tcp://[fd00:0ec2:0::0:254]:80",
        "tcp://[fd20:ce::254]:80",
        "tcp://[fd20:00ce:0:0:0:0:0:0254]:80",
        "tcp://[FD20:CE::254]:80",
        "tcp://[fd20:ce::254%eth0]:80",
        "tcp://[fd00:c1::a9fe:a9fe]:80",
        "tcp://[fd00:42::42]:80",
        "tcp://[fd00:a9fe:a9fe::1]:80",
        "tcp://100.100.100.200:80",
        "tcp://0.0.0.0:80",
        "tcp://[::]:80",
        "tcp://224.0.0.1:80",
        "tcp://[ff02::1]:80",
        "tcp://255.255.255.255:80",
        "tcp://metadata:80",
        "tcp://metadata.google.internal:80",
        "tcp://metadata.goog:80",
        "tcp://METADATA.google.internal.:80",
        # inet_aton and with it getaddrinfo read these as 169.254.169.254.
        "tcp://2852039166:80",
        "tcp://0xa9fea9fe:80",
        "tcp://0xa9.0xfe.0xa9.0xfe:80",
        "tcp://0251.0376.0251.0376:80",
        "tcp://169.254.43518:80",
        "tcp://169.254.169.254.:80",
        "tcp://a b:80",
        "tcp://a..b:80",
        "tcp://-a:80",
        "tcp://" + "a" * 64 + ":80",
    ],
)
def test_dangerous_address_is_refused(text: str) -> None:
    with pytest.raises(AddressRefusedError):
        AddressPolicy().check(Address.parse(text))


def test_a_user_before_the_host_is_refused() -> None:
    with pytest.raises(ConfigError, match="has a user before its host"):
        Address.parse("tcp://a@b:80")
    with pytest.raises(AddressRefusedError):
        AddressPolicy().check(Address("tcp", host="a@b", port=80))


def test_only_networks_that_are_named_are_allowed() -> None:
    policy = AddressPolicy(networks=["10.0.0.0/8", "fd00::/8"])
    policy.check(Address.parse("tcp://10.1.2.3:1"))
    policy.check(Address.parse("tcp://[fd00::5]:1"))
    for text in ("tcp://11.0.0.1:1", "tcp://[2001::1]:1", "tcp://some.name:1"):
        with pytest.raises(AddressRefusedError):
            policy.check(Address.parse(text))


def test_network_does_not_open_the_metadata_service() -> None:
    with pytest.raises(AddressRefusedError):
        AddressPolicy(networks=["0.0.0.0/0"]).check(Address.parse("tcp://169.254.169.254:80"))


def test_schemes_can_be_allowed() -> None:
    AddressPolicy(schemes=["unix"]).check(Address.parse("unix:///run/a.sock"))


def test_network_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(ConfigError, match="10.0.0.0/99"):
        AddressPolicy(networks=["10.0.0.0/99"])
