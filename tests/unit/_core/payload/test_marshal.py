"""Arguments to payload and back."""

import gc
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from fastrpc._core.payload.arguments import ArgumentShape, BoundArguments
from fastrpc._core.payload.marshal import Marshal
from fastrpc.errors import DecodeError, EncodeError
from fastrpc.status import Status
from tests.support.marshal_factory import (
    Point,
    encode,
    marshal_of,
    nested,
    refused,
    single,
    untyped,
)

# Arguments, encoded


def test_positions_become_an_array() -> None:
    assert marshal_of(int, int).encode_arguments((6, 7), None) == encode((6, 7))


def test_names_become_positions_where_they_fill_a_row() -> None:
    marshal = marshal_of(int, int, int, defaults="bc")
    assert marshal.encode_arguments((1,), {"b": 2}) == encode((1, 2))
    assert marshal.encode_arguments((), {"b": 2, "a": 1}) == encode((1, 2))
    assert marshal.encode_arguments((), {"c": 3, "a": 1, "b": 2}) == encode((1, 2, 3))


def test_left_out_defaults_are_not_sent() -> None:
    marshal = marshal_of(int, int, int, defaults="bc")
    assert marshal.encode_arguments((1,), None) == encode((1,))
    assert marshal.encode_arguments((), {"a": 1}) == encode((1,))
    assert msgspec.msgpack.decode(marshal.encode_arguments((1,), {"c": 3})) == {0: 1, 2: 3}


def test_keyword_only_arguments_go_by_name() -> None:
    marshal = marshal_of(int, int, int, defaults="c", positional=1)
    assert msgspec.msgpack.decode(marshal.encode_arguments((1,), {"b": 2})) == {0: 1, "b": 2}
    assert marshal_of(int, int, defaults="b", positional=1).encode_arguments((1,), None) == encode((1,))


def test_no_arguments_are_an_empty_array() -> None:
    assert marshal_of().encode_arguments((), None) == b"\x90"
    assert marshal_of().encode_arguments((), {}) == b"\x90"
    assert marshal_of().decode_arguments(b"\x90") == ()


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), None), ((1,), None), ((1, 2, 3, 4), None), ((1, 2), {"z": 1}), ((1, 2), {"a": 1}), ((), {"a": 1})],
)
def test_arguments_that_do_not_fit_are_refused_here(args: Any, kwargs: Any) -> None:
    with pytest.raises(TypeError, match="do not fit"):
        marshal_of(int, int, int, defaults="c").encode_arguments(args, kwargs)


def test_positional_only_arguments_have_no_name() -> None:
    marshal = marshal_of(int, int, positional_only=1)
    with pytest.raises(TypeError, match="do not fit"):
        marshal.encode_arguments((), {"a": 1, "b": 2})
    assert marshal.encode_arguments((1,), {"b": 2}) == encode((1, 2))


def test_a_refusal_that_raises_nothing_is_still_an_error() -> None:
    shape = ArgumentShape(("a",), (True,), lambda args, kwargs: None, positional=1)
    marshal = Marshal("arith.mul", shape, marshal_of(int).coders, depth=1, items=1)
    with pytest.raises(TypeError, match=r"the arguments do not fit arith\.mul"):
        marshal.encode_arguments((), None)


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        ((1, object()), None, r"arith\.mul: argument b, of type object, cannot be encoded as msgpack"),
        ((1,), {"b": 1 << 70}, "argument b, of type int, cannot be encoded"),
        (("\ud800", 1), None, "argument a, of type str, .*surrogates"),
    ],
)
def test_an_argument_without_a_payload_is_named(args: Any, kwargs: Any, text: str) -> None:
    with pytest.raises(EncodeError, match=text):
        marshal_of(Any, Any).encode_arguments(args, kwargs)


def test_a_value_that_contains_itself_is_an_encode_error() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(EncodeError, match=r"argument a, of type list.* nested too deep, or contains itself"):
        marshal_of(Any).encode_arguments((endless,), None)


