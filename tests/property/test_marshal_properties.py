"""Whatever bytes arrive, decoding ends with arguments or with an error of ours."""

import enum
import uuid
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fastrpc._core.payload.marshal import Marshal
from fastrpc.errors import CallError, DecodeError
from fastrpc.rpc.marking import method
from fastrpc.rpc.marshals import marshal_for
from fastrpc.rpc.service import service, service_definition


class Colour(enum.Enum):
    RED = "red"


class Tree(msgspec.Struct):
    value: int | None = None
    children: list["Tree"] = []


@service("target")
class Target:
    @method
    async def scalars(self, a: int, b: str = "", c: bytes = b"", d: float | None = None) -> int:
        return a

    @method
    async def times(self, a: datetime, b: date | None, c: time = time(), d: timedelta = timedelta()) -> date:
        return a

    @method
    async def special(self, a: Decimal, b: uuid.UUID | None, c: Colour, *, d: Literal["x"] = "x") -> Decimal:
        return a

    @method
    async def containers(self, a: Tree, b: dict[str, list[int]], c: Any = None) -> Tree:
        return a

    @method
    async def plain(self, a, b=None):  # type: ignore[no-untyped-def]
        return a


MARSHALS = [
    marshal_for(definition, codec, depth=20, items=1000)
    for definition in service_definition(Target).methods.values()
    for codec in ("msgpack", "json")
]

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text()
    | st.binary()
    | st.sampled_from(
        ["red", "x", "1e999999999", "nan", "2024-02-30", "9999-12-31T23:59:59Z", "P9999999999D"]
    ),
    lambda children: st.lists(children) | st.dictionaries(st.text() | st.integers(0, 5), children),
    max_leaves=20,
)


def check(marshal: Marshal, payload: bytes) -> None:
    refused: CallError | None = None
    wrong: DecodeError | None = None
    try:
        marshal.decode_arguments(payload)
    except CallError as error:
        refused = error
    try:
        marshal.decode_result(payload)
    except DecodeError as error:
        wrong = error
    assert refused is None or (refused.processed == "no" and refused.message)
    assert wrong is None or wrong.message.startswith(marshal.method)


def encoded(marshal: Marshal, arguments: Any) -> bytes:
    """Encode arguments; with null for the numbers that JSON has not, as other programs write them."""
    try:
        return marshal.coders.encode_arguments(arguments)
    except ValueError:
        return msgspec.json.encode(arguments)


@given(st.sampled_from(MARSHALS), st.binary(max_size=64))
def test_any_bytes(marshal: Marshal, payload: bytes) -> None:
    check(marshal, payload)


@given(st.sampled_from(MARSHALS), st.lists(values, max_size=5))
def test_any_list(marshal: Marshal, arguments: list[Any]) -> None:
    check(marshal, encoded(marshal, arguments))


@given(
    st.sampled_from(MARSHALS),
    st.dictionaries(st.sampled_from("abcde") | st.integers(-1, 5), values, max_size=5),
)
def test_any_map(marshal: Marshal, arguments: dict[Any, Any]) -> None:
    check(marshal, encoded(marshal, arguments))


@given(st.sampled_from(MARSHALS), st.lists(values, max_size=5), st.data())
def test_damaged_bytes(marshal: Marshal, arguments: list[Any], data: st.DataObject) -> None:
    payload = bytearray(encoded(marshal, arguments))
    at = data.draw(st.integers(0, len(payload) - 1))
    payload[at] = data.draw(st.integers(0, 255))
    check(marshal, bytes(payload[: data.draw(st.integers(0, len(payload)))]))


@given(st.integers(), st.text() | st.none(), st.binary() | st.none(), st.booleans())
def test_calls_arrive_as_they_were_made(
    number: int, text: str | None, data: bytes | None, by_name: bool
) -> None:
    marshal = MARSHALS[0]
    number = number % 2**63
    kwargs: dict[str, Any] = {"b": text, "c": data}
    kwargs = {name: value for name, value in kwargs.items() if value is not None}
    args = () if by_name else (number,)
    if by_name:
        kwargs = {**kwargs, "a": number}
    received = marshal.decode_arguments(marshal.encode_arguments(args, kwargs))
    if isinstance(received, tuple):
        assert received == tuple(value for value in (number, text, data) if value is not None)
    else:
        assert (received.args, received.kwargs) == ((number,), {"c": data})
