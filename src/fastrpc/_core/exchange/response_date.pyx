"""The value of the field Date, which each response of HTTP has."""

from email.utils import formatdate

from libc.stdint cimport uint64_t

from fastrpc._core.base.wire cimport now_ns

# The last value, and its second by the clock of the core.
cdef bytes last_date = None
cdef uint64_t last_second = 0


cdef bytes response_date():
    global last_date, last_second
    cdef uint64_t second = now_ns() // 1_000_000_000
    if second != last_second or last_date is None:
        last_second = second
        last_date = formatdate(usegmt=True).encode("ascii")
    return last_date
