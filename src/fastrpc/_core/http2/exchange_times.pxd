"""The deadlines of the exchanges of one HTTP/2 connection, in a heap."""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.exchange.received_exchange cimport ReceivedExchange


cdef class TimedExchange(ReceivedExchange):
    cdef:
        # `due_ns`: when the exchange is checked next at the latest, 0: never; `place`: if it is checked, its index in
        # the heap.
        uint64_t due_ns
        Py_ssize_t place

    # Check the deadlines of the exchange; return the next one, 0: none.
    cdef uint64_t check(self, uint64_t now) except? 0


@cython.final
cdef class ExchangeTimes:
    cdef:
        # A binary heap by `due_ns`, with the earliest exchange first. Each has a `due_ns` above 0 and an open stream.
        list _heap

    # Schedule a check of an exchange, unless one is scheduled earlier; 0: none.
    cdef int put(self, TimedExchange exchange, uint64_t due_ns) except -1

    # Remove an exchange, if it is scheduled.
    cdef int remove(self, TimedExchange exchange) except -1

    # Remove and return the exchanges that are due.
    cdef list take_due(self, uint64_t now)

    # Return when the first exchange is due, 0 if none is scheduled.
    cdef inline uint64_t first_ns(self) except? 0:
        return (<TimedExchange>self._heap[0]).due_ns if self._heap else 0

    cdef int _rise(self, TimedExchange exchange) except -1
    cdef int _sink(self, TimedExchange exchange) except -1

    cdef inline int _move(self, TimedExchange exchange, Py_ssize_t place) except -1:
        self._heap[place] = exchange
        exchange.place = place
        return 0
