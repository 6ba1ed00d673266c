"""Which endpoints of EndpointSlices count, and as which addresses."""

from typing import Any

import msgspec
import pytest

from fastrpc import ConfigError
from fastrpc.bounded_http import HttpError
from fastrpc.registries.base.record import RecordError
from fastrpc.registries.kubernetes.slices import Reading, Slice, chosen, read_slice, selector_of
from tests.support.apiserver import pod, slice_of


def read(content: dict[str, Any], **options: str) -> Slice:
    return read_slice(msgspec.Raw(msgspec.json.encode(content)), Reading(**options))


def addresses(*slices: dict[str, Any], **options: str) -> list[str]:
    return [one.address for one in chosen([read(each, **options) for each in slices])]


def ports(*pairs: tuple[str, int], **more: Any) -> dict[str, Any]:
    return {"ports": [{"name": name, "port": port, "protocol": "TCP", **more} for name, port in pairs]}


@pytest.mark.parametrize(
    ("conditions", "counts"),
    [
        ({}, True),
        ({"ready": None}, True),
        ({"ready": True}, True),
        ({"ready": False}, False),
        ({"ready": False, "serving": True}, False),
        ({"ready": False, "serving": True, "terminating": True}, True),
        ({"ready": False, "serving": None, "terminating": True}, False),
        ({"ready": False, "serving": False, "terminating": True}, False),
    ],
)
def test_conditions_decide_whether_an_endpoint_counts(conditions: dict[str, Any], counts: bool) -> None:
    content = slice_of("a", "arith", {"addresses": ["10.0.0.1"], "conditions": conditions})
    assert addresses(content) == (["tcp://10.0.0.1:8972"] if counts else [])


def test_endpoint_without_conditions_counts() -> None:
    assert addresses(slice_of("a", "arith", {"addresses": ["10.0.0.1"]})) == ["tcp://10.0.0.1:8972"]


def test_terminating_endpoints_are_used_only_when_no_ready_one_remains() -> None:
    leaving = slice_of("a", "arith", pod("10.0.0.1", "1", ready=False, serving=True, terminating=True))
    ready = slice_of("b", "arith", pod("10.0.0.2", "2"))
    assert addresses(leaving, ready) == ["tcp://10.0.0.2:8972"]
    assert addresses(leaving) == ["tcp://10.0.0.1:8972"]


def test_one_address_of_a_pod_with_two_families_counts() -> None:
    four = slice_of("a", "arith", pod("10.0.0.1", "1"), pod("10.0.0.2", "2"))
    six = slice_of("b", "arith", pod("fd00::1", "1"), pod("fd00::3", "3"), addressType="IPv6")
    assert addresses(six, four) == ["tcp://10.0.0.1:8972", "tcp://[fd00::3]:8972", "tcp://10.0.0.2:8972"]
    assert addresses(four, six, family="ipv6") == [
        "tcp://[fd00::1]:8972",
        "tcp://10.0.0.2:8972",
        "tcp://[fd00::3]:8972",
    ]


def test_a_pod_in_two_slices_counts_once_as_its_ready_one() -> None:
    old = slice_of("a", "arith", pod("10.0.0.1", "1", ready=False, serving=True, terminating=True))
    new = slice_of("b", "arith", pod("10.0.0.1", "1"))
    assert addresses(old, new) == addresses(new, old) == ["tcp://10.0.0.1:8972"]


def test_endpoints_without_a_pod_differ_by_their_addresses() -> None:
    content = slice_of("a", "arith", pod("10.0.0.1"), pod("10.0.0.2"))
    assert addresses(content) == ["tcp://10.0.0.1:8972", "tcp://10.0.0.2:8972"]


