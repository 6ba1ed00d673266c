"""The check of who sends a long frame, by its beginning, before its payload is received.

::

    header ──► path, method, metadata with the token ──► Access.judge ──► admitted: the payload is received
                  └─► too long: refused                       │└───────► refused: answered, the payload is dropped
                                                              └─► takes time: nothing more is read until it is known

A call whose deadline passes before its verdict is refused, too. A frame that is whole in one read is judged by the gate
alone, and so is a long one once more when it is whole: what was found of its credential is kept.
"""

cimport cython

from fastrpc._core.base.status cimport OK, RESOURCE_EXHAUSTED
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport NO_DEADLINE
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.rpcx.engine cimport SHORT_FRAME
from fastrpc._core.rpcx.frames cimport FLAGS_AT, HEADER_BYTES, IS_HEARTBEAT, LENGTH_BYTES, parse_head
from fastrpc._core.rpcx.requests cimport LONGEST_NAME
from fastrpc._core.serving.access cimport WAITS

from fastrpc.errors import RemoteProtocolError

cdef int check_heartbeat(Py_ssize_t size) except -1:
    if size > SHORT_FRAME:
        text = f"a heartbeat has {size} bytes, at most {<int>SHORT_FRAME} are taken where tokens are asked for"
        raise RemoteProtocolError(text)
    return 0


@cython.final
cdef class SenderCheck:

    cdef int look(
        self, RpcxRequests server, ServerCall nameless, const char* data, Py_ssize_t size, Py_ssize_t whole
    ) except -1:
        cdef RpcxFrame frame
        cdef Py_ssize_t longest
        cdef int found = self.verdict
        if self.call is not None:
            return FOUND_WAITS
        if found != FOUND_WAITS:
            self.verdict = FOUND_WAITS
            return found
        if <unsigned char>data[FLAGS_AT] & IS_HEARTBEAT:
            check_heartbeat(whole)
        if not parse_head(data, size, whole, &frame):
            longest = HEADER_BYTES + 3 * LENGTH_BYTES + LONGEST_NAME + <Py_ssize_t>server.gate.metadata_bytes
            if size < longest:
                return FOUND_WAITS
            # It would be presented again with each read, and no call that long is taken.
            text = f"path, method and metadata have more than {longest} bytes (Limits.metadata_bytes)"
            server.gate.refuse(nameless, RESOURCE_EXHAUSTED, text, True)
            return FOUND_REFUSED
        return self._judge(server, &frame)

    cdef int _judge(self, RpcxRequests server, RpcxFrame* frame) except -1:
        cdef ServerCall call = server.call_of(frame, 0)
        cdef Py_ssize_t size
        cdef int status
        if frame.metadata_size and not server.takes_metadata(call, frame, False):
            return FOUND_REFUSED
        size = server.find_name(frame)
        name = server.name[:size].decode("utf-8", "replace")
        call.route = server.gate.routes.find(server.name, size)
        try:
            status = server.gate._access.judge(call)
        except BaseException as error:
            server.gate._note_undecided(call, name, error)
            return FOUND_REFUSED
        if status != WAITS:
            return self._concluded(server, call, name, status)
        self.call = call
        server.gate.set_caller_deadline(call)
        (<ByteStream>server._stream).hold_input()
        if call.deadline_ns != NO_DEADLINE:
            (<ByteStream>server._stream).schedule_check(call.deadline_ns)
        server.gate._access.own_credentials.verify(
            call, name, lambda identity, status, seconds: self._judged(server, call, name, identity, status, seconds)
        )
        return FOUND_WAITS

    cdef uint64_t check(self, RpcxRequests server, uint64_t now) except? 0:
        """Answer a call whose deadline passes before its verdict; return when that is, 0: none is waited for."""
        cdef ServerCall call = self.call
        if call is None or call.deadline_ns == NO_DEADLINE:
            return 0
        if now < call.deadline_ns:
            return call.deadline_ns
        if server.gate._access.own_credentials.give_up(call):
            self.call = None
            server.exchange.now = now
            server.gate.refuse_late_in(call, "its credential was verified")
            self.verdict = FOUND_REFUSED
            server.go_on()
        return 0

    def _judged(self, RpcxRequests server, ServerCall call, str name, identity, int status, seconds):
        """Go on with the verdict that took time."""
        self.call = None
        if server.is_closed or server._stream is NULL:
            return
        server.exchange.now = now_ns()
        try:
            if identity is not None:
                status = server.gate._access.take_own(call, identity, seconds)
            self.verdict = self._concluded(server, call, name, status)
        except BaseException as error:
            server.gate._note_undecided(call, name, error)
            self.verdict = FOUND_REFUSED
        server.go_on()

    cdef int _concluded(self, RpcxRequests server, ServerCall call, str name, int status) except -1:
        if status == OK:
            return FOUND_ADMITTED
        server.gate._refuse_access(call, name, status)
        return FOUND_REFUSED
