"""A call of rpcx that is refused because of its caller is counted, logged and audited once, in any form."""

import asyncio
import logging
from typing import Any

import pytest

from fastrpc import CallError, ClientConfig, Server, ServerConfig
from fastrpc.auth import Identity
from fastrpc.peers.peer import Peer
from tests.support.either_client import CLIENTS, connected
from tests.support.guarded import TOKENS, Shop
from tests.support.rpcx_talk import RpcxTalk, rpcx_talk
from tests.support.rpcx_wire import Frame, call

pytestmark = pytest.mark.one_loop

BOTH = ServerConfig(protocols=("native", "rpcx", "phobos"))

#: A frame over 64 KiB is judged by its beginning.
SIZES = {"short": 3, "long": 300_000}


async def asked(peer: Peer) -> Identity | None:
    """Take time for a verdict."""
    await asyncio.sleep(0)
    return Identity("bob") if peer.credentials == "token-of-bob" else None


VERDICTS = {"at once": TOKENS, "later": asked}


def told(caplog: pytest.LogCaptureFixture, logger: str) -> list[str]:
    """Return the refusals in a log."""
    texts = [record.getMessage() for record in caplog.records if record.name == logger]
    return [text for text in texts if "refused" in text]


def check_told(caplog: pytest.LogCaptureFixture, server: Server, times: int) -> None:
    assert server.stats()["totals"]["refused"] == times
    assert len(told(caplog, "fastrpc.server")) == times
    assert len(told(caplog, "fastrpc.audit")) == times


async def sent(talk: RpcxTalk, frame: Frame, piece: int) -> Frame:
    """Send a frame in pieces, and return the next one that comes."""
    data = frame.encode(talk.magic)
    for start in range(0, len(data), piece):
        talk.send(data[start : start + piece])
        await talk.writer.drain()
        await asyncio.sleep(0)
    return await talk.hear()


@pytest.mark.parametrize("verdict", VERDICTS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("piece", [1_000, 70_000, 1_000_000])
@pytest.mark.parametrize("token", ["token-of-bob", "wrong", None])
@pytest.mark.parametrize("method", ["nope", "who", "a.b"])
async def test_a_refused_call_is_reported_once(
    verdict: str, size: str, piece: int, token: str | None, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with Server(Shop, config=BOTH, authenticate=VERDICTS[verdict], authorize=never) as server:
        await server.listen("tcp://127.0.0.1:0")
        async with rpcx_talk(server) as talk:
            metadata = {} if token is None else {"__AUTH": token}
            answer = await sent(talk, call("shop", method, bytes(SIZES[size]), metadata=metadata), piece)
            assert answer.status
            check_told(caplog, server, 1)


async def test_a_one_way_call_and_a_call_after_it_are_reported_as_two(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    async with Server(Shop, config=BOTH, authenticate=TOKENS, authorize=never) as server:
        await server.listen("tcp://127.0.0.1:0")
        async with rpcx_talk(server) as talk:
            metadata = {"__AUTH": "token-of-bob"}
            talk.send(call("shop", "nope", {}, metadata=metadata, one_way=True))
            assert (await talk.ask(call("shop", "nope", {}, metadata=metadata))).status
            check_told(caplog, server, 2)


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("size", SIZES)
async def test_a_refused_call_of_a_client_is_told_once(
    kind: str, size: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with Server(Shop, config=BOTH, authenticate=TOKENS, authorize=never) as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        config = ClientConfig(wire_protocol="rpcx")
        async with connected(kind, target, credentials="token-of-bob", config=config) as client:
            with pytest.raises(CallError, match="may not call it, or it does not exist"):
                await client.call("shop.nope", bytes(SIZES[size]))
        check_told(caplog, server, 1)


def never(identity: Identity | None, method: Any) -> bool:
    """Allow nothing."""
    return False
