"""The head of a response: its first lines, its fields, and its length."""

from fastrpc._core.base.buffer cimport WriteBuffer

# Return fields as `HttpConnection.answer` takes them. ValueError: a field would break the head.
cdef bytes field_lines(object fields)

# Return the status line and the field Date, with their ends.
cdef bytes first_lines_of(int status)

# Write a response up to its body; -1 as its size: it has neither a body nor a length.
cdef int write_head(WriteBuffer out, bytes first, bytes lines, bytes connection, Py_ssize_t body_size) except -1
