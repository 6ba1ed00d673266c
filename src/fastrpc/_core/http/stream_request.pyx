"""A stream of HTTP/2 as a request by gRPC-Web or Connect.

::

    header block ──► RequestHead ──► HttpTerms ──► WebCall     Host, origin, metadata and method as by HTTP/1.1
    DATA ──► `translate` ──► GrpcRequests                      messages, memory, time and windows as by gRPC
    outcome ──► WebCall ──► fields and content                 `responses`, as by HTTP/1.1

gRPC's wire has the stream; it calls this module for everything that differs from gRPC.
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

# The longest message that a prefix can state: a longer one exceeds each limit.
cdef int64_t LONGEST = 0xFFFFFFFF


@cython.final
cdef class StreamRequests:

    cdef:
        # Shared by all connections at an address.
        HttpService _service

    def __init__(self, HttpService service not None):
        self._service = service

    def find(self, GrpcCall call not None, HeaderBlock block not None, bint has_pages):
        cdef StreamRequest request = StreamRequest.__new__(StreamRequest)
        try:
            request._head = head_of_block(block, self._service.limits, False)
        except RequestRefusedError as error:
            if has_pages:
                # The pages refuse it once more.
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

        # The request in HTTP/1.1's form, and its meaning; None if even its fields are refused.
        RequestHead _head
        HttpTerms _terms

        # The head in the form for the engine of gRPC; with an `http_status` the request is refused, by an answer:
        # fields and content.
        readonly GrpcHead grpc_head
        readonly tuple refusal

        # The call (`server.web.form.WebCall`), None with a refusal; the name of its protocol. Whether its form differs
        # from its method's form, which the gate refuses.
        readonly object form
        readonly str protocol
        readonly bint is_unfit

        # Whether the rest of the body has gRPC's form already. For a body without a stated length: its parts, their
        # bytes, and the most bytes; the stated length, -1: none.
        readonly bint is_plain
        list _parts
        readonly Py_ssize_t held
        Py_ssize_t _most
        int64_t _length

        # Bytes of DATA that are in no message, and whose credit was not returned.
        public Py_ssize_t owed

    cdef bint understand(self, GrpcCall call, HeaderBlock block, HttpService service, bint has_pages) except -1:
        """Read the head of a request; return whether it is a call. A refused call counts as one."""
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
        """Have the request refused by an answer: the status of HTTP, fields and content."""
        self.grpc_head = refused_head(answer[0])
        self.refusal = answer_fields(answer[0], answer[1]), answer[2]
        return 0

    cdef int _refuse_head(self, object error) except -1:
        """Refuse a request whose head is faulty."""
        self.protocol = "grpc"
        return self._refuse((error.status, *refusal_answer(None, None, error.status, error.text)))

    # The body

    def translate(self, bytes part not None, bint is_last):
        cdef Py_ssize_t size = PyBytes_GET_SIZE(part)
        cdef bytes found
        if self.form.is_enveloped:
            found = self.form.decode(part, is_last)
            # Digits of base64 may wait for the next part, so the number of owed bytes may be negative then.
            self.owed += size - PyBytes_GET_SIZE(found)
            return found
        if self._length >= 0 and self.form.payload is None:
            # The prefix, then the body unchanged.
            self.is_plain = True
            return self._prefix(self._length) + part
        self.owed += size
        if self.form.payload is None:
            self._parts.append(part)
            self.held += size
            if not is_last and self.held <= self._most:
                return b""
        elif not is_last:
            # The message of a GET is in its query: a body is ignored.
            return b""
        found = b"".join(self._parts) if self.form.payload is None else self.form.payload
        self._parts = []
        self.held = 0
        return self._prefix(PyBytes_GET_SIZE(found)) + found

    def drop_body(self):
        self._parts = []
        self.held = 0

    cdef bytes _prefix(self, int64_t size):
        """Return the prefix for a body without envelopes, which is one message."""
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
            # Connect answers an unknown path with 404, too.
            told = 404 if told == 404 and call.route is None else 0
            answer = web_answer(call, self._terms, self._head, None, failure, told)
        return answer_fields(answer[0], answer[1]), answer[2]
