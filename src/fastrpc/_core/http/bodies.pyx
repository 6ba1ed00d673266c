"""Bodies that are read in parts: lines, messages of gRPC-Web and Connect, forms, bodies of mounted applications.

::

    part ──► LinesBody ─────► first line: arguments ──► pass_in     further lines ──► put
        └──► MessagesBody ──► WebCall.cut ──► messages ──► put; of a unary call: pass_in
        └──► FormBody ──────► fields: arguments        the file ──► put
        └──► MountBody ─────► MountedRequest.put
"""

cimport cython
from cpython.bytearray cimport PyByteArray_GET_SIZE
from libc.stdint cimport uint8_t

from fastrpc._core.calls.call cimport MethodRoute
from fastrpc._core.http.http_call cimport terms_of
from fastrpc._core.http.messages cimport LINE_ARGUMENTS, LINE_END, LINE_VALUE, open_line
from fastrpc._core.http.mounted_request cimport mounted_request_of
from fastrpc._core.http.request_intake cimport count_body, end_input, pass_in, put_message
from fastrpc._core.http.request_state cimport RequestState
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.server.served_stream cimport ServedStream
from fastrpc._core.streams.stream_channel cimport StreamChannel

from fastrpc.errors import CallError
from fastrpc.status import Status


@cython.final
cdef class LinesBody(BodyReading):
    """Lines of JSON: the first line holds the arguments, each further line a message."""

    cdef:
        # The received part of an incomplete line.
        bytearray _line

    def __cinit__(self):
        self._line = bytearray()

    cdef Py_ssize_t held(self) noexcept:
        return PyByteArray_GET_SIZE(self._line)

    cdef int part(self, RequestState request, ServerCall call, bytes part, bint is_last) except -1:
        cdef Py_ssize_t end = part.rfind(b"\n"), before = PyByteArray_GET_SIZE(self._line)
        cdef list lines = []
        if end >= 0:
            lines = (bytes(self._line) + part[:end]).split(b"\n")
            self._line = bytearray()
        self._line += part[end + 1:]
        if is_last:
            lines.append(bytes(self._line))
            self._line = bytearray()
        # Counted as unprocessed input, before a line is processed, as that may end the connection.
        request.exchange().engine().tail_changed(PyByteArray_GET_SIZE(self._line) - before)
        try:
            for line in lines:
                self._take_line(request, request.call, line.strip())
            if PyByteArray_GET_SIZE(self._line) > request.service.body_bytes:
                text = f"a line of the body has more than {request.service.body_bytes} bytes (Limits.message_bytes)"
                raise CallError(Status.RESOURCE_EXHAUSTED, text)
        except CallError as error:
            end_input(request, error)
        else:
            if is_last:
                end_input(request, None)
        return 0

    cdef int _take_line(self, RequestState request, ServerCall call, bytes line) except -1:
        """Process a line of the body: the arguments, a message, or the end of the stream."""
        cdef list content = []
        cdef int kind
        cdef ServedStream stream
        if not line or call is None:
            return 0
        kind = open_line(line, content)
        if kind == LINE_ARGUMENTS and request.has_started:
            raise CallError(Status.INVALID_ARGUMENT, "the arguments come in the first line of the body only")
        if not request.has_started:
            pass_in(request, content[0] if kind == LINE_ARGUMENTS else b"")
        stream = <ServedStream>call.stream
        if stream is None:
            return 0
        if stream.input_ended and kind == LINE_VALUE:
            raise CallError(Status.INVALID_ARGUMENT, "a message follows the end of the stream")
        if kind == LINE_END:
            stream.end_input(None)
        elif kind == LINE_VALUE:
            put_message(request, call, content[0], 0)
        return 0


@cython.final
cdef class MessagesBody(BodyReading):
    """Messages of a call by gRPC-Web or Connect."""

    cdef:
        # The counted bytes of an incomplete message.
        Py_ssize_t _counted

    cdef int part(self, RequestState request, ServerCall call, bytes part, bint is_last) except -1:
        cdef object web = terms_of(call).web
        cdef MethodRoute route = call.route
        cdef bytes message
        cdef int compressor
        try:
            found = web.cut(part, is_last)
        except CallError as error:
            found, fault = (), error
        else:
            fault = None
        if route.takes_stream:
            request.exchange().engine().tail_changed(web.held - self._counted)
            self._counted = web.held
        elif fault is None:
            count_body(request, web.held)
        for message, compressor in found:
            if route.takes_stream:
                put_message(request, call, message, compressor)
            else:
                call.compressor = <uint8_t>compressor
                pass_in(request, message)
        if fault is not None or is_last and route.takes_stream:
            end_input(request, fault)
        return 0

    cdef Py_ssize_t held(self) noexcept:
        return self._counted


@cython.final
cdef class FormBody(BodyReading):
    """A form. Its call begins when the fields are complete; the file is the stream of the call."""

    cdef int part(self, RequestState request, ServerCall call, bytes part, bint is_last) except -1:
        cdef HttpTerms terms = terms_of(call)
        cdef list pieces
        cdef bytes piece
        if request.has_started and (call.stream is None or (<StreamChannel>call.stream).input_ended):
            # The call was refused, or its handler reads no more.
            return 0
        try:
            pieces = terms.file_form.take(part)
            if not request.has_started:
                self._begin(request, terms)
            for piece in pieces:
                put_message(request, call, piece, 0)
            if is_last:
                terms.file_form.end()
        except CallError as error:
            end_input(request, error)
        else:
            if is_last:
                end_input(request, None)
        return 0

    cdef int _begin(self, RequestState request, HttpTerms terms) except -1:
        """Count the memory of a form's fields; begin the call once the file begins."""
        cdef bytes arguments
        if terms.file_form.held > request.service.body_bytes:
            text = f"the fields of the form have more than {request.service.body_bytes} bytes (Limits.message_bytes)"
            raise CallError(Status.RESOURCE_EXHAUSTED, text)
        count_body(request, terms.file_form.held)
        if terms.file_form.filename is None:
            return 0
        arguments = terms.file_form.arguments()
        return pass_in(request, arguments if terms.routed is None else terms.routed.payload("", arguments, "json"))


@cython.final
cdef class MountBody(BodyReading):
    """The body of a request to a mounted application."""

    cdef int part(self, RequestState request, ServerCall call, bytes part, bint is_last) except -1:
        # Without a `MountedRequest` the call was refused: drop the part.
        return 0 if terms_of(call).mounted is None else mounted_request_of(call).put(part, is_last)


cdef BodyReading reading_of(HttpTerms terms):
    if terms.mount is None and terms.file_form is None:
        return LinesBody.__new__(LinesBody) if terms.web is None else MessagesBody.__new__(MessagesBody)
    return FORM if terms.mount is None else MOUNT


# Objects without state, which all requests share.
cdef FormBody FORM = FormBody.__new__(FormBody)
cdef MountBody MOUNT = MountBody.__new__(MountBody)
