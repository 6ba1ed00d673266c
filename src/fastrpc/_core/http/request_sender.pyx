"""The check of a request's sender by its head, before a long body is read.

::

    fixed path, application ──► identify ──► identity, or a fault ──► body ──► request_came
    method, a long body     ──► admit ──► SenderCheck ──► refused, or body

With authentication on, a body of more than `SMALL_BODY` bytes or of unknown length is read only once its sender is known.
For a method with a shorter body, the gate checks the sender when the request is complete.
"""

cimport cython

from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.http.http_call cimport terms_of
from fastrpc._core.http.messages cimport BODY_LINES, body_kind
from fastrpc._core.http.request_fields cimport SMALL_BODY, is_long
from fastrpc._core.http.responses cimport http_status_of
from fastrpc._core.server.engine_served_connection cimport SenderCheck, UnreadRest
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.served_connection cimport ServedConnection
from fastrpc._core.wire.frame cimport TIMEOUT_NONE

# Stands for no limit: for bodies that are read in parts, and bodies for applications. A body for an application of at
# most SMALL_BODY bytes is passed as a whole.
cdef int64_t ENDLESS = <int64_t>1 << 62


@cython.final
cdef class UnreadBody(UnreadRest):

    cdef int wait(self, ServerCall call) except -1:
        cdef Exchange exchange = terms_of(call).request.open_exchange()
        if exchange is not None:
            exchange.is_deciding = True
        return 0

    cdef int leave(self, ServerCall call) except -1:
        return terms_of(call).request.leave_rest()


# An object without state, which all requests share.
cdef UnreadBody UNREAD_BODY = UnreadBody.__new__(UnreadBody)


cdef int identify(RequestState request, Exchange exchange, ServerCall call) except -1:
    cdef ServedConnection connection = call.connection
    cdef Gate gate = request.service.gate
    gate.guards.access.renew_if_due(connection)
    credential = None if call.received_metadata is None else call.metadata.get("authorization")
    if credential is None:
        if not call.keeps_identity:
            is_over = connection.expires_ns and exchange.engine().now >= connection.expires_ns
            call.identity = None if is_over else connection.identity
        return 0
    call.identity = None
    found = gate.guards.access.own_credentials.of_call(call, credential)
    if found is not None:
        _note_identity(terms_of(call), call, *found)
        return 0
    exchange.is_deciding = True
    request.sender_due_ns = 0
    if call.stated_timeout_us and call.stated_timeout_us != TIMEOUT_NONE:
        request.sender_due_ns = call.started_ns + call.stated_timeout_us * 1000
        connection.look_by(request.sender_due_ns)
    gate.guards.access.own_credentials.verify(
        call, "", lambda identity, status, seconds: _identified(request, call, identity, status, seconds)
    )
    return 0


def _note_identity(HttpTerms terms, ServerCall call, identity, int status, seconds):
    call.identity = identity
    # For a method the gate decides this.
    if identity is not None and terms.mount is not None:
        call.has_own_credential = True
    if seconds is not None:
        call.own_expires_ns = now_ns() + <uint64_t>(<double>seconds * 1e9)
    if status:
        terms.set_fault(http_status_of(status), "the credential is not accepted", b"")


def _identified(RequestState request, ServerCall call, identity, int status, seconds):
    cdef Exchange exchange = request.exchange_of(call)
    cdef HttpTerms terms
    if exchange is None:
        return
    terms = terms_of(call)
    _note_identity(terms, call, identity, status, seconds)
    if is_long(exchange.head) and (terms.fault_status or identity is None):
        if not terms.fault_status:
            terms.set_fault(401, "the caller is not authenticated", b"")
        _answer_early(request, exchange)
    else:
        if terms.mount is not None and not terms.fault_status and exchange.has_rest:
            exchange.takes_parts = True
        exchange.admit_body()


cdef int64_t admit(
    RequestState request, Exchange exchange, ServerCall call, HttpTerms terms, RequestHead head
) except? -2:
    cdef bint is_large = is_long(head), is_method = terms.path is None and terms.mount is None
    # Decided by the request alone, not by its method, so that an unknown method is reported as early as a known one.
    # The gate sees a stream when it begins.
    cdef bint is_stream = terms.is_socket or body_kind(head) == BODY_LINES
    cdef bint asks_early = request.service.gate.guards.asks_access() and (is_large or is_stream and is_method)
    if terms.fault_status or terms.path is None and call.route is None:
        # A handshake of no method is answered as a handshake of a forbidden method, which closes, too.
        if is_large or asks_early:
            _answer_early(request, exchange)
        return SMALL_BODY
    if asks_early:
        if is_method:
            if request.sender_check is None:
                request.sender_check = SenderCheck.__new__(SenderCheck)
                request.sender_check.rest = UNREAD_BODY
            request.sender_check.judge(call, call.method)
        elif not exchange.is_deciding and call.identity is None and (terms.mount is None or terms.needs_identity):
            terms.set_fault(401, "the caller is not authenticated", b"")
            _answer_early(request, exchange)
    return ENDLESS if exchange.takes_parts or terms.mount is not None else request.service.body_bytes


cdef uint64_t check_sender(RequestState request, Exchange exchange, uint64_t now) except? 0:
    cdef ServerCall call = request.call
    cdef str text = "the deadline passed while the credential was verified; the call was not started"
    if not exchange.is_deciding or call is None:
        return 0
    if not terms_of(call).needs_identity:
        return request.sender_check.check(now)
    if now < request.sender_due_ns or request.sender_due_ns == 0:
        return request.sender_due_ns
    if request.service.gate.guards.give_up(call):
        terms_of(call).set_fault(504, text, b"")
        _answer_early(request, exchange)
        # A verdict that arrives later finds no request.
        request.call = None
    return 0


cdef int _answer_early(RequestState request, Exchange exchange) except -1:
    """Answer a request before its body arrives; the body is not read."""
    request.leaves_body = True
    return exchange.skip_body()
