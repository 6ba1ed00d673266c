"""Handlers that a read cancels. Their cleanup runs after the reads of a turn of the loop, and takes time of that turn."""

from libc.stdint cimport uint64_t

from fastrpc._core.io.engine cimport MESSAGES_AT_ONCE, Engine
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.served_call cimport ServerCall

cdef enum:
    # The time that a read loses for each handler that it cancels: twice the measured time for the start, the cleanup and
    # the answer of a stream that waits for changes. Reading a CANCEL takes 1 µs: thousands in one read would otherwise be
    # followed by a tenth of a second of cleanup, which blocks the loop. With this, a peer that opens and closes such
    # streams gets turns as long as the turns of other peers.
    CLEANUP_NS = 150_000


# Call `Gate.cancel` during a read, and subtract the time of the cleanup from the time of the read, so that it ends sooner.
cdef inline int cancel_in_read(Engine engine, Gate gate, ServerCall call, bint is_late) except -1:
    if call.task is not None and not (call.was_cancelled or call.is_expired):
        engine.turn_ends_ns -= min(engine.turn_ends_ns, <uint64_t>CLEANUP_NS)
        engine.messages_left -= MESSAGES_AT_ONCE // 8 - 1
    return gate.cancel(call, is_late)
