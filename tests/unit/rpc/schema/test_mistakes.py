"""All mistakes in refused arguments: their paths, the types expected and got, and the bounds of the search."""

import json
import time
from typing import Any

import msgspec
import pytest

from fastrpc.rpc.definition import MethodDefinition
from fastrpc.rpc.schema.mistakes import mistakes_in
from fastrpc.rpc.service import service_definition
from tests.support.mistaken_bodies import BODIES, SECRET, Order, Shop, booking, line, order


def method(name: str) -> MethodDefinition:
    return service_definition(Shop).methods[name]


def found(name: str, body: Any, codec: str = "json") -> list[tuple[str, str, str]]:
    payload = json.dumps(body).encode() if codec == "json" else msgspec.msgpack.encode(body)
    return [
        (one["path"], one["expected"], one["got"]) for one in mistakes_in(method(name), codec, payload, "")
    ]


@pytest.mark.parametrize(("name", "body", "mistakes"), BODIES)
def test_every_mistake_of_a_body_is_found(name: str, body: Any, mistakes: list[tuple[str, str, str]]) -> None:
    assert found(name, body) == mistakes
    assert SECRET in json.dumps(body)
    assert SECRET not in json.dumps(found(name, body))


@pytest.mark.parametrize(
    ("name", "body", "mistakes"), [case for case in BODIES if case[0] in {"buy", "sum", "grow", "book"}]
)
def test_the_same_mistakes_are_found_in_msgpack(
    name: str, body: Any, mistakes: list[tuple[str, str, str]]
) -> None:
    assert found(name, body, "msgpack") == mistakes


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
def test_types_are_named_alike_in_both_codecs(value: object, name: str, codec: str) -> None:
    assert found("buy", {"order": value}, codec) == [("order", "object", name)]


def test_a_long_integer_of_json_is_no_float() -> None:
    for number in (2**70, -(2**70)):
        assert found("buy", {"order": number}) == [("order", "object", "int")]


def test_arguments_without_a_mistake_have_none() -> None:
    assert found("buy", {"order": order(line()), "count": 2}) == []
    assert found("moved", {"old": "9007199254740993", "other": 1}) == []


def test_of_a_list_beyond_the_bound_the_first_mistake_is_found() -> None:
    values: list[object] = [1.5] * 20_000
    values[12_000] = values[15_000] = SECRET
    assert found("sum", {"values": values}) == [("values[12000]", "float", "str")]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("values[200000]: expected `float`, got `str`", ("values[200000]", "float", "str")),
        ("values[200000]: invalid value", ("values[200000]", "another value", "another value")),
        ("values[7]: object missing required field `x`", ("values[7].x", "a value", "nothing")),
    ],
)
def test_of_a_long_argument_the_mistake_is_told_that_refused_it(
    text: str, mistake: tuple[str, str, str]
) -> None:
    payload = msgspec.json.encode({"values": [1.5] * 300_000 + [SECRET], "count": SECRET})
    told = [tuple(one.values()) for one in mistakes_in(method("sum"), "json", payload, text)]
    assert told == [("count", "nothing", "str"), mistake]


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

    def seconds(action: Any) -> float:
        started = time.process_time()
        action()
        return time.process_time() - started

    decoded = min(seconds(lambda: decode(valid)) for _ in range(5))
    searched = min(seconds(lambda: mistakes_in(method(name), "json", payload, "")) for _ in range(5))
    assert searched <= 0.5 * decoded
