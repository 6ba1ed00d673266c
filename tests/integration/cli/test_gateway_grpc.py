"""`fastrpc gateway` before servers of gRPC: one of grpcio by its reflection or a contract, and ours in a registry."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, ServerConfig, Status, current_call
from fastrpc.auth import Identity, StaticTokens
from tests.support.described_orders import described_orders
from tests.support.http_talk import HttpClient, Response
from tests.support.program import Program
from tests.support.threaded_server import ThreadedServer

pytestmark = pytest.mark.one_loop

CONTRACT = """
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

import fastrpc


@dataclass
class Item:
    name: str = ""
    count: Annotated[int, fastrpc.Field(kind="int32")] = 0


@dataclass
class Order:
    text: str = ""
    total: Annotated[int, fastrpc.Field(kind="int32")] = 0


@fastrpc.service("shop.v1.Orders", grpc="pascal")
class Orders:
    @fastrpc.method
    async def get(self, item: Item) -> Order: ...

    @fastrpc.method
    def follow(self, item: Item) -> AsyncIterator[Order]: ...

    @fastrpc.method
    async def total(self, items: AsyncIterator[Item]) -> Order: ...
"""


PRICES = """
import fastrpc


@fastrpc.service("shop.v1.prices", grpc="pascal")
class Prices:
    @fastrpc.method
    async def who(self) -> str: ...
"""


@dataclass
class Price:
    cents: int
    currency: str = "EUR"


@fastrpc.service("shop.v1.prices", grpc="pascal")
class Prices:
    @fastrpc.method
    async def get_price(self, item_name: str, count: int = 1) -> Price:
        return Price(len(item_name) * count)

    @fastrpc.method
    async def who(self) -> str:
        identity = current_call().identity
        current_call().reply_metadata["served-by"] = current_call().metadata.get("user", "?")
        return "" if identity is None else identity.name

    @fastrpc.method
    async def fail(self) -> None:
        raise CallError(Status.NOT_FOUND, "no such thing", details={"at": 7}, retry_after=2)


def gateway(folder: Path, place: str, *options: str) -> Program:
    return Program(["-m", "fastrpc", "gateway", "-r", place, "-a", "http://127.0.0.1:0", *options], folder)


def origin_of(program: Program) -> str:
    return program.wait_output(r"gateway at (\S+)\n")[1].replace("http://", "tcp://")


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway before a server of grpcio, by its reflection."""
    with described_orders() as target, gateway(tmp_path_factory.mktemp("gateway"), target) as program:
        yield origin_of(program)


async def ask(origin: str, verb: str, path: str, body: Any = b"", **fields: str | None) -> Response:
    async with await HttpClient.to(origin) as client:
        return await client.ask(verb, path, body, **fields)


async def test_fields_become_a_message_and_the_answer_values(origin: str) -> None:
    answer = await ask(origin, "POST", "/shop.v1.Orders/Get", {"name": "tea", "count": "2"}, Meta_User="Ada")
    assert (answer.status, answer.value) == (200, {"text": "teaAda", "total": 2})
    assert (await ask(origin, "POST", "/shop.v1.Orders/Get", {})).value == {}


async def test_streams_go_through_both_ways(origin: str) -> None:
    lines = (await ask(origin, "POST", "/shop.v1.Orders/Follow", {"name": "x", "count": 2})).lines
    assert [line.get("value") for line in lines[:2]] == [{"text": "x"}, {"text": "x", "total": 1}]
    assert "end" in lines[2]
    body = b'{"value":{"name":"a","count":1}}\n{"value":{"count":2}}\n'
    kind = {"Content_Type": "application/x-ndjson"}
    assert (await ask(origin, "POST", "/shop.v1.Orders/Total", body, **kind)).value == {"total": 3}
    lines = (await ask(origin, "POST", "/shop.v1.Orders/Talk", body, **kind)).lines
    assert [line.get("value") for line in lines[:2]] == [{"text": "A", "total": 1}, {"total": 2}]


@pytest.mark.parametrize(
    "body", [{"nope": 1}, {"count": "many"}, {"count": 3_000_000_000}, {"name": 1}], ids=str
)
async def test_values_that_do_not_fit_are_refused(origin: str, body: Any) -> None:
    answer = await ask(origin, "POST", "/shop.v1.Orders/Get", body)
    assert (answer.status, answer.value["code"]) == (400, "INVALID_ARGUMENT")
    stream = b'{"value":{"count":"many"}}\n'
    answer = await ask(origin, "POST", "/shop.v1.Orders/Total", stream, Content_Type="application/x-ndjson")
    assert (answer.status, answer.value["code"]) == (400, "INVALID_ARGUMENT")


