"""The caller's half of the state tables of PROTOCOL.md, "Calls": the effect of frames on our calls.

::

    RESPONSE, HEAD, DATA ──► the call by its id ──► the assembler, on_response, on_head
    give_up ──► CANCEL ──► its RESPONSE is dropped and frees its slot
"""

from cpython.bytes cimport PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, PyObject

from fastrpc._core.base.buffer cimport copied
from fastrpc._core.base.status cimport INTERNAL, RESOURCE_EXHAUSTED
from fastrpc._core.calls.call cimport STATE_ANSWERING, STATE_GIVEN_UP, STATE_GONE, STATE_STREAMING, STATE_WAITING
from fastrpc._core.native.call_parts cimport NativeCalling
from fastrpc._core.native.parts_owner cimport PartsOwner
from fastrpc._core.payload.metadata cimport METADATA_OK, METADATA_TOO_LARGE, check_metadata
from fastrpc._core.wire.frame cimport CANCEL_DECODE, CANCEL_LOCAL_LIMIT, CONT, MORE, REASON_PROTOCOL, STREAM_OUT


cdef class CallerStates:
    """Our calls on a connection."""

    def __cinit__(self, PartsOwner owner not None, FrameReader reader, MessageAssembler assembler, CallSlots slots):
        self.reader = reader
        self.assembler = assembler
        self.slots = slots

    cdef int response(self, Frame* frame, bytes payload) except -1:
        cdef PartsOwner owner = <PartsOwner>self.owner
        cdef Call call = self.slots.find(frame.id)
        cdef bint more = (frame.flags & MORE) != 0
        if call is None:
            return owner.close_with(REASON_PROTOCOL, f"RESPONSE to call {frame.id}, which is over or was never opened")
        if call.answer_begun and (more or frame.status == 0):
            return owner.close_with(REASON_PROTOCOL, f"a second RESPONSE to call {frame.id}")
        if call.state == STATE_GIVEN_UP:
            call.answer_begun = True
            if more:
                return 0
            if call.is_untold:
                self.slots.note_answer(frame)
            return self.forget(call)
        if call.incoming is not None:
            if frame.status == 0:
                return owner.close_with(REASON_PROTOCOL, f"RESPONSE OK to call {frame.id} inside a message")
            self.assembler.drop_incoming(call)
        if more:
            return self._begin_response(call, frame)
        if frame.metadata_size:
            call.received_metadata = PyBytes_FromStringAndSize(frame.metadata, frame.metadata_size)
        return self.whole_response(call, frame, payload)

    cdef int _begin_response(self, Call call, Frame* frame) except -1:
        """Handle the first piece of a cut RESPONSE."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        cdef int status = 0
        cdef str problem = self._metadata_problem(frame, &status)
        call.answer_begun = True
        if problem is not None:
            return self.end_called(call, status, problem, CANCEL_DECODE if status == INTERNAL else CANCEL_LOCAL_LIMIT)
        if frame.total > owner.ours.max_message or self.reader.was_skipped:
            return self.end_called(call, RESOURCE_EXHAUSTED, self._answer_text(frame.total), CANCEL_LOCAL_LIMIT)
        if self.open_responses >= owner.open_messages:
            return owner.close_with(
                REASON_PROTOCOL, f"{self.open_responses + 1} unfinished answers, {owner.open_messages} are allowed"
            )
        self.open_responses += 1
        self.assembler.keep_first_piece(call, frame)
        call.state = STATE_ANSWERING
        return 0

    cdef str _answer_text(self, uint64_t size):
        cdef uint64_t limit = (<PartsOwner>self.owner).ours.max_message
        if self.reader.dropped is not None:
            return self.reader.dropped
        return f"the answer has {size} bytes, this client takes {limit} (Limits.message_bytes)"

    cdef int whole_response(self, Call call, Frame* frame, bytes payload) except -1:
        """Handle a complete RESPONSE, which ends the call."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        cdef int status = 0
        cdef str problem = None
        cdef uint64_t size = frame.payload_size if payload is None else PyBytes_GET_SIZE(payload)
        self.forget(call)
        self.slots.note_answer(frame)
        if frame.metadata_size:
            problem = self._metadata_problem(frame, &status)
        if problem is not None:
            call.received_metadata = None
        elif size > owner.ours.max_message or self.reader.was_skipped:
            status, problem = RESOURCE_EXHAUSTED, self._answer_text(size)
        if problem is not None:
            return (<NativeCalling>owner.calling).on_local_end(call, status, problem)
        if payload is None:
            payload = copied(frame.payload, frame.payload_size)
        return (<NativeCalling>owner.calling).on_response(call, frame, payload)

    cdef int head(self, Frame* frame) except -1:
        cdef PartsOwner owner = <PartsOwner>self.owner
        cdef Call call = self.slots.find(frame.id)
        cdef int status = 0
        cdef str problem
        if call is None:
            return owner.close_with(REASON_PROTOCOL, f"HEAD for call {frame.id}, which is over or was never opened")
        if call.state == STATE_GIVEN_UP:
            return 0 if call.is_untold else owner.discard(frame)
        if call.state != STATE_WAITING or not call.flags & STREAM_OUT:
            return owner.close_with(REASON_PROTOCOL, f"HEAD for call {frame.id}, which expects none now")
        problem = self._metadata_problem(frame, &status)
        if problem is not None:
            return self.end_called(call, status, problem, CANCEL_DECODE if status == INTERNAL else CANCEL_LOCAL_LIMIT)
        call.state = STATE_STREAMING
        metadata = PyBytes_FromStringAndSize(frame.metadata, frame.metadata_size)
        return (<NativeCalling>owner.calling).on_head(call, metadata)

    cdef str _metadata_problem(self, Frame* frame, int* status):
        """Return why the metadata of an answer is rejected, and set the status of its call; None if it is accepted."""
        cdef uint64_t limit = (<PartsOwner>self.owner).ours.max_metadata
        cdef int verdict = check_metadata(frame.metadata, frame.metadata_size, limit)
        if verdict == METADATA_OK:
            return None
        if verdict == METADATA_TOO_LARGE:
            status[0] = RESOURCE_EXHAUSTED
            return f"the metadata of the answer is over our {limit} bytes (Limits.metadata_bytes)"
        status[0] = INTERNAL
        return "the metadata of the answer is malformed"

    cdef int data(self, Call call, Frame* frame, bytes payload) except -1:
        if call.state == STATE_GIVEN_UP:
            return self._given_up_data(call, frame)
        if call.state == STATE_ANSWERING:
            if frame.flags & CONT:
                return self.assembler.piece(call, frame)
        elif call.flags & STREAM_OUT:
            call.state = STATE_STREAMING
            return self.assembler.stream_message(call, frame, payload)
        return (<PartsOwner>self.owner).close_with(REASON_PROTOCOL, f"DATA for call {frame.id}, which expects none now")

    cdef int _given_up_data(self, Call call, Frame* frame) except -1:
        """Handle DATA for a call that we have given up. The last piece of its RESPONSE frees the slot."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        if not call.is_untold:
            owner.discard(frame)
        if call.answer_begun and frame.flags & CONT and not frame.flags & MORE and not owner.is_closed:
            return self.forget(call)
        return 0

    cdef int forget(self, Call call) except -1:
        """Note the end of a call of ours: free its slot, and drop its unsent messages."""
        cdef PyObject* entry = self.slots.opened.take(call.id)
        if entry is not NULL:
            Py_DECREF(<object>entry)
        if call.state == STATE_ANSWERING:
            self.open_responses -= 1
        call.state = STATE_GONE
        if call.is_untold:
            self.slots.untold.pop(call)
            call.is_untold = False
        if call.unsent is not None:
            self.slots.sender.drop_unsent(call)
        if call.incoming is not None or call.window is not None:
            self.assembler.end_window(call)
        self.slots.return_slot(call)
        return (<PartsOwner>self.owner).side.on_forgotten(call)

    cdef int end_called(self, Call call, int status, str text, int reason) except -1:
        self.give_up(call, reason)
        return (<NativeCalling>(<PartsOwner>self.owner).calling).on_local_end(call, status, text)

    cdef int begin_call(self, Call call) except -1:
        return self.slots.begin_call(call)

    cdef int was_unsent(self, Call call) except -1:
        return self.slots.was_unsent(call)

    cdef int give_up(self, Call call, int reason) except -1:
        if call.id and call.state != STATE_GONE and call.state != STATE_GIVEN_UP:
            if call.state == STATE_ANSWERING:
                self.open_responses -= 1
            self.assembler.end_window(call)
        return self.slots.give_up(call, reason)
