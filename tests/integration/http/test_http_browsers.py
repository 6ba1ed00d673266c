"""The rights of pages in browsers: none by default."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fastrpc import HTTP, Endpoint, Server, ServerConfig
from tests.support.http_shop import Shop
from tests.support.http_talk import HttpClient

pytestmark = pytest.mark.one_loop

NOTE = "/shop.v1/note"
ALLOWED = "https://shop.example"


@contextlib.asynccontextmanager
async def serving(shop: Shop, **http: Any) -> AsyncIterator[HttpClient]:
    config = ServerConfig(protocols=("http",), http=HTTP(**http))
    async with Server(shop, config=config) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            yield client


#: Requests that a foreign page can make a browser send without asking: types of forms, and its own origin.
SIMPLE_TYPES = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None)
ORIGINS = (
    "https://evil.example",
    "http://127.0.0.1:1",
    "http://127.0.0.1.evil.example",
    "null",
    "https://shop.example.evil.example",
    "file://",
    "",
)
HOSTS = (
    "evil.example",
    "evil.example:80",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "127.1",
    "2130706433",
    "0x7f000001",
)

FOREIGN: list[tuple[str, dict[str, str | None], int]] = [
    ("POST", {"Sec_Fetch_Site": "cross-site"}, 403),
    ("POST", {"Sec_Fetch_Site": "Cross-Site"}, 403),
    ("GET", {"Sec_Fetch_Site": "cross-site"}, 403),
    ("GET", {}, 405),
]
for kind in SIMPLE_TYPES:
    FOREIGN.append(("POST", {"Content_Type": kind}, 415))
    FOREIGN += [("POST", {"Content_Type": kind, "Origin": origin}, 403) for origin in ORIGINS]
for origin in ORIGINS:
    FOREIGN.append(("POST", {"Origin": origin}, 403))
    FOREIGN.append(("OPTIONS", {"Origin": origin, "Access_Control_Request_Method": "POST"}, 403))
for host in HOSTS:
    FOREIGN.append(("POST", {"Host": host}, 421))
    FOREIGN.append(("POST", {"Host": host, "Origin": f"http://{host}"}, 421))


def test_there_are_sixty_of_them() -> None:
    assert len(FOREIGN) >= 60


@pytest.mark.parametrize("case", range(len(FOREIGN)))
async def test_no_page_calls_a_method_by_default(case: int) -> None:
    verb, fields, status = FOREIGN[case]
    shop = Shop()
    async with serving(shop) as client:
        answer = await client.ask(verb, NOTE, {"text": "written"} if verb == "POST" else b"", **fields)
        assert answer.status == status
        assert shop.noted == []
        assert not any(name.startswith("access-control-") for name, _ in answer.fields)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8080", "[::1]", "[::1]:80", "localhost", "LOCALHOST:1", "10.1.2.3"]
)
async def test_addresses_and_localhost_are_this_server(host: str) -> None:
    shop = Shop()
    async with serving(shop) as client:
        assert (await client.post(NOTE, {"text": "a"}, Host=host, Origin=f"http://{host}")).status == 200


@pytest.mark.parametrize("path", [NOTE, "/jsonrpc", "/ws/shop.v1/echo"])
@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]"])
async def test_the_port_of_a_host_is_at_most_65535(name: str, path: str) -> None:
    for port, is_good in {
        ":0": 1,
        ":65535": 1,
        ":65536": 0,
        ":99999": 0,
        ":": 0,
        ":+1": 0,
        ":-1": 0,
        ":x": 0,
    }.items():
        async with serving(Shop(), jsonrpc=True, websocket=True) as client:
            answer = await client.post(path, {"text": "a"}, Host=name + port)
            assert (answer.status != 400) == is_good, port


@pytest.mark.parametrize("path", ["/jsonrpc", NOTE])
async def test_other_white_space_is_part_of_a_media_type(path: str) -> None:
    async with serving(Shop(), jsonrpc=True) as client:
        for kind, is_taken in {
            "application/json\t": 1,
            "application/json \t;x=y": 1,
            "application/json\xa0": 0,
        }.items():
            answer = await client.post(path, {"text": "a"}, Content_Type=kind)
            assert (answer.status != 415) == is_taken, kind


async def test_named_hosts_are_this_server() -> None:
    shop = Shop()
    async with serving(shop, allowed_hosts=("Shop.Example",)) as client:
        for host in ("shop.example", "SHOP.example:443", "shop.example."):
            assert (await client.post(NOTE, {"text": "a"}, Host=host)).status == 200
        assert (await client.post(NOTE, {"text": "a"}, Host="other.example")).status == 421


async def test_the_advertised_name_is_this_server() -> None:
    shop = Shop()
    async with Server(shop, config=ServerConfig(protocols=("http",))) as server:
        for advertised in ("tcp://Shop.Example:80", Endpoint("tcp://shop.example:80")):
            address = await server.listen("tcp://127.0.0.1:0", advertise=advertised)
            async with await HttpClient.to(address) as client:
                for host, status in (("shop.example:80", 200), ("other.example", 421)):
                    assert (await client.post(NOTE, {"text": "a"}, Host=host)).status == status


async def test_an_allowed_origin_may_ask_and_call() -> None:
    shop = Shop()
    async with serving(shop, cors_origins=(ALLOWED,)) as client:
        answer = await client.ask(
            "OPTIONS",
            NOTE,
            Origin=ALLOWED,
            Access_Control_Request_Method="POST",
            Access_Control_Request_Headers="content-type, meta-a, authorization",
        )
        assert answer.status == 204
        assert answer["access-control-allow-origin"] == ALLOWED
        assert "POST" in answer["access-control-allow-methods"]
        assert answer["access-control-allow-headers"] == "content-type, meta-a, authorization"
        assert "access-control-allow-credentials" not in answer
        answer = await client.post(
            "/shop.v1/metadata", {}, Origin=ALLOWED, Sec_Fetch_Site="cross-site", Host="127.0.0.1"
        )
        assert answer.status == 200
        assert answer["access-control-allow-origin"] == ALLOWED
        assert answer["vary"] == "Origin"
        exposed = answer["access-control-expose-headers"].lower()
        assert {"retry-after", "meta-answer", "meta-raw-bin"} <= {name.strip() for name in exposed.split(",")}
        # Errors are read by the page as well.
        answer = await client.post("/shop.v1/fail", {"status": "ABORTED"}, Origin=ALLOWED)
        assert answer["access-control-allow-origin"] == ALLOWED
        assert (await client.post(NOTE, {"text": "a"}, Origin="https://evil.example")).status == 403


#: Requests that are refused before their call begins, and the status.
BROKEN: list[tuple[dict[str, str | None], int]] = [
    ({"Content_Length": str(17 << 20)}, 413),
    ({"Content_Length": None, "Transfer_Encoding": "chunked"}, 400),
    ({"Timeout_Ms": "soon"}, 400),
    ({"Meta_a": "%zz"}, 400),
    ({"Meta_a": "x" * 9_000}, 431),
]


@pytest.mark.parametrize(("fields", "status"), BROKEN)
async def test_the_refusal_of_a_broken_request_is_read_by_the_page_that_may_call(
    fields: dict[str, str | None], status: int
) -> None:
    shop = Shop()
    for origin, told in ((ALLOWED, ALLOWED), ("http://127.0.0.1", None), (None, None)):
        async with serving(shop, cors_origins=(ALLOWED,)) as client:
            answer = await client.post(NOTE, b"{}x\r\n", **(fields | {"Origin": origin}))
            assert answer.status == status
            assert dict(answer.fields).get("access-control-allow-origin") == told
            assert dict(answer.fields).get("vary") == (told and "Origin")
    async with serving(shop, cors_origins=(ALLOWED,)) as client:
        answer = await client.post(NOTE, b"{}x\r\n", **(fields | {"Origin": "https://evil.example"}))
        assert "access-control-allow-origin" not in answer


async def test_another_origin_is_refused_next_to_an_allowed_one() -> None:
    async with serving(Shop(), cors_origins=(ALLOWED,)) as client:
        for origin in ("http://shop.example", "https://shop.example:444", "https://a.shop.example"):
            assert (await client.post(NOTE, {"text": "a"}, Origin=origin)).status == 403


async def test_names_that_would_split_a_response_are_not_echoed() -> None:
    async with serving(Shop(), cors_origins=(ALLOWED,)) as client:
        answer = await client.ask(
            "OPTIONS", NOTE, Origin=ALLOWED, Access_Control_Request_Method="POST",
            Access_Control_Request_Headers="a;b<script>",
        )  # fmt: skip
        assert answer["access-control-allow-headers"] == ""
