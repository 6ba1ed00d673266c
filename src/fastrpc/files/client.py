"""`download` and `upload` of a `Client`, or of a server from and to a client that serves."""

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

#: The most messages that one job writes.
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

    Until the copy is complete and has the service's digest, its name is `<path>.fastrpc-part`; a download that failed
    or was killed resumes with this file, unless `resume` is False. After a change of the remote file the download
    starts again.

    Args:
        progress: called with the bytes received and the size of the file.

    Raises:
        CallError: the service refuses the name, the file changes again and again, or another transfer writes `path`.
        UnavailableError: there is no connection, or it broke: call `download` again.
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

    The file is hashed first. The service gives the copy its name once size and digest are right; an upload that failed
    or was killed resumes after the bytes that the service has, unless `resume` is False.

    Args:
        progress: called with the bytes sent and the size of the file.

    Raises:
        CallError: the service refuses the name or the file, or another call writes it.
        UnavailableError: there is no connection, or it broke: call `upload` again.
        OSError: the file cannot be read.
    """
    with _LoopRuntime(client) as runtime:
        transfer = SentFile(runtime, service, os.fspath(path), progress)
        return await transfer.run(name, resume=resume)


class _LoopRuntime:
    """Runs a transfer with a client of an event loop, and a thread."""

    def __init__(self, client: Client | PeerClient) -> None:
        check_client(client, (Client, PeerClient), "fastrpc.files.sync takes a SyncClient")
        # The client of a peer has only one connection anyway.
        self._is_pinned = isinstance(client, PeerClient)
        self._client = client
        self._pool = new_pool(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # The thread ends after its present jobs.
        self._pool.shutdown(wait=False)

    async def ask(self, method: Callable[..., Any], /, *args: Any) -> Any:
        reply = await self._client.request(method, *args)
        if not self._is_pinned:
            # Another server may have another version of the file, and has no part of the transfer.
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
    """The messages of a stream."""

    def __init__(self, stream: Stream[Any, memoryview]) -> None:
        self._stream = stream

    async def take(self) -> Sequence[memoryview]:
        try:
            return await self._stream.receive_many(MESSAGES_AT_ONCE)
        except StreamEndedError:
            return ()
