"""Decompression of requests without blocking the loop.

::

    unpack ──► the connection's queue ──► one request after the other, in slices ──► Gate.unpacked

Each connection decompresses one request at a time, so a bomb holds at most one message limit of memory. All connections
share a few milliseconds of each turn with the loop's other deferred work (`_core/loop/turns.pyx`).
"""

from collections import deque
from functools import partial

from fastrpc._core.loop.turns import SlicedWork
from fastrpc._core.serving.exchange import Exchange
from fastrpc._core.serving.served_call import ServerCall
from fastrpc.compressors.base import Compressor, Steps, decompress_steps
from fastrpc.errors import DecodeError

__all__ = ["Unpacking"]


class Unpacking:
    """The compressed requests of one server."""

    def __init__(self, message_bytes: int) -> None:
        self._message_bytes = message_bytes
        self._queues: dict[Exchange, deque[tuple[ServerCall, Steps]]] = {}

    @property
    def is_idle(self) -> bool:
        """Whether no request is being decompressed."""
        return not self._queues

    def unpack(self, call: ServerCall, compressor: Compressor, payload: bytes) -> None:
        """Decompress a request; the gate gets the result by `unpacked`."""
        job = call, decompress_steps(compressor, payload, self._message_bytes)
        queue = self._queues.get(call.exchange)
        if queue is None:
            self._queues[call.exchange] = deque([job])
            SlicedWork(call.exchange.gate.loop_state.turns, partial(self._step, call.exchange)).begin()
        else:
            queue.append(job)

    def _step(self, exchange: Exchange) -> bool:
        """Decompress one slice of a connection's first request; return whether more remains."""
        queue = self._queues[exchange]
        call, steps = queue[0]
        payload, error = b"", None
        if not (call.cancelled or exchange.is_closed):
            try:
                next(steps)
                return True
            except StopIteration as end:
                payload = end.value
            except DecodeError as problem:
                error = problem
        queue.popleft()
        if not queue:
            del self._queues[exchange]
        has_more = bool(queue)
        exchange.gate.unpacked(call, payload, error)
        return has_more
