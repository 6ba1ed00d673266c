"""Targets of channels."""

from pathlib import Path

import pytest

from fastrpc import ConfigError, ConnectError, Endpoint
from fastrpc.endpoint import Address
from fastrpc.grpc.targets import PickFirst, target_of


@pytest.mark.parametrize(
    ("target", "address"),
    [
        ("orders:50051", "tcp://orders:50051"),
        ("127.0.0.1:50051", "tcp://127.0.0.1:50051"),
        ("[::1]:50051", "tcp://[::1]:50051"),
        ("orders", "tcp://orders:443"),
        ("[::1]", "tcp://[::1]:443"),
        ("dns:///orders:50051", "tcp://orders:50051"),
        ("dns:orders:50051", "tcp://orders:50051"),
        ("ipv4:127.0.0.1:50051", "tcp://127.0.0.1:50051"),
        ("ipv6:[::1]:50051", "tcp://[::1]:50051"),
        ("unix:/run/orders.sock", "unix:///run/orders.sock"),
        ("unix:///run/orders.sock", "unix:///run/orders.sock"),
        ("unix:orders.sock", f"unix://{Path('orders.sock').absolute()}"),
    ],
)
def test_a_target_is_an_address(target: str, address: str) -> None:
    found = target_of(target, is_encrypted=False, policy="pick_first")
    assert (found.target, found.selector) == (address, None)


def test_an_encrypted_target_is_dialled_by_tls() -> None:
    assert target_of("orders:443", is_encrypted=True, policy="pick_first").target == "tls://orders:443"


def test_several_addresses_have_a_selector() -> None:
    found = target_of("ipv4:10.0.0.1:1,10.0.0.2:2", is_encrypted=False, policy="pick_first")
    assert found.target == ["tcp://10.0.0.1:1", "tcp://10.0.0.2:2"]
    assert isinstance(found.selector, PickFirst)
    found = target_of("ipv4:10.0.0.1:1,10.0.0.2:2", is_encrypted=False, policy="round_robin")
    assert found.selector == "round_robin"


def test_addresses_of_a_name_are_taken_by_turns_by_round_robin() -> None:
    found = target_of("dns:///orders:50051", is_encrypted=False, policy="round_robin")
    assert (found.target, found.selector) == ("dns:///orders:50051", "round_robin")
    found = target_of("dns://10.0.0.2:53/orders:50051", is_encrypted=False, policy="pick_first")
    assert found.target == "dns://10.0.0.2:53/orders:50051"


@pytest.mark.parametrize(
    "target",
    ["", "xds:///orders", "unix-abstract:orders", "orders:http", "http://orders:80", "ipv4:10.0.0.1:x"],
)
def test_another_target_is_refused(target: str) -> None:
    with pytest.raises(ConfigError, match=r"is not a target that a channel can dial .*dns:///host:port"):
        target_of(target, is_encrypted=False, policy="pick_first")


def test_round_robin_over_encrypted_addresses_of_a_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="works only without encryption"):
        target_of("dns:///orders:443", is_encrypted=True, policy="round_robin")


class TestPickFirst:
    one, two, three = (Endpoint(Address.parse(f"tcp://10.0.0.{number}:1")) for number in (1, 2, 3))

    def test_pick_first_stays_with_the_first_address_until_that_fails(self) -> None:
        chosen = PickFirst()
        chosen.update([self.one, self.two, self.three])
        assert [chosen.pick(None), chosen.pick(None)] == [self.one, self.one]
        chosen.observe(self.one, 0.1, None)
        chosen.observe(self.one, 0.1, KeyError("its own"))
        assert chosen.pick(None) is self.one
        chosen.observe(self.one, 0.1, ConnectError("gone"))
        assert [chosen.pick(None), chosen.pick(None)] == [self.two, self.two]
        chosen.observe(self.two, 0.1, ConnectError("gone"))
        chosen.observe(self.three, 0.1, None)
        assert chosen.pick(None) is self.three

    def test_an_endpoint_that_left_is_forgotten(self) -> None:
        chosen = PickFirst()
        chosen.update([self.one, self.two])
        chosen.observe(self.one, 0.1, ConnectError("gone"))
        chosen.update([self.two, self.three])
        assert chosen.pick(None) is self.two
