"""The bytes of a connection that may leave, in order, and the frames that never wait for credit."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint16_t
from libc.string cimport memset

from fastrpc._core.base.wire cimport store16, store32
from fastrpc._core.native.parts_owner cimport PartsOwner
from fastrpc._core.wire.frame cimport CANCEL, CREDIT

cdef enum:
    # A payload part this long is handed to the transport as it is instead of being copied into `out`.
    UNCOPIED = 16_384


cdef class Output:
    """The bytes that may leave, in order."""

    def __cinit__(self):
        self.control = WriteBuffer()
        self.out = WriteBuffer()

    cdef int put_body(
        self, WriteBuffer buffer, int kind, int flags, uint64_t id, const char* body, Py_ssize_t size
    ) except -1:
        """Write a short frame of a kind without fields of its own."""
        cdef Frame frame
        memset(&frame, 0, sizeof(Frame))
        frame.kind = kind
        frame.flags = flags
        frame.id = id
        frame.payload = body
        frame.payload_size = frame.payload_present = size
        self.wire.write(buffer, &frame)
        return 0

    cdef int put(self, Frame* frame, bytes payload, Py_ssize_t offset, Py_ssize_t size) except -1:
        """Write a frame; a long payload part goes beside the buffer, uncopied."""
        frame.payload = PyBytes_AS_STRING(payload) + offset
        frame.payload_size = size
        frame.payload_present = size if size < UNCOPIED else 0
        self.wire.write(self.out, frame)
        if size >= UNCOPIED:
            if self.chunks is None:
                self.chunks = []
            self.chunks.append(self.out.take())
            if size == PyBytes_GET_SIZE(payload):
                self.chunks.append(payload)
            else:
                self.chunks.append(memoryview(payload)[offset:offset + size])
            self.chunk_bytes += size
        return 0

    # Frames without credit, which never wait

    cdef int send_cancel(self, uint64_t id, int reason) except -1:
        cdef char[4] body
        store16(body, <uint16_t>reason)
        store16(body + 2, 0)
        self.cancel_waits = True
        self.put_body(self.out, CANCEL, 0, id, body, 4)
        return (<PartsOwner>self.owner).on_output()

    cdef int send_credit(self, uint64_t id, uint32_t size) except -1:
        cdef char[4] body
        store32(body, size)
        # If credit overtook a CANCEL, the callee would send more of the call that was just given up.
        self.put_body(self.out if self.cancel_waits else self.control, CREDIT, 0, id, body, 4)
        return (<PartsOwner>self.owner).on_output()

    cdef int send_control(self, WriteBuffer buffer, int kind, int flags, bytes body) except -1:
        """Write a frame of the connection itself into `control` or, if order matters, into `out`."""
        self.put_body(buffer, kind, flags, 0, PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body))
        return (<PartsOwner>self.owner).on_output()

    # Output

    cdef object take_output(self):
        """Return the output to be written now: bytes, or a list of bytes-like parts in order."""
        cdef list parts
        cdef bint opens = self.opening_waits
        self.opening_waits = self.cancel_waits = False
        self.flushes += 1
        if self.chunks is None and self.control.size == 0:
            return self.out.take()
        parts = [] if self.chunks is None else self.chunks
        self.chunks = None
        self.chunk_bytes = 0
        if self.out.size:
            parts.append(self.out.take())
        if self.control.size:
            # Nothing overtakes the preface and the SETTINGS after it.
            parts.insert(len(parts) if opens else 0, self.control.take())
            # Rare, and most connections have no more of it for long.
            self.control.release()
        return parts

    cdef int skip_output(self) except -1:
        """The bytes of `out` have been written by other means, and nothing else waited."""
        self.opening_waits = self.cancel_waits = False
        self.flushes += 1
        self.out.clear()
        return 0
