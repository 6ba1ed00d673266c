"""A request and its response, as the code that answers requests sees them: two interfaces.

::

    connection ──► Exchange.head ──► head_came ──► body ──► request_came ──┐
        │                                └─► in parts: part_came           ▼      HttpApplication
        │    Exchange ◄── answer, or begin_parts, send_part … end_parts ───┤
        ├──► room_came, request_due: output was sent, an instant has come ─┤
        │             ◄── admit_body, skip_body, hold_body, ask_body ──────┤
        │             ◄── open_tunnel, send … ◄── tunnel_came, tunnel_due ─┘
        ├──► refusal_of, request_dropped: a request that the application does not answer
        └──► exchange_over: nothing uses the exchange from now on

Each version of HTTP implements `Exchange`, which handles the bytes and the time limits of a request. An
`HttpApplication` answers the request and knows neither bytes nor streams. A connection of HTTP/1.1 has one exchange,
for one request after the other; a connection of HTTP/2 has an exchange and an application for each stream. An exchange
holds its application, which borrows the exchange. The caller of an application's method holds the exchange until the
method returns, since the answer may end the exchange.

A method that a class does not implement raises. The methods for bodies in parts and for tunnels are only called on
applications that use these.
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
        """Send a whole response. With `closes`, close a connection that handles one request at a time."""
        raise lacking(self, "answer")

    cdef int begin_parts(self, int status, bytes lines, int64_t size) except -1:
        """Begin a response with `size` bytes, NO_BODY, or UNKNOWN_SIZE; `send_part` and `end_parts` follow."""
        raise lacking(self, "begin_parts")

    cdef int send_part(self, bytes part, Py_ssize_t at=0, Py_ssize_t size=-1) except -1:
        """Send a part, or `size` bytes of it from `at` on. A large part stays in memory as a whole until it is sent."""
        raise lacking(self, "send_part")

    cdef int end_parts(self) except -1:
        """End a response in parts."""
        raise lacking(self, "end_parts")

    cdef int cut(self) except -1:
        """End without the rest of the response, so that the client notices the missing rest; or end a tunnel."""
        raise lacking(self, "cut")

    cdef int abort(self) except -1:
        """End immediately, without the output that waits: the peer of a tunnel is lost."""
        raise lacking(self, "abort")

    # Output that waits to be sent

    cdef bint is_full(self) except -1:
        """Return whether a sender of messages has to wait: it calls `await_room` and continues in `room_came`."""
        raise lacking(self, "is_full")

    cdef bint has_output(self) except -1:
        """Return whether output of this request waits here. A sender of a long body waits while there is some."""
        raise lacking(self, "has_output")

    cdef int64_t unsent(self) except? -1:
        """Return how many bytes of the connection's output the peer has not received."""
        raise lacking(self, "unsent")

    cdef int await_room(self) except -1:
        """Have `HttpApplication.room_came` called once there is room, maybe before this returns."""
        raise lacking(self, "await_room")

    # The body

    cdef int admit_body(self) except -1:
        """Accept the body, and read the part that has arrived."""
        raise lacking(self, "admit_body")

    cdef int skip_body(self) except -1:
        """Pass the request to the application now, without its body, which is not read."""
        raise lacking(self, "skip_body")

    cdef int hold_body(self, bint is_held) except -1:
        """Hold back further parts of the body or of a tunnel, or release them."""
        raise lacking(self, "hold_body")

    cdef int ask_body(self) except -1:
        """Ask the client for the body, if it expects 100 Continue."""
        raise lacking(self, "ask_body")

    # A tunnel

    cdef int open_tunnel(self, str protocol, bytes lines) except -1:
        """Accept a WebSocket with a subprotocol ("": none) and further fields. No HTTP follows."""
        raise lacking(self, "open_tunnel")

    cdef int send(self, bytes data) except -1:
        """Send bytes in a tunnel."""
        raise lacking(self, "send")

    cdef bint takes_more(self) except -1:
        """Return whether further bytes of a tunnel may be accepted now."""
        raise lacking(self, "takes_more")

    cdef int go_on(self) except -1:
        """Handle the tunnel's bytes that have already arrived, in a separate turn."""
        raise lacking(self, "go_on")

    cdef int wait_by(self, uint64_t due_ns) except -1:
        """Have `HttpApplication.tunnel_due` called at this instant or earlier; 0: it is not called."""
        raise lacking(self, "wait_by")

    # Its time

    cdef int look_by(self, uint64_t due_ns) except -1:
        """Have `HttpApplication.request_due` called at this instant or earlier; 0: it is not called."""
        raise lacking(self, "look_by")

    # Its budgets

    cdef str count_messages(self):
        """Count a request with a stream of messages. Return why the connection refuses it, else None."""
        raise lacking(self, "count_messages")

    cdef int note_refused(self, bint is_faulty) except -1:
        """Note that the request is refused, before its answer; with `is_faulty` a budget counts it (PROTOCOL.md 9)."""
        raise lacking(self, "note_refused")


