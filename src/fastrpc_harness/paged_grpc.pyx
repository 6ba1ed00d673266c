"""A server's wire of gRPC with one page: programs that test HTTP/2 want an answer of 200 with a body."""

from libc.stdint cimport uint32_t

from fastrpc._core.http2.header_block cimport TOKEN_PATH, HeaderBlock, HeaderField
from fastrpc._core.http2.hpack cimport HeaderTemplate

cdef HeaderTemplate HEAD = HeaderTemplate([(b":status", b"200"), (b"content-type", b"text/plain")])


cdef class PagedGrpcWire(GrpcWire):

    cdef int on_head(self, Http2Stream stream, HeaderBlock block, bint ends_stream) except -1:
        cdef HeaderField path = block.field(TOKEN_PATH)
        if path is None or path.value != b"/page":
            return GrpcWire.on_head(self, stream, block, ends_stream)
        stream.user = "page"
        return self._answer(stream) if ends_stream else 0

    cdef int on_data(self, Http2Stream stream, const char* data, Py_ssize_t size, bint ends_stream) except -1:
        if type(stream.user) is not str:
            return GrpcWire.on_data(self, stream, data, size, ends_stream)
        self.took(stream, size)
        return self._answer(stream) if ends_stream else 0

    cdef int on_trailers(self, Http2Stream stream, HeaderBlock block) except -1:
        return self._answer(stream) if type(stream.user) is str else GrpcWire.on_trailers(self, stream, block)

    cdef int _answer(self, Http2Stream stream) except -1:
        """Send the page; the server knows nothing of its stream."""
        stream.user = None
        self.send_head(stream, HEAD, None, False)
        return self.send_data(stream, b"a page of the tests\n", True)

    cdef int on_reset(self, Http2Stream stream, uint32_t code) except -1:
        if type(stream.user) is str:
            stream.user = None
        return GrpcWire.on_reset(self, stream, code)
