"""The served calls of one connection: from their outcomes to frames."""

cimport cython
from libc.stdint cimport uint32_t

from fastrpc._core.base.status cimport RESOURCE_EXHAUSTED, UNAUTHENTICATED
from fastrpc._core.calls.call cimport Call
from fastrpc._core.framing.frame cimport ONE_WAY, PUSHBACK_NEVER
from fastrpc._core.rpcx.requests cimport RpcxRequests
from fastrpc._core.serving.exchange cimport HOLD_DRAIN, Failure
from fastrpc._core.serving.served_call cimport ServerCall


@cython.final
cdef class RpcxExchange(EngineExchange):
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

    cdef int taken_compressor(self, int number, object compressor) except -1:
        if self._engine is NULL or not (<RpcxRequests>self._engine).profile.compresses:
            return 0
        return number

    def note_drain(self):
        """Tell handlers that the connection drains. It takes further calls: no word of rpcx says which are too late."""
        EngineExchange.note_drain(self)
        self.holding &= ~HOLD_DRAIN
