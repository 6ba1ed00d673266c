"""What one side of a connection accepts, and how it is announced.

A SETTINGS body is `(u16 name, u16 length, value)*`. Until the first one arrives the floor counts: values so low that
every peer can keep them, so that a client may call before it has heard from its server.
"""

cimport cython

import struct

cdef enum:
    MAX_FRAME = 1
    MAX_MESSAGE = 2
    MAX_METADATA = 3
    MAX_CALLS = 4
    MAX_STREAMS = 5
    STREAM_WINDOW = 6
    OPEN_MESSAGES = 7
    CODECS = 8
    COMPRESSORS = 9
    MIN_PING_MS = 10
    PING_REPLY_MS = 11
    FEATURES = 12
    AUTH_SCHEMES = 13
    AGENT = 14
    CRITICAL = 0x8000

# name: (attribute, struct format, lowest, highest); PROTOCOL.md "Settings".
NUMBERS = {
    MAX_FRAME: ("max_frame", "<I", 16_384, 16_777_216),
    MAX_MESSAGE: ("max_message", "<Q", 4_096, 2**63 - 1),
    MAX_METADATA: ("max_metadata", "<I", 1_024, 65_535),
    MAX_CALLS: ("max_calls", "<I", 0, 2**31 - 1),
    MAX_STREAMS: ("max_streams", "<I", 0, 2**31 - 1),
    STREAM_WINDOW: ("stream_window", "<I", 16_384, 2**31 - 1),
    OPEN_MESSAGES: ("open_messages", "<H", 1, 256),
    MIN_PING_MS: ("min_ping_ms", "<I", 0, 3_600_000),
    PING_REPLY_MS: ("ping_reply_ms", "<I", 0, 2**32 - 1),
    FEATURES: ("features", "<Q", 0, 2**64 - 1),
}
LISTS = {CODECS: ("codecs", "named_codecs", 32), COMPRESSORS: ("compressors", "named_compressors", 32)}
FIXED_CODECS = {0: "raw", 1: "msgpack", 2: "json", 3: "protobuf"}
FIXED_COMPRESSORS = {1: "gzip", 2: "lz4", 3: "zstd"}
AUTH_SCHEMES_LIMIT = 8
AGENT_LIMIT = 64


