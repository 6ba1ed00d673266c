"""Services and methods that classes inherit: from bases, mixins, generic classes and contracts."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import pytest

from fastrpc.errors import ConfigError
from fastrpc.rpc.marking import method
from fastrpc.rpc.service import method_definition, service, service_definition

T = TypeVar("T")
U = TypeVar("U")


@dataclass
class User:
    name: str


@service("arith")
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


# Inheritance


class Base:
    @method(idempotent=True)
    async def ping(self) -> str:
        return type(self).__name__


@service("first")
class First(Base): ...


@service("second")
class Second(Base): ...


async def test_a_function_inherited_by_two_services_is_two_methods() -> None:
    assert method_definition(First.ping).full_name == "first.ping"
    assert method_definition(Second.ping).full_name == "second.ping"
    assert method_definition(First().ping).idempotent
    assert await First().ping() == "First"
    with pytest.raises(TypeError, match=r"the class of Base\.ping is not a service"):
        method_definition(Base.ping)


def test_a_subclass_inherits_the_service_and_its_methods() -> None:
    class Quick(Arith):
        async def mul(self, a: int, b: int) -> int:
            return a + b

        @method
        async def extra(self) -> int:
            return 1

    definition = service_definition(Quick)
    assert definition.name == "arith"
    assert set(definition.methods) == {*service_definition(Arith).methods, "extra"}
    assert definition.owner is Quick
    assert method_definition(Quick.mul).full_name == "arith.mul"
    assert method_definition(Quick.mul) is not method_definition(Arith.mul)
    assert method_definition(Quick.extra).full_name == "arith.extra"
    assert method_definition(Quick.slow) is method_definition(Arith.slow)


def test_an_undecorated_override_inherits_options_and_annotations() -> None:
    class Own(Arith):
        def div(self, a, b=2):  # type: ignore[no-untyped-def]
            return a

    definition = method_definition(Own.div)
    assert (definition.name, definition.idempotent, definition.timeout) == ("divide", True, 2.0)
    assert definition.style == "inline"
    assert definition.types().parameters == (int, int)
    assert definition.result is float


def test_an_override_may_change_options() -> None:
    class Own(Arith):
        @method(idempotent=False, timeout=9)
        def div(self, a: int, b: int = 1) -> float:
            return a / b

    definition = method_definition(Own.div)
    assert (definition.name, definition.idempotent, definition.timeout) == ("divide", False, 9.0)


def test_an_override_of_another_kind_is_refused() -> None:
    class Wrong(Arith):
        async def mul(self, a: int, b: int) -> AsyncIterator[int]:  # type: ignore[override]
            yield a

    with pytest.raises(
        TypeError, match=r"Wrong\.mul gives a stream of answers, but Arith\.mul gives one answer"
    ):
        service_definition(Wrong)


def test_a_method_set_to_none_is_taken_out() -> None:
    class Less(Arith):
        mul = None  # type: ignore[assignment]

    assert "mul" not in service_definition(Less).methods


def test_a_mixin_may_hold_the_implementation() -> None:
    class Code:
        async def mul(self, a: int, b: int) -> int:
            return a * b

    class Mixed(Code, Arith): ...

    assert method_definition(Mixed.mul).owner is Mixed
    with pytest.raises(TypeError, match="is not a remote method"):
        method_definition(Code.mul)


def test_one_function_under_two_names_is_two_methods() -> None:
    @service("twice")
    class Twice:
        @method
        async def mul(self, a: int) -> int:
            return a

        times = mul

    assert method_definition(Twice.mul).full_name == "twice.mul"
    assert method_definition(Twice.times).full_name == "twice.times"


def test_two_services_in_one_class_need_a_name_of_their_own() -> None:
    class Both(First, Second): ...

    with pytest.raises(TypeError, match="inherits from two services, 'first' and 'second'"):
        service_definition(Both)
    assert method_definition(service("both")(Both).ping).full_name == "both.ping"


def test_the_users_own_init_subclass_still_runs() -> None:
    seen: list[Any] = []

    @service("own")
    class Own:
        def __init_subclass__(cls, label: str = "", **options: Any) -> None:
            super().__init_subclass__(**options)
            seen.append((cls.__name__, label))

        @method
        async def ping(self) -> None: ...

    class Child(Own, label="x"):
        async def ping(self) -> None: ...

    assert seen == [("Child", "x")]
    assert method_definition(Child.ping).full_name == "own.ping"


# Generic services


class Store(Generic[T]):
    kept: list[T]

    @method
    async def get(self, key: str) -> T | None:
        return None

    @method
    async def put(self, items: list[T], by_name: dict[str, "T"]) -> None: ...

    @method
    async def watch(self) -> AsyncIterator[T]:
        for item in self.kept:
            yield item


class Middle(Store[list[U]], Generic[U]): ...


def test_a_concrete_subclass_binds_type_variables() -> None:
    @service("users")
    class Users(Store[User]): ...

    assert method_definition(Users.get).result == User | None
    assert method_definition(Users.put).types().parameters == (list[User], dict[str, User])
    assert method_definition(Users.watch).result is User


def test_type_variables_are_followed_through_generations() -> None:
    @service("lists")
    class Lists(Middle[int]): ...

    assert method_definition(Lists.get).result == list[int] | None


def test_a_subclass_of_a_generic_service_has_methods_of_its_own() -> None:
    @service("open")
    class Open(Generic[T]):
        @method
        async def get(self) -> list[T]:
            return []

    class Users(Open[User]): ...

    class Names(Open["str"]): ...

    assert method_definition(Users.get).result == list[User]
    assert method_definition(Names.get).result == list[str]
    assert method_definition(Open.get).result == list[Any]
    assert method_definition(Users.get).full_name == "open.get"


def test_a_bound_replaces_a_variable_without_a_type() -> None:
    B = TypeVar("B", bound=User)

    @service("bounded")
    class Bounded(Generic[B]):
        @method
        async def get(self) -> list[B]:
            return []

    assert method_definition(Bounded.get).result == list[User]


def test_a_parametrised_class_is_not_a_source() -> None:
    @service("open")
    class Open(Generic[T]):
        @method
        async def get(self) -> list[T]:
            return []

    with pytest.raises(TypeError, match="make a subclass of"):
        service_definition(Open[int])


# Contracts as base classes


def test_protocol_and_abc_contracts_are_services() -> None:
    @service("shop.v1.arith")
    class Shape(Protocol):
        @method(timeout=3)
        async def mul(self, a: int, b: int) -> int: ...
        @method
        def count(self, limit: int) -> AsyncIterator[int]: ...

    class Impl(Shape):
        async def mul(self, a: int, b: int) -> int:
            return a * b

        async def count(self, limit: int) -> AsyncIterator[int]:
            yield limit

    assert method_definition(Shape.mul).full_name == "shop.v1.arith.mul"
    assert method_definition(Shape.count).kind == "server_stream"
    assert method_definition(Impl.mul).timeout == 3
    assert method_definition(Impl.count).style == "async"
    assert set(service_definition(Impl()).handlers(Impl())) == {"mul", "count"}


def test_abstract_methods_keep_python_rules() -> None:
    @service("arith")
    class Shape(ABC):
        @method
        @abstractmethod
        async def mul(self, a: int, b: int) -> int: ...

    class Missing(Shape): ...

    class Impl(Shape):
        async def mul(self, a: int, b: int) -> int:
            return a * b

    with pytest.raises(TypeError, match="abstract"):
        Missing()  # type: ignore[abstract]
    assert list(service_definition(Impl()).handlers(Impl())) == ["mul"]


@pytest.mark.parametrize("base", [Protocol, ABC])
def test_a_contract_method_without_code_is_reported_before_serving(base: Any) -> None:
    @service("arith")
    class Shape(base):  # type: ignore[misc]
        @method
        async def mul(self, a: int) -> int: ...  # type: ignore[empty-body]
        @method
        async def add(self, a: int) -> int:  # type: ignore[empty-body]
            """Add."""

    class Impl(Shape):
        async def mul(self, a: int) -> int:
            return a

    with pytest.raises(ConfigError, match="Impl serves 'arith' without add"):
        service_definition(Impl).handlers(Impl())


def test_an_empty_body_in_a_class_of_ones_own_is_code() -> None:
    @service("nothing")
    class Nothing:
        @method
        async def ping(self) -> None: ...

    assert list(service_definition(Nothing).handlers(Nothing())) == ["ping"]
