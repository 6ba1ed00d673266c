"""From the frames of requests to calls, and from the outcomes of those to frames: what `RpcxServer` knows of each."""

import logging

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy

from fastrpc._core.base.codec_numbers cimport FOREIGN_CODECS, codec_of
from fastrpc._core.base.status cimport INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNAUTHENTICATED
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport STATE_ANSWERING, Call
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.payload.metadata cimport METADATA_TOO_LARGE, check_metadata, note_dropped
from fastrpc._core.rpcx.frames cimport HEADER_BYTES, IS_ONE_WAY, LENGTH_BYTES
from fastrpc._core.rpcx.native_forms cimport Reserved, find_reserved, native_entries
from fastrpc._core.server.served_connection cimport HOLD_DRAIN, ServedConnection
from fastrpc._core.wire.frame cimport ONE_WAY, PUSHBACK_NEVER, TIMEOUT_NONE
from fastrpc._core.wire.settings cimport FIRST_OWN_NUMBER

logger = logging.getLogger("fastrpc.server")

# The longest time that is not none, as in the native protocol.
cdef uint64_t MOST_MILLISECONDS = 1_000_000_000_000


cdef class RpcxRequests(RpcxEngine):
    """Makes calls of the frames of one connection; `RpcxServer` hands them to the gate."""

    # RpcxServer implements these

    cdef int send_answer(self, ServerCall call, bytes payload) except -1:
        """Send the answer to a call."""
        return 0

    cdef int send_failure(self, ServerCall call, Failure failure) except -1:
        """Send the failure of a call."""
        return 0

    cdef int refused_token(self) except -1:
        """A call was refused as unauthenticated."""
        return 0

    cdef int after_call(self, bint was_let_in) except -1:
        """A call has ended."""
        return 0

    cdef int sender_known(self, int verdict) except -1:
        """The verdict about the sender of a long frame is there."""
        return 0

    # From the frame to the call

    cdef ServerCall call_of(self, RpcxFrame* frame, int compressor):
        """Make the call of a request; its metadata follows."""
        cdef ServedConnection connection = self.connection
        cdef ServerCall call = ServerCall.__new__(ServerCall)
        cdef Py_ssize_t size = self.find_name(frame)
        call.connection = connection
        call.id = frame.sequence
        call.flags = ONE_WAY if frame.flags & IS_ONE_WAY else 0
        call.codec = codec_of(frame.kinds >> 4)
        call.compressor = <uint8_t>compressor
        call.head = PyBytes_FromStringAndSize(
            frame.data, HEADER_BYTES + (2 * LENGTH_BYTES + frame.path_size + frame.method_size if size else 0)
        )
        if size == 0:
            call.head += bytes(2 * LENGTH_BYTES)
        # A peer that states none has no deadline: the server's default is for protocols in which every caller can state one.
        call.stated_timeout_us = TIMEOUT_NONE
        call.started_ns = self.life.used_ns = self.came_ns or self.now
        connection.now = self.now
        connection.received_ns = self.received_ns
        connection.is_reading = self.is_reading
        return call

    cdef Py_ssize_t find_name(self, RpcxFrame* frame) noexcept:
        """Join path and method; return the size of the name, 0: no method has it."""
        cdef Py_ssize_t size = frame.path_size + 1 + frame.method_size
        if size > LONGEST_NAME or memchr(frame.method, c".", frame.method_size) is not NULL:
            # The last dot of a name ends that of its service.
            return 0
        memcpy(self.name, frame.path, frame.path_size)
        self.name[frame.path_size] = c"."
        memcpy(self.name + frame.path_size + 1, frame.method, frame.method_size)
        return size

    cdef bint takes_metadata(self, ServerCall call, RpcxFrame* frame, bint is_whole) except -1:
        """Take the metadata of a request, which is looked at again once it is whole; False: it was refused for it."""
        cdef Reserved found
        cdef Py_ssize_t size = self.find_name(frame)
        cdef bytes entries
        cdef list dropped = []
        text = f"the metadata of the call is over the limit of {self.gate.metadata_bytes} bytes (Limits.metadata_bytes)"
        if <uint64_t>frame.metadata_size > self.gate.metadata_bytes:
            self.refuse(call, size, RESOURCE_EXHAUSTED, text)
            return False
        find_reserved(frame.metadata, frame.metadata_size, self.profile.states_deadlines, &found)
        self.take_timeout(call, &found)
        if found.others == 0 and found.token is NULL:
            return True
        try:
            entries = native_entries(frame.metadata, frame.metadata_size, self.profile.states_deadlines, dropped)
        except ValueError as error:
            self.refuse(call, size, INVALID_ARGUMENT, str(error))
            return False
        if dropped and is_whole:
            note_dropped(dropped, self.profile.name, logger, self.gate.dispatcher.has_told_dropped)
            self.gate.dispatcher.has_told_dropped = True
        if check_metadata(
            PyBytes_AS_STRING(entries), PyBytes_GET_SIZE(entries), self.gate.metadata_bytes
        ) == METADATA_TOO_LARGE:
            self.refuse(call, size, RESOURCE_EXHAUSTED, text)
            return False
        call.received_metadata = entries
        return True

    cdef int take_timeout(self, ServerCall call, Reserved* found) except -1:
        """Take the timeout that a caller states, if it does."""
        if found.has_timeout:
            if found.timeout_ms <= 0:
                call.deadline_ns = call.started_ns
            call.stated_timeout_us = max(found.timeout_ms, 1) * 1000
            if <uint64_t>call.stated_timeout_us > MOST_MILLISECONDS * 1000:
                call.stated_timeout_us = TIMEOUT_NONE
        return 0

    cdef int refuse(self, ServerCall call, Py_ssize_t name_size, int status, str text) except -1:
        """Refuse a call for a limit of its connection, before the gate has seen it."""
        call.route = self.gate.routes.find(self.name, name_size)
        return self.gate.refuse(call, status, text, True)

    def go_on(self):
        """Take the frames that waited for a verdict."""
        if self._stream is not NULL and not self.is_closed:
            # The verdict took the time, not the peer.
            self.life.resumed_ns = now_ns()
            (<ByteStream>self._stream).release_input()


