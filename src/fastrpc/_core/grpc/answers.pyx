"""Answers of gRPC: head, messages, and the trailers with the status.

::

    :status 200, content-type application/grpc, grpc-encoding, metadata ──► AnswerHead
    grpc-status, grpc-message, grpc-status-details-bin, metadata ─────────► AnswerEnd      also alone, as the first block

The trailer `frpc-outcome` of our own servers says whether the handler ran. A stranger's handler has run, but for statuses
with which servers and proxies refuse calls as well. An answer of HTTP alone has the status that gRPC maps it to.

Both are kept with the header block (`HeaderBlock.note`): an equal block is known at once.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t
from libc.string cimport memset

from fastrpc._core.base.status cimport RESOURCE_EXHAUSTED, UNAVAILABLE
from fastrpc._core.grpc.fields cimport binary_value, message_text, metadata_of, status_of, status_of_http
from fastrpc._core.http2.hpack_tables cimport (
    TOKEN_CONTENT_TYPE, TOKEN_GRPC_ENCODING, TOKEN_GRPC_MESSAGE, TOKEN_GRPC_PUSHBACK, TOKEN_GRPC_STATUS,
    TOKEN_GRPC_STATUS_DETAILS, TOKEN_OUTCOME, TOKEN_STATUS, HeaderField,
)
from fastrpc._core.wire.frame cimport MESSAGE_LIMIT, OUTCOME_NOT_STARTED, OUTCOME_RAN, OUTCOME_UNKNOWN, PUSHBACK_NEVER

from fastrpc.assigned_numbers import COMPRESSORS

# Milliseconds of a pause that are believed, some 46 days.
cdef object LONGEST_PAUSE = 4_000_000_000

cdef bytes GRPC_TYPE = b"application/grpc"
cdef bytes IDENTITY = b"identity"

# The compressors of this wire: their names by number, and the other way round.
cdef dict ENCODINGS = {COMPRESSORS[name]: name.encode() for name in ("gzip", "deflate")}
cdef dict NUMBERS = {name: number for number, name in ENCODINGS.items()}


@cython.final
cdef class AnswerHead:
    """The head of an answer."""


@cython.final
cdef class AnswerEnd:
    """The end of an answer: its status, and the metadata of its trailers."""

    cdef int fill(self, Frame* frame) noexcept:
        memset(frame, 0, sizeof(Frame))
        frame.codec = DETAILS_CODEC
        frame.status = <uint16_t>self.status
        frame.outcome = <uint8_t>self.outcome
        frame.pushback_ms = self.pushback_ms
        # This object's own bytes.
        frame.text = PyBytes_AS_STRING(self.text)
        frame.text_size = PyBytes_GET_SIZE(self.text)
        return 0


@cython.final
@cython.freelist(64)
cdef class GrpcAnswer:
    """The answer to a call, as far as it came."""


cdef bytes encoding_name(int compressor):
    return ENCODINGS.get(compressor)


cdef bint is_of_grpc(HeaderBlock block) except -1:
    """Return whether a head is one of gRPC; some servers leave the content-type of a bare status out."""
    cdef HeaderField found = block.field(TOKEN_STATUS)
    if found is None or found.value != b"200":
        return False
    found = block.field(TOKEN_CONTENT_TYPE)
    if found is None:
        return block.field(TOKEN_GRPC_STATUS) is not None
    return found.value.startswith(GRPC_TYPE) and found.value[len(GRPC_TYPE):len(GRPC_TYPE) + 1] in b"+;"


cdef AnswerHead head_of(HeaderBlock block, list dropped):
    cdef AnswerHead head
    cdef HeaderField encoding
    if type(block.note) is AnswerHead:
        return <AnswerHead>block.note
    head = AnswerHead.__new__(AnswerHead)
    head.is_grpc = is_of_grpc(block)
    head.http_status = (<HeaderField>block.field(TOKEN_STATUS)).value
    encoding = block.field(TOKEN_GRPC_ENCODING)
    if encoding is not None and encoding.value != IDENTITY:
        head.encoding = encoding.value
        head.compressor = NUMBERS.get(encoding.value, UNKNOWN_COMPRESSOR)
    head.metadata = metadata_of(block, dropped)
    block.note = head
    return head


cdef AnswerEnd end_of(HeaderBlock block, list dropped):
    cdef AnswerEnd end
    cdef HeaderField status, found
    if type(block.note) is AnswerEnd:
        return <AnswerEnd>block.note
    status = block.field(TOKEN_GRPC_STATUS)
    if status is None:
        return http_end(block)
    end = AnswerEnd.__new__(AnswerEnd)
    end.status = status_of(status.value)
    found = block.field(TOKEN_GRPC_MESSAGE)
    end.text = b"" if found is None else message_text(found.value).encode()[:MESSAGE_LIMIT]
    found = block.field(TOKEN_OUTCOME)
    end.outcome = outcome_of(end.status) if found is None else stated_outcome(found.value)
    found = block.field(TOKEN_GRPC_PUSHBACK)
    end.pushback_ms = 0 if found is None else pause_of(found.value)
    found = block.field(TOKEN_GRPC_STATUS_DETAILS)
    end.details = b"" if found is None else binary_value(found.value) or b""
    end.metadata = metadata_of(block, dropped)
    block.note = end
    return end


cdef AnswerEnd http_end(HeaderBlock block):
    """Return the end of an answer without grpc-status: trailers, or a head that is all of it."""
    cdef HeaderField status = block.field(TOKEN_STATUS)
    if status is None or (status.value == b"200" and is_of_grpc(block)):
        return new_end(status_of_http(b"200"), OUTCOME_UNKNOWN, "the server ended the answer without a status")
    return refused_by_http(status.value, b"")


cdef AnswerEnd refused_by_http(bytes status, bytes body):
    """Return the end of an answer of HTTP alone."""
    text = body.decode("utf-8", "replace").strip()
    end = f": {text}" if text else ""
    return new_end(
        status_of_http(status), OUTCOME_UNKNOWN, f"the server answered by HTTP alone, with status {status.decode()}{end}"
    )


cdef AnswerEnd new_end(int status, int outcome, str text):
    cdef AnswerEnd end = AnswerEnd.__new__(AnswerEnd)
    end.status = status
    end.outcome = outcome
    end.text = text.encode("utf-8", "replace")
    end.details = b""
    return end


cdef int outcome_of(int status) noexcept:
    """Return whether the handler of a stranger ran, by its status."""
    return OUTCOME_UNKNOWN if status == UNAVAILABLE or status == RESOURCE_EXHAUSTED else OUTCOME_RAN


cdef int stated_outcome(bytes value) except -1:
    """Return the outcome that a server of ours states."""
    if value == b"1":
        return OUTCOME_NOT_STARTED
    return OUTCOME_RAN if value == b"0" else OUTCOME_UNKNOWN


cdef uint32_t pause_of(bytes value) except? 1:
    """Return grpc-retry-pushback-ms as in a RESPONSE: a negative number, or no number at all, forbids a retry."""
    if not value.isdigit():
        return PUSHBACK_NEVER
    # 0 says nothing on the wire of a RESPONSE.
    return max(1, min(int(value), LONGEST_PAUSE)) if len(value) < 12 else LONGEST_PAUSE
