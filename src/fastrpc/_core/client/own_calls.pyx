"""The part of a native connection that makes calls, for a client, and for a server that calls a serving client.

::

    ClientCall ──► OwnCalls.start ──► CallSlots ──► REQUEST
    ClientCall ◄──  OwnCalls ◄── RESPONSE, HEAD, DATA, the end of the connection

The calling side also counts how much of the peer's budget for idle work it has used (PROTOCOL.md 9), and delays a
CANCEL that would exceed it: otherwise a program that cancels endlessly would lose the connection and all other calls.
"""

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

from fastrpc._core.base.status cimport DEADLINE_EXCEEDED, HIGHEST_STATUS, OK, RESOURCE_EXHAUSTED, UNAVAILABLE
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport NO_DEADLINE, STATE_NEW, Call
from fastrpc._core.client.call_errors cimport (
    check_request,
    lost_error,
    unreadable_error,
    unstarted_error,
    violation_error,
)
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.native.send_queue cimport SMALL_MESSAGE
from fastrpc._core.wire.frame cimport ONE_WAY, OUTCOME_NOT_STARTED, STREAM_IN
from fastrpc._core.wire.frame cimport REASON_CALM_DOWN, REASON_CREDIT, REASON_FRAME_SIZE, REASON_PROTOCOL, REASON_SETTINGS
from fastrpc._core.wire.window cimport CONNECTION_WINDOW

from fastrpc.errors import CallError, DeadlineExceededError, EncodeError, UnavailableError
from fastrpc.status import Status

# The life of a server's connection, which has other rules.
cdef ClientLife no_rules = ClientLife.__new__(ClientLife)

cdef enum:
    # Bytes of CANCEL frames that may wait for the end of the loop's turn.
    CANCELS_AT_ONCE = 8_192


@cython.final
cdef class OwnCalls(NativeCalling):
    """The calls that this side makes on one connection."""

    cdef inline Connection session(self):
        # The caller is the connection, or a call that holds it.
        return <Connection>self.owner

    # The connection

    cdef bint takes_call(self, uint64_t now, uint64_t rested_ns) except -1:
        return self.life.takes_thread(self.session(), now, rested_ns)

    cdef bint output_waits(self) except -1:
        # The unsent output exceeds the window of a connection.
        return self.session().sender.unsent_bytes() > CONNECTION_WINDOW

    cdef int await_output(self, Call call) except -1:
        return self.session().sender.await_output(call)

    # A call

    cdef int start(self, Call call, bytes payload) except -1:
        self.send(call, payload)
        if call.deadline_ns != NO_DEADLINE and not call.flags & ONE_WAY:
            self.loop_state.start_timer(call, call.deadline_ns)
        return 0

    @cython.nonecheck(False)
    cdef int send(self, Call call, bytes payload) except -1:
        cdef Connection session = self.session()
        check_request(self, call, payload)
        if self.life.announces_calls and not call.is_probe:
            self.life.announces_calls = False
            self.life.owner.connection_used(session)
        if not session.settled:
            self._keep_early(<ClientCall>call, payload)
        return session.slots.send_request(call, payload)

    cdef int abandon(self, Call call, int reason) except -1:
        cdef Connection session = self.session()
        _stop_timer(self, call)
        if not session.is_closed:
            session.now = now_ns()
            session.caller.give_up(call, reason)
            if session.sender.out.size > CANCELS_AT_ONCE and not session.is_reading:
                # If thousands of callers are cancelled, the first handlers get the cancellation before the last calls
                # are processed.
                return 0 if session._stream is NULL else (<ByteStream>session._stream).push()
        return 0

    # Its messages

    cdef int send_message(self, Call call, bytes payload, int codec, int compressor) except -1:
        return self.session().sender.send_message(call, payload, codec, compressor)

    cdef int send_end(self, Call call) except -1:
        # A call that has no id and no queued REQUEST was dropped.
        return self.session().sender.send_end(call) if call.id or call.unsent is not None else 0

    cdef bint output_is_full(self, Call call) noexcept:
        # A call without an id was dropped because of its deadline, which also ends this wait.
        return call.id == 0 or self.session().sender.is_full_for(call)

    cdef int await_turn(self, Call call) except -1:
        return self.session().sender.wait_turn(call) if call.id else 0

    cdef int message_taken(self, Call call, Py_ssize_t cost) except -1:
        return self.session().assembler.message_taken(call, cost)

    cdef int reader_waits(self, Call call) except -1:
        return 0 if self.session().is_closed else self.session().assembler.reader_waits(call)

    # The state of its request

    cdef bint was_written(self, Call call) noexcept:
        # The last piece is written, and will be sent unless the stream ends.
        return call.handed_at != 0

    cdef bint was_handed(self, Call call) noexcept:
        return self.session().sender.was_handed(call)

    cdef object error_of_end(self, Call call, bint handed, str why):
        cdef Connection session = self.session()
        if session.auth_status > OK and not handed:
            return _refused_error(self, call)
        if why is None:
            return unstarted_error(self.endpoint, call)
        if session.is_unreadable:
            return unreadable_error(self.endpoint, call, why)
        if _was_violated(self):
            return violation_error(self.endpoint, call, handed, why, session.closed_reason)
        return lost_error(self.endpoint, call, handed, why)

    # Called by the states of calls

    @cython.nonecheck(False)
    cdef int on_response(self, Call call, Frame* frame, bytes payload) except -1:
        cdef Connection session = self.session()
        if (<ClientCall>call).early_request is not None and session.is_usable:
            if self._sent_again(<ClientCall>call, frame):
                return 0
        if self.loop_state is not None:
            self.loop_state.stop_timer(call)
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
        return _fail(self, <ClientCall>call, error)

    cdef int on_unsendable(self, Call call, object error) except -1:
        return _fail(self, <ClientCall>call, error)

    cdef int on_not_started(self, Call call) except -1:
        return _fail(self, <ClientCall>call, self.error_of_end(call, False, None))

    # From the connection

    cdef int stop(self) except -1:
        self.peer_leaves = self.session().peer_drains
        _fail_unsent(self, None)
        return _tell_watchers(self)

    cdef int fail_all(self, str why, bint leaves) except -1:
        cdef Connection session = self.session()
        cdef Call call
        _fail_unsent(self, why)
        for call in session.slots.opened.entries():
            handed = self.was_written(call) if leaves else self.was_handed(call)
            session.sender.drop_unsent(call)
            session.caller.forget(call)
            _fail(self, <ClientCall>call, self.error_of_end(call, handed, why))
        return _tell_watchers(self)

    cdef int _keep_early(self, ClientCall call, bytes payload) except -1:
        """Keep a request that is sent before the peer's SETTINGS, as they may have limits that it exceeds."""
        # Messages of the stream may have been sent after its REQUEST.
        if call.flags & (ONE_WAY | STREAM_IN):
            return 0
        if <uint64_t>PyBytes_GET_SIZE(payload) <= self.session().peer.max_message:
            call.early_request = payload
        return 0

    cdef bint _sent_again(self, ClientCall call, Frame* frame) except -1:
        """Queue a call again, once, if a limit refused it that was unknown when it was sent; False if the answer counts.

        It is still the same attempt: the server started nothing, and its limits are known now.
        """
        cdef Connection session = self.session()
        cdef bytes payload = call.early_request
        call.early_request = None
        if frame.status != RESOURCE_EXHAUSTED or frame.outcome != OUTCOME_NOT_STARTED or frame.pushback_ms:
            return False
        if call.id >= session.slots.early_until or session.is_closed or session.peer_drains:
            return False
        call.id = 0
        call.state = STATE_NEW
        call.handed_at = 0
        call.received_metadata = None
        try:
            check_request(self, call, payload)
            session.slots.send_request(call, payload)
        except EncodeError as error:
            _fail(self, call, error)
        return True


