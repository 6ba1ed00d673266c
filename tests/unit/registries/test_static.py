"""Lists that the program gives."""

import pytest

from fastrpc import Address, ConfigError, Endpoint
from fastrpc.registries import StaticRegistry


def ports(registry: StaticRegistry, service: str) -> list[int]:
    latest = registry.watch(service).latest
    assert latest is not None
    return [endpoint.address.port for endpoint in latest.endpoints]


def test_one_list_serves_every_service() -> None:
    registry = StaticRegistry(["tcp://h:2", Endpoint("tcp://h:1", weight=2), "tcp://h:2"])
    assert ports(registry, "arith") == ports(registry, "users") == [1, 2]


def test_services_may_have_their_own_lists() -> None:
    registry = StaticRegistry({"arith": ["tcp://h:1"], "users": []})
    assert ports(registry, "arith") == [1]
    assert ports(registry, "users") == ports(registry, "other") == []


def test_update_is_seen_by_watches() -> None:
    registry = StaticRegistry()
    with registry.watch("arith") as watch:
        registry.update("arith", ["tcp://h:5"])
        found = watch.wait(0)
    assert found is not None
    assert found.version == 2
    assert [str(endpoint) for endpoint in found.endpoints] == ["tcp://h:5"]


async def test_registration_lasts_as_long_as_its_block() -> None:
    registry = StaticRegistry(["tcp://h:1"])
    async with registry.register("arith", Endpoint("tcp://h:2")):
        assert ports(registry, "arith") == [1, 2]
        assert ports(registry, "users") == [1]
    assert ports(registry, "arith") == [1]


@pytest.mark.parametrize("leaves_first", [0, 1])
def test_endpoint_registered_twice_is_listed_until_both_left(leaves_first: int) -> None:
    registry, endpoint = StaticRegistry(), Endpoint("tcp://h:2")
    both = [registry.register("arith", endpoint) for _ in range(2)]
    for one in both:
        one.__enter__()
    both.pop(leaves_first).__exit__(None, None, None)
    assert ports(registry, "arith") == [2]
    both.pop().__exit__(None, None, None)
    assert ports(registry, "arith") == []


async def test_closing_ends_watches() -> None:
    registry = StaticRegistry(["tcp://h:1"])
    watch = registry.watch("arith")
    await anext(watch)
    await registry.aclose()
    assert [snapshot async for snapshot in watch] == []
    with pytest.raises(RuntimeError, match="closed"):
        registry.watch("arith")


@pytest.mark.parametrize("endpoints", ["tcp://h:1", ["h:1"], {"bad name": []}])
def test_other_values_than_lists_of_addresses_are_refused(endpoints: object) -> None:
    with pytest.raises(ConfigError):
        StaticRegistry(endpoints)


def test_an_address_is_removed_from_the_list_of_its_service_only() -> None:
    registry = StaticRegistry(["tcp://h:1", Endpoint("tcp://h:2", weight=3)])
    assert registry.remove("arith", "tcp://h:2")
    assert not registry.remove("arith", Address.parse("tcp://h:2"))
    assert ports(registry, "arith") == [1]
    assert ports(registry, "users") == [1, 2]


def test_an_endpoint_is_removed_by_its_object() -> None:
    listed, equal = Endpoint("tcp://h:1"), Endpoint("tcp://h:1")
    registry = StaticRegistry({"arith": [listed]})
    assert not registry.remove("arith", equal)
    assert registry.remove("arith", listed)
    assert ports(registry, "arith") == []


def test_names_that_were_watched_leave_nothing() -> None:
    registry = StaticRegistry()
    watches = [registry.watch(f"service-{number}") for number in range(100)]
    kept = registry.watch("service-0")
    for watch in watches:
        watch.close()
    assert len(registry._channels) == 1
    registry.update("service-0", ["tcp://h:1"])
    assert kept.latest is not None
    assert len(kept.latest.endpoints) == 1
    kept.close()
    assert registry._channels == {}
