cimport cython
from libc.stdint cimport uint32_t, uint64_t

from fastrpc._core.base.buffer cimport WriteBuffer
from fastrpc._core.base.priority_queue cimport Queue
from fastrpc._core.native.call_slots cimport CallSlots
from fastrpc._core.native.callee_states cimport CalleeStates
from fastrpc._core.native.caller_states cimport CallerStates
from fastrpc._core.native.hooks cimport ConnectionPart
from fastrpc._core.native.send_queue cimport SendQueue
from fastrpc._core.wire.budgets cimport PingCount
from fastrpc._core.wire.frame cimport Frame
from fastrpc._core.wire.settings cimport WireSettings
from fastrpc._core.wire.window cimport Budget


@cython.final
cdef class ControlFrames(ConnectionPart):
    cdef:
        # The parts that are affected by control frames.
        CalleeStates callee
        CallerStates caller
        CallSlots slots
        SendQueue sender

        # Our SETTINGS. `was_announced`: whether the first frame was sent; `unacknowledged`: the settings without an ACK
        # yet, oldest first; `acknowledged`: the last settings with an ACK; `ping_gap_ms`: the shortest interval of
        # PINGs that the peer has to keep, in milliseconds.
        bint was_announced
        Queue unacknowledged
        WireSettings acknowledged
        uint32_t ping_gap_ms

        # `pings`: our PINGs without an answer yet; `pings_sent`: the number of all our PINGs; `ping_count`: the count
        # of the peer's PINGs.
        Queue pings
        readonly uint64_t pings_sent
        PingCount ping_count

        # `goaways_received`: the number of GOAWAYs received. `drain_reason`: the reason of this side's drain.
        int goaways_received
        int drain_reason

        # The number of the PING that we sent after the first step of our drain. Its answer shows that the peer has read
        # that step.
        uint64_t drain_ping

        # The number of CREDIT frames received, which is checked against the sender's `data_frames_sent`.
        uint64_t credits_received

        # The number of credentials that we sent and that have no verdict yet.
        int auths_sent

        # The peer's budgets for SETTINGS (`settings_budget`), for AUTH (`auth_budget`), and for unknown frames
        # (`skip_budget`).
        Budget settings_budget
        Budget auth_budget
        Budget skip_budget

    cdef int start(self, WireSettings acknowledged) except -1
    cdef int take(self, Frame* frame) except -1
    cdef int credit(self, Frame* frame) except -1
    cdef int announce(self, WireSettings settings) except -1
    cdef int send_ping(self, WriteBuffer buffer, bytes body) except -1
    cdef int start_drain(self, int reason, str text) except -1
    cdef int finish_drain(self) except -1
    cdef int send_verdict(self, int status, bytes text, uint32_t valid_seconds) except -1
    cdef int send_credential(self, bytes scheme, bytes data) except -1
    cdef int send_goaway(self, int reason, bint final, uint64_t last_id, str text) except -1

    cdef int _enforce(self) except -1
    cdef int _settings(self, Frame* frame) except -1
    cdef int _settings_acknowledged(self) except -1
    cdef int _ping(self, Frame* frame) except -1
    cdef int _ping_answered(self, bytes body) except -1
    cdef int _auth(self, Frame* frame) except -1
    cdef int _credential(self, Frame* frame) except -1
    cdef int _verdict(self, Frame* frame) except -1
    cdef int _goaway(self, Frame* frame) except -1
    cdef int _fail_above(self, uint64_t last_id) except -1