@pytest.mark.parametrize(
    ("more", "options", "port"),
    [
        (ports(("", 80)), {}, 80),
        (ports(("rpc", 80), ("fastrpc", 90)), {}, 90),
        (ports(("rpc", 80), ("admin", 90)), {"port": "admin"}, 90),
        (ports(("rpc", 80), ("admin", 90)), {"port": "80"}, 80),
        ({"ports": []}, {"port": "80"}, 80),
        ({"ports": [{"name": "dns", "port": 53, "protocol": "UDP"}, {"port": 80}]}, {}, 80),
    ],
)
def test_port_is_the_wanted_one_or_ours_or_the_only_one(
    more: dict[str, Any], options: dict[str, str], port: int
) -> None:
    assert addresses(slice_of("a", "arith", pod("10.0.0.1"), **more), **options) == [f"tcp://10.0.0.1:{port}"]


@pytest.mark.parametrize(
    ("more", "options"),
    [
        (ports(("rpc", 80), ("admin", 90)), {}),
        (ports(("rpc", 80), ("admin", 90), ("more", 91)), {}),
        (ports(("rpc", 80)), {"port": "admin"}),
        (ports(("rpc", 80)), {"port": "90"}),
        ({"ports": None}, {}),
        ({"ports": [{"name": "rpc", "port": None}]}, {}),
    ],
)
def test_slice_without_a_certain_port_is_refused_with_its_reason(
    more: dict[str, Any], options: dict[str, str]
) -> None:
    found = read(slice_of("a", "arith", pod("10.0.0.1"), **more), **options)
    assert found.members == []
    assert isinstance(found.error, RecordError)
    assert "port" in str(found.error)


def test_tls_is_asked_for_by_the_protocol_of_the_port_or_the_url() -> None:
    plain = slice_of("a", "arith", pod("10.0.0.1"))
    encrypted = slice_of("a", "arith", pod("10.0.0.1"), **ports(("rpc", 80), appProtocol="fastrpc/tls"))
    assert addresses(encrypted) == ["tls://10.0.0.1:80"]
    assert addresses(encrypted, scheme="tcp") == ["tcp://10.0.0.1:80"]
    assert addresses(plain, scheme="tls") == ["tls://10.0.0.1:8972"]


def test_zone_node_and_hints_are_reported() -> None:
    hints = {"forZones": [{"name": "eu-1a"}, {"name": "eu-1b"}]}
    [found] = chosen(
        [read(slice_of("a", "arith", pod("10.0.0.1", zone="eu-1a", nodeName="node-7", hints=hints)))]
    )
    assert found.texts == {"zone": "eu-1a", "node": "node-7", "hints": "eu-1a,eu-1b"}


@pytest.mark.parametrize("more", [{"endpoints": 5}, {"endpoints": [{}]}, {"addressType": None}])
def test_slice_of_another_shape_has_its_error(more: dict[str, Any]) -> None:
    found = read(slice_of("a", "arith", **more))
    assert (found.name, found.members) == ("a", [])
    assert isinstance(found.error, RecordError)


def test_slice_without_metadata_is_no_answer() -> None:
    with pytest.raises(HttpError):
        read({"endpoints": []})


def test_services_are_named_by_labels_and_by_ports_of_ours() -> None:
    labels = {"fastrpc/shop.v1.arith": "", "fastrpc/plain": ""}
    assert read(slice_of("a", "web", labels=labels)).own_services == {"shop.v1.arith"}
    assert read(slice_of("a", "web")).own_services == set()
    assert read(slice_of("a", "web"), port="rpc").own_services == {"web"}
    assert read(slice_of("a", "web", **ports(("fastrpc", 80)))).own_services == {"web"}
    assert read(slice_of("a", "web", **ports(("x", 80), appProtocol="fastrpc/tls"))).own_services == {"web"}


def test_name_of_a_service_or_of_a_label_selects() -> None:
    assert selector_of("arith") == "kubernetes.io/service-name=arith"
    assert selector_of("shop.v1.arith") == "fastrpc/shop.v1.arith"
    assert selector_of("Arith") == "fastrpc/Arith"


@pytest.mark.parametrize("service", ["a" * 64, "arith-.", "shop:arith", "_arith"])
def test_name_that_no_label_can_have_is_refused(service: str) -> None:
    with pytest.raises(ConfigError, match="cannot be a label of Kubernetes"):
        selector_of(service)
