"""`download` and `upload` with a `Client`, or of a server with a peer that serves files over its own connection."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from fastrpc.client.client import Client
from fastrpc.errors import StreamEndedError
from fastrpc.files.information import FileDigest
from fastrpc.files.lane import finished, new_pool
from fastrpc.files.read_ahead import ReadAhead
from fastrpc.files.reader import FileReader
from fastrpc.files.refusals import check_client
from fastrpc.files.service import SERVICE_NAME
from fastrpc.files.transfer import FetchedFile, Progress, SentFile
from fastrpc.peers.peer_client import PeerClient
from fastrpc.peers.stream import Stream

__all__ = ["MESSAGES_AT_ONCE", "download", "upload"]

P = ParamSpec("P")
T = TypeVar("T")

#: Most messages that one job writes to the disk.
MESSAGES_AT_ONCE = 16


async def download(
    client: Client | PeerClient,
    name: str,
    path: str | os.PathLike[str],
    *,
    service: str = SERVICE_NAME,
    progress: Progress | None = None,
    resume: bool = True,
) -> FileDigest:
    """Copy the file `name` of a `FileService` to `path`, and return its size and SHA-256.

    Until the copy is complete and has the right digest, its name is `<path>.fastrpc-part`. A later download resumes
    with this file, unless `resume` is False. If the remote file changes, the download starts again.

    Args:
        progress: called with the bytes received and the size of the file.

    Raises:
        CallError: the service refuses the name, the file keeps changing, or another transfer writes `path`.
        UnavailableError: there is no connection, or the connection was lost: call `download` again.
        OSError: the disk of this machine reports an error.
    """
    with _LoopRuntime(client) as runtime:
        transfer = FetchedFile(runtime, service, os.fspath(path), progress)
        return await transfer.run(name, resume=resume)


async def upload(
    client: Client | PeerClient,
    path: str | os.PathLike[str],
    name: str,
    *,
    service: str = SERVICE_NAME,
    progress: Progress | None = None,
    resume: bool = True,
) -> FileDigest:
    """Copy the file at `path` to a `FileService` as `name`, and return its size and SHA-256.

    The file is hashed first. The service gives the copy its final name once its size and digest are right. A later
    upload resumes after the bytes that the service has already, unless `resume` is False.

    Args:
        progress: called with the bytes sent and the size of the file.

    Raises:
        CallError: the service refuses the name or the file, or another call writes it.
        UnavailableError: there is no connection, or the connection was lost: call `upload` again.
        OSError: the file cannot be read.
    """
    with _LoopRuntime(client) as runtime:
        transfer = SentFile(runtime, service, os.fspath(path), progress)
        return await transfer.run(name, resume=resume)


class _LoopRuntime:
    """Runs a transfer with an asynchronous client and a thread for the disk."""

    def __init__(self, client: Client | PeerClient) -> None:
        check_client(client, (Client, PeerClient), "fastrpc.files.sync takes a SyncClient")
        # A client of a peer has only one connection, so all calls reach the same process.
        self._is_pinned = isinstance(client, PeerClient)
        self._client = client
        self._pool = new_pool(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # The thread ends after the jobs that were started.
        self._pool.shutdown(wait=False)

    async def ask(self, method: Callable[..., Any], /, *args: Any) -> Any:
        reply = await self._client.request(method, *args)
        if not self._is_pinned:
            # Stay at this server: another server may have another version of the file, and lacks the partial file.
            self._client = self._client.with_options(endpoint=reply.endpoint)
            self._is_pinned = True
        return reply.value

    @asynccontextmanager
    async def receive(self, method: Callable[..., Any], /, *args: Any) -> AsyncIterator["_Messages"]:
        async with self._client.stream(method, *args) as stream:
            yield _Messages(stream)

    async def send(
        self, method: Callable[..., Any], reader: FileReader, on_piece: Callable[[int], None], /, *args: Any
    ) -> Any:
        async def pieces() -> AsyncIterator[bytes]:
            ahead = ReadAhead(reader.read, self.start)
            while piece := await ahead.take():
                yield piece
                on_piece(len(piece))

        return await self._client.call(method, pieces(), *args)

    def start(self, job: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        return self._pool.submit(job, *args, **kwargs)

    async def wait(self, started: Future[T]) -> T:
        return await finished(started)

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Messages:
    """The messages of a stream, in batches."""

    def __init__(self, stream: Stream[Any, memoryview]) -> None:
        self._stream = stream

    async def take(self) -> Sequence[memoryview]:
        try:
            return await self._stream.receive_many(MESSAGES_AT_ONCE)
        except StreamEndedError:
            return ()
