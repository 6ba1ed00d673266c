"""The output of a native connection: frames in order, and frames that need no credit and may overtake them."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint16_t
from libc.string cimport memset

from fastrpc._core.base.output_buffer cimport UNCOPIED
from fastrpc._core.base.wire cimport store16, store32
from fastrpc._core.native.call_parts cimport NativeCalling
from fastrpc._core.native.parts_owner cimport PartsOwner
from fastrpc._core.wire.frame cimport CANCEL, CREDIT

cdef ByteStream no_stream = ByteStream.__new__(ByteStream)


cdef class Output(OutputBuffer):
    """The bytes that may be sent, in order."""

    def __cinit__(self, PartsOwner owner not None):
        self.owner = <PyObject*>owner
        self.wire = owner.wire
        self.control = WriteBuffer()

    cdef int put_body(
        self, WriteBuffer buffer, int kind, int flags, uint64_t id, const char* body, Py_ssize_t size
    ) except -1:
        """Write a short frame of a kind without further fields."""
        cdef Frame frame
        memset(&frame, 0, sizeof(Frame))
        frame.kind = kind
        frame.flags = flags
        frame.id = id
        frame.payload = body
        frame.payload_size = frame.payload_present = size
        self.wire.write(buffer, &frame)
        return 0

    cdef int put_frame(self, Frame* frame, bytes payload, Py_ssize_t offset, Py_ssize_t size) except -1:
        """Write a frame. A long part of a payload is referenced instead of copied."""
        frame.payload = PyBytes_AS_STRING(payload) + offset
        frame.payload_size = size
        frame.payload_present = size if size < UNCOPIED else 0
        self.wire.write(self.out, frame)
        return self.keep(payload, offset, size) if size >= UNCOPIED else 0

    # Frames without credit, which never wait

    cdef int send_cancel(self, uint64_t id, int reason) except -1:
        cdef char[4] body
        store16(body, <uint16_t>reason)
        store16(body + 2, 0)
        self.cancel_waits = True
        self.put_body(self.out, CANCEL, 0, id, body, 4)
        return (<PartsOwner>self.owner).written()

    cdef int send_credit(self, uint64_t id, uint32_t size) except -1:
        cdef char[4] body
        store32(body, size)
        # If CREDIT overtook a CANCEL, the callee would send more data for the call that was just given up.
        self.put_body(self.out if self.cancel_waits else self.control, CREDIT, 0, id, body, 4)
        return (<PartsOwner>self.owner).written()

    cdef int send_control(self, WriteBuffer buffer, int kind, int flags, bytes body) except -1:
        """Write a frame of the connection itself into `control` or, if order matters, into `out`."""
        self.put_body(buffer, kind, flags, 0, PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body))
        return (<PartsOwner>self.owner).written()

    # The stream below

    @cython.final
    cdef ByteStream below(self):
        cdef PyObject* stream = (<PartsOwner>self.owner)._stream
        return no_stream if stream is NULL else <ByteStream>stream

    @cython.final
    cdef bint is_stuck(self) noexcept:
        """Return whether the stream accepts no output now and will report when it does. Answers to PINGs are limited then.
        """
        return (<PartsOwner>self.owner).hears_of_room and self.below().is_stuck()

    # Calls whose sender waits

    @cython.final
    cdef int await_output(self, Call call) except -1:
        """Notify a call when our output was sent."""
        if self.waiters is None:
            self.waiters = {}
        # A dict, so that a call that stops waiting and waits again is listed once.
        self.waiters[call] = None
        return 0

    @cython.final
    cdef int wake_waiters(self) except -1:
        """Notify the waiting calls if the stream accepted enough output."""
        cdef dict calls = self.waiters
        if not (self.is_stuck() or self.is_full()):
            self.waiters = None
            for call in calls:
                self.wake(<Call>call)
        return 0

    @cython.final
    cdef int wake(self, Call call) except -1:
        """Notify a waiting call whose messages were all written. The callback must not send."""
        cdef PartsOwner owner = <PartsOwner>self.owner
        if call.is_local:
            return (<NativeCalling>owner.calling).on_sendable(call)
        return owner.serving.on_sendable(call)

    # For the byte stream

    cdef Py_ssize_t size(self) noexcept:
        return self.output_bytes()

    cdef const char* plain(self, Py_ssize_t* size) noexcept:
        size[0] = self.out.size
        return self.out.data() if self.is_plain() else NULL

    cdef object take(self):
        cdef object ordered = OutputBuffer.take(self)
        cdef bint opens = self.opening_waits
        cdef bytes control
        self.opening_waits = self.cancel_waits = False
        self.flushes += 1
        if self.control.size == 0:
            return ordered
        control = self.control.take()
        # Free the buffer, because control frames are rare, and most connections never have more than one.
        self.control.release()
        if not ordered:
            # Never return an empty part: with one, asyncio's `writelines` waited for room forever (gh-155888).
            return control
        parts = <list>ordered if type(ordered) is list else [ordered]
        # No frame overtakes the preface and the SETTINGS that follow it.
        parts.insert(len(parts) if opens else 0, control)
        return parts

    cdef int skip(self) except -1:
        self.opening_waits = self.cancel_waits = False
        self.flushes += 1
        self.out.clear()
        return 0