cdef class HttpApplication:
    """The code that answers the requests of connections."""

    cdef int64_t head_came(self, Exchange exchange) except? -2:
        """Return the maximum size of this request's body in bytes.

        It may also set `is_deciding`: the body then waits for `admit_body`. Or it may set `takes_parts`: the request
        then comes at once, and its body through `part_came`; the maximum applies to the parts that wait.
        """
        raise lacking(self, "head_came")

    cdef int request_came(self, Exchange exchange, bytes body) except -1:
        """Answer a request, now or later."""
        raise lacking(self, "request_came")

    cdef tuple refusal_of(self, Exchange exchange, object error):
        """Return the fields and the body of the answer to a refused request."""
        raise lacking(self, "refusal_of")

    cdef int request_dropped(self, Exchange exchange) except -1:
        """Stop the calls of a request that was refused, or cut off or reset by its client, after its head came."""
        raise lacking(self, "request_dropped")

    cdef uint64_t request_due(self, Exchange exchange, uint64_t now) except? 0:
        """Compare the deadlines of a request with now: of the rest of its body, its sender, its next keep-alive
        message.

        Return the next one, 0 = none.
        """
        raise lacking(self, "request_due")

    cdef int room_came(self, Exchange exchange) except -1:
        """Let waiting senders continue, unless the exchange is still full: output was sent."""
        raise lacking(self, "room_came")

    cdef int exchange_over(self, Exchange exchange) except -1:
        """Forget the exchange, which ends; calls may outlive it. An unanswered request was dropped before."""
        raise lacking(self, "exchange_over")

    cdef int part_came(self, Exchange exchange, bytes part, bint is_last) except -1:
        """Handle a part of a body, if `takes_parts` is set."""
        raise lacking(self, "part_came")

    cdef int body_awaited(self, Exchange exchange) except -1:
        """Note that the body of a request, or the rest of it, is to come."""
        raise lacking(self, "body_awaited")

    cdef int body_grew(self, Exchange exchange, Py_ssize_t size) except -1:
        """Note that `size` bytes of a body have arrived, and more are to come."""
        raise lacking(self, "body_grew")

    cdef Py_ssize_t tunnel_came(self, Exchange exchange, const char* data, Py_ssize_t size) except -1:
        """Handle bytes of a tunnel's protocol, if `is_tunnel` is set; return how many were consumed."""
        raise lacking(self, "tunnel_came")

    cdef uint64_t tunnel_due(self, Exchange exchange, uint64_t now) except? 0:
        """Compare the deadlines of a tunnel's protocol with now; return the next one, 0 = none."""
        raise lacking(self, "tunnel_due")

    cdef int end_tunnel(self, Exchange exchange, str text) except -1:
        """End a tunnel by messages of its protocol: the connection closes for the reason `text`."""
        raise lacking(self, "end_tunnel")


cdef bytes field_lines(object fields):
    cdef list lines = []
    for name, value in fields:
        if not (name.isascii() and name.replace("-", "").isalnum()) or any(mark in value for mark in "\r\n\0"):
            raise ValueError(f"the field {name!r} of the response has an invalid name or value")
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines).encode("latin-1")
