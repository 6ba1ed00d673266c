"""`fastrpc gateway`: the services of a registry by HTTP, as described by their servers and contracts."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, ServerConfig, Status, current_call
from fastrpc.auth import Identity, StaticTokens
from tests.support.http_talk import HttpClient, Response
from tests.support.program import Program
from tests.support.threaded_server import ThreadedServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

CONTRACT = """
from collections.abc import AsyncIterator
from dataclasses import dataclass

import fastrpc


@dataclass
class Book:
    title: str
    price: int


@fastrpc.service("books", alias=("library",), rpcx="go")
class Books:
    @fastrpc.method(roles=("seller",))
    async def dearer(self, book: Book, by: int = 1) -> Book: ...

    @fastrpc.method
    async def who(self) -> str: ...
"""


FRONT = """
import fastrpc
from fastrpc import HTTP, ServerConfig
from fastrpc.interceptors import AccessLog
from fastrpc.limits import RateLimit

app = fastrpc.App(
    [],
    interceptors=[AccessLog()],
    limits=[RateLimit(0.001, 1, methods="shop.**")],
    config=ServerConfig(http=HTTP(jsonrpc=True)),
)
"""


@dataclass
class Order:
    item: str
    count: int


@fastrpc.service("shop.v1")
class Shop:
    """The goods for sale."""

    begun = left = 0

    @fastrpc.method(safe=True)
    async def price(self, item: str, count: int = 2) -> int:
        """Tell a price."""
        current_call().reply_metadata["served-by"] = current_call().metadata.get("user", "?")
        return len(item) * count

    @fastrpc.method
    async def order(self, order: Order, note: bytes = b"") -> Order:
        return Order(order.item + note.decode(), order.count + 1)

    @fastrpc.method
    async def count(self, limit: int) -> AsyncIterator[Order]:
        for number in range(limit):
            yield Order("x", number)
        current_call().reply_metadata["sum"] = "3"

    @fastrpc.method
    async def total(self, numbers: AsyncIterator[int], start: int) -> int:
        return start + sum([number async for number in numbers])

    @fastrpc.method
    async def fail(self) -> None:
        raise CallError(Status.NOT_FOUND, "no such thing", details={"at": 7}, retry_after=2)

    @fastrpc.method
    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    @fastrpc.method
    async def time_left(self) -> float:
        left = current_call().remaining()
        return -1 if left is None else left

    @fastrpc.method
    async def wait(self) -> None:
        Shop.begun += 1
        try:
            await asyncio.Event().wait()
        finally:
            Shop.left += 1


@dataclass
class Book:
    title: str
    price: int


@fastrpc.service("books")
class Books:
    """Known only by its contract: its server has no reflection."""

    @fastrpc.method(roles=("seller",))
    async def dearer(self, book: Book, by: int = 1) -> Book:
        return Book(book.title, book.price + by)

    @fastrpc.method
    async def who(self) -> str:
        identity = current_call().identity
        return "nobody" if identity is None else identity.name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("gateway")
    (found / "books.py").write_text(CONTRACT)
    (found / "token").write_text("of-the-gateway")
    return found


@pytest.fixture(scope="module")
def registry(folder: Path) -> Iterator[str]:
    with Program(["-m", "fastrpc", "registry", "-a", "tcp://127.0.0.1:0"], folder) as program:
        yield program.wait_output(r"registry at (\S+)\n")[1]


@pytest.fixture(scope="module")
def origin(folder: Path, registry: str) -> Iterator[str]:
    tokens = StaticTokens(
        {
            "of-ada": Identity("ada", roles=frozenset({"seller"})),
            "of-bob": Identity("bob"),
            "of-the-gateway": Identity("gateway", roles=frozenset({"seller"})),
        }
    )
    hidden = ServerConfig(reflection=False)
    options = ("--contract", "books.py", "--token-file", "token", "-a", "http://127.0.0.1:0")
    options += ("--title", "The market", "--api-version", "3", "--description", "*All* of it.")
    options += ("--server-url", "https://api.example/v1", "--server-url", "http://other.example")
    with (
        ThreadedServer(Shop(), registry=registry),
        ThreadedServer(Books(), registry=registry, config=hidden, authenticate=tokens),
        Program(["-m", "fastrpc", "gateway", "-r", registry, *options], folder) as program,
    ):
        yield program.wait_output(r"gateway at (\S+)\n")[1].replace("http://", "tcp://")


async def ask(origin: str, verb: str, path: str, body: Any = b"", **fields: str | None) -> Response:
    async with await HttpClient.to(origin) as client:
        return await client.ask(verb, path, body, **fields)


async def test_services_are_called_by_their_names(origin: str) -> None:
    answer = await ask(origin, "POST", "/shop.v1/price", {"item": "tea"}, Meta_User="Ada")
    assert (answer.status, answer.value, answer["meta-served-by"]) == (200, 6, "Ada")
    assert (await ask(origin, "GET", "/shop.v1/price?item=tea&count=1")).value == 3


async def test_values_of_unknown_types_pass_unchanged(origin: str) -> None:
    body = {"order": {"item": "a", "count": 1}, "note": "IQ=="}
    assert (await ask(origin, "POST", "/shop.v1/order", body)).value == {"item": "a!", "count": 2}
    answer = await ask(origin, "POST", "/shop.v1/order", {"order": {"item": 1}})
    assert (answer.status, answer.value["code"]) == (400, "INVALID_ARGUMENT")


async def test_streams_go_through_both_ways(origin: str) -> None:
    lines = (await ask(origin, "POST", "/shop.v1/count", {"limit": 2})).lines
    assert [line.get("value") for line in lines[:2]] == [{"item": "x", "count": 0}, {"item": "x", "count": 1}]
    assert lines[2] == {"end": {"metadata": {"sum": "3"}}}
    body = b'{"arguments":{"start":5}}\n{"value":1}\n{"value":2}\n'
    answer = await ask(origin, "POST", "/shop.v1/total", body, Content_Type="application/x-ndjson")
    assert answer.value == 8


async def test_errors_keep_what_they_say(origin: str) -> None:
    answer = await ask(origin, "POST", "/shop.v1/fail", {})
    problem = answer.value
    assert (answer.status, problem["code"], problem["detail"]) == (404, "NOT_FOUND", "no such thing")
    assert (problem["details"], problem["retry_after"]) == ({"at": 7}, 2)


async def test_a_deadline_and_a_caller_that_leaves_reach_the_handler(origin: str) -> None:
    assert (await ask(origin, "POST", "/shop.v1/wait", {}, Timeout_Ms="300")).status == 504
    await eventually(lambda: Shop.left == Shop.begun)
    begun = Shop.begun
    async with await HttpClient.to(origin) as client:
        client.send(b"POST /shop.v1/wait HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n")
        client.send(b"Timeout-Ms: 600000\r\nContent-Length: 2\r\n\r\n{}")
        await eventually(lambda: Shop.begun == begun + 1)
    await eventually(lambda: Shop.left == begun + 1)


async def test_callers_do_not_learn_the_addresses_behind_the_gateway(origin: str) -> None:
    answer = await ask(origin, "POST", "/shop.v1/pause", {"seconds": 60}, Timeout_Ms="100")
    assert (answer.status, "tcp://" in answer.value["detail"]) == (504, False)


async def test_the_deadline_is_set_by_the_caller_or_by_the_gateways_server(origin: str) -> None:
    assert (await ask(origin, "POST", "/shop.v1/time_left", {}, Timeout_Ms="600000")).value > 300
    common = ServerConfig().timeouts.call
    assert common is not None
    assert 0 < (await ask(origin, "POST", "/shop.v1/time_left", {})).value <= common


async def test_calls_that_their_caller_made_fail_hold_nobody_else_back(origin: str) -> None:
    short = [ask(origin, "POST", "/shop.v1/pause", {"seconds": 60}, Timeout_Ms="100") for _ in range(12)]
    assert {answer.status for answer in await asyncio.gather(*short)} == {504}
    assert (await ask(origin, "POST", "/shop.v1/pause", {"seconds": 0})).status == 200


async def test_the_caller_is_the_owner_of_the_token_and_never_the_gateway(origin: str) -> None:
    for token, status, who in (("of-ada", 200, "ada"), ("of-bob", 200, "bob"), ("wrong", 401, None)):
        answer = await ask(origin, "POST", "/books/who", {}, Authorization=f"Bearer {token}")
        assert (answer.status, answer.value if who else None) == (status, who)
    assert (await ask(origin, "POST", "/books/who", {})).status == 401
    body = {"book": {"title": "Dune", "price": 12}}
    assert (await ask(origin, "POST", "/books/dearer", body)).status == 401
    answer = await ask(origin, "POST", "/books/dearer", body, Authorization="Bearer of-bob")
    assert answer.status == 403
    answer = await ask(origin, "POST", "/books/dearer", body, Authorization="Bearer of-ada")
    assert answer.value == {"title": "Dune", "price": 13}


@pytest.mark.parametrize("path", ["/library/who", "/Books/Who"])
async def test_a_service_has_the_names_of_its_contract(origin: str, path: str) -> None:
    assert (await ask(origin, "POST", path, {}, Authorization="Bearer of-ada")).value == "ada"


async def test_the_document_has_the_title_of_the_command_line(origin: str) -> None:
    document = (await ask(origin, "GET", "/openapi.json")).value
    assert (document["info"]["title"], document["info"]["version"]) == ("The market", "3")
    assert document["info"]["description"].startswith("*All* of it.\n\n")
    assert [one["url"] for one in document["servers"]] == ["https://api.example/v1", "http://other.example"]


async def test_the_document_shows_the_known_part_of_a_service(origin: str) -> None:
    document = (await ask(origin, "GET", "/openapi.json")).value
    assert set(document["paths"]) >= {"/shop.v1/price", "/shop.v1/order", "/books/dearer"}

    def body(path: str) -> Any:
        return document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]

    assert body("/shop.v1/price")["properties"] == {
        "item": {"type": "string"},
        "count": {"type": "integer", "default": 2},
    }
    # The class is known to its server alone.
    assert body("/shop.v1/order")["properties"]["order"] == {}
    assert "$ref" in body("/books/dearer")["properties"]["book"]


@pytest.mark.parametrize("verb", ["POST", "GET", "PUT"])
@pytest.mark.parametrize("method", ["health.check", "health.watch", "reflection.services", "registry.page"])
async def test_services_of_fastrpc_are_answered_as_every_unknown_path(
    method: str, verb: str, origin: str
) -> None:
    service, _, name = method.partition(".")
    answer = await ask(origin, verb, f"/fastrpc.{service}/{name}", {})
    # A name of the same length, that is near no other.
    other = f"qqqqqqq.{'q' * len(service)}/{'q' * len(name)}"
    unknown = await ask(origin, verb, f"/{other}", {})
    assert (answer.status, answer.value["code"]) == (404, "UNIMPLEMENTED")
    assert [field for field in answer.fields if field[0] != "date"] == [
        field for field in unknown.fields if field[0] != "date"
    ]
    told = unknown.value["detail"].replace(other.replace("/", "."), f"fastrpc.{method}")
    assert answer.value == {**unknown.value, "detail": told}


async def test_an_app_gives_it_limits_interceptors_and_settings(folder: Path, registry: str) -> None:
    (folder / "front.py").write_text(FRONT)
    words = ["-m", "fastrpc", "gateway", "-r", registry, "-a", "http://127.0.0.1:0", "--app", "front:app"]
    with ThreadedServer(Shop(), registry=registry), Program(words, folder) as program:
        origin = program.wait_output(r"gateway at (\S+)\n")[1].replace("http://", "tcp://")
        call = {"jsonrpc": "2.0", "method": "shop.v1.price", "params": {"item": "a"}, "id": 1}
        answers = [(await ask(origin, "POST", "/jsonrpc", call)).value for _ in range(2)]
        assert answers[0]["result"] == 2
        assert answers[1]["error"]["data"]["code"] == "RESOURCE_EXHAUSTED"
        program.wait_errors(r"shop\.v1\.price")


async def test_a_service_that_comes_later_is_found(origin: str, registry: str) -> None:
    # A service of the test before, for another event loop, would be known.
    name = f"late_{os.urandom(4).hex()}"

    @fastrpc.service(name)
    class Late:
        @fastrpc.method
        async def hello(self) -> str:
            return "hello"

    assert (await ask(origin, "POST", f"/{name}/hello", {})).status == 404
    with ThreadedServer(Late(), registry=registry):
        async with asyncio.timeout(60):
            while (await ask(origin, "POST", f"/{name}/hello", {})).status != 200:
                await asyncio.sleep(0.2)


async def test_several_registries_act_as_one_and_a_registry_that_is_away_delays_no_other(
    folder: Path, registry: str
) -> None:
    name = f"listed_{os.urandom(4).hex()}"

    @fastrpc.service(name)
    class Listed:
        @fastrpc.method
        async def hello(self) -> str:
            return "hello"

    options = ["-r", "registry://127.0.0.1:1", "-r", registry, "-a", "http://127.0.0.1:0"]
    with (
        ThreadedServer(Listed(), registry=registry),
        Program(["-m", "fastrpc", "gateway", *options], folder) as program,
    ):
        origin = program.wait_output(r"gateway at (\S+)\n")[1].replace("http://", "tcp://")
        answer = await ask(origin, "POST", f"/{name}/hello", {})
    assert (answer.status, answer.value) == (200, "hello")


async def test_a_service_not_yet_known_is_unavailable(folder: Path) -> None:
    options = ["-a", "http://127.0.0.1:0", "--log-level", "info"]
    with Program(["-m", "fastrpc", "gateway", "-r", "registry://127.0.0.1:1", *options], folder) as program:
        origin = program.wait_output(r"gateway at (\S+)\n")[1].replace("http://", "tcp://")
        answer = await ask(origin, "POST", "/bank/send", {})
    assert (answer.status, answer.value["code"], answer["retry-after"]) == (503, "UNAVAILABLE", "2")
    assert "the registry has not sent its services" in answer.value["detail"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["-a", "tcp://127.0.0.1:0"], "not an address of HTTP"),
        (["--contract", "none.py"], "none.py: there is no such file"),
        (["-a", "https://127.0.0.1:0"], "give --tls-cert"),
        (["--allow-plain", "--ca", "x.pem"], "--allow-plain"),
        (["--tls-cert", "x.pem"], "encrypts nothing"),
        (["--app", "books"], "module:attribute"),
    ],
)
def test_contradictory_options_are_a_usage_error(folder: Path, options: list[str], told: str) -> None:
    with Program(["-m", "fastrpc", "gateway", "-r", "registry://127.0.0.1:1", *options], folder) as program:
        done = program.wait()
    assert done.code == 2, done
    assert told in done.errors


@pytest.mark.parametrize("key", ["tokens", "policy"])
def test_a_setting_that_would_protect_nothing_is_refused(folder: Path, key: str) -> None:
    (folder / "gateway.toml").write_text(f'{key} = "{key}.toml"\n')
    words = ["-m", "fastrpc", "gateway", "-r", "registry://127.0.0.1:1", "--config", "gateway.toml"]
    with Program(words, folder) as program:
        done = program.wait()
    assert done.code == 2, done
    assert f"{key} has no effect on a gateway" in done.errors
    assert "--app" in done.errors


def test_a_setting_of_addresses_holds_for_a_gateway(folder: Path) -> None:
    (folder / "gateway.toml").write_text('[addresses]\ndeny = ["127.0.0.0/8"]\n')
    words = ["-r", "registry://127.0.0.1:1", "-a", "http://127.0.0.1:0", "--config", "gateway.toml"]
    with Program(["-m", "fastrpc", "gateway", *words], folder) as program:
        port = int(program.wait_output(r"gateway at http://127\.0\.0\.1:(\d+)\n")[1])
        with pytest.raises(ConnectionError), socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            connection.recv(1)
            connection.recv(1)


def test_an_address_that_is_taken_is_reported_as_it_was_given(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        words = ["-m", "fastrpc", "gateway", "-r", "registry://127.0.0.1:1", "-a", url]
        with Program(words, folder) as program:
            done = program.wait()
    assert (done.code, f"cannot listen at {url}: " in done.errors) == (3, True), done
