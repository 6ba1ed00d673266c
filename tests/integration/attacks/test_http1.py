"""Attacks that worked on other servers of HTTP/1.1, WebSocket and ASGI; an honest caller is served meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, Address, Identity, Limits, ServerConfig, Upload
from fastrpc._core.server.memory_budget import bytes_held
from fastrpc.auth import StaticTokens
from tests.support.http_talk import HttpClient, request
from tests.support.mounted import answering
from tests.support.served import served
from tests.support.socket_client import SocketClient
from tests.support.socket_frames import CONTINUATION, TEXT, client_frame
from tests.support.waiting import eventually
from tests.support.ways_in import MCP_META

pytestmark = pytest.mark.one_loop

KIB, MIB = 1 << 10, 1 << 20
FORM = "multipart/form-data; boundary=XyZ"
TOKENS = StaticTokens({"secret-of-ada": Identity("ada")})
MEMORY = Limits(message_bytes=MIB)


@fastrpc.service("shop")
class Shop:
    def __init__(self) -> None:
        self.goes_on = asyncio.Event()
        self.began = asyncio.Event()

    @fastrpc.method(public=True, safe=True, tool=True)
    async def count(self, text: str = "abc") -> int:
        return len(text)

    @fastrpc.method
    async def take(self, texts: AsyncIterator[str]) -> int:
        self.began.set()
        await self.goes_on.wait()
        return len([text async for text in texts])

    @fastrpc.method
    async def store(self, file: Upload, note: str = "") -> int:
        return sum([len(piece) async for piece in file])


@asynccontextmanager
async def serving(shop: Shop, authenticate: Any = None, **options: Any) -> AsyncIterator[Address]:
    """Serve while an honest caller calls; each of its calls has to be answered."""
    config = ServerConfig(protocols=("http",), http=HTTP(websocket=True, mcp=True, **options), limits=MEMORY)
    is_over = False
    answered = 0

    async def call_on(address: Address) -> None:
        nonlocal answered
        async with await HttpClient.to(address) as client:
            while not is_over:
                assert (await client.post("/shop/count", {"text": "abc"})).value == 3
                answered += 1

    async with served(shop, scheme="tcp", config=config, authenticate=authenticate) as target:
        address = Address.parse(target)
        async with asyncio.timeout(30):
            calling = asyncio.create_task(call_on(address))
            await eventually(lambda: answered)
            before = answered
            yield address
            await eventually(lambda: answered > before or calling.done())
            is_over = True
            await calling


# DNS rebinding (Starlette CVE-2026-48710, MCP CVE-2025-66416): the page of a stranger asks under its own name


@pytest.mark.parametrize("authenticate", [None, TOKENS], ids=["open", "authenticated"])
async def test_a_page_with_a_domain_name_of_an_attacker_reaches_no_tool(authenticate: Any) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": MCP_META}}
    fields = {"MCP_Protocol_Version": "2026-07-28", "Mcp_Method": "tools/list", "Host": "evil.example"}
    async with serving(Shop(), authenticate) as address, await HttpClient.to(address) as client:
        answer = await client.post("/mcp", body, **fields)
        # A browser has no token to show: of the tools it learns at most the public ones.
        told = [tool["name"] for tool in answer.value["result"]["tools"]] if answer.status == 200 else []
        assert (answer.status, told) in (
            [(421, [])] if authenticate is None else [(401, []), (200, ["shop_count"])]
        )


@pytest.mark.parametrize("authenticate", [None, TOKENS], ids=["open", "authenticated"])
async def test_a_page_with_a_domain_name_of_an_attacker_reaches_no_application(authenticate: Any) -> None:
    options = {} if authenticate is None else {"mount_authenticated": False}
    mounts = {"/app": answering(b"secret")}
    async with serving(
        Shop(), authenticate, mounts=mounts, allowed_hosts=("shop.example",), **options
    ) as address:
        async with await HttpClient.to(address) as client:
            for host, status in (("evil.example", 421), ("shop.example", 200), ("127.0.0.1", 200)):
                assert (await client.get("/app/", Host=host)).status == status, host


async def test_an_application_behind_authentication_is_told_no_stranger_by_any_name() -> None:
    mounts = {"/app": answering(b"secret")}
    async with serving(Shop(), TOKENS, mounts=mounts, mount_authenticated=True) as address:
        async with await HttpClient.to(address) as client:
            assert (await client.get("/app/", Host="evil.example")).status == 401
            answer = await client.get("/app/", Host="evil.example", Authorization="Bearer secret-of-ada")
            assert answer.status == 200


# WebSocket: messages that are parsed although the reader pauses (PYSEC-2026-4400), large unfinished frames
# (CVE-2026-54274)


async def test_small_messages_stay_within_the_window_of_a_reader_that_pauses() -> None:
    shop = Shop()
    async with serving(shop) as address, await HttpClient.to(address) as client:
        socket = SocketClient(client)
        assert (await socket.open("/ws/shop/take")).status == 101
        client.send(client_frame(TEXT, b'{"arguments":{}}'))
        await shop.began.wait()
        message = client_frame(TEXT, b'{"value":""}')
        for _ in range(20):
            client.send(message * 10_000)
            await asyncio.sleep(0)
        for _ in range(1_000):
            await asyncio.sleep(0)
            assert bytes_held() < 4 * MIB
        shop.goes_on.set()
        client.send(client_frame(TEXT, b'{"end":true}'))
        messages, code = await socket.rest()
        assert (messages[0], code) == ({"value": 200_000}, 1000)


@pytest.mark.parametrize("size", [MIB + 1, 2**32, 2**62])
async def test_a_frame_that_announces_too_much_is_refused_before_its_content(size: int) -> None:
    async with serving(Shop()) as address, await HttpClient.to(address) as client:
        socket = SocketClient(client)
        assert (await socket.open("/ws/shop/take")).status == 101
        client.send(bytes((0x81, 0x80 | 127)) + size.to_bytes(8, "big") + b"\0" * 4)
        frame = await socket.frame()
        assert frame.code == 1009


async def test_a_message_of_endless_parts_is_refused_at_the_limit() -> None:
    async with serving(Shop()) as address, await HttpClient.to(address) as client:
        socket = SocketClient(client)
        assert (await socket.open("/ws/shop/take")).status == 101
        client.send(client_frame(TEXT, b'{"x":"', final=False))
        client.send(client_frame(CONTINUATION, b"x" * 60 * KIB, final=False) * 20)
        assert (await socket.frame()).code == 1009
        # Parts without content add nothing: their time ends.
        assert bytes_held() < 4 * MIB


# Forms (python-multipart up to 0.0.31)

HEAD = b'--XyZ\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
LAST = b"\r\n--XyZ--\r\n"


@pytest.mark.parametrize(
    "form",
    [
        b"\r\n" * 500_000 + HEAD + b"a" + LAST,
        b"-" * 500_000 + HEAD + b"a" + LAST,
        b"--XyZ\r\n" + b"X-A: b\r\n" * 100_000 + b"\r\n",
        b"--XyZ" + b" " * 500_000 + b"\r\n",
        b"".join(
            b'--XyZ\r\nContent-Disposition: form-data; name="note"\r\n\r\n%d\r\n' % number
            for number in range(1_000)
        ),
        b'--XyZ\r\nContent-Disposition: form-data; name="note"' + b'; a="\\"' * 1_000 + b"\r\n\r\na" + LAST,
    ],
    ids=["line ends", "dashes", "fields of a head", "spaces", "parts", "quotes"],
)
async def test_a_form_of_marks_alone_is_refused_early(form: bytes) -> None:
    async with serving(Shop()) as address, await HttpClient.to(address) as client:
        client.send(request("POST", "/shop/store", form, Content_Type=FORM))
        answer = await client.response()
        assert answer.status == 400
        assert bytes_held() < 4 * MIB


@pytest.mark.measures
@pytest.mark.parametrize("mark", [b"\r\n--Xy", b"\r", b"\r\n", b"\r\n--XyY"], ids=repr)
async def test_a_file_of_beginnings_of_boundaries_takes_linear_time(mark: bytes) -> None:
    async with serving(Shop()) as address, await HttpClient.to(address) as client:
        seconds = []
        for size in (2 * MIB, 8 * MIB):
            content = mark * (size // len(mark))
            began = time.perf_counter()
            answer = await client.post("/shop/store", HEAD + content + LAST, Content_Type=FORM)
            assert answer.value == len(content)
            seconds.append(time.perf_counter() - began)
    assert seconds[1] < 8 * seconds[0] + 0.2, seconds


# Ranges of O(n²) in answers of files (CVE-2025-62727)


async def test_an_answer_has_no_ranges() -> None:
    async with serving(Shop()) as address, await HttpClient.to(address) as client:
        ranges = "bytes=" + ",".join(f"{at}-{at}" for at in range(1_000))
        answer = await client.get("/shop/count?text=abc", Range=ranges)
        assert (answer.status, answer.value) == (200, 3)
        assert "content-range" not in answer
