"""The way of an exchange's requests into the gate, and the bodies that come in parts.

::

    body ───────────────────────────► pass_in ──► Gate.pass_in ──► handler
    parts ──► BodyReading ──► arguments ─┘                            ▲
                         └──► put_message ──► ServedStream ───────────┘

The memory of a body is counted as it grows. When the unread messages of a call exceed a window, the connection stops
reading the body.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.string cimport memset

from fastrpc._core.base.status cimport RESOURCE_EXHAUSTED
from fastrpc._core.calls.call cimport NO_DEADLINE
from fastrpc._core.exchange.exchange cimport Exchange
from fastrpc._core.http.foreign_answerings cimport answers_at_once
from fastrpc._core.http.http_call cimport terms_of
from fastrpc._core.http.messages cimport MESSAGE_COST
from fastrpc._core.io.engine cimport Engine
from fastrpc._core.loop.turns cimport outlasts_turn
from fastrpc._core.server.served_connection cimport ServedConnection
from fastrpc._core.server.served_stream cimport ServedStream
from fastrpc._core.streams.stream_channel cimport StreamChannel
from fastrpc._core.wire.frame cimport Frame

from fastrpc._core.base.histogram import count_refusal
from fastrpc._core.exchange.request_head import RequestRefusedError


cdef int pass_in(RequestState request, bytes payload) except -1:
    """Hand the call of the request to the gate."""
    cdef Exchange exchange = request.exchange()
    cdef Engine engine = exchange.engine()
    cdef ServerCall call = request.call
    cdef ServedConnection connection = call.connection
    cdef bytes name = terms_of(call).name
    request.has_started = True
    connection.now = max(connection.now, engine.now)
    connection.is_reading = engine.is_reading
    connection.dated_ns = max(connection.dated_ns, exchange.rested_ns)
    if call.charge and call.route is None:
        request.service.gate.memory.charge(call, 0)
    if terms_of(call).rpcx is not None and not engine.is_closed and answers_at_once(exchange, call, payload):
        return 0
    if terms_of(call).mount is not None:
        request.service.gate.pass_unjudged(call, payload)
    else:
        request.service.gate.pass_in(call, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), 0, payload)
    if call.charge and not call.is_held and call.waiting_payload is None:
        # The call ended in its first step: the count of its body is taken back here.
        request.service.gate.memory.charge(call, 0)
    if connection.ended_ns > engine.turn_ends_ns or outlasts_turn(PyBytes_GET_SIZE(payload), engine.turn_ends_ns):
        engine.messages_left = 0
    if request.call is not None:
        # The handler may continue in the next turn of the loop.
        engine.woke = True
    return 0


cdef int count_body(RequestState request, Py_ssize_t size) except -1:
    """Count the received part of a body; a body over a budget is refused before its rest."""
    cdef ServerCall call = request.call
    if call is None:
        return 0
    problem = request.service.gate.admission.over_budget(call, size - call.charge, call.charge == 0)
    if problem is not None:
        count_refusal("memory")
        if not terms_of(call).fault_status:
            # A faulty request is no call of a method.
            request.service.gate.refusals.note(call, RESOURCE_EXHAUSTED, problem)
        raise RequestRefusedError(503, problem)
    return request.service.gate.memory.charge(call, size)


cdef int put_message(RequestState request, ServerCall call, bytes message, int compressor) except -1:
    """Give a message to the stream of its call."""
    cdef ServedStream stream = <ServedStream>call.stream
    cdef Exchange exchange = request.exchange_of(call)
    cdef Frame frame
    if stream is None:
        return 0
    memset(&frame, 0, sizeof(Frame))
    frame.codec = call.codec
    frame.compressor = <uint8_t>compressor
    stream.put(&frame, message, len(message) + MESSAGE_COST)
    if stream.held > request.service.window_bytes and exchange is not None:
        exchange.hold_body(True)
    return 0


cdef int end_input(RequestState request, object error) except -1:
    """Note the last message; a call that has not begun gets the body's fault as its refusal."""
    cdef ServerCall call = request.call
    if call is None:
        return 0
    if not request.has_started:
        if error is not None:
            if terms_of(call).web is not None:
                terms_of(call).web.refuse(error.status, error.message)
            terms_of(call).refuse_later(call, 400, f"{call.method}: {error.message}")
        pass_in(request, b"")
    return 0 if call.stream is None else (<StreamChannel>call.stream).end_input(error)


cdef uint64_t check_rest(RequestState request, uint64_t now) except? 0:
    """Answer a request whose deadline passes before its rest came, and close; return that deadline, 0 = none."""
    cdef Exchange exchange = request.exchange()
    cdef ServerCall call = request.call
    if not exchange.has_rest or request.has_started or exchange.is_deciding:
        return 0
    if call is None or call.deadline_ns == NO_DEADLINE:
        return 0
    if now < call.deadline_ns:
        return call.deadline_ns
    call.connection.now = now
    request.leave_rest()
    request.service.gate.refuse_rest(call)
    return 0
