"""The settings of one side of a connection, and their encoding.

A SETTINGS body is `(u16 name, u16 length, value)*`. Until the peer's first SETTINGS arrives, the floor applies: values
so low that every peer accepts them, so that a client may call before its server has answered.
"""

cimport cython

import re
import struct

from fastrpc.assigned_numbers import CODECS as CODEC_NUMBERS

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
    WORKERS = 15
    CLIENT_ID = 16
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
    WORKERS: ("workers", "<H", 1, 65_535),
}
# name: (attribute, lowest number); compressor 0 means none.
LISTS = {CODECS: ("codecs", 0), COMPRESSORS: ("compressors", 1)}
FLOOR_CODECS = ("raw", "msgpack")
LIST_LIMIT = 32
AUTH_SCHEMES_LIMIT = 8
AGENT_LIMIT = 64
CLIENT_ID_SIZE = 16

# Tables of codecs and compressors that peers announced.
cdef dict SHARED_TABLES = {}
MOST_SHARED = 16

ENTRY = struct.Struct("<HH")
NAME = re.compile(rb"[a-z0-9._-]{1,32}\Z")


@cython.final
cdef class WireNumbers:
    """The meaning of codec and compressor numbers in received frames."""

    def __init__(self, codecs, compressors):
        self.codecs = dict(codecs)
        self.compressors = dict(compressors)

    def codec_label(self, number):
        """Return the name of a codec by its number in frames, for error texts."""
        return repr(self.codecs[number]) if number in self.codecs else f"number {number}"


@cython.final
cdef class WireSettings:
    """The announced values of one side. A new object holds the floor of a server or of a client."""

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
        self.workers = 1
        self.codecs = {CODEC_NUMBERS[name]: name for name in FLOOR_CODECS}
        self.compressors = {}
        self.auth_schemes = ()
        self.agent = ""
        self.client_id = b""

    cpdef WireSettings copy(self):
        cdef WireSettings other = WireSettings(True)
        for attribute in ATTRIBUTES:
            setattr(other, attribute, getattr(self, attribute))
        return other

    cpdef bytes encode(self, bint first=True):
        """Return the body of a SETTINGS frame, with all settings that a first, or a later, SETTINGS may announce."""
        parts = []
        for name, (attribute, layout, _, _) in NUMBERS.items():
            if name == WORKERS and self.workers == 1:
                # Omit the default of 1, to keep the opening of most servers short. Clients must not announce WORKERS.
                continue
            if first or name != STREAM_WINDOW:
                parts.append(entry(name, struct.pack(layout, getattr(self, attribute))))
        parts.append(entry(CODECS, number_list(self.codecs)))
        parts.append(entry(COMPRESSORS, number_list(self.compressors)))
        if self.auth_schemes:
            parts.append(entry(AUTH_SCHEMES, text_list(self.auth_schemes)))
        if self.agent:
            text = self.agent.encode("utf-8", "replace")[:AGENT_LIMIT].decode("utf-8", "ignore")
            parts.append(entry(AGENT, text.encode()))
        if self.client_id:
            parts.append(entry(CLIENT_ID, self.client_id))
        return b"".join(parts)

    cdef int codec_number(self, int number, str name) except -2:
        """Return the number of a codec in frames to this side; -1: not accepted. `number` is its number in this process."""
        return number_for(self.codecs, number, name)

    def compressor_number(self, int number, str name not None):
        """Return the number of a compressor in frames to this side, like `codec_number`; -1: not accepted."""
        return number_for(self.compressors, number, name)

    cdef bytes compressed(self, object compressor, int number, bytes payload, uint8_t* taken_as):
        """Compress a payload for this side; set `taken_as` to the compressor's number in frames to this side.

        Return None if this side does not accept the compressor, or the payload does not shrink. `number` is the
        compressor's number in this process.
        """
        cdef int known = number_for(self.compressors, number, compressor.name)
        if known < 0:
            return None
        cdef bytes smaller = smaller_of(compressor, payload)
        if smaller is not None:
            taken_as[0] = <uint8_t>known
        return smaller

    cdef int apply(self, tuple entries) except -1:
        """Apply the result of `decode_settings`."""
        for name, value in entries:
            if name in NUMBERS:
                setattr(self, NUMBERS[name][0], value)
            elif name in LISTS:
                setattr(self, LISTS[name][0], shared_table(value))
            elif name == AUTH_SCHEMES:
                self.auth_schemes = tuple(text.decode() for text in value)
            elif name == CLIENT_ID:
                self.client_id = value
            else:
                self.agent = value
        return 0


cdef bytes smaller_of(object compressor, bytes payload):
    # No cast: an installed compressor may return any object, and the code below reads it as bytes.
    made = compressor.compress(payload)
    cdef bytes smaller = made if type(made) is bytes else bytes(memoryview(made))
    return None if len(smaller) >= len(payload) else smaller


def usual_settings(bint of_server):
    """Return the settings of a side with all defaults."""
    cdef WireSettings settings = WireSettings(of_server)
    settings.max_frame = 262_144
    settings.max_message = 16_777_216
    settings.max_calls = 10_000 if of_server else 0
    settings.max_streams = 1_000 if of_server else 0
    settings.open_messages = 4
    settings.codecs = {number: name for name, number in CODEC_NUMBERS.items()}
    settings.min_ping_ms = 500
    settings.ping_reply_ms = 10_000
    return settings


