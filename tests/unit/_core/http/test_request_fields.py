"""The fields of a request that concern its call, and fields of the handshake of WebSocket."""

from typing import Any

import pytest

from fastrpc import HTTP
from fastrpc._core.http.own_hosts import OwnHosts
from tests.support.gateway_talk import connected
from tests.support.socket_client import SocketClient, bearer, handshake

METADATA = "/shop.v1/metadata"
REMAINING = "/shop.v1/remaining"


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"Meta_User": "Ada%20L."}, {"user": "Ada L."}),
        ({"META_User": "%C3%a4%25"}, {"user": "ä%"}),
        ({"Meta_Key_Bin": "AAE="}, {"key-bin": "0001"}),
        ({"Meta_Key_Bin": "AAE"}, {"key-bin": "0001"}),
        ({"Authorization": "Bearer x"}, {"authorization": "Bearer x"}),
        ({"traceparent": "00-a"}, {"traceparent": "00-a"}),
        ({"X_Other": "x", "Cookie": "a=b"}, {}),
    ],
)
async def test_fields_are_metadata_under_their_names(fields: dict[str, str], found: dict[str, str]) -> None:
    async with connected() as talk:
        answer = await talk.post(METADATA, {}, **fields)
        assert answer.value == found


@pytest.mark.parametrize(
    "fields",
    [
        {"Meta_User": "100%"},
        {"Meta_User": "%zz"},
        {"Meta_User": "%+1"},
        {"Meta_User": "%ff"},
        {"Meta_User": "\xe4"},
        {"Meta_Key_Bin": "!"},
        {"Meta_Authorization": "x"},
        {"Meta_frpc_x": "x"},
        {"Meta_": "x"},
        {"Meta_User": "a\r\nMeta-User: b"},
        {"Authorization": "a\r\nAuthorization: b"},
        {"traceparent": "a", "Meta_traceparent": "b"},
    ],
)
async def test_a_field_that_is_no_metadata_is_refused(fields: dict[str, str]) -> None:
    async with connected() as talk:
        assert (await talk.post(METADATA, {}, **fields)).status == 400


async def test_metadata_of_an_answer_is_fields_again() -> None:
    async with connected() as talk:
        answer = await talk.post(METADATA, {})
        assert (answer["meta-answer"], answer["meta-raw-bin"]) == ("%C3%A4%20b%25c", "AP8=")


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({"Timeout_Ms": "60000"}, 60),
        ({"grpc_timeout": "1M"}, 60),
        ({"grpc_timeout": "60000000u"}, 60),
        ({"Timeout_Ms": "999999999", "grpc_timeout": "60S"}, 60),
        ({"Timeout_Ms": "60000", "grpc_timeout": "99999999H"}, 60),
    ],
)
async def test_the_smaller_timeout_counts(fields: dict[str, str], seconds: int) -> None:
    async with connected() as talk:
        assert seconds - 30 < (await talk.post(REMAINING, {}, **fields)).value <= seconds


@pytest.mark.parametrize("fields", [{"Timeout_Ms": "0"}, {"grpc_timeout": "0S"}, {"grpc_timeout": "999n"}])
async def test_a_timeout_of_nothing_is_over(fields: dict[str, str]) -> None:
    async with connected() as talk:
        assert (await talk.post(REMAINING, {}, **fields)).status == 504


@pytest.mark.parametrize(
    "fields",
    [
        {"Timeout_Ms": ""},
        {"Timeout_Ms": "-1"},
        {"Timeout_Ms": "1.5"},
        {"Timeout_Ms": "1" * 13},
        {"Timeout_Ms": "1\r\nTimeout-Ms: 1"},
        {"grpc_timeout": ""},
        {"grpc_timeout": "S"},
        {"grpc_timeout": "1"},
        {"grpc_timeout": "1s"},
        {"grpc_timeout": "123456789S"},
    ],
)
async def test_a_timeout_that_is_no_number_is_refused(fields: dict[str, str]) -> None:
    async with connected() as talk:
        assert (await talk.post(REMAINING, {}, **fields)).status == 400


