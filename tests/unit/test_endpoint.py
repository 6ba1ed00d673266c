"""Endpoints as values."""

import pytest

from fastrpc import ConfigError, Endpoint


def test_endpoint_tells_where_it_is_and_what_it_speaks() -> None:
    endpoint = Endpoint("tcp://h:1", zone="a", version="2", protocols=["native"], codecs=["json"])
    assert (endpoint.zone, endpoint.version, endpoint.protocols, endpoint.codecs) == (
        "a",
        "2",
        ("native",),
        ("json",),
    )
    assert "zone='a'" in repr(endpoint)
    assert "codecs=('json',)" in repr(endpoint)


@pytest.mark.parametrize(
    "other",
    [
        Endpoint("tcp://h:2"),
        Endpoint("tcp://h:1", weight=2),
        Endpoint("tcp://h:1", labels={"a": "b"}),
        Endpoint("tcp://h:1", zone="a"),
        Endpoint("tcp://h:1", version="1"),
        Endpoint("tcp://h:1", protocols=("rpcx",)),
        Endpoint("tcp://h:1", codecs=("raw",)),
    ],
)
def test_endpoints_that_differ_in_anything_are_not_equal(other: Endpoint) -> None:
    assert Endpoint("tcp://h:1") == Endpoint("tcp://h:1")
    assert Endpoint("tcp://h:1") != other


def test_what_is_not_said_does_not_show() -> None:
    assert repr(Endpoint("tcp://h:1")) == "Endpoint('tcp://h:1', weight=1, labels={})"


def test_negative_weight_is_refused() -> None:
    with pytest.raises(ConfigError, match="weight is -1"):
        Endpoint("tcp://h:1", weight=-1)
