"""The parts of responses: their fields, each with its line end, and the documents of errors (RFC 9457).

::

    {"type": "about:blank", "title": "Not Found", "status": 404, "code": "NOT_FOUND", "detail": "no order 7",
     "processed": "yes", "retry_after": 1.5, "details": {...}}

`code` is the name of our status, which is more specific than the HTTP status. `processed` says whether the handler ran.
"""

import msgspec

from fastrpc._core.base.codec_numbers cimport CODEC_JSON
from fastrpc._core.base.status cimport INTERNAL, INVALID_ARGUMENT, OK, PERMISSION_DENIED, RESOURCE_EXHAUSTED
from fastrpc._core.base.status cimport UNAUTHENTICATED, UNAVAILABLE, UNIMPLEMENTED
from fastrpc._core.calls.call_log cimport find_request_entry
from fastrpc._core.exchange.request_head cimport FIELD_REQUEST_ID, VERB_POST
from fastrpc._core.exchange.response_parts cimport phrases
from fastrpc._core.http.conditions cimport NO_STORE, described_lines, is_unchanged, kept_fields
from fastrpc._core.http.http_call cimport terms_of
from fastrpc._core.http.messages cimport FORM_EVENTS
from fastrpc._core.http.request_fields cimport id_entry, metadata_lines
from fastrpc._core.http.service cimport shared_lines
from fastrpc._core.wire.frame cimport PUSHBACK_NEVER

from fastrpc.status import Status

cdef enum:
    # The seconds in Retry-After if the failure states no pause.
    COMMON_PAUSE = 1

cdef int[17] statuses

statuses[:] = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401]

# Our status for the HTTP status of a refusal; INVALID_ARGUMENT for others.
cdef dict refusals = {
    401: UNAUTHENTICATED, 403: PERMISSION_DENIED, 408: Status.DEADLINE_EXCEEDED.value, 413: RESOURCE_EXHAUSTED,
    414: RESOURCE_EXHAUSTED, 431: RESOURCE_EXHAUSTED, 500: INTERNAL, 503: UNAVAILABLE,
    504: Status.DEADLINE_EXCEEDED.value,
}

# Our status for the HTTP status of an application's response: the first status that `statuses` maps to it, with exceptions.
cdef dict responses = {number: status for status, number in reversed(list(enumerate(statuses)))} | {
    400: INVALID_ARGUMENT, 409: Status.ABORTED.value, 500: INTERNAL,
}

cdef object encode = msgspec.json.Encoder().encode

cdef enum:
    # The offset of the value in the metadata entry of the request's id (`call_log`).
    ID_AT = 19

NOSNIFF = b"X-Content-Type-Options: nosniff\r\n"
JSON_LINES = b"Content-Type: application/json\r\n" + NOSNIFF
MSGPACK_LINES = b"Content-Type: application/msgpack\r\n" + NOSNIFF
PROBLEM_LINES = b"Content-Type: application/problem+json\r\n" + NOSNIFF
cdef bytes NDJSON_LINES = b"Content-Type: application/x-ndjson\r\n" + NOSNIFF
cdef bytes EVENT_LINES = b"Content-Type: text/event-stream\r\n" + NOSNIFF
cdef bytes VARIES_BY_ORIGIN = b"Vary: Origin\r\n"
BEARER = b"WWW-Authenticate: Bearer\r\n"


cpdef int http_status_of(int status) noexcept:
    return statuses[status] if 0 <= status <= 16 else 500


cdef int status_of_refusal(int http_status) except -1:
    return refusals.get(http_status, INVALID_ARGUMENT)


cdef int status_of_response(int http_status) except -1:
    if http_status < 400:
        return OK
    return responses.get(http_status, INVALID_ARGUMENT if http_status < 500 else INTERNAL)


