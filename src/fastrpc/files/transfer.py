"""Download and upload one file, with code that both clients share.

These coroutines await only methods of a `Runtime`, which may or may not have an event loop.
"""

import errno
import functools
import os
import stat
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Any, ParamSpec, Protocol, TypeVar

from fastrpc.errors import CallError
from fastrpc.files.hashing import Digests
from fastrpc.files.information import FileDigest, FileInfo
from fastrpc.files.names import PART_SUFFIX, quoted
from fastrpc.files.partial_file import PartialFile
from fastrpc.files.reader import FileReader
from fastrpc.files.refusals import BUSY_SECONDS, changed, told_of_path
from fastrpc.files.root import READ_FLAGS, RootPlace
from fastrpc.files.service import pieces_named, service_named
from fastrpc.files.write_behind import Piece, WriteBehind
from fastrpc.status import Status

__all__ = ["FetchedFile", "Messages", "Progress", "Runtime", "SentFile", "local_place", "open_local"]

P = ParamSpec("P")
T = TypeVar("T")

#: Called with the bytes transferred, and the size of the file.
Progress = Callable[[int, int], object]

#: Most starts of a transfer whose file keeps changing or is written by another call.
ATTEMPTS = 5


class Messages(Protocol):
    """The messages of a received stream."""

    async def take(self) -> Sequence[Piece]:
        """Return the messages that have arrived, at least one; an empty list at the end."""


