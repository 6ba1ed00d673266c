"""Streams of a server of NATS, as other programs see them."""

from collections.abc import Awaitable, Callable
from typing import Any

from nats.aio.client import Client
from nats.js import JetStreamContext

from tests.support.registry_servers import NatsServer

__all__ = ["on_streams", "remove_streams"]


async def on_streams(server: NatsServer, work: Callable[[JetStreamContext], Awaitable[Any]]) -> Any:
    """Do work as another program."""
    client = Client()
    await client.connect(server.url)
    try:
        return await work(client.jetstream())
    finally:
        await client.close()


async def remove_streams(server: NatsServer, base: str) -> None:
    """Remove the streams of a base; the server reserves their `max_bytes`."""

    async def remove(streams: JetStreamContext) -> None:
        for info in await streams.streams_info():
            if str(info.config.name).startswith(base):
                await streams.delete_stream(str(info.config.name))

    await on_streams(server, remove)
