"""The forms of bodies and answers, as the fields of a request name them."""

from fastrpc._core.http1.head cimport RequestHead

cdef enum BodyKind:
    BODY_NONE = 0
    BODY_JSON = 1
    BODY_MSGPACK = 2
    BODY_LINES = 3
    BODY_OTHER = 4

cdef enum StreamForm:
    # How the messages of an answer are written; FORM_NONE: none of the forms that the caller accepts.
    FORM_NONE = 0
    FORM_LINES = 1
    FORM_EVENTS = 2

cdef int body_kind(RequestHead head) noexcept
cdef int stream_form(RequestHead head) except -1
