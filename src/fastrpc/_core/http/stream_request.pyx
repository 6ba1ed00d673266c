"""An HTTP/2 stream as a request by gRPC-Web or Connect.

::

    header block ──► RequestHead ──► HttpTerms ──► WebCall     Host, origin, metadata and method as in HTTP/1.1
    DATA ──► `translate` ──► GrpcRequests                      messages, memory, time and windows as in gRPC
    outcome ──► WebCall ──► fields and content                 `responses`, as in HTTP/1.1

gRPC's wire holds the stream, and calls this module for everything that differs from gRPC.
"""

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE
from libc.stdint cimport int64_t

from fastrpc._core.base.codec_numbers cimport CODEC_JSON
from fastrpc._core.exchange.request_head cimport RequestHead
from fastrpc._core.grpc.grpc_call cimport GrpcCall, GrpcHead, new_head, refused_head
from fastrpc._core.http.conditions cimport note_stored
from fastrpc._core.http.http_call cimport HttpTerms
from fastrpc._core.http.messages cimport is_grpc
from fastrpc._core.http.request_fields cimport too_much_metadata
from fastrpc._core.http.responses cimport (
    fault_answer,
    problem_answer,
    refusal_answer,
    refusal_of_call,
    web_answer,
    web_lines,
)
from fastrpc._core.http.service cimport HttpService
from fastrpc._core.http2.header_block cimport HeaderBlock
from fastrpc._core.http2.http_fields cimport answer_fields, head_of_block
from fastrpc._core.link.failure cimport Failure

from fastrpc._core.exchange.request_head import RequestRefusedError
from fastrpc.status import Status

# The largest size that the prefix of a message can state; larger messages exceed every limit.
cdef int64_t LONGEST = 0xFFFFFFFF


@cython.final
cdef class StreamRequests:

    cdef:
        # The state that all connections at an address share.
        HttpService _service

    def __init__(self, HttpService service not None):
        self._service = service

    def find(self, GrpcCall call not None, HeaderBlock block not None, bint has_pages):
        cdef StreamRequest request = StreamRequest.__new__(StreamRequest)
        try:
            request._head = head_of_block(block, self._service.limits, False)
        except RequestRefusedError as error:
            if has_pages:
                # The pages read the head again, and refuse it.
                return None
            request._refuse_head(error)
            return request
        if request._head is None or is_grpc(request._head) or not (
            request.understand(call, block, self._service, has_pages)
        ):
            return None
        return request


