"""The cost of values in a call: encoding, the pre-scan, decoding.

pytest bench/micro/test_codecs.py
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from fastrpc._core.payload.prescan import prescan_payload
from fastrpc.codecs.base import codec_named


class Struct(msgspec.Struct):
    """The record of workload W4."""

    id: int
    name: str
    score: float
    tags: list[str]


@dataclasses.dataclass
class Dataclass:
    """The same value, as most programs write it."""

    id: int
    name: str
    score: float
    tags: list[str]


FIELDS = {
    "id": 123456789,
    "name": "a record of eight tags",
    "score": 0.75,
    "tags": [f"tag-{n}" for n in range(8)],
}
STRUCT = Struct(**FIELDS)  # type: ignore[arg-type]
DATACLASS = Dataclass(**FIELDS)  # type: ignore[arg-type]

#: (type, value): two integers as in `mul`, W4's record, a long list of numbers, 1,000 records.
VALUES: dict[str, tuple[Any, Any]] = {
    "two-integers": (tuple[int, int], (6, 7)),
    "struct": (tuple[Struct], (STRUCT,)),
    "dataclass": (tuple[Dataclass], (DATACLASS,)),
    "plain-record": (Any, [FIELDS]),
    "64-KiB-of-bytes": (tuple[bytes], (bytes(64 * 1024),)),
    "10,000-floats": (tuple[list[float]], ([n / 7 for n in range(10_000)],)),
    "1,000-structs": (tuple[list[Struct]], ([STRUCT] * 1_000,)),
    "1,000-plain-records": (Any, [[FIELDS] * 1_000]),
}

codecs = pytest.mark.parametrize("codec_name", ["msgpack", "json"])
values = pytest.mark.parametrize(("type", "value"), list(VALUES.values()), ids=list(VALUES))


@codecs
@values
def test_encode(benchmark: BenchmarkFixture, codec_name: str, type: Any, value: Any) -> None:
    encode = codec_named(codec_name).encoder()
    benchmark.extra_info["payload_bytes"] = len(encode(value))
    benchmark(encode, value)


@codecs
@values
def test_decode(benchmark: BenchmarkFixture, codec_name: str, type: Any, value: Any) -> None:
    codec = codec_named(codec_name)
    payload = codec.encode(value)
    benchmark.extra_info["payload_bytes"] = len(payload)
    benchmark(codec.decoder(type), payload)


@codecs
@values
def test_prescan(benchmark: BenchmarkFixture, codec_name: str, type: Any, value: Any) -> None:
    # A few hundred nanoseconds of it are the call from Python, which the engine does not make.
    codec = codec_named(codec_name)
    payload = codec.encode(value)
    assert benchmark(prescan_payload, codec.wire_id, payload)[0] == "ok"


@pytest.mark.parametrize("size", [32, 64 * 1024, 1024 * 1024])
def test_raw_costs_the_same_at_any_size(benchmark: BenchmarkFixture, size: int) -> None:
    codec = codec_named("raw")
    encode, decode = codec.encoder(), codec.decoder(bytes)
    payload = bytes(size)
    assert benchmark(lambda: decode(encode(payload))) is payload


@pytest.fixture
def timestamp_message() -> Any:
    """A small message that protobuf itself brings along."""
    return pytest.importorskip("google.protobuf.timestamp_pb2").Timestamp(seconds=1_700_000_000, nanos=5)


def test_protobuf_encode(benchmark: BenchmarkFixture, timestamp_message: Any) -> None:
    encode: Callable[[Any], bytes] = codec_named("protobuf").encoder()
    assert benchmark(encode, timestamp_message)


def test_protobuf_decode(benchmark: BenchmarkFixture, timestamp_message: Any) -> None:
    codec = codec_named("protobuf")
    decode = codec.decoder(type(timestamp_message))
    assert benchmark(decode, codec.encode(timestamp_message)) == timestamp_message
