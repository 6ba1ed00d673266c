"""The files of a folder as a service."""

import functools
import os
import re
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, Self, TypeVar

from fastrpc._core.calls.call import current_call
from fastrpc._core.server.memory_budget import HeldPieces
from fastrpc._core.server.served_call import ServerCall
from fastrpc.errors import CallError
from fastrpc.files.hashing import Digests
from fastrpc.files.information import FileDigest, FileInfo
from fastrpc.files.lane import Lane, finished, new_pool
from fastrpc.files.names import is_partial, quoted
from fastrpc.files.partial_file import PartialFile
from fastrpc.files.read_ahead import ReadAhead
from fastrpc.files.reader import PIECE_BYTES, FileReader
from fastrpc.files.refusals import refused
from fastrpc.files.root import Root
from fastrpc.files.write_behind import WriteBehind
from fastrpc.rpc.marking import method
from fastrpc.rpc.service import service
from fastrpc.status import Status

__all__ = [
    "SERVICE_NAME",
    "FilePieces",
    "FileService",
    "pieces_named",
    "pieces_of_call",
    "service_named",
    "write_all",
]

S = TypeVar("S")

SERVICE_NAME = "files"

#: Seconds that the digest of a file may take: disks read some 100 MB per second.
DIGEST_SECONDS = 86_400.0

#: Most entries of a folder that one job describes.
ENTRIES_AT_ONCE = 256

#: The classes of file services with other names.
_classes: dict[tuple[type[Any], str], type[Any]] = {}

_LARGEST_SIZE = 2**63 - 1
_SHA256 = re.compile(r"[0-9a-f]{64}")


@service(SERVICE_NAME)
class FileService:
    """The files below a folder, which callers never leave.

    Disk and hashing run in threads. Folders are not created, and nothing is removed.

    Args:
        root: the folder.
        writable: whether callers may write files.
        name: the name of the service.

    Raises:
        ConfigError: `root` is not a folder, or `name` is not the name of a service.
    """

    def __new__(
        cls, root: str | os.PathLike[str], *, writable: bool = False, name: str = SERVICE_NAME
    ) -> Self:
        # A service with another name needs another class.
        return super().__new__(_renamed(cls, name))

    def __init__(
        self, root: str | os.PathLike[str], *, writable: bool = False, name: str = SERVICE_NAME
    ) -> None:
        self._root = Root(root)
        self._is_writable = writable
        self._digests = Digests()
        self._pool: ThreadPoolExecutor | None = None
        self._process = 0

    @method(idempotent=True)
    async def stat(self, path: str) -> FileInfo:
        """Describe a file or a folder."""
        return await self._lane().run(self._root.info, path)

    @method(idempotent=True)
    async def list(self, path: str = "") -> AsyncIterator[FileInfo]:
        """Describe the entries of a folder in the order of their names; do not descend into subfolders."""
        lane = self._lane()
        names = await lane.run(self._root.names_in, path)
        if path:
            names = [f"{path}/{name}" for name in names]
        for first in range(0, len(names), ENTRIES_AT_ONCE):
            for info in await lane.run(self._root.infos, names[first : first + ENTRIES_AT_ONCE]):
                yield info

    @method(idempotent=True)
    async def read(self, path: str, offset: int = 0, version: str = "") -> AsyncIterator[bytes]:
        """Return the content of a file from an offset on, in pieces of 256 KiB.

        ABORTED means that the file does not have the given version, or has changed while it was read.
        """
        lane = self._lane()
        reader = self._reader(path)
        pieces = pieces_of_call()
        # Count the first piece before the first wait, so that later requests see the count.
        pieces.begin(PIECE_BYTES)
        try:
            await lane.run(reader.open)
            reader.start_at(offset, version)
            pieces.hold(reader.next_bytes)
            if (room := pieces.room()) is not None:
                await room
            ahead = ReadAhead(refused(path, reader.read), lane.start, pieces)
            while await ahead.has_more():
                # Keep no reference to the piece, so that it can be freed while its encoded form waits to be sent.
                yield ahead.pop()
        finally:
            pieces.hold(0)
            lane.start(reader.close)

    @method(idempotent=True, timeout=DIGEST_SECONDS)
    async def digest(self, path: str) -> FileDigest:
        """Return the size and the SHA-256 of a file. ABORTED means that the file has changed while it was read."""
        lane = self._lane()
        reader = self._reader(path)
        try:
            await lane.run(reader.open)
            while await lane.run(refused(path, reader.hash_on), reader.size):
                pass
            return reader.digest
        finally:
            lane.start(reader.close)

    @method
    async def write(
        self, data: AsyncIterator[bytes], path: str, offset: int, size: int, sha256: str
    ) -> FileDigest:
        """Write a file from an offset on. Give it its final name if its size and SHA-256 equal the arguments.

        Until then its name is `<path>.fastrpc-part`, and the first `offset` bytes of that file are kept. ABORTED means
        that this file has fewer bytes, or that another call writes it.
        """
        self._check_write(path, offset, size, sha256)
        lane = self._lane()
        partial = PartialFile(functools.partial(self._root.place, path), path, self._digests)
        job = functools.partial(refused, path)
        try:
            await lane.run(job(partial.open))
            await lane.run(job(partial.start_at), offset)
            while await lane.run(job(partial.hash_on)):
                pass
            written = WriteBehind(job(partial.write), lane.start, finished)
            await write_all(data, written, size - offset)
            found = partial.digest
            if found != FileDigest(size, sha256):
                await lane.run(partial.discard)
                text = f"the SHA-256 of the bytes received for {quoted(path)} is {found.sha256}, not {sha256}"
                raise CallError(Status.DATA_LOSS, text)
            await lane.run(job(partial.finish))
            return found
        finally:
            await lane.run(partial.close)

    def _check_write(self, path: str, offset: int, size: int, sha256: str) -> None:
        if not self._is_writable:
            raise CallError(Status.PERMISSION_DENIED, "these files can only be read")
        if is_partial(path):
            text = f"{quoted(path)} is the name of an unfinished file"
            raise CallError(Status.INVALID_ARGUMENT, text)
        if not 0 <= size <= _LARGEST_SIZE:
            raise CallError(Status.INVALID_ARGUMENT, f"size is {size}, it must be bytes from 0")
        if not 0 <= offset <= size:
            raise CallError(Status.INVALID_ARGUMENT, f"offset is {offset}, the file has {size} bytes")
        if not _SHA256.fullmatch(sha256):
            text = f"sha256 is {quoted(sha256)}, it must be 64 hexadecimal digits in lower case"
            raise CallError(Status.INVALID_ARGUMENT, text)

    def _reader(self, path: str) -> FileReader:
        return FileReader(functools.partial(self._root.open_file, path), path, self._digests)

    def _lane(self) -> Lane:
        """Return a lane for one call. The threads belong to this process."""
        if self._pool is None or self._process != os.getpid():
            self._pool, self._process = new_pool(), os.getpid()
        return Lane(self._pool)


