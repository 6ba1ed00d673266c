"""What stands in Consul, written by anybody, and Consul's rules for blocking queries."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from fastrpc import ConfigError, Endpoint, StoreError
from fastrpc.bounded_http import HttpError
from fastrpc.registries import open_registry
from fastrpc.registries.base.record import RecordError
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.registries.consul.agent import AgentAccess, Index
from fastrpc.registries.consul.catalogue import InstanceLookup, read_instance
from fastrpc.registries.consul.rpcx import read_key


def instance(**service: Any) -> dict[str, Any]:
    """Return an element of /v1/health/service as Consul answers it."""
    base = {"ID": "arith-1", "Service": "arith", "Address": "10.0.0.1", "Port": 8972, "Meta": {}, "Tags": []}
    return {"Node": {"Address": "10.0.0.9"}, "Service": base | service, "Checks": []}


def lookup_of(answers: Iterable[list[Any]]) -> InstanceLookup:
    """Return a lookup whose agent answers with one list after the other, each of the same index."""
    texts = map(json.dumps, answers)

    def get(read: Callable[[Any], Any], path: str, params: Any) -> Any:
        assert (path, params[0]) == ("/v1/health/service/arith", ("passing", "1"))
        return read(SimpleNamespace(code=200, headers={"X-Consul-Index": "1"}, body=next(texts)))

    client = SimpleNamespace(http=SimpleNamespace(get=get))
    agent: Any = SimpleNamespace(client=client, datacenter=[], errors=contextlib.nullcontext)
    return InstanceLookup("arith", agent, ())


def test_instances_of_one_id_on_several_nodes_are_decoded_once() -> None:
    nodes = [
        instance(Address=f"10.0.0.{number}") | {"Node": {"Node": f"10.0.0.{number}"}} for number in range(4)
    ]
    lookup = lookup_of([nodes[:3], nodes])
    first, second = lookup.fetch(0.0).entries, lookup.fetch(0.0).entries
    assert [str(value.address) for _, value in second if isinstance(value, Endpoint)] == [
        f"tcp://10.0.0.{number}:8972" for number in range(4)
    ]
    assert all(before[1] is after[1] for before, after in zip(first, second, strict=False))


def test_answer_equal_to_the_last_one_is_not_decoded() -> None:
    lookup = lookup_of([[instance()], [instance()], []])
    first = lookup.fetch(0.0).entries
    assert lookup.fetch(0.0).entries is first
    assert list(lookup.fetch(0.0).entries) == []


def test_instance_of_ours_is_its_record() -> None:
    meta = {"fastrpc-record": "1", "fastrpc-scheme": "tcp", "zone": "a", "weight": "3", "group": "blue"}
    assert read_instance(instance(Meta=meta)) == (
        "arith-1",
        Endpoint("tcp://10.0.0.1:8972", weight=3, zone="a", labels={"group": "blue"}),
    )


def test_instance_of_an_earlier_version_is_read_without_its_codecs() -> None:
    meta = {"fastrpc-record": "1", "fastrpc-scheme": "tcp", "protocols": "native", "codecs": "raw,msgpack"}
    assert read_instance(instance(Meta=meta))[1] == Endpoint("tcp://10.0.0.1:8972", protocols=("native",))


def test_foreign_instance_serves_with_its_metadata_as_labels() -> None:
    found = read_instance(instance(Meta={"team": "x", "version": "2"}, Weights={"Passing": 5, "Warning": 1}))[
        1
    ]
    assert found == Endpoint("tcp://10.0.0.1:8972", weight=5, version="2", labels={"team": "x"})


def test_instance_without_an_address_is_at_its_node() -> None:
    assert read_instance(instance(Address="", Meta=None))[1] == Endpoint("tcp://10.0.0.9:8972")


def test_instance_has_an_ipv6_address() -> None:
    assert read_instance(instance(Address="fd00::1"))[1] == Endpoint("tcp://[fd00::1]:8972")


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"Service": None},
        {"Service": {"ID": "x"}},
        5,
        instance(Port="8972"),
        instance(Port=99_999),
        instance(Address=5),
        instance(Meta=["a"]),
        instance(Meta=0),
        instance(Meta=""),
        instance(Meta=False),
        instance(Address=0),
        instance(Address=None),
        instance(Address=[]),
        instance(Port=True),
        instance(Port=8972.5),
        instance(Port=None),
        instance(ID=5),
        instance(ID=None),
        instance(Weights=5),
        instance(Weights=[]),
        instance(Weights={"Passing": "5"}),
        instance(Weights={"Passing": True}),
        instance(Weights={"Passing": None}),
        instance(Address="") | {"Node": None},
        instance(Address="") | {"Node": 5},
        instance() | {"Node": []},
        [],
        None,
        "instance",
        instance(Meta={"fastrpc-record": "2"}),
        instance(Meta={"weight": "lots"}),
        instance(Meta={"a": 5}),
        instance(Address="10.0.0.1/evil"),
        instance(Weights={"Passing": -5}),
    ],
)
def test_bad_instance_is_not_an_endpoint(bad: Any) -> None:
    assert isinstance(read_instance(bad)[1], RecordError)


def pair(key: str, value: bytes | None) -> dict[str, Any]:
    return {"Key": f"rpcx/Arith/{key}", "Value": value, "Flags": 0x2DDCCBC058A50C18}


def test_key_of_go_is_an_endpoint_that_speaks_rpcx() -> None:
    found = read_key("rpcx/Arith/", pair("tcp@10.0.0.1:8972", b"calls=3.00&group=blue&weight=4"))
    assert found == (
        "tcp@10.0.0.1:8972",
        Endpoint(
            "tcp://10.0.0.1:8972", weight=4, labels={"calls": "3.00", "group": "blue"}, protocols=("rpcx",)
        ),
    )


def test_key_without_a_value_is_an_endpoint() -> None:
    found = read_key("rpcx/Arith/", pair("tcp@10.0.0.1:8972", None))
    assert found is not None
    assert found[1] == Endpoint("tcp://10.0.0.1:8972", protocols=("rpcx",))


def test_own_key_states_its_protocols() -> None:
    found = read_key("rpcx/Arith/", pair("tcp@10.0.0.1:8972", b"protocols=native%2Crpcx"))
    assert found is not None
    assert isinstance(found[1], Endpoint)
    assert found[1].protocols == ("native", "rpcx")


def test_key_of_an_earlier_version_is_read_without_its_codecs() -> None:
    found = read_key(
        "rpcx/Arith/", pair("tcp@10.0.0.1:8972", b"codecs=raw%2Cmsgpack&protocols=native%2Crpcx")
    )
    assert found is not None
    assert found[1] == Endpoint("tcp://10.0.0.1:8972", protocols=("native", "rpcx"))


@pytest.mark.parametrize(
    ("text", "weight"),
    [("0", 0), ("65535", 65_535), ("100000", 65_535), ("-5", 0), ("lots", 1), ("", 1), ("1.5", 1)],
)
def test_weight_of_go_is_taken_as_far_as_it_goes(text: str, weight: int) -> None:
    found = read_key("rpcx/Arith/", pair("tcp@10.0.0.1:8972", f"weight={text}".encode()))
    assert found is not None
    assert isinstance(found[1], Endpoint)
    assert found[1].weight == weight


def test_inactive_server_is_left_out() -> None:
    assert read_key("rpcx/Arith/", pair("tcp@10.0.0.1:8972", b"state=inactive")) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("10.0.0.1:8972", b""),
        ("tcp@10.0.0.1", b""),
        ("tcp@10.0.0.1:port", b""),
        ("tcp@10.0.0.1:1", b"\xff"),
        ("tcp@10.0.0.1:1", b"a=" + b"b" * 70_000),
        ("tcp@10.0.0.1:1", b"a=%0a"),
    ],
)
def test_bad_key_is_not_an_endpoint(key: str, value: bytes) -> None:
    found = read_key("rpcx/Arith/", pair(key, value))
    assert found is not None
    assert isinstance(found[1], RecordError)


@pytest.mark.parametrize(
    "bad",
    [
        {},
        5,
        None,
        [],
        "pair",
        {"Key": 5, "Value": b""},
        {"Key": None, "Value": b""},
        {"Key": "rpcx/Arith/tcp@h:1", "Value": 5},
        {"Key": "rpcx/Arith/tcp@h:1", "Value": {}},
    ],
)
def test_entries_without_key_and_value_are_record_errors(bad: Any) -> None:
    found = read_key("rpcx/Arith/", bad)
    assert found is not None
    assert isinstance(found[1], RecordError)


def test_error_of_the_system_is_reported_without_the_wrappers_of_the_http_client() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{closed.getsockname()[1]}"
        agent = AgentAccess(RegistryURL(f"consul://{place}")).connect()
        with pytest.raises(StoreError) as caught, agent.errors():
            agent.client.kv.get("key")
        agent.close()
    assert caught.value.message == f"Consul at {place}: Connection refused"


def test_agent_that_is_not_an_http_server_is_named_in_the_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = f"127.0.0.1:{listener.getsockname()[1]}"
        agent = AgentAccess(RegistryURL(f"consul://{place}")).connect()
        answering = threading.Thread(target=lambda: listener.accept()[0].close())
        answering.start()
        with pytest.raises(StoreError) as caught, agent.errors():
            agent.client.kv.get("key")
        answering.join()
        agent.close()
    assert caught.value.message in {
        f"Consul at {place}: {text}"
        for text in ("Remote end closed connection without response", "Connection reset by peer")
    }


def index() -> Index:
    return Index(uniform=lambda low, high: high)


def test_first_query_does_not_block_and_the_next_one_does() -> None:
    one = index()
    assert one.options(15.0) == {}
    assert one.note("7") is False
    assert one.options(15.0) == {"index": 7, "wait": "15.000s"}
    assert one.options(0.0) == {}


def test_index_that_goes_backwards_is_dropped_and_reported() -> None:
    one = index()
    one.note("7")
    assert one.note("6") is True
    assert one.options(15.0) == {}
    assert one.note("6") is False
    assert one.options(15.0)["index"] == 6


def test_index_that_goes_backwards_during_an_outage_is_reported() -> None:
    one = index()
    one.note("7")
    one.forget()
    assert one.note("6") is True
    one.forget()
    assert one.note("6") is False


@pytest.mark.parametrize("zero", ["0", "-3"])
def test_index_below_one_counts_as_one(zero: str) -> None:
    one = index()
    one.note(zero)
    assert one.options(15.0)["index"] == 1
    assert one.note(zero) is False


@pytest.mark.parametrize("text", [None, "", "abc", "1_0", " 7", "٣", "1e3", "9" * 5_000])
def test_invalid_index_is_an_error_and_the_next_query_does_not_block(text: str | None) -> None:
    one = index()
    one.note("7")
    with pytest.raises(HttpError, match="which is not an index"):
        one.note(text)
    assert one.options(15.0) == {}


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        (Endpoint("unix:///run/a.sock"), "register host and port"),
        (Endpoint("tcp://h:1", labels={"a.b": "c"}), "label 'a.b' cannot be kept"),
        (Endpoint("tcp://h:1", labels={f"l{n}": "" for n in range(63)}), "has 63 labels"),
    ],
)
def test_records_that_consul_cannot_hold_are_refused(endpoint: Endpoint, message: str) -> None:
    with open_registry("consul://127.0.0.1:1") as registry:  # type: ignore[attr-defined]
        with pytest.raises(ConfigError, match=message):
            registry.register("arith", endpoint)


@pytest.mark.parametrize("options", ["", "?layout=rpcx"])
def test_lookups_of_a_thread_share_a_connection(options: str) -> None:
    with open_registry(f"consul://127.0.0.1:1{options}") as registry:  # type: ignore[attr-defined]
        backend = registry._backend
        first = backend.open_lookup("arith")
        assert backend.open_beside("orders", first).agent is first.agent
        assert backend.open_lookup("orders").agent is not first.agent
