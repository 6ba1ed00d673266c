"""The rules of a client's connection of any protocol: its opening, age, rest and end.

::

    check(engine, now) ──► due: opening, age, idle ──► close, abort and retire of the engine
                                                   ──► connection_aged, connection_draining of the owner

The caller passes the time and the calls. A client of a loop is the owner and is notified. Threads have no owner: the
thread with the next call checks age and rest (`takes_thread`). Probes of a server's health do not count as calls.
"""

import random

cimport cython

from fastrpc._core.base.instants cimport earlier, nanoseconds
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.io.engine cimport ByteStream

cdef enum:
    EARLY_NONE = 0
    EARLY_IDEMPOTENT = 1
    EARLY_ALL = 2

# Part of a credential's validity after which it is replaced: 0.8, in nanoseconds for each second.
cdef double RENEWED_NS = 8e8

# A refused credential is replaced at most this often.
cdef uint64_t REFUSED_AGAIN_NS = 10_000_000_000

cdef dict EARLY_CALLS = {"none": EARLY_NONE, "idempotent": EARLY_IDEMPOTENT, "all": EARLY_ALL}


@cython.final
cdef class ClientLife:
    """The rules by which a client connection opens, ages, becomes idle and ends."""

    def __init__(self, owner, timeouts, keepalive, str early_calls="all"):
        self.owner = owner
        self._early_calls = EARLY_CALLS[early_calls]
        self._handshake_ns = nanoseconds(timeouts.handshake)
        self._idle_ns = nanoseconds(timeouts.idle)
        if keepalive.max_age is not None:
            # Connections opened together, such as after a restart, must not all end together.
            self._age_ns = nanoseconds(keepalive.max_age * random.uniform(0.9, 1.1))
        self._made_ns = self._used_ns = now_ns()

    cdef int begin(self, Engine engine) except -1:
        self._made_ns = self._used_ns = engine.now
        engine.is_usable = self._takes_calls = True
        return 0

    cdef int opened(self, Engine engine) except -1:
        # Not `engine.stream`: an engine in Python may have another attribute of this name.
        stream = Engine.stream.__get__(engine)
        if stream is not None:
            (<ByteStream>stream).engine_ready()
        if self.owner is not None:
            self.owner.connection_ready(engine)
        return 0

    # Calls

    cdef bint takes_early(self, bint is_idempotent) noexcept:
        return self._early_calls == EARLY_ALL or (self._early_calls == EARLY_IDEMPOTENT and is_idempotent)

    cdef int call_begins(self, Engine engine, bint is_one_way) except -1:
        self.was_used = True
        if is_one_way:
            self._used_ns = engine.now
        else:
            self._calls += 1
        if self.announces_calls:
            self.announces_calls = False
            self.owner.connection_used(engine)
        return 0

    cdef int call_ended(self, Engine engine) except -1:
        self._calls -= 1
        self._used_ns = engine.now
        return 0

    cdef bint is_crowd(self, Py_ssize_t in_flight) noexcept:
        if self.crowd == 0 or in_flight < self.crowd:
            return False
        self.crowd = 0
        return True

    # The credential, if the server states no validity

    cdef int credential_expires(self, Engine engine, double seconds) except -1:
        cdef uint64_t age
        if self.owner is not None:
            self.owner.connection_accepted(engine, seconds)
            return 0
        # Without a loop no timer renews it: a newer connection with a new credential replaces this one.
        age = engine.now - self._made_ns + <uint64_t>(seconds * RENEWED_NS)
        self._age_ns = age if self._age_ns == 0 else min(age, self._age_ns)
        return 0

    cdef int credential_refused(self, Engine engine) except -1:
        if engine.now < self._refused_ns + REFUSED_AGAIN_NS:
            return 0
        self._refused_ns = engine.now
        if self.owner is not None:
            self.owner.connection_refused(engine)
        elif engine.now >= self._made_ns + REFUSED_AGAIN_NS:
            self.is_spent = True
            engine.is_usable = False
        return 0

    # The end

    cdef int refuse_calls(self, Engine engine) except -1:
        engine.is_usable = False
        if self._takes_calls:
            self._takes_calls = False
            if not self.was_used:
                self.is_dispensable = True
            if self.owner is not None:
                self.owner.connection_draining(engine)
        return 0

    cdef int retire(self, Engine engine, Py_ssize_t in_flight) except -1:
        if engine.is_closed:
            return 0
        self.is_retiring = True
        self.refuse_calls(engine)
        return self.close_when_idle(engine, in_flight)

    cdef int close_when_idle(self, Engine engine, Py_ssize_t in_flight) except -1:
        if self.is_retiring and in_flight == 0 and not engine.is_closed:
            engine.close()
        return 0

    # Time

    cdef bint takes_thread(self, Engine engine, uint64_t now, uint64_t rested_ns) except -1:
        cdef uint64_t age = (now - self._made_ns) // self._age_ns if self._age_ns else 0
        if age >= 2 or (rested_ns and self._idle_ns and now >= rested_ns + self._idle_ns):
            self.is_spent = True
            engine.is_usable = False
        elif age and not self.is_aged:
            self.is_aged = True
            return False
        return True

    cdef uint64_t check(self, Engine engine, uint64_t now, bint is_ready) except? 0:
        cdef uint64_t due = 0
        if self._handshake_ns and not is_ready:
            due = self._made_ns + self._handshake_ns
            if now >= due:
                engine.close(self.late_reason, f"the opening took more than {self._handshake_ns / 1e9:g} s")
                if self.late_reason == 0:
                    engine.abort()
                return 0
        if self.owner is None or self.is_retiring:
            return due
        return earlier(due, self._check_rest(engine, now, is_ready))

    cdef uint64_t look(self, Engine engine, uint64_t now, bint is_ready, bint is_busy) except? 0:
        """Apply `check` to a connection that does not date its calls: a check finds them, four times within a rest."""
        cdef uint64_t due
        if is_busy:
            self._used_ns = now
        due = self.check(engine, now, is_ready)
        return due if self.owner is None or self._idle_ns == 0 else earlier(due, now + (self._idle_ns // 4 or 1))

    cdef uint64_t _check_rest(self, Engine engine, uint64_t now, bint is_ready) except? 0:
        """On a loop: retire a connection that has become old, or that rests."""
        cdef uint64_t due = 0
        if self._age_ns:
            if now >= self._made_ns + self._age_ns:
                if self.is_aged or not is_ready:
                    # No successor came in time, or the server has never taken calls.
                    (<object>engine).retire()
                    return 0
                # Until it has a successor, and at most for the same time again, however late this check is.
                self._age_ns = 2 * (now - self._made_ns)
                self.is_aged = True
                self.is_dispensable = not self.was_used
                self.owner.connection_aged(engine)
            due = self._made_ns + self._age_ns
        if self._idle_ns == 0 or self.is_retiring:
            return due
        if self._calls:
            return earlier(due, now + self._idle_ns)
        if now >= self._used_ns + self._idle_ns:
            self.is_dispensable = True
            (<object>engine).retire()
            return 0
        return earlier(due, self._used_ns + self._idle_ns)
