"""numpy arrays arrive unchanged, as read-only views of their message; other values are refused."""

import gc
import struct
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

import fastrpc
from fastrpc import CallError, Client, DecodeError, EncodeError, ServerConfig, Status, SyncClient
from fastrpc.rpc.marking import method
from fastrpc.rpc.marshals import check_service
from fastrpc.rpc.service import service, service_definition
from fastrpc.testing import connected, serving
from tests.support.served import SCHEMES, served

pytestmark = pytest.mark.one_loop

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


@dataclass
class Image:
    name: str
    pixels: Array
    mask: npt.NDArray[np.bool_] | None = None


class Frame(msgspec.Struct):
    images: dict[str, Image]
    history: deque[Floats] = msgspec.field(default_factory=deque)


@fastrpc.service("arrays")
class Arrays:
    def __init__(self) -> None:
        self.got: Any = None

    @fastrpc.method
    async def echo(self, array: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        self.got = array
        return array

    @fastrpc.method
    def twice(self, array: Floats) -> Floats:
        return array * 2

    @fastrpc.method
    async def table(self, array: np.ndarray[tuple[int, Literal[3]], np.dtype[np.integer[Any]]]) -> int:
        return int(array.sum())

    @fastrpc.method
    async def optional(self, array: Floats | None = None) -> Floats | None:
        return array

    @fastrpc.method
    async def frame(self, frame: Frame) -> Frame:
        self.got = frame
        return frame

    @fastrpc.method
    async def plain(self, value, array: Floats | None = None):  # type: ignore[no-untyped-def]
        self.got = value
        return value

    @fastrpc.method
    async def untyped(self, value):  # type: ignore[no-untyped-def]
        self.got = value
        return value

    @fastrpc.method
    async def odd(self) -> np.ndarray:  # type: ignore[type-arg]
        return np.array([object()])

    @fastrpc.method
    async def mean(self, array: Floats) -> float:
        return array.mean()


SAMPLES = [
    np.arange(6.0).reshape(2, 3),
    np.array(3.5),
    np.zeros((0, 3)),
    np.zeros(0),
    np.array([True, False]),
    np.array([[1, 2]], np.uint8),
    np.array([-1], np.int16),
    np.array([1.5, np.nan, np.inf], np.float16),
    np.array([1 + 2j], np.complex64),
    np.array(["a", "bcd", "ü🎉"]),
    np.array([b"a", b"bcd"]),
    np.array(["2020-01-01", "NaT"], "datetime64[s]"),
    np.array([5], "timedelta64[25ms]"),
    np.zeros((1,) * 32, np.int8),
    np.arange(10, dtype=">f8"),
    np.array(["a", "bcd"], ">U3"),
    np.arange(24).reshape(2, 3, 4).T,
    np.arange(100.0)[::-3],
    np.broadcast_to(np.float32(2), (3, 4)),
    np.asfortranarray(np.arange(6).reshape(2, 3)),
]


@pytest.mark.parametrize("array", SAMPLES, ids=lambda array: f"{array.dtype}{array.shape}"[:30])
async def test_an_array_returns_unchanged(array: Array) -> None:
    async with connected(Arrays) as client:
        answer = await client.call(Arrays.echo, array)
    np.testing.assert_array_equal(answer, array)
    assert answer.shape == array.shape
    assert answer.dtype == array.dtype.newbyteorder("<")
    assert answer.flags.c_contiguous


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("count", [1, 1_000, 1 << 17])
async def test_an_array_is_a_view_of_its_message(scheme: str, count: int) -> None:
    arrays = Arrays()
    array = np.arange(float(count))
    async with served(arrays, scheme=scheme) as address, Client(address) as client:
        answer = await client.call(Arrays.echo, array)
    for received in (answer, arrays.got):
        np.testing.assert_array_equal(received, array)
        assert not received.flags.owndata
        assert received.flags.aligned
        assert not received.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            received[0] = 1
        with pytest.raises(ValueError, match="cannot set WRITEABLE flag"):
            received.flags.writeable = True


async def test_a_mapped_file_is_sent_as_an_array(tmp_path: Path) -> None:
    mapped = np.memmap(tmp_path / "values", np.float64, "w+", shape=(3,))
    mapped[:] = [1, 2, 3]
    async with connected(Arrays) as client:
        answer = await client.call(Arrays.twice, mapped)
    np.testing.assert_array_equal(answer, [2, 4, 6])


async def test_an_array_outlives_client_and_server() -> None:
    async with connected(Arrays) as client:
        answers = [await client.call(Arrays.echo, np.full(1000, float(n))) for n in range(100)]
    gc.collect()
    assert [answer[-1] for answer in answers] == [float(n) for n in range(100)]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("compressor", [None, "gzip"])
async def test_arrays_that_are_kept_stay_as_they_were(scheme: str, compressor: str | None) -> None:
    kept: list[tuple[int, Array]] = []

    @fastrpc.service("keeper")
    class Keeper:
        @fastrpc.method
        async def keep(self, number: int, array: Floats) -> Floats:
            kept.append((number, array))
            return array

    async with served(Keeper, scheme=scheme) as address, Client(address) as plain:
        client = plain.with_options(compressor=compressor)
        for size in (3, 700, 9_000, 60_000):
            arguments = [(number, np.full(size, float(number))) for number in range(10)]
            answers = await client.call_many(Keeper.keep, arguments)
            kept += zip(range(10), answers, strict=True)
    gc.collect()
    assert len(kept) == 80
    for number, array in kept:
        assert not array.flags.owndata
        np.testing.assert_array_equal(array, float(number))


async def test_arrays_inside_other_values_come_back() -> None:
    frame = Frame(
        {"a": Image("a", np.arange(5, dtype=np.uint16), np.array([True]))},
        deque([np.arange(3.0), np.arange(4.0)]),
    )
    arrays = Arrays()
    async with connected(arrays) as client:
        answer = await client.call(Arrays.frame, frame)
    for received in (answer, arrays.got):
        np.testing.assert_array_equal(received.images["a"].pixels, frame.images["a"].pixels)
        np.testing.assert_array_equal(received.images["a"].mask, [True])
        np.testing.assert_array_equal(received.history[1], np.arange(4.0))
        places = [received.images["a"].pixels, *received.history]
        assert [place.flags.owndata for place in places] == [False] * 3


async def test_the_verbs_of_a_client_carry_arrays() -> None:
    async with connected(Arrays) as client:
        assert await client.call(Arrays.optional) is None
        np.testing.assert_array_equal(await client.call(Arrays.optional, array=np.ones(3)), np.ones(3))
        answers = await client.call_many(Arrays.twice, [(np.full(2, n),) for n in (1.0, 2.0)])
        np.testing.assert_array_equal(answers, [[2, 2], [4, 4]])
        await client.notify(Arrays.echo, np.ones(3))
        extension = await client.call("arrays.twice", np.ones(3))
        assert isinstance(extension, msgspec.msgpack.Ext)
        assert await client.call(Arrays.mean, np.array([1.0, 2.0])) == 1.5


def test_a_blocking_client_carries_arrays() -> None:
    with serving(Arrays) as address, SyncClient(address) as client:
        answer = client.call(Arrays.twice, np.arange(1000.0))
        np.testing.assert_array_equal(answer, np.arange(1000.0) * 2)
        assert not answer.flags.owndata
        with pytest.raises(CallError, match="array: expected an array of float64, got one of int64"):
            client.call(Arrays.twice, np.arange(3))  # type: ignore[arg-type]


async def test_a_value_without_annotation_stays_an_extension() -> None:
    arrays = Arrays()
    async with connected(arrays) as client:
        for call in (Arrays.untyped, Arrays.plain, "arrays.untyped", "arrays.plain"):
            answer = await client.call(call, np.ones(3))  # type: ignore[call-overload]
            assert isinstance(arrays.got, msgspec.msgpack.Ext)
            assert arrays.got.code == answer.code == 1
        other = msgspec.msgpack.Ext(5, b"abc")
        assert await client.call(Arrays.plain, other, np.ones(1)) == other
        assert type(arrays.got.data) is bytes


async def test_scalars_of_numpy_travel_as_numbers() -> None:
    async with connected(Arrays) as client:
        for scalar, value in ((np.float32(1.5), 1.5), (np.int8(-3), -3), (np.bool_(True), True)):
            answer = await client.call(Arrays.untyped, scalar)
            assert (answer, type(answer)) == (value, type(value))
        with pytest.raises(EncodeError, match=r"numpy\.complex128 does not travel"):
            await client.call(Arrays.untyped, np.complex128(1))


class Row(np.ndarray):  # type: ignore[type-arg]
    pass


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.array([object()]), "numpy arrays of dtype object do not travel"),
        (np.zeros(2, "i4,f8"), r"numpy arrays of dtype .*'<f8'.* do not travel"),
        (np.zeros(2, "V8"), r"numpy arrays of dtype \|V8 do not travel"),
        (np.zeros(2, np.longdouble), "numpy arrays of dtype .* do not travel"),
        (np.zeros((1,) * 33), "the array has 33 dimensions, 32 is the limit"),
        (np.ma.masked_array([1], [True]), "a MaskedArray does not travel"),
        (np.zeros(3).view(Row), "a Row does not travel"),
    ],
)
async def test_an_array_that_cannot_travel_is_an_encode_error(array: Any, text: str) -> None:
    async with connected(Arrays) as client:
        for call in (Arrays.echo, "arrays.echo", Arrays.untyped):
            with pytest.raises(EncodeError, match=text) as caught:
                await client.call(call, array)  # type: ignore[call-overload]
            assert caught.value.processed == "no"
        with pytest.raises(CallError, match="INTERNAL"):
            await client.call(Arrays.odd)


