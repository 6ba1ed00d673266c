"""The splitting of a connection's bytes into frames.

::

    take ──► announced_size ──► parse_frame ──► on_frame
      │            └─► longer than SHORT_FRAME: RpcxBody, straight into an Assembly, parsed when it is complete
      └─► RemoteProtocolError: the peer broke the protocol

A frame is handled when it is complete, so the events do not depend on how the bytes are split into reads.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from fastrpc._core.base.buffer cimport Assembly
from fastrpc._core.io.engine cimport Engine
from fastrpc._core.link.contract cimport Facts
from fastrpc._core.rpcx.frames cimport Profile, announced_size, parse_frame
from fastrpc._core.server.link cimport Link

from fastrpc.errors import RemoteProtocolError

cdef enum:
    # A shorter rest of a frame is copied, because a separate read costs more.
    LEAST_DIRECT = 4_096


cdef class RpcxFraming(Wire):
    """The reader of the frames of one connection."""

    def __init__(self, Profile profile not None, Py_ssize_t most_frame):
        self.profile = profile
        self.most_frame = most_frame
        self.protocol = profile.name
        self.takes_values = True
        self.closes_on_refusal = profile.closes_on_refusal
        self.excludes_http = True
        self.body = RpcxBody.__new__(RpcxBody)
        self.body.wire = <PyObject*>self
        self.placing = self.body

    # Implemented by each side

    cdef int on_frame(self, RpcxFrame* frame) except -1:
        """Handle a complete frame; its bytes are valid only during this call."""
        return 0

    cdef int on_cut(self, const char* data, Py_ssize_t size, Py_ssize_t whole) except -1:
        """Handle an incomplete frame, whose header has arrived."""
        return 0

    cdef int takes_long_frame(self, const char* data, Py_ssize_t size, Py_ssize_t whole) except -1:
        """Decide from the header and the received bytes whether a long frame is accepted; return a LongFrame."""
        return LONG_TAKEN

    cdef bint refuses_rest(self) except -1:
        """Return whether an incomplete long frame has been refused, so that its bytes can be freed."""
        return False

    # The wire

    cdef int join(self, Engine link) except -1:
        if self.connection is not None:
            raise RuntimeError("a wire is held by one link")
        self.connection = (<Link?>link).connection
        return 0

    cdef int lost(self) except -1:
        return self.body.drop()

    cdef int tell(self, Facts* facts) except -1:
        facts.is_receiving = self.is_partial
        facts.began_ns = self.frame_began_ns
        facts.received = self.frame_bytes
        facts.parked = 0
        return 0

    cdef Py_ssize_t take(self, const char* data, Py_ssize_t size) except -1:
        cdef Link link = self.link()
        cdef RpcxFrame frame
        cdef Py_ssize_t at = 0, whole, part
        self.is_partial = False
        while at < size and not (link.is_closed or link.leaving.ignores_input):
            if self.skip_left:
                part = min(self.skip_left, size - at)
                self.skip_left -= part
                at += part
                self.frame_bytes += part
                if self.skip_left == 0:
                    self.frame_began_ns = 0
                continue
            if self.body.frame is not None:
                at += self.body.feed(data + at, size - at)
            else:
                whole = announced_size(data + at, size - at, self.profile.checked_magic)
                if whole == 0 or (whole > size - at and whole <= SHORT_FRAME and whole <= self.most_frame):
                    self.note_part(size - at)
                    if whole:
                        self.on_cut(data + at, size - at, whole)
                    return at
                if whole > size - at or whole > self.most_frame:
                    part = self._begin_frame(data + at, size - at)
                    if part == 0:
                        self.note_part(size - at)
                        return at
                    at += part
                    continue
                self.frame_began_ns = 0
                parse_frame(data + at, whole, whole, &frame)
                self.on_frame(&frame)
                at += whole
            link.messages_left -= 1
            if link.messages_left < 0 and at < size and link.has_to_wait():
                return at
        self.is_partial = self.body.frame is not None or self.skip_left > 0
        return at

    cdef Py_ssize_t _begin_frame(self, const char* data, Py_ssize_t size) except -1:
        """Handle the beginning of a long frame; return the number of bytes consumed, 0 if it has to be passed again."""
        cdef Py_ssize_t whole = announced_size(data, size, self.profile.checked_magic)
        cdef int taken = self.takes_long_frame(data, size, whole)
        if taken == LONG_WAITS:
            return 0
        if taken == LONG_DROPPED:
            self.skip_left = whole - min(size, whole)
            self.note_part(min(size, whole))
            return min(size, whole)
        self.body.begin(whole)
        return self.body.feed(data, size)

    cdef void note_part(self, Py_ssize_t size) noexcept:
        """Note the size of the received part of a frame."""
        self.is_partial = True
        self.frame_bytes = size
        if self.frame_began_ns == 0:
            self.frame_began_ns = self.link().now


@cython.final
cdef class RpcxBody(Placing):
    """The long frame that is being received. A socket reads into its memory."""

    cdef int begin(self, Py_ssize_t whole) except -1:
        """Start to receive a frame of `whole` bytes."""
        self.frame = Assembly(whole)
        return 0

    cdef Py_ssize_t feed(self, const char* data, Py_ssize_t size) except -1:
        """Append bytes of a read; return the number of bytes that belong to the frame."""
        cdef Py_ssize_t part = min(size, self.frame.total - self.frame.filled)
        self.frame.append(data, part, self.trusted)
        (<RpcxFraming>self.wire).link().intake.charge(part)
        self._came()
        return part

    cdef char* place(self, Py_ssize_t* room) except? NULL:
        cdef Py_ssize_t left
        if self.frame is None:
            return NULL
        left = self.frame.total - self.frame.filled
        return NULL if left < LEAST_DIRECT else self.frame.place(left, room, self.trusted)

    cdef int placed(self, Py_ssize_t size) except -1:
        self.frame.filled += size
        (<RpcxFraming>self.wire).link().intake.charge(size)
        return self._came()

    cdef object owner(self):
        return self.frame

    cdef bint completes(self, Py_ssize_t size) except -1:
        return self.frame is None or size >= self.frame.total - self.frame.filled

    cdef int _came(self) except -1:
        """Handle the frame if it is complete, otherwise its beginning."""
        cdef RpcxFraming wire = <RpcxFraming>self.wire
        if self.frame.filled >= self.frame.total:
            return self._finish()
        wire.note_part(self.frame.filled)
        try:
            wire.on_cut(self.beginning(), self.frame.filled, self.frame.total)
        except RemoteProtocolError:
            self.skip()
            raise
        return self.skip() if wire.refuses_rest() else 0

    cdef int _finish(self) except -1:
        cdef RpcxFraming wire = <RpcxFraming>self.wire
        cdef Link link = wire.link()
        cdef RpcxFrame frame
        cdef bytes whole = self.frame.finish()
        self.frame = None
        wire.is_partial = False
        wire.frame_began_ns = 0
        self.trusted = max(self.trusted, PyBytes_GET_SIZE(whole))
        link.messages_left -= 1
        try:
            parse_frame(PyBytes_AS_STRING(whole), PyBytes_GET_SIZE(whole), PyBytes_GET_SIZE(whole), &frame)
            wire.on_frame(&frame)
        finally:
            link.intake.charge(-PyBytes_GET_SIZE(whole))
        return 0

    cdef const char* beginning(self) noexcept:
        """Return a pointer to the received bytes of the frame, valid until more bytes arrive."""
        return PyBytes_AS_STRING(<bytes>self.frame._block)

    cdef int skip(self) except -1:
        """Free the frame, and skip the rest of it."""
        (<RpcxFraming>self.wire).skip_left = self.frame.total - self.frame.filled
        return self.drop()

    cdef int drop(self) except -1:
        """Free the memory of the frame that is being received, if there is one."""
        if self.frame is not None:
            (<RpcxFraming>self.wire).link().intake.charge(-self.frame.filled)
            self.frame = None
        return 0
