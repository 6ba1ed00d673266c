"""The log of ended calls: which of them are written, and the ids that join the records of one request.

A server tells its log of each call that reached a handler or its interceptors. A call that is left out costs a comparison:
no Python runs for it.

A request id travels in the metadata entry `frpc-request-id`. It is made by the first tier that has a log, and only once it
is needed: by a record, or by a call made inside. An id of the caller's is taken over if it is plain: 1 to 128 letters,
digits, `.`, `_` or `-`. It decides which calls are sampled, so all tiers choose the same requests.
"""

import logging
import os

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcmp

from fastrpc._core.base.wire cimport load16, now_ns

cdef enum:
    # The head of an entry of metadata (PROTOCOL.md, "Metadata").
    ENTRY_HEAD = 4
    LONGEST_ID = 128

cdef bytes KEY = b"frpc-request-id"
cdef uint64_t ALL = <uint64_t>0xFFFFFFFFFFFFFFFF

# Numbers of splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
cdef uint64_t GOLDEN = <uint64_t>0x9E3779B97F4A7C15

# FNV-1a with 64 bits.
cdef uint64_t FNV_BASIS = <uint64_t>0xCBF29CE484222325
cdef uint64_t FNV_PRIME = <uint64_t>0x100000001B3

# Ids are unique, not secret: the state of two generators, made anew in each process.
cdef uint64_t first_state, second_state

logger = logging.getLogger("fastrpc.access")


def _seed():
    global first_state, second_state
    first_state = int.from_bytes(os.urandom(8), "little")
    second_state = int.from_bytes(os.urandom(8), "little")


_seed()
os.register_at_fork(after_in_child=_seed)


cdef inline uint64_t mixed(uint64_t value) noexcept:
    value = (value ^ (value >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    value = (value ^ (value >> 27)) * <uint64_t>0x94D049BB133111EB
    return value ^ (value >> 31)


@cython.final
cdef class CallLog:
    """What is told of the end of each call, and has the records written."""

    def __init__(self, write, double sample, slow_seconds):
        self.write = write
        self.chosen = ALL if sample >= 1 else <uint64_t>(sample * 18446744073709551616.0)
        self.slow_ns = ALL if slow_seconds is None else <uint64_t>(<double>slow_seconds * 1e9)
        self.state = int.from_bytes(os.urandom(8), "little")

    cdef int ended(self, Call call, int status, uint64_t nanoseconds) except -1:
        """Take the end of a call; whatever the log does, the call ends."""
        if self._is_chosen(call, status, nanoseconds):
            try:
                self.write(call, status, nanoseconds)
            except Exception as problem:
                logger.error("a record of %s could not be written", call.route.method, exc_info=problem)
        return 0

    cdef bint _is_chosen(self, Call call, int status, uint64_t nanoseconds) except -1:
        if self.chosen == ALL or status != 0 or nanoseconds >= self.slow_ns:
            return True
        if self.chosen == 0:
            return False
        find_request_entry(call, False)
        if call.request_entry is not None:
            return mixed(hash_of(call.request_entry)) < self.chosen
        self.state += GOLDEN
        return mixed(self.state) < self.chosen

    def note_end(self, Call call not None, int status):
        """Take the end of a call, which is now."""
        cdef uint64_t now = now_ns()
        self.ended(call, status, now - min(now, call.started_ns))


cdef uint64_t hash_of(bytes entry) noexcept:
    cdef const char* data = PyBytes_AS_STRING(entry)
    cdef uint64_t found = FNV_BASIS
    cdef Py_ssize_t i
    for i in range(PyBytes_GET_SIZE(entry)):
        found = (found ^ <uint8_t>data[i]) * FNV_PRIME
    return found


cdef int find_request_entry(Call call, bint make) except -1:
    cdef bytes entry = None
    if call.request_entry is not None:
        return 0
    if call.received_metadata is not None and not call.is_local:
        entry = plain_entry(call.received_metadata)
    if entry is None and make:
        entry = new_entry()
    # Nothing above runs Python code, so no other thread can have found another one meanwhile.
    call.request_entry = entry
    return 0


cdef bytes plain_entry(bytes metadata):
    """Return the entry with the caller's id, None if there is none that is plain; metadata is checked on its arrival."""
    cdef const char* data = PyBytes_AS_STRING(metadata)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(metadata), at = 0, key_size, value_size
    cdef Py_ssize_t length = PyBytes_GET_SIZE(KEY)
    while at + ENTRY_HEAD <= size:
        key_size = <uint8_t>data[at]
        value_size = load16(data + at + 2)
        if at + ENTRY_HEAD + key_size + value_size > size:
            return None
        if key_size == length and memcmp(data + at + ENTRY_HEAD, PyBytes_AS_STRING(KEY), length) == 0:
            if is_plain(data + at + ENTRY_HEAD + key_size, value_size):
                return metadata[at:at + ENTRY_HEAD + key_size + value_size]
            return None
        at += ENTRY_HEAD + key_size + value_size
    return None


cdef bint is_plain(const char* text, Py_ssize_t size) noexcept:
    cdef Py_ssize_t i
    cdef unsigned char c
    if not 0 < size <= LONGEST_ID:
        return False
    for i in range(size):
        c = <unsigned char>text[i]
        if not (b"a" <= c <= b"z" or b"A" <= c <= b"Z" or b"0" <= c <= b"9" or c in (b".", b"_", b"-")):
            return False
    return True


cdef bytes new_entry():
    global first_state, second_state
    first_state += GOLDEN
    second_state += GOLDEN
    made = b"%016x%016x" % (mixed(first_state), mixed(second_state))
    return bytes((len(KEY), 0, len(made), 0)) + KEY + made


def request_id_of(Call call not None):
    """Return the id of the request that a call belongs to; it is made if there is none."""
    find_request_entry(call, True)
    return call.request_entry[ENTRY_HEAD + len(KEY):].decode("ascii")
