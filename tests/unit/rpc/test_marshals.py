"""From the types of a method to its marshal, with the real codecs."""

import enum
import re
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NewType, TypedDict, TypeVar

import msgspec
import pytest

from fastrpc._core.payload.arguments import BoundArguments
from fastrpc._core.payload.coders import PayloadCoders
from fastrpc._core.payload.marshal import Marshal
from fastrpc.errors import CallError, ConfigError, DecodeError, EncodeError
from fastrpc.rpc import marshals
from fastrpc.rpc.coders import may_hold_containers
from fastrpc.rpc.definition import MethodDefinition
from fastrpc.rpc.marking import method
from fastrpc.rpc.marshals import check_service, codec_for, marshal_for, untyped_marshal
from fastrpc.rpc.service import method_definition, service, service_definition

T = TypeVar("T")
UserId = NewType("UserId", int)


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Page(Generic[T]):
    items: list[T]
    next: int | None = None
    labels: dict[str, T] = field(default_factory=dict)


class Options(TypedDict, total=False):
    fast: bool


class Tree(msgspec.Struct):
    value: int
    children: list["Tree"] = []


class Message:
    def __init__(self, text: str = "") -> None:
        self.text = text

    def SerializeToString(self) -> bytes:
        return self.text.encode()

    @classmethod
    def FromString(cls, payload: bytes) -> "Message":
        return cls(bytes(payload).decode())


class Own: ...


@service("all")
class All:
    @method
    async def mul(self, a: int, b: int = 2) -> int:
        return a * b

    @method
    async def many(
        self,
        scalars: tuple[datetime, Decimal, uuid.UUID, Colour],
        page: Page[int],
        options: Options,
        *,
        tree: Tree | None = None,
        limited: Annotated[int, msgspec.Meta(gt=0)] = 1,
    ) -> Page[str]:
        return Page([])

    @method
    async def plain(self, value, other=None):  # type: ignore[no-untyped-def]
        return value

    @method(codec="raw")
    async def echo(self, data: bytes) -> bytes:
        return data

    @method
    async def greet(self, message: Message) -> Message:
        return message

    @method
    async def fetch(self) -> Message:
        return Message()

    @method
    async def total(self, numbers: AsyncIterator[float], start: int = 0) -> AsyncIterator[Page[int]]:
        yield Page([])

    @method
    async def nothing(self) -> None: ...


def marshal_of(name: str, codec: str = "msgpack") -> Marshal:
    return marshal_for(service_definition(All).methods[name], codec, depth=100, items=1000)


def test_all_types_of_a_service_are_checked_at_once() -> None:
    check_service(service_definition(All))


def test_types_that_passed_are_not_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[str] = []
    coders_for = marshals.coders_for

    def noted(definition: MethodDefinition, *args: Any) -> PayloadCoders:
        prepared.append(definition.name)
        return coders_for(definition, *args)

    @service("fresh")
    class Fresh:
        @method
        async def give(self, value: int) -> int:
            return value

        @method
        async def take(self, value: "Unknown") -> None: ...  # type: ignore[name-defined] # noqa: F821

    monkeypatch.setattr(marshals, "coders_for", noted)
    for _ in range(2):
        with pytest.raises(ConfigError, match="Unknown"):
            check_service(service_definition(Fresh))
    assert prepared == ["give"]
    assert [one.is_checked for one in service_definition(Fresh).methods.values()] == [True, False]


def test_a_marshal_is_prepared_once() -> None:
    assert marshal_of("mul") is marshal_of("mul")
    assert marshal_of("mul") is not marshal_of("mul", "json")
    assert marshal_of("mul").method == "all.mul"


@pytest.mark.parametrize("codec", ["msgpack", "json"])
def test_every_kind_of_value_arrives_as_it_left(codec: str) -> None:
    marshal = marshal_of("many", codec)
    args = (
        (datetime(2024, 2, 3, tzinfo=UTC), Decimal("1.50"), uuid.uuid4(), Colour.RED),
        Page([1, 2], 3, {"a": 4}),
        Options(fast=True),
    )
    assert marshal.decode_arguments(marshal.encode_arguments(args, None)) == args
    named = {"tree": Tree(1, [Tree(2)]), "limited": 5}
    assert marshal.decode_arguments(marshal.encode_arguments(args, named)) == BoundArguments(args, named)
    assert marshal.decode_result(marshal.encode_result(Page(["x"]))) == Page(["x"])


def test_nothing_is_shared_between_caller_and_handler() -> None:
    marshal = marshal_of("plain")
    sent: dict[str, Any] = {"a": [1]}
    received = marshal.decode_arguments(marshal.encode_arguments((sent,), None))
    assert received == (sent,)
    assert received[0] is not sent  # type: ignore[index]
    assert received[0]["a"] is not sent["a"]  # type: ignore[index]


