"""Entries of metadata whose keys have no native form are left out, counted and reported once, by each way from Go."""

import logging
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, current_call
from fastrpc._core.base.histogram import DROPPED
from fastrpc._core.rpcx.frames import PHOBOS, RPCX
from tests.support.gateway_talk import connected
from tests.support.rpcx_link import served_rpcx
from tests.support.rpcx_wire import call

WAYS = ["rpcx", "phobos", "rpcx gateway", "phobos gateway"]

#: Keys of Go that are invalid for us, in bytes that a query can hold as well.
FOREIGN = ["", "a b", "a/b", "größe", "\u212aey", "x" * 256, "a:b", "a\0", "*"]


@fastrpc.service("seen")
class Seen:
    @fastrpc.method
    async def metadata(self) -> dict[str, Any]:
        return dict(current_call().metadata)


Ask = Callable[[dict[str, str]], Awaitable[Any]]


@asynccontextmanager
async def asking(way: str) -> AsyncIterator[Ask]:
    """Yield a function that calls with metadata, and returns the metadata that the handler saw."""
    protocol, _, gateway = way.partition(" ")
    if not gateway:
        async with served_rpcx(Seen(), profile=RPCX if protocol == "rpcx" else PHOBOS) as talk:

            async def by_wire(metadata: dict[str, str]) -> Any:
                answer = await talk.ask(call("seen", "metadata", metadata=metadata))
                assert answer.error is None
                return answer.value()

            yield by_wire
        return
    prefix = "X-RPCX" if protocol == "rpcx" else "PHOBOS-Gateway"
    fields = {"ServicePath": "seen", "ServiceMethod": "metadata", "SerializeType": "1", "MessageID": "7"}
    http = HTTP(rpcx=True, phobos=True)
    async with connected(http=http, shop=Seen()) as gateway_talk:  # type: ignore[arg-type]

        async def by_gateway(metadata: dict[str, str]) -> Any:
            named = {f"{prefix}-{name}": value for name, value in fields.items()}
            meta = urllib.parse.urlencode(metadata)
            answer = await gateway_talk.post("/seen", None, **named, **{f"{prefix}-Meta": meta})
            assert answer.status == 200
            assert f"{prefix.lower()}-messagestatustype" not in answer
            return answer.value

        yield by_gateway


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("key", FOREIGN)
async def test_a_call_continues_without_an_entry_that_has_no_native_key(way: str, key: str) -> None:
    protocol = way.partition(" ")[0]
    before = DROPPED.get(protocol, 0)
    async with asking(way) as ask:
        assert await ask({key: "1", "Kept": "2"}) == {"kept": "2"}
        assert DROPPED[protocol] == before + 1
        assert await ask({"Kept": "2", "x" * 255: "3", "a.b_c-9": "4"}) == {
            "kept": "2",
            "x" * 255: "3",
            "a.b_c-9": "4",
        }
        assert DROPPED[protocol] == before + 1


@pytest.mark.parametrize("way", WAYS)
async def test_the_first_left_out_entry_is_named(way: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "fastrpc")
    async with asking(way) as ask:
        for _ in range(3):
            await ask({"a b": "1", "a/b": "2"})
    [told] = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert told.startswith(
        f"{way.partition(' ')[0]}: the metadata entry 'a b' is left out, keys are 1 to 255 of"
    )
