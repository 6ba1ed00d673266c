"""The opening of a connection, and the choice of the part that handles a frame.

::

    FrameReader ──► preface ──► our half of the opening, or the end of the connection
                ├─► REQUEST, CANCEL, END, DATA of the peer's calls ──► CalleeStates
                ├─► RESPONSE, HEAD, DATA of our calls ───────────────► CallerStates
                ├─► CREDIT, SETTINGS, PING, GOAWAY, AUTH, … ─────────► ControlFrames
                └─► the memory for a long payload

Each frame of a call returns the connection credit that it used.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from fastrpc._core.base.buffer cimport Assembly
from fastrpc._core.base.wire cimport SECOND, store32
from fastrpc._core.calls.call cimport STATE_CANCELLED, STATE_GIVEN_UP, Call
from fastrpc._core.native.frame_reader cimport OPENING_INCOMPLETE
from fastrpc._core.native.parts_owner cimport LATE_BYTES_PER_SECOND, PHASE_PREFACE, PHASE_SETTINGS, PartsOwner
from fastrpc._core.wire.frame cimport CANCEL, CONT, CREDIT, DATA, END, HEAD, HEADER_SIZE, MORE, PREFACE_SIZE
from fastrpc._core.wire.frame cimport REASON_PROTOCOL, REQUEST, RESPONSE
from fastrpc._core.wire.native cimport begins_with_magic, stranger_of, version_problem
from fastrpc._core.wire.window cimport CONNECTION_WINDOW, FIRST_CONNECTION_WINDOW, open_budget, placed

from fastrpc._core.wire.native import NO_COMMON_VERSION, PREFACE

cdef enum:
    # An error shows at most this many of the first bytes of an unknown protocol.
    SHOWN_BYTES = 16


@cython.final
cdef class FrameRouter(FrameHandler):
    """Handles the opening of a connection, and passes each frame to a part."""

    def __cinit__(self, PartsOwner owner not None, FrameReader reader not None, ControlFrames control not None):
        self.reader = reader
        self.control = control

    # Opening

    cdef int open(self) except -1:
        """Send our half of the opening: preface, SETTINGS and the raise of the connection window.

        A client calls this when the stream is connected. On a server, `on_opening` calls it after the client's preface.
        """
        cdef PartsOwner owner = <PartsOwner>self.owner
        cdef Py_ssize_t window = max(<Py_ssize_t>CONNECTION_WINDOW, <Py_ssize_t>owner.ours.max_frame + HEADER_SIZE)
        self._write_raw(PREFACE)
        owner.preface_sent = self.control.sender.opening_waits = True
        self.control.announce(owner.ours)
        open_budget(&owner.late_bytes, window, LATE_BYTES_PER_SECOND, SECOND)
        open_budget(&self.control.caller.assembler.short_pieces, window, LATE_BYTES_PER_SECOND, SECOND)
        if not owner.keeps_window:
            self.raise_window(window)
        return owner.written()

    cdef int raise_window(self, Py_ssize_t window) except -1:
        """Raise the connection window. The credit is sent in order, not ahead of other output."""
        cdef char[4] body
        self.reader.received.size = window
        self.reader.received.left += window - FIRST_CONNECTION_WINDOW
        store32(body, <uint32_t>(window - FIRST_CONNECTION_WINDOW))
        return self.control.sender.send_control(self.control.sender.out, CREDIT, 0, body[:4])

    cdef int _write_raw(self, bytes data) except -1:
        memcpy(self.control.sender.out.reserve(len(data)), PyBytes_AS_STRING(data), len(data))
        return 0

    cdef Py_ssize_t on_opening(self, const char* data, Py_ssize_t size) except -1:
        """Read the preface. Return its length when it is complete, 0 if it was read before."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        if owner.phase != PHASE_PREFACE:
            return 0
        if not begins_with_magic(data, size):
            first = data[:min(size, SHOWN_BYTES)]
            text = stranger_of(first, owner.is_client)
            owner.is_unreadable = True
            owner.side.on_stranger(text, first)
            owner.end_connection(REASON_PROTOCOL, text, False)
            return size
        if size < PREFACE_SIZE:
            return OPENING_INCOMPLETE
        self._take_preface(data)
        return PREFACE_SIZE

    cdef int _take_preface(self, const char* data) except -1:
        cdef PartsOwner owner = <PartsOwner>self.owner
        cdef str problem = version_problem(data, owner.is_client)
        owner.phase = PHASE_SETTINGS
        owner.is_unreadable = problem is not None
        if problem is None:
            return 0 if owner.is_client else self.open()
        if not owner.is_client:
            self._write_raw(NO_COMMON_VERSION)
            owner.written()
        return owner.end_connection(REASON_PROTOCOL, problem, False)

    # Frames

    @cython.nonecheck(False)
    cdef int on_frame(self, Frame* frame, bytes payload) except -1:
        if frame.kind == REQUEST:
            self.control.callee.request(frame, payload)
        elif frame.kind == RESPONSE:
            self.control.caller.response(frame, payload)
        elif frame.kind == DATA:
            self._data(frame, payload)
        elif frame.kind == CREDIT:
            return self.control.credit(frame)
        elif frame.kind == CANCEL:
            return self.control.callee.cancel(frame)
        elif frame.kind == END:
            return self.control.callee.end(frame)
        elif frame.kind == HEAD:
            self.control.caller.head(frame)
        else:
            return self.control.take(frame)
        return self._placed(frame)

    @cython.nonecheck(False)
    cdef int _placed(self, Frame* frame) except -1:
        """Return the connection credit of a frame to the peer after the frame was used or discarded."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        cdef int64_t credit
        if owner.serving is not None and owner.serving.withholds(frame):
            return 0
        credit = placed(&self.reader.received, HEADER_SIZE + <Py_ssize_t>frame.length)
        if credit and not owner.is_closed:
            self.control.sender.send_credit(0, <uint32_t>credit)
        return 0

    cdef Assembly sink_for(self, Frame* frame):
        cdef Call call
        cdef Assembly begun
        if frame.refused or frame.kind == HEAD:
            return None
        if frame.kind == REQUEST:
            if frame.id <= self.control.callee.highest_seen or frame.id > self.control.callee.last_taken:
                return None
        else:
            call = self.control.callee.find(frame.id)
            if call is None:
                call = self.control.slots.find(frame.id)
            if call is None or call.state == STATE_GIVEN_UP or call.state == STATE_CANCELLED:
                return None
            if frame.flags & CONT:
                begun = None if call.incoming is None else <Assembly>call.incoming.assembly
                if begun is None or frame.payload_size > begun.total - begun.filled:
                    return None
                return begun
        if not frame.flags & MORE:
            frame.total = frame.payload_size
        return Assembly(frame.total) if frame.total <= (<PartsOwner>self.owner).message_bound else None

    cdef int _data(self, Frame* frame, bytes payload) except -1:
        cdef PartsOwner owner = <PartsOwner>self.owner
        cdef Call call
        if (frame.id & 1) == <uint64_t>owner.wire.peer_parity:
            return self.control.callee.data(frame, payload)
        call = self.control.slots.find(frame.id)
        if call is None:
            return owner.close_with(REASON_PROTOCOL, f"DATA for call {frame.id}, which is over or was never opened")
        return self.control.caller.data(call, frame, payload)
