from fastrpc._core.calls.call cimport Call


cdef class AccessRecords:
    cdef:
        # The logger of the records, their level, and the file that they name.
        object logger
        object level
        str source

        # The fields that an ordinary record has, without those of a call: None before the first record. Its thread and
        # number of forks; the times when it was made and when `logging` was imported, in seconds of `time.time()`.
        dict template
        unsigned long thread
        int forks
        double made_at
        double imported_at

        # Methods and their services as they are written, by the name on the wire.
        dict names

    cdef int _write(self, Call call, object status, unsigned long long nanoseconds) except -1
    cdef object _new_record(self, str text, dict fields)
    cdef dict _now(self)
    cdef int _renew(self) except -1
    cdef tuple _names_of(self, Call call)