async def test_an_array_whose_annotation_says_otherwise_is_refused() -> None:
    async with connected(Arrays) as client:
        assert await client.call("arrays.table", np.arange(6).reshape(2, 3)) == 15
        for array, text in (
            (np.zeros((2, 3)), "array: expected an array of integer, got one of float64"),
            (np.arange(6), r"array: expected an array of shape \(any, 3\), got \(6,\)"),
            (np.arange(8).reshape(2, 4), r"array: expected an array of shape \(any, 3\), got \(2, 4\)"),
        ):
            with pytest.raises(CallError, match=text) as caught:
                await client.call("arrays.table", array)
            assert caught.value.status is Status.INVALID_ARGUMENT
        assert await client.call("arrays.table", np.arange(3, dtype=np.longlong).reshape(1, 3)) == 3
        with pytest.raises(CallError, match=r"frame\.images\[\.\.\.\]\.mask: expected an array of bool"):
            await client.call("arrays.frame", Frame({"a": Image("a", np.ones(1), np.ones(1))}))  # type: ignore[arg-type]


async def test_json_carries_no_arrays() -> None:
    arrays = Arrays()
    async with connected(arrays) as plain:
        client = plain.with_options(codec="json")
        with pytest.raises(EncodeError, match="json carries no numpy array; call with codec msgpack"):
            await client.call(Arrays.echo, np.ones(3))
        for name, argument in (
            ("echo", [1.0]),
            ("mean", [1.0]),
            ("frame", {"images": {}}),
            ("optional", None),
        ):
            with pytest.raises(CallError, match="numpy array") as caught:
                await client.call(f"arrays.{name}", argument)
            assert (caught.value.status, caught.value.processed) == (Status.INVALID_ARGUMENT, "no")
        with pytest.raises(CallError) as refused:
            await client.call(Arrays.odd)
        assert (refused.value.status, refused.value.processed) == (Status.INVALID_ARGUMENT, "no")
    assert arrays.got is None


