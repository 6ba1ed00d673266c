"""What `@service` and `@method` make of a class and of its functions."""

import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any, Generic, Self, TypeVar

import pytest

from fastrpc.rpc.definition import MethodDefinition
from fastrpc.rpc.marking import method
from fastrpc.rpc.service import method_definition, service, service_definition

T = TypeVar("T")


@service("arith", version="2")
class Arith:
    @method
    async def mul(self, a: int, b: int) -> int:
        return a * b

    @method(name="divide", inline=True, idempotent=True, timeout=2)
    def div(self, a: int, b: int = 1) -> float:
        return a / b

    @method
    def slow(self) -> None:
        """Take a while."""

    @method
    async def count(self, limit: int) -> AsyncIterator[int]:
        for n in range(limit):
            yield n

    @method
    def walk(self, limit: int) -> Iterator[int]:
        yield from range(limit)

    @method
    async def total(self, numbers: AsyncIterator[int], start: int = 0) -> int:
        return start

    @method
    async def echo(self, messages: AsyncIterator[str]) -> AsyncIterator[str]:
        async for message in messages:
            yield message

    def local(self) -> None: ...


def definition_of(name: str) -> MethodDefinition:
    return service_definition(Arith).methods[name]


def test_decorators_leave_class_and_functions_as_they_are() -> None:
    class Plain:
        def ping(self) -> str:
            return "pong"

    ping = Plain.ping
    assert method(ping) is ping
    assert service("plain")(Plain) is Plain
    assert Plain.ping is ping
    assert Plain().ping() == "pong"


def test_a_service_lists_its_methods_in_their_order() -> None:
    definition = service_definition(Arith)
    assert definition.name == "arith"
    assert definition.version == "2"
    assert list(definition.methods) == ["mul", "divide", "slow", "count", "walk", "total", "echo"]
    assert service_definition(Arith()) is definition


@pytest.mark.parametrize(
    ("name", "kind", "style"),
    [
        ("mul", "unary", "async"),
        ("divide", "unary", "inline"),
        ("slow", "unary", "thread"),
        ("count", "server_stream", "async"),
        ("walk", "server_stream", "thread"),
        ("total", "client_stream", "async"),
        ("echo", "both_ways", "async"),
    ],
)
def test_kind_and_style_follow_from_how_the_handler_is_written(name: str, kind: str, style: str) -> None:
    assert (definition_of(name).kind, definition_of(name).style) == (kind, style)


def test_options_are_kept() -> None:
    definition = definition_of("divide")
    assert definition.full_name == "arith.divide"
    assert definition.attribute == "div"
    assert (definition.idempotent, definition.timeout, definition.public) == (True, 2.0, False)
    assert (definition_of("mul").idempotent, definition_of("mul").timeout) == (False, None)


def test_types_are_types_of_payloads() -> None:
    assert definition_of("mul").types().parameters == (int, int)
    assert definition_of("count").result is int
    total = definition_of("total")
    assert [parameter.name for parameter in total.parameters] == ["start"]
    assert total.types().message is int
    assert definition_of("slow").result is type(None)


def test_method_definition_takes_function_and_bound_method() -> None:
    definition = method_definition(Arith.mul)
    assert definition is definition_of("mul")
    assert method_definition(Arith().mul) is definition
    assert definition.function is Arith.mul


def test_method_definition_says_how_to_make_a_method_remote() -> None:
    with pytest.raises(TypeError, match=r"Arith\.local is not a remote method: put @fastrpc.method above it"):
        method_definition(Arith.local)
    with pytest.raises(TypeError, match="Arith is a class: pass one of its methods"):
        method_definition(Arith)


def test_a_marked_method_of_an_unmarked_class_has_its_own_error() -> None:
    class Forgotten:
        @method
        async def ping(self) -> None: ...

    with pytest.raises(TypeError, match=r"ping is not a service: put @fastrpc.service\(\"name\"\) above it"):
        method_definition(Forgotten.ping)
    with pytest.raises(TypeError, match="Forgotten is not a service"):
        service_definition(Forgotten)
    with pytest.raises(TypeError, match="is not a service"):
        service_definition(Forgotten())


# Signatures


