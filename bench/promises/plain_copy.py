"""A file over blocking sockets: `python -m bench.promises.plain_copy serve FOLDER`, and `… ADDRESS FOLDER`.

The smallest program that does to each byte what a transfer does: read, hash, send, receive, hash, write; in one thread
and with one buffer on each side. It runs no concurrent calls, has no limits and resumes nothing: its time is the
machine's share of a transfer. The client prints medians: the seconds of a copy that both sides hash, of a copy that
only the receiver hashes, and of a copy that the sender hashes before it sends, as an upload does.
"""

import hashlib
import json
import os
import socket
import statistics
import sys
import time
from pathlib import Path

from bench.compare.peers.base import announce
from bench.promises.files import PAIRS, SIZE
from bench.promises.server import read_all_input

#: The requests of the client.
BOTH_HASH, ONE_HASHES, HASH_FIRST = b"2", b"1", b"0"

BLOCK_BYTES = 256 * 1024


def serve(folder: str) -> None:
    """Send the file each time the only client asks for it; end with standard input."""
    listener = socket.create_server(("127.0.0.1", 0))
    announce(f"tcp://127.0.0.1:{listener.getsockname()[1]}")
    connection, _ = listener.accept()
    descriptor = os.open(Path(folder, "large"), os.O_RDONLY)
    block = memoryview(bytearray(BLOCK_BYTES))
    while asked := connection.recv(1):
        digest = hashlib.sha256()
        at = 0
        while asked == HASH_FIRST and (size := os.preadv(descriptor, [block], at)):
            at += size
            digest.update(block[:size])
        at = 0
        while size := os.preadv(descriptor, [block], at):
            at += size
            if asked == BOTH_HASH:
                digest.update(block[:size])
            connection.sendall(block[:size])
        connection.sendall(digest.digest())
    read_all_input()


def receive(connection: socket.socket, asked: bytes, path: Path) -> float:
    """Copy the file to a path, and return the seconds that took."""
    began = time.perf_counter()
    connection.sendall(asked)
    digest = hashlib.sha256()
    block = memoryview(bytearray(BLOCK_BYTES))
    part = path.with_suffix(".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    at = 0
    while at < SIZE:
        size = connection.recv_into(block[: SIZE - at])
        if not size:
            raise ConnectionError(f"the server left after {at} bytes")
        os.pwrite(descriptor, block[:size], at)
        digest.update(block[:size])
        at += size
    theirs = connection.recv(digest.digest_size, socket.MSG_WAITALL)
    if asked != ONE_HASHES and theirs != digest.digest():
        raise RuntimeError("what arrived has another SHA-256")
    os.fsync(descriptor)
    os.close(descriptor)
    part.rename(path)
    return time.perf_counter() - began


def load(address: str, folder: str) -> dict[str, float]:
    """Return the medians."""
    host, _, port = address.removeprefix("tcp://").partition(":")
    found: dict[str, list[float]] = {"both": [], "one": [], "hash_first": []}
    with socket.create_connection((host, int(port))) as connection:
        for _ in range(PAIRS):
            found["both"].append(receive(connection, BOTH_HASH, Path(folder, "plain")))
            found["one"].append(receive(connection, ONE_HASHES, Path(folder, "plain")))
            found["hash_first"].append(receive(connection, HASH_FIRST, Path(folder, "plain")))
    return {name: statistics.median(seconds) for name, seconds in found.items()}


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        print(json.dumps(load(sys.argv[1], sys.argv[2])), flush=True)
