"""Any payload survives its compressor; any damage to any bytes is found."""

from importlib.util import find_spec
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fastrpc.compressors.base import (
    Compressor,
    compress_if_smaller,
    compressor_named,
    decompress_steps,
    run_steps,
)
from fastrpc.errors import DecodeError

NAMES = ["gzip", *["lz4"] * (find_spec("lz4") is not None), "zstd", "deflate"]
compressors = st.sampled_from(NAMES).map(compressor_named)
#: Random, repeated, and both alternately, so that frames hold stored and compressed blocks.
payloads = st.lists(
    st.binary(max_size=200)
    | st.tuples(st.binary(max_size=8), st.integers(0, 20_000)).map(lambda pair: pair[0] * pair[1])
).map(b"".join)


def decompressed(compressor: Compressor, payload: bytes, limit: int) -> bytes | None:
    try:
        return compressor.decompress(payload, limit)
    except DecodeError:
        return None


@given(compressors, payloads)
def test_payload_survives(compressor: Compressor, payload: bytes) -> None:
    compressed = compressor.compress(payload)
    assert compressor.decompress(compressed, len(payload)) == payload
    assert run_steps(decompress_steps(compressor, compressed, len(payload))) == payload


@given(compressors, payloads)
def test_compression_never_makes_a_payload_larger(compressor: Compressor, payload: bytes) -> None:
    compressed = compress_if_smaller(payload, compressor)
    if compressed is not None:
        assert len(compressed) < len(payload)
        assert compressor.decompress(compressed, len(payload)) == payload


@given(compressors, payloads.filter(bool), st.data())
def test_output_beyond_the_limit_is_refused(
    compressor: Compressor, payload: bytes, data: st.DataObject
) -> None:
    limit = data.draw(st.integers(0, len(payload) - 1))
    assert decompressed(compressor, compressor.compress(payload), limit) is None


@given(compressors, payloads, st.data())
def test_cut_payload_is_refused(compressor: Compressor, payload: bytes, data: st.DataObject) -> None:
    compressed = compressor.compress(payload)
    cut = compressed[: data.draw(st.integers(0, len(compressed) - 1))]
    assert decompressed(compressor, cut, len(payload)) is None


@given(compressors, payloads, st.binary(min_size=1))
def test_bytes_after_the_frame_are_refused(compressor: Compressor, payload: bytes, tail: bytes) -> None:
    assert decompressed(compressor, compressor.compress(payload) + tail, len(payload)) is None


@given(compressors, payloads, st.data())
def test_damaged_payload_gives_the_original_or_an_error(
    compressor: Compressor, payload: bytes, data: st.DataObject
) -> None:
    damaged = bytearray(compressor.compress(payload))
    place = data.draw(st.integers(0, len(damaged) - 1))
    damaged[place] ^= data.draw(st.integers(1, 255))
    # Some header bytes, such as gzip's time, say nothing about the content.
    assert decompressed(compressor, bytes(damaged), len(payload) + 1000) in (None, payload)


@given(compressors, st.binary(max_size=2000), st.sampled_from([bytes, bytearray, memoryview]))
def test_any_bytes_give_bytes_or_a_decode_error(compressor: Compressor, payload: bytes, buffer: Any) -> None:
    starts = {
        "gzip": b"\x1f\x8b\x08\x00",
        "lz4": b"\x04\x22\x4d\x18",
        "zstd": b"\x28\xb5\x2f\xfd",
        "deflate": b"\x78\x01",
    }
    for endpoint_state in (payload, starts[compressor.name] + payload):
        restored = decompressed(compressor, buffer(endpoint_state), 4096)
        assert restored is None or len(restored) <= 4096
