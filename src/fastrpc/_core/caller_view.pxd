from libc.stdint cimport uint64_t

from fastrpc._core.call cimport Route
from fastrpc._core.pending_call cimport PendingCall
from fastrpc._core.settings cimport Settings


cdef class ViewState:
    cdef:
        # `resolve(method, codec)` makes a Route; {codec name: {method: Route}} keeps them. `check(options)` returns the
        # options of a view, names resolved.
        object resolve
        dict routes
        public object check

        # Python's part: what makes the connections.
        public object pool

        # {wire id: Compressor}; payloads above `compress_above` bytes are compressed if asked.
        public dict compressors
        public Py_ssize_t compress_above

        # Nanoseconds, 0 = no limit; bytes of an answer once it is decompressed.
        public uint64_t default_timeout_ns
        public uint64_t message_limit

        # What a view is back at when it asks for none.
        str default_codec


cdef class CallerView:
    cdef:
        readonly ViewState shared
        dict routes
        readonly bint is_view

        # The options; see Client.with_options.
        readonly str codec
        bint has_timeout
        uint64_t timeout_ns
        readonly bytes sent_metadata
        readonly object metadata
        readonly object compressor
        readonly int priority
        readonly object idempotent
        readonly bint wait_for_ready
        readonly object fail_mode
        readonly object hash_key
        readonly object endpoint

        # Whether one of them keeps calls off the direct way.
        bint needs_runner

    cdef int _inherit(self, CallerView base) except -1
    cdef int _take(self, dict options) except -1
    cdef Route route_of(self, object method)
    cdef int dress(self, PendingCall call, Route route, uint64_t now) except -1
    cdef int dress_alike(self, PendingCall call, PendingCall other) noexcept
    cdef bytes pack(self, PendingCall call, bytes payload, Settings peer, bint is_ready)


cdef int count_start(PendingCall call, bytes payload) noexcept
cdef uint64_t fork_generation() noexcept
cdef list argument_tuples_of(object given)
cdef bint over_floor(bytes metadata) except -1
