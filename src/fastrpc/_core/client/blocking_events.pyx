"""The events that threads of a blocking session wait for, answers aside, and the end of the connection.

::

    BlockingStream ── became_ready, output_left, finished, lost ──► BlockingEvents ──► Wait.came

Each wait belongs to a thread, which sleeps or works for other threads meanwhile. The end of the connection ends all
waits.
"""

cimport cython
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.calling_part cimport CallingPart
from fastrpc._core.client.blocking_wait cimport Wait


@cython.final
cdef class BlockingEvents(StreamEvents):
    """The events besides answers that threads of one connection wait for, and its end."""

    def __cinit__(self):
        self.ready_waits, self.hand_overs, self.room_waits = [], [], []

    # From the session

    cdef bint may_have_left(self, BlockingStream stream, ClientCall call) noexcept:
        """Return whether the server may get the request. Written bytes are sent before the close, so they count."""
        cdef CallingPart part = <CallingPart>stream.engine.calling
        if stream.is_left_behind:
            # The parent of the fork has the same call, and may send it.
            return True
        return part.was_handed(call) if stream.is_lost else part.was_written(call)

    cdef object error_of_end(self, BlockingStream stream, ClientCall call):
        """Return the error of a call without an answer at the end of the connection."""
        cdef CallingPart part = <CallingPart>stream.engine.calling
        return part.error_of_end(call, self.may_have_left(stream, call), self.lost_because or "it was closed")

    # From the stream

    cdef int became_ready(self) except -1:
        cdef list waits = self.ready_waits
        self.ready_waits = []
        return end_waits(waits)

    @cython.nonecheck(False)
    cdef int output_left(self, BlockingStream stream) except -1:
        cdef list waits = self.room_waits
        if waits:
            self.room_waits = []
            end_waits(waits)
        return _hand_over(self, <CallingPart>stream.engine.calling) if self.hand_overs else 0

    cdef int finished(self, BlockingStream stream, str why) except -1:
        return _note_end(self, stream, why) if self.ended_ns == 0 else 0

    cdef int lost(self, BlockingStream stream, object error) except -1:
        self.lost_hint = getattr(error, "hint", None)
        return _note_end(self, stream, str(error) if error is not None else "the server closed it")

    cdef int left_behind(self) except -1:
        self.lost_because = "this process was forked, and the connection is the parent's"
        self.ready_waits, self.hand_overs, self.room_waits = [], [], []
        return 0


@cython.nonecheck(False)
cdef int _hand_over(BlockingEvents events, CallingPart part) except -1:
    """End the waits for one-way calls whose bytes the system has taken."""
    cdef ClientCall call
    cdef Wait wait
    cdef list still = []
    for call, wait in events.hand_overs:
        if part.was_handed(call):
            wait.came()
        elif not call.is_settled:
            still.append((call, wait))
    events.hand_overs = still
    return 0


cdef int _note_end(BlockingEvents events, BlockingStream stream, str why) except -1:
    """End all remaining waits, after the connection has ended and its engine has failed the calls."""
    cdef ClientCall call
    cdef Wait wait
    cdef list waits = events.hand_overs
    events.lost_because = why
    events.ended_ns = now_ns()
    events.hand_overs = []
    for call, wait in waits:
        call.failed(events.error_of_end(stream, call))
        wait.came()
    events.became_ready()
    # No event will follow: all waits end.
    while stream.sleepers:
        stream.wake_one()
    return 0


cdef int end_waits(list waits) except -1:
    cdef Wait wait
    for wait in waits:
        wait.came()
    return 0
