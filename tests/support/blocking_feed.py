"""`called_feed.Feed`, as blocking programs call it: a server in a thread, and a client that is connected."""

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fastrpc import CallError, SyncClient
from fastrpc.testing import serving
from tests.support.called_feed import Feed

__all__ = ["Feed", "calling", "until"]


@contextmanager
def calling(feed: Feed, address: str = "tcp://127.0.0.1:0", **options: Any) -> Iterator[SyncClient]:
    """Serve a feed and yield a client of it that is connected."""
    with serving(feed, address=address) as target, SyncClient(target, **options) as client:
        client.ready(timeout=10)
        yield client


def until(client: SyncClient, condition: Callable[[], object]) -> None:
    """Make calls, each of which is a turn of both sides, until a condition holds; TimeoutError after ten seconds."""
    limit = time.monotonic() + 10
    while not condition():
        with contextlib.suppress(
            CallError
        ):  # Of a server that has no such method the refusal is a turn as well.
            client.call(Feed.latest)
        if time.monotonic() > limit:
            raise TimeoutError
