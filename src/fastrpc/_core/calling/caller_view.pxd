cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.calls.call cimport Route
from fastrpc._core.calling.pending_call cimport PendingCall
from fastrpc._core.framing.settings cimport Settings, WireNumbers


cdef enum:
    # What a call was made by: `call`, which returns the value; `request`, a Reply; `notify`, nothing.
    VERB_CALL = 0
    VERB_REQUEST = 1
    VERB_NOTIFY = 2


cdef class ViewState:
    cdef:
        # `resolve(method, codec)` makes a Route; {codec name: {method: Route}} keeps them. `check(options)` returns the
        # options of a view, names resolved.
        object resolve
        dict routes
        public object check

        # Python's part: what makes the connections.
        public object pool

        # What numbers in answers stand for; payloads above `compress_above` bytes are compressed if asked.
        public WireNumbers numbers
        public Py_ssize_t compress_above

        # Nanoseconds, 0 = no limit; bytes of an answer once it is decompressed.
        public uint64_t default_timeout_ns
        public uint64_t message_limit

        # What a view is back at when it asks for none.
        str default_codec

        # The class of the client whose views are used again, if they are; the last one that was made.
        public type kind
        CallerView last_view


@cython.final
cdef class ViewOptions:
    cdef:
        readonly ViewState shared

        # See Client.with_options. They never change: whoever has others has another object.
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
        readonly object endpoint

        # The routes of the codec; whether one of the options keeps calls off the direct way.
        dict routes
        bint needs_runner

        # Where the attempts are noted that end together, if they are.
        readonly object running

    cdef ViewOptions changed(self, dict options)
    cdef uint64_t timeout_of(self, Route route) noexcept
    cdef int apply_options(self, PendingCall call, Route route, uint64_t now) except -1
    cdef int copy_options(self, PendingCall call, PendingCall other) noexcept
    cdef bytes pack(self, PendingCall call, bytes payload, Settings peer, bint is_ready)


cdef class CallerView:
    cdef:
        bint is_view

        # Whether somebody gave it attributes of his own.
        bint was_written

        # A key, which each call may have one of its own of, lies beside the options, so that a view for it copies nothing.
        ViewOptions options
        readonly object hash_key

    cdef CallerView view_with(self, dict options)
    cdef CallerView new_view(self)
    cdef Route route_of(self, object method)


cdef int count_start(PendingCall call, bytes payload) noexcept
cdef uint64_t fork_generation() noexcept
cdef list argument_tuples_of(object given, dict unknown)
cdef tuple checked_item(list argument_tuples, Py_ssize_t index)
cdef bint over_floor(bytes metadata) except -1
cdef bint holds_iterator(tuple args, dict kwargs) noexcept

cdef inline bint sends_stream(Route route, tuple args, dict kwargs) noexcept:
    # Whether one of the arguments of a call is a stream of messages.
    return route.takes_stream or (route.marshal.shape is None and holds_iterator(args, kwargs))
