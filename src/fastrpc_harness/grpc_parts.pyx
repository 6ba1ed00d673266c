"""Parts of gRPC for Python code: metadata as fields of a header block, and messages in DATA."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memcpy

from fastrpc._core.base.buffer cimport WriteBuffer
from fastrpc._core.grpc.fields cimport PREFIX_BYTES, MessageReader, put_metadata, put_prefix
from fastrpc._core.grpc.grpc_call cimport head_of
from fastrpc._core.http2.header_block cimport HeaderBlock
from fastrpc._core.http2.hpack cimport HpackEncoder


def encode_metadata_block(HpackEncoder encoder not None, bytes metadata not None):
    """Return a header block that has only native metadata."""
    cdef WriteBuffer out = WriteBuffer()
    encoder.begin(out)
    put_metadata(encoder, out, metadata)
    return out.take()


def read_head(HeaderBlock block not None, int metadata_bytes):
    """Return the head of the call in a header block."""
    return head_of(block, metadata_bytes)


def encode_prefix(Py_ssize_t size, bint is_compressed=False):
    """Return the prefix of a message."""
    cdef WriteBuffer out = WriteBuffer()
    put_prefix(out.reserve(PREFIX_BYTES), size, is_compressed)
    return out.take()


def read_messages(MessageReader reader not None, bytes data not None, Py_ssize_t trusted=0):
    """Pass bytes of DATA to a reader; return each completed message, with True if it is compressed."""
    cdef const char* at = PyBytes_AS_STRING(data)
    cdef Py_ssize_t left = PyBytes_GET_SIZE(data)
    cdef list found = []
    while left and not reader.problem:
        message = reader.read(&at, &left, trusted)
        if message is not None:
            found.append((message, reader.is_compressed))
    return found


def place_message(MessageReader reader not None, bytes data not None, Py_ssize_t most):
    """Write the rest of a message into the reader's memory, as a socket does, by at most `most` bytes. Return it."""
    cdef Py_ssize_t room = 0, done = 0
    cdef char* place
    message = None
    while message is None and done < PyBytes_GET_SIZE(data):
        place = reader.assembly.place(min(most, PyBytes_GET_SIZE(data) - done), &room, 0)
        # The reader's assembly has `room` bytes left.
        memcpy(place, PyBytes_AS_STRING(data) + done, <size_t>room)
        done += room
        reader.assembly.filled += room
        message = reader.finish()
    return message


def state_of(MessageReader reader not None):
    """Return whether a reader has a part of a message, and how many bytes of the message are missing."""
    return reader.is_inside(), reader.missing()
