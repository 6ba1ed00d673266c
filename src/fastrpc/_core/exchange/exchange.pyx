"""A request and its answer, as the code that answers requests sees them: two interfaces.

::

    connection ──► Exchange.head ──► head_came ──► body ──► request_came ──┐
        │                                └─► in parts: part_came           ▼      HttpApplication
        │    Exchange ◄── answer, or begin_parts, send_part … end_parts ───┤
        ├──► room_came, request_due: output was sent, an instant has come ─┤
        │             ◄── admit_body, skip_body, hold_body, ask_body ──────┤
        │             ◄── open_tunnel, send … ◄── tunnel_came, tunnel_due ─┘
        ├──► refusal_of, request_dropped: a request that the application does not answer
        └──► exchange_over: nothing uses the exchange from now on

A version of HTTP derives from `Exchange`: it has the bytes and the time of a request. An `HttpApplication` answers: it
knows neither bytes nor streams. A connection of HTTP/1.1 has one exchange, for one request after the other; a
connection of HTTP/2 has an exchange and an application for each stream. An exchange holds its application, which
borrows the exchange. The caller of an application's method holds the exchange until the method returns: the answer may
end the exchange.

A method that a class leaves out raises: an application that takes no body in parts, and lets no other protocol take over,
is not asked for these.
"""


from fastrpc._core.link.contract cimport lacking

HELD_NS = 250_000_000


cdef class Exchange:
    """One request, and its response."""

    def __dealloc__(self):
        if self.known_at is not NULL:
            self.known_at[0] = NULL

    cdef bint is_open(self) except -1:
        """Return whether the connection is open, and may still carry output of this request."""
        raise lacking(self, "is_open")

    # The response

    cdef int answer(self, int status, bytes lines, bytes body, bint closes) except -1:
        """Send a whole response; `closes` then ends a connection that has one request at a time."""
        raise lacking(self, "answer")

    cdef int begin_parts(self, int status, bytes lines, int64_t size) except -1:
        """Begin a response of this size, or NO_BODY, or UNKNOWN_SIZE; `send_part` and `end_parts` follow."""
        raise lacking(self, "begin_parts")

    cdef int send_part(self, bytes part, Py_ssize_t at=0, Py_ssize_t size=-1) except -1:
        """Send a part, or `size` bytes of it from `at` on; if they are many, all of it is kept until they are sent."""
        raise lacking(self, "send_part")

    cdef int end_parts(self) except -1:
        """End a response in parts."""
        raise lacking(self, "end_parts")

    cdef int cut(self) except -1:
        """End without the rest of the response, so that the client sees that it is missing; or end a tunnel."""
        raise lacking(self, "cut")

    cdef int abort(self) except -1:
        """End at once, without the output that waits: the peer of a tunnel is lost."""
        raise lacking(self, "abort")

    # The output that waits

    cdef bint is_full(self) except -1:
        """Return whether a sender of messages has to wait: it calls `await_room`, and goes on at `room_came`."""
        raise lacking(self, "is_full")

    cdef bint has_output(self) except -1:
        """Return whether output of this request waits here. A sender of a long content waits while there is some."""
        raise lacking(self, "has_output")

    cdef int64_t unsent(self) except? -1:
        """Return the bytes of the connection's output that the peer has not taken."""
        raise lacking(self, "unsent")

    cdef int await_room(self) except -1:
        """Call `HttpApplication.room_came` once there is room, maybe before this returns."""
        raise lacking(self, "await_room")

    # The body

    cdef int admit_body(self) except -1:
        """Let the body come, and read the part that has arrived."""
        raise lacking(self, "admit_body")

    cdef int skip_body(self) except -1:
        """Hand the request over now, without its body, which is not read."""
        raise lacking(self, "skip_body")

    cdef int hold_body(self, bint is_held) except -1:
        """Hold the further parts of the body or of a tunnel, or let them go on."""
        raise lacking(self, "hold_body")

    cdef int ask_body(self) except -1:
        """Ask the client for the body, if it waits to be asked."""
        raise lacking(self, "ask_body")

    # A tunnel

    cdef int open_tunnel(self, str protocol, bytes lines) except -1:
        """Accept a WebSocket with a subprotocol, "": none, and further fields: what follows is not HTTP."""
        raise lacking(self, "open_tunnel")

    cdef int send(self, bytes data) except -1:
        """Send bytes in a tunnel."""
        raise lacking(self, "send")

    cdef bint takes_more(self) except -1:
        """Return whether further bytes of a tunnel may be taken now."""
        raise lacking(self, "takes_more")

    cdef int go_on(self) except -1:
        """Take the bytes that came ahead, in their own turn."""
        raise lacking(self, "go_on")

    cdef int wait_by(self, uint64_t due_ns) except -1:
        """Have `HttpApplication.tunnel_due` called at this instant or earlier; 0: it is not called."""
        raise lacking(self, "wait_by")

    # Its time

    cdef int look_by(self, uint64_t due_ns) except -1:
        """Call `HttpApplication.request_due` at this instant, or before; 0: at none."""
        raise lacking(self, "look_by")

    # Its budgets

    cdef str count_messages(self):
        """Count a request with a stream of messages; return why the connection takes no further one, None: it does."""
        raise lacking(self, "count_messages")

    cdef int note_refused(self, bint is_faulty) except -1:
        """Note that the request is refused, before its answer; with `is_faulty` a budget counts it (PROTOCOL.md 9)."""
        raise lacking(self, "note_refused")


