"""The record of rpcx, as every store has it."""

import pytest

from fastrpc import ConfigError, Endpoint
from fastrpc.registries.base.rpcx_record import RpcxRecord, base_path, read_rpcx_record

FULL = Endpoint(
    "tcp://[fd00::1]:8972",
    weight=4,
    zone="eu-1a",
    version="1.4",
    labels={"group": "blue,green", "rack": "7 ü&="},
    protocols=("native", "rpcx"),
)


def test_record_is_read_as_it_was_written() -> None:
    record = RpcxRecord(FULL)
    assert read_rpcx_record(record.key, record.value()) == (record.key, FULL)


def test_groups_are_separate_values_as_in_go() -> None:
    value = RpcxRecord(Endpoint("tcp://h:1", labels={"group": "blue,green"})).value()
    assert value == b"group=blue&group=green"


def test_groups_of_go_are_one_label() -> None:
    found = read_rpcx_record("tcp@h:1", b"group=blue&weight=2&group=green")
    assert found == (
        "tcp@h:1",
        Endpoint("tcp://h:1", weight=2, labels={"group": "blue,green"}, protocols=("rpcx",)),
    )


def test_server_that_is_out_by_its_label_is_left_out_and_marked_once() -> None:
    record = RpcxRecord(Endpoint("tcp://h:1", weight=0, labels={"state": "inactive"}))
    assert record.value() == record.value(is_inactive=True) == b"state=inactive&weight=0"
    assert read_rpcx_record(record.key, record.value()) is None


def test_inactive_server_is_left_out() -> None:
    record = RpcxRecord(FULL)
    assert b"state=inactive" in record.value(is_inactive=True)
    assert read_rpcx_record(record.key, record.value(is_inactive=True)) is None


@pytest.mark.parametrize("address", ["unix:///run/a.sock", "memory://a", "tcp://h:0"])
def test_address_without_host_or_port_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="register host and port"):
        RpcxRecord(Endpoint(address))


@pytest.mark.parametrize(
    ("base", "kept"), [("rpcx", "rpcx"), ("/rpcx/", "rpcx"), ("com/example", "com/example")]
)
def test_base_has_no_slash_at_its_ends(base: str, kept: str) -> None:
    assert base_path(base) == kept


def test_empty_base_is_refused() -> None:
    with pytest.raises(ConfigError, match="the option base is empty"):
        base_path("/")
