from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint64_t

from fastrpc._core.balancing.endpoint_set cimport EndpointSet
from fastrpc._core.balancing.selectors cimport EndpointState
from fastrpc._core.calls.call cimport Call, MethodRoute
from fastrpc._core.client.caller_view cimport ViewOptions
from fastrpc._core.io.engine cimport Engine
from fastrpc._core.wire.frame cimport Frame
from fastrpc._core.wire.settings cimport WireNumbers


cdef class Streaming:
    cdef:
        # The stream of the call: borrowed, NULL once the stream was freed or the attempt has ended.
        PyObject* stream

        # `is_chosen`: whether the stream takes the messages of this attempt; `has_enough`: whether it needs no more of
        # the iterable that is sent.
        bint is_chosen
        bint has_enough

        # For an attempt: a future that is done at the first sign (a message, HEAD or the end); None without a waiter.
        object sign
        # The pick to report to the endpoint set at the end, or None.
        object pick
        # The initial metadata.
        bytes first_metadata

    # Implemented by the link to the stream (client_stream).
    cdef int message_came(self, Call call, Frame* frame, bytes payload, Py_ssize_t cost) except -1
    cdef int head_came(self, Call call, bytes metadata) except -1
    cdef int may_send(self) except -1
    cdef int detach(self, Call call) noexcept
    cdef int wrap(self, Call call, object function, bint sent) except -1
    cdef str stage(self, Call call)


cdef class ClientCall(Call):
    cdef:
        # `numbers`: the meaning of the codec and compressor numbers of the answer, set when the call starts.
        # `message_limit`: the most bytes of a message.
        WireNumbers numbers
        uint64_t message_limit

        # The payload of a request sent before the server's SETTINGS were read, kept while it may have to be sent again
        # (`send_again`).
        bytes early_request

        # The answer once it arrived: its payload (`answer`) and the payload's encoding, or the error (`failure`).
        # `is_settled`: whether the payload or the error is set.
        bytes answer
        object failure
        uint8_t answer_codec
        uint8_t answer_compressor
        # Truth values of a byte each, as in Call.
        uint8_t is_settled

        # `is_counted`: whether the call was counted as started and not yet as ended. An answer is counted once it is
        # decoded; an answer that is never read counts as OK.
        uint8_t is_counted
        uint8_t is_inside_retry

        # `verb`: VERB_CALL and others. `is_attempt`: whether this is an attempt of another call, with that call's
        # deadline and a given connection; errors of an attempt are not retried. `has_lost`: whether another attempt was
        # faster.
        uint8_t verb
        uint8_t is_attempt
        uint8_t has_lost

        # For the interceptors around the call: whether an attempt may have reached a handler.
        public uint8_t _may_have_run

        # Called with the number and endpoint of each attempt; or None.
        public object _on_attempt

        # `began_ns`: for an attempt the instant at which its call began; 0 if the call is its own attempt.
        uint64_t began_ns
        uint64_t ended_ns

        # Facts about the call or its last attempt. `options`, `hash_key`: the view of the caller. `session`: the
        # connection to the endpoint.
        ViewOptions options
        readonly object hash_key
        Engine session

        # `args`, `kwargs`: the arguments, without the stream of the caller. `prepared`: if they are compressed in
        # slices, the encoded arguments (EncodedRequest), and after that, in a unary attempt, the attempt that sends
        # them (AwaitedCall).
        tuple args
        dict kwargs
        object prepared

        # Until the outcome is reported. `endpoint_set`: the set that gets the report. `endpoint_state`: the endpoint
        # that it picked. `ticket`: the ticket of the endpoint's breaker.
        EndpointSet endpoint_set
        EndpointState endpoint_state
        int64_t ticket

        # `streaming`: the state of a streaming call, None for a unary one; `batch`: the batch (BatchCall) whose head
        # this call is, or None.
        Streaming streaming
        object batch

    # Set the request of a new call.
    cdef inline int set_request(
        self, MethodRoute route, ViewOptions options, object hash_key, tuple args, dict kwargs
    ) noexcept:
        self.route = route
        self.options = options
        self.hash_key = hash_key
        self.args = args
        self.kwargs = kwargs
        return 0

    # From the connection.
    cdef int answer_came(self, Frame* frame, bytes payload, uint64_t now) except -1
    cdef int message_came(self, Frame* frame, bytes payload, Py_ssize_t cost) except -1
    cdef int head_came(self, bytes metadata) except -1
    cdef int may_send(self) except -1
    cdef int failed(self, object error) except -1

    # Implemented by the subclass that waits.
    cdef int settle(self) except -1
    cdef object endpoint_on(self, Engine session)
    cdef str stage(self)

    # Counting.
    cdef int count_start(self, bytes payload) noexcept
    cdef int _count(self, int status, uint64_t now) except -1
    cdef int count_outcome(self, int status) except -1
    cdef int forget(self, int status=*) except -1

    # The answer.
    cdef object value(self)
    cdef bytes decompressed(self, bytes payload)
    cdef object compressor_of_answer(self)
    cdef object overdue(self, Engine session, bint handed)

    # The options.
    cdef int apply_options(self, MethodRoute route, uint64_t now, Py_ssize_t unsent=*) except -1
    cdef int copy_options(self, ClientCall other) noexcept
    cdef int become_attempt(self, ClientCall call, Engine session, int number) except -1

    # The endpoint that the set picked.
    cdef int leave(self, object error, uint64_t ended_ns) except -1
    cdef int drop(self) except -1
    cdef int undo(self) except -1

    # Its stream.
    cdef bint choose(self) except -1
    cdef int end_pick(self, object error) except -1


cdef bytes metadata_of(ClientCall call)
