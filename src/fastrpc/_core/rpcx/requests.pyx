"""From the frames of requests to calls, and the words of servers in Go."""

import logging

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memchr, memcpy

from fastrpc._core.base.codec_numbers cimport FOREIGN_CODECS, codec_of
from fastrpc._core.base.status cimport INVALID_ARGUMENT, RESOURCE_EXHAUSTED
from fastrpc._core.calls.call cimport Call
from fastrpc._core.payload.metadata cimport METADATA_TOO_LARGE, check_metadata, note_dropped
from fastrpc._core.rpcx.frames cimport HEADER_BYTES, IS_ONE_WAY, LENGTH_BYTES
from fastrpc._core.rpcx.native_forms cimport Reserved, find_reserved, native_entries
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.wire.frame cimport ONE_WAY, TIMEOUT_NONE
from fastrpc._core.wire.settings cimport FIRST_OWN_NUMBER

logger = logging.getLogger("fastrpc.server")

# The longest time that does not mean "no time", as in the native protocol.
cdef uint64_t MOST_MILLISECONDS = 1_000_000_000_000


cdef class RpcxRequests(RpcxFraming):
    """Makes calls from the frames of one connection; `RpcxWire` passes them to the gate."""

    cdef ServerCall call_of(self, RpcxFrame* frame, int compressor):
        """Make the call of a request; its metadata follows."""
        cdef ServerCall call = ServerCall.__new__(ServerCall)
        cdef Py_ssize_t size = self.find_name(frame)
        self.link().stamp(call)
        call.id = frame.sequence
        call.flags = ONE_WAY if frame.flags & IS_ONE_WAY else 0
        call.codec = codec_of(frame.kinds >> 4)
        call.compressor = <uint8_t>compressor
        call.head = PyBytes_FromStringAndSize(
            frame.data, HEADER_BYTES + (2 * LENGTH_BYTES + frame.path_size + frame.method_size if size else 0)
        )
        if size == 0:
            call.head += bytes(2 * LENGTH_BYTES)
        # A peer that states none has no deadline: the server's default is for protocols in which every caller can state
        # one.
        call.stated_timeout_us = TIMEOUT_NONE
        return call

    cdef Py_ssize_t find_name(self, RpcxFrame* frame) noexcept:
        """Join path and method; return the size of the name, 0: no method has this name."""
        cdef Py_ssize_t size = frame.path_size + 1 + frame.method_size
        if size > LONGEST_NAME or memchr(frame.method, c".", frame.method_size) is not NULL:
            # The last dot of a name ends the name of its service.
            return 0
        memcpy(self.name, frame.path, frame.path_size)
        self.name[frame.path_size] = c"."
        memcpy(self.name + frame.path_size + 1, frame.method, frame.method_size)
        return size

    cdef bint takes_metadata(self, ServerCall call, RpcxFrame* frame, bint is_whole) except -1:
        """Take the metadata of a request, and again once it is complete; False: the request was refused for it."""
        cdef Gate gate = self.link().gate
        cdef Reserved found
        cdef Py_ssize_t size = self.find_name(frame)
        cdef bytes entries
        cdef list dropped = []
        text = f"the metadata of the call is over the limit of {gate.metadata_bytes} bytes (Limits.metadata_bytes)"
        if <uint64_t>frame.metadata_size > gate.metadata_bytes:
            self.refuse_early(call, size, RESOURCE_EXHAUSTED, text)
            return False
        find_reserved(frame.metadata, frame.metadata_size, self.profile.states_deadlines, &found)
        self.take_timeout(call, &found)
        if found.others == 0 and found.token is NULL:
            return True
        try:
            entries = native_entries(frame.metadata, frame.metadata_size, self.profile.states_deadlines, dropped)
        except ValueError as error:
            self.refuse_early(call, size, INVALID_ARGUMENT, str(error))
            return False
        if dropped and is_whole:
            note_dropped(dropped, self.profile.name, logger, gate.dispatcher.has_told_dropped)
            gate.dispatcher.has_told_dropped = True
        if check_metadata(
            PyBytes_AS_STRING(entries), PyBytes_GET_SIZE(entries), gate.metadata_bytes
        ) == METADATA_TOO_LARGE:
            self.refuse_early(call, size, RESOURCE_EXHAUSTED, text)
            return False
        call.received_metadata = entries
        return True

    cdef int take_timeout(self, ServerCall call, Reserved* found) except -1:
        """Take the timeout that a caller states, if it does."""
        if found.has_timeout:
            if found.timeout_ms <= 0:
                call.deadline_ns = call.started_ns
            call.stated_timeout_us = max(found.timeout_ms, 1) * 1000
            if <uint64_t>call.stated_timeout_us > MOST_MILLISECONDS * 1000:
                call.stated_timeout_us = TIMEOUT_NONE
        return 0

    cdef int refuse_early(self, ServerCall call, Py_ssize_t name_size, int status, str text) except -1:
        """Refuse a call for a limit of its connection, before the gate has seen it."""
        cdef Gate gate = self.link().gate
        call.route = gate.routes.find(self.name, name_size)
        return gate.refusals.refuse(call, status, text, True)


@cython.final
cdef class RpcxDialect(PlainDialect):
    """The error texts of servers in Go."""

    cdef str unknown_method(self, Call call, str method, object services):
        return unknown_method_in_go(self.profile.name, method, services)

    cdef str unknown_codec(self, Call call):
        return unknown_codec_in_go(call.codec)

    cdef int compressor(self, Call call, int number) except -1:
        return number if self.profile.compresses else 0


cdef RpcxDialect new_dialect(Profile profile):
    cdef RpcxDialect dialect = RpcxDialect.__new__(RpcxDialect)
    dialect.profile = profile
    return dialect


cdef str unknown_method_in_go(str protocol, str method, object services):
    service, _, name = method.rpartition(".")
    if services is not None and service not in services:
        return f"{protocol}: can't find service {service}"
    return f"{protocol}: can't find method {name}"


cdef str unknown_codec_in_go(int codec):
    # Bytes and messages are the payload in every protocol.
    return f"can not find codec for {codec - FOREIGN_CODECS}" if FOREIGN_CODECS <= codec < FIRST_OWN_NUMBER else None
