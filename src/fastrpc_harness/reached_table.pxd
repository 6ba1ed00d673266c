cimport cython

from fastrpc._core.native.call_table cimport CallTable


@cython.final
cdef class ReachedTable:
    cdef:
        # The table; it owns its entries.
        readonly CallTable table
