"""A gateway with a contract accepts and answers the same values as a server with pydantic models."""

import contextlib
import functools
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pydantic
import pytest

import fastrpc
from fastrpc import Client, Server, ServerConfig
from fastrpc.cli.contracts.text import written_contract
from fastrpc.config import HTTP
from fastrpc.gateway.forwarding import Forwarder, forwarded_methods, forwarding_service
from fastrpc.rpc.service import service_definition
from tests.support.http_talk import HttpClient
from tests.support.program import Program
from tests.support.threaded_server import ThreadedServer
from tests.unit.cli.contracts.test_round_trip import imported, told

pytestmark = pytest.mark.one_loop

EAST = timezone(timedelta(hours=2))


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Color(Enum):
    RED = "red"

    @classmethod
    def _missing_(cls, value: object) -> "Color | None":
        return cls.RED if value == "rouge" else None


class Place(pydantic.BaseModel):
    street: str
    number: int = 1


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(pydantic.BaseModel):
    kind: Literal["dog"] = "dog"


class Everything(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(populate_by_name=True)

    whole: int = 0
    fraction: float = 0.0
    flag: bool = False
    text: str = ""
    data: bytes = b""
    when: datetime = datetime(2020, 1, 1, tzinfo=EAST)
    day: date | None = None
    clock: time | None = None
    span: timedelta = timedelta()
    id: UUID | None = None
    money: Decimal = Decimal(0)
    level: Level | None = None
    color: Color | None = None
    place: Place | None = None
    places: list[Place] = []
    by_name: dict[str, Place] = {}
    by_number: dict[int, int] = {}
    pair: tuple[int, str] | None = None
    names: set[str] = set()
    either: int | str = 0
    number_or_list: int | list[int] = 0
    pet: Annotated[Cat | Dog, pydantic.Field(discriminator="kind")] | None = None
    card: Annotated[int, pydantic.BeforeValidator(lambda one: str(one).replace(" ", ""))] = 0
    long_name: Annotated[int, pydantic.Field(alias="longName")] = 0


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)

    whole: int


class Names(pydantic.RootModel[list[str]]):
    pass


class Registered:
    def __init__(self, given: Any) -> None:
        self.given = given


fastrpc.types.register(Registered, encode=lambda one: one.given, decode=Registered)


@dataclass
class Team:
    number: int
    lead: Place
    others: list[Place] = field(default_factory=list)
    size: int = field(default=3, init=False)
    since: datetime = datetime(2021, 1, 1, tzinfo=EAST)


class Row(msgspec.Struct, array_like=True):
    number: int
    place: Place | None = None
    when: datetime | None = None


@fastrpc.service("models")
class Models:
    @fastrpc.method
    async def one(self, value: Everything) -> Everything:
        return value

    @fastrpc.method(safe=True)
    async def maybe(self, value: Place | None = None, count: int = 2) -> list[Place | None]:
        return [value] * count

    @fastrpc.method(safe=True)
    async def many(self, value: list[Place]) -> list[Place]:
        return value

    @fastrpc.method
    async def mapped(self, value: dict[int, Place]) -> dict[int, Place]:
        return value

    @fastrpc.method
    async def strict(self, value: Strict) -> Strict:
        return value

    @fastrpc.method
    async def names(self, value: Names) -> Names:
        return value

    @fastrpc.method
    async def own(self, value: Registered) -> Registered:
        return value

    @fastrpc.method
    async def anything(self, value: Any) -> Any:
        return value

    @fastrpc.method
    async def team(self, value: Team) -> Team:
        return value

    @fastrpc.method
    async def row(self, value: Row) -> Row:
        return value

    @fastrpc.method(safe=True)
    async def beside(self, value: int, when: datetime | None = None, data: bytes = b"") -> list[Any]:
        return [value, when, data]

    @fastrpc.method(codec="msgpack")
    async def packed(self, value: Place, when: datetime | None = None) -> Place:
        return value

    @fastrpc.method
    async def found(self, count: int) -> Place | None:
        return Place(street="x", number=count) if count else None

    @fastrpc.method
    async def colors(self, value: list[Color]) -> list[Color]:
        return value

    @fastrpc.method
    async def sums(self, numbers: AsyncIterator[Place], start: int) -> int:
        return start + sum([one.number async for one in numbers])

    @fastrpc.method
    async def spread(self, value: Place) -> AsyncIterator[Place]:
        yield value
        yield value


