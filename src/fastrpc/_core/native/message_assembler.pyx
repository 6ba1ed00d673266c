"""Messages that come in pieces, and the windows of streams.

::

    first piece ──► keep_first_piece ──┐
    further ones ──► piece ────────────┴──► whole: whole_request, whole_response, on_message
    stream DATA ──► stream_message: window, limit, then as above

Credit of a stream is returned when the application takes a message (`message_taken`). A message larger than the window
gets an extra grant: its size is reserved from the stream pool, first come, first served.

Windows grow by the rule of `wire/growth`, with bytes of the stream pool. The flag WAITED of DATA says that the sender
had to wait for credit.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastrpc._core.base.buffer cimport Assembly, copied
from fastrpc._core.base.status cimport RESOURCE_EXHAUSTED
from fastrpc._core.base.wire cimport SECOND
from fastrpc._core.calls.call cimport STATE_CANCELLED, STATE_GIVEN_UP, STATE_GONE, STATE_OPEN, STATE_STREAMING
from fastrpc._core.calls.call cimport Incoming, StreamWindow
from fastrpc._core.native.call_parts cimport NativeCalling, ServingPart
from fastrpc._core.native.parts_owner cimport LATE_BYTES_PER_SECOND, PartsOwner
from fastrpc._core.wire.budgets cimport PIECE_COST
from fastrpc._core.wire.frame cimport (
    CANCEL_LOCAL_LIMIT,
    CONT,
    DATA,
    HEADER_SIZE,
    MORE,
    REASON_CALM_DOWN,
    REASON_CREDIT,
    REASON_PROTOCOL,
    REQUEST,
    RESPONSE,
    STREAM_MESSAGE_LIMIT,
    WAITED,
)
from fastrpc._core.wire.growth cimport (
    give_back,
    grow,
    has_growth,
    is_due,
    note_short,
    open_window_pool,
    settle,
    take_owed,
    wanted_growth,
)
from fastrpc._core.wire.window cimport CONNECTION_WINDOW, give, open_budget, spend

cdef class MessageAssembler:
    """Joins the pieces of cut messages and keeps the windows of streams."""

    def __cinit__(self, PartsOwner owner not None, FrameReader reader, SendQueue sender):
        self.reader = reader
        self.sender = sender
        self.pool_waiters = Queue()
        open_budget(&self.short_pieces, CONNECTION_WINDOW, LATE_BYTES_PER_SECOND, SECOND)

    @property
    def stream_pool_left(self):
        """Bytes that streams may still borrow."""
        return self.pool.left

    @property
    def growth_left(self):
        """The bytes of the pool that windows may take."""
        return self.pool.growth_left

    @property
    def most_window(self):
        """The size up to which the window of one stream may grow."""
        return self.pool.most_window

    @most_window.setter
    def most_window(self, int64_t size):
        self.pool.most_window = size

    # Pieces

    cdef int keep_first_piece(self, Call call, Frame* frame) except -1:
        """Start a cut message; the caller has checked its total size."""
        cdef Incoming incoming = Incoming.__new__(Incoming)
        cdef Assembly assembly = self.reader.arrived
        incoming.head = frame[0]
        # The pointers of the frame point into memory that the next piece overwrites.
        incoming.head.payload = incoming.head.method = incoming.head.text = incoming.head.metadata = NULL
        if frame.kind == REQUEST:
            incoming.text = PyBytes_FromStringAndSize(frame.method, frame.method_size)
            incoming.head.method = PyBytes_AS_STRING(incoming.text)
        elif frame.kind == RESPONSE:
            incoming.text = PyBytes_FromStringAndSize(frame.text, frame.text_size)
            incoming.head.text = PyBytes_AS_STRING(incoming.text)
        if frame.kind != DATA and frame.metadata_size:
            incoming.metadata = PyBytes_FromStringAndSize(frame.metadata, frame.metadata_size)
            incoming.head.metadata = PyBytes_AS_STRING(incoming.metadata)
            if frame.kind == REQUEST:
                # From the first piece on, the memory of metadata counts with the record of the call.
                call.received_metadata = incoming.metadata
        if assembly is None:
            assembly = Assembly(frame.total)
            assembly.append(frame.payload, frame.payload_size, self.reader.trusted)
        incoming.assembly = assembly
        call.incoming = incoming
        return 0

    cdef int piece(self, Call call, Frame* frame) except -1:
        """Add a piece to the incomplete message of a call."""
        cdef Assembly assembly
        cdef Py_ssize_t filled
        cdef bint more = (frame.flags & MORE) != 0
        cdef PartsOwner owner = <PartsOwner>self.owner
        if call.incoming is None:
            return owner.close_with(REASON_PROTOCOL, f"a piece for call {frame.id} continues no message")
        if more and not self._pays_for_itself(frame):
            return owner.close_with(REASON_CALM_DOWN, f"too many short pieces, the last for call {frame.id}")
        assembly = <Assembly>call.incoming.assembly
        filled = assembly.filled + (0 if self.reader.arrived is not None else frame.payload_size)
        if filled > assembly.total or (filled == assembly.total) == more:
            return owner.close_with(
                REASON_PROTOCOL, f"pieces of {filled} bytes for a message of {assembly.total} on call {frame.id}"
            )
        if self.reader.arrived is None:
            assembly.append(frame.payload, frame.payload_size, self.reader.trusted)
        return self._piece_came(call) if more else self._whole_message(call)

    cdef bint _pays_for_itself(self, Frame* frame) noexcept:
        """Charge the budget for a piece that is too short for its cost; return False if the budget is used up."""
        cdef Py_ssize_t lack = PIECE_COST - frame.payload_size
        if lack > 0:
            return spend(&self.short_pieces, lack, (<PartsOwner>self.owner).now)
        if self.short_pieces.left < self.short_pieces.capacity:
            give(&self.short_pieces, -lack, self.short_pieces.capacity // self.short_pieces.period)
        return True

    cdef int _whole_message(self, Call call) except -1:
        """Pass on a cut message whose last piece has arrived."""
        cdef Incoming incoming = call.incoming
        cdef bytes payload = (<Assembly>incoming.assembly).finish()
        call.incoming = None
        self.reader.trusted = max(self.reader.trusted, PyBytes_GET_SIZE(payload))
        if incoming.head.kind == DATA:
            self.cut_messages -= 1
            call.window.waiting += 1
            self._pass_on(call, &incoming.head, payload, incoming.cost)
            # The receiver counts the memory of the message by now.
            return self._count_cut(-incoming.cost)
        call.received_metadata = incoming.metadata
        if incoming.head.kind == REQUEST:
            return (<PartsOwner>self.owner).callee_hooks.whole_request(call, &incoming.head, payload)
        return (<PartsOwner>self.owner).caller_hooks.whole_response(call, &incoming.head, payload)

    cdef int end_locally(self, Call call, int status, str text, int reason) except -1:
        """End a call because of its input: as its caller, cancel it; as its callee, answer it."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        if call.is_local:
            return owner.caller_hooks.end_called(call, status, text, reason)
        return owner.callee_hooks.end_served(call, status, text)

    # For the parts that know calls

    @cython.nonecheck(False)
    cdef int _pass_on(self, Call call, Frame* frame, bytes payload, Py_ssize_t cost) except -1:
        """Pass on a complete stream message; `frame` has its codec and compressor.

        `message_taken(call, cost)` has to be called when the application has taken the message.
        """
        cdef PartsOwner owner = <PartsOwner>self.owner
        if call.is_local:
            return (<NativeCalling>owner.calling).on_message(call, frame, payload, cost)
        return owner.serving.on_message(call, frame, payload, cost)

    cdef int _piece_came(self, Call call) except -1:
        """Note a piece that did not complete its message."""
        return 0 if call.is_local else (<PartsOwner>self.owner).serving.on_piece(call)

    cdef int _count_cut(self, Py_ssize_t change) except -1:
        """Add `change`, which may be negative, to the bytes held by incomplete stream messages."""
        cdef ServingPart serving = (<PartsOwner>self.owner).serving
        return 0 if serving is None else serving.on_cut(change)

    cdef bint may_lend(self) noexcept:
        """Return whether the process has enough memory to grow windows."""
        cdef ServingPart serving = (<PartsOwner>self.owner).serving
        return serving is None or serving.may_lend()

    # Streams

    cdef int stream_message(self, Call call, Frame* frame, bytes payload) except -1:
        """Handle DATA of a stream: a whole message, or a piece of a message."""
        cdef bint continues = (frame.flags & CONT) != 0
        cdef Py_ssize_t cost = frame.length if continues else HEADER_SIZE + <Py_ssize_t>frame.length
        cdef uint64_t limit, size = frame.total if frame.flags & MORE else <uint64_t>frame.payload_size
        if continues != (call.incoming is not None):
            text = f"DATA for call {frame.id} out of its place in a message"
            return (<PartsOwner>self.owner).close_with(REASON_PROTOCOL, text)
        if cost > call.window.left:
            return (<PartsOwner>self.owner).close_with(
                REASON_CREDIT, f"DATA of {cost} bytes for call {frame.id}, its window has {call.window.left} left"
            )
        call.window.left -= cost
        if frame.flags & WAITED:
            note_short(&call.window.growth)
        if continues:
            call.incoming.cost += cost
            self._count_cut(cost)
            return self.piece(call, frame)
        limit = min((<PartsOwner>self.owner).message_bound, <uint64_t>STREAM_MESSAGE_LIMIT)
        if size > limit or self.reader.was_skipped:
            of_whom = " to a caller without an identity" if (<PartsOwner>self.owner).keeps_window else ""
            text = self.reader.dropped or (
                f"a stream message has {size} bytes, {limit} are allowed{of_whom} (Limits.message_bytes)"
            )
            return self.end_locally(call, RESOURCE_EXHAUSTED, text, CANCEL_LOCAL_LIMIT)
        if frame.flags & MORE:
            self.keep_first_piece(call, frame)
            self.cut_messages += 1
            call.incoming.cost = cost
            self._count_cut(cost)
            self._grant_missing(call)
            return self._piece_came(call)
        if payload is None:
            payload = copied(frame.payload, frame.payload_size)
        call.window.waiting += 1
        return self._pass_on(call, frame, payload, cost)

    cdef int message_taken(self, Call call, Py_ssize_t cost) except -1:
        """Note that the application took a message; return its credit to the peer, except the extra grant."""
        # A call that has received a message has a window.
        cdef StreamWindow window = call.window
        cdef Py_ssize_t reserved = window.reserved
        window.waiting -= 1
        if call.state == STATE_GONE or call.state == STATE_CANCELLED or call.state == STATE_GIVEN_UP:
            return 0
        window.growth.owed += cost - window.granted
        window.reserved = window.granted = 0
        if call.is_local or call.state == STATE_OPEN:
            if is_due(&window.growth, window.first_size):
                self._return_credit(call)
            self._grant_missing(call)
        return self._return_to_pool(reserved) if reserved else 0

    cdef int _return_credit(self, Call call) except -1:
        """Return the owed credit to the peer, less half of a window that is larger than needed."""
        cdef StreamWindow window = call.window
        cdef bint may_lend = window.growth.grown == 0 or self.may_lend()
        cdef int64_t credit
        if settle(&window.growth, &self.pool, window.first_size, may_lend):
            self._serve_waiters()
        credit = take_owed(&window.growth)
        if credit:
            window.left += credit
            self.sender.send_credit(call.id, <uint32_t>credit)
        return 0

    cdef int reader_waits(self, Call call) except -1:
        """Note that the application waits for a message, and grow the window if needed."""
        cdef StreamWindow window = call.window
        cdef int64_t growth, credit
        # A call has no window before its REQUEST is written.
        if window is None or not window.growth.was_short:
            return 0
        growth = wanted_growth(&window.growth, &self.pool, window.first_size, window.waiting != 0)
        if not (call.state == STATE_STREAMING or call.state == STATE_OPEN) or not has_growth(&self.pool, growth):
            return 0
        # The messages that wait for the pool have priority over the growth of windows.
        if self.pool_waiters or not self.may_lend():
            return 0
        credit = grow(&window.growth, &self.pool, growth)
        window.left += credit
        return self.sender.send_credit(call.id, <uint32_t>credit)

    cdef int drop_incoming(self, Call call) except -1:
        """Drop the incomplete message of this call, and return the bytes reserved for a message."""
        cdef StreamWindow window = call.window
        cdef Py_ssize_t reserved = 0
        if call.incoming is not None and call.incoming.head.kind == DATA:
            self.cut_messages -= 1
            self._count_cut(-call.incoming.cost)
        call.incoming = None
        if window is not None:
            reserved = window.reserved
            window.reserved = window.granted = 0
        if call.waits_for_pool:
            call.waits_for_pool = False
            self.pool_waiters.remove(call)
            return self._return_to_pool(reserved)
        return self._return_to_pool(reserved) if reserved else 0

    cdef int end_window(self, Call call) except -1:
        """Drop the incomplete message of an ended call, and return all bytes that it borrowed."""
        self.drop_incoming(call)
        if call.window is None or call.window.growth.grown == 0:
            return 0
        give_back(&call.window.growth, &self.pool, call.window.growth.grown)
        return self._serve_waiters()

    # The stream pool

    cdef int open_pool(self, int64_t size) noexcept:
        """Set the number of bytes that streams may borrow."""
        open_window_pool(&self.pool, size, <int64_t>(<PartsOwner>self.owner).ours.max_message)
        return 0

    cdef bint _grant_missing(self, Call call) except -1:
        """Grant the credit that an incomplete message lacks, from the stream pool, if the reader has no other message."""
        cdef Assembly assembly
        cdef StreamWindow window = call.window
        cdef int64_t missing
        if call.incoming is None or call.incoming.head.kind != DATA or window.waiting or window.reserved:
            return False
        assembly = <Assembly>call.incoming.assembly
        missing = assembly.total - assembly.filled - window.left
        if self.reader.body_left and self.reader.sink is assembly:
            # The window does not count an incomplete frame yet.
            missing += self.reader.held.frame.payload_size - self.reader.body_left
        if missing <= 0 or not self._reserve(call, assembly.total):
            return False
        window.reserved = assembly.total
        window.granted = missing
        window.left += missing
        self.sender.send_credit(call.id, <uint32_t>missing)
        return True

    cdef bint _reserve(self, Call call, int64_t size) except -1:
        """Take bytes from the pool. If the call has to wait for them, return False; `_serve_waiters` tries again."""
        if size <= self.pool.left and (not self.pool_waiters or self.pool_waiters[0] is call):
            self.pool.left -= size
            if call.waits_for_pool:
                call.waits_for_pool = False
                self.pool_waiters.popleft()
            return True
        if not call.waits_for_pool:
            call.waits_for_pool = True
            self.pool_waiters.append(call)
        return False

    cdef int _return_to_pool(self, int64_t size) except -1:
        self.pool.left += size
        return self._serve_waiters()

    cdef int _serve_waiters(self) except -1:
        """Grant the free bytes of the pool to waiting messages."""
        while self.pool_waiters and self._grant_missing(<Call>self.pool_waiters[0]):
            pass
        return 0
