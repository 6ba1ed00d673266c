"""Pages whose requests a test answers in Python."""

from libc.stdint cimport uint64_t

from fastrpc._core.exchange.exchange cimport Exchange, HttpApplication
from fastrpc._core.exchange.pages cimport Pages


cdef class DrivenPages(Pages):
    cdef:
        # `most`: the most bytes of a whole body. `takes_parts`, `decides`, `asks_later`: how a body is received.
        # `on_request`: called with each request.
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
        # The exchange; None after its end.
        Exchange exchange
        # The events so far, as tuples.
        readonly list events
        # Called with each part of a body, after it was added to `events`.
        public object on_part
        # Called with each event that there is room or that the request has ended.
        public object on_event
        # `looks`: the number of checks so far. `_due_ns`: the instant that checks return until it has passed, or 0.
        readonly Py_ssize_t looks
        uint64_t _due_ns

    cdef int _note(self, tuple event) except -1
