"""An answer of a server that told its clients to leave says nothing about the next server at its address."""

import asyncio
import logging

import pytest

import fastrpc
from tests.support.probed import Asked, config, down, probing, serving
from tests.support.served import SCHEMES
from tests.support.waiting import eventually
from tests.support.who import Who

pytestmark = pytest.mark.one_loop


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the records about endpoints that are down or up."""
    return [
        text
        for text in (record.getMessage() for record in caplog.records)
        if " is down" in text or " is up" in text
    ]


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_server_that_leaves_is_not_told_down_by_an_answer_that_comes_late(
    scheme: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fastrpc.client")
    async with serving(2, scheme) as places, probing(places) as client:
        places[0].asked.is_stuck = True
        await eventually(lambda: places[0].asked.is_inside)
        drain = asyncio.create_task(places[0].target.server.drain())
        await eventually(lambda: len(client._pool.connections) == 1)
        places[0].asked.go_on.set()
        assert await drain is True
        await eventually(lambda: not client._pool.subchannels[0].all_connections)
        assert down(client) == [False, False]
    assert said(caplog) == []


async def test_the_next_server_is_not_marked_down_by_the_answer_of_the_last_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "fastrpc.client")
    # One probe for each connection, and no further probe for a long time.
    async with serving(2) as places:
        places[0].asked.is_stuck = True
        async with probing(places, config(interval=1_000)) as client:
            subchannel = client._pool.subchannels[0]
            await eventually(lambda: places[0].asked.is_inside)
            # A connection that carried only probes is not made again.
            assert await client.with_options(endpoint=places[0].target).call(Who.name_of) == "0"
            drain = asyncio.create_task(places[0].target.server.drain())
            await eventually(lambda: not subchannel.is_ready)
            asked = Asked()
            async with fastrpc.Server(Who("again"), interceptors=[asked]) as server:
                await server.listen(places[0].target)
                await eventually(lambda: subchannel.is_ready)
                places[0].asked.go_on.set()
                assert await drain is True
                # The probe that waited took the place of the probe of the new connection, which follows at once.
                await eventually(lambda: asked.seen)
                assert down(client) == [False, False]
                assert said(caplog) == []
