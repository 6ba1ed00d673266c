"""The part of a connection that makes our calls: of a client, and of a server that calls a client that serves.

::

    ClientCall ──► OwnCalls.start ──► CallSlots ──► REQUEST
    ClientCall ◄──  OwnCalls ◄── RESPONSE, HEAD, DATA, the end of the connection

The side that makes calls counts along with the other's budget for idle work (PROTOCOL.md 9) and keeps a CANCEL back
where it would use the budget up: a program that cancels without end would lose the connection, and all other calls.
"""

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

from fastrpc._core.base.status cimport DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calling.call_errors cimport check_request, lost_error, unstarted_error
from fastrpc._core.calling.client_call cimport ClientCall
from fastrpc._core.calls.call cimport NO_DEADLINE, STATE_NEW, Call
from fastrpc._core.framing.frame cimport ONE_WAY, OUTCOME_NOT_STARTED, STREAM_IN, Frame
from fastrpc._core.framing.window cimport CONNECTION_WINDOW
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.native.send_queue cimport SMALL_MESSAGE

from fastrpc.errors import CallError, DeadlineExceededError, EncodeError
from fastrpc.status import Status

cdef enum:
    # Bytes of CANCEL frames that may wait for the end of the loop's turn.
    CANCELS_AT_ONCE = 8_192


@cython.final
cdef class OwnCalls(CallingPart):
    """The calls of ours on one connection."""

    cdef inline Connection session(self):
        # Whoever calls this is the connection, or a call that holds it.
        return <Connection>self.owner

    # From calls

    cdef int start(self, Call call, bytes payload) except -1:
        self.send(call, payload)
        if call.deadline_ns != NO_DEADLINE and not call.flags & ONE_WAY:
            self.session().loop_state.start_timer(call, call.deadline_ns)
        return 0

    @cython.nonecheck(False)
    cdef int send(self, Call call, bytes payload) except -1:
        cdef Connection session = self.session()
        check_request(session, call, payload)
        if session.announces_calls and not (<ClientCall>call).is_probe:
            session.announces_calls = False
            session.on_used()
        if not session.settled:
            keep_early(session, <ClientCall>call, payload)
        return session.slots.send_request(call, payload)

    cdef int abandon(self, Call call, int reason) except -1:
        cdef Connection session = self.session()
        session.loop_state.stop_timer(call)
        if not session.is_closed:
            session.now = now_ns()
            session.give_up(call, reason)
            if session.sender.out.size > CANCELS_AT_ONCE and not session.is_reading:
                # Where thousands of callers are cancelled the first handlers hear of it before the last are through.
                return 0 if session._stream is NULL else (<ByteStream>session._stream).push()
        return 0

    # From the states of calls

    @cython.nonecheck(False)
    cdef int on_response(self, Call call, Frame* frame, bytes payload) except -1:
        cdef Connection session = self.session()
        if (<ClientCall>call).early_request is not None and session.is_usable:
            if send_again(session, <ClientCall>call, frame):
                return 0
        session.loop_state.stop_timer(call)
        session.woke = True
        return (<ClientCall>call).answer_came(frame, payload, session.now)

    cdef int on_message(self, Call call, Frame* frame, bytes payload, Py_ssize_t cost) except -1:
        if PyBytes_GET_SIZE(payload) <= SMALL_MESSAGE:
            (<Connection>self.owner).woke = True
        return (<ClientCall>call).message_came(frame, payload, cost)

    cdef int on_head(self, Call call, bytes metadata) except -1:
        return (<ClientCall>call).head_came(metadata)

    cdef int on_sendable(self, Call call) except -1:
        return (<ClientCall>call).may_send()

    cdef int on_local_end(self, Call call, int status, str text) except -1:
        if status == DEADLINE_EXCEEDED:
            error = DeadlineExceededError(f"{call.route.method}: {text}", processed="yes")
        else:
            error = CallError(Status(status), text, processed="yes")
        return self._fail(<ClientCall>call, error)

    cdef int on_unsendable(self, Call call, object error) except -1:
        return self._fail(<ClientCall>call, error)

    cdef int on_not_started(self, Call call) except -1:
        return self._fail(<ClientCall>call, unstarted_error(self.session(), self.endpoint, call))

    # From the connection

    cdef int stop(self) except -1:
        cdef Connection session = self.session()
        for call in session.slots.unsent_calls():
            session.sender.drop_unsent(<Call>call)
            self.on_not_started(<Call>call)
        return self._tell_watchers()

    cdef int fail_all(self, str why) except -1:
        cdef Connection session = self.session()
        cdef Call call
        for call in session.slots.unsent_calls():
            session.sender.drop_unsent(call)
            self._fail(<ClientCall>call, lost_error(session, self.endpoint, call, False, why))
        for call in session.slots.opened.entries():
            handed = session.was_handed(call)
            session.sender.drop_unsent(call)
            session.caller.forget(call)
            self._fail(<ClientCall>call, lost_error(session, self.endpoint, call, handed, why))
        return self._tell_watchers()

    cdef int _fail(self, ClientCall call, object error) except -1:
        self.session().loop_state.stop_timer(call)
        return call.failed(error)

    cdef int _tell_watchers(self) except -1:
        watchers, self.watchers = self.watchers, None
        for watcher in watchers or ():
            watcher()
        return 0


