"""One RPC and its route.

::

    Call              one RPC on one connection: wire state, deadline, metadata
    ├── ClientCall    (client_call) a call of ours; `client.call` returns an awaitable one
    └── ServerCall    (served_call) what `current_call()` returns
    MethodRoute             method → marshal, handler, counters; built once
    RouteTable        method name as it lies on the wire → MethodRoute

A context variable holds the call that a server runs, so that calls made inside inherit its deadline. Child tasks of a
handler inherit the call because contexts are copied. The block of `fastrpc.timeout` is a bare `Call` that is never
sent.
"""

import collections.abc
from copy import copy

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.contextvars cimport PyContextVar_Get, PyContextVar_New, PyContextVar_Set
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.ref cimport Py_DECREF, PyObject
from libc.string cimport memcmp

from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.payload.metadata cimport decode_metadata, has_any_key
from fastrpc._core.wire.frame cimport IDEMPOTENT, ONE_WAY, STREAM_IN, STREAM_OUT

from fastrpc._core.payload.metadata import Metadata, MetadataPairs
from fastrpc.errors import ConfigError, FastRPCError

NO_DEADLINE = <uint64_t>0xFFFFFFFFFFFFFFFF

scope_variable = PyContextVar_New("fastrpc_scope", NULL)

KIND_FLAGS = {"unary": 0, "client_stream": STREAM_IN, "server_stream": STREAM_OUT, "both_ways": STREAM_IN | STREAM_OUT}
STYLES = {"async": STYLE_ASYNC, "inline": STYLE_INLINE, "thread": STYLE_THREAD}


@cython.final
cdef class CurrentCall:
    """The value of `scope_variable` in a context that several handlers use in turn."""


cdef Call current_scope():
    """Return the innermost call or block of `fastrpc.timeout`, or None."""
    cdef PyObject* found = NULL
    PyContextVar_Get(scope_variable, NULL, &found)
    if found is NULL:
        return None
    scope = <object>found
    Py_DECREF(scope)
    if type(scope) is CurrentCall:
        return (<CurrentCall>scope).call
    return <Call>scope if isinstance(scope, Call) else None


cdef inline Call owner_of(Call scope):
    return scope.owner if scope.is_block else scope


def enter_scope(seconds):
    """Limit the calls made from here on to `seconds` from now; return the token for `leave_scope`.

    None detaches from the current call: calls made inside have no deadline and no owner.
    """
    cdef Call outer = current_scope()
    cdef Call scope = Call.__new__(Call)
    scope.is_block = True
    if seconds is not None:
        scope.deadline_ns = now_ns() + <uint64_t>max(0, int(seconds * 1e9))
        if outer is not None:
            scope.deadline_ns = min(scope.deadline_ns, outer.deadline_ns)
            scope.attempt_number = outer.attempt_number
            scope.owner = owner_of(outer)
    return PyContextVar_Set(scope_variable, scope)


def leave_scope(token):
    """Undo `enter_scope`."""
    try:
        scope_variable.reset(token)
    except ValueError:
        # The token belongs to another context: a discarded coroutine is closed elsewhere, and there is nothing to
        # reset.
        pass


def scope_deadline():
    """Return the deadline of calls made here: an instant of `time.monotonic()`, or None."""
    cdef Call scope = current_scope()
    return None if scope is None else scope.deadline


def enter_call(Call call):
    """Make `current_call()` return this call; returns the token for `leave_scope`."""
    return PyContextVar_Set(scope_variable, call)


def current_call():
    """Return the call whose handler or interceptor is running.

    Raises:
        LookupError: no handler is running here.
    """
    cdef Call scope = current_scope()
    cdef Call call = None if scope is None else owner_of(scope)
    if call is None:
        is_detached = scope is not None and scope.deadline is None
        why = "under detached() none is: read what you need before the block" if is_detached else "none is running here"
        raise LookupError(f"current_call() works inside a handler or an interceptor; {why}")
    return call


