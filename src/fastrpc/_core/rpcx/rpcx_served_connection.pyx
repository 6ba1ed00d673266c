"""The served calls of one connection: from their outcomes to frames."""

cimport cython
from libc.stdint cimport uint32_t, uint64_t

from fastrpc._core.base.codec_numbers cimport FOREIGN_CODECS
from fastrpc._core.base.status cimport RESOURCE_EXHAUSTED, UNAUTHENTICATED
from fastrpc._core.calls.call cimport Call
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.rpcx.requests cimport RpcxRequests
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.server.served_connection cimport HOLD_DRAIN, Failure
from fastrpc._core.wire.frame cimport ONE_WAY, PUSHBACK_NEVER
from fastrpc._core.wire.settings cimport FIRST_OWN_NUMBER


@cython.final
cdef class RpcxServedConnection(EngineServedConnection):
    """The served calls of one connection that speaks rpcx."""

    cdef int do_answer(self, Call call, bytes payload) except -1:
        if self._engine is NULL or self.is_closed:
            return 0
        return (<RpcxRequests>self._engine).send_answer(<ServerCall>call, payload)

    cdef int do_fail(self, Call call, Failure failure) except -1:
        if self._engine is NULL or self.is_closed:
            return 0
        (<RpcxRequests>self._engine).send_failure(<ServerCall>call, failure)
        return (<RpcxRequests>self._engine).after_call(True)

    cdef int do_refuse(self, Call call, int status, str text, bint is_faulty) except -1:
        cdef RpcxRequests engine
        cdef uint32_t pushback_ms = (<ServerCall>call).pushback_ms
        if self._engine is NULL or self.is_closed:
            return 0
        engine = <RpcxRequests>self._engine
        if is_faulty and status == RESOURCE_EXHAUSTED:
            # It would else look as if the same call could succeed a little later.
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
