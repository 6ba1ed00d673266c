"""A stream that its connection has ended cleans up undisturbed, in every protocol that has tokens for a call."""

import asyncio

import pytest

from tests.integration.connections.test_lives import ENDLESS, PATIENT, TOKENS, WITH_TOKENS, Feed
from tests.support.lived import lived
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


@WITH_TOKENS
async def test_a_stream_that_ended_with_its_credential_keeps_its_cleanup(column: str) -> None:
    feed = Feed()
    feed.cleanup.clear()
    async with lived(
        column, shop=feed, authenticate=TOKENS, keepalive=PATIENT, timeouts=ENDLESS
    ) as connection:
        await connection.give(connection.way.own_stream)
        await eventually(lambda: feed.started == 1)
        [call] = connection.engine.connection.running
        connection.gate.guards.access.expire_call(call)
        connection.look(1)
        await eventually(lambda: feed.ended == 1)
        connection.look(2)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (feed.cut_off, feed.cleaned) == (0, 0)
        feed.cleanup.set()
        await eventually(lambda: feed.cleaned == 1)
