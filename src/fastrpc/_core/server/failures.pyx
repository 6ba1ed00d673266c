"""The failure that answers a handler's error, even if methods of the error raise.

::

    error ──► the dispatcher chooses status, text and details ──► details that fit ──► Failure

Details are omitted if they exceed a limit or memory is full, so that at least status and text arrive.
"""

import logging

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE
from libc.stdint cimport uint64_t

from fastrpc._core.base.codec_numbers cimport CODEC_MSGPACK
from fastrpc._core.base.status cimport INTERNAL
from fastrpc._core.server.output_room cimport SMALL_OUTPUT
from fastrpc._core.server.served_connection cimport report
from fastrpc._core.wire.frame cimport ONE_WAY
from fastrpc._core.wire.settings cimport FIRST_OWN_NUMBER

from fastrpc._core.base.histogram import count_refusal
from fastrpc.user_code import plain_error

cdef enum:
    # The overhead of details in trailers, in bytes.
    DETAILS_KEY = 64

logger = logging.getLogger("fastrpc.server")


@cython.final
cdef class HandlerFailures:

    def __init__(self, dispatcher not None, OutputRoom room not None):
        self.dispatcher = dispatcher
        self.room = room

    cdef Failure of(self, ServerCall call, object error):
        """Return the failure for a handler's error, even for an error whose own methods raise."""
        cdef Failure failure
        try:
            failure = <Failure?>self.dispatcher.failure_of(call, error)
            failure.details = _fitting(self, call, failure.details)
            if call.codec >= FIRST_OWN_NUMBER:
                # Details are plain values, which installed codecs cannot encode.
                call.codec = CODEC_MSGPACK
        except BaseException as problem:
            report(f"the error of {call.route.method} cannot be described", plain_error(problem, "the error"))
            text = f"{call.route.method} failed, and so did its error"
            failure = Failure(INTERNAL, text, has_run=not call.never_started)
        return failure


cdef bytes _fitting(HandlerFailures failures, ServerCall call, bytes details):
    """Return the details of an error, or b"" if they exceed a limit, so that at least status and text arrive."""
    cdef uint64_t limit = min(failures.room.sent_bytes, call.connection.most_message())
    cdef Py_ssize_t size = PyBytes_GET_SIZE(details)
    cdef bint is_metadata = call.has_trailers
    cdef str setting = "message_bytes"
    if size == 0 or call.flags & ONE_WAY:
        return details
    if size > SMALL_OUTPUT and not failures.room.takes(call, size):
        # Omit the details, so that at least status and text arrive.
        count_refusal("memory")
        return b""
    if is_metadata:
        # gRPC sends details in base64, as a field of the trailers.
        size += size // 3 + DETAILS_KEY
        limit = call.connection.most_metadata()
        setting = "metadata_bytes"
    if <uint64_t>size > limit:
        problem = f"they have {size} bytes, {limit} are allowed (Limits.{setting})"
    elif not is_metadata and not call.route.marshal.takes_details(details, call.codec):
        problem = "they are nested too deep, hold too many items (Limits.depth, Memory.items) or keys that collide"
    else:
        return details
    logger.error("%s: the details of its error are left out: %s", call.route.method, problem)
    return b""