#: Values for each field of the model, in JSON.
FIELDS: dict[str, list[Any]] = {
    "whole": [1, "1", " 1 ", 1.0, "1.0", True, 2**53 + 1, str(2**53 + 1), 2**63, "-9223372036854775808"],
    "fraction": [1, "1.5", "1e3", True, 0.1],
    "flag": ["true", "yes", "off", 1, 0, "0", 1.0],
    "text": ["", "ä", "5"],
    "data": ["", "abc", "YWJj", "ä", "a b"],
    "when": [
        *("2020-01-01T00:00:00", "2020-01-01 00:00", "2020-01-01T00:00:00+02:00", "2020-01-01T00:00:00Z"),
        *("2020-01-01", 0, "0", 1.5, 1_600_000_000_000, "1600000000"),
    ],
    "day": ["2020-01-02", "2020-01-02T00:00:00", 0, "86400", None],
    "clock": ["01:02", "01:02:03.5", 3600, "01:02:03+02:00", None],
    "span": ["1 day", "P1D", "PT1.5S", 90, 1.5, "1 day, 02:03:04", "-P1D", "00:01:00"],
    "id": [str(UUID(int=5)), UUID(int=5).hex, f"urn:uuid:{UUID(int=5)}", f"{{{UUID(int=5)}}}"],
    "money": ["1.50", 1.5, 3, " 2 ", "1e2"],
    "level": [1, "1", 2.0, None],
    "color": ["red", "rouge"],
    "place": [{"street": "a"}, {"street": "a", "number": "7"}, {"street": "a", "more": 1}],
    "places": [[{"street": "a", "number": "7"}], [{"street": "a"}] * 2],
    "by_name": [{"a": {"street": "b", "number": " 7"}}],
    "by_number": [{"1": "2"}, {" 3 ": 4.0}],
    "pair": [["1", "a"], [1.0, "a"]],
    "names": [["a", "a"]],
    "either": ["1", 1, "a", str(2**53 + 1)],
    "number_or_list": ["5", ["5", 6]],
    "pet": [{"kind": "dog"}, {"kind": "cat", "lives": "3"}],
    "card": ["4111 1111 1111 1111", "4111111111111111"],
    "longName": ["5"],
    "long_name": ["5"],
    "surplus": [1],
}
WIDE = str(2**53 + 1)
PLACE = {"street": "a", "number": "7"}
ZONED = "2020-01-01T00:00:00+02:00"
#: Arguments of the other methods.
OTHERS: list[tuple[str, dict[str, Any]]] = [
    ("maybe", {}),
    ("maybe", {"value": None}),
    ("maybe", {"value": PLACE, "count": 1}),
    ("many", {"value": []}),
    ("many", {"value": [PLACE, {"street": "b"}]}),
    ("mapped", {"value": {"1": PLACE, WIDE: PLACE}}),
    ("strict", {"value": {"whole": 5}}),
    ("names", {"value": ["a", "b"]}),
    *(("own", {"value": one}) for one in (ZONED, 2**70, 1.0, None, {"a": [1]}, "YWJj")),
    *(("anything", {"value": one}) for one in (ZONED, 2**64, -(2**63), {"1": 2}, None, WIDE)),
    ("team", {"value": {"number": 1, "lead": PLACE}}),
    ("team", {"value": {"number": WIDE, "lead": PLACE, "others": [PLACE], "size": 9, "since": ZONED}}),
    ("row", {"value": [WIDE, PLACE, ZONED]}),
    ("row", {"value": [1]}),
    ("row", {"value": [1, None, "2020-01-01T00:00:00"]}),
    ("beside", {"value": 5}),
    ("beside", {"value": WIDE, "when": ZONED, "data": "YWJj"}),
    ("packed", {"value": PLACE, "when": ZONED}),
    ("found", {"count": 0}),
    ("found", {"count": WIDE}),
    ("colors", {"value": ["red", "rouge"]}),
    ("spread", {"value": PLACE}),
]
QUERIES = [
    *("maybe", "maybe?count=1", "maybe?value=null", 'maybe?value={"street":"a","number":"7"}'),
    *('many?value={"street":"a"}&value={"street":"b","number":"2"}', 'many?value=[{"street":"a"}]'),
    *(f"beside?value={WIDE}", "beside?value=5&when=2020-01-01T00:00:00Z", "beside?value=5&when=null"),
    *('beside?value=5&data=YWJj&when="2020-01-01T00:00:00%2B02:00"',),
]
LINES = [
    [{"arguments": {"start": "1"}}, {"value": PLACE}, {"end": True}],
    [{"arguments": {"start": 1}}, {"value": PLACE}, {"value": {"street": "b"}}, {"end": True}],
    [{"arguments": {"start": WIDE}}, {"value": PLACE}, {"end": True}],
]


@functools.cache
def methods_of_the_contract() -> Any:
    """Return the methods of the contract that the command line writes of the service."""
    contract = imported(written_contract(told(Models)).text)
    return forwarded_methods(service_definition(contract.Models))


@contextlib.asynccontextmanager
async def both() -> AsyncIterator[tuple[HttpClient, HttpClient]]:
    """Yield the server by HTTP, and a gateway before it whose contract the command line wrote."""
    config = ServerConfig(protocols=("native", "http"), http=HTTP(jsonrpc=True, docs=True))
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(Server(Models(), config=config))
        address = await server.listen("tcp://127.0.0.1:0")
        client = await stack.enter_async_context(Client(address))
        service = forwarding_service("models", methods_of_the_contract(), Forwarder(client))
        gateway = await stack.enter_async_context(Server(service, config=config))
        before = await gateway.listen("tcp://127.0.0.1:0")
        yield (
            await stack.enter_async_context(await HttpClient.to(address)),
            await stack.enter_async_context(await HttpClient.to(before)),
        )


