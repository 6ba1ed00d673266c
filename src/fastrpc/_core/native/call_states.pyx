"""What the frames of calls do: the two state tables of PROTOCOL.md, "Calls".

::

    on_frame ──► callee: REQUEST, DATA, END, CANCEL   (their calls)
             ├─► caller: RESPONSE, HEAD, DATA         (our calls)
             ├─► CREDIT
             └─► on_control: SETTINGS, PING, GOAWAY, AUTH, unknown kinds
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, PyObject
from libc.stdint cimport int64_t, uint32_t

from fastrpc._core.base.block_pool cimport copied
from fastrpc._core.base.buffer cimport Assembly
from fastrpc._core.calls.call cimport (
    STATE_ANSWERING,
    STATE_ASSEMBLING,
    STATE_CANCELLED,
    STATE_GIVEN_UP,
    STATE_GONE,
    STATE_INPUT_ENDED,
    STATE_OPEN,
    STATE_STREAMING,
    STATE_WAITING,
)
from fastrpc._core.framing.frame cimport (
    CANCEL,
    CANCEL_DEADLINE,
    CANCEL_DECODE,
    CANCEL_LOCAL_LIMIT,
    CONT,
    CREDIT,
    DATA,
    END,
    HEAD,
    HEADER_SIZE,
    IDEMPOTENT,
    MORE,
    ONE_WAY,
    OUTCOME_NOT_STARTED,
    OUTCOME_RAN,
    REASON_CALM_DOWN,
    REASON_CREDIT,
    REASON_PROTOCOL,
    REQUEST,
    RESPONSE,
    STREAM_IN,
    STREAM_OUT,
)
from fastrpc._core.native.call_table cimport CallTable
from fastrpc._core.native.message_assembler cimport LATE_BYTES_PER_SECOND
from fastrpc._core.payload.metadata cimport METADATA_OK, METADATA_TOO_LARGE, check_metadata
from fastrpc._core.native.outgoing cimport Outgoing, new_failure
from fastrpc._core.base.status cimport CANCELLED, INTERNAL, INVALID_ARGUMENT, RESOURCE_EXHAUSTED
from fastrpc._core.framing.window cimport CONNECTION_WINDOW, FIRST_CONNECTION_WINDOW, fill, give, open_budget
from fastrpc._core.framing.window cimport open_window, placed, spend
from fastrpc._core.base.wire cimport SECOND, load16, load32

cdef enum:
    # PROTOCOL.md, "Budgets".
    LATE_FRAMES = 1000
    LATE_FRAMES_PER_CALL = 4
    LATE_FRAMES_PER_SECOND = 330
    LEAST_LATE_BYTES = 64
    FREE_CREDITS = 100
    CREDITS_PER_FRAME = 10
    WAITING_REFUSALS = 1000
    # Nanoseconds in half a microsecond: a CANCEL for the deadline is believed from half of the stated time on.
    HALF_MICROSECOND = 500


cdef class CallStates(PartsOwner):
    """What a connection knows of calls, theirs and ours."""

    def __cinit__(self, *arguments, **options):
        self.accepted = CallTable()
        self.last_taken = <uint64_t>0x7FFFFFFFFFFFFFFF
        open_budget(&self.late_frames, LATE_FRAMES, LATE_FRAMES_PER_SECOND, SECOND)
        open_budget(&self.late_bytes, CONNECTION_WINDOW, LATE_BYTES_PER_SECOND, SECOND)

    cdef int on_frame(self, Frame* frame, bytes payload) except -1:
        if frame.kind == REQUEST:
            self._request(frame, payload)
        elif frame.kind == RESPONSE:
            self._response(frame, payload)
        elif frame.kind == DATA:
            self._data(frame, payload)
        elif frame.kind == CREDIT:
            return self._credit(frame)
        elif frame.kind == CANCEL:
            return self._cancel(frame)
        elif frame.kind == END:
            return self._end(frame)
        elif frame.kind == HEAD:
            self._head(frame)
        else:
            return self.on_control(frame)
        return self._placed(frame)

    cdef int _placed(self, Frame* frame) except -1:
        """Return connection credit for a frame that found its place, or was discarded."""
        cdef int64_t credit = placed(&self.reader.received, HEADER_SIZE + <Py_ssize_t>frame.length)
        if credit and not self.is_closed:
            self.sender.send_credit(0, <uint32_t>credit)
        return 0

    cdef int _discard(self, Frame* frame) except -1:
        """Drop a frame that an honest peer may still have had under way; too many of them are a flood."""
        cdef bint allowed
        if frame.kind == REQUEST or frame.kind == HEAD or frame.kind == DATA:
            allowed = spend(&self.late_bytes, max(LEAST_LATE_BYTES, HEADER_SIZE + <Py_ssize_t>frame.length), self.now)
        else:
            allowed = spend(&self.late_frames, 1, self.now)
        if not allowed:
            self.violate(REASON_CALM_DOWN, f"too many frames for calls that are over, the last for call {frame.id}")
        return 0

    cdef Call find_accepted(self, uint64_t id):
        cdef PyObject* entry = self.accepted.get(id)
        return None if entry is NULL else <Call>entry

    cdef Assembly sink_for(self, Frame* frame):
        cdef Call call
        cdef Assembly begun
        if frame.refused or frame.kind == HEAD:
            return None
        if frame.kind == REQUEST:
            if frame.id <= self.highest_seen or frame.id > self.last_taken:
                return None
        else:
            call = self.find_accepted(frame.id)
            if call is None:
                call = self.slots.find(frame.id)
            if call is None or call.state == STATE_GIVEN_UP or call.state == STATE_CANCELLED:
                return None
            if frame.flags & CONT:
                begun = None if call.incoming is None else <Assembly>call.incoming.assembly
                if begun is None or frame.payload_size > begun.total - begun.filled:
                    return None
                return begun
        if not frame.flags & MORE:
            frame.total = frame.payload_size
        return Assembly(frame.total) if frame.total <= self.ours.max_message else None

    # Calls of theirs

    @cython.nonecheck(False)
    cdef int _request(self, Frame* frame, bytes payload) except -1:
        cdef Call call
        if frame.id <= self.highest_seen:
            return self.violate(REASON_PROTOCOL, f"REQUEST with id {frame.id}, ids up to {self.highest_seen} are used")
        if not self.serves_calls:
            return self.violate(REASON_PROTOCOL, f"REQUEST {frame.id} to a side that announced MAX_CALLS 0")
        self.highest_seen = frame.id
        if frame.id > self.last_taken:
            return self._discard(frame)
        self.highest_id = frame.id
        call = self.new_call()
        call.id = frame.id
        call.flags = frame.flags & ~MORE
        call.codec = frame.codec
        call.compressor = frame.compressor
        call.attempt_number = frame.attempt
        call.priority = frame.priority
        call.started_ns = self.reader.held_at if self.reader.held_at else self.now
        call.stated_timeout_us = frame.timeout_us
        if not self._is_modest(frame) and self._refuse_early(call, frame):
            return 0
        call.send_left = self.peer.stream_window
        if frame.flags & (STREAM_IN | STREAM_OUT | ONE_WAY):
            if frame.flags & ONE_WAY:
                self.one_way_calls += 1
            elif self.first_settings_acknowledged:
                open_window(&call.window, self.our_stream_window)
            else:
                open_window(&call.window, FIRST_CONNECTION_WINDOW)
        if frame.flags & MORE:
            return self._begin_request(call, frame)
        if frame.metadata_size:
            call.received_metadata = PyBytes_FromStringAndSize(frame.metadata, frame.metadata_size)
        if payload is None:
            payload = copied(frame.payload, frame.payload_size)
        return self.on_whole_request(call, frame, payload)

    @cython.final
    @cython.nonecheck(False)
    cdef bint _is_modest(self, Frame* frame) noexcept:
        """Whether a REQUEST is so plain that only these limits count, and within them."""
        return (
            not frame.flags & ~IDEMPOTENT
            and not frame.metadata_size
            and not self.reader.was_skipped
            and self.accepted.size - self.one_way_listed < <Py_ssize_t>self.ours.max_calls
            and <uint64_t>frame.payload_size <= self.ours.max_message
        )

    @cython.nonecheck(False)
    cdef str _over_limit(self, Frame* frame, int* status, bint* is_faulty):
        """Why the REQUEST is refused before anything of it is kept, or None; and whether that is the caller's fault."""
        cdef int verdict
        cdef uint64_t size = frame.total if frame.flags & MORE else <uint64_t>frame.payload_size
        cdef str problem = self._over_count(frame, is_faulty)
        status[0] = RESOURCE_EXHAUSTED
        if problem is not None:
            return problem
        is_faulty[0] = True
        if frame.metadata_size:
            verdict = check_metadata(frame.metadata, frame.metadata_size, self.ours.max_metadata)
            if verdict == METADATA_TOO_LARGE:
                return (
                    "the metadata of the call is over the limit of "
                    f"{self.ours.max_metadata} bytes (Limits.metadata_bytes)"
                )
            if verdict != METADATA_OK:
                status[0] = INVALID_ARGUMENT
                return "the metadata of the call is malformed"
        if size > self.ours.max_message or self.reader.was_skipped:
            return f"the request has {size} bytes, the limit is {self.ours.max_message} (Limits.message_bytes)"
        return None

    @cython.nonecheck(False)
    cdef str _over_count(self, Frame* frame, bint* is_faulty):
        """Why there is no place for the REQUEST, or None. Who knows the limit and goes by it never comes here.

        Only a ONE_WAY caller cannot know: nothing tells it when a slot is free again.
        """
        cdef Py_ssize_t calls = self.accepted.size - self.one_way_listed, most = self.ours.max_calls
        is_faulty[0] = False
        if frame.flags & ONE_WAY:
            if self.one_way_calls >= most:
                return f"this connection has {self.one_way_calls} one-way calls, the limit is {most}"
        elif calls >= most:
            is_faulty[0] = calls >= self.call_bound
            return f"this connection has {calls} calls in progress, the limit is {most} (Limits.concurrent_calls)"
        elif frame.flags & (STREAM_IN | STREAM_OUT) and self.streams >= <Py_ssize_t>self.ours.max_streams:
            is_faulty[0] = self.streams >= self.stream_bound
            return (
                f"this connection has {self.streams} streams, the limit is {self.ours.max_streams} (Limits.streams)"
            )
        return None

    cdef bint _refuse_early(self, Call call, Frame* frame) except -1:
        """Refuse a REQUEST that is over a limit before anything of it is kept; more of it may come."""
        cdef int status = 0
        cdef bint is_faulty = False
        cdef str problem = self._over_limit(frame, &status, &is_faulty)
        if problem is None:
            return False
        call.state = STATE_ASSEMBLING if frame.flags & (MORE | STREAM_IN) else STATE_INPUT_ENDED
        self.on_begun(call, frame)
        if is_faulty:
            self.refuse_faulty(call, status, problem)
        else:
            self.refuse(call, status, problem)
        return True

    cdef int _begin_request(self, Call call, Frame* frame) except -1:
        """The first piece of a cut REQUEST."""
        if self.open_requests >= self.open_messages:
            return self.violate(
                REASON_PROTOCOL, f"{self.open_requests + 1} unfinished requests, {self.open_messages} are allowed"
            )
        self.open_requests += 1
        self.assembler.keep_first_piece(call, frame)
        call.state = STATE_ASSEMBLING
        self.hold(call)
        self.on_begun(call, frame)
        return self.on_piece(call)

    cdef int hold(self, Call call) except -1:
        """List a call of theirs: from now on its frames find it."""
        if not call.is_listed:
            self.accepted.add(call.id, <PyObject*>call)
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
            entry = self.accepted.take(call.id)
            if entry is not NULL:
                Py_DECREF(<object>entry)
        return 0

    cdef int on_whole_request(self, Call call, Frame* frame, bytes payload) except -1:
        if call.state == STATE_ASSEMBLING:
            self.open_requests -= 1
        call.state = STATE_INPUT_ENDED
        if call.flags & (STREAM_IN | STREAM_OUT):
            if call.flags & STREAM_IN:
                call.state = STATE_OPEN
            self.hold(call)
        elif call.flags & ONE_WAY:
            # Gone; its place among the one-way calls is held until its handler ends.
            self.call_ended(call)
        return self.on_request(call, frame, payload)

    cdef int refuse(self, Call call, int status, str text) except -1:
        """Answer that the call was not started, with the reason; a one-way call is dropped and counted.

        The call is gone at once, though its RESPONSE may wait for credit.
        """
        cdef Outgoing failure
        if call.flags & ONE_WAY:
            self.dropped_one_way += 1
            return self.call_ended(call)
        failure = new_failure(status, OUTCOME_NOT_STARTED, text)
        self.call_ended(call)
        return self.sender.send_failure(call, failure)

    cdef int refuse_faulty(self, Call call, int status, str text) except -1:
        """Refuse a call for a fault of its caller, who may make so many of them and no more."""
        self.refuse(call, status, text)
        return self.spend_idle_work(call)

    cdef int spend_idle_work(self, Call call) except -1:
        """Count a call that came to nothing through its caller."""
        if not spend(&self.idle_work, 1, self.now):
            return self.violate(
                REASON_CALM_DOWN, f"too many calls are opened to be cancelled or refused, the last is {call.id}"
            )
        return 0

    cdef int on_answered(self, Call call) except -1:
        if call.refusal_waits:
            call.refusal_waits = False
            self.refusals_waiting -= 1
        elif (
            self.idle_work.left < self.idle_work.capacity and call.state != STATE_GONE and call.state != STATE_CANCELLED
        ):
            give(&self.idle_work, 1, self.idle_work.capacity // self.idle_work.period)
        return self.call_ended(call)

    cdef int on_answer_waits(self, Call call) except -1:
        """As long as its RESPONSE waits a call is in the table; one that is gone already is counted."""
        if call.state != STATE_GONE:
            return self.hold(call)
        call.refusal_waits = True
        self.refusals_waiting += 1
        if self.refusals_waiting > WAITING_REFUSALS + self.most_calls:
            return self.violate(REASON_CALM_DOWN, f"{self.refusals_waiting} refusals wait for credit")
        return 0

    @cython.nonecheck(False)
    cdef int call_ended(self, Call call) except -1:
        """A call of theirs is over: what may still honestly come for it is added to the budgets."""
        assert call is not None
        cdef bint is_assembling = call.state == STATE_ASSEMBLING
        if call.state == STATE_GONE:
            return 0
        give(&self.late_frames, LATE_FRAMES_PER_CALL, LATE_FRAMES + LATE_FRAMES_PER_CALL * <int64_t>self.ours.max_calls)
        if is_assembling or call.state == STATE_OPEN:
            fill(&self.late_bytes)
        call.state = STATE_GONE
        if call.is_listed:
            self._unlist(call)
            if is_assembling:
                self.open_requests -= 1
            self.assembler.drop_incoming(call)
        return 0

    cdef int _cancel(self, Frame* frame) except -1:
        cdef Call call = self.find_accepted(frame.id)
        cdef int reason = load16(frame.payload)
        if call is None:
            if frame.id > self.highest_seen:
                return self.violate(REASON_PROTOCOL, f"CANCEL for call {frame.id}, which was never opened")
            return self._discard(frame)
        if call.state == STATE_CANCELLED:
            return self._discard(frame)
        if not self._is_overdue(call, reason):
            self.spend_idle_work(call)
            if self.is_closed:
                return 0
        if call.state == STATE_ASSEMBLING:
            if call.flags & ONE_WAY:
                self.one_way_calls -= 1
            return self.refuse(call, CANCELLED, "cancelled before the request was whole")
        call.state = STATE_CANCELLED
        self.assembler.drop_incoming(call)
        self.sender.drop_answer(call)
        return self.on_cancel(call, reason if reason <= CANCEL_LOCAL_LIMIT else 0)

    cdef bint _is_overdue(self, Call call, int reason) noexcept:
        """Whether a CANCEL says that the call's time is over, and that may be: its REQUEST may have come late."""
        return (
            reason == CANCEL_DEADLINE
            and call.stated_timeout_us != 0
            and call.stated_timeout_us <= (self.now - call.started_ns) // HALF_MICROSECOND
        )

    cdef int _end(self, Frame* frame) except -1:
        cdef Call call = self.find_accepted(frame.id)
        if call is None:
            if frame.id > self.highest_seen:
                return self.violate(REASON_PROTOCOL, f"END for call {frame.id}, which was never opened")
            return self._discard(frame)
        if call.state == STATE_CANCELLED:
            return self._discard(frame)
        if call.state != STATE_OPEN or call.incoming is not None:
            return self.violate(REASON_PROTOCOL, f"END for call {frame.id} inside a message or without a stream")
        call.state = STATE_INPUT_ENDED
        return self.on_end(call)

    # DATA of both

    cdef int _data(self, Frame* frame, bytes payload) except -1:
        cdef Call call
        if (frame.id & 1) == <uint64_t>self.wire.peer_parity:
            call = self.find_accepted(frame.id)
            if call is not None:
                return self._callee_data(call, frame, payload)
            if frame.id > self.highest_seen:
                return self.violate(REASON_PROTOCOL, f"DATA for call {frame.id}, which was never opened")
            return self._discard(frame)
        call = self.slots.find(frame.id)
        if call is None:
            return self.violate(REASON_PROTOCOL, f"DATA for call {frame.id}, which is over or was never opened")
        return self._caller_data(call, frame, payload)

    cdef int _callee_data(self, Call call, Frame* frame, bytes payload) except -1:
        if call.state == STATE_CANCELLED:
            return self._discard(frame)
        if call.state == STATE_OPEN:
            return self.assembler.stream_message(call, frame, payload)
        if call.state == STATE_ASSEMBLING and frame.flags & CONT:
            return self.assembler.piece(call, frame)
        return self.violate(REASON_PROTOCOL, f"DATA for call {frame.id}, which expects none now")

    cdef int _caller_data(self, Call call, Frame* frame, bytes payload) except -1:
        if call.state == STATE_GIVEN_UP:
            return self._given_up_data(call, frame)
        if call.state == STATE_ANSWERING:
            if frame.flags & CONT:
                return self.assembler.piece(call, frame)
        elif call.flags & STREAM_OUT:
            call.state = STATE_STREAMING
            return self.assembler.stream_message(call, frame, payload)
        return self.violate(REASON_PROTOCOL, f"DATA for call {frame.id}, which expects none now")

    cdef int _given_up_data(self, Call call, Frame* frame) except -1:
        """DATA for a call of ours that was given up; the last piece of its RESPONSE frees the place."""
        if not call.is_untold:
            self._discard(frame)
        if call.answer_begun and frame.flags & CONT and not frame.flags & MORE and not self.is_closed:
            self.forget_opened(call)
            return self.on_freed(call)
        return 0

    # Calls of ours

    cdef int _head(self, Frame* frame) except -1:
        cdef Call call = self.slots.find(frame.id)
        cdef int verdict
        if call is None:
            return self.violate(REASON_PROTOCOL, f"HEAD for call {frame.id}, which is over or was never opened")
        if call.state == STATE_GIVEN_UP:
            return self._discard(frame)
        if call.state != STATE_WAITING or not call.flags & STREAM_OUT:
            return self.violate(REASON_PROTOCOL, f"HEAD for call {frame.id}, which expects none now")
        verdict = self._check_received(frame)
        if verdict == METADATA_TOO_LARGE:
            return self.end_locally(call, RESOURCE_EXHAUSTED, self._metadata_text(), CANCEL_LOCAL_LIMIT)
        if verdict != METADATA_OK:
            return self.end_locally(call, INTERNAL, "the initial metadata is malformed", CANCEL_DECODE)
        call.state = STATE_STREAMING
        return self.on_head(call, PyBytes_FromStringAndSize(frame.metadata, frame.metadata_size))

    cdef int _check_received(self, Frame* frame) except -1:
        return check_metadata(frame.metadata, frame.metadata_size, self.ours.max_metadata)

    cdef str _metadata_text(self):
        return f"the metadata of the answer is over our {self.ours.max_metadata} bytes (Limits.metadata_bytes)"

    cdef int _response(self, Frame* frame, bytes payload) except -1:
        cdef Call call = self.slots.find(frame.id)
        cdef bint more = (frame.flags & MORE) != 0
        if call is None:
            return self.violate(REASON_PROTOCOL, f"RESPONSE to call {frame.id}, which is over or was never opened")
        if call.answer_begun and (more or frame.status == 0):
            return self.violate(REASON_PROTOCOL, f"a second RESPONSE to call {frame.id}")
        if call.state == STATE_GIVEN_UP:
            call.answer_begun = True
            if more:
                return 0
            self.forget_opened(call)
            return self.on_freed(call)
        if call.incoming is not None:
            if frame.status == 0:
                return self.violate(REASON_PROTOCOL, f"RESPONSE OK to call {frame.id} inside a message")
            self.assembler.drop_incoming(call)
        if more:
            return self._begin_response(call, frame)
        if frame.metadata_size:
            call.received_metadata = PyBytes_FromStringAndSize(frame.metadata, frame.metadata_size)
        return self.on_whole_response(call, frame, payload)

    cdef int _begin_response(self, Call call, Frame* frame) except -1:
        """The first piece of a cut RESPONSE."""
        cdef int verdict = self._check_received(frame)
        call.answer_begun = True
        if verdict == METADATA_TOO_LARGE:
            return self.end_locally(call, RESOURCE_EXHAUSTED, self._metadata_text(), CANCEL_LOCAL_LIMIT)
        if verdict != METADATA_OK:
            return self.end_locally(call, INTERNAL, "the metadata of the answer is malformed", CANCEL_DECODE)
        if frame.total > self.ours.max_message or self.reader.was_skipped:
            return self.end_locally(call, RESOURCE_EXHAUSTED, self._answer_text(frame.total), CANCEL_LOCAL_LIMIT)
        if self.open_responses >= self.open_messages:
            return self.violate(
                REASON_PROTOCOL, f"{self.open_responses + 1} unfinished answers, {self.open_messages} are allowed"
            )
        self.open_responses += 1
        self.assembler.keep_first_piece(call, frame)
        call.state = STATE_ANSWERING
        return self.on_piece(call)

    cdef str _answer_text(self, uint64_t size):
        return f"the answer has {size} bytes, this client takes {self.ours.max_message} (Limits.message_bytes)"

    cdef int on_whole_response(self, Call call, Frame* frame, bytes payload) except -1:
        """A RESPONSE is whole: the call is over."""
        cdef int verdict = METADATA_OK
        cdef uint64_t size = frame.payload_size if payload is None else PyBytes_GET_SIZE(payload)
        self.forget_opened(call)
        self.slots.note_answer(frame)
        if frame.metadata_size:
            verdict = self._check_received(frame)
        if verdict != METADATA_OK:
            call.received_metadata = None
            if verdict == METADATA_TOO_LARGE:
                return self.on_local_end(call, RESOURCE_EXHAUSTED, self._metadata_text())
            return self.on_local_end(call, INTERNAL, "the metadata of the answer is malformed")
        if size > self.ours.max_message or self.reader.was_skipped:
            return self.on_local_end(call, RESOURCE_EXHAUSTED, self._answer_text(size))
        if payload is None:
            payload = copied(frame.payload, frame.payload_size)
        return self.on_response(call, frame, payload)

    cdef int forget_opened(self, Call call) except -1:
        """A call of ours is over: its place is free, and what waited to be sent for it is not wanted."""
        cdef PyObject* entry = self.slots.opened.take(call.id)
        if entry is not NULL:
            Py_DECREF(<object>entry)
        if call.state == STATE_ANSWERING:
            self.open_responses -= 1
        call.state = STATE_GONE
        if call.unsent is not None:
            self.sender.drop_unsent(call)
        if call.incoming is not None or call.reserved:
            self.assembler.drop_incoming(call)
        return self.slots.return_slot(call)

    cdef int give_up(self, Call call, int reason) except -1:
        if call.id and call.state != STATE_GONE and call.state != STATE_GIVEN_UP:
            if call.state == STATE_ANSWERING:
                self.open_responses -= 1
            self.assembler.drop_incoming(call)
            # What the other side sent before our CANCEL came there may still arrive.
            give(
                &self.late_frames, LATE_FRAMES_PER_CALL,
                LATE_FRAMES + LATE_FRAMES_PER_CALL * <int64_t>self.ours.max_calls,
            )
            fill(&self.late_bytes)
        return self.slots.give_up(call, reason)

    cdef int end_locally(self, Call call, int status, str text, int reason) except -1:
        """End a call because of what the peer sent on it: the caller cancels, the callee answers."""
        cdef Outgoing failure
        if call.is_local:
            self.give_up(call, reason)
            return self.on_local_end(call, status, text)
        failure = new_failure(status, OUTCOME_RAN, text)
        self.call_ended(call)
        self.sender.send_failure(call, failure)
        return self.on_local_end(call, status, text)

    cdef int _credit(self, Frame* frame) except -1:
        cdef uint32_t size = load32(frame.payload)
        cdef Call call = None
        if self.credits_received >= FREE_CREDITS + CREDITS_PER_FRAME * self.sender.data_frames_sent:
            return self.violate(REASON_CALM_DOWN, "too many CREDIT frames for what was sent")
        self.credits_received += 1
        if size == 0:
            return self.violate(REASON_CREDIT, f"CREDIT of 0 for call {frame.id}")
        if frame.id:
            if (frame.id & 1) == <uint64_t>self.wire.peer_parity:
                call = self.find_accepted(frame.id)
                if call is None and frame.id > self.highest_seen:
                    return self.violate(REASON_PROTOCOL, f"CREDIT for call {frame.id}, which was never opened")
                if call is None or call.state == STATE_CANCELLED:
                    return self._discard(frame)
            else:
                call = self.slots.find(frame.id)
                if call is None:
                    return self.violate(
                        REASON_PROTOCOL, f"CREDIT for call {frame.id}, which is over or was never opened"
                    )
                if call.state == STATE_ANSWERING or call.state == STATE_GIVEN_UP:
                    return self.on_ignored(frame)
        if self.sender.raise_credit(call, size):
            return self.violate(REASON_CREDIT, f"credit of call {frame.id} is raised above its bound")
        return self.on_credit(frame.id, size)

    # Hooks

    cdef Call new_call(self):
        """Make the object of a call of theirs."""
        return Call.__new__(Call)

    cdef int on_begun(self, Call call, Frame* frame) except -1:
        """A REQUEST whose rest is still to come, or that is refused at once: its method is known."""
        return 0

    cdef int on_request(self, Call call, Frame* frame, bytes payload) except -1:
        """A REQUEST is whole; `frame` has its head. Who does not answer at once calls `hold`.

        A one-way call (its state is STATE_GONE) keeps its place in `one_way_calls` until who handles it takes it out.
        """
        return self.hold(call)

    cdef int on_end(self, Call call) except -1:
        """No further message of the caller will come."""
        return 0

    cdef int on_cancel(self, Call call, int reason) except -1:
        """The caller gave the call up; it still gets its RESPONSE."""
        return 0

    cdef int on_head(self, Call call, bytes metadata) except -1:
        """The initial metadata of a stream of ours came."""
        return 0

    cdef int on_response(self, Call call, Frame* frame, bytes payload) except -1:
        """The final answer to a call of ours; the call is gone already."""
        return 0

    cdef int on_freed(self, Call call) except -1:
        """The RESPONSE to a call of ours came that had been given up."""
        return 0

    cdef int on_local_end(self, Call call, int status, str text) except -1:
        """What the peer sent on this call cannot be used; the call ended with this status."""
        return 0

    cdef int on_ignored(self, Frame* frame) except -1:
        """A frame came that means nothing in the state of its call."""
        return 0

    cdef int on_credit(self, uint64_t id, uint32_t size) except -1:
        """The peer returned credit, of a call or (0) of the connection."""
        return 0

    cdef int on_control(self, Frame* frame) except -1:
        """A frame of the connection itself, or of an unknown kind."""
        return 0
