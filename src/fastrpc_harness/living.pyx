"""The life of a served connection alone: a test sets facts and instants, and gets orders."""

from fastrpc._core.io.engine cimport bind
from fastrpc._core.link.contract cimport Facts
from fastrpc._core.server.connection_life cimport new_life


cdef class LivedStream(ByteStream):
    def __cinit__(self):
        self.looks = []

    cdef int schedule_check(self, uint64_t due_ns) except -1:
        self.looks.append(due_ns)
        return 0

    cdef int hold_input(self) except -1:
        self.is_input_held = True
        return 0

    cdef bint has_unread(self) except -1:
        return self.is_unread

    cdef int64_t taken_bytes(self) except? -1:
        return self.taken


cdef class LivedConnection(ServedConnection):
    cdef list streams_under_way(self):
        return list(self.streams or ())

    cdef int64_t cut_bytes(self) except? -1:
        return self.cut


cdef class LivedEngine(PythonEngine):
    def __init__(self, ServedConnection connection=None):
        self.below = LivedStream()
        bind(self, self.below)
        self.connection = connection
        self.life = new_life(self, connection)
        self.orders = []

    def live_by(self, timeouts, keepalive, *, bint closes_by_answers=False, bint drains_at_rest=False):
        self.life.set_rules(timeouts, keepalive)
        self.life.closes_by_answers = closes_by_answers
        self.life.drains_at_rest = drains_at_rest

    # The orders

    def begin_drain(self, reason, text=""):
        self.orders.append(("begin_drain", reason))
        self.life.begin_drain(0)

    def end_calls(self, text):
        self.orders.append(("end_calls", text))

    def close(self, reason=0, text=""):
        self.orders.append(("close", reason))
        self.is_closed = True

    def abort(self):
        self.orders.append(("abort",))

    # Facts and questions

    def begin(self, uint64_t now):
        return self.life.begin(now)

    def opened(self):
        self.life.opening_due_ns = 0

    def used(self, uint64_t now):
        self.life.used_ns = now

    def drains(self, uint64_t kept_until=0):
        self.life.begin_drain(kept_until)

    def look(self, uint64_t now):
        cdef Facts facts
        facts.is_busy = self.is_busy
        facts.is_receiving = self.is_receiving
        facts.began_ns = self.began_ns
        facts.heard_ns = self.heard_ns
        facts.received = self.received
        facts.unsent = self.unsent
        facts.parked = self.parked
        return self.life.check(now, &facts)

    def look_at_busy(self, uint64_t now, bint is_busy):
        return self.life.look(now, is_busy, self.unsent)

    def lingers(self, uint64_t now):
        return self.life.linger(now)

    def count_in(self):
        return self.life.count_in()

    def count_out(self):
        self.life.count_out(None)

    def meet_peer(self):
        return self.life.meet_peer()

    def weigh(self, int64_t unsent, uint64_t now):
        self.life.weigh(unsent, now)

    def weigh_again(self, int64_t unsent, uint64_t now):
        return self.life.weigh_again(unsent, now)

    def check_credentials(self, uint64_t now):
        return self.life.check_credentials(now)

    def note_stall(self, uint64_t now, uint64_t came):
        self.life.note_stall(now, came)
