"""The served calls of one HTTP connection, and its end."""

import gc

from tests.support.gateway_talk import connected


async def test_the_connection_may_be_given_up() -> None:
    async with connected() as talk:
        talk.engine.connection.abandon()
        assert talk.transport.is_aborted


async def test_a_connection_outlives_its_connection() -> None:
    async with connected() as talk:
        connection = talk.engine.connection
        talk.lose()
        del talk.engine, talk.session
        gc.collect()
        connection.abandon()
        assert connection.is_closed