async def test_errors_have_their_details_as_values(origin: str) -> None:
    answer = await ask(origin, "POST", "/shop.v1.Orders/Get", {"name": "fail"})
    assert (answer.value["code"], answer.value["detail"]) == ("FAILED_PRECONDITION", "not today")
    assert answer.value["details"] == [
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2s"},
        {"@type": "type.googleapis.com/shop.v1.Item", "name": "broken", "count": 3},
    ]


async def test_methods_and_fields_are_in_the_document(origin: str) -> None:
    document = (await ask(origin, "GET", "/openapi.json")).value
    assert set(document["paths"]) >= {
        f"/shop.v1.Orders/{name}" for name in ("Get", "Follow", "Total", "Talk")
    }
    content = document["paths"]["/shop.v1.Orders/Get"]["post"]["requestBody"]["content"]
    assert set(content["application/json"]["schema"]["properties"]) == {"name", "count"}


async def test_services_of_grpc_itself_are_not_passed_on(origin: str) -> None:
    path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    assert (await ask(origin, "POST", path, {})).status == 404


async def test_a_contract_stands_for_reflection(tmp_path: Path) -> None:
    (tmp_path / "orders.py").write_text(CONTRACT)
    with described_orders(reflects=False) as target:
        with gateway(tmp_path, target, "--contract", "orders.py", "--log-level", "info") as program:
            origin = origin_of(program)
            answer = await ask(origin, "POST", "/shop.v1.Orders/Get", {"item": {"name": "tea", "count": 2}})
            assert (answer.status, answer.value) == (200, {"text": "tea", "total": 2})
            lines = (await ask(origin, "POST", "/shop.v1.Orders/Follow", {"item": {"count": 1}})).lines
            assert lines[0]["value"] == {"text": "", "total": 0}
            body = b'{"value":{"name":"a","count":1}}\n{"value":{"count":2}}\n'
            answer = await ask(
                origin, "POST", "/shop.v1.Orders/Total", body, Content_Type="application/x-ndjson"
            )
            assert answer.value == {"text": "", "total": 3}
            assert (await ask(origin, "POST", "/shop.v1.Orders/Get", {"item": {"name": 7}})).status == 400
            program.wait_errors("only services with a contract are served")


async def test_a_caller_is_the_owner_of_its_token(tmp_path: Path) -> None:
    (tmp_path / "prices.py").write_text(PRICES)
    config = ServerConfig(protocols=("grpc",))
    tokens = StaticTokens({"of-ada": Identity("ada")})
    with ThreadedServer(Prices(), config=config, authenticate=tokens) as server:
        target = server.address.replace("tcp://", "grpc://")
        with gateway(tmp_path, target, "--contract", "prices.py") as program:
            origin = origin_of(program)
            path = "/shop.v1.prices/who"
            assert (await ask(origin, "POST", path, {}, Authorization="Bearer of-ada")).value == "ada"
            assert (await ask(origin, "POST", path, {})).status == 401


async def test_services_of_a_registry_are_reached_by_the_protocol_of_their_record(tmp_path: Path) -> None:
    config = ServerConfig(protocols=("grpc",))
    with Program(["-m", "fastrpc", "registry", "-a", "tcp://127.0.0.1:0"], tmp_path) as registry:
        place = registry.wait_output(r"registry at (\S+)\n")[1]
        with ThreadedServer(Prices(), registry=place, config=config), gateway(tmp_path, place) as program:
            origin = origin_of(program)
            async with asyncio.timeout(60):
                while (await ask(origin, "POST", "/shop.v1.prices/Who", {})).status != 200:
                    await asyncio.sleep(0.2)
            for body in ({"itemName": "tea", "count": 2}, {"item_name": "tea", "count": "2"}):
                answer = await ask(origin, "POST", "/shop.v1.prices/GetPrice", body)
                assert answer.value == {"cents": "6", "currency": "EUR"}
            answer = await ask(origin, "POST", "/shop.v1.prices/Who", {}, Meta_User="Ada")
            assert (answer.status, answer["meta-served-by"]) == (200, "Ada")
            problem = (await ask(origin, "POST", "/shop.v1.prices/Fail", {})).value
            assert (problem["code"], problem["details"], problem["retry_after"]) == (
                "NOT_FOUND",
                {"at": 7},
                2,
            )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--token-file", "token"], "is not a registry, and a gateway shows credentials only to a registry"),
        (["--cert", "token"], "shows credentials only to a registry"),
    ],
)
def test_credentials_for_a_registry_are_refused(tmp_path: Path, options: list[str], said: str) -> None:
    (tmp_path / "token").write_text("secret")
    with gateway(tmp_path, "grpc://127.0.0.1:1", *options) as program:
        ended = program.wait()
    assert ended.code == 2
    assert said in ended.errors
