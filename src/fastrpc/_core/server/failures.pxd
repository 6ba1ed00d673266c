"""The failure that answers a handler's error."""

cimport cython

from fastrpc._core.link.failure cimport Failure
from fastrpc._core.server.output_room cimport OutputRoom
from fastrpc._core.server.served_call cimport ServerCall


@cython.final
cdef class HandlerFailures:
    cdef:
        # `dispatcher`: the server's Python part, which chooses status, text and details; `room`: the limits of memory
        # and size for details.
        object dispatcher
        OutputRoom room

    cdef Failure of(self, ServerCall call, object error)
