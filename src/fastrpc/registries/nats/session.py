"""A connection to NATS in a thread with a loop of its own, and a bucket in it; keys mean nothing here."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import CancelledError
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from nats.aio.client import Client
from nats.errors import Error, MaxPayloadError, SecureConnWantedError
from nats.js.api import KeyValueConfig
from nats.js.errors import APIError, BucketNotFoundError
from nats.js.kv import KeyValue

from fastrpc.bounded_http import HttpError
from fastrpc.config import TLS
from fastrpc.errors import StoreError
from fastrpc.status import Status
from fastrpc.time_limit import time_limit
from fastrpc.tls.ends import HttpEnd

__all__ = ["BucketSession"]

T = TypeVar("T")

logger = logging.getLogger("fastrpc.registry")

#: Seconds for a connection, for an answer, for the end of a connection, and for that of the thread.
CONNECT_SECONDS, ANSWER_SECONDS, DROP_SECONDS, END_SECONDS = 2, 3.0, 0.5, 2.0

NO_TTL = "the bucket %s of NATS has no TTL: records of servers that were killed stay in it"

#: Seconds between two pings; a connection without answers to two of them is lost.
PING_SECONDS = 2

#: Times that the tasks of a connection are cancelled at its end.
MOST_ROUNDS = 4

#: Parts of errors that refuse a login or a subject.
_REFUSALS = (
    ("authorization violation", Status.UNAUTHENTICATED),
    ("authentication", Status.UNAUTHENTICATED),
    ("permissions violation", Status.PERMISSION_DENIED),
)


class _Client(Client):  # type: ignore[misc]
    """A client that sends no login over a connection that should be encrypted and is not, and leaves no socket open."""

    def __init__(self, end: HttpEnd | None) -> None:
        super().__init__()
        self._end = end

    async def _connect_to_server(self, server: Any) -> None:
        # That of a place which was tried before.
        self.abort()
        await super()._connect_to_server(server)

    def abort(self) -> None:
        """Close the socket, whatever has become of the end of the connection."""
        for name in ("_io_writer", "_bare_io_writer"):
            if (writer := getattr(self._transport, name, None)) is not None:
                writer.transport.abort()

    def _connect_command(self) -> bytes:
        if self._end is not None:
            if not self._server_info.get("tls_required"):
                raise SecureConnWantedError
            self._end.check(self._transport._io_writer.get_extra_info("ssl_object"))
        command: bytes = super()._connect_command()
        return command


class BucketSession:
    """The connection of a registry object, made anew after each error.

    Args:
        credentials: returns the options of nats-py for a login, read for each connection.
        bucket: its name; `ttl_seconds` and `makes_bucket` count where it is missing.
    """

    def __init__(
        self,
        places: Sequence[tuple[str, int]],
        *,
        tls: TLS | None,
        credentials: Callable[[], dict[str, Any]],
        bucket: str,
        ttl_seconds: int,
        makes_bucket: bool,
    ) -> None:
        self.ttl_seconds = ttl_seconds
        #: Grows with each connection.
        self.generation = 0
        #: Grows each time the bucket is another one than before: the server has lost its data.
        self.losses = 0
        #: Called in the thread of the loop when the connection is lost.
        self.listeners: set[Callable[[], None]] = set()
        self._hosts = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in places]
        self._server_name = None if tls is None else tls.server_name
        self._end = None if tls is None else HttpEnd(tls, places[0][0])
        self._credentials = credentials
        self._bucket_name = bucket
        self._makes_bucket = makes_bucket
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._is_closed = False
        # Used in the loop only.
        self._connecting = asyncio.Lock()
        self._client: _Client | None = None
        self._bucket: KeyValue | None = None
        self._told = ""
        self._has_warned = False
        # The time at which the bucket was made, as the server tells it.
        self._made_at: datetime | None = None

    def run(self, work: Callable[[KeyValue], Awaitable[T]]) -> T:
        """Return the result of work on the bucket, done in the loop.

        Raises:
            StoreError: the server cannot be reached or refuses.
        """
        try:
            # Under the lock: `close` ends what was begun before it.
            with self._lock:
                loop = self._running()
                future = asyncio.run_coroutine_threadsafe(self._worked(work), loop)
            return future.result()
        except (Error, OSError, TimeoutError, CancelledError) as error:
            raise self._translated(error) from error

    def close(self) -> None:
        """Close the connection and end the thread."""
        with self._lock:
            self._is_closed = True
            loop, self._loop = self._loop, None
        if loop is None or self._thread is None:
            return
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self._drop(), loop).result(END_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join(END_SECONDS)

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._is_closed:
            raise ConnectionError("the connection is closed")
        if self._loop is None:
            loop = asyncio.new_event_loop()
            name = f"fastrpc registry connection to {self._hosts[0]}"
            thread = threading.Thread(target=_run, args=(loop,), name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError:
                loop.close()
                raise
            self._loop, self._thread = loop, thread
        return self._loop

    async def _worked(self, work: Callable[[KeyValue], Awaitable[T]]) -> T:
        client = None
        try:
            async with time_limit(ANSWER_SECONDS):
                async with self._connecting:
                    bucket = self._bucket or await self._opened()
                    client = self._client
                return await work(bucket)
        except APIError:
            # The server refused this work; the connection is sound.
            raise
        except BaseException as error:
            # Before another thread opens a connection, which knows nothing of this refusal.
            told = self._translated(error) if isinstance(error, Error | OSError | TimeoutError) else error
            # Not a newer one, which others have opened meanwhile.
            if client is not None and client is self._client:
                await self._drop()
            raise told from (None if told is error else error)

    async def _opened(self) -> KeyValue:
        await self._drop()
        if self._is_closed:
            raise ConnectionError("the connection is closed")
        self._told = ""
        self._client = client = _Client(self._end)
        options: dict[str, Any] = self._credentials()
        if self._end is not None:
            options |= {"tls": self._end.context(), "tls_hostname": self._server_name}
        await client.connect(
            servers=[f"{'nats' if self._end is None else 'tls'}://{place}" for place in self._hosts],
            allow_reconnect=False,
            connect_timeout=CONNECT_SECONDS,
            ping_interval=PING_SECONDS,
            error_cb=self._note,
            closed_cb=partial(self._lost, client),
            **options,
        )
        stream = client.jetstream(timeout=ANSWER_SECONDS)
        self.generation += 1
        try:
            self._bucket = await stream.key_value(self._bucket_name)
            status = await self._bucket.status()
            if not status.ttl and not self._has_warned:
                self._has_warned = True
                logger.warning(NO_TTL, self._bucket_name)
        except BucketNotFoundError:
            if not self._makes_bucket:
                raise
            config = KeyValueConfig(
                bucket=self._bucket_name, ttl=self.ttl_seconds, limit_marker_ttl=self.ttl_seconds, history=1
            )
            self._bucket = await stream.create_key_value(config)
            status = await self._bucket.status()
        before, self._made_at = self._made_at, status.stream_info.created
        self.losses += before not in (None, self._made_at)
        return self._bucket

    async def _drop(self) -> None:
        client, self._client, self._bucket = self._client, None, None
        if client is not None:
            # After a failed handshake nats-py waits for the end of a connection that has none.
            try:
                async with time_limit(DROP_SECONDS):
                    await client.close()
            except (Error, OSError, TimeoutError):
                pass
            finally:
                # nats-py leaves the socket open where the end took too long.
                client.abort()
                await asyncio.sleep(0)

    async def _note(self, error: Exception) -> None:
        self._told = str(error)

    async def _lost(self, client: Client) -> None:
        if self._client is not None and client is not self._client:
            # Another request has opened a newer connection meanwhile.
            return
        self._bucket = None
        self.generation += 1
        for listener in list(self.listeners):
            listener()

    def _translated(self, error: BaseException) -> StoreError:
        # NATS reports a refused subject to the error callback, and the request just times out.
        text = str(error) or self._told or "no answer"
        told = f"{text} {self._told}".lower()
        status = next((status for part, status in _REFUSALS if part in told), Status.UNAVAILABLE)
        if isinstance(error, MaxPayloadError):
            status = Status.RESOURCE_EXHAUSTED
        # HttpError makes the server's text one line that is safe to print.
        return StoreError(f"NATS at {','.join(self._hosts)}: {HttpError(text)}", status=status)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        # Tasks of nats-py may begin others as they end.
        for _ in range(MOST_ROUNDS):
            tasks = asyncio.all_tasks(loop)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.wait(tasks, timeout=DROP_SECONDS))
        loop.close()
