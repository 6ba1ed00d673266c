"""The steps of buffers, in Python's reach."""

from libc.string cimport memcpy

from fastrpc._core.base.buffer cimport Assembly, WriteBuffer, grow_tightly


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
    """Return how many bytes may be received next."""
    cdef Py_ssize_t room = 0
    assembly.place(left, &room, 0)
    return room


def note_memory(bint is_short):
    grow_tightly(is_short)
