from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastrpc._core.framing.frame cimport Frame
from fastrpc._core.base.histogram cimport CallTotals, MethodCounters
from fastrpc._core.payload.marshal cimport Marshal
from fastrpc._core.payload.parameter_names cimport ParameterNames
from fastrpc._core.base.timed cimport Timed
from fastrpc._core.framing.window cimport Window

cdef enum CallState:
    # Callee: "new" and "gone" are told by the highest id seen and the table; see PROTOCOL.md "Calls".
    STATE_NEW = 0
    STATE_ASSEMBLING = 1
    STATE_OPEN = 2
    STATE_INPUT_ENDED = 3
    STATE_CANCELLED = 4
    # Caller.
    STATE_WAITING = 5
    STATE_STREAMING = 6
    STATE_ANSWERING = 7
    STATE_GIVEN_UP = 8
    # Both: the table no longer knows it.
    STATE_GONE = 9

cdef enum HandlerStyle:
    STYLE_ASYNC = 0
    STYLE_INLINE = 1
    STYLE_THREAD = 2

cdef uint64_t NO_DEADLINE

# The ContextVar that holds the Scope of the running handler or `fastrpc.timeout` block, a CurrentCall, or None.
cdef object scope_variable

cdef Scope current_scope()


cdef class Draining:
    cdef:
        # The asyncio.Event it waits for, and the coroutine that does, once one steps this object itself.
        object _event
        object _waiting

    cdef object _begun(self)


cdef class Scope(Timed):
    cdef:
        # Instant of the monotonic clock after which calls made inside are pointless, or NO_DEADLINE.
        uint64_t deadline_ns

        # Above 0 the surrounding call is a retry itself, so calls made inside are not retried again.
        uint8_t attempt_number

        # Of a `timeout` block the call around it, if there is one; None in a call, which would else keep itself alive.
        Call owner


cdef class CurrentCall:
    cdef:
        # The call that is current where `scope_variable` holds this.
        Call call


cdef class Route:
    cdef:
        # What the method is; the same on both sides.
        readonly str method
        bytes name
        readonly str kind
        uint8_t flags
        readonly object definition
        readonly Marshal marshal
        readonly MethodCounters counters

        # Of the client that calls; nothing counts there on a server.
        readonly CallTotals totals

        # Nanoseconds: the client's default, the server's cap; 0 = not set.
        uint64_t timeout_ns

        # Server only. What calls may tell of the names of its parameters.
        readonly ParameterNames names
        readonly object handler
        int style
        bint is_public
        bint takes_stream
        bint gives_stream


cdef class RouteTable:
    cdef:
        # Open addressing over _routes by a hash of the name; slots hold index + 1.
        uint32_t* _slots
        uint32_t _mask
        list _routes

        # The route found last: the next call is most often of the same method.
        uint32_t _last

    cdef Route find(self, const char* name, Py_ssize_t size)


cdef class Incoming:
    cdef:
        # The first piece; what of it must outlive the receive buffer: method or text, and the metadata.
        Frame head
        bytes text
        bytes metadata

        # Where the payload grows (a buffer.Assembly), and what a stream message has taken from its window so far.
        object assembly
        Py_ssize_t cost

        # How far it had grown when somebody last looked, and since when it has not (Session).
        Py_ssize_t seen_size
        uint64_t seen_ns


cdef class Call(Scope):
    cdef:
        # The wire: id 0 until the first frame of a call of ours is written.
        readonly uint64_t id
        uint8_t state
        uint8_t flags
        uint8_t codec
        uint8_t compressor
        readonly int priority
        bint is_local
        bint is_listed

        # Ours: one of the slots the peer announced is taken by it.
        bint has_slot

        # The first piece of a cut RESPONSE came (our calls) or was sent (theirs); a refusal that waits for credit.
        bint answer_begun
        bint refusal_waits

        # Ours: given up without a CANCEL, which the peer's budget had no room for yet.
        bint is_untold

        # Theirs: what its REQUEST said of the time it has, in microseconds (frame.timeout_us).
        uint64_t stated_timeout_us

        # What we may still send of stream messages, and receive.
        int64_t send_left
        Window window

        # Stream messages that the application has not taken; what was reserved of the stream pool and granted beyond
        # the window for the oldest of them, or for the one on its way; whether that waits for the pool.
        Py_ssize_t messages_waiting
        int64_t reserved
        int64_t granted
        bint waits_for_pool

        # A message being received in pieces; the last message of ours that still waits to be sent, or None.
        Incoming incoming
        object unsent

        # The messages of a stream (streams.StreamChannel), None for a unary call; whether it waits for `unsent` to go.
        object stream
        bint waits_to_send

        # Count of the flush that took the last piece of a REQUEST of ours; 0: not written yet.
        uint64_t handed_at

        # Ours: what its REQUEST tells of the names at its positions (ParameterNames); 0 = nothing.
        uint64_t names

        uint64_t started_ns

        readonly Route route

        # Encoded: what goes with our REQUEST or RESPONSE, and what came with theirs.
        bytes sent_metadata
        bytes received_metadata

        # Made on first use.
        object _metadata
        object _reply_metadata
        dict _state

    cdef object get_peer(self)
    cdef bint is_plain(self) noexcept
