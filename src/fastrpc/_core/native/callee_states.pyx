"""The callee's half of the state tables of PROTOCOL.md, "Calls": the effect of frames on the peer's calls.

::

    REQUEST ──► request ──► limits ──► on_request, or refuse
    DATA, END, CANCEL ──► the call by its id ──► the assembler, on_end, on_cancel
    RESPONSE written ──► answered ──► ended

Without a `ServingPart`, `request` rejects every REQUEST; so a listed call implies a `ServingPart`.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.ref cimport Py_DECREF, PyObject
from libc.stdint cimport uint32_t, uint64_t

from fastrpc._core.base.buffer cimport copied
from fastrpc._core.base.status cimport CANCELLED, INVALID_ARGUMENT, RESOURCE_EXHAUSTED
from fastrpc._core.base.wire cimport load16
from fastrpc._core.calls.call cimport (
    STATE_ASSEMBLING,
    STATE_CANCELLED,
    STATE_GONE,
    STATE_INPUT_ENDED,
    STATE_OPEN,
    new_stream_window,
)
from fastrpc._core.native.outgoing cimport Outgoing, new_failure
from fastrpc._core.native.parts_owner cimport PartsOwner
from fastrpc._core.payload.metadata cimport METADATA_OK, METADATA_TOO_LARGE, check_metadata
from fastrpc._core.wire.budgets cimport open_idle_work, pay_idle_work
from fastrpc._core.wire.frame cimport (
    CANCEL_DEADLINE,
    CANCEL_LOCAL_LIMIT,
    CONT,
    IDEMPOTENT,
    MORE,
    ONE_WAY,
    OUTCOME_NOT_STARTED,
    OUTCOME_RAN,
    PUSHBACK_NEVER,
    REASON_CALM_DOWN,
    REASON_PROTOCOL,
    STREAM_IN,
    STREAM_OUT,
)
from fastrpc._core.wire.window cimport FIRST_CONNECTION_WINDOW, spend

cdef enum:
    # Refusals that may wait for credit, in addition to one per slot (PROTOCOL.md, "Budgets").
    WAITING_REFUSALS = 1000
    # Nanoseconds in half a microsecond. A CANCEL for the deadline is believed after half of the stated time, because the
    # REQUEST may have arrived late.
    HALF_MICROSECOND = 500


cdef class CalleeStates:
    """The peer's calls on a connection."""

    def __cinit__(self, PartsOwner owner not None, FrameReader reader, MessageAssembler assembler, SendQueue sender):
        self.reader = reader
        self.assembler = assembler
        self.sender = sender
        self.calls = CallTable()
        self.last_taken = <uint64_t>0x7FFFFFFFFFFFFFFF
        open_idle_work(&self.idle_work)

    @cython.nonecheck(False)
    cdef int request(self, Frame* frame, bytes payload) except -1:
        cdef PartsOwner owner = <PartsOwner>self.owner
        cdef Call call
        if frame.id <= self.highest_seen:
            return self._used_id(frame)
        if not self.serves_calls or owner.serving is None:
            return owner.close_with(REASON_PROTOCOL, f"REQUEST {frame.id} to a side that announced MAX_CALLS 0")
        self.highest_seen = frame.id
        if frame.id > self.last_taken:
            return owner.discard(frame)
        self.highest_id = frame.id
        call = owner.serving.new_call()
        call.id = frame.id
        call.flags = frame.flags & ~MORE
        call.codec = frame.codec
        call.compressor = frame.compressor
        call.attempt_number = frame.attempt
        call.priority = frame.priority
        call.started_ns = self.reader.held_at or owner.came_ns or owner.now
        call.stated_timeout_us = frame.timeout_us
        if not self._is_modest(frame) and self._refuse_early(call, frame):
            return 0
        call.send_left = owner.peer.stream_window
        if frame.flags & (STREAM_IN | STREAM_OUT | ONE_WAY):
            if frame.flags & ONE_WAY:
                self.one_way_calls += 1
                owner.note_unanswered()
            elif owner.first_settings_acknowledged:
                call.window = new_stream_window(owner.our_stream_window)
            else:
                call.window = new_stream_window(FIRST_CONNECTION_WINDOW)
        if frame.flags & MORE:
            return self._begin_request(call, frame)
        if frame.metadata_size:
            call.received_metadata = PyBytes_FromStringAndSize(frame.metadata, frame.metadata_size)
        if payload is None:
            payload = copied(frame.payload, frame.payload_size)
        return self.whole_request(call, frame, payload)

    cdef int _used_id(self, Frame* frame) except -1:
        """Handle a REQUEST with a used id: a violation, unless it was refused while its frame was incomplete."""
        if frame.id == self.refused_cut:
            self.refused_cut = 0
            return 0
        text = f"REQUEST with id {frame.id}, ids up to {self.highest_seen} are used"
        return (<PartsOwner>self.owner).close_with(REASON_PROTOCOL, text)

    @cython.nonecheck(False)
    cdef bint _is_modest(self, Frame* frame) noexcept:
        """Return whether the REQUEST may skip the other checks: it is unary, without metadata and within its limits."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        return (
            not frame.flags & ~IDEMPOTENT
            and not frame.metadata_size
            and not self.reader.was_skipped
            and self.calls.size - self.one_way_listed < <Py_ssize_t>owner.ours.max_calls
            and <uint64_t>frame.payload_size <= owner.message_bound
        )

    @cython.nonecheck(False)
    cdef str _over_limit(self, Frame* frame, int* status, bint* is_faulty):
        """Return the reason to refuse the REQUEST before any part is stored, or None; set if the caller is at fault."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        cdef int verdict
        cdef uint64_t size = frame.total if frame.flags & MORE else <uint64_t>frame.payload_size
        cdef str problem = self._over_count(frame, is_faulty)
        status[0] = RESOURCE_EXHAUSTED
        if problem is not None:
            return problem
        if self.reader.dropped is not None:
            return self.reader.dropped
        is_faulty[0] = True
        if frame.metadata_size:
            verdict = check_metadata(frame.metadata, frame.metadata_size, owner.ours.max_metadata)
            if verdict == METADATA_TOO_LARGE:
                return (
                    "the metadata of the call is over the limit of "
                    f"{owner.ours.max_metadata} bytes (Limits.metadata_bytes)"
                )
            if verdict != METADATA_OK:
                status[0] = INVALID_ARGUMENT
                return "the metadata of the call is malformed"
        if size > owner.message_bound or self.reader.was_skipped:
            if owner.keeps_window and size > <uint64_t>FIRST_CONNECTION_WINDOW:
                return (
                    f"the request has {size} bytes, without an identity a caller may send {owner.message_bound} (others "
                    "Limits.message_bytes): it needs credentials, such as Client(credentials=…) or a certificate"
                )
            side = "client" if owner.is_client else "server"
            return f"the request has {size} bytes, the {side} takes at most {owner.message_bound} (Limits.message_bytes)"
        return None

    @cython.nonecheck(False)
    cdef str _over_count(self, Frame* frame, bint* is_faulty):
        """Return why there is no slot for the REQUEST, or None. A caller that obeys the limit always gets None.

        Only ONE_WAY calls are an exception: no frame reports a free slot to their caller.
        """
        cdef PartsOwner owner = <PartsOwner>self.owner
        cdef Py_ssize_t calls = self.calls.size - self.one_way_listed, most = owner.ours.max_calls
        is_faulty[0] = False
        if frame.flags & ONE_WAY:
            if self.one_way_calls >= most:
                return f"this connection has {self.one_way_calls} one-way calls, the limit is {most}"
        elif calls >= most:
            is_faulty[0] = calls >= self.call_bound
            return f"this connection has {calls} calls in progress, the limit is {most} (Limits.concurrent_calls)"
        elif frame.flags & (STREAM_IN | STREAM_OUT) and self.streams >= <Py_ssize_t>owner.ours.max_streams:
            is_faulty[0] = self.streams >= self.stream_bound
            return (
                f"this connection has {self.streams} streams, the limit is {owner.ours.max_streams} (Limits.streams)"
            )
        return None

    cdef bint _refuse_early(self, Call call, Frame* frame) except -1:
        """Refuse a REQUEST over a limit before any part of it is stored; return whether that is done.

        The rest of the REQUEST may still arrive.
        """
        cdef int status = 0
        cdef bint is_faulty = False
        cdef PartsOwner owner = <PartsOwner>self.owner
        cdef uint64_t size = frame.total if frame.flags & MORE else <uint64_t>frame.payload_size
        cdef str problem = self._over_limit(frame, &status, &is_faulty)
        if problem is None:
            return False
        call.state = STATE_ASSEMBLING if frame.flags & (MORE | STREAM_IN) else STATE_INPUT_ENDED
        owner.serving.on_begun(call, frame)
        if not is_faulty:
            self.refuse(call, status, problem)
        elif owner.keeps_window and size > <uint64_t>FIRST_CONNECTION_WINDOW:
            # An unauthenticated caller must not send it again. An early call, made before the caller knew our limits,
            # never gets this answer: early calls are within the limits of unauthenticated peers.
            self._refuse_faulty(call, status, problem, PUSHBACK_NEVER)
        else:
            self._refuse_faulty(call, status, problem, 0)
        return True

    cdef int _begin_request(self, Call call, Frame* frame) except -1:
        """Handle the first piece of a cut REQUEST."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        if self.open_requests >= owner.open_messages:
            return owner.close_with(
                REASON_PROTOCOL, f"{self.open_requests + 1} unfinished requests, {owner.open_messages} are allowed"
            )
        self.open_requests += 1
        self.assembler.keep_first_piece(call, frame)
        call.state = STATE_ASSEMBLING
        self.hold(call)
        owner.serving.on_begun(call, frame)
        return owner.serving.on_piece(call)

    cdef Call find(self, uint64_t id):
        cdef PyObject* entry = self.calls.get(id)
        return None if entry is NULL else <Call>entry

    cdef Call receiver(self, Frame* frame, str kind):
        """Return the call of a frame, or None: a call that is over (the frame is discarded), or was never opened."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        cdef Call call = self.find(frame.id)
        if call is not None and call.state != STATE_CANCELLED:
            return call
        if call is None and frame.id > self.highest_seen:
            owner.close_with(REASON_PROTOCOL, f"{kind} for call {frame.id}, which was never opened")
        else:
            owner.discard(frame)
        return None

    cdef int hold(self, Call call) except -1:
        """Add a call of the peer to the table, where later frames look it up."""
        if not call.is_listed:
            self.calls.add(call.id, <PyObject*>call)
            call.is_listed = True
            if call.flags & (STREAM_IN | STREAM_OUT):
                self.streams += 1
            elif call.flags & ONE_WAY:
                self.one_way_listed += 1
        return 0

    cdef int _unlist(self, Call call) except -1:
        cdef PyObject* entry
        if call.is_listed:
            call.is_listed = False
            if call.flags & (STREAM_IN | STREAM_OUT):
                self.streams -= 1
            elif call.flags & ONE_WAY:
                self.one_way_listed -= 1
            entry = self.calls.take(call.id)
            if entry is not NULL:
                Py_DECREF(<object>entry)
        return 0

    @cython.nonecheck(False)
    cdef int whole_request(self, Call call, Frame* frame, bytes payload) except -1:
        assert call is not None
        if call.state == STATE_ASSEMBLING:
            self.open_requests -= 1
        call.state = STATE_INPUT_ENDED
        if call.flags & (STREAM_IN | STREAM_OUT):
            if call.flags & STREAM_IN:
                call.state = STATE_OPEN
            self.hold(call)
        elif call.flags & ONE_WAY:
            # On the wire the call is over. It counts as a one-way call until its handler ends.
            self.ended(call)
        return (<PartsOwner>self.owner).serving.on_request(call, frame, payload)

    cdef int refuse(self, Call call, int status, str text) except -1:
        """Refuse a call for a limit of the connection."""
        (<PartsOwner>self.owner).serving.on_refused(call, status, text)
        return self.send_refusal(call, status, text, 0)

    cdef Call take_cut(self):
        """Return the call of the REQUEST whose first frame is incomplete, to be refused. The rest of the frame is skipped.

        Return None if the frame is complete by now, or the connection does not accept the call.
        """
        cdef PartsOwner owner = <PartsOwner>self.owner
        cdef FrameReader reader = self.reader
        cdef Call call
        if reader.cut_id <= self.highest_seen or reader.cut_id > self.last_taken or not self.serves_calls:
            return None
        self.highest_seen = self.highest_id = self.refused_cut = reader.cut_id
        call = owner.serving.new_call()
        call.id = reader.cut_id
        call.flags = reader.cut_flags & ~MORE
        call.started_ns = reader.cut_at
        call.state = STATE_ASSEMBLING if reader.cut_flags & (MORE | STREAM_IN) else STATE_INPUT_ENDED
        if reader.held is not None and reader.held.frame.id == call.id:
            owner.serving.on_begun(call, &reader.held.frame)
            reader.drop_part()
        return call

    cdef int send_refusal(self, Call call, int status, str text, uint32_t pushback_ms) except -1:
        """Answer that the call was not started, with the reason. A one-way call is dropped and counted.

        The call is over immediately, even if its RESPONSE waits for credit.
        """
        cdef Outgoing failure
        if call.flags & ONE_WAY:
            self.dropped_one_way += 1
            return self.ended(call)
        failure = new_failure(status, OUTCOME_NOT_STARTED, text)
        failure.pushback_ms = pushback_ms
        self.ended(call)
        return self.sender.send_failure(call, failure)

    cdef int _refuse_faulty(self, Call call, int status, str text, uint32_t pushback_ms) except -1:
        """Refuse a call for a fault of its caller, and charge the budget for such faults."""
        (<PartsOwner>self.owner).serving.on_refused(call, status, text)
        self.send_refusal(call, status, text, pushback_ms)
        return self.spend_idle_work(call)

    cdef int spend_idle_work(self, Call call) except -1:
        """Charge the peer's budget for a call without a result that the caller cancelled or should not have made."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        if not spend(&self.idle_work, 1, owner.now):
            return owner.close_with(
                REASON_CALM_DOWN, f"too many calls are opened to be cancelled or refused, the last is {call.id}"
            )
        return 0

    cdef int end_served(self, Call call, int status, str text) except -1:
        cdef Outgoing failure = new_failure(status, OUTCOME_RAN, text)
        self.ended(call)
        self.sender.send_failure(call, failure)
        return (<PartsOwner>self.owner).serving.on_local_end(call, status, text)

    @cython.nonecheck(False)
    cdef int answered(self, Call call) except -1:
        assert call is not None
        if call.refusal_waits:
            call.refusal_waits = False
            self.refusals_waiting -= 1
        elif call.state != STATE_GONE and call.state != STATE_CANCELLED:
            pay_idle_work(&self.idle_work)
        return self.ended(call)

    cdef int answer_waits(self, Call call) except -1:
        """Keep a call in the table while its RESPONSE waits. A call that is already over only counts as a refusal."""
        if call.state != STATE_GONE:
            return self.hold(call)
        call.refusal_waits = True
        self.refusals_waiting += 1
        if self.refusals_waiting > WAITING_REFUSALS + self.most_calls:
            return (<PartsOwner>self.owner).close_with(REASON_CALM_DOWN, f"{self.refusals_waiting} refusals wait for credit")
        return 0

    @cython.nonecheck(False)
    cdef int ended(self, Call call) except -1:
        """End a call of the peer, and raise the budgets by the frames that an honest peer may still send for it."""
        assert call is not None
        cdef PartsOwner owner = <PartsOwner>self.owner
        cdef bint is_assembling = call.state == STATE_ASSEMBLING
        owner.serving.on_ended(call)
        if call.state == STATE_GONE:
            return 0
        owner.expect_late(is_assembling or call.state == STATE_OPEN)
        call.state = STATE_GONE
        if call.is_listed:
            self._unlist(call)
            if is_assembling:
                self.open_requests -= 1
            self.assembler.end_window(call)
        return 0

    cdef int cancel(self, Frame* frame) except -1:
        cdef PartsOwner owner = <PartsOwner>self.owner
        cdef Call call = self.receiver(frame, "CANCEL")
        cdef int reason = load16(frame.payload)
        if call is None:
            return 0
        if not self._is_overdue(call, reason):
            self.spend_idle_work(call)
            if owner.is_closed:
                return 0
        if call.state == STATE_ASSEMBLING:
            if call.flags & ONE_WAY:
                self.one_way_calls -= 1
            return self.refuse(call, CANCELLED, "cancelled before the request was whole")
        call.state = STATE_CANCELLED
        self.assembler.end_window(call)
        self.sender.drop_answer(call)
        return owner.serving.on_cancel(call, reason if reason <= CANCEL_LOCAL_LIMIT else 0)

    cdef bint _is_overdue(self, Call call, int reason) noexcept:
        """Return whether a CANCEL names the deadline as its reason, and at least half of the stated time has passed."""
        return (
            reason == CANCEL_DEADLINE
            and call.stated_timeout_us != 0
            and call.stated_timeout_us <= ((<PartsOwner>self.owner).now - call.started_ns) // HALF_MICROSECOND
        )

    cdef int end(self, Frame* frame) except -1:
        cdef PartsOwner owner = <PartsOwner>self.owner
        cdef Call call = self.receiver(frame, "END")
        if call is None:
            return 0
        if call.state != STATE_OPEN or call.incoming is not None:
            return owner.close_with(REASON_PROTOCOL, f"END for call {frame.id} inside a message or without a stream")
        call.state = STATE_INPUT_ENDED
        return owner.serving.on_end(call)

    cdef int data(self, Frame* frame, bytes payload) except -1:
        cdef Call call = self.receiver(frame, "DATA")
        if call is None:
            return 0
        if call.state == STATE_OPEN:
            return self.assembler.stream_message(call, frame, payload)
        if call.state == STATE_ASSEMBLING and frame.flags & CONT:
            return self.assembler.piece(call, frame)
        return (<PartsOwner>self.owner).close_with(
            REASON_PROTOCOL, f"DATA for call {frame.id}, which expects none now"
        )
