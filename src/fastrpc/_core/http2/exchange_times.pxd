"""The instants of the exchanges of one connection of HTTP/2: drawn in the `.pyx`."""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.exchange.received_exchange cimport ReceivedExchange


cdef class TimedExchange(ReceivedExchange):
    cdef:
        # The latest instant of the next check of the exchange, 0: none. Its place in the heap, if it has an instant.
        uint64_t due_ns
        Py_ssize_t place

    # Compare its instants with now; return the next one, 0: none.
    cdef uint64_t check(self, uint64_t now) except? 0


@cython.final
cdef class ExchangeTimes:
    cdef:
        # A heap: no exchange is due before the exchange at half its place. Each has an instant, and its stream is open.
        list _heap

    # Schedule a check of an exchange for an instant, 0: for none. An earlier instant stays.
    cdef int put(self, TimedExchange exchange, uint64_t due_ns) except -1

    # Forget the instant of an exchange, whose stream is over.
    cdef int remove(self, TimedExchange exchange) except -1

    # Remove and return the exchanges that are due.
    cdef list take_due(self, uint64_t now)

    # Return the earliest instant, 0: no exchange has one.
    cdef inline uint64_t first_ns(self) except? 0:
        return (<TimedExchange>self._heap[0]).due_ns if self._heap else 0

    cdef int _rise(self, TimedExchange exchange) except -1
    cdef int _sink(self, TimedExchange exchange) except -1

    cdef inline int _move(self, TimedExchange exchange, Py_ssize_t place) except -1:
        self._heap[place] = exchange
        exchange.place = place
        return 0
