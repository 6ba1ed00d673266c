"""The windows of HTTP/2 for tests: a stream of a connection without anything else."""

cimport cython
from fastrpc_harness.http2_blocks cimport violation_error
from libc.stdint cimport int64_t, uint32_t

from fastrpc._core.http2.frames cimport Violation
from fastrpc._core.http2.stream_table cimport FlowControl
from fastrpc._core.wire.growth cimport open_window_pool
from fastrpc._core.wire.window cimport placed


@cython.final
cdef class FlowedStream:

    def __cinit__(self, FlowControl connection not None):
        self.connection = connection

    @property
    def sendable(self):
        return self.connection.sendable(&self.windows)

    @property
    def sending(self):
        return self.connection.first_sending + self.windows.sending

    @property
    def receiving(self):
        return self.connection.first_receiving + self.windows.receiving

    @property
    def size(self):
        return self.connection.first_receiving + self.windows.growth.grown

    @property
    def connection_receiving(self):
        return self.connection.receiving.left

    def send(self, Py_ssize_t size):
        self.connection.sent(&self.windows, size)

    def raise_window(self, uint32_t increment):
        cdef Violation violation
        if self.connection.raise_window(&self.windows, increment, &violation) < 0:
            raise violation_error(&violation)

    def raise_connection(self, uint32_t increment):
        cdef Violation violation
        if self.connection.raise_window(NULL, increment, &violation) < 0:
            raise violation_error(&violation)

    def receive(self, Py_ssize_t size):
        cdef Violation violation
        if self.connection.receive(&self.windows, size, &violation) < 0:
            raise violation_error(&violation)

    def receive_late(self, Py_ssize_t size):
        cdef Violation violation
        if self.connection.receive(NULL, size, &violation) < 0:
            raise violation_error(&violation)

    def place(self, Py_ssize_t size, bint may_lend=True):
        return placed(&self.connection.receiving, size), self.connection.place_of_stream(&self.windows, size, may_lend)

    def wait(self, bint may_lend=True):
        return self.connection.reader_waits(&self.windows, may_lend)

    def end(self):
        self.connection.end_window(&self.windows)

    def grant(self, int64_t size):
        return self.connection.grant(&self.windows, size)


def change_first_sending(FlowControl connection not None, int64_t first, list streams not None):
    cdef Violation violation
    cdef bint looks = connection.needs_highest(first)
    cdef int64_t highest = 0
    if looks:
        for stream in streams:
            highest = max(highest, (<FlowedStream>stream).windows.sending)
    if connection.change_first_sending(first, highest, &violation) < 0:
        raise violation_error(&violation)
    return looks


def change_first_receiving(FlowControl connection not None, int64_t first):
    connection.first_receiving = first


def widen(FlowControl connection not None, int64_t size):
    return connection.widen(size)


def lend(FlowControl connection not None, int64_t size, int64_t largest_message):
    open_window_pool(&connection.pool, size, largest_message)


def pool_of(FlowControl connection not None):
    return connection.pool.left, connection.pool.growth_left
