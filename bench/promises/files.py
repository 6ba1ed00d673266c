"""A transfer of 256 MiB: `python -m bench.promises.files serve FOLDER`, and `… ADDRESS FOLDER`.

The client prints medians: the seconds of a download, of a download whose digest the server remembers, of an upload, of
the SHA-256 by one core; and its growth in KiB. Folders are in memory if possible, so that no disk is measured. Server
and client have a core each, like two machines. With both cores for both it takes longer: threads that wake each other
on another core cost more than the parallel hash saves.
"""

import asyncio
import hashlib
import json
import os
import statistics
import sys
import time
from pathlib import Path

import uvloop

import fastrpc
from bench.compare.peers.base import announce
from bench.compare.processes import peak_bytes_of
from bench.promises.server import read_all_input
from fastrpc.files import FileService, download, upload

__all__ = ["SIZE", "folder_in_memory", "make_file"]

SIZE = 256 * 1024 * 1024
PAIRS = 5
KIB = 1024

#: Longer than the clock of a file system takes for a tick: then the server remembers a digest.
TICK_SECONDS = 0.2


def folder_in_memory() -> str | None:
    """Return where temporary files are in memory; None if nowhere."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def make_file(folder: Path) -> None:
    """Write the file that is copied."""
    block = os.urandom(1024 * 1024)
    with (folder / "large").open("wb") as file:
        for _ in range(SIZE // len(block)):
            file.write(block)


async def serve(folder: str) -> None:
    """Serve until standard input closes."""
    async with fastrpc.Server(FileService(folder, writable=True)) as server:
        announce(str(await server.listen("tcp://127.0.0.1:0")))
        await asyncio.to_thread(read_all_input)
        await server.drain(timeout=0.1)


def hash_repeated(block: bytes) -> None:
    """Hash the same number of bytes, which are one block again and again."""
    digest = hashlib.sha256()
    for _ in range(SIZE // len(block)):
        digest.update(block)


async def load(address: str, folder: str) -> dict[str, float]:
    """Return the medians."""
    there, here = Path(folder, "there", "large"), Path(folder, "here")
    found: dict[str, list[float]] = {"hash": [], "first": [], "again": [], "upload": []}
    block = os.urandom(256 * KIB)
    before = peak_bytes_of(os.getpid())
    async with fastrpc.Client(address) as client:
        for number in range(PAIRS):
            began = time.perf_counter()
            hash_repeated(block)
            found["hash"].append(time.perf_counter() - began)
            os.utime(there, ns=(number, number))  # The file is another version, whose digest is not kept.
            await asyncio.sleep(TICK_SECONDS)
            for name in ("first", "again"):
                began = time.perf_counter()
                await download(client, "large", here)
                found[name].append(time.perf_counter() - began)
            began = time.perf_counter()
            await upload(client, here, "copy")
            found["upload"].append(time.perf_counter() - began)
    grown = (peak_bytes_of(os.getpid()) - before) / KIB
    return {name: statistics.median(seconds) for name, seconds in found.items()} | {"kib": grown}


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        uvloop.run(serve(sys.argv[2]))
    else:
        print(json.dumps(uvloop.run(load(sys.argv[1], sys.argv[2]))), flush=True)
