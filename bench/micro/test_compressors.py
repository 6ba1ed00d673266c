"""The cost and the savings of a compressor, by kind and size of payload.

pytest bench/micro/test_compressors.py
"""

import json
import random

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from fastrpc.compressors.base import compressor_named, compressor_numbers
from fastrpc.errors import DecodeError

KIB = 1024
MIB = 1024 * KIB


def records(size: int) -> bytes:
    """Return JSON records of a web service, seeded: keys repeat, values differ."""
    source = random.Random(7)
    rows = [
        {"id": n, "name": f"user {source.randrange(10**6)}", "score": source.random(), "active": n % 3 == 0}
        for n in range(size // 70)
    ]
    return json.dumps(rows).encode().ljust(size)[:size]


def noise(size: int) -> bytes:
    return random.Random(7).randbytes(size)


SIZES = {"1-KiB": KIB, "16-KiB": 16 * KIB, "1-MiB": MIB}
PAYLOADS = {
    **{f"records-{name}": records(size) for name, size in SIZES.items()},
    "noise-1-MiB": noise(MIB),
}

compressors = pytest.mark.parametrize(
    "name", [compressor.name for compressor in compressor_numbers().values()]
)
payloads = pytest.mark.parametrize("payload", list(PAYLOADS.values()), ids=list(PAYLOADS))


@compressors
@payloads
def test_compress(benchmark: BenchmarkFixture, name: str, payload: bytes) -> None:
    compressed = benchmark(compressor_named(name).compress, payload)
    benchmark.extra_info["ratio"] = round(len(payload) / len(compressed), 2)


@compressors
@payloads
def test_decompress(benchmark: BenchmarkFixture, name: str, payload: bytes) -> None:
    compressor = compressor_named(name)
    compressed = compressor.compress(payload)
    benchmark(compressor.decompress, compressed, len(payload))


@compressors
def test_bomb_is_refused_at_16_mebibytes(benchmark: BenchmarkFixture, name: str) -> None:
    compressor = compressor_named(name)
    bomb = compressor.compress(bytes(17 * MIB))

    def refuse() -> None:
        with pytest.raises(DecodeError):
            compressor.decompress(bomb, 16 * MIB)

    benchmark(refuse)
