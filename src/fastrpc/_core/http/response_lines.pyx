"""The fields of responses, each with its end."""

from fastrpc._core.calls.call_log cimport find_request_entry
from fastrpc._core.http.http_call cimport terms_of
from fastrpc._core.http.pages cimport shared_lines
from fastrpc._core.http.request_fields cimport metadata_lines
from fastrpc._core.http1.head cimport FIELD_REQUEST_ID, VERB_POST

cdef enum:
    # Where the value lies in the entry of metadata with the request's id (call_log).
    ID_AT = 19

NOSNIFF = b"X-Content-Type-Options: nosniff\r\n"
JSON_LINES = b"Content-Type: application/json\r\n" + NOSNIFF
MSGPACK_LINES = b"Content-Type: application/msgpack\r\n" + NOSNIFF
NDJSON_LINES = b"Content-Type: application/x-ndjson\r\n" + NOSNIFF
EVENT_LINES = b"Content-Type: text/event-stream\r\nCache-Control: no-store\r\n" + NOSNIFF
PROBLEM_LINES = b"Content-Type: application/problem+json\r\n" + NOSNIFF
cdef bytes NO_STORE = b"Cache-Control: no-store\r\n"
BEARER = b"WWW-Authenticate: Bearer\r\n"


cdef bint has_lines(ServerCall call, RequestHead head) noexcept:
    return (
        call.sent_metadata is not None or call.request_entry is not None or terms_of(call).origin is not None
        or head.verb != VERB_POST or head._noted[<int>FIELD_REQUEST_ID].count != 0
    )


cdef bytes call_lines(ServerCall call, RequestHead head):
    """Return metadata, the id of the request, and what lets a page read the answer."""
    cdef bytes lines = b"", metadata = b"", origin = terms_of(call).origin
    if call.sent_metadata is not None:
        lines = metadata = metadata_lines(call.sent_metadata)
    if call.request_entry is None and head._noted[<int>FIELD_REQUEST_ID].count:
        find_request_entry(call, False)
    if call.request_entry is not None:
        lines += b"X-Request-Id: %b\r\n" % call.request_entry[ID_AT:]
    if origin is not None:
        lines += shared_lines(origin, metadata)
    return lines + NO_STORE if head.verb != VERB_POST else lines
