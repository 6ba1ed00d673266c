"""The scan of one part of a method's payloads before decoding."""

cimport cython

from fastrpc._core.payload.hash_flood cimport HashFloodGuard
from fastrpc._core.payload.key_log cimport KeyLog
from fastrpc._core.payload.prescan_protobuf cimport MessageLayout


@cython.final
cdef class PayloadScan:
    cdef:
        # What is scanned, and how; never changes. `layout` is there for protobuf only, `guard` for msgpack and JSON.
        readonly int codec_id
        readonly MessageLayout layout
        readonly HashFloodGuard guard

    # One of the results of `prescan`; MemoryError or what a `==` of the program raises. Sets `charge`.
    cdef int find(self, object payload, int max_depth, Py_ssize_t max_items, Py_ssize_t* charge) except -1
    cdef int _find(
        self, const char* data, Py_ssize_t size, int max_depth, Py_ssize_t max_items, Py_ssize_t* charge
    ) except -1
    cdef int _find_guarded(
        self, const char* data, Py_ssize_t size, int max_depth, Py_ssize_t max_items, Py_ssize_t* charge
    ) except -1
