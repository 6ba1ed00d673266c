"""Pages whose requests a test answers in Python.

Their requests make no calls.
"""

from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.exchange.exchange cimport UNKNOWN_SIZE
from fastrpc._core.exchange.request_head cimport RequestLimits
from fastrpc._core.link.contract cimport Outcomes
from fastrpc._core.server.engine_served_connection cimport EngineServedConnection


cdef class DrivenPages(Pages):

    def __init__(
        self, RequestLimits limits not None, *, most=1_048_576, bint takes_parts=False, bint decides=False,
        bint asks_later=False, on_request=None,
    ):
        self.limits = limits
        self.takes_tunnels = True
        self.most = most
        self.takes_parts = takes_parts
        self.decides = decides
        self.asks_later = asks_later
        self.on_request = on_request
        self.requests = []
        self.outcomes = Outcomes.__new__(Outcomes)

    cdef int join(self, EngineServedConnection connection) except -1:
        return 0

    cdef HttpApplication begin(self, Exchange exchange):
        cdef DrivenRequest request = DrivenRequest.__new__(DrivenRequest)
        request.pages = self
        request.exchange = exchange
        request.events = []
        self.requests.append(request)
        return request


cdef class DrivenRequest(HttpApplication):

    # Calls of the exchange

    cdef int _note(self, tuple event) except -1:
        self.events.append(event)
        if self.on_event is not None:
            self.on_event(event)
        return 0

    cdef int64_t head_came(self, Exchange exchange) except? -2:
        self.events.append(("head", exchange.head.method, exchange.head.target))
        exchange.takes_parts = self.pages.takes_parts
        exchange.is_deciding = self.pages.decides
        exchange.asks_later = self.pages.asks_later and exchange.head.expects_continue
        return self.pages.most

    cdef int request_came(self, Exchange exchange, bytes body) except -1:
        self.events.append(("request", body))
        if self.pages.on_request is not None:
            self.pages.on_request(self)
        return 0

    cdef tuple refusal_of(self, Exchange exchange, object error):
        return b"Content-Type: text/plain\r\nConnection: close\r\n", f"{error.text}\n".encode()

    cdef int request_dropped(self, Exchange exchange) except -1:
        return self._note(("dropped",))

    cdef uint64_t request_due(self, Exchange exchange, uint64_t now) except? 0:
        self.looks += 1
        return self._due_ns if now < self._due_ns else 0

    cdef int room_came(self, Exchange exchange) except -1:
        return self._note(("room",))

    cdef int exchange_over(self, Exchange exchange) except -1:
        self.exchange = None
        return self._note(("over",))

    cdef int part_came(self, Exchange exchange, bytes part, bint is_last) except -1:
        self.events.append(("part", part, is_last))
        if self.on_part is not None:
            self.on_part()
        return 0

    cdef int body_awaited(self, Exchange exchange) except -1:
        return 0

    cdef int body_grew(self, Exchange exchange, Py_ssize_t size) except -1:
        self.events.append(("grew", size))
        return 0

    cdef Py_ssize_t tunnel_came(self, Exchange exchange, const char* data, Py_ssize_t size) except -1:
        # The protocol in the tunnel has blocks of four bytes.
        cdef Py_ssize_t taken = 0
        while size - taken >= 4 and exchange.takes_more():
            self.events.append(("block", data[taken:taken + 4]))
            taken += 4
            if self.on_part is not None:
                self.on_part()
        return taken

    cdef uint64_t tunnel_due(self, Exchange exchange, uint64_t now) except? 0:
        return 0

    cdef int end_tunnel(self, Exchange exchange, str text) except -1:
        exchange.send(b"bye!")
        return exchange.cut()

    # Orders of a test

    @property
    def head(self):
        return None if self.exchange is None else self.exchange.head

    @property
    def is_open(self):
        return self.exchange is not None and self.exchange.is_open()

    @property
    def is_full(self):
        return self.exchange.is_full()

    @property
    def unsent(self):
        return self.exchange.unsent()

    def answer(self, int status, bytes lines=b"", bytes body=b""):
        self.exchange.answer(status, lines, body, False)

    def begin(self, int status, bytes lines=b"", size=None):
        self.exchange.begin_parts(status, lines, UNKNOWN_SIZE if size is None else size)

    def part(self, bytes part, Py_ssize_t at=0, Py_ssize_t size=-1):
        self.exchange.send_part(part, at, size)

    def end(self):
        self.exchange.end_parts()

    def cut(self):
        self.exchange.cut()

    def admit(self):
        self.exchange.admit_body()

    def skip(self):
        self.exchange.skip_body()

    def hold(self, bint is_held):
        self.exchange.hold_body(is_held)

    def ask(self):
        self.exchange.ask_body()

    def await_room(self):
        self.exchange.await_room()

    def wait(self, uint64_t due_ns):
        self._due_ns = due_ns
        self.exchange.look_by(due_ns)

    def open_tunnel(self, str protocol="", bytes lines=b""):
        self.exchange.open_tunnel(protocol, lines)

    def send(self, bytes data):
        self.exchange.send(data)
