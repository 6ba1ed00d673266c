"""`download` and `upload` with a `SyncClient`.

The calling thread sends and receives. At the same time another thread, which ends with the transfer, reads, writes and
hashes.
"""

import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, ParamSpec, TypeVar

from fastrpc.client.blocking.client import SyncClient
from fastrpc.client.blocking.driving import drive
from fastrpc.client.blocking.stream import SyncStream
from fastrpc.errors import StreamEndedError
from fastrpc.files.client import MESSAGES_AT_ONCE
from fastrpc.files.information import FileDigest
from fastrpc.files.lane import new_pool
from fastrpc.files.reader import FileReader
from fastrpc.files.refusals import check_client
from fastrpc.files.service import SERVICE_NAME
from fastrpc.files.transfer import FetchedFile, Progress, SentFile

__all__ = ["download", "upload"]

P = ParamSpec("P")
T = TypeVar("T")


def download(
    client: SyncClient,
    name: str,
    path: str | os.PathLike[str],
    *,
    service: str = SERVICE_NAME,
    progress: Progress | None = None,
    resume: bool = True,
) -> FileDigest:
    """Copy the file `name` of a `FileService` to `path`. See `fastrpc.files.download`."""
    with new_pool(1) as pool:
        runtime = _BlockingRuntime(client, pool)
        transfer = FetchedFile(runtime, service, os.fspath(path), progress)
        digest: FileDigest = drive(transfer.run(name, resume=resume))
        return digest


def upload(
    client: SyncClient,
    path: str | os.PathLike[str],
    name: str,
    *,
    service: str = SERVICE_NAME,
    progress: Progress | None = None,
    resume: bool = True,
) -> FileDigest:
    """Copy the file at `path` to a `FileService` as `name`. See `fastrpc.files.upload`."""
    with new_pool(1) as pool:
        runtime = _BlockingRuntime(client, pool)
        transfer = SentFile(runtime, service, os.fspath(path), progress)
        digest: FileDigest = drive(transfer.run(name, resume=resume))
        return digest


class _BlockingRuntime:
    """Runs a transfer with a blocking client and a thread for the disk. Its coroutines never suspend."""

    def __init__(self, client: SyncClient, pool: ThreadPoolExecutor) -> None:
        check_client(client, (SyncClient,), "fastrpc.files takes a Client or PeerClient")
        self._client = client
        self._pool = pool
        self._is_pinned = False

    async def ask(self, method: Callable[..., Any], /, *args: Any) -> Any:
        reply = self._client.request(method, *args)
        if not self._is_pinned:
            # Stay at this server: another server may have another version of the file, and lacks the partial file.
            self._client = self._client.with_options(endpoint=reply.endpoint)
            self._is_pinned = True
        return reply.value

    @asynccontextmanager
    async def receive(self, method: Callable[..., Any], /, *args: Any) -> AsyncIterator["_Messages"]:
        with self._client.stream(method, *args) as stream:
            yield _Messages(stream)

    async def send(
        self, method: Callable[..., Any], reader: FileReader, on_piece: Callable[[int], None], /, *args: Any
    ) -> Any:
        def pieces() -> Iterator[bytes]:
            reading = self.start(reader.read)
            while piece := reading.result():
                # Read the next piece while this piece is sent.
                reading = self.start(reader.read)
                yield piece
                on_piece(len(piece))

        return self._client.call(method, pieces(), *args)

    def start(self, job: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        return self._pool.submit(job, *args, **kwargs)

    async def wait(self, started: Future[T]) -> T:
        return started.result()

    async def pause(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 (there is no loop)


class _Messages:
    """The messages of a stream, in batches."""

    def __init__(self, stream: SyncStream[Any, memoryview]) -> None:
        self._stream = stream

    async def take(self) -> Sequence[memoryview]:
        try:
            return self._stream.receive_many(MESSAGES_AT_ONCE)
        except StreamEndedError:
            return ()
