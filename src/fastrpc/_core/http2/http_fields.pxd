"""The fields of HTTP/2, converted from and to the forms that every version of HTTP shares."""

from libc.stdint cimport int64_t

from fastrpc._core.exchange.request_head cimport RequestHead, RequestLimits
from fastrpc._core.http2.header_block cimport HeaderBlock
from fastrpc._core.http2.hpack cimport HpackDecoder
from fastrpc._core.http2.sender cimport Http2Sender

# Return the head of a request, None: it is a CONNECT without a path. `ends_stream`: no body follows.
cdef RequestHead head_of_block(HeaderBlock block, RequestLimits limits, bint ends_stream)

# Return the head of a request as `head_of_block` does; requests with equal blocks share it. `block` is the last one of
# the decoder.
cdef RequestHead shared_head(HpackDecoder decoder, HeaderBlock block, RequestLimits limits, bint ends_stream)

# Return whether the method of a request is HEAD: its response has no body.
cdef bint asks_head(HeaderBlock block) except -1

# The error of a block whose fields are above the limit, so that some are left out.
cdef object too_large_error()

# Return the fields of a response as HTTP/2 has them, for checked lines with their line ends. Fields that describe a
# connection of HTTP/1.1 are left out.
cdef list answer_fields(int status, bytes lines)

# Return the fields of the lines of a response: a HeaderTemplate if the lines have come before, or a list of (token, name,
# value).
cdef object line_fields(bytes lines)

# Write the fields of a response, between the begin and the end of its head: the status, the date, `fields` of
# `line_fields`, and the size of the body unless it is negative.
cdef int put_response(Http2Sender sender, int status, object fields, int64_t size) except -1
