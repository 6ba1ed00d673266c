"""Mistakes that `@service` and `@method` refuse, and the remedies that they name."""

import functools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from fastrpc.errors import ConfigError
from fastrpc.rpc.marking import method
from fastrpc.rpc.service import service, service_definition


class Base:
    @method
    async def ping(self) -> None: ...


@service("arith")
class Arith(Base): ...


nobody: Any = None


async def star(self: Any, *numbers: int) -> None: ...
async def stars(self: Any, **numbers: int) -> None: ...
async def alone() -> None: ...
async def named(*, self: Any) -> None: ...
async def annotated(number: int) -> int: ...  # type: ignore[empty-body]
async def no_yield(self: Any) -> AsyncIterator[int]: ...  # type: ignore[empty-body]
async def sync_result(self: Any) -> Iterator[int]: ...  # type: ignore[empty-body]
async def two(self: Any, a: AsyncIterator[int], b: AsyncIterator[int]) -> None: ...
async def sync_input(self: Any, a: Iterator[int]) -> None: ...
async def wrong_yield(self: Any) -> int:  # type: ignore[misc]
    yield 1


def wrong_sync_yield(self: Any) -> list[int]:  # type: ignore[misc]
    yield 1


def async_sync_yield(self: Any) -> AsyncIterator[int]:  # type: ignore[misc]
    yield 1


async def default_stream(
    self: Any, a: AsyncIterator[int] | None = None, *, b: AsyncIterator[int] = nobody
) -> None: ...


@pytest.mark.parametrize(
    ("handler", "text"),
    [
        (
            star,
            r"star has `\*numbers`, but a remote method takes a fixed list of parameters: write each parameter out",
        ),
        (stars, r"stars has `\*\*numbers`"),
        (
            annotated,
            r"annotated: the first parameter 'number' is annotated, so it is taken for an argument: write `self`",
        ),
        (named, r"named has no `self`: write `def named\(self, …\)`"),
        (alone, r"alone has no `self`: write `def alone\(self, …\)`"),
        (no_yield, r"does not `yield`: yield the messages, or write `def no_yield` without `async`"),
        (sync_result, r"write `AsyncIterator` and `yield` in it"),
        (two, r"several streams, 'a' and 'b': a call has one"),
        (sync_input, r"parameter 'a' is Iterator\[int\]: write `AsyncIterator\[T\]`"),
        (wrong_yield, r"yields, but its result is `int`: write `-> AsyncIterator\[T\]`"),
        (wrong_sync_yield, r"yields, but its result is `list\[int\]`: write `-> Iterator\[T\]`"),
        (async_sync_yield, r"yields, but its result is `AsyncIterator\[int\]`: write `async def`"),
        (default_stream, r"the stream 'b' has a default"),
        (classmethod(star), r"star is a classmethod: a remote method is a plain `def star\(self, …\)`"),
        (staticmethod(star), r"star is a staticmethod"),
        (property(lambda self: 1), r"is a property"),
        (Arith, r"marks functions in a class, not Arith"),
        (functools.partial(star), r"marks functions in a class"),
        (5, r"marks functions in a class, not 5"),
        (dict.get, r"cannot be marked|has no signature"),
    ],
)
def test_functions_that_cannot_be_remote_are_refused_at_decoration(handler: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        method(handler)


def test_inline_is_for_plain_functions() -> None:
    async def ping(self: Any) -> None: ...

    with pytest.raises(TypeError, match="ping runs on the loop as it is: leave `inline=True` out"):
        method(inline=True)(ping)


def test_a_decorator_that_hides_the_function_is_refused_with_the_class() -> None:
    hiding: list[Any] = [classmethod, staticmethod, property]
    for hide in hiding:
        cls = type("Hidden", (), {"ping": hide(method(Base.ping))})
        with pytest.raises(TypeError, match=rf"Hidden\.ping is a {hide.__name__}"):
            service("hidden")(cls)


def test_two_methods_of_one_name_are_refused() -> None:
    with pytest.raises(TypeError, match="Twins has two methods called 'ping', `ping` and `pong`"):

        @service("twins")
        class Twins:
            @method
            async def ping(self) -> None: ...
            @method("ping")
            async def pong(self) -> None: ...


def test_a_thread_cannot_read_a_stream_from_the_caller() -> None:
    with pytest.raises(TypeError, match=r"Sums\.total is a plain `def` and takes the stream 'numbers'"):

        @service("sums")
        class Sums:
            @method
            def total(self, numbers: AsyncIterator[int]) -> int:
                return 0


def test_a_class_is_one_service_only() -> None:
    with pytest.raises(TypeError, match="Arith is the service 'arith' already: make a subclass for 'other'"):
        service("other")(Arith)


def test_service_needs_a_name() -> None:
    with pytest.raises(TypeError, match=r'needs a name: write @fastrpc.service\("name"\) above Base'):
        service(Base)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="marks classes, not alone"):
        service("x")(alone)  # type: ignore[type-var]


