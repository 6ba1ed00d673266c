from libc.stdint cimport int64_t

cdef enum ErrorCode:
    # RFC 9113, section 7.
    CODE_NONE = 0
    CODE_PROTOCOL = 1
    CODE_INTERNAL = 2
    CODE_FLOW_CONTROL = 3
    CODE_SETTINGS_TIMEOUT = 4
    CODE_STREAM_CLOSED = 5
    CODE_FRAME_SIZE = 6
    CODE_REFUSED_STREAM = 7
    CODE_CANCEL = 8
    CODE_COMPRESSION = 9
    CODE_CONNECT = 10
    CODE_CALM_DOWN = 11
    CODE_INADEQUATE_SECURITY = 12
    CODE_HTTP_1_1_REQUIRED = 13

cdef enum Rule:
    # The rules that a peer can break; `violations.pyx` has their table. 0: none is broken.
    RULE_NONE = 0
    # Frames.
    RULE_PREFACE
    RULE_FIRST_SETTINGS
    RULE_FRAME_LIMIT
    RULE_FRAME_SIZE
    RULE_PRIORITY_SIZE
    RULE_STREAM_FRAME
    RULE_CONNECTION_FRAME
    RULE_PADDING
    RULE_BLOCK_CUT
    RULE_LONE_CONTINUATION
    RULE_PUSH
    RULE_SELF_DEPENDENCY
    RULE_RISING_GOAWAY
    # Settings.
    RULE_PUSH_SETTING
    RULE_WINDOW_SETTING
    RULE_FRAME_SETTING
    RULE_CONNECT_SETTING
    RULE_UNASKED_ACK
    # Windows.
    RULE_ZERO_INCREMENT
    RULE_ZERO_STREAM_INCREMENT
    RULE_WINDOW_OVERFLOW
    RULE_STREAM_WINDOW_OVERFLOW
    RULE_WINDOW
    RULE_STREAM_WINDOW
    # Streams.
    RULE_ID_PARITY
    RULE_ID_ORDER
    RULE_IDLE_STREAM
    RULE_CLOSED_STREAM
    RULE_HALF_CLOSED_STREAM
    RULE_RESET_STREAM
    RULE_STREAM_LIMIT
    # Header compression.
    RULE_INDEX
    RULE_INTEGER
    RULE_STRING
    RULE_HUFFMAN
    RULE_LATE_UPDATE
    RULE_UPDATE_SIZE
    RULE_UPDATE_COUNT
    RULE_MISSING_UPDATE
    # Messages.
    RULE_EMPTY_NAME
    RULE_NAME
    RULE_VALUE
    RULE_VALUE_EDGE
    RULE_CONNECTION_FIELD
    RULE_TE
    RULE_UNKNOWN_PSEUDO
    RULE_LATE_PSEUDO
    RULE_REPEATED_PSEUDO
    RULE_MISPLACED_PSEUDO
    RULE_MISSING_PSEUDO
    RULE_PATH
    RULE_AUTHORITY
    RULE_STATUS
    RULE_CONTENT_LENGTH
    RULE_TRAILERS_END
    RULE_EARLY_DATA
    # Floods.
    RULE_CONTINUATIONS
    RULE_BLOCK_SIZE
    RULE_CONTROL_SIZE
    RULE_SETTINGS_FLOOD
    RULE_PING_FLOOD
    RULE_PING_ANSWERS
    RULE_CREDIT_FLOOD
    RULE_SHORT_WINDOWS
    RULE_SKIPPED_FLOOD
    RULE_LATE_FLOOD
    RULE_IDLE_WORK
    RULE_COUNT


cdef struct Violation:
    # The broken rule; the number that was found, and the one that is allowed, where its text has them.
    int rule
    int64_t found
    int64_t allowed


cdef inline int violated(Violation* violation, int rule, int64_t found=0, int64_t allowed=0) noexcept nogil:
    """Note a broken rule; return -1, as a parser that stops there does."""
    violation.rule = rule
    violation.found = found
    violation.allowed = allowed
    return -1


# Return whether a broken rule ends the connection; else it ends its stream.
cdef bint ends_connection(int rule) except -1

# Return the ErrorCode of GOAWAY or RST_STREAM for a broken rule.
cdef int error_code(int rule) except -1

# Return the text of a violation for GOAWAY and logs.
cdef str violation_text(const Violation* violation)
