"""Calls whose request, or a message of whose stream, is incomplete: their senders, memory, windows and time limits.

A request that does not end with its first DATA is listed until it is complete. Its sender is checked before more of it
is kept, its bytes are counted, and they must arrive at a minimum rate. A call leaves the list when its request or message
is complete, or when its answer has ended: the caller may still send then, but the received part is useless.

The rest of a message longer than its window is granted as soon as memory allows. In a stream, a message that would fit
into the window waits until the handler has read earlier messages; a longer one waits for room in the pool of long
messages. Unread messages may fill the whole pool. Beyond it, one message for which a handler waits may arrive at a time.
"""

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE
from libc.stdint cimport int64_t

from fastrpc._core.base.instants cimport earlier
from fastrpc._core.base.status cimport DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport NO_DEADLINE
from fastrpc._core.grpc.fields cimport PREFIX_BYTES, MessageReader
from fastrpc._core.grpc.grpc_call cimport let_in
from fastrpc._core.http2.stream_table cimport FlowControl
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.server.connection_life cimport ConnectionLife
from fastrpc._core.server.engine_served_connection cimport SENDER_ADMITTED, SENDER_REFUSED, SenderCheck
from fastrpc._core.server.link cimport Link
from fastrpc._core.server.served_connection cimport process_held
from fastrpc._core.server.served_stream cimport ServedStream

from fastrpc._core.base.histogram import count_refusal

cdef enum:
    # The interval of retries for messages that wait for memory.
    MEMORY_LOOK_NS = 1_000_000_000


@cython.final
cdef class IncompleteRequests:
    """The incomplete requests and messages of one connection."""

    cdef int note(self, GrpcCall call) except -1:
        call.heard_ns = self.http2.instant()
        if not call.is_incomplete:
            call.began_ns = call.heard_ns
            call.is_incomplete = True
            self.calls.add(call)
            if not call.has_started and self.gate.await_rest(call) and _sender_of(self, call) == SENDER_REFUSED:
                return 0
        return self.grant_rest(call.http2_stream, False) if self.has_room(call) and call.sender_check is None else 0

    cdef int remove(self, GrpcCall call) except -1:
        if not call.is_incomplete:
            return 0
        call.is_incomplete = False
        self.calls.discard(call)
        if call.counted:
            # Only the received part is subtracted here; the complete message is counted separately.
            self.gate.memory.count_part(call.connection, call.connection.part_held - call.counted, False)
            call.counted = 0
        if call.charge and not call.has_started and call.http2_stream is None:
            self.gate.memory.charge(call, 0)
        return 0

    cdef int drop(self, GrpcCall call) except -1:
        self.drop_check(call)
        call.reader = None
        call.message = None
        if call.web is not None:
            call.web.drop_body()
        self.remove(call)
        return 0 if call.has_started else self.gate.memory.charge(call, 0)

    # The sender

    cdef int drop_check(self, GrpcCall call) noexcept:
        if call.sender_check is not None:
            call.sender_check.drop()
            call.sender_check = None
        return 0

    # Memory and windows

    cdef bint has_room(self, GrpcCall call) except -1:
        cdef MessageReader reader = call.reader
        cdef Py_ssize_t size = 0, whole = 0
        cdef str problem
        if reader is not None and reader.is_inside():
            whole = reader.total
            size = 0 if reader.assembly is None else reader.assembly.filled
        if call.has_started:
            problem = self.gate.memory.count_part(self.connection, self.connection.part_held + size - call.counted, False)
            call.counted = size
            if problem is not None:
                count_refusal("memory")
                self.end_instead(call, RESOURCE_EXHAUSTED, problem)
            return problem is None
        if call.message is not None:
            size += PyBytes_GET_SIZE(call.message)
        if call.web is not None:
            size += <Py_ssize_t>call.web.held
        # At the first piece, the budget must have room for the whole request; later, for the bytes received since then.
        problem = self.gate.admission.over_budget(
            call, size - call.charge if call.charge else max(size, whole), call.charge == 0
        )
        if problem is not None:
            count_refusal("memory")
            self.drop_check(call)
            self.gate.refusals.refuse(call, RESOURCE_EXHAUSTED, problem)
            return False
        self.gate.memory.charge(call, max(size, <Py_ssize_t>1))
        return True

    cdef int grant_rest(self, Http2Stream stream, bint is_awaited) except -1:
        cdef GrpcCall call = None if stream is None else <GrpcCall>stream.user
        cdef int64_t size
        if call is None or call.reader is None or not call.reader.is_inside():
            return 0
        size = call.reader.missing() - self.http2.incoming.to_come(stream)
        if size <= 0 or call.has_started and not _may_come(self, call, size, is_awaited):
            return 0
        return self.http2.grant(stream, size)

    cdef int reader_left(self, GrpcCall call) except -1:
        if call.http2_stream is not self.unpooled:
            return 0
        self.unpooled = None
        return 0 if self.http2.incoming.flow.waiting is None else self.http2.grant_waiting()

    # Their end

    cdef int end_instead(self, GrpcCall call, int status, str text) except -1:
        self.gate.note_answered(call, status, text)
        call.groups.flow.end_early(call)
        self.connection.tell_failure(call, Failure(status, text))
        return self.http2.note_idle_work()

    cdef int end(self, str text) except -1:
        cdef GrpcCall call
        for call in list(self.calls):
            if call.is_incomplete and not call.has_started:
                self.gate.refusals.refuse(call, UNAVAILABLE, text)
        return 0

    cdef int forget_all(self) except -1:
        cdef GrpcCall call
        while self.calls:
            call = self.calls.pop()
            call.http2_stream = None
            self.drop_check(call)
            if call.charge and not call.has_started:
                self.gate.memory.charge(call, 0)
        return self.gate.memory.end_part(self.connection, True)

    # Time

    cdef uint64_t check(self, uint64_t now) except? 0:
        cdef GrpcCall call
        cdef SenderCheck sender_check
        cdef uint64_t due = 0, late_ns
        if not self.calls:
            return 0
        if self.http2.incoming.flow.waiting is not None and not self.http2.is_closed:
            # Retry the waiting messages, as memory may be free now.
            self.http2.grant_waiting()
        for call in list(self.calls):
            if self.http2.is_closed or not call.is_incomplete:
                continue
            # A reference, as a refusal drops the check.
            sender_check = call.sender_check
            if sender_check is not None:
                due = earlier(due, sender_check.check(now))
                continue
            late_ns = _late_at(self, call)
            if not call.has_started and now >= call.deadline_ns:
                self.connection.now = now
                self.gate.refuse_rest(call)
            elif late_ns and now >= late_ns:
                self.connection.now = now
                _end_late(self, call)
            else:
                due = earlier(due, late_ns)
                if not call.has_started and call.deadline_ns != NO_DEADLINE:
                    due = earlier(due, call.deadline_ns)
        return due