@service(SERVICE_NAME)
class FilePieces(Protocol):
    """The contract by which downloads call `FileService.read`: pieces are views of payloads, so they need no copy."""

    @method(idempotent=True)
    def read(self, path: str, offset: int = 0, version: str = "") -> AsyncIterator[memoryview]:
        """Return the content of a file from an offset on."""
        ...


def service_named(name: str) -> type[FileService]:
    """Return the class of a file service with this name.

    Raises:
        ConfigError: the name is not a valid name of a service.
    """
    return _renamed(FileService, name)


def pieces_named(name: str) -> type[FilePieces]:
    """Return the class `FilePieces` for a file service with this name.

    Raises:
        ConfigError: the name is not a valid name of a service.
    """
    # The class may be abstract, since a contract is never instantiated.
    return _renamed(FilePieces, name)  # type: ignore[type-abstract]


def _renamed(cls: type[S], name: str) -> type[S]:
    if name == SERVICE_NAME:
        return cls
    known: type[S] | None = _classes.get((cls, name))
    if known is None:
        body = {"__module__": cls.__module__, "__doc__": cls.__doc__}
        known = _classes[cls, name] = service(name)(type(cls.__name__, (cls,), body))
    return known


async def write_all(data: AsyncIterator[bytes], written: WriteBehind, left: int) -> None:
    """Write the pieces of a stream.

    Raises:
        CallError: INVALID_ARGUMENT: the number of bytes is not `left`.
    """
    async for piece in data:
        left -= len(piece)
        if left < 0:
            raise CallError(Status.INVALID_ARGUMENT, f"there are {-left} bytes more than size says")
        if piece:
            await written.put((piece,))
    await written.flush()
    if left:
        raise CallError(
            Status.INVALID_ARGUMENT, f"{left} bytes are missing: the data is shorter than size says"
        )


def pieces_of_call() -> HeldPieces:
    """Return the counter of pieces for the running handler. Without a call it counts nothing."""
    try:
        call = current_call()
    except LookupError:
        call = None
    return HeldPieces(call if isinstance(call, ServerCall) else None)
