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
    # How the messages of an answer are written; FORM_NONE if the caller accepts no form of them.
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
    # The bytes that a message in a stream counts in addition to its content.
    MESSAGE_COST = 64

# Return a message, the end, or the error of a stream, as written in a body.
cdef bytes value_part(int form, bytes payload)
cdef bytes end_part(int form, dict metadata)
cdef bytes error_part(int form, bytes document)

# Return the LineKind of a line of a request, and append the JSON in it to `content`. CallError: the line is malformed.
cdef int open_line(bytes line, list content) except -1

# Write the envelopes of a call by WebSocket: `before_value` and `behind_value` return the bytes around the value of a
# message, the other functions a whole envelope.
cdef bytes before_value(int codec)
cdef bytes behind_value(int codec)

cdef bytes envelope_of(int codec, dict content)

# Return the parts of a caller's envelope, each still encoded. CallError: the message is not an envelope.
cdef dict opened_envelope(int codec, bytes message)
