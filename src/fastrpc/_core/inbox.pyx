"""What the frames of calls do: the two state tables of PROTOCOL.md, "Calls".

::

    on_frame ──► callee: REQUEST, DATA, END, CANCEL   (their calls)
             ├─► caller: RESPONSE, HEAD, DATA         (our calls)
             ├─► CREDIT
             └─► on_control: SETTINGS, PING, GOAWAY, AUTH, unknown kinds
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, PyObject
from libc.stdint cimport int64_t, uint32_t

from fastrpc._core.call cimport (
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
from fastrpc._core.frame cimport (
    CANCEL,
    CANCEL_DECODE,
    CANCEL_LOCAL_LIMIT,
    CONT,
    CREDIT,
    DATA,
    END,
    HEAD,
    HEADER_SIZE,
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
from fastrpc._core.metadata cimport METADATA_OK, METADATA_TOO_LARGE, check_metadata
from fastrpc._core.outbox cimport Outgoing
from fastrpc._core.window cimport FIRST_CONNECTION_WINDOW, open_window, placed
from fastrpc._core.wire cimport load16, load32

cdef enum:
    # Statuses that the wire itself produces (fastrpc.status.Status).
    INVALID_ARGUMENT = 3
    RESOURCE_EXHAUSTED = 8
    INTERNAL = 13
    CANCELLED_STATUS = 1
    # PROTOCOL.md, "Budgets".
    LATE_FRAMES = 1000
    LATE_FRAMES_PER_CALL = 4


cdef class Inbox(Intake):
    """What a connection knows of calls, theirs and ours."""

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

    # Calls of theirs

    cdef int _request(self, Frame* frame, bytes payload) except -1:
        cdef Call call
        cdef str problem
        cdef int status = 0
        if frame.id <= self.highest_id:
            return self.violate(REASON_PROTOCOL, f"REQUEST with id {frame.id}, ids up to {self.highest_id} are used")
        if not self.serves_calls:
            return self.violate(REASON_PROTOCOL, f"REQUEST {frame.id} to a side that announced MAX_CALLS 0")
        if frame.id > self.last_taken:
            return self._discard(frame)
        self.highest_id = frame.id
        problem = self._over_limit(frame, &status)
        call = self.new_call()
        call.id = frame.id
        call.flags = frame.flags & ~MORE
        call.codec = frame.codec
        call.compressor = frame.compressor
        call.attempt_number = frame.attempt
        call.priority = frame.priority
        call.started_ns = self.held_at if self.held_at else self.now
        if problem is not None:
            call.state = STATE_ASSEMBLING if frame.flags & (MORE | STREAM_IN) else STATE_INPUT_ENDED
            return self.refuse(call, status, problem)
        if frame.flags & MORE:
            return self._begin_request(call, frame, payload)
        if frame.metadata_size:
            call.received_metadata = PyBytes_FromStringAndSize(frame.metadata, frame.metadata_size)
        if payload is None:
            payload = PyBytes_FromStringAndSize(frame.payload, frame.payload_size)
        return self._start(call, frame, payload)

    cdef str _over_limit(self, Frame* frame, int* status):
        """Why the REQUEST is refused before anything of it is kept, or None."""
        cdef int verdict
        cdef uint64_t size = frame.total if frame.flags & MORE else <uint64_t>frame.payload_size
        status[0] = RESOURCE_EXHAUSTED
        if frame.flags & ONE_WAY:
            if self.one_way_calls >= <Py_ssize_t>self.ours.max_calls:
                return "one-way calls"
        elif self.accepted.size >= <Py_ssize_t>self.ours.max_calls:
            return (
                f"this connection has {self.accepted.size} calls in progress, the server takes "
                f"{self.ours.max_calls} (Limits.concurrent_calls)"
            )
        elif frame.flags & (STREAM_IN | STREAM_OUT) and self.streams >= <Py_ssize_t>self.ours.max_streams:
            return f"this connection has {self.streams} streams, the server takes {self.ours.max_streams} (Limits.streams)"
        if frame.metadata_size:
            verdict = check_metadata(frame.metadata, frame.metadata_size, self.ours.max_metadata)
            if verdict == METADATA_TOO_LARGE:
                return f"the metadata of the call is over the server's {self.ours.max_metadata} bytes (Limits.metadata_bytes)"
            if verdict != METADATA_OK:
                status[0] = INVALID_ARGUMENT
                return "the metadata of the call is malformed"
        if size > self.ours.max_message:
            return f"the request has {size} bytes, the server takes {self.ours.max_message} (Limits.message_bytes)"
        return None

    cdef int _begin_request(self, Call call, Frame* frame, bytes payload) except -1:
        """The first piece of a cut REQUEST."""
        if self.open_requests >= self.open_messages:
            return self.violate(
                REASON_PROTOCOL, f"{self.open_requests + 1} unfinished requests, {self.open_messages} are allowed"
            )
        self.open_requests += 1
        self._keep_first_piece(call, frame, payload)
        call.incoming.text = PyBytes_FromStringAndSize(frame.method, frame.method_size)
        call.incoming.head.method = PyBytes_AS_STRING(call.incoming.text)
        call.state = STATE_ASSEMBLING
        return self.hold(call)

    cdef int hold(self, Call call) except -1:
        """List a call of theirs: from now on its frames find it."""
        if not call.is_listed:
            self.accepted.add(call.id, <PyObject*>call)
            call.is_listed = True
            if call.flags & (STREAM_IN | STREAM_OUT):
                self.streams += 1
        return 0

    cdef int _start(self, Call call, Frame* frame, bytes payload) except -1:
        """A REQUEST is whole."""
        call.state = STATE_INPUT_ENDED
        if call.flags & (STREAM_IN | STREAM_OUT):
            if call.flags & STREAM_IN:
                call.state = STATE_OPEN
            open_window(
                &call.window, self.our_stream_window if self.first_settings_acknowledged else FIRST_CONNECTION_WINDOW
            )
            call.send_left = self.peer.stream_window
            self.hold(call)
        elif call.flags & ONE_WAY:
            if call.is_listed:
                self._unlist(call)
            call.state = STATE_GONE
            self.one_way_calls += 1
        return self.on_request(call, frame, payload)

    cdef int _unlist(self, Call call) except -1:
        cdef PyObject* entry = self.accepted.take(call.id)
        if entry is not NULL:
            Py_DECREF(<object>entry)
        call.is_listed = False
        return 0

    cdef int refuse(self, Call call, int status, str text) except -1:
        """Answer that the call was not started, with the reason; a one-way call is dropped and counted."""
        cdef Outgoing failure
        if call.flags & ONE_WAY:
            self.dropped_one_way += 1
            call.state = STATE_GONE
            self.call_ended(call)
            return 0
        failure = Outgoing.__new__(Outgoing)
        failure.status = status
        failure.outcome = OUTCOME_NOT_STARTED
        failure.text = text.encode()[:4096]
        failure.payload = b""
        return self.send_failure(call, failure)

    cdef int on_answered(self, Call call) except -1:
        return self.call_ended(call)

    cdef int call_ended(self, Call call) except -1:
        """A call of theirs is over: what may still honestly come for it is added to the budgets."""
        if self.late_frames.left < LATE_FRAMES + LATE_FRAMES_PER_CALL * <int64_t>self.ours.max_calls:
            self.late_frames.left += LATE_FRAMES_PER_CALL
        if call.state == STATE_ASSEMBLING or call.state == STATE_OPEN:
            self.late_bytes.left = self.late_bytes.capacity
            if call.incoming is not None and call.state == STATE_ASSEMBLING:
                self.open_requests -= 1
        call.incoming = None
        if call.flags & (STREAM_IN | STREAM_OUT) and call.state != STATE_GONE:
            self.streams -= 1
        return 0

    cdef int _cancel(self, Frame* frame) except -1:
        cdef Call call = self.find_accepted(frame.id)
        cdef Outgoing failure
        cdef int reason = load16(frame.payload)
        if call is None:
            if frame.id > self.highest_id:
                return self.violate(REASON_PROTOCOL, f"CANCEL for call {frame.id}, which was never opened")
            return self._discard(frame)
        if call.state == STATE_CANCELLED:
            return self._discard(frame)
        if call.state == STATE_ASSEMBLING:
            failure = Outgoing.__new__(Outgoing)
            failure.status = CANCELLED_STATUS
            failure.outcome = OUTCOME_NOT_STARTED
            failure.text = b"cancelled before the request was whole"
            failure.payload = b""
            return self.send_failure(call, failure)
        call.state = STATE_CANCELLED
        call.incoming = None
        return self.on_cancel(call, reason if reason <= CANCEL_LOCAL_LIMIT else 0)

    cdef int _end(self, Frame* frame) except -1:
        cdef Call call = self.find_accepted(frame.id)
        if call is None:
            if frame.id > self.highest_id:
                return self.violate(REASON_PROTOCOL, f"END for call {frame.id}, which was never opened")
            return self._discard(frame)
        if call.state == STATE_CANCELLED:
            return self._discard(frame)
        if call.state != STATE_OPEN or call.incoming is not None:
            return self.violate(REASON_PROTOCOL, f"END for call {frame.id} inside a message or without a stream")
        call.state = STATE_INPUT_ENDED
        return self.on_end(call)

    # Messages in pieces and streams

    cdef int _data(self, Frame* frame, bytes payload) except -1:
        cdef Call call
        if (frame.id & 1) == <uint64_t>self.wire.peer_parity:
            call = self.find_accepted(frame.id)
            if call is not None:
                return self._callee_data(call, frame, payload)
            if frame.id > self.highest_id:
                return self.violate(REASON_PROTOCOL, f"DATA for call {frame.id}, which was never opened")
            return self._discard(frame)
        call = self.find_opened(frame.id)
        if call is None:
            return self.violate(REASON_PROTOCOL, f"DATA for call {frame.id}, which is over or was never opened")
        return self._caller_data(call, frame, payload)

    cdef int _callee_data(self, Call call, Frame* frame, bytes payload) except -1:
        if call.state == STATE_CANCELLED:
            return self._discard(frame)
        if call.state == STATE_OPEN:
            return self._stream_message(call, frame, payload)
        if call.state == STATE_ASSEMBLING and frame.flags & CONT:
            return self._piece(call, frame, payload)
        return self.violate(REASON_PROTOCOL, f"DATA for call {frame.id}, which takes none now")

    cdef int _caller_data(self, Call call, Frame* frame, bytes payload) except -1:
        if call.state == STATE_GIVEN_UP:
            return self._given_up_data(call, frame)
        if call.state == STATE_ANSWERING:
            if frame.flags & CONT:
                return self._piece(call, frame, payload)
        elif call.flags & STREAM_OUT:
            if not (frame.flags & CONT and call.incoming is None):
                call.state = STATE_STREAMING
            return self._stream_message(call, frame, payload)
        return self.violate(REASON_PROTOCOL, f"DATA for call {frame.id}, which expects none now")

    cdef int _given_up_data(self, Call call, Frame* frame) except -1:
        """DATA for a call of ours that was given up; the last piece of its RESPONSE frees the slot."""
        if call.answer_begun and frame.flags & CONT and not frame.flags & MORE:
            self._discard(frame)
            return self.forget_opened(call)
        return self._discard(frame)

    cdef int _keep_first_piece(self, Call call, Frame* frame, bytes payload) except -1:
        """Begin a cut message."""
        cdef Incoming incoming = Incoming.__new__(Incoming)
        cdef Assembly assembly = self.arrived
        incoming.head = frame[0]
        if frame.metadata_size and frame.kind != DATA:
            incoming.metadata = PyBytes_FromStringAndSize(frame.metadata, frame.metadata_size)
            incoming.head.metadata = PyBytes_AS_STRING(incoming.metadata)
        if assembly is None:
            assembly = Assembly(frame.total)
            assembly.append(frame.payload, frame.payload_size, self.trusted)
        incoming.assembly = assembly
        call.incoming = incoming
        return 0

    cdef int _piece(self, Call call, Frame* frame, bytes payload) except -1:
        """A piece that continues the open message of the call."""
        cdef Assembly assembly
        cdef Py_ssize_t before
        if call.incoming is None:
            return self.violate(REASON_PROTOCOL, f"a piece for call {frame.id} continues no message")
        assembly = <Assembly>call.incoming.assembly
        before = assembly.filled - (frame.payload_size if self.arrived is not None else 0)
        if before + frame.payload_size > assembly.total:
            return self.violate(REASON_PROTOCOL, f"message of call {frame.id} is longer than its total {assembly.total}")
        if frame.flags & MORE and before + frame.payload_size == assembly.total:
            return self.violate(REASON_PROTOCOL, f"message of call {frame.id} is complete, but more is announced")
        if not frame.flags & MORE and before + frame.payload_size < assembly.total:
            return self.violate(REASON_PROTOCOL, f"message of call {frame.id} ends before its total {assembly.total}")
        if self.arrived is None:
            assembly.append(frame.payload, frame.payload_size, self.trusted)
        if frame.flags & MORE:
            return self.on_piece(call)
        return self._whole_message(call)

    cdef int _whole_message(self, Call call) except -1:
        """The last piece of a cut message came."""
        cdef Incoming incoming = call.incoming
        cdef bytes payload = (<Assembly>incoming.assembly).finish()
        cdef Py_ssize_t cost
        call.incoming = None
        self.trusted = max(self.trusted, PyBytes_GET_SIZE(payload))
        if incoming.head.kind == REQUEST:
            self.open_requests -= 1
            call.received_metadata = incoming.metadata
            return self._start(call, &incoming.head, payload)
        if incoming.head.kind == RESPONSE:
            self.open_responses -= 1
            call.received_metadata = incoming.metadata
            return self._finish_response(call, &incoming.head, payload)
        cost = incoming.head.payload_size
        call.messages_waiting += 1
        return self.on_message(call, payload, cost)

    cdef int _stream_message(self, Call call, Frame* frame, bytes payload) except -1:
        """DATA of a stream: a whole message, or a piece of one."""
        cdef uint64_t size = frame.total if frame.flags & MORE else <uint64_t>frame.payload_size
        if frame.flags & CONT:
            if call.incoming is None:
                return self.violate(REASON_PROTOCOL, f"a piece for call {frame.id} continues no message")
            call.window.left -= frame.length
            call.incoming.head.payload_size += frame.length
        else:
            if call.incoming is not None:
                return self.violate(REASON_PROTOCOL, f"a second message on call {frame.id} while one is open")
            call.window.left -= HEADER_SIZE + <Py_ssize_t>frame.length
        if call.window.left < 0:
            return self.violate(REASON_CREDIT, f"DATA of call {frame.id} exceeds its stream window")
        if frame.flags & CONT:
            return self._piece(call, frame, payload)
        if size > self.ours.max_message:
            return self.end_locally(
                call,
                RESOURCE_EXHAUSTED,
                f"a stream message has {size} bytes, {self.ours.max_message} are allowed (Limits.message_bytes)",
                CANCEL_LOCAL_LIMIT,
            )
        if frame.flags & MORE:
            self._keep_first_piece(call, frame, payload)
            # From here on this field sums up what the message took from the window.
            call.incoming.head.payload_size = HEADER_SIZE + <Py_ssize_t>frame.length
            return self.reserve_for(call, <Py_ssize_t>frame.total - frame.payload_size)
        if payload is None:
            payload = PyBytes_FromStringAndSize(frame.payload, frame.payload_size)
        call.messages_waiting += 1
        return self.on_message(call, payload, HEADER_SIZE + <Py_ssize_t>frame.length)

    cdef int reserve_for(self, Call call, Py_ssize_t missing) except -1:
        """Grant what a large stream message lacks, out of the stream pool, when its reader has nothing else to read."""
        cdef Py_ssize_t total = (<Assembly>call.incoming.assembly).total
        if missing <= call.window.left or call.messages_waiting or call.reserved or total > self.stream_pool_left:
            return 0
        self.stream_pool_left -= total
        call.reserved = total
        call.granted = missing - call.window.left
        call.window.left += call.granted
        return self.send_credit(call.id, <uint32_t>call.granted)

    cdef int message_taken(self, Call call, Py_ssize_t cost) except -1:
        """The application took a message: its window credit goes back, less what was granted beyond the window."""
        cdef int64_t credit
        call.messages_waiting -= 1
        if call.reserved:
            self.stream_pool_left += call.reserved
            call.reserved = 0
        if call.granted:
            cost = max(<Py_ssize_t>0, cost - <Py_ssize_t>call.granted)
            call.granted = 0
        credit = placed(&call.window, cost)
        if call.state in (STATE_GONE, STATE_CANCELLED, STATE_GIVEN_UP, STATE_INPUT_ENDED) and not call.is_local:
            credit = 0
        if credit and call.state != STATE_GONE and call.state != STATE_GIVEN_UP:
            self.send_credit(call.id, <uint32_t>credit)
        if call.incoming is not None and call.incoming.head.kind == DATA and not call.messages_waiting:
            self.reserve_for(call, (<Assembly>call.incoming.assembly).total - (<Assembly>call.incoming.assembly).filled)
        return 0

    # Calls of ours

    cdef int _head(self, Frame* frame) except -1:
        cdef Call call = self.find_opened(frame.id)
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
        if frame.metadata_size > <Py_ssize_t>self.ours.max_metadata:
            return METADATA_TOO_LARGE
        return check_metadata(frame.metadata, frame.metadata_size, self.ours.max_metadata)

    cdef str _metadata_text(self):
        return f"the metadata of the answer is over our {self.ours.max_metadata} bytes (Limits.metadata_bytes)"

    cdef int _response(self, Frame* frame, bytes payload) except -1:
        cdef Call call = self.find_opened(frame.id)
        cdef bint more = frame.flags & MORE
        if call is None:
            return self.violate(REASON_PROTOCOL, f"RESPONSE to call {frame.id}, which is over or was never opened")
        if call.state == STATE_GIVEN_UP:
            if call.answer_begun and (more or frame.status == 0):
                return self.violate(REASON_PROTOCOL, f"a second RESPONSE to call {frame.id}")
            if not more:
                return self.forget_opened(call)
            call.answer_begun = True
            return 0
        if call.state == STATE_ANSWERING:
            if more or frame.status == 0:
                return self.violate(REASON_PROTOCOL, f"a second RESPONSE to call {frame.id}")
            self.open_responses -= 1
            call.incoming = None
        elif call.incoming is not None:
            if frame.status == 0:
                return self.violate(REASON_PROTOCOL, f"RESPONSE OK to call {frame.id} inside a message")
            call.incoming = None
        if more:
            return self._begin_response(call, frame, payload)
        if frame.metadata_size:
            call.received_metadata = PyBytes_FromStringAndSize(frame.metadata, frame.metadata_size)
        return self._finish_response(call, frame, payload)

    cdef int _begin_response(self, Call call, Frame* frame, bytes payload) except -1:
        """The first piece of a cut RESPONSE."""
        cdef int verdict = self._check_received(frame) if frame.metadata_size else METADATA_OK
        call.answer_begun = True
        if verdict == METADATA_TOO_LARGE:
            return self.end_locally(call, RESOURCE_EXHAUSTED, self._metadata_text(), CANCEL_LOCAL_LIMIT)
        if verdict != METADATA_OK:
            return self.end_locally(call, INTERNAL, "the metadata of the answer is malformed", CANCEL_DECODE)
        if frame.total > self.ours.max_message:
            return self.end_locally(call, RESOURCE_EXHAUSTED, self._answer_text(frame.total), CANCEL_LOCAL_LIMIT)
        if self.open_responses >= self.open_messages:
            return self.violate(
                REASON_PROTOCOL, f"{self.open_responses + 1} unfinished answers, {self.open_messages} are allowed"
            )
        self.open_responses += 1
        self._keep_first_piece(call, frame, payload)
        call.incoming.text = PyBytes_FromStringAndSize(frame.text, frame.text_size)
        call.incoming.head.text = PyBytes_AS_STRING(call.incoming.text)
        call.state = STATE_ANSWERING
        return 0

    cdef str _answer_text(self, uint64_t size):
        return f"the answer has {size} bytes, this client takes {self.ours.max_message} (Limits.message_bytes)"

    cdef int _finish_response(self, Call call, Frame* frame, bytes payload) except -1:
        """A RESPONSE is whole: the call is over."""
        cdef int verdict = METADATA_OK
        self.drop_unsent(call)
        self.forget_opened(call)
        if frame.metadata_size:
            verdict = self._check_received(frame)
        if verdict != METADATA_OK:
            call.received_metadata = None
            if verdict == METADATA_TOO_LARGE:
                return self.on_local_end(call, RESOURCE_EXHAUSTED, self._metadata_text())
            return self.on_local_end(call, INTERNAL, "the metadata of the answer is malformed")
        if <uint64_t>frame.payload_size > self.ours.max_message and payload is None:
            return self.on_local_end(call, RESOURCE_EXHAUSTED, self._answer_text(frame.payload_size))
        if payload is None:
            payload = PyBytes_FromStringAndSize(frame.payload, frame.payload_size)
        return self.on_response(call, frame, payload)

    cdef int end_locally(self, Call call, int status, str text, int reason) except -1:
        """End a call because of what the peer sent on it: the caller cancels, the callee answers."""
        cdef Outgoing failure
        if call.is_local:
            if call.state == STATE_ANSWERING:
                self.open_responses -= 1
            call.incoming = None
            self.give_up(call, reason)
            return self.on_local_end(call, status, text)
        self.on_local_end(call, status, text)
        failure = Outgoing.__new__(Outgoing)
        failure.status = status
        failure.outcome = OUTCOME_RAN
        failure.text = text.encode()
        failure.payload = b""
        return self.send_failure(call, failure)

    cdef int _credit(self, Frame* frame) except -1:
        cdef uint32_t size = load32(frame.payload)
        cdef Call call = None
        if self.credits_received >= 100 + 10 * self.data_frames_sent:
            return self.violate(REASON_CALM_DOWN, "too many CREDIT frames for what was sent")
        self.credits_received += 1
        if size == 0:
            return self.violate(REASON_CREDIT, f"CREDIT of 0 for call {frame.id}")
        if frame.id:
            if (frame.id & 1) == <uint64_t>self.wire.peer_parity:
                call = self.find_accepted(frame.id)
                if call is None and frame.id > self.highest_id:
                    return self.violate(REASON_PROTOCOL, f"CREDIT for call {frame.id}, which was never opened")
                if call is None or call.state == STATE_CANCELLED:
                    return self._discard(frame)
            else:
                call = self.find_opened(frame.id)
                if call is None:
                    return self.violate(REASON_PROTOCOL, f"CREDIT for call {frame.id}, which is over or was never opened")
                if call.state == STATE_ANSWERING or call.state == STATE_GIVEN_UP:
                    return 0
        if self.raise_credit(call, size):
            return self.violate(REASON_CREDIT, f"credit of call {frame.id} is raised above its bound")
        return 0

    cdef int forget_opened(self, Call call) except -1:
        """The RESPONSE to a call of ours came: its slot is free."""
        cdef PyObject* entry = self.opened.take(call.id)
        if entry is not NULL:
            Py_DECREF(<object>entry)
        call.state = STATE_GONE
        call.incoming = None
        if self.slot_waiters:
            self.release_slots()
        return 0

    # Hooks

    cdef Call new_call(self):
        """Make the object of a call of theirs."""
        return Call.__new__(Call)

    cdef int on_request(self, Call call, Frame* frame, bytes payload) except -1:
        """A REQUEST is whole; `frame` has its head. Who does not answer at once calls `hold`."""
        return self.hold(call)

    cdef int on_message(self, Call call, bytes payload, Py_ssize_t cost) except -1:
        """A stream message is whole; call `message_taken(call, cost)` when the application has it."""
        return 0

    cdef int on_piece(self, Call call) except -1:
        """A piece came that did not complete its message."""
        return 0

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

    cdef int on_local_end(self, Call call, int status, str text) except -1:
        """What the peer sent on this call cannot be used; the call ends with this status."""
        return 0

    cdef int on_control(self, Frame* frame) except -1:
        """A frame of the connection itself, or of an unknown kind."""
        return 0
