"""The values of `fastrpc.limits`: accepted ones, refused ones."""

from typing import Any

import pytest

import fastrpc
from fastrpc import ConfigError
from fastrpc.auth import Identity, StaticTokens
from fastrpc.limits import Addresses, ConcurrencyLimit, ConnectionRate, RateLimit


def test_rate_limit_is_for_the_whole_server_and_all_methods_unless_it_says_otherwise() -> None:
    limit = RateLimit(10, 5)
    assert (limit.rate, limit.burst, limit.per, limit.methods) == (10, 5, "server", "**")
    assert RateLimit(rate=10, burst=5) == limit


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"rate": 0}, "RateLimit.rate is 0, it must be a number above 0"),
        ({"rate": -1}, "RateLimit.rate is -1"),
        ({"rate": float("nan")}, "RateLimit.rate is nan"),
        ({"rate": float("inf")}, "RateLimit.rate is inf"),
        ({"rate": "10"}, "RateLimit.rate is '10'"),
        ({"rate": True}, "RateLimit.rate is True"),
        ({"rate": 1e12}, "RateLimit.rate is 1000000000000.0"),
        ({"burst": 0}, "RateLimit.burst is 0, it must be a whole number from 1"),
        ({"burst": 1.5}, "RateLimit.burst is 1.5"),
        ({"rate": 1e-9, "burst": 10}, "takes 1e\\+10 s to refill"),
        ({"per": "ip"}, "RateLimit.per is 'ip', it must be one of 'server', 'service'"),
        ({"per": "metadata:"}, "RateLimit.per is 'metadata:'"),
        ({"per": "metadata:Tenant"}, "RateLimit.per is 'metadata:Tenant'"),
        ({"per": "metadata:tenant-bin"}, "RateLimit.per is 'metadata:tenant-bin'"),
        ({"per": "metadata:frpc-x"}, "RateLimit.per is 'metadata:frpc-x'"),
        ({"per": None}, "RateLimit.per is None"),
        ({"methods": "shop"}, "'shop' is not a pattern of methods"),
        ({"methods": []}, r"methods is \[\]"),
    ],
)
def test_rate_limit_refuses_wrong_arguments(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        RateLimit(**{"rate": 10, "burst": 5, **arguments})


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"limit": 0}, "ConcurrencyLimit.limit is 0, it must be a whole number from 1"),
        ({"limit": 2.5}, r"ConcurrencyLimit.limit is 2.5"),
        ({"limit": "many"}, "ConcurrencyLimit.limit is 'many'"),
        ({"per": "host"}, "ConcurrencyLimit.per is 'host'"),
        ({"methods": 7}, "methods is 7"),
    ],
)
def test_concurrency_limit_refuses_wrong_arguments(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        ConcurrencyLimit(**{"limit": 10, **arguments})


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"per": "peer"}, "ConcurrencyLimit.per is 'peer', it must be 'server' or 'method'"),
        ({"floor": 0}, "ConcurrencyLimit.floor is 0"),
        ({"floor": 30}, r"ConcurrencyLimit.initial is 20, it must be from floor \(30\) to ceiling \(1000\)"),
        ({"ceiling": 10}, "ConcurrencyLimit.initial is 20"),
        ({"initial": "20"}, "ConcurrencyLimit.initial is '20'"),
    ],
)
def test_adaptive_limit_refuses_wrong_arguments(arguments: dict[str, Any], text: str) -> None:
    assert ConcurrencyLimit("adaptive", per="method", initial=5, floor=5, ceiling=5).limit == "adaptive"
    with pytest.raises(ConfigError, match=text):
        ConcurrencyLimit("adaptive", **arguments)


@pytest.mark.parametrize("name", ["initial", "floor", "ceiling"])
def test_fixed_limit_refuses_settings_of_an_adaptive_one(name: str) -> None:
    options: dict[str, Any] = {name: 5}
    with pytest.raises(ConfigError, match=f"ConcurrencyLimit.{name} is 5, but the limit is 10"):
        ConcurrencyLimit(10, **options)


def test_per_and_methods_are_given_by_name() -> None:
    with pytest.raises(TypeError):
        RateLimit(10, 5, "peer")  # type: ignore[misc]


@pytest.mark.parametrize("per", ["identity", "metadata:tenant"])
@pytest.mark.parametrize("kind", [RateLimit, ConcurrencyLimit])
def test_keys_that_a_caller_could_choose_need_authentication(kind: Any, per: str) -> None:
    limit = kind(10, 5, per=per) if kind is RateLimit else kind(10, per=per)
    with pytest.raises(ConfigError, match=r"limits\[0\] is per=.*authenticate is not given"):
        fastrpc.Server(limits=[limit])
    with pytest.raises(ConfigError, match="authenticate is not given"):
        fastrpc.serve(limits=[limit])
    fastrpc.Server(limits=[limit], authenticate=StaticTokens({"token": Identity("ada")}))
    # The command line may give the tokens.
    assert fastrpc.App([], limits=[limit]).limits == (limit,)


def test_settings_that_are_called_limits_are_told_their_place() -> None:
    with pytest.raises(ConfigError) as caught:
        fastrpc.Server(limits=fastrpc.Limits(streams=5))  # type: ignore[arg-type]
    assert caught.value.hint == "these are settings: write config=ServerConfig(limits=…)"


@pytest.mark.parametrize("given", [RateLimit(1, 1), "limits", 7, [7], [RateLimit], None])
@pytest.mark.parametrize("make", [fastrpc.Server, fastrpc.App, fastrpc.serve])
def test_limits_are_a_list_of_limits(given: Any, make: Any) -> None:
    with pytest.raises(ConfigError, match=r"^limits"):
        make([], limits=given)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "Addresses has neither allow nor deny"),
        ({"allow": "10.0.0.0/8"}, "Addresses.allow is '10.0.0.0/8', it must be a list of networks"),
        ({"deny": [7]}, r"Addresses.deny is \[7\]"),
        ({"deny": ["proxy"]}, r"Addresses.deny is \['proxy'\], it must be networks"),
        ({"allow": ["10.0.0.1/8"]}, "has host bits set"),
        ({"allow": None}, "Addresses.allow is None"),
    ],
)
def test_addresses_refuse_wrong_arguments(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Addresses(**arguments)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"rate": 0}, "ConnectionRate.rate is 0"),
        ({"rate": "20"}, "ConnectionRate.rate is '20'"),
        ({"burst": 0}, "ConnectionRate.burst is 0"),
        ({"rate": 1e-9}, "ConnectionRate.burst is 1, which takes 1e\\+09 s to refill"),
        ({"per": "peer"}, "ConnectionRate.per is 'peer', it must be 'address' or 'server'"),
    ],
)
def test_connection_rate_refuses_wrong_arguments(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        ConnectionRate(**{"rate": 20, **arguments})


def test_limits_of_connections_are_values() -> None:
    assert Addresses(deny=["10.0.0.0/8"]) == Addresses((), ("10.0.0.0/8",))
    assert hash(Addresses(deny=["10.0.0.0/8"])) == hash(Addresses(deny=("10.0.0.0/8",)))
    assert [ConnectionRate(rate).tokens for rate in (0.1, 1, 1.5, 20)] == [1, 1, 2, 20]
    assert ConnectionRate(20, burst=3).tokens == 3
