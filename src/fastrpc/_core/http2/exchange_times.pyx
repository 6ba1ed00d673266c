"""The deadlines of the exchanges of one HTTP/2 connection, in a heap, so that a check visits only due exchanges.

::

    wait_by, look_by ──► put ──► a heap, the earliest exchange first
    check of the connection ──► take_due ──► TimedExchange.check ──► its next deadline ──► put

A connection may have thousands of streams of events, each with a deadline. It has one timer, for the first deadline.
"""

cimport cython

from fastrpc._core.link.contract cimport lacking


cdef class TimedExchange(ReceivedExchange):
    """A request whose deadlines are in the heap of its connection."""

    cdef int wait_by(self, uint64_t due_ns) except -1:
        # A tunnel is checked with its request.
        return self.look_by(due_ns)

    cdef uint64_t check(self, uint64_t now) except? 0:
        """Check the deadlines of the request and its response; return the next one, 0 = none."""
        raise lacking(self, "check")


@cython.final
cdef class ExchangeTimes:
    """The deadlines of the exchanges of one connection."""

    def __cinit__(self):
        self._heap = []

    cdef int put(self, TimedExchange exchange, uint64_t due_ns) except -1:
        if due_ns == 0 or exchange.due_ns and exchange.due_ns <= due_ns:
            return 0
        if exchange.due_ns == 0:
            exchange.place = len(self._heap)
            self._heap.append(exchange)
        exchange.due_ns = due_ns
        return self._rise(exchange)

    cdef int remove(self, TimedExchange exchange) except -1:
        cdef TimedExchange last
        if exchange.due_ns == 0:
            return 0
        exchange.due_ns = 0
        last = <TimedExchange>self._heap.pop()
        if last is exchange:
            return 0
        self._move(last, exchange.place)
        self._rise(last)
        return self._sink(last)

    cdef list take_due(self, uint64_t now):
        cdef list found = []
        cdef TimedExchange first
        while self._heap:
            first = <TimedExchange>self._heap[0]
            if first.due_ns > now:
                break
            self.remove(first)
            found.append(first)
        return found

    cdef int _rise(self, TimedExchange exchange) except -1:
        """Move an exchange up in the heap, before the exchanges that are due later."""
        cdef Py_ssize_t place = exchange.place, above
        cdef TimedExchange parent
        while place > 0:
            above = (place - 1) >> 1
            parent = <TimedExchange>self._heap[above]
            if parent.due_ns <= exchange.due_ns:
                break
            self._move(parent, place)
            place = above
        return self._move(exchange, place)

    cdef int _sink(self, TimedExchange exchange) except -1:
        """Move an exchange down in the heap, after the exchanges that are due earlier."""
        cdef Py_ssize_t place = exchange.place, below = 2 * place + 1
        cdef Py_ssize_t count = len(self._heap)
        cdef TimedExchange child
        while below < count:
            child = <TimedExchange>self._heap[below]
            if below + 1 < count and (<TimedExchange>self._heap[below + 1]).due_ns < child.due_ns:
                below += 1
                child = <TimedExchange>self._heap[below]
            if exchange.due_ns <= child.due_ns:
                break
            self._move(child, place)
            place, below = below, 2 * below + 1
        return self._move(exchange, place)