@cython.final
cdef class MethodRoute:
    """The route of one method: its marshal, handler and counters."""

    def __init__(
        self,
        definition,
        Marshal marshal not None,
        MethodCounters counters not None,
        *,
        CallTotals totals=None,
        handler=None,
        timeout=None,
        str sent_as=None,
    ):
        self.definition = definition
        self.method = definition.full_name
        self.name = (sent_as or self.method).encode()
        self.kind = definition.kind
        self.flags = KIND_FLAGS[self.kind]
        self.takes_stream = self.flags & STREAM_IN
        self.gives_stream = self.flags & STREAM_OUT
        if definition.idempotent:
            self.flags |= IDEMPOTENT
        self.marshal = marshal
        self.counters = counters
        self.totals = CallTotals() if totals is None else totals
        self.handler = handler
        if handler is not None:
            self.names = definition.accepted_names()
        self.style = STYLES[definition.style]
        self.is_public = definition.public
        if timeout is None:
            timeout = definition.timeout
        self.timeout_ns = 0 if timeout is None else int(timeout * 1e9)

    @property
    def is_withdrawn(self):
        return bool(self.flags & ROUTE_WITHDRAWN)

    def withdraw(self):
        self.flags |= ROUTE_WITHDRAWN

    @property
    def is_released(self):
        return self.is_withdrawn and self.handler is None

    def release(self):
        if self.flags & ROUTE_WITHDRAWN:
            self.handler = None

    def bring_back(self, handler not None):
        self.handler = handler
        self.flags &= ~ROUTE_WITHDRAWN

    def set_protocol(self, str protocol not None, make_form=None):
        self.protocol = protocol
        if make_form is not None:
            self._make_form = make_form
            self._forms = {protocol: self}

    cdef MethodRoute form_for(self, str protocol):
        """Return the route of the same method on connections of a protocol."""
        cdef MethodRoute found
        if self._forms is None:
            return self
        found = self._forms.get(protocol)
        if found is None:
            found = self._make_form(protocol)
            found._forms = self._forms
            found._make_form = self._make_form
            self._forms[protocol] = found
        return found


cdef inline uint32_t hash_name(const char* name, Py_ssize_t size) noexcept nogil:
    # FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv/): names are short, so a byte at a time is enough.
    cdef uint32_t value = 2166136261
    cdef Py_ssize_t i
    for i in range(size):
        value = (value ^ <uint8_t>name[i]) * 16777619
    return value


cdef object clash(str name, MethodRoute one, MethodRoute other):
    """Return the error for a name that two methods have."""
    if one.method == other.method:
        return ConfigError(f"two handlers for {name!r}", hint="give one service another name")
    first, second = (f"{'the name' if name == route.method else 'an alias'} of {route.method!r}" for route in (one, other))
    return TypeError(f"{name!r} is {first} and {second}: leave the alias out, or give one another name")


@cython.final
cdef class RouteTable:
    """A map from method names, as bytes of a frame, to routes. An alias maps to the route of its method."""

    def __cinit__(self):
        self._routes = []
        self._names = []
        self._methods = []

    def __dealloc__(self):
        PyMem_Free(self._slots)

    def add(self, *routes):
        """Add routes, all or none. They replace withdrawn ones of the same names.

        Raises: ConfigError: a route of this name exists already. TypeError: a name is an alias of one method and also
            names another one.
        """
        cdef MethodRoute route
        known = {name: one for name, one in zip(self._names, self._routes) if not one.is_withdrawn}
        found = []
        for each in routes:
            route = <MethodRoute?>each
            for method in (route.method, *route.definition.aliases):
                name = (<str>method).encode()
                if name in known:
                    raise clash(method, known[name], route)
                known[name] = route
                found.append((name, route))
        names = {name for name, _ in found}
        self.remove(*[one for name, one in zip(self._names, self._routes) if name in names])
        self._methods += routes
        self._names += [name for name, _ in found]
        self._routes += [one for _, one in found]
        self._rebuild()

    def remove(self, *routes):
        """Remove routes, with all of their names."""
        kept = [(name, route) for name, route in zip(self._names, self._routes) if route not in routes]
        self._methods = [route for route in self._methods if route not in routes]
        self._names = [name for name, _ in kept]
        self._routes = [route for _, route in kept]
        self._last = 0
        self._rebuild()

    def __len__(self):
        return len(self._methods)

    def __iter__(self):
        return iter(list(self._methods))

    def get(self, str method):
        """Return the route of a full method name, or None."""
        cdef bytes name = method.encode()
        return self.find(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))

    cdef MethodRoute find(self, const char* name, Py_ssize_t size):
        cdef uint32_t place
        cdef uint32_t slot
        cdef bytes known
        if self._slots is NULL:
            return None
        # Try the name that was found last. An alias of the same route is another name.
        known = <bytes>self._names[self._last]
        if PyBytes_GET_SIZE(known) == size and memcmp(PyBytes_AS_STRING(known), name, size) == 0:
            return <MethodRoute>self._routes[self._last]
        place = hash_name(name, size) & self._mask
        while True:
            slot = self._slots[place]
            if slot == 0:
                return None
            known = <bytes>self._names[slot - 1]
            if PyBytes_GET_SIZE(known) == size and memcmp(PyBytes_AS_STRING(known), name, size) == 0:
                self._last = slot - 1
                return <MethodRoute>self._routes[slot - 1]
            place = (place + 1) & self._mask

    def _rebuild(self):
        self.changes += 1
        cdef uint32_t place
        cdef Py_ssize_t i
        cdef bytes name
        cdef uint32_t capacity = 8
        while capacity < 2 * <uint32_t>len(self._routes):
            capacity *= 2
        PyMem_Free(self._slots)
        self._slots = NULL
        if not self._routes:
            return
        self._slots = <uint32_t*>PyMem_Calloc(capacity, sizeof(uint32_t))
        if self._slots is NULL:
            raise MemoryError()
        self._mask = capacity - 1
        for i in range(len(self._routes)):
            name = <bytes>self._names[i]
            place = hash_name(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name)) & self._mask
            while self._slots[place]:
                place = (place + 1) & self._mask
            self._slots[place] = <uint32_t>i + 1


