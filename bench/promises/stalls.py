"""How long a server blocks its loop at once under attack: the server in this process, the attackers in a thread."""

import asyncio
import gc
import socket
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import uvloop

import fastrpc
from bench.promises.flooder import cancelled, request
from fastrpc._core.wire.settings import usual_settings
from fastrpc_harness.recording import RecordingConnection

__all__ = ["busy_connections", "longest_turn", "many_bombs", "one_read", "unknown_names"]

#: Answers that an attacker waits for at most so long.
ANSWER_SECONDS = 30.0

MIB = 2**20


@fastrpc.service("bench")
class Attacked:
    """The called methods; no call takes long."""

    @fastrpc.method
    async def wait(self) -> None:
        await asyncio.Event().wait()

    @fastrpc.method(codec="raw")
    async def take(self, payload: bytes) -> bytes:
        return payload[:1]


@dataclass
class Attack:
    """The bytes that every connection sends, and how many answers end it; 0: until it is closed, or all is read."""

    frames: Sequence[bytes]
    answers: int
    source: type = Attacked


class _Attacker:
    """One connection of a hostile client."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address, ANSWER_SECONDS)
        self._connection = RecordingConnection(is_client=True, settings=usual_settings(False))
        self._socket.sendall(self._connection.data_to_send())
        while not any(event[0] == "settings_ack" for event in self._receive()):
            self._socket.sendall(self._connection.data_to_send())

    def _receive(self) -> list[tuple[object, ...]]:
        data = self._socket.recv(2**18)
        if not data:
            raise ConnectionError("the server closed")
        return self._connection.receive_data(data)

    def send(self, data: bytes) -> None:
        """Write all of it."""
        self._socket.sendall(data)

    def wait(self, answers: int) -> None:
        """Return once this many RESPONSEs, of any content, have arrived, or no further one arrives."""
        seen = b""
        while answers:
            data = self._socket.recv(2**18)
            if not data:
                return
            seen += data
            while len(seen) >= 16 and len(seen) >= 16 + int.from_bytes(seen[:4], "little"):
                answers -= seen[4] == 0x83
                seen = seen[16 + int.from_bytes(seen[:4], "little") :]

    def close(self) -> None:
        """Close."""
        self._socket.close()


async def _measure(attack: Attack) -> float:
    config = fastrpc.ServerConfig(reflection=True)
    async with fastrpc.Server(attack.source(), config=config) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()

        def run() -> None:
            attackers = [_Attacker((address.host, address.port)) for _ in attack.frames]
            for attacker, frames in zip(attackers, attack.frames, strict=True):
                attacker.send(frames)
            for attacker in attackers:
                attacker.wait(attack.answers)
                attacker.close()
            loop.call_soon_threadsafe(ended.set)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        longest, before = 0.0, time.thread_time()
        while not ended.is_set():
            await asyncio.sleep(0)
            now = time.thread_time()
            longest, before = max(longest, now - before), now
        thread.join()
    return longest


def longest_turn(make: Callable[[], Attack]) -> float:
    """Return the most seconds of the processor that one turn of the loop takes under an attack."""
    attack = make()
    gc.collect()
    # The time that the garbage collector takes for many objects is not measured here.
    gc.disable()
    try:
        return uvloop.run(_measure(attack))
    finally:
        gc.enable()


def gzip_bomb() -> bytes:
    """Return a payload that becomes 15 MiB."""
    writer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return writer.compress(bytes(15 * MIB)) + writer.flush()


def many_bombs(connections: int = 200) -> Attack:
    """Decompression bombs on many connections at the same time."""
    frame = request(1, b"bench.take", gzip_bomb(), codec=0, compressor=1)
    return Attack([frame] * connections, answers=1)


def one_read() -> Attack:
    """Enough cancelled calls to fill whole reads, within the budget of idle work."""
    return Attack([b"".join(cancelled(call) for call in range(1, 30_001, 2))], answers=15_000)


def busy_connections(connections: int = 200, calls: int = 1_000) -> Attack:
    """Some 60 KB of small calls on many connections at the same time."""
    frames = b"".join(request(call, b"bench.missing", codec=0) for call in range(1, 2 * calls, 2))
    return Attack([frames] * connections, answers=calls)


def unknown_names(methods: int = 200) -> Attack:
    """Calls of methods that are not there and near all that are."""
    members = {
        f"method_number_{number:05d}": fastrpc.method(_nothing(f"method_number_{number:05d}"))
        for number in range(methods)
    }
    source = fastrpc.service("bench.promises.of.a.name.that.is.quite.long")(type("Many", (), members))
    name = b"bench.promises.of.a.name.that.is.quite.long.nethod_mumber_%05d"
    frames = b"".join(request(call, name % call) for call in range(1, 401, 2))
    return Attack([frames], answers=200, source=source)


def _nothing(name: str) -> Callable[..., None]:
    def method(self: object) -> None:
        """Do nothing."""

    method.__name__ = name
    return method
