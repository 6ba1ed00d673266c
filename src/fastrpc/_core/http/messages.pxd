"""The messages of a stream in a body: lines of JSON, or server-sent events."""

cdef enum LineKind:
    LINE_ARGUMENTS = 0
    LINE_VALUE = 1
    LINE_END = 2

cdef enum:
    # The cost of a message in a stream beside its bytes.
    MESSAGE_COST = 64

cdef bytes value_part(int form, bytes payload)
cdef bytes end_part(int form, dict metadata)
cdef bytes error_part(int form, bytes document)

# Return what a line of a request says, and the JSON in it. CallError: it says nothing.
cdef int open_line(bytes line, list content) except -1
