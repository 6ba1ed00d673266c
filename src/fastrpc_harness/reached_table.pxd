cimport cython

from fastrpc._core.native.call_table cimport CallTable


@cython.final
cdef class ReachedTable:
    cdef:
        # The table, which holds its entries.
        readonly CallTable table
