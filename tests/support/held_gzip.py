"""A server's gzip whose large payloads continue when a test releases them, and state a given size."""

import threading
import zlib
from collections.abc import Generator

from fastrpc import Server
from fastrpc.compressors.base import Payload, Steps
from fastrpc.compressors.gzip import GzipCompressor

__all__ = ["HeldGzip"]

GZIP = 1

#: The pause of each held step. A loop that steps without one polls so often, and gives the interpreter up so briefly,
#: that a thread of the same process, as of a SyncClient, wakes too late each time and may stand for seconds.
STEP_SECONDS = 0.001


class HeldGzip(GzipCompressor):
    """Decompresses payloads larger than `above` once `release` was called.

    Args:
        stated: the size that every payload states; None: its real size.
    """

    def __init__(self, above: int, *, stated: int | None = None) -> None:
        self._above = above
        self._stated = stated
        self._released = threading.Event()
        #: Payloads that were begun and are not whole.
        self.begun = 0

    def into(self, server: Server) -> "HeldGzip":
        """Let a server use it."""
        assert server._gate is not None
        server._gate.compressors[GZIP] = self
        return self

    def release(self) -> None:
        self._released.set()

    def stated_size(self, payload: bytes) -> int | None:
        return super().stated_size(payload) if self._stated is None else self._stated

    def decompress_steps(self, payload: Payload, max_size: int) -> Steps:
        return self._steps(payload, max_size)

    def _steps(self, payload: Payload, max_size: int) -> Generator[int | None, None, bytes]:
        self.begun += 1
        try:
            if len(zlib.decompress(payload, wbits=31)) > self._above:
                while not self._released.wait(STEP_SECONDS):
                    yield None
            return (yield from super().decompress_steps(payload, max_size))
        finally:
            self.begun -= 1