def body(dtype: bytes, shape: tuple[int, ...], data: bytes, zeros: int = 0) -> bytes:
    head = struct.pack(f"<B{len(dtype)}sB{len(shape)}Q", len(dtype), dtype, len(shape), *shape)
    return head + bytes(zeros) + data


@pytest.mark.parametrize(
    ("hostile", "text"),
    [
        (b"", "cut off in its head"),
        (b"\xff", "cut off in its head"),
        (b"\x03<f8", "cut off in its head"),
        (b"\x03<f8\x02" + bytes(15), "cut off in its head"),
        (b"\x03<f8\x21" + bytes(500), "33 dimensions, 32 is the limit"),
        (body(b"<f8", (2,), bytes(15)), r"\(2,\) <f8 has 16 bytes, got 15"),
        (body(b"<f8", (2,), bytes(16), zeros=16), "has 16 bytes, got 32"),
        (body(b"<f8", (2**60,), b""), r"\(1152921504606846976,\) is too large"),
        (body(b"<f8", (2**32, 2**32), bytes(8)), "too large"),
        (body(b"|u1", (2**31, 2**31), bytes(8)), "has 4611686018427387904 bytes, got 8"),
        (body(b"<f8", (2**63, 0), b""), "too large"),
        (body(b"<f8", (0, 2**64 - 1), b""), "too large"),
        (body(b"|u1", (2**64 - 1,) * 32, b""), "too large"),
        (body(b">f8", (1,), bytes(8)), "no dtype '>f8'"),
        (body(b"|O", (1,), bytes(8)), r"no dtype '\|O'"),
        (body(b"O", (1,), bytes(8)), "no dtype 'O'"),
        (body(b"<i4,<f8", (1,), bytes(12)), "no dtype"),
        (body(b"|V8", (1,), bytes(8)), "no dtype"),
        (body(b"<f16", (1,), bytes(16)), "no dtype"),
        (body(b"|S0", (2**62,), b""), "no dtype"),
        (body(b"<U99999999", (1,), b""), "has 399999996 bytes, got 0"),
        (body(b"<m8[999999999s]", (1,), bytes(7)), "has 8 bytes, got 7"),
        (body(b"\xff\xfe", (1,), b""), "no dtype"),
        (body(b"", (1,), b""), "no dtype"),
        (body(b"|b1", (2,), b"\x01\x02"), "bool has a value other than 0 and 1"),
        (body(b"<U1", (1,), b"\xff\xff\xff\xff"), "text has a value that is not a character"),
    ],
)
async def test_bytes_that_are_no_array_are_refused(hostile: bytes, text: str) -> None:
    arrays = Arrays()
    async with connected(arrays) as client:
        for name in ("echo", "optional"):
            with pytest.raises(CallError, match=rf"arrays\.{name}: array: .*{text}") as caught:
                await client.call(f"arrays.{name}", msgspec.msgpack.Ext(1, hostile))
            assert caught.value.status is Status.INVALID_ARGUMENT
    assert arrays.got is None


