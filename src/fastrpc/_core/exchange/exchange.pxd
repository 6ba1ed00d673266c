"""A request and its response, as the code that answers requests sees them: two interfaces, drawn in the `.pyx`."""

from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.exchange.request_head cimport RequestHead
from fastrpc._core.io.engine cimport Engine
from fastrpc._core.server.connection_life cimport ConnectionLife

# The time for which input of a tunnel is held before its peer is pinged.
cdef uint64_t HELD_NS

cdef enum:
    # Sizes of a response in parts: it has no body; its size is unknown.
    NO_BODY = -1
    UNKNOWN_SIZE = -2


cdef class Exchange:
    cdef:
        # `link`: the engine of the connection, borrowed: code that uses an exchange knows that the connection exists.
        # `life`: the rules of the connection's life.
        PyObject* link
        ConnectionLife life

        # The address of the application's pointer to this object, NULL if it has none. The pointer is cleared when this
        # object is freed.
        PyObject** known_at

        # The object that is notified of each request (`fastrpc.server.watching`); None in most servers.
        object watch

        # The request that is being received or answered; None between two requests.
        RequestHead head

        # `is_answering`: whether the request is with the application; `has_begun`: whether its response has begun in
        # parts, or is a tunnel.
        bint is_answering
        bint has_begun

        # `has_rest`: whether more of the body is to come. Whether the application has still to admit it
        # (`is_deciding`), reads it in parts (`takes_parts`), and holds the parts back at present (`is_body_held`).
        bint has_rest
        bint is_deciding
        bint takes_parts
        bint is_body_held

        # Whether a client that expects 100 Continue gets it only from `ask_body`; until then the body is held.
        bint asks_later

        # Whether the connection has switched to another protocol after the head: `HttpApplication.tunnel_came` gets its
        # bytes.
        bint is_tunnel

        # Whether the peer reads no output; then no input is read either.
        bint is_stuck

        # Whether the connection has one request at a time and ends if the request ends early, as in HTTP/1.1.
        bint is_alone

        # The later of two instants: the last answer was complete; the application held or released a body or a tunnel.
        # 0 if neither has happened.
        uint64_t rested_ns

    cdef inline Engine engine(self):
        return <Engine>self.link

    # The byte stream of the connection; NULL if it is gone.
    cdef inline PyObject* below(self) noexcept:
        return (<Engine>self.link)._stream

    # Whether the connection is open, and takes output of this request.
    cdef bint is_open(self) except -1

    # The response; `lines` are checked fields, each with its CRLF.
    cdef int answer(self, int status, bytes lines, bytes body, bint closes) except -1
    cdef int begin_parts(self, int status, bytes lines, int64_t size) except -1
    cdef int send_part(self, bytes part, Py_ssize_t at=*, Py_ssize_t size=*) except -1
    cdef int end_parts(self) except -1
    cdef int cut(self) except -1
    cdef int abort(self) except -1

    # Output that waits to be sent.
    cdef bint is_full(self) except -1
    cdef bint has_output(self) except -1
    cdef int64_t unsent(self) except? -1
    cdef int await_room(self) except -1

    # The body.
    cdef int admit_body(self) except -1
    cdef int skip_body(self) except -1
    cdef int hold_body(self, bint is_held) except -1
    cdef int ask_body(self) except -1

    # A tunnel.
    cdef int open_tunnel(self, str protocol, bytes lines) except -1
    cdef int send(self, bytes data) except -1
    cdef bint takes_more(self) except -1
    cdef int go_on(self) except -1
    cdef int wait_by(self, uint64_t due_ns) except -1

    # Time.
    cdef int look_by(self, uint64_t due_ns) except -1

    # Budgets.
    cdef str count_messages(self)
    cdef int note_refused(self, bint is_faulty) except -1

    # Return the arrival of the request that is read now. For a request that waited for the answer to an earlier one,
    # return the date of that answer.
    cdef inline uint64_t date(self) noexcept:
        cdef Engine engine = <Engine>self.link
        return max(engine.came_ns or engine.now, self.rested_ns)


cdef class HttpApplication:
    # The request.
    cdef int64_t head_came(self, Exchange exchange) except? -2
    cdef int request_came(self, Exchange exchange, bytes body) except -1
    cdef tuple refusal_of(self, Exchange exchange, object error)
    cdef int request_dropped(self, Exchange exchange) except -1
    cdef uint64_t request_due(self, Exchange exchange, uint64_t now) except? 0
    cdef int room_came(self, Exchange exchange) except -1
    cdef int exchange_over(self, Exchange exchange) except -1

    # Its body.
    cdef int part_came(self, Exchange exchange, bytes part, bint is_last) except -1
    cdef int body_awaited(self, Exchange exchange) except -1
    cdef int body_grew(self, Exchange exchange, Py_ssize_t size) except -1

    # The protocol of a tunnel.
    cdef Py_ssize_t tunnel_came(self, Exchange exchange, const char* data, Py_ssize_t size) except -1
    cdef uint64_t tunnel_due(self, Exchange exchange, uint64_t now) except? 0
    cdef int end_tunnel(self, Exchange exchange, str text) except -1


# Return fields as header lines, each with its CRLF. ValueError: a field would break the head.
cdef bytes field_lines(object fields)