@cython.final
cdef class RpcxServedConnection(EngineServedConnection):
    """The served calls of one connection that speaks rpcx."""

    cdef int do_answer(self, Call call, bytes payload) except -1:
        cdef RpcxRequests engine
        if self._engine is NULL or self.is_closed:
            return 0
        # Held: the answer may be the last thing that keeps it.
        engine = <RpcxRequests>self._engine
        engine.send_answer(<ServerCall>call, payload)
        return self.flush_early(engine)

    cdef int do_fail(self, Call call, Failure failure) except -1:
        if self._engine is NULL or self.is_closed:
            return 0
        (<RpcxRequests>self._engine).send_failure(<ServerCall>call, failure)
        return (<RpcxRequests>self._engine).after_call(True)

    cdef bint is_unanswered(self, Call call) except -1:
        return call.state != STATE_ANSWERING

    cdef int do_refuse(self, Call call, int status, str text, bint is_faulty) except -1:
        cdef RpcxRequests engine
        cdef uint32_t pushback_ms = (<ServerCall>call).pushback_ms
        if self._engine is NULL or self.is_closed:
            return 0
        engine = <RpcxRequests>self._engine
        if is_faulty and status == RESOURCE_EXHAUSTED:
            # A pushback would tell the caller that the same call could succeed a little later.
            pushback_ms = PUSHBACK_NEVER
        if not call.flags & ONE_WAY:
            engine.send_failure(<ServerCall>call, Failure(status, text, pushback_ms=pushback_ms, has_run=False))
        if status == UNAUTHENTICATED:
            engine.refused_token()
        return engine.after_call((<ServerCall>call).identity is not None)

    cdef int do_hold(self, Call call) except -1:
        # Nothing can cancel a single call.
        return 0

    cdef int do_release(self, Call call) except -1:
        return 0 if self._engine is NULL or self.is_closed else (<RpcxRequests>self._engine).after_call(True)

    cdef int await_sender(self, ServerCall call, uint64_t due_ns) except -1:
        cdef ByteStream stream = <ByteStream>(<RpcxRequests>self._engine)._stream
        stream.hold_input()
        return stream.schedule_check(due_ns) if due_ns else 0

    cdef int sender_known(self, ServerCall call, int verdict) except -1:
        return 0 if self._engine is NULL else (<RpcxRequests>self._engine).sender_known(verdict)

    cdef int taken_compressor(self, Call call, int number, object compressor) except -1:
        if self._engine is NULL or not (<RpcxRequests>self._engine).profile.compresses:
            return 0
        return number

    def unknown_method(self, call, str method not None, services):
        """Return the error text of servers in Go."""
        return unknown_method_in_go(self.protocol, method, services)

    def unknown_codec(self, ServerCall call not None):
        """Return the error text of servers in Go."""
        return unknown_codec_in_go(call.codec)

    def note_drain(self):
        """Tell handlers that the connection drains. It takes further calls: no word of rpcx says which are too late."""
        EngineServedConnection.note_drain(self)
        self.holding &= ~HOLD_DRAIN


cdef str unknown_method_in_go(str protocol, str method, object services):
    service, _, name = method.rpartition(".")
    if services is not None and service not in services:
        return f"{protocol}: can't find service {service}"
    return f"{protocol}: can't find method {name}"


cdef str unknown_codec_in_go(int codec):
    # Bytes and messages are the payload in every protocol.
    return f"can not find codec for {codec - FOREIGN_CODECS}" if FOREIGN_CODECS <= codec < FIRST_OWN_NUMBER else None
