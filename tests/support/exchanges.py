"""Requests of exchanges that are kept: a connection has many at once, as by HTTP/2."""

import asyncio
from typing import Any

import msgspec

from fastrpc_harness.kept_exchange import KeptExchange
from tests.support.gateway_talk import GatewayTalk
from tests.support.waiting import eventually

__all__ = ["asked", "begun", "content_of"]


async def begun(
    talk: GatewayTalk,
    target: str,
    value: Any = None,
    *fields: tuple[bytes, bytes],
    method: bytes = b"POST",
    takes_none: bool = False,
    protocol: bytes = b"websocket",
) -> KeptExchange:
    """Return an exchange whose request was sent, outside of any task, as a transport does it.

    Args:
        value: the value of a POST, as JSON; bytes are a body as they are.
        protocol: of the tunnel that a CONNECT asks for.
    """
    exchange = KeptExchange(talk.engine)
    exchange.takes_none = takes_none
    given = [(b"host", b"a"), *fields]
    body: bytes | None = value
    if method == b"POST" and not isinstance(value, bytes):
        given.append((b"content-type", b"application/json"))
        body = msgspec.json.encode(value)
    done = asyncio.get_running_loop().create_future()

    def ask() -> None:
        try:
            exchange.ask(method, target.encode(), given, body, protocol if method == b"CONNECT" else None)
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(None)

    asyncio.get_running_loop().call_soon(ask)
    await done
    return exchange


async def asked(
    talk: GatewayTalk, target: str, value: Any = None, *fields: tuple[bytes, bytes], **more: Any
) -> KeptExchange:
    """Return an exchange once it is answered."""
    exchange = await begun(talk, target, value, *fields, **more)
    await eventually(lambda: exchange.is_complete or exchange.was_cut)
    return exchange


def content_of(exchange: KeptExchange) -> Any:
    """Return the value of an answer."""
    return msgspec.json.decode(b"".join(exchange.parts))
