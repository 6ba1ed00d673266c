"""pydantic models travel as their dump by alias, and are validated where they arrive."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pydantic
import pytest

import fastrpc
from fastrpc import CallError, DecodeError, EncodeError, Status, SyncClient
from fastrpc.testing import connected, serving

pytestmark = pytest.mark.one_loop

T = TypeVar("T")
CODECS = ["msgpack", "json"]


class Colour(Enum):
    RED = "red"


class Address(pydantic.BaseModel):
    street: str
    zip_code: Annotated[str, pydantic.Field(alias="zipCode", pattern=r"^\d{5}$")]


class User(pydantic.BaseModel):
    name: Annotated[str, pydantic.Field(min_length=1)]
    age: Annotated[int, pydantic.Field(ge=0)] = 0
    addresses: list[Address] = []
    home: Path | None = None
    host: IPv4Address | None = None
    born: datetime | None = None
    id: UUID | None = None
    balance: Decimal = Decimal(0)
    tags: set[str] = set()
    colour: Colour | None = None
    picture: bytes = b""
    link: pydantic.HttpUrl | None = None

    @pydantic.field_validator("name")
    @classmethod
    def _no_blanks(cls, name: str) -> str:
        if name.isspace():
            raise ValueError("blanks are not a name")
        return name


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"


class Dog(pydantic.BaseModel):
    kind: Literal["dog"] = "dog"


Pet = pydantic.RootModel[Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]]


class Page(pydantic.BaseModel, Generic[T]):
    items: list[T]


class Grid(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    values: npt.NDArray[np.float64]


class Seal(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
    data: bytes


class Letter(pydantic.BaseModel):
    text: bytes
    price: Decimal = Decimal("1.50")
    seal: Seal = Seal(data=b"\xff\x00")
    parts: tuple[bytes, ...] = (b"one", b"two")
    names: set[bytes] = {b"a", b"b"}
    notes: dict[str, list[bytes]] = {"x": [b"y"]}
    by_name: dict[bytes, int] = {b"n": 1}
    packed: pydantic.Base64Bytes = b"YWJj"


@dataclass
class Team:
    lead: User
    others: dict[str, User]
    deputy: User | None = None


@fastrpc.service("people")
class People:
    def __init__(self) -> None:
        self.got: Any = None

    @fastrpc.method
    async def echo(self, user: User) -> User:
        self.got = user
        return user

    @fastrpc.method
    def team(self, team: Team) -> list[User]:
        return [team.lead, *team.others.values(), *([team.deputy] if team.deputy else [])]

    @fastrpc.method
    async def pet(self, pet: Pet) -> Pet:
        return pet

    @fastrpc.method
    async def page(self, page: Page[User]) -> Page[int]:
        return Page(items=[user.age for user in page.items])

    @fastrpc.method
    async def plain(self, user):  # type: ignore[no-untyped-def]
        return user

    @fastrpc.method
    async def broken(self) -> User:
        return {"name": ""}  # type: ignore[return-value]

    @fastrpc.method
    async def letter(self, letter: Letter) -> Letter:
        self.got = letter
        return letter

    @fastrpc.method
    async def grid(self, grid: Grid) -> Grid:
        return grid


FULL = User(
    name="Ada",
    age=36,
    addresses=[Address(street="Main", zipCode="12345")],
    home=Path("/srv/ada"),
    host=IPv4Address("10.0.0.1"),
    born=datetime(1815, 12, 10, tzinfo=UTC),
    id=UUID(int=5),
    balance=Decimal("1.50"),
    tags={"a", "b"},
    colour=Colour.RED,
    link=pydantic.HttpUrl("https://example.org/x"),
)


@pytest.mark.parametrize("codec", CODECS)
async def test_bytes_in_a_model_come_back_as_they_were(codec: str) -> None:
    people = People()
    letter = Letter.model_validate({"text": "häßlich".encode(), "packed": b"YWJj"})
    async with connected(people) as plain:
        assert await plain.with_options(codec=codec).call(People.letter, letter) == letter
        assert people.got == letter


async def test_json_refuses_bytes_that_a_model_cannot_read() -> None:
    async with connected(People()) as plain:
        with pytest.raises(EncodeError, match="utf-8"):
            await plain.with_options(codec="json").call(People.letter, Letter(text=b"\xff"))


@pytest.mark.parametrize("codec", CODECS)
async def test_a_model_returns_unchanged(codec: str) -> None:
    people = People()
    async with connected(people) as plain:
        client = plain.with_options(codec=codec)
        for user in (FULL, User(name="x")):
            assert await client.call(People.echo, user) == user
            assert people.got == user
        team = Team(FULL, {"x": User(name="x")})
        assert await client.call(People.team, team) == [FULL, User(name="x")]
        assert await client.call(People.team, Team(FULL, {}, FULL)) == [FULL, FULL]
        assert await client.call(People.pet, Pet(Dog())) == Pet(Dog())
        assert await client.call(People.page, Page[User](items=[FULL])) == Page[int](items=[36])
        assert await client.call_many(People.echo, [(FULL,)] * 2) == [FULL] * 2


async def test_bytes_of_a_model_come_back_in_msgpack() -> None:
    user = User(name="x", picture=b"\x00\xff")
    async with connected(People) as client:
        assert await client.call(People.echo, user) == user


def test_a_blocking_client_carries_models() -> None:
    with serving(People) as address, SyncClient(address) as client:
        assert client.call(People.echo, FULL) == FULL
        with pytest.raises(CallError, match=r"user\.age: input should be"):
            client.call("people.echo", {"name": "x", "age": -1})


@pytest.mark.parametrize("codec", CODECS)
async def test_the_payload_is_the_dump_by_alias(codec: str) -> None:
    async with connected(People) as client:
        got = await client.with_options(codec=codec).call(People.plain, FULL.addresses[0])
    assert got == {"street": "Main", "zipCode": "12345"}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    ("user", "text"),
    [
        ({}, r"user\.name: field required"),
        ({"name": ""}, r"user\.name: string should have at least 1 character"),
        ({"name": " "}, r"user\.name: value error, blanks are not a name"),
        ({"name": "x", "age": "old"}, r"user\.age: input should be a valid integer"),
        (
            {"name": "x", "addresses": [{"street": "s", "zipCode": "1"}]},
            r"user\.addresses\[0\]\.zipCode: string should match",
        ),
        ({"age": -1, "tags": 5}, r"user\.name: field required \(also age: .*; tags: .*\)"),
        ({"name": "x", "addresses": [{}] * 5}, r"also addresses\[0\]\.zipCode: .*; 6 more\)"),
        ([], r"user: input should be a valid dictionary"),
        (None, r"user: input should be a valid dictionary"),
    ],
)
async def test_a_validation_error_names_the_field(user: Any, text: str, codec: str) -> None:
    people = People()
    async with connected(people) as client:
        with pytest.raises(CallError, match=text) as caught:
            await client.with_options(codec=codec).call("people.echo", user)
        assert (caught.value.status, caught.value.processed) == (Status.INVALID_ARGUMENT, "no")
        with pytest.raises(CallError, match=text):
            await client.with_options(codec=codec).call("people.echo", user=user)
    assert people.got is None


async def test_a_model_in_another_value_names_the_whole_place() -> None:
    async with connected(People) as client:
        with pytest.raises(CallError, match=r"team\.lead\.name: field required"):
            await client.call("people.team", {"lead": {}, "others": {}})
        with pytest.raises(CallError, match=r"team\.others\[\.\.\.\]\.age: input should be"):
            await client.call(
                "people.team", {"lead": {"name": "x"}, "others": {"a": {"name": "x", "age": -1}}}
            )
        with pytest.raises(CallError, match=r"page\.items\[1\]\.name: field required"):
            await client.call("people.page", {"items": [{"name": "x"}, {}]})


async def test_an_answer_that_is_no_model_is_a_decode_error() -> None:
    async with connected(People) as client:
        with pytest.raises((DecodeError, CallError)):
            await client.call(People.broken)


async def test_an_array_in_a_model_comes_back() -> None:
    grid = Grid(values=np.arange(3.0))
    async with connected(People) as client:
        np.testing.assert_array_equal((await client.call(People.grid, grid)).values, grid.values)


async def test_a_secret_in_a_model_is_not_sent() -> None:
    class Account(pydantic.BaseModel):
        password: pydantic.SecretStr

    async with connected(People) as client:
        with pytest.raises(EncodeError, match="SecretStr is unsupported"):
            await client.call(People.plain, Account(password=pydantic.SecretStr("x")))


def test_a_union_of_models_is_refused_with_the_way_out() -> None:
    with pytest.raises(fastrpc.ConfigError, match=r"pydantic\.RootModel\[Cat \| Dog\]"):

        @fastrpc.service("pets")
        class Pets:
            @fastrpc.method
            async def feed(self, pet: Cat | Dog) -> None: ...

        from fastrpc.rpc.marshals import check_service
        from fastrpc.rpc.service import service_definition

        check_service(service_definition(Pets))
