"""The client's side of a native connection that threads share: how it opens, ages, rests and ends.

::

    BlockingConnection (a Connection) ──holds──► BlockingSide    decides when the parts of the connection ask

`OwnCalls` makes its calls. Its stream is a `BlockingSession`: without a loop, only a thread with a call checks it.
"""

import random

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

from fastrpc._core.base.status cimport OK
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport Call
from fastrpc._core.client.own_calls cimport new_own_calls, stats_of
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.native.call_parts cimport NativeCalling
from fastrpc._core.native.hooks cimport Side
from fastrpc._core.wire.frame cimport REASON_DRAIN

# The part of each second of a credential's validity after which it is replaced.
cdef uint64_t RENEWED_NS = 800_000_000


@cython.final
cdef class BlockingSide(Side):
    """The decisions of the client's side of one connection, without a loop."""

    cdef inline BlockingConnection connection(self):
        # The caller of this method is the connection, or a part of it.
        return <BlockingConnection>self.holder

    cdef int on_ready(self) except -1:
        cdef BlockingConnection connection = self.connection()
        cdef PyObject* stream = connection.sender.below()
        return 0 if stream is NULL else (<ByteStream>stream).engine_ready()

    cdef int on_verdict(self) except -1:
        """Let the connection age before its credential expires: without a loop, no timer could renew the credential."""
        cdef BlockingConnection connection = self.connection()
        cdef uint64_t age
        if connection.auth_status == OK and connection.auth_valid_seconds:
            age = connection.now - connection.liveness.made_ns + <uint64_t>connection.auth_valid_seconds * RENEWED_NS
            if connection.liveness.age_ns == 0 or age < connection.liveness.age_ns:
                connection.liveness.age_ns = age
        return 0

    cdef bint takes_call(self, uint64_t now, uint64_t rested_ns) except -1:
        """Check age and rest, which only the next call sees.

        An old connection takes other calls until it has a successor, or reaches twice its maximum age.
        """
        cdef BlockingConnection connection = self.connection()
        cdef uint64_t age = connection.liveness.age(now)
        if age >= 2 or (rested_ns and connection.liveness.is_rested(rested_ns, now)):
            connection.is_spent = True
            connection.is_usable = False
        elif age and not connection.is_aged:
            connection.is_aged = True
            return False
        return True


@cython.final
cdef class BlockingConnection(Connection):
    """The client's side of one connection to one endpoint, without a loop."""

    def __init__(self, *, endpoint, timeouts, keepalive, bytes credential=None, protocol=None, **options):
        Connection.__init__(self, is_client=True, **options)
        self.now = now_ns()
        # Unlike a loop, a thread is not notified when the system takes output again. The system may refuse output that
        # was taken, and the transports of a loop cannot say this as exactly.
        self.hears_of_room = False
        self.sender.may_be_refused = True
        self.liveness.set_rules(timeouts, keepalive, random.uniform)
        new_own_calls(self, endpoint, protocol)
        self.take_side(BlockingSide.__new__(BlockingSide))
        self.credential = credential

    def close(self, int reason=REASON_DRAIN, str text=""):
        """Close, with the reason; the stream writes the last words."""
        self.now = now_ns()
        self.close_with(reason, text)

    def stats(self):
        """Return the state of this connection as plain data."""
        return stats_of(self)

    # Events of its stream

    cdef int connected(self) except -1:
        # The opening leaves together with the first request.
        self.router.open()
        if self.credential is not None:
            self.control.send_credential(b"bearer", self.credential)
            self.credential = None
        self.is_usable = True
        return 0

    cdef int was_late(self, uint64_t late) except -1:
        return self.liveness.forget_silence()

    cdef int eof(self) except -1:
        self.is_usable = False
        return 0

    cdef int flushed(self) except -1:
        self.sender.handed_flushes = self.sender.flushes
        # From now on, output waits for the next bytes that the system takes.
        self.liveness.blocked_ns = 0
        return 0

    cdef int lost(self, object error) except -1:
        self.is_lost = True
        return Connection.lost(self, error)

    cdef int left_behind(self) except -1:
        self.is_left_behind = True
        self.is_usable = False
        return 0

    # The end

    cdef int end_stream(self) except -1:
        (<NativeCalling>self.calling).fail_all(self.closed_text or "it was closed")
        if self._stream is not NULL:
            (<ByteStream>self._stream).finish(True)
        return 0

    cdef bint may_have_left(self, Call call) noexcept:
        # Written output is sent together with the last frames. The parent of a fork makes the same calls.
        if self.is_left_behind:
            return True
        return self.sender.was_handed(call) if self.is_lost else call.handed_at != 0
