"""Faults on purpose, compiled only into the sanitize build: each must end the process with a report."""

from libc.limits cimport INT_MAX
from libc.stdlib cimport free, malloc


def do_no_harm() -> int:
    """Use a block as one should; shows that a clean program passes."""
    cdef char* block = <char*> malloc(16)
    block[15] = 1
    cdef int last = block[15]
    free(block)
    return last


def write_past_block() -> None:
    """Write one byte behind a block of memory."""
    cdef volatile char* block = <volatile char*> malloc(16)
    cdef Py_ssize_t size = 16
    block[size] = 1
    free(<void*> block)


def read_past_bytes() -> int:
    """Read behind the end of a bytes object, past its closing zero."""
    cdef bytes payload = bytes(100)
    cdef const volatile char* data = payload
    return data[101]


def use_after_free() -> int:
    """Read a block that was given back."""
    cdef volatile char* block = <volatile char*> malloc(16)
    free(<void*> block)
    return block[0]


def overflow_signed() -> int:
    """Count past the largest int."""
    cdef volatile int number = INT_MAX
    number = number + 1
    return number
