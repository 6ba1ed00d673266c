"""The streams of the native protocol, and its dialect: error texts and numbers of compressors.

::

    handler ──► ServedStream ──► NativeFlow ──► SendQueue: messages, order, credit
                                     └────────► MessageAssembler: credit for the peer

The objects have no state, so all connections share them. They reach the connection through the call, which may outlive
the connection.
"""

cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport uint8_t

from fastrpc._core.calls.call cimport Call
from fastrpc._core.link.contract cimport Flow
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.server.served_connection cimport PLAIN_GROUPS, PlainDialect
from fastrpc._core.wire.settings cimport FIRST_OWN_NUMBER


@cython.final
cdef class NativeDialect(PlainDialect):
    """The error texts of the dispatcher, and the peer's numbers of compressors."""

    cdef int compressor(self, Call call, int number) except -1:
        cdef EngineServedConnection connection = <EngineServedConnection>(<ServerCall>call).connection
        cdef Connection engine = engine_behind(connection)
        if engine is None:
            return 0
        return max(0, engine.peer.compressor_number(number, connection.gate.compressors[number].name))


@cython.final
cdef class NativeFlow(Flow):
    """Sends and receives the messages of streams on native connections. All connections share one object."""

    cdef int message(self, Call call, bytes payload, int codec, int compressor) except -1:
        cdef EngineServedConnection connection = <EngineServedConnection>(<ServerCall>call).connection
        cdef Connection engine = engine_behind(connection)
        if engine is None or engine.is_closed:
            return 0
        if codec >= FIRST_OWN_NUMBER:
            codec = engine.peer.codec_number(codec, connection.gate.codecs[codec])
        return engine.sender.send_message(call, payload, <uint8_t>codec, <uint8_t>compressor)

    cdef int head(self, Call call, bytes metadata) except -1:
        cdef Connection engine = engine_behind(<EngineServedConnection>(<ServerCall>call).connection)
        return 0 if engine is None or engine.is_closed else engine.sender.send_head(call, metadata)

    cdef int taken(self, Call call, Py_ssize_t cost) except -1:
        cdef Connection engine = engine_behind(<EngineServedConnection>(<ServerCall>call).connection)
        return 0 if engine is None or engine.is_closed else engine.assembler.message_taken(call, cost)

    cdef int reader(self, Call call, bint waits) except -1:
        cdef Connection engine = engine_behind(<EngineServedConnection>(<ServerCall>call).connection)
        return 0 if engine is None or engine.is_closed or not waits else engine.assembler.reader_waits(call)

    cdef bint is_full(self, Call call) noexcept:
        cdef PyObject* engine = (<EngineServedConnection>(<ServerCall>call).connection)._engine
        return engine is not NULL and (<Connection>engine).sender.is_full_for(call)

    cdef int await_turn(self, Call call) except -1:
        cdef Connection engine = engine_behind(<EngineServedConnection>(<ServerCall>call).connection)
        return 0 if engine is None else engine.sender.wait_turn(call)

    cdef int end_early(self, Call call) except -1:
        cdef Connection engine = engine_behind(<EngineServedConnection>(<ServerCall>call).connection)
        return 0 if engine is None else engine.callee.ended(call)

    cdef int room(self) except -1:
        # Nothing to do here: the engine itself wakes waiting senders.
        return 0


NATIVE_GROUPS = PLAIN_GROUPS.with_own(NativeDialect.__new__(NativeDialect), None, NativeFlow.__new__(NativeFlow), None)
