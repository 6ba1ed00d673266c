"""The client's side of a native connection that threads share: how it opens, ages, rests and ends.

`OwnCalls` makes its calls. Its stream is a `BlockingSession`: without a loop, only a thread with a call checks it.
"""

import random

from libc.stdint cimport uint64_t

from fastrpc._core.base.status cimport OK
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport Call
from fastrpc._core.client.own_calls cimport new_own_calls
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.native.call_parts cimport NativeCalling
from fastrpc._core.native.outgoing cimport Outgoing
from fastrpc._core.wire.frame cimport REASON_DRAIN

# The part of each second of a credential's validity after which it is replaced.
cdef uint64_t RENEWED_NS = 800_000_000


cdef class BlockingConnection(Connection):
    """The client's side of one connection to one endpoint, without a loop."""

    def __init__(self, *, endpoint, timeouts, keepalive, bytes credential=None, protocol=None, **options):
        Connection.__init__(self, is_client=True, **options)
        self.now = now_ns()
        self.liveness.set_rules(timeouts, keepalive, random.uniform)
        new_own_calls(self, endpoint, protocol)
        self.credential = credential

    cdef int connected(self) except -1:
        # The opening leaves together with the first request.
        self.open()
        if self.credential is not None:
            self.control.send_credential(b"bearer", self.credential)
            self.credential = None
        self.is_usable = True
        return 0

    cdef int on_verdict(self) except -1:
        """Let the connection age before its credential expires: without a loop, no timer could renew the credential."""
        cdef uint64_t age
        if self.auth_status == OK and self.auth_valid_seconds:
            age = self.now - self.liveness.made_ns + <uint64_t>self.auth_valid_seconds * RENEWED_NS
            self.liveness.age_ns = age if self.liveness.age_ns == 0 else min(age, self.liveness.age_ns)
        return 0

    cdef int on_ready(self) except -1:
        return 0 if self._stream is NULL else (<ByteStream>self._stream).engine_ready()

    # Its life

    cdef bint takes_call(self, uint64_t now, uint64_t rested_ns) except -1:
        """Check age and rest, which only the next call sees.

        An old connection takes other calls until it has a successor, or reaches twice its maximum age.
        """
        cdef uint64_t age = self.liveness.age(now)
        if age >= 2 or (rested_ns and self.liveness.is_rested(rested_ns, now)):
            self.is_spent = True
            self.is_usable = False
        elif age and not self.is_aged:
            self.is_aged = True
            return False
        return True

    cdef int was_late(self, uint64_t late) except -1:
        return self.liveness.forget_silence()

    cdef int eof(self) except -1:
        self.is_usable = False
        return 0

    # The output

    cdef bint output_is_stuck(self) noexcept:
        # Unlike a loop, a thread is not notified when the system takes output again.
        return False

    cdef bint output_is_full(self, Call call) noexcept:
        """Return whether output waits for the system, so that a stream does not add to it."""
        cdef bint is_stuck = self._stream is not NULL and (<ByteStream>self._stream).is_stuck()
        return is_stuck or self.sender.is_full()

    cdef int flushed(self) except -1:
        self.handed_flushes = self.sender.flushes
        # From now on, output waits for the next bytes that the system takes.
        self.liveness.blocked_ns = 0
        return 0

    cdef bint was_handed(self, Call call) noexcept:
        # Bytes that the system refused were not handed over. The transports of a loop cannot say this as exactly.
        return call.handed_at != 0 and call.handed_at <= self.handed_flushes

    cdef bint may_have_left(self, Call call) noexcept:
        # Written output is sent together with the last frames. The parent of a fork makes the same calls.
        if self.is_left_behind:
            return True
        return self.was_handed(call) if self.is_lost else self.was_written(call)

    # The end

    cdef int on_closed(self) except -1:
        self.is_usable = False
        (<NativeCalling>self.calling).fail_all(self.closed_text or "it was closed")
        if self._stream is not NULL:
            (<ByteStream>self._stream).finish(True)
        return 0

    cdef int lost(self, object error) except -1:
        self.is_lost = True
        return Connection.lost(self, error)

    cdef int left_behind(self) except -1:
        self.is_left_behind = True
        self.is_usable = False
        return 0

    def close(self, int reason=REASON_DRAIN, str text=""):
        """Close, with the reason; the stream writes the last words."""
        self.now = now_ns()
        self.close_with(reason, text)

    def stats(self):
        """Return the state of this connection as plain data."""
        return {
            "calls": self.slots.opened.size,
            "waiting": sum([not (<Outgoing>item).is_dropped for queue in self.slots.queues() for item in queue]),
            "buffered": self.untaken_bytes(),
            "credit": self.sender.send_left,
        }