@pytest.mark.parametrize("zeros", range(16))
async def test_any_number_of_zeros_up_to_15_stands_in_front_of_the_values(zeros: int) -> None:
    arrays = Arrays()
    async with connected(arrays) as client:
        sent = msgspec.msgpack.Ext(1, body(b"<f8", (3,), np.arange(3.0).tobytes(), zeros))
        await client.call("arrays.echo", sent)
    np.testing.assert_array_equal(arrays.got, np.arange(3.0))
    assert arrays.got.flags.aligned
    assert not arrays.got.flags.writeable


async def test_another_extension_is_no_array() -> None:
    async with connected(Arrays) as client:
        for value in (msgspec.msgpack.Ext(2, b""), b"", None, "x", 1.5, [1.0]):
            with pytest.raises(CallError, match="array: expected a numpy array"):
                await client.call("arrays.echo", value)


async def test_an_answer_that_is_no_array_is_a_decode_error() -> None:
    @fastrpc.service("arrays")
    class Liar:
        @fastrpc.method
        async def echo(self, array: Any) -> Any:
            return msgspec.msgpack.Ext(1, b"\x03<f8")

    async with connected(Liar) as client:
        with pytest.raises(DecodeError, match=r"arrays\.echo: result: an array is cut off"):
            await client.call(Arrays.echo, np.ones(1))


async def test_a_checked_result_of_another_dtype_is_refused() -> None:
    @fastrpc.service("checked")
    class Checked:
        @fastrpc.method
        async def get(self, name: str) -> Floats:
            return np.zeros(3, name)

    async with served(Checked, config=ServerConfig(check_results=True)) as address, Client(address) as client:
        np.testing.assert_array_equal(await client.call(Checked.get, "f8"), np.zeros(3))
        with pytest.raises(CallError, match="INTERNAL"):
            await client.call(Checked.get, "f4")


@pytest.mark.parametrize(
    "kind",
    [npt.NDArray[np.object_], npt.NDArray[np.void], npt.NDArray[np.longdouble], np.float64, np.memmap, Row],
)
def test_an_annotation_of_a_type_that_cannot_be_sent_is_refused(kind: Any) -> None:
    async def get(self: Any, key: Any) -> None: ...

    get.__annotations__["key"] = kind
    cls = service("odd")(type("Odd", (), {"get": method(get)}))
    with pytest.raises(fastrpc.ConfigError, match=r"Odd\.get: parameter 'key'"):
        check_service(service_definition(cls))
