"""Pages whose requests a test answers in Python."""

from libc.stdint cimport uint64_t

from fastrpc._core.exchange.exchange cimport Exchange, HttpApplication
from fastrpc._core.exchange.pages cimport Pages


cdef class DrivenPages(Pages):
    cdef:
        # The most bytes of a whole body; how a body is taken; called with each request that is handed over.
        public object most
        public bint takes_parts
        public bint decides
        public bint asks_later
        public object on_request
        # The requests so far.
        readonly list requests


cdef class DrivenRequest(HttpApplication):
    cdef:
        DrivenPages pages
        # None once it is over.
        Exchange exchange
        # The events so far, as tuples.
        readonly list events
        # Called with each part, after it is among the events.
        public object on_part
        # Called with each event of room or of an end.
        public object on_event
        # The checks so far; the instant that a check returns before it has come, 0: none.
        readonly Py_ssize_t looks
        uint64_t _due_ns

    cdef int _note(self, tuple event) except -1
