"""What `@function` makes of a plain function, and which names and functions it refuses."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import fastrpc
from fastrpc import ConfigError
from fastrpc.rpc.description import describe_services
from fastrpc.rpc.functions import function_services, is_function
from fastrpc.rpc.service import method_definition, service_definition


@fastrpc.function("math.mul", idempotent=True, timeout=2)
async def mul(a: int, b: int = 1) -> int:
    """Multiply."""
    return a * b


@fastrpc.function("math.add")
def add(a: int, b: int) -> int:
    return a + b


@fastrpc.function("shop.v1.orders.watch")
async def watch(since: int) -> AsyncIterator[str]:
    yield str(since)


@pytest.mark.parametrize("name", ["mul", ".mul", "math.", "math.a b", "math..mul", ""])
def test_a_name_that_is_not_service_and_method_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="not the full name of a method") as caught:
        fastrpc.function(name)
    assert "'math.mul'" in str(caught.value)


def test_a_function_needs_a_name_before_it() -> None:
    without_name: Any = fastrpc.function
    with pytest.raises(TypeError, match="needs a name"):
        without_name(lambda: None)


async def test_the_function_itself_is_unchanged() -> None:
    async def plain(a: int) -> int:
        return a

    assert fastrpc.function("math.plain")(plain) is plain  # type: ignore[comparison-overlap]
    assert await plain(3) == 3
    assert is_function(plain)
    assert not is_function(test_a_function_needs_a_name_before_it)


def test_its_definition_has_every_parameter_and_the_options() -> None:
    definition = method_definition(mul)
    assert definition.full_name == definition.label == "math.mul"
    assert [str(each) for each in definition.parameters] == ["a: int", "b: int = 1"]
    assert (definition.idempotent, definition.timeout, definition.documentation) == (True, 2.0, "Multiply.")
    assert method_definition(watch).kind == "server_stream"
    assert method_definition(watch).service == "shop.v1.orders"


def test_types_of_the_function_around_it_are_known() -> None:
    class Item:
        pass

    @fastrpc.function("shop.get")
    async def get(number: int) -> "Item":
        return Item()

    assert method_definition(get).types().result is Item


def test_functions_of_one_prefix_are_one_service() -> None:
    math, orders = function_services([mul, watch, add])
    assert list(service_definition(math).methods) == ["mul", "add"]
    assert list(service_definition(orders).methods) == ["watch"]
    described = describe_services([math])
    assert [method["name"] for method in described[0]["methods"]] == ["mul", "add"]


def test_two_functions_of_one_name_are_refused() -> None:
    @fastrpc.function("math.mul")
    def other() -> None: ...

    with pytest.raises(ConfigError, match=r"two functions are called math\.mul"):
        function_services([mul, other])


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (lambda: int, "@fastrpc.function marks functions outside classes, not int"),
        (lambda: staticmethod(len), "is a staticmethod"),
        (lambda: 3, "@fastrpc.function marks functions outside classes, not 3"),
    ],
)
def test_other_things_than_functions_are_refused(thing: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        fastrpc.function("math.mul")(thing())
    assert message in str(caught.value)


def test_a_function_in_a_class_is_told_to_be_a_method() -> None:
    with pytest.raises(TypeError, match=r"Math\.mul is under @fastrpc.function.*write @fastrpc.method"):

        @fastrpc.service("math")
        class Math:
            @fastrpc.function("math.mul")
            def mul(self, a: int) -> int:
                return a


def test_an_unknown_option_is_explained() -> None:
    anything: Any = fastrpc.function
    with pytest.raises(TypeError, match=r"function\(\) has no argument 'idempotant'"):
        anything("math.mul", idempotant=True)
