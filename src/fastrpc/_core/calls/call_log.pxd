from libc.stdint cimport uint64_t

from fastrpc._core.calls.call cimport Call, MethodRoute


cdef class CallLog:
    cdef:
        # The function that writes the record of a chosen call: `write(call, status, nanoseconds)`.
        readonly object write

        # The share of calls that is logged. Calls that last `slow_ns` are always logged. Of other calls with an id the
        # log takes those whose id hashes below `chosen` (all bits set: every call); of other calls without an id it
        # takes the first one after `left_out` calls.
        double sample
        uint64_t slow_ns
        uint64_t chosen
        uint64_t left_out

        # The state of the generator of random bits.
        uint64_t state

        # Another log that gets the end of each call, or None. Whether calls made inside get the id of a request.
        public CallLog beside
        public bint makes_ids

    cdef inline int ended(self, Call call, int status, uint64_t nanoseconds) except -1:
        """Take the end of a call; the call ends whatever the log does."""
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


# Set the id of a call's request: the caller's id, or, with `make`, a new one.
cdef int find_request_entry(Call call, bint make) except -1

cdef str request_id_of_call(Call call)


cdef class AccessRecords:
    cdef:
        # The logger of the records, their level, and the file that they name.
        object logger
        object level
        str source

        # The fields of an ordinary record, without the fields of a call: None before the first record. Its thread and
        # number of forks; the times when it was made and when `logging` was imported, in seconds of `time.time()`.
        dict template
        unsigned long thread
        int forks
        double made_at
        double imported_at

        # Methods and their services as they are written, by the name on the wire.
        dict names


cdef class EndedCalls:
    cdef:
        # A tuple for each of the last calls: FIELDS_OF_ENDED.
        readonly object calls


# Log that a handler blocked the loop: meanwhile no other call ran, and no PING was answered.
cdef int report_long_step(MethodRoute route, uint64_t nanoseconds) except -1