def test_arguments_must_be_tuple_and_dict() -> None:
    with pytest.raises(TypeError):
        marshal_of(int).encode_arguments([1], None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        marshal_of(int).encode_arguments(None, None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        marshal_of(int).encode_arguments((1,), [1])  # type: ignore[arg-type]


# Arguments, decoded


@pytest.mark.parametrize("codec", ["msgpack", "json"])
@pytest.mark.parametrize("scan", [False, True])
def test_an_array_becomes_a_tuple(codec: str, scan: bool) -> None:
    marshal = marshal_of(int, Point, codec=codec, scan=scan)
    payload = marshal.encode_arguments((6, Point(7, ["x"])), None)
    arguments = marshal.decode_arguments(payload)
    assert type(arguments) is tuple
    assert arguments == (6, Point(7, ["x"]))


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_payload_may_lie_in_any_buffer(kind: Any) -> None:
    assert marshal_of(int, int).decode_arguments(kind(encode((6, 7)))) == (6, 7)
    assert marshal_of(int, scan=True).decode_result(kind(encode(1))) == 1


def test_payload_that_is_not_a_buffer_is_a_type_error() -> None:
    for payload in (None, 5, "text", [1]):
        with pytest.raises(TypeError):
            marshal_of(int, int).decode_arguments(payload)  # type: ignore[arg-type]


@pytest.mark.parametrize("codec", ["msgpack", "json"])
def test_left_out_arguments_are_left_to_the_handler(codec: str) -> None:
    marshal = marshal_of(int, int, int, defaults="bc", codec=codec)
    for args in [(1,), (1, 2), (1, 2, 3)]:
        assert marshal.decode_arguments(marshal.encode_arguments(args, None)) == args
    gap = marshal.decode_arguments(marshal.encode_arguments((1,), {"c": 3}))
    assert gap == BoundArguments((1,), {"c": 3})


@pytest.mark.parametrize("codec", ["msgpack", "json"])
@pytest.mark.parametrize("keys", [("a", "b"), (0, 1), (0, "b")])
def test_maps_go_by_name_and_position(codec: str, keys: Any) -> None:
    marshal = marshal_of(int, str, codec=codec)
    payload = marshal.coders.encode_arguments({keys[1]: "x", keys[0]: 1})
    assert marshal.decode_arguments(payload) == (1, "x")


def test_keyword_only_arguments_are_bound_by_name() -> None:
    marshal = marshal_of(int, int, int, defaults="ac", positional=1)
    assert marshal.decode_arguments(encode({"b": 2})) == BoundArguments((), {"b": 2})
    assert marshal.decode_arguments(encode({0: 1, "b": 2})) == BoundArguments((1,), {"b": 2})
    assert marshal.decode_arguments(encode((1, 2, 3))) == BoundArguments((1,), {"b": 2, "c": 3})


def test_more_than_fifteen_arguments_fit() -> None:
    marshal = marshal_of(*[int] * 20)
    args = tuple(range(20))
    assert marshal.decode_arguments(marshal.encode_arguments(args, None)) == args


@pytest.mark.parametrize("codec", ["msgpack", "json"])
@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ((1, "x"), "b: expected `int`, got `str`"),
        ((1, True), "b: expected `int`, got `bool`"),
        ((1, 2, 3), "takes 2 arguments (a, b), got 3"),
        ((1,), "b: missing"),
        ((), "a, b: missing"),
        ({"a": 1}, "b: missing"),
        ({"a": 1, "b": "x"}, "b: expected `int`, got `str`"),
        ({"a": 1, "b": 2, "c": 3}, "'c': arith.mul has no such parameter"),
        ({"a": 1, 2: 2}, ": arith.mul has no such parameter"),
        ({0: 1, "a": 2, "b": 3}, "a: given by position and by name"),
        (5, "the arguments: expected"),
    ],
)
def test_arguments_that_do_not_fit_are_named(codec: str, scan: bool, value: Any, text: str) -> None:
    marshal = marshal_of(int, int, codec=codec, scan=scan)
    error = refused(marshal, marshal.coders.encode_arguments(value))
    assert error.status is Status.INVALID_ARGUMENT
    assert text in error.message


@pytest.mark.parametrize("codec", ["msgpack", "json"])
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ((1, {"x": "y"}), "b.x: expected `int`, got `str`"),
        ((1, {}), "b: object missing required field `x`"),
        ((1, {"x": 1, "tags": ["a", 5]}), "b.tags[1]: expected `str`, got `int`"),
        ({"b": {"x": []}, "a": 1}, "b.x: expected `int`, got `array`"),
    ],
)
def test_the_place_inside_an_argument_is_named(codec: str, value: Any, text: str) -> None:
    marshal = marshal_of(int, Point, codec=codec)
    assert refused(marshal, marshal.coders.encode_arguments(value)).message == text


def test_a_wrong_key_is_named() -> None:
    assert (
        refused(marshal_of(dict[str, int]), encode(({1: 1},))).message
        == "key in a: expected `str`, got `int`"
    )


def test_hints_show_the_parameters_of_the_method() -> None:
    marshal = marshal_of(int, int, defaults="b")
    assert refused(marshal, encode(())).hint == "takes 1 to 2 arguments (a, b)"
    assert refused(marshal, encode({"z": 1})).hint == "its parameters are: a, b"
    assert refused(marshal_of(), encode({"z": 1})).hint == "its parameters are: none"


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("codec", ["msgpack", "json"])
@pytest.mark.parametrize(
    "payload", [b"", b"\x92\x01", b"\x92\x01\x02\x03", b"\xc1", b"[1,", b"[1,2]x", b"\xdc", b"\xff"]
)
def test_malformed_payload_is_an_invalid_argument(codec: str, scan: bool, payload: bytes) -> None:
    assert refused(marshal_of(int, int, codec=codec, scan=scan), payload).status is Status.INVALID_ARGUMENT


