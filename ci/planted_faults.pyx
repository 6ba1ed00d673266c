"""Faults on purpose, compiled only into the sanitize build: each must end the process with a report."""

from libc.limits cimport INT_MAX
from libc.stdlib cimport free, malloc


def do_no_harm() -> int:
    """Use a block correctly, to show that a program without faults passes."""
    cdef char* block = <char*> malloc(16)
    block[15] = 1
    cdef int last = block[15]
    free(block)
    return last


def write_past_block() -> None:
    """Write one byte behind a block of memory, whose size the compiler cannot know."""
    cdef volatile size_t size = 16
    cdef volatile char* block = <volatile char*> malloc(size)
    block[size] = 1
    free(<void*> block)


def read_past_bytes() -> int:
    """Read behind the end of a bytes object, past its closing zero."""
    cdef bytes payload = bytes(100)
    cdef const volatile char* data = payload
    return data[101]


def use_after_free() -> int:
    """Read a freed block; its address is a number, so that the compiler does not notice."""
    cdef volatile size_t address = <size_t> malloc(16)
    free(<void*> address)
    return (<volatile char*> address)[0]


def overflow_signed() -> int:
    """Count past the largest int."""
    cdef volatile int number = INT_MAX
    cdef volatile int one = 1
    return number + one