cdef class HttpApplication:
    """Answers the requests of connections."""

    cdef int64_t head_came(self, Exchange exchange) except? -2:
        """Return the most bytes of a body that this request may have.

        Before that it may set `is_deciding`: the body waits for `admit_body`; and `takes_parts`: the request is handed
        over now, and its body by `part_came`. The limit then holds for the content that waits.
        """
        raise lacking(self, "head_came")

    cdef int request_came(self, Exchange exchange, bytes body) except -1:
        """Answer a request, now or later."""
        raise lacking(self, "request_came")

    cdef tuple refusal_of(self, Exchange exchange, object error):
        """Return the fields and the content of the answer to a refused request."""
        raise lacking(self, "refusal_of")

    cdef int request_dropped(self, Exchange exchange) except -1:
        """The request is refused, or cut off or reset by its client, after its head came: stop its calls."""
        raise lacking(self, "request_dropped")

    cdef uint64_t request_due(self, Exchange exchange, uint64_t now) except? 0:
        """Compare the instants of a request with now: of the rest of its body, its sender, its next sign of life.

        Return the next one, 0 = none.
        """
        raise lacking(self, "request_due")

    cdef int room_came(self, Exchange exchange) except -1:
        """Some output was sent: senders that wait may go on, unless the exchange is still full."""
        raise lacking(self, "room_came")

    cdef int exchange_over(self, Exchange exchange) except -1:
        """Forget the exchange, which ends; calls may outlive it. A request that waits for its answer is dropped before."""
        raise lacking(self, "exchange_over")

    cdef int part_came(self, Exchange exchange, bytes part, bint is_last) except -1:
        """Take a part of a body, where `takes_parts` is set."""
        raise lacking(self, "part_came")

    cdef int body_awaited(self, Exchange exchange) except -1:
        """The body of a request is to come, or the rest of it."""
        raise lacking(self, "body_awaited")

    cdef int body_grew(self, Exchange exchange, Py_ssize_t size) except -1:
        """`size` bytes of a body have arrived, and more are to come."""
        raise lacking(self, "body_grew")

    cdef Py_ssize_t tunnel_came(self, Exchange exchange, const char* data, Py_ssize_t size) except -1:
        """Take bytes of the protocol that took over, where `is_tunnel` is set; return how many were consumed."""
        raise lacking(self, "tunnel_came")

    cdef uint64_t tunnel_due(self, Exchange exchange, uint64_t now) except? 0:
        """Compare the instants of a tunnel's protocol with now; return the next one, 0 = none."""
        raise lacking(self, "tunnel_due")

    cdef int end_tunnel(self, Exchange exchange, str text) except -1:
        """End a tunnel by its protocol's own messages: the connection closes for this reason."""
        raise lacking(self, "end_tunnel")


cdef bytes field_lines(object fields):
    cdef list lines = []
    for name, value in fields:
        if not (name.isascii() and name.replace("-", "").isalnum()) or any(mark in value for mark in "\r\n\0"):
            raise ValueError(f"the field {name!r} of the response has an invalid name or value")
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines).encode("latin-1")
