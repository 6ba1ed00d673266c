"""Errors as HTTP answers them: statuses, and documents of RFC 9457.

::

    {"type": "about:blank", "title": "Not Found", "status": 404, "code": "NOT_FOUND", "detail": "no order 7",
     "processed": "yes", "retry_after": 1.5, "details": {...}}

`code` is the name of the status, which tells more than HTTP's number; `processed` tells whether the handler may have run.
"""

from http import HTTPStatus

import msgspec

from fastrpc._core.base.codec_numbers cimport CODEC_JSON
from fastrpc._core.base.status cimport INTERNAL, INVALID_ARGUMENT, PERMISSION_DENIED, RESOURCE_EXHAUSTED
from fastrpc._core.base.status cimport UNAUTHENTICATED, UNAVAILABLE
from fastrpc._core.wire.frame cimport PUSHBACK_NEVER

from fastrpc.status import Status

cdef enum:
    # Seconds after which a client may come again where no time is given.
    COMMON_PAUSE = 1

cdef int[17] statuses

statuses[:] = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401]

# Other refusals are an INVALID_ARGUMENT.
cdef dict refusals = {
    401: UNAUTHENTICATED, 403: PERMISSION_DENIED, 408: Status.DEADLINE_EXCEEDED.value, 413: RESOURCE_EXHAUSTED,
    414: RESOURCE_EXHAUSTED, 431: RESOURCE_EXHAUSTED, 500: INTERNAL, 503: UNAVAILABLE,
    504: Status.DEADLINE_EXCEEDED.value,
}

cdef dict titles = {int(status): status.phrase for status in HTTPStatus} | {
    413: "Content Too Large",
    421: "Misdirected Request",
    422: "Unprocessable Content",
    499: "Client Closed Request",
}

cdef object encode = msgspec.json.Encoder().encode


cdef int http_status_of(int status) noexcept:
    return statuses[status] if 0 <= status <= 16 else 500


cdef int status_of_refusal(int http_status) except -1:
    return refusals.get(http_status, INVALID_ARGUMENT)


def http_status(int status):
    return http_status_of(status)


def problem(Failure failure not None, int codec, int status=0):
    status = status or http_status_of(failure.status)
    document = {
        "type": "about:blank",
        "title": titles.get(status, ""),
        "status": status,
        "code": _code(failure.status),
        "detail": failure.text,
        "processed": "yes" if failure.has_run else "no",
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
    """Return details in msgpack as values; what JSON cannot carry is left out."""
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
