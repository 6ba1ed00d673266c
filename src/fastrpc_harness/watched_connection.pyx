"""A connection without a socket. A test passes instants to its liveness, and gets due instants and ends of calls."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.calls.call cimport Call, MethodRoute
from fastrpc._core.io.engine cimport bind
from fastrpc._core.native.call_parts cimport NativeCalling, ServingPart
from fastrpc._core.native.hooks cimport Side
from fastrpc_harness.recording_parts cimport joined

from fastrpc._core.wire.settings import usual_settings


@cython.final
cdef class _WatchedServing(ServingPart):
    """The part of a watched connection that knows calls. The owner clears `owner` when it is freed."""

    cdef bint may_lend(self) noexcept:
        return not (<WatchedConnection>self.owner).is_short

    cdef bint on_stuck(self, Call call, str text) except -1:
        (<WatchedConnection>self.owner).events.append(("on_stuck", call.id))
        return True


@cython.final
cdef class _WatchedCalling(NativeCalling):
    """Keeps the ends of own calls. The owner clears `owner` when it is freed."""

    cdef int on_local_end(self, Call call, int status, str text) except -1:
        (<WatchedConnection>self.owner).events.append(("on_stuck", call.id))
        return 0


@cython.final
cdef class _WatchedSide(Side):
    """Watches the life of a connection, as the sides do, and keeps its events."""

    cdef int on_ready(self) except -1:
        (<WatchedConnection>self.holder).check((<WatchedConnection>self.holder).now)
        return 0


@cython.final
cdef class _WatchedStream(ByteStream):
    """Returns the values that its connection has."""

    cdef inline WatchedConnection _connection(self):
        return <WatchedConnection>self._engine

    cdef int64_t untaken_bytes(self) except? -1:
        return <int64_t>self._connection().held

    cdef int64_t taken_bytes(self) except? -1:
        return self._connection().taken

    cdef bint waits_for_turn(self) noexcept:
        return self._connection().is_put_off

    cdef int cut_off(self) except -1:
        self._connection().events.append(("cut_off",))
        return 0


@cython.final
cdef class WatchedConnection(Connection):
    def __init__(
        self, *, timeouts, keepalive, bint is_client=True, int64_t send_hard=0, bint answers_prove=False
    ):
        cdef _WatchedCalling calling = _WatchedCalling.__new__(_WatchedCalling)
        Connection.__init__(
            self, is_client=is_client, settings=usual_settings(not is_client), early_calls="all", answers_prove=answers_prove
        )
        self.events = []
        self.serving = _WatchedServing.__new__(_WatchedServing)
        self.serving.owner = calling.owner = <PyObject*>self
        self.calling = calling
        self.below = _WatchedStream.__new__(_WatchedStream)
        bind(self, self.below)
        self.take_side(_WatchedSide.__new__(_WatchedSide))
        self.liveness.set_rules(timeouts, keepalive)
        self.liveness.send_hard = send_hard
        if is_client:
            self.router.open()

    def close_now(self):
        self.close_with(0, "")

    def check_at(self, uint64_t now):
        self.now = now
        return self.liveness.check(now)

    def receive_at(self, bytes data not None, uint64_t now):
        self.now = self.received_ns = now
        return self.reader.receive(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    def take(self):
        return joined(self.sender.take())

    def request(self, bytes method not None):
        cdef Call call = Call.__new__(Call)
        call.is_local = True
        call.route = MethodRoute.__new__(MethodRoute)
        call.route.name = method
        self.slots.send_request(call, b"")
        return call

    def begin_drain_at(self, uint64_t now):
        self.now = now
        self.control.start_drain(0, "")
        return self.liveness.begin_drain(now)

    def linger_until(self, uint64_t instant):
        self.liveness.linger_until_ns = instant

    def forgive(self, uint64_t late):
        self.liveness.forgive(late)

    def forget_silence(self, uint64_t now):
        self.now = now
        self.liveness.forget_silence()

    # Hooks

    cdef int end_stream(self) except -1:
        self.events.append(("on_closed", self.closed_reason, self.closed_text))
        return 0
