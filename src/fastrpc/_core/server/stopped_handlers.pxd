"""Handlers that a read stops: their cleanup runs after the reads of a turn of the loop, and counts in that turn."""

from libc.stdint cimport uint64_t

from fastrpc._core.io.engine cimport MESSAGES_AT_ONCE, Engine
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.served_call cimport ServerCall

cdef enum:
    # Twice the time of a stream that waits for changes: its start, its cleanup and its answer. A cancel is read in a
    # microsecond: a read of thousands would be followed by a tenth of a second of cleanup, in which the loop does nothing
    # else. A peer that opens and closes such streams takes turns as long as the turns of other peers.
    CLEANUP_NS = 150_000


# `Gate.cancel` for a read: the time of the cleanup is taken from the time of the read, which ends sooner.
cdef inline int cancel_in_read(Engine engine, Gate gate, ServerCall call, bint is_late) except -1:
    if call.task is not None and not (call.was_cancelled or call.is_expired):
        engine.turn_ends_ns -= min(engine.turn_ends_ns, <uint64_t>CLEANUP_NS)
        engine.messages_left -= MESSAGES_AT_ONCE // 8 - 1
    return gate.cancel(call, is_late)
