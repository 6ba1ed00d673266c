cimport cython

from fastrpc._core.calls.call cimport MethodRoute
from fastrpc._core.http2.hpack_encoder cimport HeaderTemplate


@cython.final
cdef class RequestHeads:
    cdef:
        # The fields in front of :path and behind it, but for content-type; the credential, or None.
        tuple _first
        tuple _last
        bytes _credential

        # The heads of this connection by route: as usual, and without the fields that metadata of a call replaces.
        dict _usual
        dict _bare

    # Return the fields of a request that are the same in each call of a method. `metadata`: that of the call, or None.
    cdef HeaderTemplate head_of(self, MethodRoute route, bytes metadata)

    # Show another token from now on.
    cdef int present(self, bytes credential) except -1
    cdef HeaderTemplate _head_beside(self, MethodRoute route, bytes metadata)
    cdef HeaderTemplate _made(self, MethodRoute route, tuple replaced)

    # Return the bytes of a head, as MAX_HEADER_LIST_SIZE counts them, without metadata.
    cdef Py_ssize_t size_of(self, MethodRoute route) except -1