def test_constraints_hold() -> None:
    payload = msgspec.msgpack.encode({"limited": 0})
    with pytest.raises(CallError, match=r"limited: expected `int` >= 1"):
        marshal_of("many").decode_arguments(payload)


def test_unannotated_parameters_take_plain_values() -> None:
    marshal = marshal_of("plain")
    for value in (None, 1, "x", b"y", [1, {"a": 2}], {1: 2}, datetime(2024, 1, 1, tzinfo=UTC)):
        assert marshal.decode_arguments(marshal.encode_arguments((value,), None)) == (value,)
        assert marshal.decode_result(marshal.encode_result(value)) == value


def test_nothing_is_the_result_of_none() -> None:
    assert marshal_of("nothing").decode_result(marshal_of("nothing").encode_result(None)) is None
    with pytest.raises(DecodeError, match=r"all\.nothing: result: expected `null`|expected `None`"):
        marshal_of("nothing").decode_result(msgspec.msgpack.encode(1))


def test_streams_carry_messages_of_their_own_types() -> None:
    marshal = marshal_of("total")
    assert marshal.decode_arguments(marshal.encode_arguments((), {"start": 1})) == (1,)
    assert marshal.decode_message(marshal.encode_message(1.5)) == 1.5
    assert marshal.decode_result(marshal.encode_result(Page([1]))) == Page([1])
    with pytest.raises(CallError, match="message: expected `float`, got `str`"):
        marshal.decode_message(msgspec.msgpack.encode("x"))


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1, 2, 3), {}), ((1,), {"c": 1}), ((1,), {"a": 1}), ((), {"b": 1})],
)
def test_arguments_that_do_not_fit_raise_the_error_of_a_local_call(args: Any, kwargs: Any) -> None:
    with pytest.raises(TypeError) as local:
        All().mul(*args, **kwargs).close()
    with pytest.raises(TypeError) as remote:
        marshal_of("mul").encode_arguments(args, kwargs)
    assert str(remote.value) == str(local.value)


def test_keyword_only_arguments_that_do_not_fit_too() -> None:
    @service("named")
    class Named:
        @method
        async def get(self, a: int, /, b: int, *, c: int, d: int = 1) -> None: ...

    marshal = marshal_for(method_definition(Named.get), "msgpack", depth=1, items=10)
    calls: list[Any] = [
        ((1, 2), {}),
        ((1, 2, 3), {"c": 1}),
        ((), {"a": 1, "b": 2, "c": 3}),
        ((1,), {"e": 1}),
    ]
    for args, kwargs in calls:
        with pytest.raises(TypeError) as local:
            Named().get(*args, **kwargs).close()
        with pytest.raises(TypeError) as remote:
            marshal.encode_arguments(args, kwargs)
        assert str(remote.value) == str(local.value)


# Codecs


def test_methods_choose_their_codec_by_their_types() -> None:
    methods = service_definition(All).methods
    assert codec_for(methods["mul"], "json") == "json"
    assert codec_for(methods["echo"], "json") == "raw"
    assert codec_for(methods["greet"], "json") == "protobuf"
    assert codec_for(methods["fetch"], "msgpack") == "protobuf"


def test_raw_and_protobuf_travel_untouched() -> None:
    data = b"x" * 1000
    assert marshal_of("echo", "raw").encode_arguments((data,), None) is data
    greet = marshal_of("greet", "protobuf")
    assert greet.encode_arguments((Message("hi"),), None) == b"hi"
    assert greet.decode_result(b"hi").text == "hi"
    assert marshal_of("fetch", "protobuf").decode_arguments(b"") == ()


def test_raw_methods_can_be_called_by_msgpack() -> None:
    marshal = marshal_of("echo")
    assert marshal.decode_arguments(marshal.encode_arguments((b"x",), None)) == (b"x",)


