cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.balancing.breaker cimport RetryBudget
from fastrpc._core.balancing.endpoint_set cimport EndpointSet
from fastrpc._core.calls.call cimport Call, MethodRoute
from fastrpc._core.calls.calling_part cimport CallingPart
from fastrpc._core.calls.invocation cimport Chain
from fastrpc._core.io.engine cimport Engine
from fastrpc._core.wire.settings cimport WireSettings, WireNumbers


cdef enum:
    # The verb of a call: `call` returns the value, `request` a Reply, `notify` nothing.
    VERB_CALL = 0
    VERB_REQUEST = 1
    VERB_NOTIFY = 2


cdef class ViewState:
    cdef:
        # `resolve(method, codec)` makes a MethodRoute, which `routes` keeps: {codec name: {method: MethodRoute}}.
        # `check(options)` returns the options of a view with names resolved.
        object resolve
        dict routes
        public object check

        # `pool`: the Python part that opens connections; `runner`: makes calls that need more than an open connection.
        public object pool
        readonly object runner

        # endpoint -> its record in the client's service; None if no other client uses its connections.
        public object record_of

        # `needs_runner`: whether all calls need the runner, as with some selectors; `chain`: the interceptors, whose
        # calls need the runner, too, or None.
        public bint needs_runner
        public Chain chain

        # `endpoint_set`: the picker of endpoints if there is a choice, else None; `budget`: the counter of calls.
        readonly EndpointSet endpoint_set
        readonly RetryBudget budget

        # `numbers`: the codecs and compressors by their numbers in answers. `compress_above`: the size above which
        # payloads are compressed if a view asks for it.
        public WireNumbers numbers
        public Py_ssize_t compress_above

        # `default_timeout_ns`: the default timeout in nanoseconds, 0 means none; `message_limit`: the most bytes of a
        # decompressed answer.
        public uint64_t default_timeout_ns
        public uint64_t message_limit

        # The hint for calls that a server refuses as unauthenticated, if the client shows no token; else None.
        public object token_hint

        # The default that a view returns to when it removes the option.
        str default_codec

        # `kind`: the class whose views are reused, or None; `last_view`: the last view.
        public type kind
        CallerView last_view

    cdef bint takes_slow_path(self) except -1


@cython.final
cdef class ViewOptions:
    cdef:
        readonly ViewState shared

        # The options, as in Client.with_options. They never change: other options are a new object.
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
        # The text of the address that calls prefer, or None.
        readonly str prefer

        # `routes`: the routes of the codec; `needs_runner`: whether one of the options keeps calls off the fast path.
        dict routes
        bint needs_runner

        # The group of attempts that are cancelled together, or None.
        readonly object running

    cdef ViewOptions changed(self, dict options)
    cdef uint64_t timeout_of(self, MethodRoute route) noexcept
    cdef bint packs_later(self, bytes payload, WireSettings peer, bint is_ready) except -1
    cdef bint needs_settings(self, MethodRoute route, bytes metadata) except -1

    # Encodes the payload of a request for its peer; `is_ready` says whether the peer's settings are known.
    cdef bytes pack(self, Call call, bytes payload, WireSettings peer, bint is_ready)
    cdef bytes pack_for_stream(self, Call call, bytes payload, WireSettings peer, bint is_ready)
    cdef int take_packed(self, Call call, WireSettings peer, bint is_smaller) except -1
    cdef object unpackable(self, MethodRoute route, object error)


cdef class CallerView:
    cdef:
        bint is_view

        # Whether a user set an attribute on this view.
        bint was_written

        # `hash_key` is not one of the options, so that a view with another key for each call copies no options.
        ViewOptions options
        readonly object hash_key

    cdef CallerView view_with(self, dict options)
    cdef CallerView new_view(self)
    cdef MethodRoute route_of(self, object method)


cdef uint64_t fork_generation() noexcept
cdef list argument_tuples_of(object given, dict unknown)
cdef bint holds_iterator(tuple args, dict kwargs) noexcept

cdef inline MethodRoute route_on(MethodRoute route, Engine session):
    # The route of a call on a connection, which may have another protocol. Equal names are usually the same object.
    cdef str protocol = (<CallingPart>session.calling).protocol
    return route if route.protocol is protocol else route.form_for(protocol)


cdef inline bint sends_stream(MethodRoute route, tuple args, dict kwargs) noexcept:
    # Whether one of the arguments of a call is a stream of messages.
    return route.takes_stream or (route.marshal.shape is None and holds_iterator(args, kwargs))


cdef class ServiceCalls:
    # {method: the verb `call` of the client of its service}
    cdef public dict _calls
