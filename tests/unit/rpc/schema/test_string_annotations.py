"""Annotations that are text: all of them, under this import."""

from __future__ import annotations

import builtins
import typing
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import msgspec
import pytest

from fastrpc.errors import ConfigError
from fastrpc.rpc.marking import method
from fastrpc.rpc.marshals import check_service, marshal_for
from fastrpc.rpc.service import method_definition, service, service_definition

if TYPE_CHECKING:
    from decimal import Decimal as Money

T = TypeVar("T")


@service("notes")
class Notes:
    class Inner(msgspec.Struct):
        text: str

    @method
    async def list(self) -> list[Note]:
        return []

    @method
    async def put(self, note: Note, tags: dict[str, builtins.list[Note]] | None = None) -> Notes.Inner:
        return Notes.Inner(note.text)

    @method
    async def inner(self, inner: Inner) -> None: ...

    @method
    async def watch(self) -> AsyncIterator[Note]:
        yield Note("x")

    @method
    async def add(self, notes: typing.AsyncIterator[Note]) -> int:
        return 0

    @method
    def raw(self, data: Payload) -> bytes:
        return data


class Note(msgspec.Struct):
    text: str


Payload = bytes


def test_names_are_looked_up_when_they_are_needed() -> None:
    assert method_definition(Notes.put).types().parameters == (Note, dict[str, list[Note]] | None)
    assert method_definition(Notes.put).result is Notes.Inner
    assert method_definition(Notes.watch).result is Note
    assert method_definition(Notes.add).types().message is Note
    check_service(service_definition(Notes))


def test_the_class_body_is_looked_at_last() -> None:
    assert method_definition(Notes.list).result == list[Note]
    assert method_definition(Notes.inner).types().parameters == (Notes.Inner,)


def test_streams_are_recognised_before_their_messages_are_known() -> None:
    @service("early")
    class Early:
        @method
        async def watch(self, key: str) -> AsyncIterator[NotYet]:  # type: ignore[name-defined] # noqa: F821
            yield 1

    assert method_definition(Early.watch).kind == "server_stream"
    with pytest.raises(TypeError, match="does not `yield`"):

        class Wrong:
            @method
            async def watch(self) -> AsyncIterator[NotYet]: ...  # type: ignore # noqa: F821


@service("bank")
class Bank(Protocol):
    @method
    async def pay(self, amount: Money) -> None: ...
    @method
    async def balance(self) -> list[Money]: ...
    @method
    async def watch(self, changes: AsyncIterator[Money]) -> None: ...


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pay", r"Bank\.pay: parameter 'amount' is Money, but 'Money' is unknown at run time"),
        ("balance", r"Bank\.balance: the result is list\[Money\], but 'Money' is unknown"),
        ("watch", r"Bank\.watch: parameter 'changes' is AsyncIterator\[Money\], but 'Money' is unknown"),
    ],
)
def test_a_name_for_type_checkers_only_is_a_config_error(name: str, text: str) -> None:
    definition = method_definition(getattr(Bank, name))
    with pytest.raises(ConfigError, match=text) as raised:
        marshal_for(definition, "msgpack", depth=10, items=10)
    assert (
        raised.value.hint == "import it outside `if TYPE_CHECKING:`, or define it where the module can see it"
    )
    with pytest.raises(ConfigError, match=r"Bank\.pay"):
        check_service(service_definition(Bank))


def test_types_of_the_function_around_the_class_are_seen() -> None:
    class Local(msgspec.Struct):
        x: int

    @service("local")
    class Service:
        @method
        async def get(self, key: list[Local]) -> Local | None: ...

    assert method_definition(Service.get).types().parameters == (list[Local],)
    assert method_definition(Service.get).result == Local | None


def test_text_that_is_not_a_type_is_a_config_error() -> None:
    @service("broken")
    class Broken:
        @method
        async def get(self, key: "list[") -> typing.NoSuchThing: ...  # type: ignore # noqa: F722

    with pytest.raises(ConfigError, match=r"Broken\.get: parameter 'key' is .*no type"):
        method_definition(Broken.get).types()


class Store(Generic[T]):
    @method
    async def get(self, key: str) -> list[T]:
        return []


@service("stored")
class Stored(Store["Note"]): ...


def test_generic_bases_resolve_too() -> None:
    assert method_definition(Stored.get).result == list[Note]


def test_a_first_parameter_is_self_by_the_name_of_its_class() -> None:
    @service("own")
    class Own:
        @method
        def by_class(me: Own, size: int) -> None: ...  # noqa: N805
        @method
        def by_quoted_class(me: "Own", size: int) -> None: ...  # noqa: N805, UP037
        @method
        def by_self(me: typing.Self, size: int) -> None: ...  # noqa: N805

    methods = service_definition(Own).methods.values()
    assert [[str(one) for one in each.parameters] for each in methods] == [["size: int"]] * 3
    with pytest.raises(
        TypeError, match="the first parameter 'owns' is annotated, so it is taken for an argument"
    ):

        class Others:
            @method
            def put(owns: builtins.list[Others]) -> None: ...  # noqa: N805


def test_raw_is_checked_at_decoration() -> None:
    async def good(self: object, data: bytes) -> bytes:
        return data

    async def bad(self: object, data: str) -> bytes:
        return b""

    method(codec="raw")(good)
    with pytest.raises(TypeError, match="'data' is not annotated as bytes"):
        method(codec="raw")(bad)
