"""WebSockets whose bytes would take memory before their caller is known: compressed frames above all."""

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator

import pytest

from fastrpc import HTTP, Client, Identity, Server, ServerConfig
from fastrpc.auth import StaticTokens
from tests.support.http_shop import Shop
from tests.support.http_talk import HttpClient
from tests.support.socket_client import SocketClient
from tests.support.socket_frames import CLOSE, TEXT, client_frame

PATH = "/ws/shop.v1/echo"
DEFLATE = "permessage-deflate; client_max_window_bits, permessage-deflate"
CONFIG = ServerConfig(protocols=("native", "http"), http=HTTP(websocket=True))


def packed_bomb() -> bytes:
    """Return a compressed frame of 16 MiB of zeros, as permessage-deflate writes it."""
    pack = zlib.compressobj(wbits=-15)
    content = (pack.compress(bytes(16 << 20)) + pack.flush(zlib.Z_SYNC_FLUSH))[:-4]
    # RSV1 says that it is compressed.
    return client_frame(TEXT, content, reserved=0b100)


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[str]:
    tokens = StaticTokens({"ada-token": Identity("ada")})
    async with Server(Shop(), config=CONFIG, authenticate=tokens) as server:
        yield str(await server.listen("tcp://127.0.0.1:0"))


@pytest.mark.parametrize("token", [None, "wrong"])
async def test_no_frame_is_read_before_the_caller_is_known(token: str | None) -> None:
    async with served() as address, Client(address, credentials="ada-token") as good:
        fields = {} if token is None else {"Authorization": f"Bearer {token}"}
        async with await HttpClient.to(address) as http:
            socket = SocketClient(http)
            answer = await socket.open(PATH, Sec_WebSocket_Extensions=DEFLATE, **fields)
            assert answer.status == 401
            assert "upgrade" not in answer
            # For HTTP these bytes are not a request: the connection ends.
            http.send(packed_bomb())
            async with asyncio.timeout(10):
                while await http.reader.read(65_536):
                    continue
        assert await good.call("shop.v1.echo", "a") == "a"


async def test_a_compressed_frame_closes_the_socket_of_a_known_caller_too() -> None:
    async with served() as address, Client(address, credentials="ada-token") as good:
        async with await HttpClient.to(address) as http:
            socket = SocketClient(http)
            answer = await socket.open(
                PATH, Sec_WebSocket_Extensions=DEFLATE, Authorization="Bearer ada-token"
            )
            assert answer.status == 101
            assert "sec-websocket-extensions" not in answer
            http.send(packed_bomb())
            frame = await socket.frame()
            assert (frame.opcode, frame.code) == (CLOSE, 1002)
        assert await good.call("shop.v1.echo", "a") == "a"
