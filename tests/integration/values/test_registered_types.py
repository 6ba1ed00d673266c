"""A registered class is a payload type in every place; one that cannot be registered is refused."""

import enum
import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
import numpy as np
import pydantic
import pytest

import fastrpc
from fastrpc import CallError, ConfigError, EncodeError, ServerConfig, Status, SyncClient
from fastrpc.rpc.marking import method
from fastrpc.rpc.marshals import check_service
from fastrpc.rpc.service import service, service_definition
from fastrpc.testing import connected, serving
from fastrpc.types import register

pytestmark = pytest.mark.one_loop

T = TypeVar("T")


class Money:
    def __init__(self, cents: int, currency: str = "EUR") -> None:
        self.cents, self.currency = cents, currency

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self.cents, self.currency))


class Token:
    """Travels as text, so that it can be a key of JSON."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Token) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


class Scan:
    """Holds another registered class and an array."""

    def __init__(self, price: Money, values: Any) -> None:
        self.price, self.values = price, values


class Celsius(float):
    pass


class Box(Generic[T]):
    pass


class Moody:
    pass


def _money(plain: Any) -> Money:
    cents, currency = plain
    if len(currency) != 3:
        raise ValueError(f"{currency!r} is no currency")
    return Money(cents, currency)


def _moody(plain: Any) -> Any:
    if plain == "key":
        raise KeyError("missing")
    return plain


register(Money, encode=lambda money: (money.cents, money.currency), decode=_money)
register(Token, encode=lambda token: token.text, decode=Token)
register(
    Scan,
    encode=lambda scan: {"price": scan.price, "values": scan.values},
    decode=lambda plain: Scan(_money(plain["price"]), plain["values"]),
)
register(Celsius, encode=float, decode=Celsius)
register(Box, encode=lambda box: None, decode=lambda plain: Box())
register(Moody, encode=lambda moody: "key", decode=_moody)


@dataclass
class Order:
    total: Money
    parts: list[Money]
    by_token: dict[Token, Money]
    tip: Money | None = None


@fastrpc.service("shop")
class Shop:
    @fastrpc.method
    async def echo(self, order: Order) -> Order:
        return order

    @fastrpc.method
    def most(self, prices: set[Money]) -> Money:
        return max(prices, key=lambda money: money.cents)

    @fastrpc.method
    async def scan(self, scan: Scan) -> Scan:
        assert isinstance(scan.values, np.ndarray)
        return scan

    @fastrpc.method
    async def warmer(self, degrees: Celsius) -> Celsius:
        assert type(degrees) is Celsius
        return Celsius(degrees + 1)

    @fastrpc.method
    async def moody(self, value: Moody) -> None: ...

    @fastrpc.method
    async def plain(self, value):  # type: ignore[no-untyped-def]
        return value


ORDER = Order(Money(500), [Money(1), Money(2, "USD")], {Token("a"): Money(3)}, Money(9))


@pytest.mark.parametrize("codec", ["msgpack", "json"])
async def test_a_registered_class_travels_in_every_place(codec: str) -> None:
    async with connected(Shop) as plain:
        client = plain.with_options(codec=codec)
        assert await client.call(Shop.echo, ORDER) == ORDER
        assert await client.call(Shop.most, {Money(1), Money(2)}) == Money(2)
        assert await client.call_many(Shop.most, [({Money(1)},)] * 2) == [Money(1)] * 2
        assert await client.call(Shop.warmer, Celsius(36.5)) == 37.5
        assert await client.call(Shop.plain, Money(5)) == [5, "EUR"]
        assert await client.call("shop.plain", [Token("a")]) == ["a"]


def test_a_blocking_client_carries_them() -> None:
    with serving(Shop) as address, SyncClient(address) as client:
        assert client.call(Shop.echo, ORDER) == ORDER
        with pytest.raises(CallError, match=r"order\.parts\[0\]: 'EU' is no currency"):
            client.call(Shop.echo, Order(Money(1), [Money(1, "EU")], {}))


async def test_values_inside_a_registered_class_are_encoded() -> None:
    async with connected(Shop, config=ServerConfig()) as client:
        answer = await client.call(Shop.scan, Scan(Money(5), np.arange(3.0)))
    assert answer.price == Money(5)
    np.testing.assert_array_equal(answer.values, np.arange(3.0))


async def test_a_value_error_of_decode_is_the_callers_mistake() -> None:
    async with connected(Shop, config=ServerConfig()) as client:
        with pytest.raises(CallError, match=r"prices\[0\]: 'x' is no currency") as caught:
            await client.call("shop.most", [[1, "x"]])
    assert (caught.value.status, caught.value.processed) == (Status.INVALID_ARGUMENT, "no")


@pytest.mark.parametrize("value", ["key", "other"])
async def test_any_other_failure_of_decode_is_internal(value: str, caplog: pytest.LogCaptureFixture) -> None:
    async with connected(Shop, config=ServerConfig()) as client:
        with caplog.at_level(logging.ERROR), pytest.raises(CallError) as caught:
            await client.call("shop.moody", value)
    assert caught.value.status is Status.INTERNAL
    assert "missing" not in str(caught.value)
    assert ("missing" if value == "key" else "`decode` of Moody returned a str") in caplog.text


async def test_a_subclass_is_not_registered_with_its_base() -> None:
    class Coin(Money):
        pass

    async with connected(Shop, config=ServerConfig()) as client:
        with pytest.raises(EncodeError, match=r"Coin is unsupported; .*fastrpc\.types\.register"):
            await client.call(Shop.plain, Coin(1))


def test_a_class_without_registration_is_refused_until_it_is_registered() -> None:
    class Late:
        pass

    def service_of(kind: Any) -> Any:
        async def get(self: Any, key: Any) -> None: ...

        get.__annotations__["key"] = kind
        return service_definition(service("late")(type("Odd", (), {"get": method(get)})))

    with pytest.raises(ConfigError, match=r"Late has no encoding: .*fastrpc\.types\.register"):
        check_service(service_of(Late))
    register(Late, encode=lambda late: None, decode=lambda plain: Late())
    check_service(service_of(Late))
    with pytest.raises(ConfigError, match="sees no type arguments"):
        check_service(service_of(Box[int]))


class Plain(msgspec.Struct):
    pass


class Names(NamedTuple):
    name: str


class Tags(list[str]):
    pass


class Model(pydantic.BaseModel):
    pass


class Colour(enum.Enum):
    RED = 1


@pytest.mark.parametrize(
    "cls",
    [
        int,
        str,
        list,
        object,
        datetime,
        Path,
        np.ndarray,
        np.float64,
        Plain,
        Names,
        Tags,
        Order,
        Model,
        Colour,
    ],
)
def test_a_class_that_travels_anyway_is_not_registered(cls: type[Any]) -> None:
    with pytest.raises(ConfigError, match="travels without being registered"):
        register(cls, encode=lambda value: value, decode=lambda plain: plain)


def test_a_class_is_registered_once() -> None:
    with pytest.raises(ConfigError, match=r"test_registered_types\.Money is registered already"):
        register(Money, encode=lambda money: None, decode=lambda plain: Money(1))


def test_objects_other_than_classes_and_functions_are_refused() -> None:
    with pytest.raises(ConfigError, match="is not a class"):
        register("Money", encode=str, decode=str)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="encode of .* is None, not a function"):
        register(Unregistered, encode=None, decode=Unregistered)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="decode of .* is 5, not a function"):
        register(Unregistered, encode=str, decode=5)  # type: ignore[arg-type]


class Unregistered:
    pass


def test_the_module_is_an_attribute_after_importing_the_package() -> None:
    assert fastrpc.types.register is register
