"""A bucket of NATS, used by blocking code: a thread runs the event loop of its connection."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError
from datetime import datetime
from typing import TypeVar

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import KeyValueConfig
from nats.js.errors import BucketNotFoundError
from nats.js.kv import KeyValue

from fastrpc.registries.nats.connection import (
    ANSWER_SECONDS,
    DROP_SECONDS,
    FAILURES,
    NatsAccess,
    NatsConnection,
)

__all__ = ["BucketSession"]

T = TypeVar("T")

logger = logging.getLogger("fastrpc.registry")

#: The most seconds to wait for the end of the thread.
END_SECONDS = 2.0

NO_TTL = "the bucket %s of NATS has no TTL: records of servers that were killed stay in it"

#: How many times the remaining tasks of a connection are cancelled when it closes.
MOST_ROUNDS = 4


class BucketSession:
    """The connection of a registry object, and the bucket in it.

    Args:
        bucket: the name of the bucket. `ttl_seconds` and `makes_bucket` apply if the bucket is missing.
    """

    def __init__(self, access: NatsAccess, *, bucket: str, ttl_seconds: int, makes_bucket: bool) -> None:
        self.ttl_seconds = ttl_seconds
        #: Increases each time the bucket was created anew, which means that the server has lost its data.
        self.losses = 0
        self._name = f"fastrpc registry connection to {access.hosts[0]}"
        self._bucket_name = bucket
        self._makes_bucket = makes_bucket
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._is_closed = False
        # Used only in the thread of the loop.
        self._connection = NatsConnection(access, self._open_bucket)
        self._jetstream: JetStreamContext | None = None
        self._has_warned = False
        # The time at which the bucket was created, as the server reports it.
        self._made_at: datetime | None = None

    @property
    def generation(self) -> int:
        """Increases when a connection opens and when a connection is lost."""
        return self._connection.generation

    @property
    def listeners(self) -> set[Callable[[], None]]:
        """Functions that are called in the thread of the loop when the connection is lost."""
        return self._connection.listeners

    def run(self, work: Callable[[KeyValue], Awaitable[T]]) -> T:
        """Run `work` on the bucket in the loop; return its result.

        Raises:
            StoreError: the server cannot be reached or refuses.
        """
        try:
            # Start the work under the lock, so that `close` either cancels it or refuses it.
            with self._lock:
                loop = self._running()
                future = asyncio.run_coroutine_threadsafe(self._connection.run(work), loop)
            return future.result()
        except (*FAILURES, CancelledError) as error:
            raise self._connection.failure(error) from error

    async def keys(self, wanted: str) -> list[str]:
        """Return the keys of the bucket, including expired keys. Call this from work under `run`."""
        assert self._jetstream is not None
        prefix = f"$KV.{self._bucket_name}."
        found = await self._jetstream.stream_info(f"KV_{self._bucket_name}", subjects_filter=prefix + wanted)
        return [subject.removeprefix(prefix) for subject in found.state.subjects or ()]

    def close(self) -> None:
        """Close the connection and end the thread."""
        with self._lock:
            self._is_closed = True
            self._connection.end()
            loop, self._loop = self._loop, None
        if loop is None or self._thread is None:
            return
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self._connection.drop(), loop).result(END_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join(END_SECONDS)

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._is_closed:
            raise ConnectionError("the connection is closed")
        if self._loop is None:
            loop = asyncio.new_event_loop()
            thread = threading.Thread(target=_run, args=(loop,), name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError:
                loop.close()
                raise
            self._loop, self._thread = loop, thread
        return self._loop

    async def _open_bucket(self, client: Client) -> KeyValue:
        stream = client.jetstream(timeout=ANSWER_SECONDS)
        try:
            bucket = await stream.key_value(self._bucket_name)
            status = await bucket.status()
            if not status.ttl and not self._has_warned:
                self._has_warned = True
                logger.warning(NO_TTL, self._bucket_name)
        except BucketNotFoundError:
            if not self._makes_bucket:
                raise
            config = KeyValueConfig(
                bucket=self._bucket_name, ttl=self.ttl_seconds, limit_marker_ttl=self.ttl_seconds, history=1
            )
            bucket = await stream.create_key_value(config)
            status = await bucket.status()
        before, self._made_at = self._made_at, status.stream_info.created
        self.losses += before not in (None, self._made_at)
        self._jetstream = stream
        return bucket


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        # Tasks of nats-py may start further tasks when they end.
        for _ in range(MOST_ROUNDS):
            tasks = asyncio.all_tasks(loop)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.wait(tasks, timeout=DROP_SECONDS))
        loop.close()
