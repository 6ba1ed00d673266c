"""The scan of one part of a method's payloads before decoding."""

cimport cython

from fastrpc._core.payload.hash_flood cimport HashFloodGuard
from fastrpc._core.payload.prescan_protobuf cimport MessageLayout


@cython.final
cdef class PayloadScan:
    cdef:
        # The format and the checks; never change. `layout` exists for protobuf only, `guard` for msgpack and JSON.
        readonly int codec_id
        readonly MessageLayout layout
        readonly HashFloodGuard guard

    # Returns one of the results of `prescan`; raises MemoryError, or the error of a user-defined `==`. Sets `charge`.
    cdef int find(self, object payload, int max_depth, Py_ssize_t max_items, Py_ssize_t* charge) except -1
    cdef int _find(
        self, const char* data, Py_ssize_t size, int max_depth, Py_ssize_t max_items, Py_ssize_t* charge
    ) except -1
    cdef int _find_guarded(
        self, const char* data, Py_ssize_t size, int max_depth, Py_ssize_t max_items, Py_ssize_t* charge
    ) except -1


# Returns the scan of the details of an error, which may be any value.
cdef PayloadScan details_scan(int codec_id)

# Returns the reason of a refusal in words, and a hint for the sender; None without a reason.
cdef str scan_text(int found, str what, int max_depth, Py_ssize_t max_items, str codec)
cdef str scan_limit(int found)
cdef str scan_hint(int found)