class Runtime(Protocol):
    """The environment of a transfer: a client, and a thread for disk and hashing."""

    async def ask(self, method: Callable[..., Any], /, *args: Any) -> Any:
        """Call a method and return the answer. All calls after the first answer use the same endpoint."""

    def receive(self, method: Callable[..., Any], /, *args: Any) -> AbstractAsyncContextManager[Messages]:
        """Call a method and return its stream."""

    async def send(
        self, method: Callable[..., Any], reader: FileReader, on_piece: Callable[[int], None], /, *args: Any
    ) -> Any:
        """Call a method with the pieces of a file and return the answer. Report the size of each sent piece."""

    def start(self, job: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a blocking job concurrently with the coroutine. At most one job runs at a time."""

    async def wait(self, started: Future[T]) -> T:
        """Wait for a job and return its result."""

    async def pause(self, seconds: float) -> None:
        """Wait."""


class _Transfer:
    """The common part of downloads and uploads."""

    def __init__(self, runtime: Runtime, service: str, path: str, progress: Progress | None) -> None:
        self._runtime = runtime
        self._files = service_named(service)
        self._pieces = pieces_named(service)
        self._path = path
        self._progress = progress

    def _start(self, job: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        return self._runtime.start(told_of_path(self._path, job), *args, **kwargs)

    async def _run(self, job: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._runtime.wait(self._start(job, *args, **kwargs))

    def _show(self, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress(done, total)


class FetchedFile(_Transfer):
    """Copies a file of a service to a local path."""

    async def run(self, name: str, *, resume: bool) -> FileDigest:
        """Copy the file and return its digest. If `resume`, continue after the bytes of an earlier download."""
        info: FileInfo = await self._runtime.ask(self._files.stat, name)
        partial = PartialFile(functools.partial(local_place, self._path), self._path, Digests())
        try:
            held = await self._run(partial.open)
            offset = held if resume and held <= info.size else 0
            for attempts_left in reversed(range(ATTEMPTS)):
                try:
                    return await self._attempt(info, partial, offset)
                except CallError as error:
                    if error.status is not Status.ABORTED or not attempts_left:
                        raise
                offset = 0
                await self._runtime.pause(BUSY_SECONDS)
                info = await self._runtime.ask(self._files.stat, name)
            raise AssertionError("the last attempt returns or raises")
        finally:
            await self._run(partial.close)

    async def _attempt(self, info: FileInfo, partial: PartialFile, offset: int) -> FileDigest:
        await self._run(partial.start_at, offset)
        while await self._run(partial.hash_on):
            pass
        async with self._runtime.receive(self._pieces.read, info.path, offset, info.version) as messages:
            await self._store(messages, partial, info)
        theirs: FileDigest = await self._runtime.ask(self._files.digest, info.path)
        if partial.digest != theirs:
            digest = partial.digest
            await self._run(partial.discard)
            now: FileInfo = await self._runtime.ask(self._files.stat, info.path)
            if offset or now.version != info.version:
                # The bytes of the earlier download came from another version.
                raise changed(info.path)
            text = f"the digest of the bytes received for {quoted(info.path)} is {digest}, the service has {theirs}"
            raise CallError(Status.DATA_LOSS, text)
        await self._run(partial.finish)
        return theirs

    async def _store(self, messages: Messages, partial: PartialFile, info: FileInfo) -> None:
        """Write the received pieces."""
        self._show(partial.position, info.size)
        left = info.size - partial.position
        written = WriteBehind(partial.write, self._start, self._runtime.wait)
        while pieces := await messages.take():
            left -= sum(map(len, pieces))
            if left < 0:
                raise CallError(Status.DATA_LOSS, f"more arrived of {quoted(info.path)} than its size")
            await written.put(pieces)
            self._show(partial.position, info.size)
        await written.flush()
        self._show(partial.position, info.size)
        if left:
            raise changed(info.path)


class SentFile(_Transfer):
    """Copies a local file to a service."""

    async def run(self, name: str, *, resume: bool) -> FileDigest:
        """Copy the file and return its digest. If `resume`, continue after the bytes of an earlier upload."""
        for attempts_left in reversed(range(ATTEMPTS)):
            reader = FileReader(functools.partial(open_local, self._path), self._path)
            try:
                await self._run(reader.open)
                offset = await self._offset(reader, name) if resume else 0
                return await self._attempt(reader, name, offset)
            except CallError as error:
                if error.status is not Status.ABORTED or not attempts_left:
                    raise
                seconds = error.retry_after or BUSY_SECONDS
            finally:
                await self._run(reader.close)
            await self._runtime.pause(seconds)
        raise AssertionError("the last attempt returns or raises")

    async def _offset(self, reader: FileReader, name: str) -> int:
        """Return how many bytes of the file the service has. Bytes whose digest differs do not count."""
        try:
            held: FileDigest = await self._runtime.ask(self._files.digest, name + PART_SUFFIX)
        except CallError as error:
            if error.status in {Status.NOT_FOUND, Status.INVALID_ARGUMENT}:
                # The name may be invalid. Continue: the error of `write` has the name of the file, not of the part.
                return 0
            raise
        if held.size > reader.size:
            return 0
        while await self._run(reader.hash_on, held.size):
            pass
        return held.size if reader.digest == held else 0

    async def _attempt(self, reader: FileReader, name: str, offset: int) -> FileDigest:
        while await self._run(reader.hash_on, reader.size):
            pass
        digest = reader.digest
        reader.start_at(offset)
        done = offset
        self._show(done, digest.size)

        def on_piece(size: int) -> None:
            nonlocal done
            done += size
            self._show(done, digest.size)

        given = (name, offset, digest.size, digest.sha256)
        theirs: FileDigest = await self._runtime.send(self._files.write, reader, on_piece, *given)
        if theirs != digest:
            raise CallError(Status.DATA_LOSS, f"the service has {theirs} of {quoted(name)}, not {digest}")
        return digest


def local_place(path: str) -> RootPlace:
    """Return the place to write to. If the path is a link, this is the target, so that the link stays."""
    folder, name = os.path.split(os.path.realpath(path))
    try:
        status = os.stat(os.path.join(folder, name))
    except FileNotFoundError:
        status = None
    if status is not None:
        _check_local(path, status)
    return RootPlace(os.open(folder, os.O_RDONLY | os.O_DIRECTORY), name, status)


def open_local(path: str) -> int:
    _check_local(path, os.stat(path))
    return os.open(path, READ_FLAGS & ~os.O_NOFOLLOW)


def _check_local(path: str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "Not a regular file", path)
