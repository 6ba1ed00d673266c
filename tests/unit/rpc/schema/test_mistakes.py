"""All mistakes in refused arguments: their paths, the types expected and got, and the bounds of the search."""

import datetime
import json
import time
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, NamedTuple

import msgspec
import pytest
from msgspec import Meta

import fastrpc
from fastrpc import CallError
from fastrpc.rpc.definition import MethodDefinition
from fastrpc.rpc.marshals import marshal_for
from fastrpc.rpc.schema.mistakes import mistakes_in
from fastrpc.rpc.service import service_definition
from tests.support.mistaken_bodies import BODIES, SECRET, Order, Shop, booking, line, order

#: Bodies that are maps: other bodies are refused as a whole.
MAPS = [case for case in BODIES if isinstance(case[1], dict)]
MEBIBYTE = 1 << 20


@dataclass
class Odd:
    """Fails at each value, and not as a validator does."""

    number: int

    def __post_init__(self) -> None:
        raise LookupError(self.number)


@fastrpc.service("names")
class Names:
    """Has names with equal beginnings."""

    @fastrpc.method
    async def add(self, item: list[float], items: list[float]) -> None: ...

    @fastrpc.method
    async def join(self, t: str, th: str, the: str) -> None: ...

    @fastrpc.method
    async def fail(self, odd: Odd, count: int) -> None: ...


def method(name: str, service: type[Any] = Shop) -> MethodDefinition:
    return service_definition(service).methods[name]


def refusal(known: MethodDefinition, codec: str, payload: bytes) -> str:
    """Return the text by which a server refuses arguments; empty where it takes them."""
    try:
        marshal_for(known, codec, depth=64, items=10**8, by_name=True).decode_arguments(payload)
    except CallError as error:
        return error.message
    return ""


def told(known: MethodDefinition, codec: str, payload: bytes, first: str) -> list[tuple[str, str, str]]:
    return [(one["path"], one["expected"], one["got"]) for one in mistakes_in(known, codec, payload, first)]


def found(name: str, body: Any, codec: str = "json", service: type[Any] = Shop) -> list[tuple[str, str, str]]:
    payload = json.dumps(body).encode() if codec == "json" else msgspec.msgpack.encode(body)
    known = method(name, service)
    return told(known, codec, payload, refusal(known, codec, payload))


@pytest.mark.parametrize(("name", "body", "mistakes"), MAPS)
def test_every_mistake_of_a_body_is_found(name: str, body: Any, mistakes: list[tuple[str, str, str]]) -> None:
    assert found(name, body) == mistakes
    assert SECRET in json.dumps(body)
    assert SECRET not in json.dumps(found(name, body))


@pytest.mark.parametrize(("name", "body", "mistakes"), MAPS)
def test_the_same_mistakes_are_found_in_msgpack(
    name: str, body: Any, mistakes: list[tuple[str, str, str]]
) -> None:
    assert found(name, body, "msgpack") == mistakes


class Entry(msgspec.Struct, array_like=True):
    number: int
    name: str


@fastrpc.service("rows")
class Rows:
    @fastrpc.method
    async def add(self, row: Entry) -> None: ...


@pytest.mark.parametrize(
    ("row", "mistake"),
    [
        ({"number": 1}, ("row", "array", "object")),
        ({"number": 1, "name": "a"}, ("row", "array", "object")),
        (["a", "b"], ("row[0]", "int", "str")),
    ],
)
def test_a_struct_of_positions_that_comes_as_an_object_lacks_no_field(
    row: Any, mistake: tuple[str, str, str]
) -> None:
    assert found("add", {"row": row}, service=Rows) == [mistake]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "null"),
        (True, "bool"),
        (-1, "int"),
        (2**40, "int"),
        (1.5, "float"),
        ("a" * 40, "str"),
        ([1] * 20, "array"),
    ],
)
@pytest.mark.parametrize("codec", ["json", "msgpack"])
def test_types_have_the_same_name_in_both_codecs(value: object, name: str, codec: str) -> None:
    assert found("buy", {"order": value}, codec) == [("order", "object", name)]


def test_a_long_integer_of_json_is_no_float() -> None:
    for number in (2**70, -(2**70)):
        assert found("buy", {"order": number}) == [("order", "object", "int")]


