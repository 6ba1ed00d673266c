"""Single operations of buffers, for Python code."""

from libc.string cimport memcpy

from fastrpc._core.base.buffer cimport Assembly, WriteBuffer, grow_tightly
from fastrpc._core.base.output_buffer cimport OutputBuffer


def write(WriteBuffer buffer not None, bytes data not None):
    memcpy(buffer.reserve(len(data)), <const char*>data, len(data))


def written(WriteBuffer buffer not None):
    return buffer.data()[:buffer.size]


def take(WriteBuffer buffer not None):
    return buffer.take()


def keep(WriteBuffer buffer not None, Py_ssize_t size):
    if not 0 <= size <= buffer.size:
        raise ValueError(f"cannot keep {size} bytes of {buffer.size}")
    buffer.keep(size)


def clear(WriteBuffer buffer not None):
    buffer.clear()


def release(WriteBuffer buffer not None):
    buffer.release()


def capacity(buffer):
    if isinstance(buffer, Assembly):
        return (<Assembly>buffer)._capacity
    return (<WriteBuffer?>buffer)._capacity


def append(Assembly assembly not None, bytes data not None, Py_ssize_t trusted=0):
    if assembly.filled + len(data) > assembly.total:
        raise ValueError(f"{len(data)} bytes more than {assembly.filled} of {assembly.total}")
    assembly.append(data, len(data), trusted)


def finish(Assembly assembly not None):
    return assembly.finish()


def place(Assembly assembly not None, Py_ssize_t left):
    """Return the number of bytes that may be received next."""
    cdef Py_ssize_t room = 0
    assembly.place(left, &room, 0)
    return room


def note_memory(bint is_short):
    grow_tightly(is_short)


# Output


def write_output(OutputBuffer output not None, bytes data not None):
    memcpy(output.out.reserve(len(data)), <const char*>data, len(data))


def put(OutputBuffer output not None, bytes payload not None, Py_ssize_t offset, Py_ssize_t size):
    if not 0 <= offset <= offset + size <= len(payload):
        raise ValueError(f"no {size} bytes from {offset} on in a payload of {len(payload)}")
    output.put(payload, offset, size)


def output_size(OutputBuffer output not None):
    return output.size()


def plain_output(OutputBuffer output not None):
    """Return the output if it is one piece of memory; None if it is empty or has several pieces."""
    cdef Py_ssize_t size = 0
    cdef const char* data = output.plain(&size)
    return None if size == 0 or data is NULL else data[:size]


def take_output(OutputBuffer output not None):
    return output.take()


def skip_output(OutputBuffer output not None):
    output.skip()


def drop_output(OutputBuffer output not None):
    output.drop()


def output_capacity(OutputBuffer output not None):
    return output.out._capacity
