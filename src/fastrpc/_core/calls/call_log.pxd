from libc.stdint cimport uint64_t

from fastrpc._core.calls.call cimport Call, MethodRoute


cdef class CallLog:
    cdef:
        # The function that writes the record of a chosen call: `write(call, status, nanoseconds)`.
        readonly object write

        # The share of calls that is logged. Calls that last `slow_ns` are always logged. Other calls with an id are
        # logged if the hash of the id is below `chosen` (all bits set: every call); other calls without an id if
        # `left_out` calls were left out before.
        double sample
        uint64_t slow_ns
        uint64_t chosen
        uint64_t left_out

        # The state of the random number generator.
        uint64_t state

        # `beside`: another log that is notified of each ended call, or None. `makes_ids`: whether calls made inside get
        # a request id.
        public CallLog beside
        public bint makes_ids

    cdef inline int ended(self, Call call, int status, uint64_t nanoseconds) except -1:
        """Log an ended call if it is chosen. The call ends normally even if the log fails."""
        if self.beside is not None:
            self.beside.ended(call, status, nanoseconds)
        if (
            self.left_out
            and status == 0
            and nanoseconds < self.slow_ns
            and call.request_entry is None
            and call.received_metadata is None
        ):
            # No `-=`, which would take a reference first.
            self.left_out = self.left_out - 1
            return 0
        return self.write_if_chosen(call, status, nanoseconds)

    cdef int write_if_chosen(self, Call call, int status, uint64_t nanoseconds) except -1


# Set the request id of a call: the caller's id, or, with `make`, a new id if the caller sent none.
cdef int find_request_entry(Call call, bint make) except -1

cdef str request_id_of_call(Call call)


cdef class AccessRecords:
    cdef:
        # `logger`: the logger of the records. `level`: their level. `source`: the source file that they state.
        object logger
        object level
        str source

        # The fields of an ordinary record, without the fields of a call; None before the first record. `thread` and
        # `forks`: the thread and the number of forks for which this template holds. `made_at` and `imported_at`: when
        # it was made and when `logging` was imported, in seconds of `time.time()`.
        dict template
        unsigned long thread
        int forks
        double made_at
        double imported_at

        # Name on the wire -> service and method as records show them.
        dict names


cdef class EndedCalls:
    cdef:
        # A tuple of FIELDS_OF_ENDED for each of the last calls.
        readonly object calls


# Log that a handler blocked the loop, so that no other call ran and no PING was answered.
cdef int report_long_step(MethodRoute route, uint64_t nanoseconds) except -1