def test_arguments_without_a_mistake_yield_none() -> None:
    assert found("buy", {"order": order(line()), "count": 2}) == []
    assert found("moved", {"old": "9007199254740993", "other": 1}) == []


def test_of_a_list_beyond_the_bound_the_first_mistake_is_found() -> None:
    values: list[object] = [1.5] * 20_000
    values[12_000] = values[15_000] = SECRET
    assert found("sum", {"values": values}) == [("values[12000]", "float", "str")]


OTHER = ("values[7]", "another value", "another value")


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("values[200000]: expected `float`, got `str`", ("values[200000]", "float", "str")),
        ("values[200000]: invalid value", ("values[200000]", "another value", "another value")),
        ("values[7]: object missing required field `x`", ("values[7].x", "a value", "nothing")),
        ("values[7]: expected `int`, got `None`", ("values[7]", "int", "null")),
        # Words of a program are not sent.
        (f"values[7]: expected an even number, got {SECRET}", OTHER),
        (f"values[7]: expected `even`, got {SECRET}", OTHER),
        (f"values[7]: expected `even`, got `{SECRET}`", OTHER),
        (f"values[7]: expected `even` number {SECRET}, got `str`", OTHER),
        (f"values[7]: object contains unknown field {SECRET}", OTHER),
    ],
)
def test_a_long_argument_reports_the_mistake_that_refused_it(
    text: str, mistake: tuple[str, str, str]
) -> None:
    payload = msgspec.json.encode({"values": [1.5] * 300_000 + [SECRET], "count": SECRET})
    assert told(method("sum"), "json", payload, text) == [("count", "nothing", "str"), mistake]


def test_a_mistake_in_a_short_argument_is_found_after_a_long_one() -> None:
    long = order(line(price=SECRET), note="x" * 2 * MEBIBYTE)
    assert found("buy", {"order": long, "count": SECRET}) == [
        ("order.lines[0].price", "float", "str"),
        ("count", "int", "str"),
    ]


def test_a_mistake_in_a_long_argument_is_reported_once_where_names_begin_alike() -> None:
    good = [1.5] * 300_000
    for name in ("item", "items"):
        body = {"item": good, "items": good} | {name: [*good[:3], SECRET, *good]}
        assert found("add", body, service=Names) == [(f"{name}[3]", "float", "str")]


def test_a_text_about_the_arguments_is_no_mistake_in_one_whose_name_begins_it() -> None:
    long = "x" * 2 * MEBIBYTE
    payload = msgspec.json.encode({"t": long, "th": long, "the": long})
    assert told(method("join", Names), "json", payload, "the arguments: nested too deep") == []


def test_mistakes_are_found_on_all_levels_of_a_body_of_200_kibibytes() -> None:
    lines = [line(price=SECRET), *[line(item="x" * 1_050)] * 195, line(price=SECRET)]
    body = {"order": order(*lines), "count": SECRET}
    assert len(json.dumps(body)) >= 200 << 10
    assert found("buy", body) == [
        ("order.lines[0].price", "float", "str"),
        ("order.lines[196].price", "float", "str"),
        ("count", "int", "str"),
    ]


def test_a_type_that_fails_does_not_end_the_search() -> None:
    assert found("fail", {"count": SECRET, "odd": {"number": 1}}, service=Names) == [("count", "int", "str")]


def test_malformed_keys_in_a_part_do_not_end_the_search() -> None:
    body = {"order": order(labels={"~": 1}), "count": SECRET}
    payload = json.dumps(body).encode().replace(b"~", b"\xff")
    known = method("buy")
    first = refusal(known, "json", payload)
    assert "utf-8" in first.lower()
    assert told(known, "json", payload, first) == [
        ("order.labels", "dict[str, int]", "object"),
        ("count", "int", "str"),
    ]


class Pair(NamedTuple):
    left: int
    right: int = 0


class Row(msgspec.Struct, array_like=True):
    left: int
    right: int


