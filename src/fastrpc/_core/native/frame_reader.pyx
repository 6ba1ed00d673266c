"""What a connection receives, up to whole frames.

::

    receive(bytes) ──► WireProtocol.parse ──► on_frame
         │                                        ▲
         └── a payload longer than the buffer ────┘  straight into an Assembly; its frame counts when it is whole

Nothing is decided about a frame before all of it is there, so any cut of the bytes gives the same events.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport PyObject

from fastrpc._core.calls.call cimport STATE_CANCELLED, STATE_GIVEN_UP
from fastrpc._core.framing.frame cimport (
    BODY_REFUSED,
    CONT,
    DATA,
    HEAD,
    HEADER_SIZE,
    MORE,
    REASON_CALM_DOWN,
    REASON_CREDIT,
    REQUEST,
    RESPONSE,
)
from fastrpc._core.framing.window cimport CONNECTION_WINDOW, FIRST_CONNECTION_WINDOW, open_budget, open_window, placed, spend
from fastrpc._core.base.wire cimport SECOND

cdef enum:
    # PROTOCOL.md, "Budgets".
    LATE_FRAMES_PER_SECOND = 330
    LEAST_LATE_BYTES = 64
    # A rest shorter than this is copied: not worth a read of its own.
    LEAST_DIRECT = 4096


cdef class FrameReader(PartsOwner):
    """Cuts bytes into frames and keeps the windows and budgets every frame goes through."""

    def __cinit__(self, *arguments, **options):
        open_window(&self.received, FIRST_CONNECTION_WINDOW)
        open_budget(&self.late_frames, LATE_FRAMES, LATE_FRAMES_PER_SECOND, SECOND)
        open_budget(&self.late_bytes, CONNECTION_WINDOW, LATE_BYTES_PER_SECOND, SECOND)
        open_budget(&self.short_pieces, CONNECTION_WINDOW, LATE_BYTES_PER_SECOND, SECOND)
        self.last_taken = <uint64_t>0x7FFFFFFFFFFFFFFF

    cdef Py_ssize_t receive(self, const char* data, Py_ssize_t size) except -1:
        """Consume whole frames and the beginnings of long payloads; return how many bytes were consumed.

        The rest belongs to a frame that is not whole: present it again, with more behind it. Or it has to wait, as
        `on_many_frames` said: present it again later, alone.
        """
        cdef Frame frame
        cdef Py_ssize_t at = 0, consumed
        while at < size:
            if self.is_closed:
                return size
            if self.body_left:
                at += self._feed_body(data + at, size - at)
                continue
            consumed = self.on_opening(data + at, size - at)
            if consumed:
                if consumed < 0:
                    return at
                at += consumed
                continue
            consumed = self.wire.parse(data + at, size - at, &frame)
            if consumed < 0:
                self._refuse(&frame, consumed == BODY_REFUSED)
                return size
            if size - at >= HEADER_SIZE and not self.is_counted and self._count(&frame):
                return size
            if consumed == 0:
                return at
            if frame.payload_present < frame.payload_size:
                self._hold(&frame, data + at)
            else:
                self.is_counted = False
                self.on_frame(&frame, None)
            at += consumed
            self.frames_left -= 1
            if self.frames_left < 0 and at < size and self.on_many_frames():
                return at
        return at

    cdef int _count(self, Frame* frame) except -1:
        """Take the frame from the connection window as soon as its header is known; 1 when it broke it."""
        self.is_counted = True
        if frame.kind == REQUEST or frame.kind == RESPONSE or frame.kind == DATA or frame.kind == HEAD:
            self.received.left -= HEADER_SIZE + <Py_ssize_t>frame.length
            if self.received.left < 0:
                self.violate(REASON_CREDIT, f"frame of {frame.length} bytes exceeds the connection window")
                return 1
        return 0

    cdef int _refuse(self, Frame* frame, bint header_is_sound) except -1:
        """The rules of the wire are broken; the window, which goes by the header, comes before what the body shows."""
        if header_is_sound and not self.is_counted and self._count(frame):
            return 0
        return self.violate(frame.refused, problem_text(frame))

    cdef int _hold(self, Frame* frame, const char* data) except -1:
        """Keep the head of a frame whose payload is still coming, and choose where the payload goes."""
        self.held = frame[0]
        self._rebase(&self.held, data, frame.payload - data)
        self.held_at = self.came_ns or self.now
        self.body_left = frame.payload_size - frame.payload_present
        self.sink = self._sink_for(frame)
        if self.sink is not None:
            self.sink.append(frame.payload, frame.payload_present, self.trusted)
        return 0

    cdef int _rebase(self, Frame* frame, const char* data, Py_ssize_t head) except -1:
        """Copy the head of a frame and let the frame point to the copy, which lives as long as it is held."""
        cdef const char* base
        self.held_head = PyBytes_FromStringAndSize(data, head)
        base = PyBytes_AS_STRING(self.held_head)
        frame.payload = NULL
        if frame.refused:
            return 0
        if frame.kind == REQUEST:
            frame.method = base + (frame.method - data)
        elif frame.kind == RESPONSE:
            frame.text = base + (frame.text - data)
        if frame.kind == REQUEST or frame.kind == RESPONSE:
            frame.metadata = base + (frame.metadata - data)
        else:
            # A HEAD is held only where it is longer than any limit, and then nobody looks at it.
            frame.metadata = NULL
        return 0

    cdef Assembly _sink_for(self, Frame* frame):
        """Where the payload of a held frame goes: a message of its own, one already begun, or nowhere (None)."""
        cdef Call call
        cdef Assembly begun
        self.sink_is_own = not frame.flags & CONT
        if frame.refused or frame.kind == HEAD:
            return None
        if frame.kind == REQUEST:
            if frame.id <= self.highest_seen or frame.id > self.last_taken:
                return None
        else:
            call = self.find_accepted(frame.id)
            if call is None:
                call = self.slots.find(frame.id)
            if call is None or call.state == STATE_GIVEN_UP or call.state == STATE_CANCELLED:
                return None
            if frame.flags & CONT:
                begun = None if call.incoming is None else <Assembly>call.incoming.assembly
                if begun is None or frame.payload_size > begun.total - begun.filled:
                    return None
                return begun
        if not frame.flags & MORE:
            frame.total = frame.payload_size
        return Assembly(frame.total) if frame.total <= self.ours.max_message else None

    cdef Py_ssize_t _feed_body(self, const char* data, Py_ssize_t size) except -1:
        cdef Py_ssize_t part = min(size, self.body_left)
        if self.sink is not None:
            self.sink.append(data, part, self.trusted)
        self.body_received(part)
        return part

    cdef char* body_place(self, Py_ssize_t* room) except? NULL:
        """Where the next payload bytes may be received directly, or NULL when no long payload is under way.

        The place stays valid until the next call of this object. Report what came by `body_received`, after
        adding it to `sink.filled`.
        """
        if self.sink is None or self.body_left < LEAST_DIRECT or self.is_closed:
            return NULL
        room[0] = min(self.body_left, max(<Py_ssize_t>65536, self.sink.filled))
        return self.sink.reserve(room[0], self.trusted)

    cdef int body_received(self, Py_ssize_t size) except -1:
        self.body_left -= size
        if self.body_left == 0:
            self._release_held()
        return 0

    cdef int _release_held(self) except -1:
        """The payload of the held frame is whole: now the frame counts."""
        cdef Frame frame = self.held
        cdef Assembly sink = self.sink
        cdef bytes _head = self.held_head  # keeps what `frame` points to
        cdef bytes payload = None
        self.sink = None
        self.held_head = None
        self.is_counted = False
        if frame.refused:
            return self.violate(frame.refused, problem_text(&frame))
        if sink is None:
            self.was_skipped = True
        elif self.sink_is_own and not frame.flags & MORE:
            payload = sink.finish()
            self.trusted = max(self.trusted, PyBytes_GET_SIZE(payload))
        else:
            self.arrived = sink
        try:
            self.on_frame(&frame, payload)
        finally:
            self.arrived = None
            self.was_skipped = False
            self.held_at = self.came_ns
        return 0

    cdef int _placed(self, Frame* frame) except -1:
        """Return connection credit for a frame that found its place, or was discarded."""
        cdef int64_t credit = placed(&self.received, HEADER_SIZE + <Py_ssize_t>frame.length)
        if credit and not self.is_closed:
            self.sender.send_credit(0, <uint32_t>credit)
        return 0

    cdef int _discard(self, Frame* frame) except -1:
        """Drop a frame that an honest peer may still have had under way; too many of them are a flood."""
        cdef bint allowed
        if frame.kind == REQUEST or frame.kind == HEAD or frame.kind == DATA:
            allowed = spend(&self.late_bytes, max(LEAST_LATE_BYTES, HEADER_SIZE + <Py_ssize_t>frame.length), self.now)
        else:
            allowed = spend(&self.late_frames, 1, self.now)
        if not allowed:
            self.violate(REASON_CALM_DOWN, f"too many frames for calls that are over, the last for call {frame.id}")
        return 0

    cdef int violate(self, int reason, str text) except -1:
        """The peer broke the rules: the connection ends."""
        if not self.is_closed:
            self.is_closed = True
            self.on_violation(reason, text)
        return 0

    cdef Py_ssize_t on_opening(self, const char* data, Py_ssize_t size) except -1:
        """Hook: take what comes before frames; 0 once there is nothing of it any more, OPENING_INCOMPLETE while it is
        not whole.
        """
        return 0

    cdef bint on_many_frames(self) except -1:
        """Hook: several frames were handled since the last time. Return whether the rest has to wait."""
        self.frames_left = FRAMES_AT_ONCE
        return False

    cdef int on_frame(self, Frame* frame, bytes payload) except -1:
        """Hook: a frame is whole. `payload` is set when it was received into memory of its own."""
        return 0

    cdef int on_violation(self, int reason, str text) except -1:
        """Hook: the peer broke the rules; nothing more is parsed."""
        return 0

    cdef Call find_accepted(self, uint64_t id):
        cdef PyObject* entry = self.accepted.get(id)
        return None if entry is NULL else <Call>entry


cdef str problem_text(Frame* frame):
    return f"{frame.problem.decode()} {frame.found}, allowed is {frame.allowed}"
