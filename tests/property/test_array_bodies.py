"""The bodies of arrays are read and written as the reference does, which knows PROTOCOL.md and no numpy."""

from typing import Any

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fastrpc.types.arrays import aligned_encoder, array_in
from fastrpc.types.base import encode_value
from tests.support.golden import ARRAY
from tests.support.wire_arrays import WireArray, packed_array, read_array, write_array

DTYPES = ["|b1", "|i1", "|u1", "<i2", "<u4", "<i8", "<f2", "<f4", "<f8", "<c8", "<c16", "|S3", "<U2"]
DTYPES += ["<M8[ns]", "<m8[25s]", "<M8"]


@st.composite
def arrays(draw: st.DrawFn) -> Any:
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=4)))
    count = int(np.prod(shape, dtype=int))
    top = 2 if dtype.kind == "b" else 0x80 if dtype.kind == "U" else 256
    data = draw(st.lists(st.integers(0, top - 1), min_size=count, max_size=count))
    step = 4 if dtype.kind == "U" else 1
    raw = b"".join(bytes([number, *bytes(step - 1)]) * (dtype.itemsize // step) for number in data)
    array = np.frombuffer(raw, dtype).reshape(shape)
    return array.T if draw(st.booleans()) else array


def packed(array: Any) -> bytes:
    """Return the body that is sent where the place of the array is not known."""
    extension = encode_value("msgpack", array)
    assert extension.code == 1
    return bytes(extension.data)


@given(arrays())
def test_the_reference_reads_our_frames(array: Any) -> None:
    expected = WireArray(array.dtype.str, array.shape, array.tobytes())
    assert read_array(packed(array)) == expected
    for value in (array, [array, b"x" * 7, array], {"a": array}):
        payload = aligned_encoder()(value)
        found: list[tuple[int, int]] = []

        def note(code: int, data: memoryview, found: list[Any] = found) -> None:
            assert code == 1
            assert read_array(bytes(data)) == expected
            found.append((code, len(data)))

        msgspec.msgpack.decode(payload, ext_hook=note)
        assert found
        assert payload.find(array.tobytes()) >= 0
        assert array.nbytes < 16 or any(
            payload[at : at + array.nbytes] == array.tobytes() for at in range(0, len(payload), 16)
        )


@given(arrays(), st.integers(0, 15))
def test_our_reader_reads_frames_of_the_reference(array: Any, zeros: int) -> None:
    body = write_array(WireArray(array.dtype.str, array.shape, array.tobytes()), zeros)
    received = array_in(memoryview(body))
    assert (received.dtype, received.shape, received.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert received.flags.aligned
    assert not received.flags.writeable


@given(arrays(), st.data())
def test_changed_bodies_are_refused_where_the_reference_refuses_them(array: Any, data: st.DataObject) -> None:
    body = bytearray(packed(array))
    for _ in range(data.draw(st.integers(0, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(body[: data.draw(st.integers(0, len(body)))]) if data.draw(st.booleans()) else bytes(body)
    check_alike(cut)


@given(st.binary(max_size=80))
def test_any_bytes_are_refused_where_the_reference_refuses_them(body: bytes) -> None:
    check_alike(body)


def test_an_array_among_arguments_has_the_golden_bytes() -> None:
    payload = aligned_encoder()((np.array([1.0, 2.0]),))
    assert payload == b"\x91" + packed_array(ARRAY, before=1)
    assert payload.index(ARRAY.values) == 32


def check_alike(body: bytes) -> None:
    expected = read_array(body)
    try:
        received = array_in(memoryview(body))
    except ValueError:
        # numpy has limits of its own for numbers in a dtype: of a unit, and of the bytes of one text.
        assert expected is None or len(expected.dtype) > 9
    else:
        assert expected is not None
        assert (received.shape, received.tobytes()) == (expected.shape, expected.values)
