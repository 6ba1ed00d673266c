"""A request to a mounted application: its body, and its response, as events of ASGI."""

cimport cython
from libc.stdint cimport int64_t

from fastrpc._core.exchange.exchange cimport Exchange
from fastrpc._core.exchange.request_head cimport RequestHead
from fastrpc._core.http.request_state cimport RequestState
from fastrpc._core.server.engine_served_connection cimport EngineServedConnection
from fastrpc._core.server.output_room cimport OutputRoom
from fastrpc._core.server.served_call cimport ServerCall


@cython.final
cdef class MountedRequest:
    cdef:
        # `call`: the call that represents the request for the gate; `_connection`: its connection, which may be closed;
        # `_state` and `head`: the request and its head.
        readonly ServerCall call
        EngineServedConnection _connection
        RequestState _state
        readonly RequestHead head

        # `_parts`: the parts of the body that the application has not received; `_held`: the number of their bytes.
        object _parts
        Py_ssize_t _held
        # `_has_all`: whether the whole body arrived; `_has_told_all`: whether the application has received its end.
        bint _has_all
        bint _has_told_all

        # Whether the client is gone, or the time of the request is over.
        readonly bint is_gone

        # The head of the response, which is sent with the first part of the body: `_status` (0 before
        # http.response.start) and `_lines`, its fields. `_length`: the stated Content-Length (-1: none). `_left`: the
        # bytes of it that are still to come.
        int _status
        bytes _lines
        int64_t _length
        int64_t _left

        # Whether the last part of the response was sent.
        readonly bint is_complete

        # The `MountedSocket` that the request asked for, None for other requests.
        public object socket

        # The future that is done when the process has memory for more output, or None.
        object _memory

        # The event that is set at each change that `receive` or `send` may wait for; None before the first wait.
        object _changed

    # Add a received part of the body.
    cdef int put(self, bytes part, bint is_last) except -1

    # Wake a waiting `send`, as some output was sent.
    cdef int wake_sender(self) except -1

    # Note that the client is gone, or that the server ends the request.
    cpdef int leave(self) except -1

    cdef Exchange _present(self)
    cdef int _begin_wait(self) except -1
    cdef bint _is_crowded(self) except -1
    cdef bint _is_full(self) except -1
    cdef bint _has_output(self) except -1
    cdef OutputRoom output_room(self)
    cdef int _ask_memory(self) except -1
    cdef bint _comes_in_pieces(self, Py_ssize_t size, bint is_last) except -1
    cdef int _wake(self) except -1
    cdef int _drop_body(self) except -1
    cdef int _hold(self, Py_ssize_t change) except -1
    cdef dict _taken(self)
    cdef int _start(self, message) except -1
    cdef int _send_body(self, bytes body, Py_ssize_t at, Py_ssize_t size, bint is_last) except -1
    cdef int _begin(self, Exchange exchange) except -1
    cdef int _check_length(self, Py_ssize_t size, bint is_last) except -1
    cdef int _finish(self, int status) except -1


# Return the `MountedRequest` of a call; None before the application is called, and for calls that are not for an
# application.
cdef MountedRequest mounted_request_of(ServerCall call)

# Return the fields of a response, each with its line end, and its Content-Length, -1 if it has none.
cdef tuple checked_fields(str method, object given)
