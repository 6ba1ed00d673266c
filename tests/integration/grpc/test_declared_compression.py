"""The compression of a call is declared for a short request as well: the answer may be longer."""

import asyncio
from typing import Any

import grpc
import pytest

import fastrpc.grpc
from fastrpc.grpc import aio
from tests.support.both_servers import KINDS
from tests.support.scripted_grpc import Scripted, echo, scripted_grpc

pytestmark = pytest.mark.one_loop

GZIP = grpc.Compression.Gzip


async def call_each(channel: Any, **options: Any) -> None:
    """Make one call of each kind."""
    for name, kind in KINDS.items():
        request = iter([b"short"]) if name in {"total", "talk"} else b"short"
        call = getattr(channel, kind)(f"/test/{name}")(request, timeout=20, **options)
        assert ([one async for one in call] if name in {"stream", "talk"} else [await call]) == [b"done"]


def declared(server: Scripted) -> dict[str, str | None]:
    """Return the compression that each call declared, by its method."""
    return {head[":path"].rpartition("/")[2]: head.get("grpc-encoding") for head in server.heads}


WAYS = {"of the call": ({}, {"compression": GZIP}), "of the channel": ({"compression": GZIP}, {})}


@pytest.mark.parametrize("way", WAYS)
async def test_a_short_request_of_each_kind_declares_it(way: str) -> None:
    of_channel, of_call = WAYS[way]
    async with scripted_grpc(echo) as server:
        async with aio.insecure_channel(server.target.removeprefix("grpc://"), **of_channel) as channel:
            await call_each(channel, **of_call)
    assert declared(server) == dict.fromkeys(KINDS, "gzip")


async def test_nothing_is_declared_without_it() -> None:
    async with scripted_grpc(echo) as server:
        async with aio.insecure_channel(server.target.removeprefix("grpc://")) as channel:
            await call_each(channel)
    assert declared(server) == dict.fromkeys(KINDS)


async def test_a_call_in_a_thread_declares_it() -> None:
    def ask(target: str) -> None:
        with fastrpc.grpc.insecure_channel(target) as channel:
            channel.unary_unary("/test/unary")(b"short", timeout=20, compression=GZIP)

    async with scripted_grpc(echo) as server:
        await asyncio.to_thread(ask, server.target.removeprefix("grpc://"))
    assert declared(server) == {"unary": "gzip"}
