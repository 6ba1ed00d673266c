"""Ways by which arguments reach a handler: by position, by name, by default; and arguments that do not fit."""

import inspect
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

import fastrpc
from fastrpc import CallError, Client, DecodeError, EncodeError, Status
from fastrpc.testing import connected
from tests.support.served import served

pytestmark = pytest.mark.one_loop


@dataclass
class Place:
    street: str
    number: int


@fastrpc.service("arguments")
class Arguments:
    def __init__(self) -> None:
        self.ran = 0

    @fastrpc.method
    async def mixed(self, a: int, b: int = 2, *, c: int = 3, d: str = "d") -> list[Any]:
        self.ran += 1
        return [a, b, c, d]

    @fastrpc.method
    async def by_position(self, a: int, b: int = 5, /) -> list[int]:
        self.ran += 1
        return [a, b]

    @fastrpc.method
    async def by_name(self, *, a: int, b: int = 5) -> list[int]:
        self.ran += 1
        return [a, b]

    @fastrpc.method
    async def nothing(self) -> str:
        return "nothing"

    @fastrpc.method
    async def live(self, place: Place, tags: list[str] | None = None) -> str:
        self.ran += 1
        return f"{place.street} {place.number}"

    @fastrpc.method
    async def wrong_result(self) -> int:
        return "a word"  # type: ignore[return-value]

    @fastrpc.method
    async def unable(self) -> Any:
        return object()

    @fastrpc.method
    async def anything(self, value, other=None):  # type: ignore[no-untyped-def]
        return [value, other]


each_call = pytest.mark.parametrize(
    ("args", "kwargs", "expected"),
    [
        ((1,), {}, [1, 2, 3, "d"]),
        ((1, 9), {}, [1, 9, 3, "d"]),
        ((1,), {"b": 9}, [1, 9, 3, "d"]),
        ((), {"a": 1}, [1, 2, 3, "d"]),
        ((), {"b": 9, "a": 1}, [1, 9, 3, "d"]),
        ((1,), {"c": 7}, [1, 2, 7, "d"]),
        ((1, 9), {"d": "x", "c": 7}, [1, 9, 7, "x"]),
        ((1,), {"d": "x"}, [1, 2, 3, "x"]),
    ],
)


@each_call
@pytest.mark.parametrize("codec", ["msgpack", "json"])
async def test_arguments_arrive_as_in_a_local_call(
    codec: str, args: tuple[Any, ...], kwargs: dict[str, Any], expected: list[Any]
) -> None:
    async with connected(Arguments) as client:
        assert await Arguments().mixed(*args, **kwargs) == expected
        view = client.with_options(codec=codec)
        assert await view.call(Arguments.mixed, *args, **kwargs) == expected
        assert await view.call("arguments.mixed", *args, **kwargs) == expected


async def test_positional_only_and_keyword_only_parameters_work() -> None:
    async with connected(Arguments) as client:
        assert await client.call(Arguments.by_position, 1) == [1, 5]
        assert await client.call("arguments.by_position", 1, 6) == [1, 6]
        assert await client.call(Arguments.by_name, a=1) == [1, 5]
        assert await client.call("arguments.by_name", b=6, a=1) == [1, 6]
        assert await client.call("arguments.nothing") == "nothing"


async def test_arguments_are_not_confused_with_arguments_of_the_verb() -> None:
    @fastrpc.service("names")
    class Names:
        @fastrpc.method
        async def all(self, method: int, args: int, kwargs: int, timeout: int) -> list[int]:
            return [method, args, kwargs, timeout]

    async with connected(Names) as client:
        assert await client.call(Names.all, method=1, args=2, kwargs=3, timeout=4) == [1, 2, 3, 4]
        assert await client.call("names.all", method=1, args=2, kwargs=3, timeout=4) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {}),
        ((1, 2, 3), {}),
        ((1,), {"a": 1}),
        ((1,), {"e": 1}),
        ((), {"b": 1}),
    ],
)
async def test_arguments_that_do_not_fit_the_signature_raise_the_error_of_a_local_call(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    arguments = Arguments()
    async with connected(arguments) as client:
        with pytest.raises(TypeError) as local:
            arguments.mixed(*args, **kwargs)  # type: ignore[unused-coroutine]
        with pytest.raises(TypeError) as remote:
            await client.call(Arguments.mixed, *args, **kwargs)
        assert str(remote.value) == str(local.value)
        assert not isinstance(remote.value, fastrpc.FastRPCError)
        assert arguments.ran == 0


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((), {}, "a"),
        ((1, 2, 3, "4", 5), {}, "5"),
        ((1,), {"e": 1}, "e"),
        ((1,), {"a": 1}, "a"),
    ],
)
async def test_calls_by_name_get_the_servers_error_for_wrong_arguments(
    args: tuple[Any, ...], kwargs: dict[str, Any], message: str
) -> None:
    arguments = Arguments()
    async with connected(arguments) as client:
        with pytest.raises(CallError, match=message) as refused:
            await client.call("arguments.mixed", *args, **kwargs)
        assert refused.value.status is Status.INVALID_ARGUMENT
        assert refused.value.processed == "no"
        assert arguments.ran == 0


@pytest.mark.parametrize("codec", ["msgpack", "json"])
@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({"street": "Main", "number": "five"}, r"arguments\.\w+: place\.number: expected `int`, got `str`"),
        ({"street": "Main"}, r"place.*number"),
        ("Main 5", r"place: expected `object`, got `str`"),
    ],
)
async def test_a_wrong_argument_names_the_field_and_the_expected_type(
    codec: str, place: Any, message: str
) -> None:
    arguments = Arguments()
    async with connected(arguments) as client:
        with pytest.raises(CallError, match=message) as refused:
            await client.with_options(codec=codec).call("arguments.live", place)
        assert refused.value.status is Status.INVALID_ARGUMENT
        assert (refused.value.processed, refused.value.retryable) == ("no", False)
        assert arguments.ran == 0


