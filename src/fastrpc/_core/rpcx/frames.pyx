"""The frames of rpcx: how they are parsed, and the protocols that use them.

A frame has no checksum, and a connection has neither a handshake nor a goodbye, so after a malformed frame a side can
only close the connection. Every violation is a `RemoteProtocolError` with the announced value and its limit. No memory
is allocated for an announced length: a frame of 2 GiB is refused when its header arrives.

Phobos has the same layout, flags and numbers as rpcx. It has a different magic, error key and texts, sends no deadline,
keeps a connection open after it refused the token, and requires the token in heartbeats, too. Its server neither
decompresses requests nor compresses answers. Its processes set some bits wrongly: a process that has served rpcx frames
sends Phobos frames with rpcx's magic, an error may lack its text, and uncompressed answers may have the gzip flag.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t
from libc.string cimport memcpy

from fastrpc._core.base.big_endian cimport load32_big, load64_big, store32_big, store64_big
from fastrpc._core.base.buffer cimport WriteBuffer

from fastrpc.errors import RemoteProtocolError

# The names of the parts, in the order of a frame.
cdef tuple PARTS = ("path", "method", "metadata", "payload")

cdef enum:
    # The index of the payload in PARTS.
    PAYLOAD = 3


cdef Py_ssize_t announced_size(const char* data, Py_ssize_t size, int magic) except -1:
    cdef uint32_t rest
    if size and <uint8_t>data[0] != magic and magic >= 0:
        raise RemoteProtocolError(f"a frame begins with 0x{<uint8_t>data[0]:02x}, the magic is 0x{magic:02x}")
    if size < HEADER_BYTES:
        return 0
    rest = load32_big(data + REST_AT)
    if rest < LEAST_REST:
        raise RemoteProtocolError(f"a frame announces {rest} bytes, fewer than the {<int>LEAST_REST} of its lengths")
    return HEADER_BYTES + <Py_ssize_t>rest


cdef bint parse_frame(const char* data, Py_ssize_t size, Py_ssize_t whole, RpcxFrame* frame) except -1:
    cdef Py_ssize_t[4] places
    cdef Py_ssize_t[4] sizes
    cdef Py_ssize_t at = HEADER_BYTES
    cdef bint is_cut = size < whole
    cdef int part
    places[PAYLOAD] = sizes[PAYLOAD] = 0
    for part in range(PAYLOAD if is_cut else PAYLOAD + 1):
        if size - at < LENGTH_BYTES:
            if is_cut:
                return False
            raise RemoteProtocolError(f"a frame has {size - at} bytes left, too few for the length of its {PARTS[part]}")
        sizes[part] = load32_big(data + at)
        at += LENGTH_BYTES
        # The length of each later part is needed, too.
        if sizes[part] > whole - at - ((PAYLOAD - part) * LENGTH_BYTES if is_cut else 0):
            raise RemoteProtocolError(
                f"the {PARTS[part]} of a frame announces {sizes[part]} bytes, {whole - at} are left of the frame"
            )
        places[part] = at
        at += sizes[part]
    if at > size:
        return False
    if not is_cut and at != size:
        raise RemoteProtocolError(f"a frame has {size - at} bytes after its payload, there must be none")
    frame.version = <uint8_t>data[1]
    frame.flags = <uint8_t>data[FLAGS_AT]
    frame.kinds = <uint8_t>data[3]
    frame.sequence = load64_big(data + 4)
    frame.data = data
    frame.size = whole
    frame.path, frame.path_size = data + places[0], sizes[0]
    frame.method, frame.method_size = data + places[1], sizes[1]
    frame.metadata, frame.metadata_size = data + places[2], sizes[2]
    frame.payload, frame.payload_size = data + places[PAYLOAD], sizes[PAYLOAD]
    return True


cdef char* put_header(char* at, Profile profile, uint8_t flags, int serialize, uint64_t sequence, Py_ssize_t rest) noexcept:
    at[0] = <char>profile.magic
    at[1] = 0
    at[FLAGS_AT] = <char>flags
    at[3] = <char>(serialize << 4)
    store64_big(at + 4, sequence)
    store32_big(at + REST_AT, <uint32_t>rest)
    return at + HEADER_BYTES


cdef char* put_text(char* at, const char* text, Py_ssize_t size) noexcept:
    store32_big(at, <uint32_t>size)
    if size:
        memcpy(at + LENGTH_BYTES, text, size)
    return at + LENGTH_BYTES + size


cdef int put_head(
    WriteBuffer out, bytes head, uint8_t flags, bytes entries, Py_ssize_t payload_size
) except -1:
    cdef Py_ssize_t head_size = PyBytes_GET_SIZE(head), entries_size = PyBytes_GET_SIZE(entries)
    cdef char* begin = out.reserve(head_size + entries_size + 2 * LENGTH_BYTES)
    cdef char* at = begin + head_size
    memcpy(begin, PyBytes_AS_STRING(head), head_size)
    begin[FLAGS_AT] = <char>flags
    store32_big(
        begin + REST_AT, <uint32_t>(head_size - HEADER_BYTES + entries_size + 2 * LENGTH_BYTES + payload_size)
    )
    at = put_text(at, PyBytes_AS_STRING(entries), entries_size)
    store32_big(at, <uint32_t>payload_size)
    return 0


@cython.final
cdef class Profile:
    """One of the protocols that use these frames."""

    def __init__(self, str name not None, int magic, *, bint closes_on_refusal, bint compresses, bint states_deadlines,
                 bint proves_heartbeats, bint is_loose):
        self.name = name
        self.magic = magic
        self.checked_magic = -1 if is_loose else magic
        self.error_key = f"__{name}_error__".encode()
        self.unknown_names = (f"{name}: can't find service ".encode(), f"{name}: can't find method ".encode())
        self.closes_on_refusal = closes_on_refusal
        self.compresses = compresses
        self.states_deadlines = states_deadlines
        self.proves_heartbeats = proves_heartbeats
        self.is_loose = is_loose


RPCX = Profile(
    "rpcx", 0x08, closes_on_refusal=True, compresses=True, states_deadlines=True, proves_heartbeats=False, is_loose=False,
)
PHOBOS = Profile(
    "phobos", 0x42, closes_on_refusal=False, compresses=False, states_deadlines=False, proves_heartbeats=True, is_loose=True,
)
