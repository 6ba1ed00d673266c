"""The frame reader: from the bytes that a connection receives to whole frames.

::

    receive(bytes) ──► WireProtocol.parse ──► FrameHandler.on_frame
         │                                        ▲
         └── a payload longer than the buffer ────┘  straight into an Assembly; its frame is handled when complete
                         └── its memory is counted as it arrives; if memory is full, the rest is skipped

A frame has no effect before it is complete, so the events do not depend on how the bytes are split into reads. Only its
memory is counted earlier: otherwise thousands of connections could hold uncounted memory.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t

from fastrpc._core.native.call_parts cimport ServingPart
from fastrpc._core.native.hooks cimport FrameHandler
from fastrpc._core.native.parts_owner cimport PartsOwner
from fastrpc._core.wire.frame cimport (
    BODY_REFUSED,
    CONT,
    DATA,
    HEAD,
    HEADER_SIZE,
    MORE,
    REASON_CREDIT,
    REQUEST,
    RESPONSE,
)
from fastrpc._core.wire.window cimport FIRST_CONNECTION_WINDOW, open_window

cdef enum:
    # A shorter rest of a payload is copied, because a separate read costs more.
    LEAST_DIRECT = 4096
    # The memory of a payload is counted in steps of this size. Most frames are complete before the first step.
    COUNTED_STEP = 16_384


cdef class HeldFrame:
    """A frame whose payload is incomplete."""


cdef class FrameReader:
    """The reader of a connection: splits bytes into frames and keeps the connection window."""

    def __cinit__(self, PartsOwner owner not None):
        self.wire = owner.wire
        open_window(&self.received, FIRST_CONNECTION_WINDOW)
        self.awaits_opening = True

    @cython.nonecheck(False)
    cdef Py_ssize_t receive(self, const char* data, Py_ssize_t size) except -1:
        """Consume whole frames and the beginnings of long payloads; return the number of bytes consumed.

        The rest usually belongs to an incomplete frame: pass it again with further bytes. If the owner's `has_to_wait` is
        true, pass it again later, without further bytes.
        """
        cdef Frame frame
        cdef PartsOwner owner = <PartsOwner>self.owner
        cdef FrameHandler frames = owner.frames
        cdef Py_ssize_t at = 0, consumed
        cdef uint64_t timeout_us
        while at < size:
            if owner.is_closed:
                return size
            if self.body_left:
                at += self._feed_body(data + at, size - at)
                continue
            if self.awaits_opening:
                consumed = frames.on_opening(data + at, size - at)
                if consumed < 0:
                    return at
                at += consumed
                self.awaits_opening = consumed > 0
                continue
            consumed = self.wire.parse(data + at, size - at, &frame)
            if consumed < 0:
                self._refuse(&frame, consumed == BODY_REFUSED)
                return size
            if size - at >= HEADER_SIZE and not self.is_counted and self._count(&frame):
                return size
            if consumed == 0:
                if self.wire.finds_timeout(data + at, size - at, &timeout_us):
                    self._note_cut(&frame, timeout_us)
                return at
            if frame.payload_present < frame.payload_size:
                self._hold(&frame, data + at)
            else:
                self.is_counted = False
                frames.on_frame(&frame, None)
            at += consumed
            # `-=` would add a reference to `owner`.
            owner.messages_left = owner.messages_left - 1
            if owner.messages_left < 0 and at < size and owner.has_to_wait():
                return at
        return at

    @cython.nonecheck(False)
    cdef int _count(self, Frame* frame) except -1:
        """Subtract the frame from the connection window when its header is known; return 1 if it exceeds the window."""
        self.is_counted = True
        if frame.kind == REQUEST or frame.kind == RESPONSE or frame.kind == DATA or frame.kind == HEAD:
            self.received.left -= HEADER_SIZE + <Py_ssize_t>frame.length
            if self.received.left < 0:
                text = f"frame of {frame.length} bytes exceeds the connection window"
                (<PartsOwner>self.owner).close_with(REASON_CREDIT, text)
                return 1
        return 0

    cdef int _refuse(self, Frame* frame, bint header_is_sound) except -1:
        """End the connection because a frame breaks a rule.

        A broken window comes first: it is checked with the header, before the rules of the body.
        """
        if header_is_sound and not self.is_counted and self._count(frame):
            return 0
        return (<PartsOwner>self.owner).close_with(frame.refused, problem_text(frame))

    cdef int _hold(self, Frame* frame, const char* data) except -1:
        """Copy the head of a frame with an incomplete payload, and choose the memory for the payload."""
        self.held = HeldFrame.__new__(HeldFrame)
        self.held.frame = frame[0]
        self.held.head = PyBytes_FromStringAndSize(data, frame.payload - data)
        rebase(&self.held.frame, data, PyBytes_AS_STRING(self.held.head))
        self.held_at = (<PartsOwner>self.owner).came_ns or (<PartsOwner>self.owner).now
        self.body_left = frame.payload_size - frame.payload_present
        self.sink_is_own = not frame.flags & CONT
        self.sink = (<PartsOwner>self.owner).frames.sink_for(frame)
        if frame.kind == REQUEST and not frame.refused:
            self._note_cut(frame, frame.timeout_us)
        if self.sink is not None:
            self.sink.append(frame.payload, frame.payload_present, self.trusted)
        return self._count_part()

    cdef Py_ssize_t _feed_body(self, const char* data, Py_ssize_t size) except -1:
        cdef Py_ssize_t part = min(size, self.body_left)
        if self.sink is not None:
            self.sink.append(data, part, self.trusted)
        self.body_received(part)
        return part

    cdef char* body_place(self, Py_ssize_t* room) except? NULL:
        """Return the memory for the next bytes of a long payload, to be received directly; NULL if none is expected.

        The pointer is valid until the next call to this object. Add the number of received bytes to `sink.filled`, then
        call `body_received`.
        """
        if self.sink is None or self.body_left < LEAST_DIRECT or (<PartsOwner>self.owner).is_closed:
            return NULL
        return self.sink.place(self.body_left, room, self.trusted)

    cdef int body_received(self, Py_ssize_t size) except -1:
        self.body_left -= size
        if self.body_left == 0:
            (<PartsOwner>self.owner).messages_left -= 1
            self._release_held()
            return 0
        return self._count_part()

    cdef int _count_part(self) except -1:
        """Count the received bytes of a payload; if memory is full, skip the rest."""
        cdef Py_ssize_t came = self.held.frame.payload_size - self.body_left
        if self.sink is None or came - self.counted < COUNTED_STEP:
            return 0
        self.counted = came
        if (<PartsOwner>self.owner).serving is not None:
            self.dropped = (<PartsOwner>self.owner).serving.on_part(&self.held.frame, came)
        return 0 if self.dropped is None else self.drop_part()

    cdef int _part_ended(self, bint is_over) except -1:
        """Report the end of a counted payload; `is_over` if it was dropped or its message is counted by now."""
        cdef ServingPart serving = (<PartsOwner>self.owner).serving
        return 0 if serving is None else serving.on_part_ended(is_over)

    cdef int _note_cut(self, Frame* frame, uint64_t timeout_us) except -1:
        """Note an incomplete REQUEST, because its deadline may pass before the rest arrives."""
        if frame.id == self.cut_id:
            return 0
        self.cut_id = frame.id
        self.cut_flags = frame.flags
        self.cut_timeout_us = timeout_us
        self.cut_at = (<PartsOwner>self.owner).came_ns or (<PartsOwner>self.owner).now
        return 0 if (<PartsOwner>self.owner).serving is None else (<PartsOwner>self.owner).serving.on_cut_request()

    cdef int drop_part(self) except -1:
        """Drop an incomplete frame."""
        self.sink = None
        if self.counted:
            self.counted = 0
            self._part_ended(True)
        return 0

    cdef int _release_held(self) except -1:
        """Handle the held frame, as its payload is complete."""
        cdef HeldFrame held = self.held
        cdef Frame* frame = &held.frame
        cdef Assembly sink = self.sink
        cdef bytes payload = None
        self.sink = None
        self.held = None
        self.is_counted = False
        if frame.refused:
            return (<PartsOwner>self.owner).close_with(frame.refused, problem_text(frame))
        if self.counted:
            self._part_ended(False)
        if sink is None:
            self.was_skipped = True
        elif self.sink_is_own and not frame.flags & MORE:
            payload = sink.finish()
            self.trusted = max(self.trusted, PyBytes_GET_SIZE(payload))
        else:
            self.arrived = sink
        try:
            (<PartsOwner>self.owner).frames.on_frame(frame, payload)
        finally:
            self.arrived = None
            self.dropped = None
            self.was_skipped = False
            self.held_at = 0
            if self.counted:
                # The memory of the frame's message is counted elsewhere by now.
                self.counted = 0
                self._part_ended(True)
        return 0


cdef void rebase(Frame* frame, const char* data, const char* copy) noexcept nogil:
    """Make the pointers of a frame point into a copy of its head instead of `data`."""
    frame.payload = NULL
    if frame.refused:
        return
    if frame.kind == REQUEST:
        frame.method = copy + (frame.method - data)
    elif frame.kind == RESPONSE:
        frame.text = copy + (frame.text - data)
    if frame.kind == REQUEST or frame.kind == RESPONSE:
        frame.metadata = copy + (frame.metadata - data)
    else:
        # A HEAD is held only if it exceeds every limit, and then its content is not read.
        frame.metadata = NULL


cdef str problem_text(Frame* frame):
    return f"{frame.problem.decode()} {frame.found}, allowed is {frame.allowed}"