def problem(Failure failure not None, int codec, int status=0):
    status = status or http_status_of(failure.status)
    document = {
        "type": "about:blank",
        "title": phrases.get(status, ""),
        "status": status,
        "code": _code(failure.status),
        "detail": failure.text,
        "processed": "unknown" if failure.goes_on else "yes" if failure.has_run else "no",
    }
    if failure.pushback_ms and failure.pushback_ms != PUSHBACK_NEVER:
        document["retry_after"] = failure.pushback_ms / 1000.0
    if failure.details:
        if codec == CODEC_JSON:
            document["details"] = msgspec.Raw(failure.details)
        else:
            document["details"] = _plain_details(failure.details)
    return document


def _code(int status):
    return Status(status).name if 0 <= status <= 16 else "UNKNOWN"


def _plain_details(bytes details):
    """Decode details in msgpack; return None if JSON cannot carry them."""
    try:
        found = msgspec.msgpack.decode(details)
        encode(found)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError):
        return None
    return found


cdef bytes problem_document(int http_status, Failure failure, int codec):
    return <bytes>encode(problem(failure, codec, http_status))


cdef bytes retry_line(int http_status, Failure failure):
    cdef int seconds = COMMON_PAUSE
    if http_status not in (429, 503) or failure.pushback_ms == PUSHBACK_NEVER:
        return b""
    if failure.pushback_ms:
        seconds = <int>((<long long>failure.pushback_ms + 999) // 1000)
    return b"Retry-After: %d\r\n" % seconds


cdef bytes call_lines(ServerCall call, HttpTerms terms, RequestHead head):
    """Return the fields of the metadata, the id of the request, CORS and caching."""
    cdef bytes lines = b"", metadata = b""
    if call.sent_metadata is not None:
        lines = metadata = metadata_lines(call.sent_metadata)
    if call.request_entry is None and head.count_of(FIELD_REQUEST_ID):
        find_request_entry(call, False)
    if call.request_entry is not None:
        lines += b"X-Request-Id: %b\r\n" % call.request_entry[ID_AT:]
    if terms.origin is not None:
        lines += shared_lines(terms.origin, metadata if terms.web is None else None)
    if terms.answer_fields is not None:
        return lines + described_lines(terms, call, head)
    if terms.origin is not None:
        lines += VARIES_BY_ORIGIN
    return lines + NO_STORE if head.verb != VERB_POST else lines


cdef tuple refusal_answer(RequestHead head, ServerCall call, int status, str text):
    cdef Failure failure = Failure(status_of_refusal(status), text, has_run=False)
    cdef bytes lines = PROBLEM_LINES + retry_line(status, failure)
    if call is None or head is None:
        return lines, problem_document(status, failure, CODEC_JSON)
    if terms_of(call).web is not None:
        found = terms_of(call).web.refusal(failure, status)
        if found is not None:
            return web_lines(call, terms_of(call), head, found[1]) + retry_line(status, failure), found[2]
    return lines + refusal_lines(terms_of(call), call, head), problem_document(status, failure, CODEC_JSON)


cdef bytes refusal_lines(HttpTerms terms, ServerCall call, RequestHead head):
    """Return the fields of `call_lines` for a request that is refused, maybe before its metadata was read."""
    if head.count_of(FIELD_REQUEST_ID) and call.request_entry is None:
        call.request_entry = id_entry(head) or None
        find_request_entry(call, True)
    elif terms.mount is not None and head.count_of(FIELD_REQUEST_ID) == 0:
        # The server made the id of a request to an application; answers do not have it.
        return NO_STORE if head.verb != VERB_POST else b""
    return call_lines(call, terms, head)


cdef bytes stream_lines(HttpTerms terms, RequestHead head):
    if terms.form != FORM_EVENTS:
        return NDJSON_LINES
    # For other verbs than POST `call_lines` adds NO_STORE, unless the handler has set Cache-Control.
    is_said = terms.answer_fields is not None and "cache-control" in terms.answer_fields
    return EVENT_LINES + NO_STORE if head.verb == VERB_POST and not is_said else EVENT_LINES


cdef int status_of_load(Gate gate, uint32_t pushback_ms) except -1:
    limits = gate.guards.limits
    if limits is not None and limits.refusing is not None:
        return 503 if limits.refusing.rate is None else 429
    return 429 if pushback_ms else 503


cdef tuple told_verbs(ServerCall call, tuple verbs):
    """Return the error text and the field Allow with the verbs of a path, for methods that the caller may call."""
    cdef Gate gate = <Gate>call.connection.gate
    allowed = {verb for verb, route in verbs if gate.guards.may_call(call.identity, route)}
    told = ", ".join(sorted(allowed | {"HEAD"} if "GET" in allowed else allowed))
    return f"this path is called by {told}", b"Allow: %b\r\n" % told.encode("ascii")


cdef tuple refusal_of_call(ServerCall call, HttpTerms terms, Failure failure, bint is_faulty):
    cdef int status = failure.status, told = http_status_of(status)
    cdef str text = failure.text
    cdef uint32_t pushback_ms = call.pushback_ms
    cdef bytes lines = b""
    if status == INVALID_ARGUMENT and terms.fault_status and terms.web is not None and terms.web.fault is not None:
        status, text = terms.web.fault.status, terms.web.fault.text
    elif status == INVALID_ARGUMENT and terms.fault_status:
        # The fault is one of HTTP, not of gRPC-Web or Connect: report it in the gateway's own form.
        terms.web = None
        told, text, lines = terms.fault_status, terms.fault_text, terms.fault_lines
        if terms.other_verbs is not None:
            text, lines = told_verbs(call, terms.other_verbs)
    elif status == UNIMPLEMENTED and call.route is None:
        told = 404
    elif status == RESOURCE_EXHAUSTED and is_faulty:
        # The caller must not retry: the same request would be refused again.
        told, pushback_ms = 413, PUSHBACK_NEVER
    elif status == RESOURCE_EXHAUSTED:
        told = status_of_load(<Gate>call.connection.gate, pushback_ms)
    if text is not failure.text or pushback_ms != failure.pushback_ms or terms.details:
        failure = Failure(status, text, terms.details or b"", pushback_ms=pushback_ms, has_run=False)
    return told, failure, lines


cdef tuple problem_answer(ServerCall call, HttpTerms terms, RequestHead head, int status, Failure failure, bytes lines):
    lines = PROBLEM_LINES + lines + (BEARER if status == 401 else b"")
    lines += retry_line(status, failure) + call_lines(call, terms, head)
    return status, lines, problem_document(status, failure, call.codec)


cdef tuple unchanged_answer(HttpTerms terms, ServerCall call, RequestHead head):
    terms.answer_fields = kept_fields(terms.answer_fields)
    return 304, call_lines(call, terms, head), b""


cdef tuple fault_answer(ServerCall call, HttpTerms terms, RequestHead head):
    cdef int status = terms.fault_status
    cdef bytes lines = terms.fault_lines
    if status == 204:
        return status, lines, b""
    if terms.web is not None:
        return web_answer(call, terms, head, None, terms.web.fault, 0)
    if terms.rpcx is not None:
        lines += terms.rpcx.failure_lines(terms.fault_text, None) + NOSNIFF + call_lines(call, terms, head)
        return 200 if terms.rpcx.is_phobos else status, lines, b""
    failure = Failure(status_of_refusal(status), terms.fault_text, has_run=False)
    return problem_answer(call, terms, head, status, failure, lines)


cdef tuple web_answer(
    ServerCall call, HttpTerms terms, RequestHead head, bytes payload, Failure failure, int status
):
    cdef bytes trailers = call.sent_metadata, lines
    # The protocol itself writes the trailers, so `call_lines` must not.
    call.sent_metadata = None
    if failure is not None:
        terms.answer_fields = None
    elif terms.answer_fields is not None and is_unchanged(head, terms.answer_fields):
        return unchanged_answer(terms, call, head)
    answer = terms.web.whole(payload, call.compressor if payload is not None else 0, failure, trailers, status)
    lines = web_lines(call, terms, head, answer[1])
    if failure is not None:
        lines += (BEARER if answer[0] == 401 else b"") + retry_line(answer[0], failure)
    return answer[0], lines, answer[2]


cdef bytes web_lines(ServerCall call, HttpTerms terms, RequestHead head, list fields):
    return b"".join([b"%b: %b\r\n" % field for field in fields]) + NOSNIFF + call_lines(call, terms, head)
