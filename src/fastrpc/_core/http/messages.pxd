"""The forms of bodies, and the messages of a stream: lines, events, envelopes of WebSocket."""

from fastrpc._core.exchange.request_head cimport RequestHead

cdef enum BodyKind:
    BODY_NONE = 0
    BODY_JSON = 1
    BODY_MSGPACK = 2
    BODY_LINES = 3
    BODY_OTHER = 4
    BODY_FORM = 5
    BODY_PAIRS = 6

cdef enum StreamForm:
    # How the messages of an answer are written; FORM_NONE: none of the forms that the caller accepts.
    FORM_NONE = 0
    FORM_LINES = 1
    FORM_EVENTS = 2

cdef int body_kind(RequestHead head) noexcept
cdef bint is_grpc(RequestHead head) noexcept
cdef int stream_form(RequestHead head) except -1

cdef enum LineKind:
    LINE_ARGUMENTS = 0
    LINE_VALUE = 1
    LINE_END = 2

cdef enum:
    # The bytes that a message in a stream costs besides its content.
    MESSAGE_COST = 64

# The messages of a stream in a body.
cdef bytes value_part(int form, bytes payload)
cdef bytes end_part(int form, dict metadata)
cdef bytes error_part(int form, bytes document)

# Return the meaning of a request's line, and the JSON in it. CallError: it is malformed.
cdef int open_line(bytes line, list content) except -1

# The envelopes of a call by WebSocket: the texts before and behind the value of a message, and whole envelopes.
cdef bytes before_value(int codec)
cdef bytes behind_value(int codec)

cdef bytes envelope_of(int codec, dict content)

# Return the content of a caller's envelope, each part encoded. CallError: it is no envelope.
cdef dict opened_envelope(int codec, bytes message)
