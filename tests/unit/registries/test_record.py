"""Records, which other programs write."""

import json
from typing import Any

import pytest

from fastrpc import ConfigError, Endpoint
from fastrpc.registries.base.record import (
    RECORD_BYTES,
    RecordError,
    decode_record,
    encode_record,
    read_texts,
    to_texts,
)

FULL = Endpoint(
    "tcp://[fd00::1]:8972",
    weight=7,
    labels={"group": "blue", "ü": "ö"},
    zone="eu-1a",
    version="1.4",
    protocols=("native", "rpcx"),
)
PLAIN = Endpoint("tcp://10.0.0.1:1")


def record(**changes: Any) -> str:
    return json.dumps({"v": 1, "address": "tcp://10.0.0.1:1"} | changes)


@pytest.mark.parametrize("endpoint", [FULL, PLAIN, Endpoint("unix:///run/a.sock", weight=0)])
def test_record_gives_the_endpoint_back(endpoint: Endpoint) -> None:
    assert decode_record(encode_record(endpoint)) == endpoint


@pytest.mark.parametrize("endpoint", [FULL, PLAIN])
def test_flat_table_gives_the_endpoint_back(endpoint: Endpoint) -> None:
    assert read_texts(str(endpoint.address), to_texts(endpoint)) == endpoint


def test_record_equals_the_documented_one() -> None:
    assert json.loads(encode_record(PLAIN)) == {"v": 1, "address": "tcp://10.0.0.1:1"}
    assert json.loads(encode_record(FULL)) == {
        "v": 1,
        "address": "tcp://[fd00::1]:8972",
        "weight": 7,
        "zone": "eu-1a",
        "version": "1.4",
        "labels": {"group": "blue", "ü": "ö"},
        "protocols": ["native", "rpcx"],
    }


def test_keys_of_later_days_are_ignored() -> None:
    assert decode_record(record(moon="full")) == PLAIN


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "does not fit"),
        ("[]", "does not fit"),
        ("{}", "missing required field `v`"),
        (record(v=2), "format 2, the supported format is 1"),
        (record(v="1"), "does not fit"),
        (record(address="10.0.0.1:1"), "is not an address"),
        (record(address="tcp://10.0.0.1"), "names no port"),
        (record(address="tcp://10.0.0.1:99999"), "has port"),
        (record(address=5), "does not fit"),
        (record(weight=-1), "does not fit"),
        (record(weight=65_536), "does not fit"),
        (record(weight=1.5), "does not fit"),
        (record(weight="1"), "does not fit"),
        (record(zone=None), "does not fit"),
        (record(zone="a" * 129), "does not fit"),
        (record(zone="a\nb"), "cannot be printed"),
        (record(version="\x1b[31m"), "cannot be printed"),
        (record(labels={"a": 1}), "does not fit"),
        (record(labels={"a": "b" * 513}), "does not fit"),
        (record(labels={"a\r": "b"}), "cannot be printed"),
        (record(labels={str(n): "" for n in range(65)}), "does not fit"),
        (record(protocols="native"), "does not fit"),
        (record(protocols=[1]), "does not fit"),
        (record(protocols=["a"] * 33), "does not fit"),
        (b"\xff\xfe", "does not fit"),
        (record() + " " * RECORD_BYTES, "the limit is"),
        ('{"v":1,"x":' + "[" * 30_000, "does not fit"),
    ],
)
def test_bad_record_is_refused_with_its_reason(data: str | bytes, reason: str) -> None:
    with pytest.raises(RecordError, match=reason):
        decode_record(data)


@pytest.mark.parametrize(
    ("address", "texts"),
    [
        ("tcp://h:1", {"weight": "many"}),
        ("tcp://h:1", {"weight": "-1"}),
        ("tcp://h:1", {"zone": 5}),
        ("tcp://h:1", {"protocols": 5}),
        ("tcp://h:1", {"group": None}),
        ("tcp://h:1", {3: "x"}),
        ("tcp://h:1", {"group": "a\x00"}),
        ("h:1", {}),
        ("tcp://h:port", {}),
    ],
)
def test_bad_table_is_refused(address: str, texts: dict[Any, Any]) -> None:
    with pytest.raises(RecordError):
        read_texts(address, texts)


def test_weight_of_a_table_may_be_a_text_or_a_number() -> None:
    assert read_texts("tcp://h:1", {"weight": "3"}) == read_texts("tcp://h:1", {"weight": 3})


@pytest.mark.parametrize(
    "endpoint",
    [
        Endpoint("tcp://h:1", weight=65_536),
        Endpoint("tcp://h:1", zone="a" * 129),
        Endpoint("tcp://h:1", labels={"a": "b\n"}),
        Endpoint("tcp://h:1", labels={str(n): "" for n in range(65)}),
    ],
)
def test_records_that_no_reader_would_accept_are_refused(endpoint: Endpoint) -> None:
    with pytest.raises(ConfigError, match="cannot be registered"):
        encode_record(endpoint)
    with pytest.raises(ConfigError, match="cannot be registered"):
        to_texts(endpoint)


def test_label_cannot_take_the_place_of_another_part_of_a_table() -> None:
    for name in ("weight", "codecs"):
        with pytest.raises(ConfigError, match=f"label '{name}'"):
            to_texts(Endpoint("tcp://h:1", labels={name: "5"}))


@pytest.mark.parametrize("codecs", [["msgpack", "json"], [], None, [1], "a" * 1_000])
def test_record_of_an_earlier_version_is_read_without_its_codecs(codecs: Any) -> None:
    assert decode_record(record(codecs=codecs, zone="a")) == Endpoint("tcp://10.0.0.1:1", zone="a")


@pytest.mark.parametrize("codecs", ["msgpack,json", "", None, "\x00"])
def test_flat_table_of_an_earlier_version_is_read_without_its_codecs(codecs: Any) -> None:
    texts = {"codecs": codecs, "protocols": "native,rpcx", "group": "blue"}
    assert read_texts("tcp://h:1", texts) == Endpoint(
        "tcp://h:1", protocols=("native", "rpcx"), labels={"group": "blue"}
    )
