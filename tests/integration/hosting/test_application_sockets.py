"""WebSockets of `fastrpc.asgi`."""

import asyncio
import json
from typing import Any

import pytest

from fastrpc import HTTPLimits
from tests.support.http_shop import Shop
from tests.support.http_talk import soon
from tests.support.scopes import Exchange, exchange, http, serving, socket_scope
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


async def test_messages_go_both_ways() -> None:
    async with serving(config=http(websocket=True)) as app:
        async with exchange(app, socket_scope("/ws/shop.v1/double", fields={"meta-a": "b"})) as talk:
            talk.give(type="websocket.connect")
            accepted: dict[str, Any] = {"type": "websocket.accept", "subprotocol": None, "headers": []}
            assert await talk.has(1) == [accepted]
            for value in (1, 2):
                talk.give(type="websocket.receive", text=json.dumps({"value": value}))
            assert [json.loads(event["text"]) for event in (await talk.has(3))[1:]] == [
                {"value": 2},
                {"value": 4},
            ]
            talk.give(type="websocket.receive", text='{"end": true}')
            await talk.done()
            assert talk.sent[-1] == {"type": "websocket.close", "code": 1000, "reason": ""}


@pytest.mark.parametrize("size", [1, 124, 126, 70_000, 1_000_000])
async def test_messages_of_every_size_are_whole(size: int) -> None:
    async with serving(config=http(websocket=True)) as app:
        async with exchange(app, socket_scope("/ws/shop.v1/echo")) as talk:
            talk.give(type="websocket.connect")
            talk.give(type="websocket.receive", text=json.dumps({"arguments": {"text": "x" * size}}))
            await talk.has(4)
            assert json.loads(talk.sent[1]["text"]) == {"value": "x" * size}


async def test_msgpack_goes_in_bytes() -> None:
    async with serving(config=http(websocket=True)) as app:
        scope = socket_scope("/ws/shop.v1/echo", subprotocols=("other", "fastrpc.msgpack"))
        async with exchange(app, scope) as talk:
            talk.give(type="websocket.connect")
            talk.give(type="websocket.receive", bytes=b"\x81\xa9arguments\x81\xa4text\xa1a", text=None)
            assert (await talk.has(3))[0]["subprotocol"] == "fastrpc.msgpack"
            assert talk.sent[1]["bytes"] == b"\x81\xa5value\xa1a"


async def test_a_refusal_is_an_answer_if_the_outer_server_can_send_one() -> None:
    extensions: dict[str, Any] = {"websocket.http.response": {}}
    async with serving(config=http(websocket=True)) as app:
        talk = Exchange(app, socket_scope("/ws/shop.v1/none", extensions=extensions))
        talk.give(type="websocket.connect")
        await talk.done()
        assert [event["type"] for event in talk.sent] == [
            "websocket.http.response.start",
            "websocket.http.response.body",
        ]
        assert (talk.status, talk.value["code"]) == (404, "UNIMPLEMENTED")
        talk = Exchange(app, socket_scope("/ws/shop.v1/none"))
        talk.give(type="websocket.connect")
        await talk.done()
        assert talk.sent == [{"type": "websocket.close", "code": 1008, "reason": ""}]


async def test_a_disconnected_client_cancels_its_call() -> None:
    shop = Shop()
    async with serving(shop, config=http(websocket=True)) as app:
        async with exchange(app, socket_scope("/ws/shop.v1/wait")) as talk:
            talk.give(type="websocket.connect")
            talk.give(type="websocket.receive", text="{}")
            await soon(shop.started)
        await soon(shop.cancelled)


async def test_a_quiet_client_is_not_abandoned() -> None:
    shop = Shop()
    limits = HTTPLimits(idle_seconds=0.2, body_idle_seconds=0.2)
    async with serving(shop, config=http(websocket=True, limits=limits)) as app:
        async with exchange(app, socket_scope("/ws/shop.v1/wait")) as talk:
            talk.give(type="websocket.connect")
            talk.give(type="websocket.receive", text="{}")
            await soon(shop.started)
            # Longer than two pings of the engine, whose answers the transport sends.
            pinged = asyncio.get_running_loop().time() + 1.0
            await eventually(lambda: asyncio.get_running_loop().time() > pinged)
            assert not shop.cancelled.is_set()
            shop.goes_on.set()
            await talk.done()
            assert talk.sent[-1]["code"] == 1000


async def test_a_text_that_is_not_unicode_closes_the_socket() -> None:
    async with serving(config=http(websocket=True)) as app:
        async with exchange(app, socket_scope("/ws/shop.v1/echo")) as talk:
            talk.give(type="websocket.connect")
            talk.give(type="websocket.receive", text="\ud800")
            await talk.done()
            assert (talk.sent[-1]["type"], talk.sent[-1]["code"]) == ("websocket.close", 1007)
