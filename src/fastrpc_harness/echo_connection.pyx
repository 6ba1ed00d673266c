"""Both sides of a connection in a C loop: the cost of one call in the core, without event loop, socket or marshal."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject

from fastrpc._core.calls.call cimport Call, MethodRoute
from fastrpc._core.native.call_parts cimport NativeCalling, ServingPart
from fastrpc._core.wire.frame cimport Frame
from fastrpc._core.wire.settings cimport WireSettings

from fastrpc._core.wire.settings import usual_settings


@cython.final
cdef class _Serving(ServingPart):
    """Answers requests with their payload."""

    cdef int on_request(self, Call call, Frame* frame, bytes payload) except -1:
        # The connection clears the pointer when it goes.
        return (<EchoConnection>self.owner).sender.send_response(call, payload, 0)


@cython.final
cdef class _Calling(NativeCalling):
    """Counts answers."""

    cdef int on_response(self, Call call, Frame* frame, bytes payload) except -1:
        (<EchoConnection>self.owner).answered += 1
        return 0


@cython.final
cdef class EchoConnection(Connection):
    def __init__(self, *, bint is_client, WireSettings settings=None):
        cdef _Calling calling
        Connection.__init__(
            self,
            is_client=is_client,
            settings=usual_settings(not is_client) if settings is None else settings,
            early_calls="all",
        )
        self.serving = _Serving.__new__(_Serving)
        calling = _Calling.__new__(_Calling)
        self.serving.owner = calling.owner = <PyObject*>self
        self.calling = calling
        if is_client:
            self.router.open()

    def exchange(self, EchoConnection server not None):
        """Pass the output of each side to the other side until both have no output."""
        cdef bytes data
        while self.sender.output_bytes() or server.sender.output_bytes():
            data = all_output(self)
            server.reader.receive(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
            data = all_output(server)
            self.reader.receive(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    def make_calls(self, EchoConnection server not None, Py_ssize_t count, Py_ssize_t batch, bytes payload):
        """Make `count` calls, and flush after every `batch` calls; return the number of answered calls."""
        cdef MethodRoute route = MethodRoute.__new__(MethodRoute)
        cdef Call call
        cdef Py_ssize_t _i, _j
        route.name = b"bench.echo"
        self.answered = 0
        for _i in range(count // batch):
            for _j in range(batch):
                call = Call.__new__(Call)
                call.is_local = True
                call.route = route
                self.slots.send_request(call, payload)
            self.exchange(server)
        return self.answered


cdef bytes all_output(Connection connection):
    output = connection.sender.take()
    return <bytes>output if type(output) is bytes else b"".join(output)
