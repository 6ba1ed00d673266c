"""The fields of a request that concern its call: its metadata, its time."""

from libc.stdint cimport uint64_t

from fastrpc._core.http1.head cimport RequestHead

cdef enum:
    # A body that anybody may send.
    SMALL_BODY = 65_536

# Return the metadata of a call as on the wire, or None.
cdef bytes metadata_of(RequestHead head)

# Return the caller's timeout in microseconds, and whether there is one; 0 is a timeout as well.
cdef uint64_t timeout_of(RequestHead head, bint* is_stated) except? 0

# Return the fields of a response for metadata as on the wire.
cdef bytes metadata_lines(bytes metadata)

# Return metadata as text by key, as JSON has it: bytes in base64.
cdef dict metadata_texts(bytes metadata)

# Return whether the request has an id that is taken over.
cdef bint has_plain_id(RequestHead head) noexcept

# Return whether a body is not waited for before its sender is known.
cdef bint is_long(RequestHead head) noexcept
