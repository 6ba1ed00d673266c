from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastrpc._core.base.histogram cimport CallTotals, MethodCounters
from fastrpc._core.base.timer_wheel cimport Timed
from fastrpc._core.payload.arguments cimport ParameterNames
from fastrpc._core.payload.marshal cimport Marshal
from fastrpc._core.wire.frame cimport Frame
from fastrpc._core.wire.growth cimport Growth

cdef enum CallState:
    # Callee: the highest id seen and the table distinguish "new" and "gone"; see PROTOCOL.md "Calls".
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

cdef enum:
    # A flag of a route, in addition to the flags of its REQUEST: its service was removed. No frame has this bit.
    ROUTE_WITHDRAWN = 256

cdef uint64_t NO_DEADLINE

# The ContextVar that holds the call of the running handler or `fastrpc.timeout` block, a CurrentCall, or None.
cdef object scope_variable

cdef Call current_scope()


cdef class Draining:
    cdef:
        # The asyncio.Event to wait for, and the coroutine that waits, once this object itself is stepped.
        object _event
        object _waiting

    cdef object _begun(self)


cdef class CurrentCall:
    cdef:
        # The current call while `scope_variable` holds this object.
        Call call


cdef class MethodRoute:
    cdef:
        # The method of the call; the same on both sides.
        readonly str method
        bytes name
        readonly str kind
        uint16_t flags
        readonly object definition
        readonly Marshal marshal
        readonly MethodCounters counters

        # The totals of the calling client; unused on a server.
        readonly CallTotals totals

        # Nanoseconds: the client's default, the server's cap; 0 = not set.
        uint64_t timeout_ns

        # Client only. The protocol of the connections whose calls this route counts.
        readonly str protocol
        # The routes of the same method for other protocols, by the protocol's name, and the function that makes them.
        # None and None: all connections have this protocol.
        dict _forms
        object _make_form

        # Server only. The accepted hashes of parameter names.
        readonly ParameterNames names
        readonly object handler
        int style
        bint is_public
        # Whether the call is a request to a mounted application: it has no codec and no interceptors, and is not
        # cancelled when its caller disconnects.
        public bint is_application
        # Its marshals for codecs other than its own, by number; None until there is one.
        dict marshals
        # The limits of its calls (`server/guards`), found at the first call.
        tuple limits
        bint takes_stream
        bint gives_stream

    cdef MethodRoute form_for(self, str protocol)


cdef class RouteTable:
    cdef:
        # Open addressing over _names by a hash of the name; slots hold index + 1.
        uint32_t* _slots
        uint32_t _mask

        # Every name as bytes, including aliases, and the route of each name at the same place.
        list _names
        list _routes

        # Each route once, in the order of their addition.
        list _methods

        # The place found last: the next call is most often of the same method.
        uint32_t _last

        # The number of changes of the methods.
        readonly uint64_t changes

    cdef MethodRoute find(self, const char* name, Py_ssize_t size)


cdef class Incoming:
    cdef:
        # The first piece; its parts that must outlive the receive buffer: method or text, and the metadata.
        Frame head
        bytes text
        bytes metadata

        # The payload so far (a buffer.Assembly); the bytes that a stream message has taken from its window.
        object assembly
        Py_ssize_t cost

        # The payload's size at the last check, and the instant since which it has not grown (Session).
        Py_ssize_t seen_size
        uint64_t seen_ns


cdef class StreamWindow:
    cdef:
        # Bytes that may still arrive, the initial size of the window, the credit that is owed, and the growth of the
        # window.
        int64_t left
        int64_t first_size
        Growth growth

        # Messages that the application has not taken.
        Py_ssize_t waiting
        # For the oldest of these messages, or for the one being received: bytes reserved of the stream pool, and bytes
        # granted beyond the window.
        int64_t reserved
        int64_t granted

cdef StreamWindow new_stream_window(int64_t size)


cdef class Call(Timed):
    cdef:
        # The deadline of the call, and of calls made inside: an instant of the monotonic clock, or NO_DEADLINE.
        uint64_t deadline_ns

        # The wire. The id of a call that this side makes is 0 until its first frame is written.
        readonly uint64_t id
        uint8_t state
        uint8_t flags
        uint8_t codec
        uint8_t compressor
        readonly int priority

        # Truth values of a byte each: objects above 512 bytes do not come from Python's own allocator.
        uint8_t is_local
        uint8_t is_listed

        # For own calls: whether the call holds one of the slots that the peer announced.
        uint8_t has_slot

        # The first piece of a cut RESPONSE was received (own calls) or sent (the peer's); a refusal waits for credit.
        uint8_t answer_begun
        uint8_t refusal_waits

        # For own calls: whether the call was cancelled without a CANCEL frame, as the peer's budget had no room for the
        # frame yet.
        uint8_t is_untold

        # Whether a stream's reservation waits for the pool (`reserved`); whether the stream waits for `unsent` to be sent.
        uint8_t waits_for_pool
        uint8_t waits_to_send

        # The peer's calls: the timeout that the REQUEST states, in microseconds (frame.timeout_us).
        uint64_t stated_timeout_us

        # The bytes of stream messages that may still be sent, and the window for received ones; None: it has no stream,
        # or its own REQUEST is not written yet.
        int64_t send_left
        StreamWindow window

        # A message being received in pieces; the last outgoing message that waits to be sent, or None.
        Incoming incoming
        object unsent

        # The messages of a stream (streams.StreamChannel), None for a unary call.
        object stream

        # Bytes that it may send in the turn of this number before others (native.DeficitRing); below 0 it owes them.
        int64_t share
        uint32_t share_turn

        # Above 0 for a retry: calls made inside are then not retried. Whether this is the block of `fastrpc.timeout`,
        # which is never sent.
        uint8_t attempt_number
        uint8_t is_block

        # Own calls: the count of the flush that took the REQUEST's last piece; 0: not written yet.
        uint64_t handed_at

        # For own calls: the REQUEST's hash of the names at its positions (ParameterNames); 0 means none.
        uint64_t names

        uint64_t started_ns

        # The bytes of its payloads in both directions, so far.
        uint64_t moved_bytes

        readonly MethodRoute route

        # For a `timeout` block: the call around it, or None. A call has None, since a reference would be a cycle.
        Call owner

        # The id of the request as an entry of metadata, which calls made inside repeat; None: none is known (call_log).
        bytes request_entry

        # Encoded: the metadata sent with our REQUEST or RESPONSE, and the metadata received with the peer's.
        bytes sent_metadata
        bytes received_metadata

        # Its outcome for the interceptors around it, None before it; the status of a call of ours also marks its end.
        object outcome_status
        object outcome_error
        # For `invocation`: whether the call itself returned None; whether an interceptor dropped the result of `proceed`.
        public uint8_t _gave_none
        public uint8_t _dropped_proceed

        # Made on first use.
        object _metadata
        object _reply_metadata
        dict _state

    cdef object get_peer(self)
    cdef bint is_plain(self) noexcept

    cdef inline int forget_received(self) noexcept:
        """Drop the received metadata, before the object is reused for another call."""
        if self.received_metadata is not None:
            self.received_metadata = None
        if self._metadata is not None:
            self._metadata = None
        return 0

    cdef bytes get_request_entry(self)


cdef object twin_of(object error)
cdef object unmistakable(object error, Call call)
