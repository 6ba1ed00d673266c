"""Fields of HTTP/2 and the forms that every version of HTTP shares, into each other."""

from libc.stdint cimport int64_t

from fastrpc._core.exchange.request_head cimport RequestHead, RequestLimits
from fastrpc._core.http2.header_block cimport HeaderBlock

# Return the head of a request, None: it is a CONNECT without a path. `ends_stream`: no body follows.
cdef RequestHead head_of_block(HeaderBlock block, RequestLimits limits, bint ends_stream)

# The error of a block whose fields are above the limit, so that some are left out.
cdef object too_large_error()

# Return the fields of a response as HTTP/2 has them, for checked lines that each end. Fields that describe a connection
# of HTTP/1.1 are left out.
cdef list answer_fields(int status, bytes lines)

# Return them with the date, and with the size of the body unless it is negative.
cdef list response_fields(int status, bytes lines, int64_t size)
