"""Keys chosen to collide are refused in the types of `fastrpc.types` as in all other types; honest ones pass."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Interface
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
import pydantic
import pytest

import fastrpc
from fastrpc import CallError, Client, DecodeError, Status
from fastrpc.rpc.marshals import marshal_for
from fastrpc.rpc.service import method_definition
from fastrpc.testing import connected
from fastrpc.types import register
from tests.support.colliding import alike_decimals, colliding_numbers
from tests.support.served import served

pytestmark = pytest.mark.one_loop

T = TypeVar("T")
MODULUS = 2**61 - 1
NUMBERS = colliding_numbers(14, 6_000, 1_000)
DECIMALS = [str(number) for number in alike_decimals(300)]
#: The hash of an IPv6 address without a zone is the hash of its number.
ADDRESSES = [str(IPv6Address(5 + times * MODULUS)) for times in range(300)]
HONEST = 20_000


class Price:
    """Hashed by a number."""

    def __init__(self, cents: int) -> None:
        self.cents = cents

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Price) and self.cents == other.cents

    def __hash__(self) -> int:
        return hash(self.cents)


register(Price, encode=lambda price: str(price.cents), decode=lambda plain: Price(int(plain)))


class Inner(pydantic.BaseModel):
    values: set[int] = set()


class Model(pydantic.BaseModel):
    prices: Mapping[Decimal, int] = {}
    numbers: dict[int, int] = {}
    inner: list[Inner] = []
    names: dict[str, int] = {}
    anything: Any = None


@dataclass
class Box(Generic[T]):
    items: deque[T]


@fastrpc.service("tables")
class Tables:
    def __init__(self) -> None:
        self.ran = 0

    @fastrpc.method
    async def addresses(self, table: dict[IPv6Address, int]) -> int:
        return len(table)

    @fastrpc.method
    async def interfaces(self, table: set[IPv6Interface]) -> int:
        return len(table)

    @fastrpc.method
    async def hosts(self, table: dict[IPv4Address, int]) -> int:
        return len(table)

    @fastrpc.method
    async def networks(self, table: dict[IPv4Network, int]) -> int:
        return len(table)

    @fastrpc.method
    async def paths(self, table: set[Path]) -> int:
        return len(table)

    @fastrpc.method
    async def prices(self, table: dict[Price, int]) -> int:
        return len(table)

    @fastrpc.method
    async def counter(self, table: Counter[Decimal]) -> int:
        return len(table)

    @fastrpc.method
    async def any_counter(self, table: Counter) -> int:  # type: ignore[type-arg]
        return len(table)

    @fastrpc.method
    async def inside(self, table: Box[dict[Decimal, int]]) -> int:
        return len(table.items)

    @fastrpc.method
    async def sets(self, table: deque[set[Decimal]]) -> int:
        return len(table)

    @fastrpc.method
    async def model(self, table: Model) -> int:
        return len(table.names)

    @fastrpc.method
    async def path(self, table: Path) -> None: ...

    @fastrpc.method
    async def back(self, count: int) -> dict[IPv6Address, int]:
        return dict.fromkeys(map(IPv6Address, ADDRESSES[:count]), 0)


FLOODS = [
    (Tables.addresses, dict.fromkeys(ADDRESSES, 0)),
    (Tables.interfaces, [f"{address}/128" for address in ADDRESSES]),
    (Tables.prices, dict.fromkeys(DECIMALS, 0)),
    (Tables.counter, dict.fromkeys(DECIMALS, 0)),
    (Tables.inside, {"items": [dict.fromkeys(DECIMALS, 0)]}),
    (Tables.sets, [DECIMALS]),
    (Tables.model, {"prices": dict.fromkeys(DECIMALS, 0)}),
    (Tables.model, {"numbers": dict.fromkeys(map(str, NUMBERS), 0)}),
    (Tables.model, {"inner": [{"values": DECIMALS}]}),
]


@pytest.mark.parametrize("codec", ["msgpack", "json"])
@pytest.mark.parametrize(
    ("method", "table"), FLOODS, ids=lambda each: each.__name__ if callable(each) else ""
)
def test_keys_that_collide_are_an_invalid_argument(method: Any, table: Any, codec: str) -> None:
    marshal = marshal_for(method_definition(method), codec, depth=100, items=1_000_000)
    payload = (msgspec.json if codec == "json" else msgspec.msgpack).encode([table])
    with pytest.raises(CallError, match=r"keys of a map collide|values of a set") as refused:
        marshal.decode_arguments(payload)
    assert (refused.value.status, refused.value.processed) == (Status.INVALID_ARGUMENT, "no")


@pytest.mark.parametrize("method", [Tables.path, Tables.any_counter, Tables.model, Tables.prices])
def test_keys_of_the_plain_form_that_collide_are_an_invalid_argument(method: Any) -> None:
    table: Any = dict.fromkeys(NUMBERS, 0)
    if method is Tables.model:
        table = {"anything": table}
    marshal = marshal_for(method_definition(method), "msgpack", depth=100, items=1_000_000)
    with pytest.raises(CallError, match="keys of a map collide"):
        marshal.decode_arguments(msgspec.msgpack.encode([table]))


async def test_honest_keys_pass() -> None:
    hosts = [str(IPv4Address((10 << 24) + number)) for number in range(HONEST)]
    async with connected(Tables) as plain:
        for client in (plain, plain.with_options(codec="json")):
            assert await client.call("tables.hosts", dict.fromkeys(hosts, 0)) == HONEST
            networks = {f"10.{number >> 8}.{number & 255}.0/24": 0 for number in range(10_000)}
            assert await client.call("tables.networks", networks) == 10_000
            assert await client.call("tables.paths", hosts) == HONEST
            assert await client.call("tables.prices", {str(n): 0 for n in range(HONEST)}) == HONEST
            assert await client.call("tables.counter", {str(n): 1 for n in range(HONEST)}) == HONEST
            model = {"names": dict.fromkeys(hosts, 0), "prices": {str(n): 1 for n in range(HONEST)}}
            assert await client.call("tables.model", model) == HONEST


async def test_an_answer_whose_keys_collide_is_a_decode_error() -> None:
    async with served(Tables) as address, Client(address) as client:
        assert len(await client.call(Tables.back, 10)) == 10
        with pytest.raises(DecodeError, match="keys of a map collide"):
            await client.call(Tables.back, 300)
