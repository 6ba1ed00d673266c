"""Calls from the command line: a registry gets the service of the method, and streams have no time limit."""

import pytest

from fastrpc.cli.calling.command import target_for, time_limit
from fastrpc.cli.calling.method_kinds import KindName, KnownMethod
from fastrpc.cli.printing import counted


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
def test_registry_without_a_service_gets_that_of_the_method(address: str, target: str) -> None:
    assert target_for(address, "arith") == target


def test_target_without_a_service_is_the_address() -> None:
    assert target_for("registry://host:8970", "") == "registry://host:8970"


@pytest.mark.parametrize("kind", KindName)
def test_only_a_method_that_streams_nothing_has_a_limit_by_default(kind: KindName) -> None:
    known = KnownMethod("feed.count", None, kind)
    assert time_limit(known, None) == (5.0 if kind is KindName.UNARY else None)
    assert time_limit(known, 0.5) == 0.5


@pytest.mark.parametrize(("count", "text"), [(0, "0 messages"), (1, "1 message"), (2_000, "2,000 messages")])
def test_a_count_has_its_noun_in_the_right_number(count: int, text: str) -> None:
    assert counted(count, "message") == text
