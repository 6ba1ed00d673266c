"""The gate's steps authenticate and authorise: who calls, and whether that one may.

::

    call ──► a credential of its own ──► Authentication ──┐
         └─► the identity of the connection ──────────────┴─► public? ──► roles ──► authorize ──► the next step

A connection keeps what was decided for it, by method: a policy costs a lookup for each call, however many rules it has.
A function is asked each time. Without a caller's identity every refusal is UNAUTHENTICATED, with one it is
PERMISSION_DENIED, and an unknown method gives what a forbidden one gives.
"""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.base.status cimport OK, PERMISSION_DENIED, UNAUTHENTICATED
from fastrpc._core.base.wire cimport now_ns

cdef enum:
    # What is kept for a connection and a method.
    DENIED = 0
    ALLOWED = 1
    ALLOWED_HIGH = 2
    HIGH_PRIORITY = 2

cdef uint64_t LOOK_NS = 1_000_000_000
cdef bytes OWN_CREDENTIAL = b"authorization"


@cython.final
cdef class Access:
    """Who may call what, for all connections of one server."""

    def __init__(self, authentication not None, authorize=None):
        self.authentication = authentication
        self._authorize = authorize
        # A policy decides; a function is only called.
        self.is_policy = callable(getattr(authorize, "decide", None))
        self.keeps_answers = authorize is None or self.is_policy
        self._routes = {}
        # A connection begins with 0, and with each verdict it has that of its files.
        self.generation = 1

    cdef int judge(self, ServerCall call) except? -2:
        """Return OK, the status to refuse the call with, or WAITS. Whatever `authorize` raises comes out."""
        cdef Exchange exchange = call.exchange
        if exchange.now > self.looked_ns + LOOK_NS:
            self._look(exchange.now)
        if exchange.generation != self.generation:
            self._renew(exchange)
        if call.received_metadata is not None and OWN_CREDENTIAL in call.received_metadata:
            credential = call.metadata.get("authorization")
            if credential is not None:
                return self._judge_own(call, credential)
        if exchange.expires_ns and exchange.now >= exchange.expires_ns:
            exchange.is_expired = True
            return self.decide(call, None)
        return self.decide(call, exchange.identity)

    def _judge_own(self, ServerCall call, credential):
        """Judge by the credential of the call itself, which stands for that of the connection."""
        answer = self.authentication.of_call(call, credential)
        if type(answer) is not tuple:
            self.pending = answer
            return WAITS
        identity, status = answer
        if identity is None:
            return status
        call.own_identity = identity
        return self.decide(call, identity)

    cdef int decide(self, ServerCall call, object identity) except? -2:
        """Return OK, or the status to refuse the call with."""
        cdef Exchange exchange = call.exchange
        cdef Route route = call.route
        cdef int answer
        if identity is None and (route is None or not route.is_public):
            return UNAUTHENTICATED
        if route is None:
            return PERMISSION_DENIED
        if self.keeps_answers and identity is exchange.identity:
            if exchange.answers is None:
                exchange.answers = {}
            known = exchange.answers.get(route)
            if known is None:
                known = exchange.answers[route] = self._answer(identity, route)
            answer = known
        else:
            answer = self._answer(identity, route)
        if answer == DENIED:
            return UNAUTHENTICATED if identity is None else PERMISSION_DENIED
        if call.priority == HIGH_PRIORITY and answer != ALLOWED_HIGH:
            call.priority = 0
        return OK

    cdef int _answer(self, object identity, Route route) except -1:
        public = self._routes.get(route)
        if public is None:
            public = self._routes[route] = self.authentication.public_route(route.definition)
        if public.roles and (identity is None or public.roles.isdisjoint(identity.roles)):
            return DENIED
        if self._authorize is None:
            return ALLOWED
        if self.is_policy:
            decision = self._authorize.decide(identity, route.method)
            if not decision.is_allowed:
                return DENIED
            return ALLOWED_HIGH if decision.is_high else ALLOWED
        verdict = self._authorize(identity, public)
        if verdict is True or verdict is False:
            return ALLOWED if verdict else DENIED
        if hasattr(verdict, "close"):
            verdict.close()
        raise TypeError(f"authorize returned a {type(verdict).__name__}, it is a function that returns True or False")

    def allows(self, identity, Route route not None):
        """Return whether a caller may call a method."""
        if identity is None and not route.is_public:
            return False
        return self._answer(identity, route) != DENIED

    def look(self, sessions not None):
        """Look for changed files. What was decided by the files before ends at once, for all connections."""
        cdef Exchange exchange
        cdef uint64_t now = now_ns()
        self._look(now)
        for session in list(sessions):
            exchange = session.exchange
            if exchange.generation != self.generation:
                exchange.now = now
                self._renew(exchange)

    cdef int _look(self, uint64_t now) except -1:
        """Look for changed files."""
        self.looked_ns = now
        self.generation = self.authentication.look()
        return 0

    cdef int _renew(self, Exchange exchange) except -1:
        """Drop what was decided by the files before, and verify again what the connection was identified by."""
        exchange.answers = None
        if exchange.identity is not None:
            identity = self.authentication.again(exchange)
            if identity is None:
                # Its streams end as well, at the check of this instant.
                exchange.expires_ns = exchange.now
                exchange.look_by(exchange.now)
            else:
                exchange.identity = identity
        exchange.generation = self.generation
        return 0
