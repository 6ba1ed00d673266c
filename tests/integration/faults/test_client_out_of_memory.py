"""A blocking client in a process that runs out of memory while other threads wait on the same connection."""

import subprocess
import sys
import threading

import pytest

import fastrpc
from fastrpc.testing import serving

MIB = 1024 * 1024
ANSWER = bytes(range(256)) * (20 * MIB // 256)

#: Prints how each call ended, with more and more room; a thread that waits for its own answer reads for both.
CLIENT = """
import resource, sys, threading
import fastrpc

MIB = 1024 * 1024
RIGHT = bytes(range(256)) * (20 * MIB // 256)

@fastrpc.service("blobs")
class Blobs:
    @fastrpc.method(codec="raw")
    def make(self, payload: bytes) -> bytes: ...
    @fastrpc.method
    def pack(self) -> bytes: ...
    @fastrpc.method
    def hold(self) -> bytes: ...
    @fastrpc.method
    def wait(self) -> None: ...
    @fastrpc.method
    def release(self) -> None: ...

def note(call, right):
    try:
        outcome = "right" if call() == right else "wrong"
    except (MemoryError, fastrpc.FastRPCError) as error:
        outcome = f"{type(error).__name__}: {error}"
    # In one piece, as the other thread writes too.
    sys.stdout.write(outcome.replace("\\n", " ") + "\\n")

def limit(room):
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    most = size + room if room else resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))

config = fastrpc.ClientConfig(limits=fastrpc.Limits(message_bytes=64 * MIB))
for room in range(1, 62, 3):
    with fastrpc.SyncClient(sys.argv[1], config=config) as client:
        reader = threading.Thread(target=lambda: note(lambda: client.call(Blobs.hold), b"held"))
        reader.start()
        client.call(Blobs.wait)
        limit(room * MIB)
        if room % 2:
            note(lambda: client.call(Blobs.make, b""), RIGHT)
        else:
            note(lambda: client.call(Blobs.pack), RIGHT)
        limit(0)
        client.with_options(wait_for_ready=True).call(Blobs.release)
        reader.join()
"""


@fastrpc.service("blobs")
class Blobs:
    """Large answers, and one that comes when it is released."""

    def __init__(self) -> None:
        self.held, self.released = threading.Event(), threading.Event()

    @fastrpc.method(codec="raw")
    def make(self, payload: bytes) -> bytes:
        return ANSWER

    @fastrpc.method
    def pack(self) -> bytes:
        return ANSWER

    @fastrpc.method
    def hold(self) -> bytes:
        released = self.released
        self.held.set()
        released.wait(10)
        return b"held"

    @fastrpc.method
    def wait(self) -> None:
        self.held.wait(10)

    @fastrpc.method
    def release(self) -> None:
        self.held.clear()
        released, self.released = self.released, threading.Event()
        released.set()


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process as Linux does")
@pytest.mark.measures  # A sanitizer ends a process that runs out of memory.
def test_an_answer_without_room_is_an_error_that_says_so_and_never_a_wrong_value() -> None:
    config = fastrpc.ServerConfig(limits=fastrpc.Limits(message_bytes=64 * MIB))
    with serving(Blobs(), config=config) as address:
        ended = subprocess.run(
            [sys.executable, "-c", CLIENT, address], capture_output=True, text=True, timeout=60, check=False
        )
    assert ended.returncode == 0, ended.stderr
    outcomes = set(ended.stdout.splitlines())
    failed = outcomes - {"right"}
    assert "right" in outcomes
    assert failed, "no limit was felt"
    # A value for which a decoder had no room is an error of decoding that names the cause.
    allowed = ("MemoryError", "ConnectionLostError", "DecodeError: blobs.pack: result: MemoryError")
    assert [outcome for outcome in failed if not outcome.startswith(allowed)] == []
