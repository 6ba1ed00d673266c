"""The first bytes of either side: magic, versions, features.

::

    0             4        5         6          8
    | F5 'F' 'R' 'P' | lowest | highest | features |      the client's
    | F5 'F' 'R' 'P' | chosen | highest | features |      the server's; chosen is 0: no version in common

PROTOCOL.md, chapter 2. Whatever begins otherwise is a stranger, whose bytes tell what it is.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t

from fastrpc._core.base.wire cimport load16

cdef enum:
    VERSION = 1
    MAGIC_SIZE = 4

MAGIC = b"\xf5FRP"

PREFACE = MAGIC + bytes((VERSION, VERSION, 0, 0))
NO_COMMON_VERSION = MAGIC + bytes((0, VERSION, 0, 0))

cdef str HTTP_CLIENT = "one that speaks HTTP, which a server does once its protocols name \"http\""

# First bytes of other servers on ports meant for ours, and of other clients that dial ours.
cdef tuple STRANGERS = (
    (b"HTTP/", "an HTTP server"),
    (b"<", "an HTTP server"),
    (b"\x00\x00\x12\x04", "an HTTP/2 server"),
    (b"SSH-", "an SSH server"),
    (b"\x15\x03", "a TLS server"),
    (b"\x16\x03", "one that speaks TLS, which tcp:// does not"),
    (b"220", "an SMTP or FTP server"),
    (b"-ERR", "a Redis server"),
    (b"-NOAUTH", "a Redis server"),
    (b"-DENIED", "a Redis server"),
    (b"GET ", HTTP_CLIENT),
    (b"HEAD ", HTTP_CLIENT),
    (b"OPTIONS ", HTTP_CLIENT),
    (b"POST ", HTTP_CLIENT),
    (b"PUT ", HTTP_CLIENT),
    (b"\x08", "one that speaks rpcx, which a server does once its protocols name \"rpcx\""),
)


cdef bint begins_with_magic(const char* data, Py_ssize_t size) noexcept:
    """Return whether so many first bytes are those of a preface."""
    cdef Py_ssize_t i
    for i in range(min(size, <Py_ssize_t>MAGIC_SIZE)):
        if data[i] != PyBytes_AS_STRING(MAGIC)[i]:
            return False
    return True


cdef str stranger_of(bytes first, bint is_client):
    """Describe the other side by its first bytes, which are not fastrpc's."""
    wanted = "server" if is_client else "client"
    for start, name in STRANGERS:
        if first.startswith(start):
            return f"not a fastrpc {wanted} but {name}: the first bytes are {first!r}"
    return f"not a fastrpc {wanted}: the first bytes are {first!r}"


cdef str version_problem(const char* data, bint is_client):
    """Return the reason why a whole preface leads to no connection, None: it does."""
    cdef int lowest = <uint8_t>data[4], highest = <uint8_t>data[5]
    cdef bint is_common = lowest and lowest <= VERSION <= highest and load16(data + 6) == 0
    if not is_client:
        return None if is_common else f"no common version: the client speaks {lowest} to {highest}"
    if lowest == 0:
        return f"no common version: the server speaks up to {highest}"
    return None if is_common and lowest == VERSION else f"the server chose version {lowest}, we speak {VERSION}"