cdef int _sender_of(IncompleteRequests incomplete, GrpcCall call) except -1:
    """Judge the sender of an incomplete request: return whether it may call the method, is refused, or waits."""
    # Held, as a refusal drops the check.
    cdef SenderCheck check = SenderCheck.__new__(SenderCheck)
    cdef int verdict
    call.sender_check = check
    verdict = check.judge(call, call.method)
    if verdict == SENDER_ADMITTED:
        call.sender_check = None
        let_in(incomplete.http2, call)
    return verdict


cdef bint _may_come(IncompleteRequests incomplete, GrpcCall call, int64_t size, bint is_awaited) except -1:
    """Return whether `size` bytes of a message may arrive now beyond its window; they are borrowed from the pool."""
    cdef FlowControl flow = incomplete.http2.incoming.flow
    cdef Http2Stream stream = call.http2_stream
    cdef bint has_memory, is_next
    # The handler may have taken earlier messages before any part of this one arrived; their credit may be too little to
    # be sent.
    is_awaited = is_awaited or call.stream is not None and (<ServedStream>call.stream).awaits_message()
    is_next = is_awaited or call.stream is not None and (<ServedStream>call.stream).waiting == 0
    if not is_next and call.reader.total + PREFIX_BYTES <= flow.first_receiving + stream.windows.growth.grown:
        return False
    # Includes the bytes that may already arrive beyond the pool.
    has_memory = process_held + size - min(<int64_t>0, flow.pool.left) <= incomplete.gate.memory.lend_below
    if flow.granted and not (has_memory and flow.has_room(stream, size, False)):
        if not (has_memory and is_awaited) or holds_grant(incomplete.unpooled):
            if not has_memory and incomplete.http2.stream_below() is not NULL:
                # Other connections may hold the memory, and this connection is not notified when they free it.
                (<ByteStream>incomplete.http2.stream_below()).schedule_check(now_ns() + MEMORY_LOOK_NS)
            flow.await_room(stream, False)
            return False
        incomplete.unpooled = stream
    flow.borrow(stream, size)
    return True


cdef uint64_t _late_at(IncompleteRequests incomplete, GrpcCall call) except? 0:
    """Return the instant at which a caller is late with the rest of a request or message; 0: we delay it."""
    cdef Http2Connection http2 = incomplete.http2
    cdef ConnectionLife life = (<Link>http2.engine()).life
    cdef int64_t received = call.counted if call.has_started else call.charge
    if life.patience_ns == 0 or life.is_held_back or http2.stream_below() is NULL:
        return 0
    if (<ByteStream>http2.stream_below()).waits_for_turn() or (
        http2.incoming.flow.receivable(&call.http2_stream.windows) <= 0
    ):
        # The bytes have arrived, or the window is used up: then we delay the message.
        call.heard_ns = http2.instant()
        return 0
    return life.message_due(
        max(call.began_ns, life.resumed_ns),
        max(call.heard_ns, life.resumed_ns),
        received,
        life.patience_ns,
    )


cdef int _end_late(IncompleteRequests incomplete, GrpcCall call) except -1:
    cdef str text = "the rest of a message did not come in time"
    if call.has_started:
        return incomplete.end_instead(call, DEADLINE_EXCEEDED, text)
    return incomplete.gate.refusals.refuse(call, DEADLINE_EXCEEDED, f"{call.method}: {text}")


cdef bint holds_grant(Http2Stream stream) noexcept:
    """Return whether a message of the stream was granted bytes of the pool and is not read yet."""
    return stream is not None and stream.is_known and stream.windows.granted != 0


cdef IncompleteRequests new_incomplete(Http2Connection http2, Gate gate):
    cdef IncompleteRequests made = IncompleteRequests.__new__(IncompleteRequests)
    made.gate, made.http2 = gate, http2
    made.calls = set()
    return made
