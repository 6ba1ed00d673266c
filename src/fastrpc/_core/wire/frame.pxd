from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastrpc._core.base.buffer cimport WriteBuffer

cdef enum FrameKind:
    # Bit 7 marks a critical kind: a side that does not support the kind must close the connection.
    SETTINGS = 0x81
    REQUEST = 0x82
    RESPONSE = 0x83
    HEAD = 0x84
    DATA = 0x85
    END = 0x86
    CANCEL = 0x87
    CREDIT = 0x88
    PING = 0x89
    GOAWAY = 0x8A
    AUTH = 0x8B
    TEST = 0x7F

cdef enum FrameFlag:
    MORE = 1
    CONT = 2
    ACK = 4
    SUM = 8
    FINAL = 16  # GOAWAY
    WAITED = 16  # DATA
    STREAM_IN = 16  # REQUEST, as the three below
    STREAM_OUT = 32
    ONE_WAY = 64
    IDEMPOTENT = 128

cdef enum Reason:
    # The reasons in GOAWAY for the end of a connection.
    REASON_DRAIN = 0
    REASON_MAX_AGE = 1
    REASON_PROTOCOL = 2
    REASON_FRAME_SIZE = 3
    REASON_CREDIT = 4
    REASON_CALM_DOWN = 5
    REASON_SLOW_READER = 6
    REASON_AUTHENTICATION = 7
    REASON_SETTINGS = 8
    REASON_KEEPALIVE = 9
    REASON_INTERNAL = 10
    REASON_MEMORY = 11
    REASON_HANDSHAKE = 12

cdef enum Outcome:
    # The values in RESPONSE that state whether the handler may have run.
    OUTCOME_RAN = 0
    OUTCOME_NOT_STARTED = 1
    OUTCOME_UNKNOWN = 2

cdef enum CancelReason:
    CANCEL_USER = 0
    CANCEL_DEADLINE = 1
    CANCEL_LOST_HEDGE = 2
    CANCEL_DECODE = 3
    CANCEL_LOCAL_LIMIT = 4

cdef enum Refusal:
    # Results of `parse` other than a size; `Frame.refused` has the reason.
    HEADER_REFUSED = -1
    BODY_REFUSED = -2

cdef enum:
    HEADER_SIZE = 16
    PREFACE_SIZE = 8
    MESSAGE_LIMIT = 4096  # bytes of a RESPONSE's text
    CONTROL_LIMIT = 16384  # bytes of AUTH, TEST and unknown kinds
    METHOD_LIMIT = 255
    # The longest message of a stream. The receiver grants credit for a message beyond the window, and both together
    # must not exceed the highest window, 2³¹−1.
    STREAM_MESSAGE_LIMIT = 1_073_741_824
    # A longer payload is received directly into its final memory; for a shorter one the whole frame is awaited.
    PARTIAL_ABOVE = 16384
    SETTINGS_LIMIT = 4096
    GOAWAY_TEXT_LIMIT = 1024

# All ones in timeout_us: no deadline. 0: not stated, the server's default applies.
cdef uint64_t TIMEOUT_NONE
# All ones in pushback_ms: do not retry. 0: not stated.
cdef uint32_t PUSHBACK_NEVER


cdef struct Frame:
    # The header. The fields from `kind` to `compressor` are adjacent, as on the wire.
    uint32_t length
    uint8_t kind
    uint8_t flags
    uint8_t codec
    uint8_t compressor
    uint64_t id

    # Fields of the heads of REQUEST and RESPONSE; only the fields of the frame's kind are set.
    uint8_t attempt
    uint8_t priority
    uint8_t outcome
    uint16_t status
    uint32_t pushback_ms
    uint32_t elapsed_us
    uint64_t timeout_us

    # The number for the parameter names (ParameterNames); 0 = not sent.
    uint64_t names

    # Parts of the body. After `parse` they point into the bytes passed to it, and are valid as long as these.
    const char* method
    Py_ssize_t method_size
    const char* text
    Py_ssize_t text_size
    const char* metadata
    Py_ssize_t metadata_size

    # `payload`, `payload_size`: the payload, or the whole body of a control frame. A large payload may be parsed or
    # written before it is complete: `payload_present` <= `payload_size`.
    const char* payload
    Py_ssize_t payload_size
    Py_ssize_t payload_present

    # In the first piece of a split message: the bytes of the whole message on the wire.
    uint64_t total

    # Why `parse` refused the frame: the GOAWAY reason, a static text, the found and the allowed number. A violation in
    # an incomplete body is only noted here; it is reported when the frame is complete.
    int refused
    const char* problem
    uint64_t found
    uint64_t allowed


cdef class WireProtocol:
    cdef:
        # The local limit. A larger frame is refused as soon as its header is read.
        public Py_ssize_t frame_limit
        # Whether the next frame has to be the peer's first SETTINGS.
        public bint needs_settings
        # The lowest bit of the ids of calls that the peer opens: 1 for a client.
        public int peer_parity
        # The number of bytes that `write_answer` puts before metadata and payload, header included.
        Py_ssize_t answer_head

    cdef Py_ssize_t parse(self, const char* data, Py_ssize_t size, Frame* frame) noexcept nogil
    cdef bint finds_timeout(self, const char* data, Py_ssize_t size, uint64_t* timeout_us) noexcept nogil
    cdef int write(self, WriteBuffer out, const Frame* frame) except -1
    cdef Py_ssize_t head_size(self, const Frame* frame) noexcept nogil

    cdef int write_answer(
        self, WriteBuffer out, uint64_t id, int codec, int compressor, uint32_t elapsed_us, bytes metadata, bytes payload
    ) except -1
