"""Methods of servers of gRPC on the command line: texts become a message."""

from typing import Any

import pytest

from fastrpc import ConfigError
from fastrpc.cli.calling.grpc_methods import KnownGrpcMethod, text_kind
from tests.support.grpc_desk import POOL


def method(name: str) -> KnownGrpcMethod:
    return KnownGrpcMethod(POOL.FindServiceByName("shop.Desk").methods_by_name[name], POOL)


def sent(name: str, *texts: str) -> Any:
    """Return the message that texts make, as values."""
    made = method(name)
    [content] = made.prepare(texts, None).args
    return made.request.decoded(content)


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        ((), {}),
        (("12", "3"), {"itemName": "12", "count": "3"}),
        (
            ("item_name=true", "count=-3", "size=SIZE_LARGE"),
            {"itemName": "true", "count": "-3", "size": "SIZE_LARGE"},
        ),
        (("itemName=a", "size=1", "isOpen=True"), {"itemName": "a", "size": "SIZE_LARGE", "isOpen": True}),
        (("content=AAE=", "weight=1"), {"content": "AAE=", "weight": 1.0}),
        (("weight=NaN",), {"weight": "NaN"}),
        (('notes=["a", "b"]', 'prices={"a": 1}'), {"notes": ["a", "b"], "prices": {"a": "1"}}),
        (('inner={"itemName": "b"}', 'more=[1, "x"]'), {"inner": {"itemName": "b"}, "more": [1.0, "x"]}),
        (('{"item_name": "a", "most": 0}',), {"itemName": "a", "most": "0"}),
        (('item_name={"a": 1}',), {"itemName": '{"a": 1}'}),
    ],
)
def test_arguments_are_fields(texts: tuple[str, ...], values: Any) -> None:
    assert sent("Put", *texts) == values


@pytest.mark.parametrize("text", ["[1]", "7", "word", '{"a": 1}'])
def test_a_known_type_is_one_value(text: str) -> None:
    values = {"[1]": [1.0], "7": 7.0, "word": "word", '{"a": 1}': {"a": 1.0}}
    assert sent("Ask", text) == values[text]


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (("nme=x",), "shop.Box has no field 'nme'"),
        (("a", "item_name=b"), "argument 'item_name' is given twice"),
        (("itemName=a", "item_name=b"), "argument 'item_name' is given twice"),
        (("count=x",), "the values do not fit shop.Box: "),
        (("size=SIZE_HUGE",), "the values do not fit shop.Box: "),
        (('{"nope": 1}',), 'no field named "nope"'),
        (("1",) * 13, "13 arguments are given by position, shop.Box has 12 fields"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(texts: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        method("Put").prepare(texts, None)
    assert said in str(refused.value)


def test_a_stream_is_marked_and_alone() -> None:
    made = method("Send")
    assert (made.kind, made.takes_stream, made.gives_stream) == ("client_stream", True, False)
    assert made.prepare(["-"], None).has_input
    for texts in ([], ["a"], ["-", "a"]):
        with pytest.raises(ConfigError, match="a stream of messages alone"):
            made.prepare(texts, None)


def test_types_of_fields_are_types_of_the_command_line() -> None:
    box = POOL.FindMessageTypeByName("shop.Box")
    assert {one.name: text_kind(one) for one in box.fields} == {
        "item_name": "str",
        "count": "int",
        "size": "int | str",
        "is_open": "bool",
        "content": "str",
        "weight": "float | str",
        **dict.fromkeys(("notes", "inner", "more", "prices", "detail"), "object"),
        "most": "int",
    }