cdef inline int _stop_timer(OwnCalls calls, Call call) except -1:
    return 0 if calls.loop_state is None else calls.loop_state.stop_timer(call)


cdef int _tell_watchers(OwnCalls calls) except -1:
    watchers, calls.watchers = calls.watchers, None
    for watcher in watchers or ():
        watcher()
    return 0


cdef int _fail(OwnCalls calls, ClientCall call, object error) except -1:
    _stop_timer(calls, call)
    return call.failed(error)


cdef int _fail_unsent(OwnCalls calls, str why) except -1:
    """Fail the calls of which the peer has seen no byte; None: the peer drains."""
    cdef Call call
    for call in calls.session().slots.unsent_calls():
        calls.session().sender.drop_unsent(call)
        _fail(calls, <ClientCall>call, calls.error_of_end(call, False, why))
    return 0


cdef object _refused_error(OwnCalls calls, Call call):
    """Return the error of a call that did not start because the server refused the credential."""
    cdef Connection session = calls.session()
    text = f"{call.route.method}: {calls.endpoint} refused the credentials: {session.auth_text}"
    if session.auth_status == UNAVAILABLE:
        return UnavailableError(text)
    return CallError(Status(min(session.auth_status, HIGHEST_STATUS)), text, processed="no")


cdef bint _was_violated(OwnCalls calls) noexcept:
    """Return whether the connection ended because the peer broke the rules of the wire."""
    cdef Connection session = calls.session()
    return not session.closed_by_peer and session.closed_reason in (
        REASON_PROTOCOL, REASON_FRAME_SIZE, REASON_CREDIT, REASON_CALM_DOWN, REASON_SETTINGS
    )


cdef OwnCalls new_own_calls(Connection session, object endpoint, object protocol=None, ClientLife life=None):
    """Let a connection make calls; the borrowed `owner` is cleared when the connection is freed."""
    cdef OwnCalls calls = OwnCalls.__new__(OwnCalls)
    calls.owner = <PyObject*>session
    calls.endpoint = endpoint
    calls.life = no_rules if life is None else life
    calls.loop_state = session.loop_state
    calls.peer = session.peer
    calls.is_settled = session.settled
    calls.protocol = "native"
    if protocol is not None:
        calls.protocol = protocol.name
        calls.takes_values = protocol.traits.takes_values
    calls.most_bytes = session.ours.max_message
    session.calling = calls
    return calls


def watch_calls(Connection session not None, endpoint, ended):
    """Let this side make calls on a connection; return whether it takes calls now.

    Args:
        endpoint: the other side's name in errors, unless the connection makes calls already.
        ended: called once, without arguments, when the connection stops taking new calls.
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
cdef Engine next_usable(list sessions, Py_ssize_t* turn):
    """Return the next connection in turn that takes calls, or None."""
    cdef Engine session
    cdef Py_ssize_t count = len(sessions), _i
    for _i in range(count):
        turn[0] += 1
        if turn[0] >= count:
            turn[0] = 0
        session = sessions[turn[0]]
        if session.is_usable:
            return session
    return None