@cython.final
cdef class Draining:
    """The awaitable `Call.draining`: it costs nothing until it is awaited, and may stay unawaited."""

    def __init__(self, event):
        self._event = event

    def notify(self, function):
        """Call a function without arguments when the server drains; immediately if it drains already."""
        self._event.notify(function)

    def forget(self, function):
        """Do not call a function any more."""
        self._event.forget(function)

    def __await__(self):
        return self._event.wait().__await__()

    cdef object _begun(self):
        if self._waiting is None:
            self._waiting = self._event.wait()
        return self._waiting

    def send(self, value):
        """Take one step, as a coroutine does."""
        return self._begun().send(value)

    def throw(self, kind, value=None, traceback=None):
        """Raise an exception at its await."""
        if value is None and traceback is None:
            return self._begun().throw(kind)
        return self._begun().throw(kind, value, traceback)

    def close(self):
        """End without waiting."""
        if self._waiting is not None:
            self._waiting.close()


collections.abc.Coroutine.register(Draining)


@cython.final
cdef class Incoming:
    """An incomplete message: its first piece, and the payload so far."""


@cython.final
cdef class StreamWindow:
    """The window for the messages of one stream; a separate object, as most calls have none."""


cdef StreamWindow new_stream_window(int64_t size):
    cdef StreamWindow window = StreamWindow.__new__(StreamWindow)
    window.left = window.first_size = size
    return window


