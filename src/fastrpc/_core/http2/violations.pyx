"""The rules that a peer can break, in one table: whether the connection ends or the stream, the error code, the text.

Parsers return the number of a rule and go on: nothing is raised on the way of a frame, and the owner of a connection looks
up here what it has to answer. Codes are those of RFC 9113; CALM_DOWN marks the bounds of ours against floods. Texts never
quote names or values of fields, which may be secrets.
"""

cdef enum:
    STREAM = 0
    CONNECTION = 1

cdef dict TABLE = {
    RULE_PREFACE: (CONNECTION, CODE_PROTOCOL, "the connection does not begin with the preface of HTTP/2"),
    RULE_FIRST_SETTINGS: (CONNECTION, CODE_PROTOCOL, "the first frame is of kind {found}, it must be SETTINGS"),
    RULE_FRAME_LIMIT: (CONNECTION, CODE_FRAME_SIZE, "a frame has {found} bytes, the limit is {allowed}"),
    RULE_FRAME_SIZE: (CONNECTION, CODE_FRAME_SIZE, "a frame has {found} bytes, its kind needs {allowed}"),
    RULE_PRIORITY_SIZE: (STREAM, CODE_FRAME_SIZE, "PRIORITY has {found} bytes, it must have {allowed}"),
    RULE_STREAM_FRAME: (CONNECTION, CODE_PROTOCOL, "a frame of kind {found} names no stream"),
    RULE_CONNECTION_FRAME: (CONNECTION, CODE_PROTOCOL, "a frame of kind {found} names a stream, it is the connection's"),
    RULE_PADDING: (CONNECTION, CODE_PROTOCOL, "a frame has {found} bytes of padding, there is room for {allowed}"),
    RULE_BLOCK_CUT: (CONNECTION, CODE_PROTOCOL, "a frame of kind {found} comes within a header block"),
    RULE_LONE_CONTINUATION: (CONNECTION, CODE_PROTOCOL, "CONTINUATION comes without an unfinished header block"),
    RULE_PUSH: (CONNECTION, CODE_PROTOCOL, "PUSH_PROMISE came, and push is turned off"),
    RULE_SELF_DEPENDENCY: (STREAM, CODE_PROTOCOL, "the stream depends on itself"),
    RULE_RISING_GOAWAY: (CONNECTION, CODE_PROTOCOL, "GOAWAY raises its last stream to {found}, it was {allowed}"),
    RULE_PUSH_SETTING: (CONNECTION, CODE_PROTOCOL, "ENABLE_PUSH is {found}, the most is {allowed}"),
    RULE_WINDOW_SETTING: (CONNECTION, CODE_FLOW_CONTROL, "INITIAL_WINDOW_SIZE is {found}, the most is {allowed}"),
    RULE_FRAME_SETTING: (CONNECTION, CODE_PROTOCOL, "MAX_FRAME_SIZE is {found}, it must be 16384 to {allowed}"),
    RULE_CONNECT_SETTING: (CONNECTION, CODE_PROTOCOL, "ENABLE_CONNECT_PROTOCOL is {found}, it must be 0 or 1, and not fall"),
    RULE_UNASKED_ACK: (CONNECTION, CODE_PROTOCOL, "SETTINGS are acknowledged that were not sent"),
    RULE_ZERO_INCREMENT: (CONNECTION, CODE_PROTOCOL, "WINDOW_UPDATE of the connection adds 0"),
    RULE_ZERO_STREAM_INCREMENT: (STREAM, CODE_PROTOCOL, "WINDOW_UPDATE of a stream adds 0"),
    RULE_WINDOW_OVERFLOW: (CONNECTION, CODE_FLOW_CONTROL, "a window is raised to {found}, the most is {allowed}"),
    RULE_STREAM_WINDOW_OVERFLOW: (STREAM, CODE_FLOW_CONTROL, "its window is raised to {found}, the most is {allowed}"),
    RULE_WINDOW: (CONNECTION, CODE_FLOW_CONTROL, "DATA of {found} bytes exceeds the connection's window of {allowed}"),
    RULE_STREAM_WINDOW: (STREAM, CODE_FLOW_CONTROL, "DATA of {found} bytes exceeds the stream's window of {allowed}"),
    RULE_ID_PARITY: (CONNECTION, CODE_PROTOCOL, "stream {found} is not one that this side may open"),
    RULE_ID_ORDER: (CONNECTION, CODE_PROTOCOL, "stream {found} is opened behind stream {allowed}"),
    RULE_IDLE_STREAM: (CONNECTION, CODE_PROTOCOL, "a frame names stream {found}, which is idle"),
    RULE_CLOSED_STREAM: (CONNECTION, CODE_STREAM_CLOSED, "a frame names stream {found}, which has ended"),
    RULE_HALF_CLOSED_STREAM: (STREAM, CODE_STREAM_CLOSED, "a frame comes behind the end of its side of the stream"),
    RULE_RESET_STREAM: (STREAM, CODE_STREAM_CLOSED, "a frame comes behind RST_STREAM of the same side"),
    RULE_STREAM_LIMIT: (STREAM, CODE_REFUSED_STREAM, "{found} streams are open, the limit is {allowed}"),
    RULE_INDEX: (CONNECTION, CODE_COMPRESSION, "a header block has index {found}, the tables have {allowed} entries"),
    RULE_INTEGER: (CONNECTION, CODE_COMPRESSION, "an integer of a header block is too long or cut"),
    RULE_STRING: (CONNECTION, CODE_COMPRESSION, "a string of {found} bytes is cut, {allowed} are left of the header block"),
    RULE_HUFFMAN: (CONNECTION, CODE_COMPRESSION, "a Huffman code has EOS or wrong padding"),
    RULE_LATE_UPDATE: (CONNECTION, CODE_COMPRESSION, "a table size update comes behind a field"),
    RULE_UPDATE_SIZE: (CONNECTION, CODE_COMPRESSION, "a table size update is {found}, the most is {allowed}"),
    RULE_UPDATE_COUNT: (CONNECTION, CODE_COMPRESSION, "a header block has more than {allowed} table size updates"),
    RULE_MISSING_UPDATE: (CONNECTION, CODE_COMPRESSION, "the table is larger than the acknowledged {allowed} bytes"),
    RULE_EMPTY_NAME: (STREAM, CODE_PROTOCOL, "a field has an empty name"),
    RULE_NAME: (STREAM, CODE_PROTOCOL, "a field name has a byte that no name has, or a capital letter"),
    RULE_VALUE: (STREAM, CODE_PROTOCOL, "a field value has a byte that no value has"),
    RULE_VALUE_EDGE: (STREAM, CODE_PROTOCOL, "a field value begins or ends with white space"),
    RULE_CONNECTION_FIELD: (STREAM, CODE_PROTOCOL, "a field is about the connection, HTTP/2 has none"),
    RULE_TE: (STREAM, CODE_PROTOCOL, "te is something else than trailers"),
    RULE_UNKNOWN_PSEUDO: (STREAM, CODE_PROTOCOL, "a pseudo-header field is unknown"),
    RULE_LATE_PSEUDO: (STREAM, CODE_PROTOCOL, "a pseudo-header field comes behind a regular one"),
    RULE_REPEATED_PSEUDO: (STREAM, CODE_PROTOCOL, "a pseudo-header field is there twice"),
    RULE_MISPLACED_PSEUDO: (STREAM, CODE_PROTOCOL, "a pseudo-header field is not of this kind of head"),
    RULE_MISSING_PSEUDO: (STREAM, CODE_PROTOCOL, "a pseudo-header field is missing"),
    RULE_PATH: (STREAM, CODE_PROTOCOL, "the path does not begin with a slash, or has a fragment"),
    RULE_AUTHORITY: (STREAM, CODE_PROTOCOL, "the authority is empty, has a user, or differs from Host"),
    RULE_STATUS: (STREAM, CODE_PROTOCOL, "the status is no number of three digits"),
    RULE_CONTENT_LENGTH: (STREAM, CODE_PROTOCOL, "content-length is no number, repeated, or not the size of DATA"),
    RULE_TRAILERS_END: (STREAM, CODE_PROTOCOL, "trailers do not end the stream"),
    RULE_EARLY_DATA: (STREAM, CODE_PROTOCOL, "DATA comes before the head of its message"),
    RULE_CONTINUATIONS: (CONNECTION, CODE_CALM_DOWN, "a header block has more than {allowed} frames of CONTINUATION"),
    RULE_BLOCK_SIZE: (CONNECTION, CODE_CALM_DOWN, "a header block has {found} bytes or more, the limit is {allowed}"),
    RULE_CONTROL_SIZE: (CONNECTION, CODE_CALM_DOWN, "a frame of control has {found} bytes, the limit is {allowed}"),
    RULE_SETTINGS_FLOOD: (CONNECTION, CODE_CALM_DOWN, "SETTINGS came more than {allowed} times in a minute"),
    # As gRPC has it: clients look for this text.
    RULE_PING_FLOOD: (CONNECTION, CODE_CALM_DOWN, "too_many_pings"),
    RULE_PING_ANSWERS: (CONNECTION, CODE_CALM_DOWN, "more than {allowed} answers to PING wait to be read"),
    RULE_CREDIT_FLOOD: (CONNECTION, CODE_CALM_DOWN, "WINDOW_UPDATE came {found} times, too often for what was sent"),
    RULE_SHORT_WINDOWS: (CONNECTION, CODE_CALM_DOWN, "windows are opened by a few bytes at a time"),
    RULE_SKIPPED_FLOOD: (CONNECTION, CODE_CALM_DOWN, "too many frames have no effect, the last is of kind {found}"),
    RULE_LATE_FLOOD: (CONNECTION, CODE_CALM_DOWN, "too many frames are for streams that are over, the last for {found}"),
    RULE_IDLE_WORK: (CONNECTION, CODE_CALM_DOWN, "too many streams are opened to be reset or refused"),
}


cdef bint ends_connection(int rule) except -1:
    return TABLE[rule][0]


cdef int error_code(int rule) except -1:
    return TABLE[rule][1]


cdef str violation_text(const Violation* violation):
    return TABLE[violation.rule][2].format(found=violation.found, allowed=violation.allowed)
