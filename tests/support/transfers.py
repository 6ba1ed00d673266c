"""Downloads and uploads by both clients, and the state that tests check afterwards."""

import asyncio
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastrpc import Client, SyncClient
from fastrpc.files import FileDigest, download, sync, upload

__all__ = [
    "CLIENTS",
    "PIECE",
    "Stopped",
    "Transfers",
    "content",
    "digest_of",
    "is_reset",
    "parts_in",
    "stopping_at",
]

CLIENTS = ("Client", "SyncClient")

PIECE = 256 * 1024


class Transfers:
    """The transfers of one kind of client."""

    def __init__(self, kind: str) -> None:
        self._is_sync = kind == "SyncClient"

    async def download(self, address: str, name: str, path: Path, **options: Any) -> FileDigest:
        if not self._is_sync:
            async with Client(address) as client:
                return await download(client, name, path, **options)

        def run() -> FileDigest:
            with SyncClient(address) as client:
                return sync.download(client, name, path, **options)

        return await asyncio.to_thread(run)

    async def upload(self, address: str, path: Path, name: str, **options: Any) -> FileDigest:
        if not self._is_sync:
            async with Client(address) as client:
                return await upload(client, path, name, **options)

        def run() -> FileDigest:
            with SyncClient(address) as client:
                return sync.upload(client, path, name, **options)

        return await asyncio.to_thread(run)


class Stopped(Exception):  # noqa: N818 (it is not an error)
    """Raised by a progress callback to end a transfer."""


def stopping_at(bytes_done: int) -> Callable[[int, int], None]:
    """Return a progress callback that ends the transfer once the given number of bytes have arrived."""

    def progress(done: int, total: int) -> None:
        if done >= bytes_done:
            raise Stopped

    return progress


def content(size: int, seed: int = 1) -> bytes:
    """Return bytes that differ from place to place."""
    block = hashlib.shake_128(seed.to_bytes(4, "big")).digest(min(size, 1_000_003))
    return (block * (size // max(1, len(block)) + 1))[:size]


def digest_of(data: bytes) -> FileDigest:
    """Return the digest of a content."""
    return FileDigest(len(data), hashlib.sha256(data).hexdigest())


def parts_in(folder: Path) -> list[str]:
    """Return the names of the unfinished files in a folder."""
    return sorted(name for name in os.listdir(folder) if name.endswith(".fastrpc-part"))


async def is_reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Wait for the end of a connection; return whether it is a reset."""
    try:
        async with asyncio.timeout(30):
            await reader.read()
    except ConnectionResetError:
        return True
    finally:
        writer.close()
    return False