@cython.final
cdef class StreamRequest:

    cdef:
        HttpService _service

        # `_head`: the head in the form that all versions of HTTP share; `_terms`: its terms. None if its fields are
        # malformed.
        RequestHead _head
        HttpTerms _terms

        # `grpc_head`: the head in gRPC's form. If it has an `http_status`, the request is refused with it; `refusal`:
        # the fields and the content of that answer.
        readonly GrpcHead grpc_head
        readonly tuple refusal

        # `form`: the call (`server.web.form.WebCall`), or None if it is refused; `protocol`: the name of its protocol;
        # `is_unfit`: whether its form does not fit its method, so that the gate refuses it.
        readonly object form
        readonly str protocol
        readonly bint is_unfit

        # `is_plain`: whether the rest of the body needs no translation to gRPC's form. For a body without
        # Content-Length: `_parts` has its parts, `held` is the number of their bytes, `_most` the limit. `_length`: the
        # Content-Length, -1: none.
        readonly bint is_plain
        list _parts
        readonly Py_ssize_t held
        Py_ssize_t _most
        int64_t _length

        # The bytes of DATA that belong to no message and whose flow-control credit was not returned yet.
        public Py_ssize_t owed

    cdef bint understand(self, GrpcCall call, HeaderBlock block, HttpService service, bint has_pages) except -1:
        """Read the head of a request; return whether it is a call, including a call that is refused."""
        cdef HttpTerms terms = HttpTerms.__new__(HttpTerms)
        self._terms = terms
        self._service = service
        terms.understand_stream(call, self._head, service, has_pages)
        if terms.web is None and (has_pages or terms.fault_status == 0):
            return False
        self.form = terms.web
        self.protocol = "grpc" if terms.web is None else terms.web.protocol
        if terms.web is not None and block.is_too_large:
            terms.web.refuse(Status.RESOURCE_EXHAUSTED, too_much_metadata(service.gate.metadata_bytes))
            terms.set_fault(200, terms.web.fault.text, b"")
        if terms.fault_status and not terms.is_fault_hidden:
            self._refuse(fault_answer(call, terms, self._head))
            return True
        self.is_unfit = terms.is_fault_hidden
        self.is_plain = terms.web.is_enveloped and not terms.web.is_text
        self._length = block.content_length()
        self._most = service.body_bytes
        self._parts = []
        self.grpc_head = new_head(terms.name, call.codec == CODEC_JSON, terms.web.compressor)
        return True

    cdef int _refuse(self, tuple answer) except -1:
        """Set the answer that refuses the request: the HTTP status, the fields and the content."""
        self.grpc_head = refused_head(answer[0])
        self.refusal = answer_fields(answer[0], answer[1]), answer[2]
        return 0

    cdef int _refuse_head(self, object error) except -1:
        """Set the answer to a request whose head is malformed."""
        self.protocol = "grpc"
        return self._refuse((error.status, *refusal_answer(None, None, error.status, error.text)))

    # The body

    def translate(self, bytes part not None, bint is_last):
        cdef Py_ssize_t size = PyBytes_GET_SIZE(part)
        cdef bytes found
        if self.form.is_enveloped:
            found = self.form.decode(part, is_last)
            # `found` may have bytes of earlier parts, whose base64 digits were incomplete, so this may be negative.
            self.owed += size - PyBytes_GET_SIZE(found)
            return found
        if self._length >= 0 and self.form.payload is None:
            # The whole body is one message of known size: it gets a prefix, and is passed on unchanged.
            self.is_plain = True
            return self._prefix(self._length) + part
        self.owed += size
        if self.form.payload is None:
            self._parts.append(part)
            self.held += size
            if not is_last and self.held <= self._most:
                return b""
        elif not is_last:
            # The message of a GET is in its query, so a body is ignored.
            return b""
        found = b"".join(self._parts) if self.form.payload is None else self.form.payload
        self._parts = []
        self.held = 0
        return self._prefix(PyBytes_GET_SIZE(found)) + found

    def drop_body(self):
        self._parts = []
        self.held = 0

    cdef bytes _prefix(self, int64_t size):
        """Return the prefix of a message that is the whole body."""
        return bytes((self.form.compressor != 0,)) + min(size, LONGEST).to_bytes(4, "big")

    # The answer

    def note_answer(self, dict fields not None):
        note_stored(self._terms, self._service, fields)

    def head_fields(self, GrpcCall call not None, bytes metadata, int compressor):
        fields = self.form.head(metadata, compressor)
        return None if fields is None else answer_fields(200, web_lines(call, self._terms, self._head, fields))

    def message(self, bytes payload not None, int compressor):
        return self.form.message(payload, compressor)

    def end(self, GrpcCall call not None, bytes payload, Failure failure):
        cdef bytes part = self.form.end(failure, call.sent_metadata)
        return part if payload is None else self.form.message(payload, call.compressor) + part

    def answer(self, GrpcCall call not None, bytes payload, Failure failure):
        status, lines, content = web_answer(call, self._terms, self._head, payload, failure, 0)
        return answer_fields(status, lines), content

    def refuse(self, GrpcCall call not None, int status, str text not None, bint is_faulty):
        cdef Failure failure = Failure(status, text, pushback_ms=call.pushback_ms, has_run=False)
        cdef int told
        told, failure, lines = refusal_of_call(call, self._terms, failure, is_faulty)
        if self._terms.web is None:
            answer = problem_answer(call, self._terms, self._head, told, failure, lines)
        else:
            # Connect, too, answers an unknown path with 404. Otherwise the protocol chooses the HTTP status.
            told = 404 if told == 404 and call.route is None else 0
            answer = web_answer(call, self._terms, self._head, None, failure, told)
        return answer_fields(answer[0], answer[1]), answer[2]
