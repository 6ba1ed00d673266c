"""`implements=`: a class that keeps a contract without inheriting from it."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Annotated, Any, Literal, Optional, Protocol

import pytest

from fastrpc.rpc.contract import is_accepted
from fastrpc.rpc.marking import method
from fastrpc.rpc.service import method_definition, service, service_definition


@service("arith")
class Arith(Protocol):
    @method(idempotent=True, timeout=3)
    async def mul(self, a: int, b: int = 1) -> int: ...
    @method
    def count(self, limit: int, *, step: int = 1) -> AsyncIterator[int]: ...
    @method("add")
    async def plus(self, a: "Forward") -> "Forward": ...


class Forward: ...


def implementing(**members: Any) -> type[Any]:
    """Return a class of functions as the service `arith` that implements `Arith`."""
    cls: type[Any] = service("arith", implements=Arith)(type("Impl", (), members))
    return cls


def mul(self: Any, a: int, b: int = 1) -> int:
    return a * b


def count(self: Any, limit: int, *, step: int = 1) -> Iterator[int]:
    yield limit


def plus(self: Any, a: Forward) -> Forward:
    return a


def test_a_class_of_plain_functions_keeps_a_contract() -> None:
    cls = implementing(mul=mul, count=count, plus=plus)
    definition = service_definition(cls)
    assert set(definition.methods) == {"mul", "count", "add"}
    assert definition.contract is service_definition(Arith)
    assert (definition.methods["mul"].style, definition.methods["count"].style) == ("thread", "thread")
    assert set(definition.handlers(cls())) == {"mul", "count", "add"}


def test_options_are_inherited_by_name() -> None:
    cls = implementing(mul=method(timeout=1)(mul), count=count, plus=plus)
    definition = method_definition(cls.mul)
    assert (definition.idempotent, definition.timeout) == (True, 1.0)
    assert method_definition(cls.plus).full_name == "arith.add"


def test_unannotated_functions_take_the_types_of_the_contract() -> None:
    def bare(self, a, b=1):  # type: ignore[no-untyped-def]
        return a

    cls = implementing(mul=bare, count=count, plus=plus)
    assert method_definition(cls.mul).types().parameters == (int, int)
    assert method_definition(cls.mul).result is int


def test_an_abstract_class_is_a_contract_too() -> None:
    @service("arith")
    class Shape(ABC):
        @method
        @abstractmethod
        async def mul(self, a: int) -> int: ...

    with pytest.raises(
        TypeError, match=r"Impl does not implement .*Shape:\n  - mul is missing: mul\(a: int\)"
    ):
        service("arith", implements=Shape)(type("Impl", (), {}))


def wider(self: Any, a: int | str, b: float = 1, c: bool = True) -> bool: ...  # type: ignore[empty-body]


def test_a_wider_parameter_and_another_default_are_no_difference() -> None:
    def wide(self: Any, a: int | str, b: float = 1, c: bool = True) -> int: ...  # type: ignore[empty-body]

    implementing(mul=wide, count=count, plus=plus)


def fewer(self: Any, a: int) -> int: ...  # type: ignore[empty-body]
def renamed(self: Any, a: int, c: int = 1) -> int: ...  # type: ignore[empty-body]
def required(self: Any, a: int, b: int) -> int: ...  # type: ignore[empty-body]
def further(self: Any, a: int, b: int = 1, *, c: int) -> int: ...  # type: ignore[empty-body]
def swapped(self: Any, b: int = 1, a: int = 1) -> int: ...  # type: ignore[empty-body]
def named(self: Any, a: int, *, b: int = 1) -> int: ...  # type: ignore[empty-body]
def positional(self: Any, a: int, b: int = 1, /) -> int: ...  # type: ignore[empty-body]
def texts(self: Any, a: str, b: int = 1) -> int: ...  # type: ignore[empty-body]
def answers(self: Any, a: int, b: int = 1) -> str: ...  # type: ignore[empty-body]
def streams(self: Any, a: int, b: int = 1) -> Iterator[int]: ...  # type: ignore[empty-body]


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (fewer, "mul: parameter 'b' is missing"),
        (renamed, r"mul: parameter 'b' is missing \(there is 'c'\)"),
        (required, "mul: parameter 'b' has no default, in the contract it has one"),
        (further, "mul: parameter 'c' is not in the contract and has no default"),
        (swapped, "mul: parameter 'a' is number 2, in the contract 1"),
        (named, "mul: parameter 'b' cannot be given by position"),
        (positional, "mul: parameter 'b' cannot be given by name"),
        (texts, "mul: parameter 'a' is str, in the contract int"),
        (answers, "mul: the result is str, in the contract int"),
        (wider, "mul: the result is bool, in the contract int"),
        (streams, "mul: gives a stream of answers, in the contract one answer to one call"),
        (method("times")(lambda self, a, b=1: a), "mul: is called 'times', in the contract 'mul'"),
        (method(codec="json")(lambda self, a, b=1: a), "mul: has codec 'json', in the contract None"),
    ],
)
def test_each_difference_is_reported(function: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        implementing(mul=function, count=count, plus=plus)


def test_all_differences_are_listed_at_once() -> None:
    def counts_text(self: Any, limit: int, *, step: int = 1) -> Iterator[str]:
        yield ""

    with pytest.raises(TypeError) as raised:
        service("math", implements=Arith)(type("Impl", (), {"mul": fewer, "count": counts_text}))
    assert str(raised.value) == (
        "Impl does not implement Arith:\n"
        "  - the service is called 'math', in the contract 'arith'\n"
        "  - mul: parameter 'b' is missing\n"
        "  - count: the result is str, in the contract int\n"
        "  - plus is missing: plus(a: Forward)"
    )


def test_unresolved_names_are_compared_as_written() -> None:
    @service("later")
    class Later(Protocol):
        @method
        async def get(self, key: "Unknown") -> None: ...  # type: ignore[name-defined] # noqa: F821

    def same(self, key: "Unknown") -> None: ...  # type: ignore # noqa: F821
    def other(self, key: "Another") -> None: ...  # type: ignore # noqa: F821

    service("later", implements=Later)(type("Same", (), {"get": same}))
    with pytest.raises(TypeError, match="parameter 'key' is Another, in the contract Unknown"):
        service("later", implements=Later)(type("Other", (), {"get": other}))


def test_implements_wants_a_service() -> None:
    with pytest.raises(TypeError, match="Forward is not a service"):
        service("arith", implements=Forward)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (int, int),
        (int, Any),
        (int, float),
        (int, int | None),
        (int | str, str | int | None),
        (Optional[int], int | None),  # noqa: UP045
        (list[int], Sequence[int]),
        (list[int], list[int | str]),
        (list[int], list),
        (Annotated[int, "x"], int),
        (Literal["a"], Literal["a"]),
        (None, None),
        (tuple[int, ...], tuple[int, ...]),
        (KeyError, Exception),
    ],
)
def test_types_that_fit(given: Any, expected: Any) -> None:
    assert is_accepted(given, expected)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (int, str),
        (float, int),
        (bool, int),
        (int | None, int),
        (list[str], list[int]),
        (dict[str, int], list[int]),
        (str, Sequence[str]),
        (Literal["a"], Literal["b"]),
        (tuple[int, int], tuple[int]),
        (Exception, KeyError),
    ],
)
def test_types_that_do_not_fit(given: Any, expected: Any) -> None:
    assert not is_accepted(given, expected)