SOCKETS = HTTP(websocket=True)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"Upgrade": None}, 426),
        ({"Upgrade": "h2c"}, 426),
        ({"Connection": "close"}, 400),
        ({"Sec_WebSocket_Version": None}, 426),
        ({"Sec_WebSocket_Version": "8"}, 426),
        ({"Sec_WebSocket_Version": "13, 8"}, 426),
        ({"Sec_WebSocket_Key": None}, 400),
        ({"Sec_WebSocket_Key": "c2hvcnQ="}, 400),
        ({"Sec_WebSocket_Key": "no base64"}, 400),
        ({"Content_Length": "2"}, 400),
        ({"protocols": "chat"}, 400),
        ({"protocols": "fastrpc.bearer.***"}, 400),
        ({"protocols": "fastrpc.bearer."}, 400),
        ({"protocols": bearer("a") + "\xa0"}, 400),
        ({"protocols": "\xa0" + bearer("a")}, 400),
        ({"Connection": "Upgrade\xa0"}, 400),
        ({"Upgrade": "websocket\xa0"}, 426),
        ({"protocols": f"{bearer('a')}, {bearer('b')}"}, 400),
        ({"protocols": bearer("a"), "Authorization": "Bearer b"}, 400),
        ({"Origin": "https://elsewhere.example"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Host": "elsewhere.example"}, 421),
    ],
)
async def test_a_handshake_that_is_wrong_is_answered_by_http(fields: dict[str, Any], status: int) -> None:
    async with connected(http=SOCKETS, hosts=OwnHosts({"localhost"})) as talk:
        talk.send(handshake("/ws/shop.v1/echo", **fields) + b"{}" * ("Content_Length" in fields))
        answer = await talk.response()
        assert (answer.status, answer["content-type"]) == (status, "application/problem+json")
        if status == 426:
            assert (answer["upgrade"], answer["connection"]) == ("websocket", "Upgrade")
            assert ("sec-websocket-version" in answer) == ("Sec_WebSocket_Version" in fields)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (None, None),
        ("fastrpc.json", "fastrpc.json"),
        ("chat, fastrpc.msgpack, fastrpc.json", "fastrpc.msgpack"),
        (bearer("secret"), None),
        (f"{bearer('secret')}, fastrpc.json", "fastrpc.json"),
    ],
)
async def test_a_subprotocol_is_chosen_and_a_token_is_not_echoed(
    offered: str | None, chosen: str | None
) -> None:
    async with connected(http=SOCKETS) as talk:
        socket = SocketClient(talk)
        answer = await socket.open("/ws/shop.v1/echo", protocols=offered, Upgrade="WebSocket")
        assert answer.status == 101
        assert [value for name, value in answer.fields if name == "sec-websocket-protocol"] == [
            item for item in [chosen] if item is not None
        ]


@pytest.mark.parametrize("token", ["a", "ab", "abc", "abcd"])
async def test_a_token_of_any_length_is_taken(token: str) -> None:
    async with connected(http=SOCKETS) as talk:
        assert (await SocketClient(talk).open("/ws/shop.v1/echo", protocols=bearer(token))).status == 101


async def test_pages_of_origins_that_may_call_open_sockets() -> None:
    http = HTTP(websocket=True, cors_origins=("https://shop.example",))
    async with connected(http=http) as talk:
        answer = await SocketClient(talk).open(
            "/ws/shop.v1/echo", Origin="https://shop.example", Sec_Fetch_Site="cross-site"
        )
        assert answer.status == 101


@pytest.mark.parametrize(
    "path", ["/ws/shop.v1/none", "/ws/shop.v1", "/ws/", "/ws//shop.v1/echo", "/wss/shop.v1/echo"]
)
async def test_a_path_that_leads_nowhere_is_not_found(path: str) -> None:
    async with connected(http=SOCKETS) as talk:
        assert (await SocketClient(talk).open(path)).status == 404


async def test_sockets_are_off_by_default() -> None:
    async with connected() as talk:
        assert (await SocketClient(talk).open("/ws/shop.v1/echo")).status == 404
