"""The forms of bodies and answers, as the fields of a request name them."""

from fastrpc._core.http1.head cimport FIELD_ACCEPT, FIELD_CONTENT_TYPE, is_text


cdef int body_kind(RequestHead head) noexcept:
    """Return what the body is; of its parameters only a charset counts, and that has to be UTF-8."""
    cdef Py_ssize_t size = 0, end = 0
    cdef const char* text = head.field_data(FIELD_CONTENT_TYPE, &size)
    if text is NULL:
        return BODY_NONE
    if head._noted[<int>FIELD_CONTENT_TYPE].count > 1:
        return BODY_OTHER
    while end < size and text[end] not in b"; \t":
        end += 1
    if end < size and not _is_utf8(text + end, size - end):
        return BODY_OTHER
    if is_text(text, end, b"application/json"):
        return BODY_JSON
    if is_text(text, end, b"application/msgpack"):
        return BODY_MSGPACK
    return BODY_LINES if is_text(text, end, b"application/x-ndjson") else BODY_OTHER


cdef bint _is_utf8(const char* text, Py_ssize_t size) noexcept:
    """Return whether the parameters of a media type name no other charset."""
    cdef Py_ssize_t at = 0
    while at < size and text[at] in b"; \t":
        at += 1
    if size - at < 8 or not is_text(text + at, 8, b"charset="):
        return True
    at += 8
    return (
        size - at == 5 and is_text(text + at, 5, b"utf-8")
        or size - at == 7 and is_text(text + at, 7, b"\"utf-8\"")
    )


cdef int stream_form(RequestHead head) except -1:
    """Return how the messages of an answer are written: the first form that the caller names, NDJSON for any."""
    cdef str accepted = head.field_text(FIELD_ACCEPT)
    if accepted is None:
        return FORM_LINES
    for item in ",".join(head.values("accept")).split(","):
        kind = item.partition(";")[0].strip(" \t").lower()
        if kind == "text/event-stream":
            return FORM_EVENTS
        if kind in ("application/x-ndjson", "*/*", "application/*", "application/json"):
            return FORM_LINES
    return FORM_NONE
