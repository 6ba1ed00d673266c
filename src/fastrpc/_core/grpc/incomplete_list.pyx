"""The list of the calls of one connection whose request, or message of a stream, is incomplete.

`IncompleteRequests` lists a call, and judges it while it is listed. A whole request or message takes its call off the list,
and so does the end of the call's answer: the caller may still send, and the received part is of no use.
"""

cimport cython


@cython.final
cdef class IncompleteList:
    """The calls with an incomplete request or message, on one connection."""

    def __init__(self, Gate gate not None):
        self.gate = gate
        self.calls = set()

    cdef int add(self, GrpcCall call) except -1:
        call.is_incomplete = True
        self.calls.add(call)
        return 0

    cdef int remove(self, GrpcCall call) except -1:
        if not call.is_incomplete:
            return 0
        call.is_incomplete = False
        self.calls.discard(call)
        if call.counted:
            # The message of the call is counted separately.
            self.gate.memory.count_part(call.connection, call.connection.part_held - call.counted, False)
            call.counted = 0
        if call.charge and not call.has_started and call.http2_stream is None:
            self.gate.memory.charge(call, 0)
        return 0

    cdef int drop(self, GrpcCall call) except -1:
        self.drop_check(call)
        call.reader = None
        call.message = None
        if call.web is not None:
            call.web.drop_body()
        self.remove(call)
        return 0 if call.has_started else self.gate.memory.charge(call, 0)

    cdef int drop_check(self, GrpcCall call) noexcept:
        if call.sender_check is not None:
            call.sender_check.drop()
            call.sender_check = None
        return 0
