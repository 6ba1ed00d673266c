"""The parts of responses that are equal in all versions of HTTP."""

from email.utils import formatdate
from http import HTTPStatus

from libc.stdint cimport uint64_t

from fastrpc._core.base.wire cimport now_ns

phrases = {int(status): status.phrase for status in HTTPStatus} | {
    413: "Content Too Large",
    421: "Misdirected Request",
    422: "Unprocessable Content",
    499: "Client Closed Request",
}
# The last date, and its second on the monotonic clock.
cdef bytes last_date = None
cdef uint64_t last_second = 0


cdef bytes response_date():
    global last_date, last_second
    cdef uint64_t second = now_ns() // 1_000_000_000
    if second != last_second or last_date is None:
        last_second = second
        last_date = formatdate(usegmt=True).encode("ascii")
    return last_date
