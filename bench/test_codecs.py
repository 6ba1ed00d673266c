"""Codecs and compressors on the values of the comparison.

pytest bench/test_codecs.py
"""

from typing import Any

import msgspec
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.compare.workloads import RECORD_ID, RECORD_NAME, RECORD_SCORE, RECORD_TAGS
from fastrpc.codecs.base import codec_named
from fastrpc.compressors.base import compressor_named, compressor_numbers

#: As JSON of a web service compresses: keys repeat, values differ.
TEXT = msgspec.json.encode([{"id": number * 7919, "name": f"item {number % 97}"} for number in range(2_500)])


class Record(msgspec.Struct):
    """The comparison's typed record."""

    id: int
    name: str
    score: float
    tags: list[str]


RECORD = Record(RECORD_ID, RECORD_NAME, RECORD_SCORE, list(RECORD_TAGS))
PLAIN_RECORD = msgspec.to_builtins(RECORD)


@pytest.mark.parametrize("codec", ["msgpack", "json"])
def test_typed_record_is_encoded(benchmark: BenchmarkFixture, codec: str) -> None:
    assert benchmark(codec_named(codec).encoder(), RECORD)


@pytest.mark.parametrize("codec", ["msgpack", "json"])
@pytest.mark.parametrize(
    ("type", "expected"), [(Record, RECORD), (Any, PLAIN_RECORD)], ids=["typed", "plain"]
)
def test_record_is_decoded(benchmark: BenchmarkFixture, codec: str, type: Any, expected: object) -> None:
    chosen = codec_named(codec)
    payload = chosen.encode(RECORD if type is Record else PLAIN_RECORD)
    assert benchmark(chosen.decoder(type), payload) == expected


@pytest.mark.parametrize("compressor", [found.name for found in compressor_numbers().values()])
def test_text_is_compressed(benchmark: BenchmarkFixture, compressor: str) -> None:
    compressed = benchmark(compressor_named(compressor).compress, TEXT)
    benchmark.extra_info["ratio"] = round(len(TEXT) / len(compressed), 2)
    assert len(compressed) < len(TEXT)


@pytest.mark.parametrize("compressor", [found.name for found in compressor_numbers().values()])
def test_text_is_decompressed(benchmark: BenchmarkFixture, compressor: str) -> None:
    chosen = compressor_named(compressor)
    assert benchmark(chosen.decompress, chosen.compress(TEXT), len(TEXT)) == TEXT
