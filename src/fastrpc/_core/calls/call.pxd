from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastrpc._core.base.histogram cimport CallTotals, MethodCounters
from fastrpc._core.base.timer_wheel cimport Timed
from fastrpc._core.payload.arguments cimport ParameterNames
from fastrpc._core.payload.marshal cimport Marshal
from fastrpc._core.wire.frame cimport Frame
from fastrpc._core.wire.growth cimport Growth

cdef enum CallState:
    # On the callee's side, the highest id seen and the table of calls distinguish "new" and "gone"; see PROTOCOL.md
    # "Calls".
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
    # On both sides: the table no longer has the call.
    STATE_GONE = 9

cdef enum HandlerStyle:
    STYLE_ASYNC = 0
    STYLE_INLINE = 1
    STYLE_THREAD = 2

cdef enum:
    # A flag of a route, in addition to the flags of its REQUEST: its service was removed. No frame has this bit.
    ROUTE_WITHDRAWN = 256

cdef uint64_t NO_DEADLINE

# The ContextVar of the running handler's call. It holds a Call, the block of `fastrpc.timeout`, a CurrentCall, or None.
cdef object scope_variable

cdef Call current_scope()


cdef class Draining:
    cdef:
        # Both are made when this object is first awaited. `_event`: the asyncio.Event to wait for. `_waiting`: the
        # coroutine that waits for it.
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

        # In nanoseconds: the default timeout on a client, the longest timeout on a server; 0: not set.
        uint64_t timeout_ns

        # Client only. The protocol of the connections whose calls this route counts.
        readonly str protocol
        # `_forms`: the routes of the same method for other protocols, by the name of the protocol. `_make_form`: the
        # function that makes them. Both are None if all connections have this protocol.
        dict _forms
        object _make_form

        # These fields are set only at the server. `names`: the accepted hashes of parameter names.
        readonly ParameterNames names
        readonly object handler
        int style
        bint is_public
        # Whether the call is a request to a mounted application: it has no codec and no interceptors, and is not
        # cancelled when its caller disconnects.
        public bint is_application
        # Marshals for other codecs than the route's own, by number; None before the first one.
        dict marshals
        # The limits of the route's calls (`server/guards`), looked up at the first call.
        tuple limits
        bint takes_stream
        bint gives_stream

    cdef MethodRoute form_for(self, str protocol)


cdef class RouteTable:
    cdef:
        # A hash table over `_names` with open addressing. `_slots`: index + 1 of each entry, 0 for a free slot.
        uint32_t* _slots
        uint32_t _mask

        # `_names`: every name as bytes, including aliases. `_routes`: the route of each name, at the same index.
        list _names
        list _routes

        # Each route once, in the order in which the routes were added.
        list _methods

        # The index found last: most calls are to the same method as the call before.
        uint32_t _last

        # The number of changes of the methods.
        readonly uint64_t changes

    cdef MethodRoute find(self, const char* name, Py_ssize_t size)


cdef class Incoming:
    cdef:
        # `head`: the head of the first piece. `text`, `metadata`: the parts of it that must outlive the receive buffer;
        # `text` is the method or the error text.
        Frame head
        bytes text
        bytes metadata

        # `assembly`: the payload so far (a buffer.Assembly); `cost`: the bytes that a stream message has taken from its
        # window.
        object assembly
        Py_ssize_t cost

        # For Session: `seen_size` is the payload's size at the last check, `seen_ns` the instant since which it has not
        # grown.
        Py_ssize_t seen_size
        uint64_t seen_ns


cdef class StreamWindow:
    cdef:
        # `left`: bytes that may still arrive. `first_size`: the initial size of the window. `growth`: its growth, with
        # the credit that was not sent yet.
        int64_t left
        int64_t first_size
        Growth growth

        # Messages that the application has not read.
        Py_ssize_t waiting
        # For the oldest of these messages, or for the message being received. `reserved`: bytes reserved in the stream
        # pool. `granted`: bytes granted beyond the window.
        int64_t reserved
        int64_t granted

cdef StreamWindow new_stream_window(int64_t size)


cdef class Call(Timed):
    cdef:
        # The deadline of the call and of calls that its handler makes: an instant of the monotonic clock, or
        # NO_DEADLINE.
        uint64_t deadline_ns

        # Fields of frames. `id` is 0 for an outgoing call until its first frame is written.
        readonly uint64_t id
        uint8_t state
        uint8_t flags
        uint8_t codec
        uint8_t compressor
        readonly int priority

        # These are bytes, not `bint`, because Python's small-object allocator serves objects of up to 512 bytes only.
        uint8_t is_local
        uint8_t is_listed

        # For outgoing calls. `has_slot`: whether the call holds one of the slots that the peer announced. `is_probe`:
        # whether the call only probes the server's health; calls of the engine itself keep no connection open and wake
        # none.
        uint8_t has_slot
        uint8_t is_probe

        # `answer_begun`: whether the first piece of a RESPONSE in pieces was received (own calls) or sent (the peer's
        # calls); `refusal_waits`: whether a refusal waits for credit.
        uint8_t answer_begun
        uint8_t refusal_waits

        # For own calls: whether the call was cancelled without a CANCEL frame, as the peer's budget had no room for the
        # frame yet.
        uint8_t is_untold

        # `waits_for_pool`: whether a stream's reservation (`reserved`) waits for the pool. `waits_to_send`: whether the
        # stream waits for `unsent` to be sent.
        uint8_t waits_for_pool
        uint8_t waits_to_send

        # The peer's calls: the timeout that the REQUEST states, in microseconds (frame.timeout_us).
        uint64_t stated_timeout_us

        # `send_left`: bytes of stream messages that may still be sent. `window`: the window for received messages; None
        # without a stream, and for an outgoing call until its REQUEST is written.
        int64_t send_left
        StreamWindow window

        # `incoming`: a message being received in pieces; `unsent`: the last outgoing message that waits to be sent, or
        # None.
        Incoming incoming
        object unsent

        # The messages of a stream (streams.StreamChannel), None for a unary call.
        object stream

        # Bytes that the call may send in the turn `share_turn` before other calls (native.DeficitRing); below 0: it
        # sent too much.
        int64_t share
        uint32_t share_turn

        # `attempt_number`: above 0 the attempt is a retry, and calls that its handler makes are not retried.
        # `is_block`: whether this is the block of `fastrpc.timeout`, which is never sent.
        uint8_t attempt_number
        uint8_t is_block

        # Own calls: the count of the flush that took the REQUEST's last piece; 0: not written yet.
        uint64_t handed_at

        # For own calls: the REQUEST's hash of its parameter names (ParameterNames); 0: none.
        uint64_t names

        uint64_t started_ns

        # Bytes of the call's payloads in both directions so far.
        uint64_t moved_bytes

        readonly MethodRoute route

        # For a `timeout` block: the call around it, or None. For a call: None, because a reference to itself would be a
        # cycle.
        Call owner

        # The request id as an encoded metadata entry, which calls of the handler repeat; None: no id is known
        # (call_log).
        bytes request_entry

        # `sent_metadata`: the encoded metadata of this side's REQUEST or RESPONSE. `received_metadata`: the encoded
        # metadata of the peer's RESPONSE or REQUEST.
        bytes sent_metadata
        bytes received_metadata

        # The outcome, for the interceptors around the call; both are None before the end. An outgoing call with an
        # `outcome_status` has ended.
        object outcome_status
        object outcome_error
        # For `invocation`. `_gave_none`: whether the call itself returned None. `_dropped_proceed`: whether an
        # interceptor dropped the result of `proceed`.
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
