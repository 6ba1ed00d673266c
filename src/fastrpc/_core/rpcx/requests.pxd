"""From the frames of requests to calls, and the words of servers in Go."""

cimport cython

from fastrpc._core.rpcx.frames cimport Profile, RpcxFrame
from fastrpc._core.rpcx.framing cimport RpcxFraming
from fastrpc._core.rpcx.native_forms cimport Reserved
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.server.served_connection cimport PlainDialect

cdef enum:
    # No method has a longer name.
    LONGEST_NAME = 512


cdef class RpcxRequests(RpcxFraming):
    cdef:
        # The full name of the method of the frame that is handled.
        char[LONGEST_NAME] name

    cdef ServerCall call_of(self, RpcxFrame* frame, int compressor)
    cdef Py_ssize_t find_name(self, RpcxFrame* frame) noexcept
    cdef bint takes_metadata(self, ServerCall call, RpcxFrame* frame, bint is_whole) except -1
    cdef int take_timeout(self, ServerCall call, Reserved* found) except -1
    cdef int refuse_early(self, ServerCall call, Py_ssize_t name_size, int status, str text) except -1


@cython.final
cdef class RpcxDialect(PlainDialect):
    cdef:
        Profile profile


cdef RpcxDialect new_dialect(Profile profile)

# Error texts as servers in Go write them: programs compare them.
cdef str unknown_method_in_go(str protocol, str method, object services)
cdef str unknown_codec_in_go(int codec)