cdef class Call(Timed):
    """One RPC and everything about it, on both sides."""

    def __cinit__(self):
        self.deadline_ns = NO_DEADLINE

    cdef bytes get_request_entry(self):
        return self.request_entry if self.owner is None else self.owner.get_request_entry()

    cdef object get_peer(self):
        return None

    @cython.nonecheck(False)
    cdef bint is_plain(self) noexcept:
        """Return whether this is an answered unary call that holds no more state than the received metadata.

        Only such an object may be reused for another call.
        """
        return (
            self.state == STATE_GONE
            and not self.flags & ~IDEMPOTENT
            and not self.is_listed
            and not self.refusal_waits
            and not self.answer_begun
            and self.share_turn == 0
            and self.timer.next is NULL
            and self.sent_metadata is None
            and self._reply_metadata is None
            and self._state is None
            and self.incoming is None
            and self.unsent is None
            and self.owner is None
            and self.request_entry is None
        )

    @property
    def method(self):
        """Full name, `service.method`."""
        return self.route.method if self.route is not None else None

    @property
    def kind(self):
        """One of unary, client_stream, server_stream, both_ways."""
        return self.route.kind if self.route is not None else "unary"

    @property
    def side(self):
        """One of client, server."""
        return "client" if self.is_local else "server"

    @property
    def _is_one_way(self):
        # Whether the result is discarded.
        return bool(self.flags & ONE_WAY)

    def _has_received(self, frozenset keys not None):
        """Return whether the received metadata has one of these keys, without decoding it."""
        return self.received_metadata is not None and has_any_key(self.received_metadata, keys)

    @property
    def attempt(self):
        """0 for the first attempt; each retry and hedge has the next number."""
        return self.attempt_number

    @property
    def deadline(self):
        """Instant of `time.monotonic()` at which the call ends, or None."""
        return None if self.deadline_ns == NO_DEADLINE else self.deadline_ns / 1e9

    def remaining(self):
        """Seconds left before the deadline, never below 0, or None without one."""
        if self.deadline_ns == NO_DEADLINE:
            return None
        now = now_ns()
        return 0.0 if now >= self.deadline_ns else (self.deadline_ns - now) / 1e9

    @property
    def metadata(self):
        """The metadata of the request."""
        if self._metadata is None:
            sent = self.sent_metadata if self.is_local else self.received_metadata
            self._metadata = Metadata() if sent is None else Metadata(decode_metadata(sent))
        return self._metadata

    @property
    def reply_metadata(self):
        """The metadata of the answer."""
        if self._reply_metadata is None:
            received = self.received_metadata if self.is_local else self.sent_metadata
            self._reply_metadata = Metadata() if received is None else Metadata(decode_metadata(received))
        return self._reply_metadata

    @reply_metadata.setter
    def reply_metadata(self, entries):
        self._reply_metadata = entries if type(entries) is MetadataPairs else Metadata(entries)

    @property
    def _received_block(self):
        """The raw received metadata, with repeated keys if the protocol allows them; or b""."""
        return self.received_metadata or b""

    def _send_block(self, bytes block):
        """Send this encoded metadata with the request, instead of the metadata of the call options."""
        self.sent_metadata = block

    @property
    def state(self):
        """A dict for interceptors and handlers of this call; never sent."""
        if self._state is None:
            self._state = {}
        return self._state

    @property
    def peer(self):
        """The other side of the connection."""
        return self.get_peer()

    def http(self, *, status=None, headers=None, compress=None):
        """Set the status and header fields of an answer over HTTP; other protocols have neither.

        Args:
            status: 200 to 299, 301 to 303, 307 or 308. With 204 or 205 the result is None.
            headers: fields of the response by their names, beside the fields that the gateway sets. Safe methods may
                set `Cache-Control`, which is `no-store` by default, and `Vary`. With `ETag` or `Last-Modified` a GET
                whose client has this answer is answered by 304. A GET by Connect has these fields, too.
            compress: whether the answer is compressed if the client accepts it; None: as `HTTP.compress` says. Answers
                that contain both a secret and text of another caller are safer without.

        Raises:
            ValueError: the status is another one, or a field is the gateway's, `Meta-*` or `Access-Control-*`, is
                allowed for safe methods only, or has CR, LF or NUL in its value.
            RuntimeError: the head of the answer was sent, or this side made the call.
        """
        raise RuntimeError("http() is for the handler of a call, and this side made this one")

    @property
    def status(self):
        """The status of the call; set before an interceptor's `proceed` returns."""
        return self.outcome_status

    @property
    def error(self):
        """The error of the call, or None; set before an interceptor's `proceed` returns."""
        return self.outcome_error

    def _note_outcome(self, status, error):
        """Keep the outcome of the call for the interceptors around it."""
        self.outcome_status = status
        self.outcome_error = error

    # Overridden by the side that has the value

    @property
    def identity(self):
        """The authenticated identity of the caller, or None."""
        return None

    @property
    def arguments(self):
        """The arguments, decoded on first use."""
        return ()

    @property
    def cancelled(self):
        """Whether the caller cancelled the call or its deadline passed; may be read from any thread."""
        return False

    @property
    def draining(self):
        """Awaitable that is done once the server drains; on a client it is never done."""
        raise RuntimeError("this call belongs to no event loop: nothing can be awaited on it")

    def wrap_sent(self, function):
        """Replace each sent message by the result of a function; call it in an interceptor, before `proceed`."""
        raise RuntimeError(f"{self.method} has no messages to wrap: it is {self.kind}")

    def wrap_received(self, function):
        """Replace each received message by the result of a function; call it in an interceptor, before `proceed`."""
        raise RuntimeError(f"{self.method} has no messages to wrap: it is {self.kind}")

    async def send_metadata(self):
        """Send the present `reply_metadata` now, ahead of the first message of the handler's stream."""
        raise RuntimeError(f"this side is the caller of {self.method}: only the called side sends the metadata of an answer")

    def sleep(self, seconds):
        """Sleep in an interceptor; works without a loop too, in SyncClient."""
        raise RuntimeError("this call belongs to no event loop: nothing can be awaited on it")


cdef object unmistakable(object error, Call call):
    """Return the error to raise for a message's error: RuntimeError instead of an error that ends iterations."""
    if not isinstance(error, (StopIteration, StopAsyncIteration)):
        return error
    failure = RuntimeError(f"{call.route.method}: a message raised {type(error).__name__}")
    failure.__cause__ = error
    return failure


cdef object twin_of(object error):
    """Return a copy of an error without its traceback, so that one may be raised and one kept; None for None.

    Errors of this package and plain built-in errors are copied. Other errors are returned themselves, with traceback.
    """
    if error is None:
        return None
    kind = type(error)
    is_plain = kind.__module__ == "builtins" and kind.__basicsize__ == BaseException.__basicsize__
    # asyncio's errors are recognized by the name of their module, because this package does not import asyncio.
    # CancelledError ends most streams.
    return copy(error) if is_plain or kind.__module__ == "asyncio.exceptions" or isinstance(error, FastRPCError) else error