cpdef tuple decode_settings(bytes body, bint first=True):
    """Parse a SETTINGS body: the known settings, (name, value) in order.

    Lists are returned as tuples, of (id, name) pairs if they have ids. `first`: this is the peer's first SETTINGS,
    which may contain more settings than later ones.

    Raises:
        ValueError: the body is invalid; the text says why.
    """
    cdef Py_ssize_t at = 0
    found = []
    seen = set()
    while at < len(body):
        if len(body) - at < ENTRY.size:
            raise ValueError(f"SETTINGS ends inside an entry at byte {at}")
        marked, length = ENTRY.unpack_from(body, at)
        name = marked & ~CRITICAL
        at += ENTRY.size
        if length > len(body) - at:
            raise ValueError(f"setting {name} announces {length} bytes, {len(body) - at} are left")
        if name in seen:
            raise ValueError(f"setting {name} comes twice")
        seen.add(name)
        if name == STREAM_WINDOW and not first:
            raise ValueError("STREAM_WINDOW may only come in the first SETTINGS")
        value = decoded(name, body[at:at + length])
        at += length
        if value is not None:
            found.append((name, value))
        elif marked & CRITICAL:
            raise ValueError(f"critical setting {name} is unknown")
    return tuple(found)


ATTRIBUTES = (
    *(number[0] for number in NUMBERS.values()),
    "codecs",
    "compressors",
    "auth_schemes",
    "agent",
    "client_id",
)


cdef bytes entry(int name, bytes value):
    return ENTRY.pack(name, len(value)) + value


cdef bytes number_list(dict names):
    return b"".join(bytes((number, len(text))) + text.encode() for number, text in names.items())


cdef dict shared_table(tuple pairs):
    """Return the table of the (number, name) pairs that a peer announced.

    Equal tables are one object, which is never changed: almost all peers announce the same tables.
    """
    cdef dict table = SHARED_TABLES.pop(pairs, None)
    if table is None:
        table = {number: text.decode() for number, text in pairs}
        if len(SHARED_TABLES) >= MOST_SHARED:
            # Peers may announce any tables. The table that was announced least recently is dropped, so common tables
            # stay.
            del SHARED_TABLES[next(iter(SHARED_TABLES))]
    SHARED_TABLES[pairs] = table
    return table


cdef int number_for(dict names, int number, str name) except -2:
    if number < FIRST_OWN_NUMBER:
        return number if number in names else -1
    for other, text in names.items():
        if text == name:
            return other
    return -1


cdef bytes text_list(tuple texts):
    return b"".join(bytes((len(text.encode()),)) + text.encode() for text in texts)


cdef object decoded(int name, bytes value):
    """Decode one value; return None if the name is unknown."""
    if name in NUMBERS:
        _, layout, lowest, highest = NUMBERS[name]
        if len(value) != struct.calcsize(layout):
            raise ValueError(f"setting {name} has {len(value)} bytes, it takes {struct.calcsize(layout)}")
        number = struct.unpack(layout, value)[0]
        if not lowest <= number <= highest:
            raise ValueError(f"setting {name} is {number}, allowed is {lowest} to {highest}")
        return number
    if name in LISTS:
        return decoded_ids(name, value, LISTS[name][1])
    if name == AUTH_SCHEMES:
        return decoded_names(value)
    if name == AGENT:
        if len(value) > AGENT_LIMIT:
            raise ValueError(f"AGENT has {len(value)} bytes, {AGENT_LIMIT} are allowed")
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise ValueError("AGENT is not UTF-8") from None
    if name == CLIENT_ID:
        if len(value) != CLIENT_ID_SIZE:
            raise ValueError(f"CLIENT_ID has {len(value)} bytes, it takes {CLIENT_ID_SIZE}")
        return value
    return None


cdef tuple decoded_ids(int name, bytes value, int lowest):
    """Decode `(u8 id, u8 length, name)*`."""
    cdef Py_ssize_t at = 0
    found = {}
    while at < len(value):
        wire_id = value[at]
        text = named_at(value, at + 1)
        if wire_id < lowest or wire_id in found:
            raise ValueError(f"setting {name} names id {wire_id} twice, or must not name it")
        found[wire_id] = text
        at += 2 + len(text)
    if len(found) > LIST_LIMIT:
        raise ValueError(f"setting {name} has {len(found)} entries, {LIST_LIMIT} are allowed")
    return tuple(found.items())


cdef tuple decoded_names(bytes value):
    """Decode `(u8 length, name)*`."""
    cdef Py_ssize_t at = 0
    found = []
    while at < len(value):
        text = named_at(value, at)
        found.append(text)
        at += 1 + len(text)
    if len(found) > AUTH_SCHEMES_LIMIT:
        raise ValueError(f"AUTH_SCHEMES has {len(found)} entries, {AUTH_SCHEMES_LIMIT} are allowed")
    return tuple(found)


cdef bytes named_at(bytes value, Py_ssize_t at):
    """Decode `u8 length, name`."""
    cdef bytes text = value[at + 1:at + 1 + value[at]] if at < len(value) else b""
    if at >= len(value) or len(text) != value[at] or not NAME.match(text):
        raise ValueError("a list of names ends inside one, or a name is not 1 to 32 of a-z 0-9 . _ -")
    return text