cdef int keep_early(Connection connection, ClientCall call, bytes payload) except -1:
    """Before the peer's SETTINGS: keep a request that is to be sent now, should they show that it came too early."""
    # Behind the REQUEST of a stream its messages may have left already.
    if not call.flags & (ONE_WAY | STREAM_IN) and <uint64_t>PyBytes_GET_SIZE(payload) <= connection.peer.max_message:
        call.early_request = payload
    return 0


cdef bint send_again(Connection connection, ClientCall call, Frame* frame) except -1:
    """Put a call back into the queue, once, that a limit refused which it could not know; False: take the answer.

    It is the same attempt: the server started nothing, and what it takes is known now.
    """
    cdef bytes payload = call.early_request
    call.early_request = None
    if frame.status != RESOURCE_EXHAUSTED or frame.outcome != OUTCOME_NOT_STARTED or frame.pushback_ms:
        return False
    if call.id >= connection.slots.early_until or connection.is_closed or connection.peer_drains:
        return False
    call.id = 0
    call.state = STATE_NEW
    call.handed_at = 0
    call.received_metadata = None
    try:
        check_request(connection, call, payload)
        connection.slots.send_request(call, payload)
    except EncodeError as error:
        connection.on_unsendable(call, error)
    return True


cdef OwnCalls new_own_calls(Connection session, object endpoint):
    """Let a connection make calls; it takes `owner` back when it goes."""
    cdef OwnCalls calls = OwnCalls.__new__(OwnCalls)
    calls.owner = <PyObject*>session
    calls.endpoint = endpoint
    session.calling = calls
    return calls


cdef bint output_waits(Connection session) except -1:
    """Return whether more waits to be sent than the window of a connection: the peer does not take it."""
    return session.sender.unsent_bytes() > CONNECTION_WINDOW


def watch_calls(Connection session not None, endpoint, ended):
    """Let calls of ours go out on a connection; return whether they may now.

    Args:
        endpoint: what errors call the other side, unless the connection makes calls already.
        ended: called without arguments, once, when no new ones may go out any more.
    """
    cdef OwnCalls calls = <OwnCalls?>session.calling if session.calling is not None else None
    if calls is None:
        calls = new_own_calls(session, endpoint)
        session.is_usable = session.settled and not (session.is_closed or session.peer_drains)
    if not session.is_usable:
        return False
    if calls.watchers is None:
        calls.watchers = []
    calls.watchers.append(ended)
    return True


@cython.nonecheck(False)
cdef Connection next_usable(list sessions, Py_ssize_t* turn):
    """Return the next connection in turn that takes calls, or None."""
    cdef Connection session
    cdef Py_ssize_t count = len(sessions), _i
    for _i in range(count):
        turn[0] += 1
        if turn[0] >= count:
            turn[0] = 0
        session = sessions[turn[0]]
        if session.is_usable:
            return session
    return None