@pytest.mark.parametrize(
    ("name", "codec", "text"),
    [
        ("mul", "raw", r"All\.mul: parameter 'a' is int, which raw cannot carry"),
        ("mul", "protobuf", r"All\.mul: parameter 'a' is int, which protobuf cannot carry"),
        ("nothing", "raw", r"All\.nothing: the result is None, which raw cannot carry"),
        ("greet", "msgpack", r"'message' is Message, .*: a protobuf message travels by codec protobuf"),
        ("mul", "nosuch", "no codec is called 'nosuch'"),
    ],
)
def test_a_codec_that_cannot_carry_a_method_is_a_config_error(name: str, codec: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        marshal_of(name, codec)


def test_protobuf_carries_one_message() -> None:
    @service("two")
    class Two:
        @method
        async def get(self, a: Message, b: Message) -> Message: ...  # type: ignore[empty-body]

    with pytest.raises(ConfigError, match=r"Two\.get has 2 parameters, codec protobuf carries one"):
        check_service(service_definition(Two))


def test_none_is_no_protobuf_message_unless_the_type_is_none() -> None:
    @service("noted")
    class Noted:
        @method
        async def note(self, message: Message) -> None: ...

        @method
        async def collect(self, messages: AsyncIterator[Message]) -> Message: ...  # type: ignore[empty-body]

    methods = service_definition(Noted).methods
    note, collect = (marshal_for(methods[name], "protobuf", depth=9, items=9) for name in ("note", "collect"))
    assert note.encode_result(None) == b""
    assert collect.encode_arguments((), None) == b""
    with pytest.raises(
        EncodeError, match=r"noted\.note: argument message, of type NoneType, cannot be encoded"
    ):
        note.encode_arguments((None,), None)
    with pytest.raises(EncodeError, match=r"noted\.collect: a message, of type NoneType, cannot be encoded"):
        collect.encode_message(None)
    with pytest.raises(EncodeError, match=r"noted\.collect: the result, of type NoneType, cannot be encoded"):
        collect.encode_result(None)
    assert untyped_marshal("protobuf", depth=9, items=9).encode_arguments((None,), None) == b""


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Own, "Own has no encoding: make it a dataclass or a msgspec.Struct"),
        (list[Own], "Own has no encoding"),
        (Page[Own], "Own has no encoding"),
        (list[int] | tuple[int], "may not contain more than one array-like"),
        (AsyncIterator[int] | None, "AsyncIterator"),
        (5, "5"),
    ],
)
def test_a_type_that_cannot_travel_is_a_config_error(kind: Any, text: str) -> None:
    async def get(self: Any, key: Any) -> None: ...

    get.__annotations__["key"] = kind
    cls = service("odd")(type("Odd", (), {"get": method(get)}))
    with pytest.raises(ConfigError, match=rf"Odd\.get: parameter 'key' is .*{text}"):
        check_service(service_definition(cls))


def test_a_contract_is_compared_again_when_all_types_are_known() -> None:
    later: dict[str, Any] = {}
    source = """
from typing import Protocol
from fastrpc.rpc.marking import method
from fastrpc.rpc.service import service

@service("later")
class Contract(Protocol):
    @method
    def get(self, key: "Key") -> None: ...

@service("later", implements=Contract)
class Impl:
    def get(self, key: "Key") -> None: ...
"""
    exec(source, later)
    with pytest.raises(ConfigError, match="'Key' is unknown"):
        check_service(service_definition(later["Impl"]))
    later["Key"] = int
    check_service(service_definition(later["Impl"]))


# Methods known only by name


def test_untyped_calls_go_by_every_codec() -> None:
    for codec in ("msgpack", "json"):
        marshal = untyped_marshal(codec, depth=10, items=10)
        assert marshal is untyped_marshal(codec, depth=10, items=10)
        payload = marshal.encode_arguments((6,), {"b": 7})
        assert marshal_of("mul", codec).decode_arguments(payload) == (6, 7)
        assert marshal.decode_result(marshal.encode_result({"a": [1]})) == {"a": [1]}
    assert untyped_marshal("raw", depth=1, items=1).encode_arguments((b"x",), None) == b"x"
    with pytest.raises(TypeError, match="by codec raw takes one value"):
        untyped_marshal("raw", depth=1, items=1).encode_arguments((b"x", b"y"), None)


@pytest.mark.parametrize(
    "kind",
    [
        int,
        str,
        bytes,
        None,
        type(None),
        float | None,
        Literal["a", 1],
        Colour,
        UserId,
        Annotated[int, "x"],
        Decimal,
    ],
)
def test_scalars_need_no_scan(kind: Any) -> None:
    assert not may_hold_containers(kind)


@pytest.mark.parametrize(
    "kind", [Any, list[int], dict, Tree, Options, Page[int], int | list[int], tuple[int], object]
)
def test_every_type_that_may_contain_other_types_is_scanned(kind: Any) -> None:
    assert may_hold_containers(kind)


def test_object_is_any_value() -> None:
    @service("open")
    class Open:
        @method
        async def get(self, key: object, more: dict[str, object]) -> list[object]: ...  # type: ignore[empty-body]

    check_service(service_definition(Open))
    assert may_hold_containers(object)


@service("selves")
class Selves:
    @method
    async def place(this, self: int, *, cents: int = 1) -> None: ...  # noqa: N805


def test_a_parameter_may_be_called_self() -> None:
    marshal = marshal_for(method_definition(Selves.place), "msgpack", depth=100, items=1_000)
    assert marshal.encode_arguments((), {"self": 7}) == b"\x91\x07"
    with pytest.raises(
        TypeError, match=re.escape("Selves.place() missing 1 required positional argument: 'self'")
    ):
        marshal.encode_arguments((), {})
