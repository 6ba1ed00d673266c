from libc.stdint cimport uint64_t

from fastrpc._core.base.timer_wheel cimport Timed
from fastrpc._core.loop.loop_state cimport LoopState
from fastrpc._core.native.parts_owner cimport PartsOwner
from fastrpc._core.server.gate cimport Gate


cdef class Openings(Timed):
    cdef:
        LoopState loop_state

        # The gate, which has the server's connections.
        Gate gate

        # `limit`: the limit of connections that are opening at the same time, above which silent ones are closed;
        # `bound`: its name.
        readonly Py_ssize_t limit
        readonly str bound

        # The opening connections from which bytes are read, even before their protocol is known, with the instant of their
        # last byte. The connection that is silent for longest is first.
        object heard_ns

        # Connections that have sent a part of their opening: less than the preface (`begun`), or the preface without
        # the rest (`prefaced`). At most `limit` connections of each group are read; the others wait for a slot, in
        # order (`waiting` and `waiting_prefaced`).
        set begun
        set prefaced
        dict waiting
        dict waiting_prefaced

        # `look_ns`: the instant of the next check for silent connections, 0 = none; `is_put_off`: whether the check was
        # deferred once; `is_reported`: whether too many openings were logged.
        uint64_t look_ns
        bint is_put_off
        bint is_reported

    cdef bint accept(self, PartsOwner connection, bint is_surplus) except -1
    cdef int goes_on(self, PartsOwner connection) except -1
    cdef int heard(self, PartsOwner connection) except -1
    cdef int leave(self, PartsOwner connection) except -1
