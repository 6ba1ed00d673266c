"""Check that NATS servers sync each message, by a request to their monitoring port."""

import asyncio
import json
from collections.abc import Sequence
from urllib.parse import urlsplit

from fastrpc.bounded_http import HttpError
from fastrpc.bounded_http.client import BoundedHttpClient
from fastrpc.errors import BrokerError, ConfigError

__all__ = ["check_sync"]


async def check_sync(monitors: Sequence[str]) -> None:
    """Check that all servers sync each message before they acknowledge it.

    Raises:
        ConfigError: a server does not.
        BrokerError: a server does not answer.
    """
    for monitor in monitors:
        try:
            is_synced = await asyncio.to_thread(_is_synced, monitor)
        except (HttpError, ValueError, OSError) as error:
            raise BrokerError(
                f"the monitor {monitor} of NATS: {error}", processed="no", retryable=True
            ) from error
        if not is_synced:
            raise ConfigError(
                f"sync=full of nats://: the server at {monitor} does not sync each message",
                hint="write jetstream { sync_interval: always } into its configuration, or leave sync out",
            )


def _is_synced(monitor: str) -> bool:
    parts = urlsplit(monitor)
    client = BoundedHttpClient(str(parts.hostname), int(parts.port or 0))
    try:
        response = client.request("GET", "/jsz")
    finally:
        client.close()
    found = json.loads(response.json_text())
    return isinstance(found, dict) and found.get("config", {}).get("sync_always") is True
