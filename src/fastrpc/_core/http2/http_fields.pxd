"""The fields of HTTP/2, converted from and to the forms that every version of HTTP shares."""

from libc.stdint cimport int64_t

from fastrpc._core.exchange.request_head cimport RequestHead, RequestLimits
from fastrpc._core.http2.header_block cimport HeaderBlock
from fastrpc._core.http2.hpack cimport HpackDecoder
from fastrpc._core.http2.sender cimport Http2Sender

# Return the head of a request, or None if it is a CONNECT without a path. `ends_stream` says that no body follows.
cdef RequestHead head_of_block(HeaderBlock block, RequestLimits limits, bint ends_stream)

# Do the same; requests with equal blocks share one head. `block` must be the last one of the decoder.
cdef RequestHead shared_head(HpackDecoder decoder, HeaderBlock block, RequestLimits limits, bint ends_stream)

# Return whether the method of a request is HEAD, so that its response has no body.
cdef bint asks_head(HeaderBlock block) except -1

# Return the error for a block whose fields exceed the limit.
cdef object too_large_error()

# Convert the checked lines of a response, each with its line end, to fields of HTTP/2. Fields about an HTTP/1.1 connection
# are omitted.
cdef list answer_fields(int status, bytes lines)

# Convert the lines of a response to fields: a HeaderTemplate if the same lines occurred before, otherwise a list of (token,
# name, value).
cdef object line_fields(bytes lines)

# Write the fields of a response, between `begin_head` and `end_head`: the status, the date, `fields` from `line_fields`,
# and the size of the body unless it is negative.
cdef int put_response(Http2Sender sender, int status, object fields, int64_t size) except -1