async def test_a_wrong_element_deep_inside_is_named() -> None:
    async with connected(Arguments) as client:
        with pytest.raises(CallError, match=r"tags\[2\]: expected `str`, got `int`"):
            await client.call("arguments.live", {"street": "Main", "number": 5}, ["a", "b", 3])


async def test_left_out_defaults_are_the_servers() -> None:
    @fastrpc.service("greeter")
    class Old:
        @fastrpc.method
        async def greet(self, name: str, word: str = "old") -> str:
            return f"{word} {name}"

    @fastrpc.service("greeter")
    class New:
        @fastrpc.method
        async def greet(self, name: str, word: str = "new", *, mark: str = "!") -> str:
            return f"{word} {name}{mark}"

    async with connected(New) as client:
        assert await client.call(Old.greet, "Ada") == "new Ada!"
        assert await client.call(Old.greet, "Ada", "hi") == "hi Ada!"
        assert await client.call(New.greet, "Ada", mark="?") == "new Ada?"


async def test_an_unannotated_parameter_takes_plain_values() -> None:
    async with connected(Arguments) as client:
        for value in (None, True, -1, 2.5, "x", b"y", [1, [2]], {"a": {1: 2}}):
            assert await client.call(Arguments.anything, value) == [value, None]
            assert await client.call("arguments.anything", value, other=value) == [value, value]


async def test_values_that_cannot_be_encoded_fail_before_sending() -> None:
    arguments = Arguments()
    async with connected(arguments) as client:
        with pytest.raises(EncodeError, match="object") as unable:
            await client.call("arguments.mixed", object())
        assert (unable.value.processed, unable.value.retryable) == ("no", False)
        with pytest.raises(EncodeError):
            await client.call(Arguments.mixed, object())  # type: ignore[call-overload]
        with pytest.raises(EncodeError):
            await client.call("arguments.mixed", 2**64)
        assert arguments.ran == 0


async def test_an_answer_that_does_not_fit_its_annotation_is_a_decode_error() -> None:
    async with served(Arguments) as target, Client(target) as client:
        with pytest.raises(DecodeError, match=r"arguments\.wrong_result.*expected `int`, got `str`") as wrong:
            await client.call(Arguments.wrong_result)
        assert (wrong.value.processed, wrong.value.retryable) == ("yes", False)
        assert await client.call("arguments.wrong_result") == "a word"


async def test_an_answer_that_cannot_be_encoded_is_an_internal_error() -> None:
    async with connected(Arguments) as client:
        with pytest.raises(CallError) as unable:
            await client.call(Arguments.unable)
        assert unable.value.status is Status.INTERNAL
        assert unable.value.processed == "yes"
        assert await client.call(Arguments.nothing) == "nothing"


async def test_a_local_call_stays_a_plain_call() -> None:
    assert await Arguments().mixed(1) == [1, 2, 3, "d"]
    assert inspect.iscoroutinefunction(Arguments.mixed)


async def test_raw_methods_take_bytes_only() -> None:
    @fastrpc.service("blobs")
    class Blobs:
        @fastrpc.method(codec="raw")
        async def turn(self, data: bytes) -> bytes:
            return data[::-1]

    async with connected(Blobs) as client:
        assert await client.call(Blobs.turn, b"abc") == b"cba"
        assert await client.call(Blobs.turn, data=b"abc") == b"cba"
        assert await client.with_options(codec="raw").call("blobs.turn", b"abc") == b"cba"
        with pytest.raises((TypeError, EncodeError)):
            await client.call(Blobs.turn, "abc")  # type: ignore[call-overload]


async def test_a_codec_that_the_server_does_not_accept_is_refused() -> None:
    config = fastrpc.ServerConfig(codecs=("msgpack",))
    async with connected(Arguments, config=config) as client:
        with pytest.raises(CallError, match="codec") as refused:
            await client.with_options(codec="json").call(Arguments.mixed, 1)
        assert refused.value.status is Status.UNIMPLEMENTED
        assert refused.value.processed == "no"


async def test_a_value_nested_too_deep_is_refused_and_the_connection_lives() -> None:
    deep: list[Any] = []
    for _ in range(150):
        deep = [deep]
    arguments = Arguments()
    async with served(arguments) as target, Client(target) as client:
        with pytest.raises(CallError, match="100") as refused:
            await client.call("arguments.anything", deep)
        assert refused.value.status in (Status.INVALID_ARGUMENT, Status.RESOURCE_EXHAUSTED)
        assert refused.value.processed == "no"
        assert await client.call(Arguments.nothing) == "nothing"


async def test_a_struct_appended_to_keeps_old_callers_working() -> None:
    class OldPoint(msgspec.Struct):
        x: int

    class NewPoint(msgspec.Struct):
        x: int
        y: int = 9

    @fastrpc.service("points")
    class Old:
        @fastrpc.method
        async def sum(self, point: OldPoint) -> int: ...  # type: ignore[empty-body]

    @fastrpc.service("points")
    class New:
        @fastrpc.method
        async def sum(self, point: NewPoint) -> int:
            return point.x + point.y

    async with connected(New) as client:
        assert await client.call(Old.sum, OldPoint(1)) == 10