#: Every form of text in which msgspec states the expected type.
FORMS: list[tuple[Any, Any, tuple[str, str]]] = [
    (int, SECRET, ("int", "str")),
    (Annotated[int, Meta(ge=1)], 0, ("int >= 1", "int")),
    (Annotated[int, Meta(lt=-5)], 0, ("int <= -6", "int")),
    (Annotated[int, Meta(multiple_of=3)], 4, ("int that's a multiple of 3", "int")),
    (Annotated[float, Meta(gt=1e20)], 1.5, ("float > 1e+20", "float")),
    (Annotated[float, Meta(le=-0.5)], 1.5, ("float <= -0.5", "float")),
    (Annotated[float, Meta(multiple_of=0.5)], 1.2, ("float that's a multiple of 0.5", "float")),
    (Annotated[str, Meta(min_length=3)], "", ("str of length >= 3", "str")),
    (Annotated[str, Meta(max_length=3)], SECRET, ("str of length <= 3", "str")),
    (Annotated[str, Meta(pattern="^a'\"$")], SECRET, ("str matching regex '^a\\'\"$'", "str")),
    (Annotated[str, Meta(pattern="^a'b$")], SECRET, ('str matching regex "^a\'b$"', "str")),
    (Annotated[list[int], Meta(max_length=1)], [1, 2], ("array of length <= 1", "array")),
    (Annotated[dict[str, int], Meta(min_length=1)], {}, ("object of length >= 1", "object")),
    (
        Annotated[datetime.datetime, Meta(tz=True)],
        "2026-01-31T00:00:00",
        ("datetime with a timezone component", "str"),
    ),
    (Annotated[datetime.time, Meta(tz=False)], "00:00:00Z", ("time with no timezone component", "str")),
    (tuple[int, int], [1], ("array of length 2", "array")),
    (Pair, [], ("array of length 1 to 2", "array")),
    (Row, [1], ("array of at least length 2", "array")),
    (uuid.UUID, 1, ("uuid", "int")),
    (Decimal, [], ("decimal", "array")),
]


def taking(kind: Any) -> MethodDefinition:
    """Return a method with an argument of a type."""

    async def take(self: Any, value: Any) -> None: ...

    take.__annotations__["value"] = kind
    return service_definition(
        fastrpc.service("one")(type("One", (), {"take": fastrpc.method(take)}))
    ).methods["take"]


@pytest.mark.parametrize(("kind", "value", "mistake"), FORMS)
def test_the_type_that_msgspec_expected_is_reported(kind: Any, value: Any, mistake: tuple[str, str]) -> None:
    known, payload = taking(kind), msgspec.json.encode({"value": value})
    first = refusal(known, "json", payload)
    assert told(known, "json", payload, first) == [("value", *mistake)]


def test_of_a_model_with_a_thousand_mistakes_the_place_is_found() -> None:
    body = {"booking": booking(seats=[{"row": 0}] * 1001), "count": "1"}
    assert found("book", body) == [("booking", "Booking", "object"), ("count", "int", "str")]


@pytest.mark.measures
@pytest.mark.parametrize("is_deep", [False, True])
def test_16_mebibytes_of_mistakes_take_at_most_half_as_long_as_decoding_as_much(is_deep: bool) -> None:
    count = 16 * 2**20 // (80 if is_deep else 17)
    if is_deep:
        good: Any = {"order": order(*[line(item="x" * 50) for _ in range(count)])}
        wrong: Any = {"order": order(*[line(item="x" * 48, price="a") for _ in range(count)])}
    else:
        good = {"values": [at / 7 + 1000 for at in range(count)]}
        wrong = {"values": [f"{at:014d}" for at in range(count)]}
    name = "buy" if is_deep else "sum"
    kind = dict[str, Order] if is_deep else dict[str, list[float]]
    payload, valid = json.dumps(wrong).encode(), json.dumps(good).encode()
    decode = msgspec.json.Decoder(kind).decode
    first = refusal(method(name), "json", payload)
    path = "order.lines[0].price" if is_deep else "values[0]"

    def seconds(action: Any) -> float:
        started = time.process_time()
        action()
        return time.process_time() - started

    decoded = min(seconds(lambda: decode(valid)) for _ in range(5))
    assert told(method(name), "json", payload, first) == [(path, "float", "str")]
    searched = min(seconds(lambda: mistakes_in(method(name), "json", payload, first)) for _ in range(5))
    assert searched <= 0.5 * decoded
