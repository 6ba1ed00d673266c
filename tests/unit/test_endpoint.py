"""Endpoints as values."""

import copy
import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest

from fastrpc import ConfigError, Endpoint


def test_endpoint_text_has_its_address_and_its_protocol() -> None:
    endpoint = Endpoint("tcp://h:1", zone="a", version="2", protocols=["native"])
    assert (endpoint.zone, endpoint.version, endpoint.protocols) == ("a", "2", ("native",))
    assert "zone='a'" in repr(endpoint)
    assert "protocols=('native',)" in repr(endpoint)


@pytest.mark.parametrize("scheme", ["tcp", "tls", "grpc"])
def test_the_interface_of_a_host_keeps_its_case(scheme: str) -> None:
    # Systems distinguish Lan0 and lan0.
    address = Endpoint(f"{scheme}://[FE80::1%Lan0]:8972").address
    assert str(address) == f"{scheme}://[fe80::1%Lan0]:8972"
    assert Endpoint(f"{scheme}://Shop.Example:1").address.host == "shop.example"


@pytest.mark.parametrize(
    "other",
    [
        Endpoint("tcp://h:2"),
        Endpoint("tcp://h:1", weight=2),
        Endpoint("tcp://h:1", labels={"a": "b"}),
        Endpoint("tcp://h:1", zone="a"),
        Endpoint("tcp://h:1", version="1"),
        Endpoint("tcp://h:1", protocols=("rpcx",)),
    ],
)
def test_endpoints_that_differ_in_anything_are_not_equal(other: Endpoint) -> None:
    assert Endpoint("tcp://h:1") == Endpoint("tcp://h:1")
    assert Endpoint("tcp://h:1") != other


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))]
)
def test_an_endpoint_can_be_copied_and_pickled(duplicate: Callable[[Endpoint], Endpoint]) -> None:
    given = Endpoint(
        "tcp://h:1", weight=0, labels={"a": "b"}, zone="a", version="2", protocols=["native", "rpcx"]
    )
    assert duplicate(given) == given
    assert duplicate(Endpoint("tcp://h:1")) == Endpoint("tcp://h:1")


def test_repr_omits_zone_and_version_that_are_not_set() -> None:
    assert repr(Endpoint("tcp://h:1")) == "Endpoint('tcp://h:1', weight=1, labels={})"


def test_negative_weight_is_refused() -> None:
    with pytest.raises(ConfigError, match="weight is -1"):
        Endpoint("tcp://h:1", weight=-1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"labels": {"tier": 1}}, "the label 'tier' is 1, both must be text"),
        ({"labels": {1: "fast"}}, "the label 1 is 'fast', both must be text"),
        ({"labels": {"tier": b"fast"}}, "the label 'tier' is b'fast', both must be text"),
        ({"labels": [("tier", "fast")]}, "it must be a mapping of texts"),
        ({"zone": 3}, "zone is 3, it must be text"),
        ({"version": 2}, "version is 2, it must be text"),
        ({"protocols": "native"}, "protocols is 'native', it must be a list of texts"),
        ({"protocols": [1]}, "protocols is [1], it must be a list of texts"),
    ],
)
def test_values_that_no_record_can_hold_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        Endpoint("tcp://h:1", **values)
