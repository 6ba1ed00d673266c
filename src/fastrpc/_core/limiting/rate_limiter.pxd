cimport cython
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.limiting.key_table cimport KeyTable


@cython.final
cdef class RateLimiter:
    cdef:
        readonly KeyTable table

        # Words of the table are ticks since `_base_ns`: the instant at which the bucket is full again.
        uint64_t _base_ns

        # Ticks for one token, for a full bucket, and for the part of it that sheddable calls may not use.
        int64_t _token
        int64_t _capacity
        int64_t _reserve

        # The place of the last token taken, for `give_back`.
        Py_ssize_t _last

    cdef int64_t take(self, uint64_t key, uint64_t now, bint is_sheddable) noexcept
    cdef int give_back(self) noexcept