@cython.final
cdef class Settings:
    """The announced values of one side. A new one holds the floor: of a server, or of a client."""

    def __init__(self, bint of_server):
        self.max_frame = 65_536
        self.max_message = 65_536
        self.max_metadata = 8_192
        self.max_calls = 100 if of_server else 0
        self.max_streams = 16 if of_server else 0
        self.stream_window = 65_536
        self.open_messages = 1
        self.min_ping_ms = 0
        self.ping_reply_ms = 0
        self.features = 0
        self.codecs = 0b11
        self.compressors = 0
        self.named_codecs = {}
        self.named_compressors = {}
        self.auth_schemes = ()
        self.agent = ""

    cpdef Settings copy(self):
        cdef Settings other = Settings(True)
        for attribute in ATTRIBUTES:
            setattr(other, attribute, getattr(self, attribute))
        return other

    cpdef bytes encode(self):
        """Return the body of a SETTINGS frame that announces everything."""
        parts = []
        for name, (attribute, layout, _, _) in NUMBERS.items():
            parts.append(entry(name, struct.pack(layout, getattr(self, attribute))))
        parts.append(entry(CODECS, id_list(self.codecs, FIXED_CODECS, self.named_codecs)))
        parts.append(entry(COMPRESSORS, id_list(self.compressors, FIXED_COMPRESSORS, self.named_compressors)))
        if self.auth_schemes:
            parts.append(entry(AUTH_SCHEMES, text_list(self.auth_schemes)))
        if self.agent:
            parts.append(entry(AGENT, self.agent.encode()[:AGENT_LIMIT]))
        return b"".join(parts)

    cpdef str apply(self, bytes body, bint first):
        """Take over what a peer's SETTINGS body says; return what is wrong with it, or None."""
        cdef Py_ssize_t at = 0
        seen = set()
        while at < len(body):
            if len(body) - at < 4:
                return f"SETTINGS ends inside an entry at byte {at}"
            name, length = struct.unpack_from("<HH", body, at)
            at += 4
            if length > len(body) - at:
                return f"setting {name & ~CRITICAL} announces {length} bytes, {len(body) - at} are left"
            if name & ~CRITICAL in seen:
                return f"setting {name & ~CRITICAL} comes twice"
            seen.add(name & ~CRITICAL)
            problem = self._apply_one(name, body[at:at + length], first)
            if problem is not None:
                return problem
            at += length
        if self.max_streams > self.max_calls:
            return f"MAX_STREAMS is {self.max_streams}, MAX_CALLS allows {self.max_calls}"
        return None

    cdef str _apply_one(self, unsigned int name, bytes value, bint first):
        cdef unsigned int plain = name & ~CRITICAL
        if plain in NUMBERS:
            attribute, layout, lowest, highest = NUMBERS[plain]
            if len(value) != struct.calcsize(layout):
                return f"setting {plain} has {len(value)} bytes, it takes {struct.calcsize(layout)}"
            number = struct.unpack(layout, value)[0]
            if not lowest <= number <= highest:
                return f"setting {plain} is {number}, allowed is {lowest} to {highest}"
            if plain == STREAM_WINDOW and not first and number != self.stream_window:
                return "STREAM_WINDOW may only come in the first SETTINGS"
            setattr(self, attribute, number)
        elif plain in LISTS:
            bits, names, limit = LISTS[plain]
            found = parse_ids(value, limit)
            if isinstance(found, str):
                return f"setting {plain}: {found}"
            setattr(self, bits, sum(1 << wire_id for wire_id in found if wire_id < 64))
            setattr(self, names, {wire_id: text for wire_id, text in found.items() if wire_id >= 64})
        elif plain == AUTH_SCHEMES:
            schemes = parse_texts(value, AUTH_SCHEMES_LIMIT)
            if isinstance(schemes, str):
                return f"setting {plain}: {schemes}"
            self.auth_schemes = schemes
        elif plain == AGENT:
            if len(value) > AGENT_LIMIT:
                return f"AGENT has {len(value)} bytes, {AGENT_LIMIT} are allowed"
            text = decoded(value)
            if text is None:
                return "AGENT is not UTF-8"
            self.agent = text
        elif name & CRITICAL:
            return f"critical setting {plain} is unknown"
        return None


ATTRIBUTES = (
    *(number[0] for number in NUMBERS.values()),
    "codecs",
    "compressors",
    "named_codecs",
    "named_compressors",
    "auth_schemes",
    "agent",
)


cdef bytes entry(int name, bytes value):
    return struct.pack("<HH", name, len(value)) + value


cdef bytes id_list(uint64_t bits, dict fixed, dict named):
    return b"".join(
        bytes((wire_id, len(text))) + text.encode()
        for wire_id, text in (*((i, fixed[i]) for i in fixed if bits >> i & 1), *named.items())
    )


cdef bytes text_list(tuple texts):
    return b"".join(bytes((len(text.encode()),)) + text.encode() for text in texts)


cdef object decoded(bytes value):
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


cdef object parse_ids(bytes value, int limit):
    """Read `(u8 id, u8 length, name)*`; a text says what is wrong."""
    cdef Py_ssize_t at = 0
    found = {}
    while at < len(value):
        if at + 2 > len(value) or at + 2 + value[at + 1] > len(value):
            return "the list ends inside an entry"
        wire_id, length = value[at], value[at + 1]
        text = decoded(value[at + 2:at + 2 + length])
        if text is None:
            return f"the name of id {wire_id} is not UTF-8"
        if wire_id in found:
            return f"id {wire_id} comes twice"
        found[wire_id] = text
        at += 2 + length
    if len(found) > limit:
        return f"{len(found)} entries, {limit} are allowed"
    return found


cdef object parse_texts(bytes value, int limit):
    """Read `(u8 length, text)*`; a text instead of a tuple says what is wrong."""
    cdef Py_ssize_t at = 0
    found = []
    while at < len(value):
        if at + 1 + value[at] > len(value):
            return "the list ends inside an entry"
        text = decoded(value[at + 1:at + 1 + value[at]])
        if text is None:
            return "an entry is not UTF-8"
        found.append(text)
        at += 1 + value[at]
    if len(found) > limit:
        return f"{len(found)} entries, {limit} are allowed"
    return tuple(found)