@pytest.mark.parametrize("name", [" ", ".", "a.", "a b", "a..b", "ä", "1a", "a/b"])
def test_service_names_are_words_joined_by_dots(name: str) -> None:
    with pytest.raises(ConfigError, match="is not a service name"):
        service(name)


@pytest.mark.parametrize("name", ["", "a.b", "a b", "é"])
def test_method_names_are_words(name: str) -> None:
    with pytest.raises(ConfigError, match="is not a method name"):
        method(name)


def test_the_name_of_a_function_is_a_method_name_too() -> None:
    class Named:
        @method
        def größe(self) -> int:
            return 1

    with pytest.raises(ConfigError, match="'größe' is not a method name"):
        service("named")(Named)

    @service("named")
    class Renamed:
        @method("size")
        def größe(self) -> int:
            return 1

    assert [*service_definition(Renamed).methods] == ["size"]


@pytest.mark.parametrize("timeout", [0, -1, True, float("nan"), "5"])
def test_timeouts_are_seconds_above_zero(timeout: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"timeout is .*, it must be seconds above 0 and at most 100,000,000, or None"
    ):
        method(timeout=timeout)


def test_names_too_long_for_the_wire_are_refused() -> None:
    with pytest.raises(ConfigError, match="longer than 255"):
        service("a" * 300)(type("Long", (Base,), {}))


# Raw bytes


async def raw_good(self: Any, data: bytes) -> bytes:
    return data


async def raw_stream(self: Any, data: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for piece in data:
        yield piece


async def raw_text(self: Any, data: str) -> bytes: ...  # type: ignore[empty-body]
async def raw_result(self: Any, data: bytes) -> str: ...  # type: ignore[empty-body]
async def raw_bare(self: Any, data) -> bytes: ...  # type: ignore[no-untyped-def, empty-body]
async def raw_two(self: Any, data: bytes, more: bytes) -> bytes: ...  # type: ignore[empty-body]
async def raw_default(self: Any, data: bytes = b"x") -> bytes: ...  # type: ignore[empty-body]
async def raw_messages(self: Any, data: AsyncIterator[str]) -> bytes: ...  # type: ignore[empty-body]


@pytest.mark.parametrize("handler", [raw_good, raw_stream])
def test_raw_methods_take_and_give_bytes(handler: Any) -> None:
    assert method(codec="raw")(handler) is handler


@pytest.mark.parametrize(
    ("handler", "text"),
    [
        (raw_text, "parameter 'data' is not annotated as bytes"),
        (raw_result, "the result is not annotated as bytes"),
        (raw_bare, "parameter 'data' is not annotated as bytes"),
        (raw_two, "has 2 parameters"),
        (raw_default, "'data' has a default"),
        (raw_messages, "'data' does not stream bytes"),
    ],
)
def test_other_annotations_of_raw_methods_are_refused_at_decoration(handler: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        method(codec="raw")(handler)