async def compare(server: HttpClient, gateway: HttpClient, *request: Any, **fields: str) -> int:
    """Ask both; return the status of the server."""
    taken = await server.ask(*request, **fields)
    passed = await gateway.ask(*request, **fields)
    assert passed.status == taken.status, (request, taken.body, passed.body)
    # Refusals differ in `processed`: the gateway has begun.
    if taken.status == 200 and b'"error":' not in taken.body:
        assert passed.body == taken.body, request
    return taken.status


@pytest.mark.parametrize("name", FIELDS)
async def test_each_value_that_a_model_takes_passes(name: str) -> None:
    async with both() as (server, gateway):
        found = [
            await compare(
                server, gateway, "POST", "/models/one", json.dumps({"value": {name: value}}).encode()
            )
            for value in [*FIELDS[name], None, [], {}, "x", 5, "5", [1], {"a": 1}]
        ]
        assert 200 in found


@pytest.mark.parametrize(("method", "arguments"), OTHERS)
async def test_arguments_that_contain_models_or_stand_next_to_them_pass(
    method: str, arguments: dict[str, Any]
) -> None:
    async with both() as (server, gateway):
        body = json.dumps(arguments).encode()
        assert await compare(server, gateway, "POST", f"/models/{method}", body) == 200
        call = {"jsonrpc": "2.0", "id": 1, "method": f"models.{method}"}
        if method != "spread":
            for given in (arguments, list(arguments.values())):
                await compare(
                    server, gateway, "POST", "/jsonrpc", json.dumps(call | {"params": given}).encode()
                )


@pytest.mark.parametrize("query", QUERIES)
async def test_queries_are_read_by_the_types_of_the_contract(query: str) -> None:
    async with both() as (server, gateway):
        assert await compare(server, gateway, "GET", f"/models/{query.replace(' ', '%20')}") == 200


@pytest.mark.parametrize("lines", LINES)
async def test_messages_of_a_stream_pass(lines: list[Any]) -> None:
    async with both() as (server, gateway):
        body = b"".join(json.dumps(one).encode() + b"\n" for one in lines)
        await compare(server, gateway, "POST", "/models/sums", body, Content_Type="application/x-ndjson")


async def test_values_in_msgpack_pass() -> None:
    async with both() as (server, gateway):
        for value in ({"whole": "1", "data": b"\xff", "when": datetime(2020, 1, 1, tzinfo=UTC)}, {"flag": 1}):
            body = msgspec.msgpack.encode({"value": value})
            given = {"Content_Type": "application/msgpack", "Accept": "application/msgpack"}
            assert await compare(server, gateway, "POST", "/models/one", body, **given) == 200


async def test_the_types_of_a_contract_stand_in_the_document() -> None:
    async with both() as (server, gateway):
        told_here, told_there = [(await one.ask("GET", "/openapi.json")).value for one in (gateway, server)]
        assert set(told_here["paths"]) >= {one for one in told_there["paths"] if one.startswith("/models/")}
        place = told_here["components"]["schemas"]["Place"]
        assert place["properties"]["number"]["type"] == "integer"
        assert place["required"] == ["street"]


async def test_a_refusal_of_the_server_is_reported_as_its_own() -> None:
    async with both() as (server, gateway):
        wrong: list[Any] = [{"whole": "x"}, {"when": "soon"}, {"places": [{}]}, {"pet": {"kind": "cow"}}, 5]
        for value in wrong:
            body = json.dumps({"value": value}).encode()
            refused, passed = [await one.ask("POST", "/models/one", body) for one in (server, gateway)]
            assert refused.status == passed.status == 400
            assert passed.value["detail"] == refused.value["detail"]


async def test_the_command_passes_values_of_models_on(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text(written_contract(told(Models)).text)
    closed = ServerConfig(reflection=False)
    with Program(["-m", "fastrpc", "registry", "-a", "tcp://127.0.0.1:0"], tmp_path) as registry:
        url = registry.wait_output(r"registry at (\S+)\n")[1]
        options = ("--contract", "models.py", "-a", "http://127.0.0.1:0")
        with (
            ThreadedServer(Models(), registry=url, config=closed),
            Program(["-m", "fastrpc", "gateway", "-r", url, *options], tmp_path) as program,
        ):
            origin = program.wait_output(r"gateway at (\S+)\n")[1].replace("http://", "tcp://")
            async with await HttpClient.to(origin) as client:
                value = {"number": WIDE, "lead": PLACE, "since": ZONED}
                answer = await client.ask("POST", "/models/team", json.dumps({"value": value}).encode())
                lead = {"street": "a", "number": 7}
                assert answer.value == {
                    "number": int(WIDE),
                    "lead": lead,
                    "others": [],
                    "size": 3,
                    "since": ZONED,
                }
