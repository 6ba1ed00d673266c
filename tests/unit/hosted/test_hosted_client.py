"""The client of a hosted service that a URL names."""

import asyncio

import pytest

from fastrpc import ConnectError, Timeouts
from fastrpc.client.inside import pool_of
from fastrpc.hosted.remote import hosted_client
from fastrpc.registries.base.urls import RegistryURL
from tests.support.waiting import eventually


async def test_a_server_that_is_away_is_dialled_only_for_calls() -> None:
    dials = []

    def refused(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dials.append(writer)
        writer.close()

    async with await asyncio.start_server(refused, "127.0.0.1", 0) as away:
        port = away.sockets[0].getsockname()[1]
        client = hosted_client(
            RegistryURL(f"store://127.0.0.1:{port}"),
            None,
            service="store",
            contents="other keys",
            timeouts=Timeouts(connect=20.0, call=20.0),
            message_bytes=65_536,
        )
        (subchannel,) = pool_of(client).subchannels
        async with client:
            for calls in range(1, 4):
                with pytest.raises(ConnectError):
                    await client.call("fastrpc.store.get", "k")
                # It has no timer and no dial: only the next call dials.
                await eventually(lambda: subchannel.is_dormant)
                assert len(dials) == calls
