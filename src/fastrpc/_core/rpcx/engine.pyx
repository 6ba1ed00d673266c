"""The engine of either side of a connection: frames cut from the bytes, output in order.

::

    receive ──► announced_size ──► parse_frame ──► on_frame
       │              └─► longer than SHORT_FRAME: straight into an Assembly, parsed when it is whole
       └─► a violation ──► on_violation

A frame counts when it is whole, so any cut of the bytes gives the same events.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.rpcx.frames cimport announced_size, parse_frame

from fastrpc.errors import RemoteProtocolError

cdef enum:
    # A rest shorter than this is copied: not worth a read of its own.
    LEAST_DIRECT = 4_096


cdef class RpcxEngine(Engine):
    """The frames of one connection."""

    # A side implements these

    cdef int on_frame(self, RpcxFrame* frame) except -1:
        """Handle a whole frame; its bytes are valid only during this call."""
        return 0

    cdef int on_violation(self, object error) except -1:
        """The peer broke the protocol: nothing that follows can be understood."""
        return 0

    cdef int on_cut(self, const char* data, Py_ssize_t size, Py_ssize_t whole) except -1:
        """A part of a frame is here, from its header on, and the rest of it is to come."""
        return 0

    cdef int takes_long_frame(self, const char* data, Py_ssize_t size, Py_ssize_t whole) except -1:
        """Return whether a long frame is received, by its header and what else is here of it; LONG_WAITS: not known yet."""
        return LONG_TAKEN

    cdef int on_held(self, Py_ssize_t change) except -1:
        """So many more bytes are held of a long frame."""
        return 0

    cdef bint refuses_rest(self) except -1:
        """Return whether a long frame that is being received is refused, so that nothing of it is kept any longer."""
        return False

    # Bytes in

    cdef Py_ssize_t receive(self, const char* data, Py_ssize_t size) except -1:
        cdef Py_ssize_t consumed
        try:
            consumed = self._cut(data, size)
        except RemoteProtocolError as error:
            self.is_partial = False
            self.on_violation(error)
            return size
        return size if self.is_closed or self.ignores_input else consumed

    cdef Py_ssize_t _cut(self, const char* data, Py_ssize_t size) except -1:
        """Handle the frames in these bytes; return how many bytes were consumed. The rest waits, or is not whole."""
        cdef RpcxFrame frame
        cdef Py_ssize_t at = 0, whole, part
        self.is_partial = False
        while at < size and not (self.is_closed or self.ignores_input):
            if self.skip_left:
                part = min(self.skip_left, size - at)
                self.skip_left -= part
                at += part
                self.frame_bytes += part
                if self.skip_left == 0:
                    self.frame_began_ns = 0
                continue
            if self.body is not None:
                at += self._feed(data + at, size - at)
            else:
                whole = announced_size(data + at, size - at, self.profile.checked_magic)
                if whole == 0 or (whole > size - at and whole <= SHORT_FRAME and whole <= self.most_frame):
                    self._note_part(size - at)
                    if whole:
                        self.on_cut(data + at, size - at, whole)
                    return at
                if whole > size - at or whole > self.most_frame:
                    part = self._begin_frame(data + at, size - at)
                    if part == 0:
                        self._note_part(size - at)
                        return at
                    at += part
                    continue
                self.frame_began_ns = 0
                parse_frame(data + at, whole, &frame)
                self.on_frame(&frame)
                at += whole
            self.messages_left -= 1
            if self.messages_left < 0 and at < size and self.has_to_wait():
                return at
        self.is_partial = self.body is not None or self.skip_left > 0
        return at

    cdef Py_ssize_t _begin_frame(self, const char* data, Py_ssize_t size) except -1:
        """Take the beginning of a long frame; return how much of it that is, 0: it is to be presented again."""
        cdef Py_ssize_t whole = announced_size(data, size, self.profile.checked_magic)
        cdef int taken = self.takes_long_frame(data, size, whole)
        if taken == LONG_WAITS:
            return 0
        if taken == LONG_DROPPED:
            self.skip_left = whole - min(size, whole)
            self._note_part(min(size, whole))
            return min(size, whole)
        self.body = Assembly(whole)
        return self._feed(data, size)

    cdef void _note_part(self, Py_ssize_t size) noexcept:
        """So many bytes are here of a frame that is not whole."""
        self.is_partial = True
        self.frame_bytes = size
        if self.frame_began_ns == 0:
            self.frame_began_ns = self.now

    cdef Py_ssize_t _feed(self, const char* data, Py_ssize_t size) except -1:
        cdef Py_ssize_t part = min(size, self.body.total - self.body.filled)
        self.body.append(data, part, self.trusted)
        self.on_held(part)
        self.body_received(0)
        return part

    cdef char* body_place(self, Py_ssize_t* room) except? NULL:
        cdef Py_ssize_t left
        if self.body is None or self.is_closed or self.ignores_input:
            return NULL
        left = self.body.total - self.body.filled
        if left < LEAST_DIRECT:
            return NULL
        return self.body.place(left, room, self.trusted)

    cdef int body_received(self, Py_ssize_t size) except -1:
        cdef RpcxFrame frame
        cdef bytes whole
        self.body.filled += size
        if size:
            self.on_held(size)
        if self.body.filled < self.body.total:
            self._note_part(self.body.filled)
            try:
                self.on_cut(PyBytes_AS_STRING(<bytes>self.body._block), self.body.filled, self.body.total)
            except RemoteProtocolError as error:
                self.skip_body()
                self.is_partial = False
                return self.on_violation(error)
            if self.refuses_rest():
                self.skip_body()
            return 0
        whole = self.body.finish()
        self.body = None
        self.is_partial = False
        self.frame_began_ns = 0
        self.trusted = max(self.trusted, PyBytes_GET_SIZE(whole))
        self.messages_left -= 1
        try:
            parse_frame(PyBytes_AS_STRING(whole), PyBytes_GET_SIZE(whole), &frame)
            self.on_frame(&frame)
        except RemoteProtocolError as error:
            self.on_violation(error)
        finally:
            self.on_held(-PyBytes_GET_SIZE(whole))
        return 0

    cdef int skip_body(self) except -1:
        """Keep nothing of the long frame that is being received; the rest of it is skipped."""
        self.skip_left = self.body.total - self.body.filled
        self.on_held(-self.body.filled)
        self.body = None
        return 0

    cdef bint completes_body(self, Py_ssize_t size) noexcept:
        return self.body is None or size >= self.body.total - self.body.filled

    # Bytes out

    cdef int send_payload(self, bytes payload) except -1:
        """Append a payload behind the frame that was just written."""
        self.output.put(payload, 0, PyBytes_GET_SIZE(payload))
        return self.written()

    # The end

    cdef int end(self, bint lingers) except -1:
        """Close once the output is sent."""
        if self.is_closed or self._stream is NULL:
            return 0
        self.is_closed = True
        (<ByteStream>self._stream).finish(lingers)
        return 0

    def close(self, reason=0, text=""):
        """Close once all output is sent; the protocol has no word of goodbye."""
        self.end(True)
