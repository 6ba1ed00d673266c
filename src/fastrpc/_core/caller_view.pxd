cimport cython
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


@cython.final
cdef class ViewOptions:
    cdef:
        # See Client.with_options. They never change: whoever has others has another object.
        str codec
        bint has_timeout
        uint64_t timeout_ns
        bytes sent_metadata
        object metadata
        object compressor
        int priority
        object idempotent
        bint wait_for_ready
        object fail_mode
        object endpoint

        # The routes of the codec; whether one of the options keeps calls off the direct way.
        dict routes
        bint needs_runner

    cdef ViewOptions changed(self, ViewState state, dict options)


cdef class CallerView:
    cdef:
        readonly ViewState shared
        readonly bint is_view

        # What a view may have for each call is kept outside of the options, so that those are copied for no call.
        ViewOptions options
        readonly object hash_key

    cdef Route route_of(self, object method)
    cdef int dress(self, PendingCall call, Route route, uint64_t now) except -1
    cdef int dress_alike(self, PendingCall call, PendingCall other) noexcept
    cdef bytes pack(self, PendingCall call, bytes payload, Settings peer, bint is_ready)


cdef int count_start(PendingCall call, bytes payload) noexcept
cdef uint64_t fork_generation() noexcept
cdef list argument_tuples_of(object given)
cdef bint over_floor(bytes metadata) except -1