def test_text_that_is_not_utf8_is_an_invalid_argument() -> None:
    assert "utf-8" in refused(marshal_of(str), b"\x91\xa1\xff").message.lower()


def test_a_positional_only_gap_is_refused() -> None:
    marshal = marshal_of(int, int, defaults="ab", positional_only=2)
    assert refused(marshal, encode({1: 2})).message == "a: must be given where b is given"


def test_a_users_own_check_is_an_invalid_argument_and_a_users_own_crash_is_not() -> None:
    class Even(msgspec.Struct):
        n: int

        def __post_init__(self) -> None:
            if self.n == 13:
                raise KeyError(self.n)
            if self.n % 2:
                raise ValueError("must be even")

    marshal = marshal_of(Even)
    assert refused(marshal, encode(({"n": 3},))).message == "a: must be even"
    with pytest.raises(KeyError):
        marshal.decode_arguments(encode(({"n": 13},)))


# The scan


@pytest.mark.parametrize("codec", ["msgpack", "json"])
def test_too_deep_arguments_are_refused(codec: str) -> None:
    marshal = marshal_of(Any, codec=codec, scan=True)
    assert marshal.decode_arguments(marshal.coders.encode_arguments((nested(9),)))
    error = refused(marshal, marshal.coders.encode_arguments((nested(10),)))
    assert (error.status, error.message) == (
        Status.INVALID_ARGUMENT,
        "the arguments: nested deeper than 10 levels (Limits.depth)",
    )
    assert error.hint is not None
    assert "Limits.depth" in error.hint


@pytest.mark.parametrize("codec", ["msgpack", "json"])
@pytest.mark.parametrize("value", [([0] * 101,), {"a": [0] * 101}, [0] * 101])
def test_too_many_items_are_refused(codec: str, value: Any) -> None:
    marshal = marshal_of(Any, codec=codec, scan=True)
    error = refused(marshal, marshal.coders.encode_arguments(value))
    assert (error.status, error.message) == (
        Status.RESOURCE_EXHAUSTED,
        "the arguments: more than 100 items (Memory.items)",
    )
    assert error.hint is not None
    assert "Memory.items" in error.hint


def test_maps_are_scanned_also_where_no_parameter_holds_containers() -> None:
    assert "100 items" in refused(marshal_of(int), encode({str(n): n for n in range(101)})).message
    assert "100 items" in refused(marshal_of(int), encode([1] * 101)).message


def test_a_million_levels_are_refused_at_once() -> None:
    deep = b"\x91" * 1_000_000 + b"\x90"
    for marshal in (marshal_of(Any, scan=True), marshal_of(int), marshal_of(int, int)):
        refused(marshal, deep)
    with pytest.raises(DecodeError):
        marshal_of(int, result=Any, scan=True).decode_result(deep)


def test_charge_counts_bytes_and_containers() -> None:
    marshal = marshal_of(Any, scan=True)
    payload = encode(([[], {}],))
    marshal.decode_arguments(payload)
    assert marshal.charge == len(payload) + 4 * 72
    plain = marshal_of(int, int)
    plain.decode_arguments(encode((6, 7)))
    assert plain.charge == 3


# Construction and cost


def test_contradictions_are_refused() -> None:
    with pytest.raises(ValueError, match="codec raw carries one"):
        single("raw", 0, names=("a", "b"))
    with pytest.raises(ValueError, match="depth is 0 and items is 1"):
        Marshal("a.b", None, untyped().coders, depth=0, items=1)
    with pytest.raises(TypeError):
        Marshal("a.b", None, None, depth=1, items=1)  # type: ignore[arg-type]


@pytest.mark.measures
def test_decoding_adds_little_to_msgspec() -> None:
    """The budget is 60 ns; the bound leaves room for a busy machine."""
    marshal = marshal_of(int, int)
    payload = encode((6, 7))

    def nanoseconds(decode: Callable[[bytes], Any]) -> float:
        start = time.perf_counter_ns()
        for _ in range(20_000):
            decode(payload)
        return (time.perf_counter_ns() - start) / 20_000

    gc.disable()
    try:
        bare = msgspec.msgpack.Decoder(tuple[int, int]).decode
        added = min(nanoseconds(marshal.decode_arguments) - nanoseconds(bare) for _ in range(20))
    finally:
        gc.enable()
    assert added <= 60
