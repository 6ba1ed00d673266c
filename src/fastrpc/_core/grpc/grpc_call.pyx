"""A call that came by gRPC: with its stream of HTTP/2, and what came of its request."""

cimport cython

from fastrpc._core.base.status cimport INTERNAL, RESOURCE_EXHAUSTED, UNIMPLEMENTED


@cython.final
cdef class GrpcCall(ServerCall):
    """A call being served that came by gRPC."""

    cdef bint make_new(self) noexcept:
        if not ServerCall.make_new(self) or self.sender_check is not None or self.is_incomplete:
            return False
        self.http2_stream = None
        self.head = None
        self.reader = None
        self.message = None
        self.has_started = self.has_begun = False
        self.announced = 0
        self.fault = FAULT_NONE
        self.counted = self.waiting_bytes = 0
        return True


cdef int fault_status(int fault) noexcept:
    if fault == FAULT_TOO_LARGE:
        return RESOURCE_EXHAUSTED
    return UNIMPLEMENTED if fault == FAULT_NO_MESSAGE or fault == FAULT_MESSAGES else INTERNAL


cdef str fault_text(GrpcCall call, uint64_t message_bytes):
    if call.fault == FAULT_NO_MESSAGE:
        return f"{call.method} takes one message, its caller sent none"
    if call.fault == FAULT_MESSAGES:
        return f"{call.method} takes one message, its caller sent more"
    if call.fault == FAULT_CUT:
        return "the stream of the call ended inside a message"
    if call.fault == FAULT_FLAGS:
        return "a message of the call has flags that are not known"
    if call.fault == FAULT_ENCODING:
        return "a message of the call is compressed, and grpc-encoding names no compressor"
    size = 0 if call.reader is None else call.reader.total
    return f"a message of the call has {size} bytes, the limit is {message_bytes} (Limits.message_bytes)"