def test_a_wrapper_under_the_decorator_must_say_its_signature() -> None:
    def logged(function: Any) -> Any:
        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            return await function(*args, **kwargs)

        return wrapper

    async def mul(self: Any, a: int) -> int:
        return a

    with pytest.raises(
        TypeError, match=r"`\*args`.* it is a wrapper: put @fastrpc.method below its decorator"
    ):
        method(logged(mul))

    described = logged(mul)
    described.__signature__ = inspect.signature(mul)
    cls: Any = service("described")(type("Described", (), {"mul": method(described)}))
    assert method_definition(cls.mul).types().parameters == (int,)


async def test_a_decorator_above_is_the_handler_with_the_signature_below() -> None:
    def doubled(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            async def run() -> Any:
                return 2 * await function(*args, **kwargs)

            return run()

        return wrapper

    @service("arith")
    class Doubled:
        @doubled
        @method(idempotent=True)
        async def mul(self, a: int, b: int) -> int:
            return a * b

    definition = method_definition(Doubled.mul)
    assert definition.types().parameters == (int, int)
    assert definition.style == "async"
    assert await service_definition(Doubled).handlers(Doubled())["mul"](2, 3) == 12


def test_callables_that_are_no_functions_can_be_inherited() -> None:
    class Descriptor:
        __wrapped__: Any

        def __init__(self, function: Any) -> None:
            functools.update_wrapper(self, function)
            self.__signature__ = inspect.signature(function)

        def __get__(self, instance: Any, owner: Any) -> Any:
            return self if instance is None else functools.partial(self.__wrapped__, instance)

        def __call__(self, *args: Any) -> Any:
            return self.__wrapped__(*args)

    def add(self: Any, a: int) -> int:
        return a + 1

    parent = type("Parent", (), {"add": method(Descriptor(add))})
    child: Any = service("child")(type("Child", (parent,), {}))
    assert method_definition(child.add).full_name == "child.add"
    assert child().add(1) == 2


def test_the_first_parameter_may_be_annotated_if_it_is_plainly_self() -> None:
    @service("shapes")
    class Shape(Generic[T]):
        @method
        def own(instance: Self, size: int) -> None: ...  # noqa: N805
        @method
        def quoted(me: "Shape[T]", size: int) -> None: ...  # noqa: N805
        @method
        def private(_shape: Any, size: int) -> None: ...  # noqa: N805
        @method
        def unused(_: Any, size: int) -> None: ...  # noqa: N805
        @method
        def underlined(self_: Any, size: int) -> None: ...  # noqa: N805

    methods = service_definition(Shape).methods.values()
    assert [[str(one) for one in each.parameters] for each in methods] == [["size: int"]] * 5


def test_async_generator_annotations_are_streams() -> None:
    @service("streams")
    class Streams:
        @method
        async def typed(self) -> AsyncGenerator[int, None]:
            yield 1

        @method
        async def bare(self):  # type: ignore[no-untyped-def]
            yield 1

        @method
        def plain(self):  # type: ignore[no-untyped-def]
            yield 1

    assert method_definition(Streams.typed).result is int
    assert method_definition(Streams.bare).kind == "server_stream"
    assert method_definition(Streams.bare).result is Any
    assert method_definition(Streams.plain).style == "thread"


def test_the_stream_parameter_goes_where_the_handler_takes_it() -> None:
    @service("streams")
    class Streams:
        @method
        async def first(self, numbers: AsyncIterator[int], a: int, b: int = 2) -> None: ...
        @method
        async def later(self, a: int, numbers: AsyncIterator[int], b: int) -> None: ...
        @method
        async def named(self, a: int = 1, *, numbers: AsyncIterator[int]) -> None: ...

    stream = object()
    assert method_definition(Streams.first).bind_stream((1,), {"b": 3}, stream) == ((stream, 1), {"b": 3})
    assert method_definition(Streams.later).bind_stream((1, 2), {}, stream) == ((1, stream, 2), {})
    assert method_definition(Streams.later).bind_stream((), {"a": 1, "b": 2}, stream) == (
        (),
        {"a": 1, "b": 2, "numbers": stream},
    )
    assert method_definition(Streams.named).bind_stream((1,), {}, stream) == ((1,), {"numbers": stream})
