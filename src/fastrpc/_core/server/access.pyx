"""The steps of the gate that authenticate a caller and check its right to call a method.

::

    call ──► its own credential ─────► OwnCredentials ──┐
         └─► the identity of the connection ──────────────┴─► public? ──► roles ──► authorize ──► the next step

A connection caches the decisions about its calls, by method, so any number of rules costs one lookup per call. An
authorising function is called for each call. A refusal is UNAUTHENTICATED without an identity, PERMISSION_DENIED with
an identity. An unknown method gets the same answer as a forbidden method.

`DigestTable` finds each digest in the same number of steps. A dict compares only the entries in the key's bucket, so
the times of two refused tokens differ by nanoseconds, always in the same direction; a measurement cannot distinguish
this from a comparison that leaks secrets. Here each search compares the same number of slots, each as a whole, without
a branch on their content. A table of up to 16 digests compares all of them. In a larger table a search reads the slots
at the index of the presented digest. Their position in the cache lines costs up to a nanosecond, which depends on the
presented digest, not on the table's digests.
"""

from collections import deque

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free

from fastrpc._core.base.instants cimport earlier
from fastrpc._core.base.status cimport OK, PERMISSION_DENIED, UNAUTHENTICATED
from fastrpc._core.base.wire cimport load64, now_ns
from fastrpc._core.loop.loop_state cimport LoopState
from fastrpc._core.loop.turns cimport SlicedWork
from fastrpc._core.server.served_call cimport keep_identities
from fastrpc._core.wire.frame cimport STREAM_IN, STREAM_OUT

cdef enum:
    DIGEST_BYTES = 32
    WORDS = 4
    # The least number of slots per digest. With at most a quarter of the slots in use, few digests are displaced.
    SPARE = 4
    # Up to this many digests have the same index, so that each search reads the same memory. Comparing sixteen takes
    # about 20 ns longer than comparing one.
    SHARED = 16

cdef enum:
    # The cached decision for a connection and a method.
    DENIED = 0
    ALLOWED = 1
    ALLOWED_HIGH = 2
    HIGH_PRIORITY = 2

cdef uint64_t LOOK_NS = 1_000_000_000
cdef bytes OWN_CREDENTIAL = b"authorization"


@cython.final
cdef class DigestTable:
    """A table of 32-byte digests; the number of a digest is its position in the given order."""

    def __init__(self, digests):
        cdef uint64_t number = 0
        self._allocate(len(digests))
        for digest in digests:
            number += 1
            self._place(digest, number)

    def __dealloc__(self):
        PyMem_Free(self._slots)

    cdef int _allocate(self, Py_ssize_t count) except -1:
        cdef uint64_t capacity = 1
        if count > SHARED:
            while capacity < <uint64_t>(SPARE * count):
                capacity *= 2
        PyMem_Free(self._slots)
        # Displaced digests may lie after the last index, in the worst case all digests.
        self._slots = <Slot*>PyMem_Calloc(capacity + count + 1, sizeof(Slot))
        if self._slots is NULL:
            raise MemoryError()
        self._mask = capacity - 1
        self.reach = 1
        return 0

    cdef int _place(self, bytes digest, uint64_t number) except -1:
        cdef int i, at = 0
        cdef Slot* slot
        if PyBytes_GET_SIZE(digest) != DIGEST_BYTES:
            raise ValueError(f"a digest has {len(digest)} bytes, it must have {DIGEST_BYTES}")
        slot = &self._slots[load64(PyBytes_AS_STRING(digest)) & self._mask]
        while slot[at].number:
            at += 1
        for i in range(WORDS):
            slot[at].words[i] = load64(PyBytes_AS_STRING(digest) + 8 * i)
        slot[at].number = number
        self.reach = max(self.reach, at + 1)
        return 0

    def find(self, bytes digest not None):
        """Return the number of a digest, counted from 0; -1 if it is not in the table."""
        cdef uint64_t first, second, third, fourth, difference, found = 0
        cdef const char* data = PyBytes_AS_STRING(digest)
        cdef Slot* slot
        cdef int at
        if PyBytes_GET_SIZE(digest) != DIGEST_BYTES:
            raise ValueError(f"a digest has {len(digest)} bytes, it must have {DIGEST_BYTES}")
        first, second, third, fourth = load64(data), load64(data + 8), load64(data + 16), load64(data + 24)
        slot = &self._slots[first & self._mask]
        for at in range(self.reach):
            difference = (
                (first ^ slot[at].words[0]) | (second ^ slot[at].words[1])
                | (third ^ slot[at].words[2]) | (fourth ^ slot[at].words[3])
            )
            # The mask has all bits set if the slot is equal, else none.
            found |= slot[at].number & (((difference | (0 - difference)) >> 63) - 1)
        return <long long>found - 1


@cython.final
cdef class Access:
    """The callers that may call each method, for all connections of one server."""

    def __init__(self, authentication not None, own_credentials not None, authorize=None, *, bint has_rules=False):
        self.authentication = authentication
        self.own_credentials = own_credentials
        self._authorize = authorize
        self.has_rules = has_rules
        self.keeps_answers = authorize is None or has_rules
        self._routes = {}
        self._outdated = deque()
        # A connection starts with generation 0. Each verdict sets it to the generation of the files used for the verdict.
        self.generation = self.proved_since = 1

    def forget(self, routes, connections):
        cdef ServedConnection connection
        for route in routes:
            self._routes.pop(route, None)
        for connection in connections:
            connection.answers = None

    cdef int judge(self, ServerCall call) except? -2:
        """Return OK, the status to refuse the call with, or WAITS. An error of `authorize` is raised."""
        cdef ServedConnection connection = call.connection
        if connection.now > self.looked_ns + LOOK_NS:
            _look(self, connection.now)
        self.renew_if_due(connection)
        if call.received_metadata is not None and OWN_CREDENTIAL in call.received_metadata:
            credential = call.metadata.get("authorization")
            if credential is not None:
                return self._judge_own(call, credential)
        if connection.expires_ns and connection.now >= connection.expires_ns:
            connection.is_expired = True
            return self.decide(call, None)
        # The call may have a different identity from its connection.
        return self.decide(call, call.own_identity if call.keeps_identity else connection.identity)

    def _judge_own(self, ServerCall call, credential):
        """Judge a call by its separate credential, which replaces the connection's credential."""
        # The call is unauthenticated until the verdict, and after a refusal.
        call.keeps_identity = call.has_own_credential = True
        found = self.own_credentials.of_call(call, credential)
        if found is None:
            return WAITS
        identity, status, seconds = found
        return status if identity is None else self.take_own(call, identity, seconds)

    cdef int take_own(self, ServerCall call, object identity, object seconds) except? -2:
        """Set the identity and validity of the call's separate credential; return OK, or the status of a refusal."""
        cdef ServedConnection connection = call.connection
        call.own_identity = identity
        if seconds is not None:
            call.own_expires_ns = connection.now + <uint64_t>(<double>seconds * 1e9)
            if call.flags & (STREAM_IN | STREAM_OUT):
                connection.own_due_ns = earlier(connection.own_due_ns, call.own_expires_ns)
                connection.look_by(call.own_expires_ns)
        return self.decide(call, identity)

    cdef int decide(self, ServerCall call, object identity) except? -2:
        """Return OK if the identity may make the call, or the status to refuse the call with."""
        cdef ServedConnection connection = call.connection
        cdef MethodRoute route = call.route
        cdef int answer
        if identity is None and (route is None or not route.is_public):
            return UNAUTHENTICATED
        if route is None:
            return PERMISSION_DENIED
        if self.keeps_answers and identity is connection.identity:
            if connection.answers is None:
                connection.answers = {}
            known = connection.answers.get(route)
            if known is None:
                known = connection.answers[route] = self._answer(identity, route)
            answer = known
        else:
            answer = self._answer(identity, route)
        if answer == DENIED:
            return UNAUTHENTICATED if identity is None else PERMISSION_DENIED
        if call.priority == HIGH_PRIORITY and answer != ALLOWED_HIGH:
            call.priority = 0
        return OK

    cdef int _answer(self, object identity, MethodRoute route) except -1:
        public = self._routes.get(route)
        if public is None:
            public = self._routes[route] = self.authentication.public_route(route.definition)
        if public.roles and (identity is None or public.roles.isdisjoint(identity.roles)):
            return DENIED
        if self._authorize is None:
            return ALLOWED
        if self.has_rules:
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

    def allows(self, identity, MethodRoute route not None):
        """Return whether a caller may call a method."""
        if identity is None and not route.is_public:
            return False
        return self._answer(identity, route) != DENIED

    def may_learn(self, identity, str method not None):
        """Return whether a caller may learn that the server does not know a method yet."""
        if identity is None or self._authorize is None:
            return identity is not None
        # A function decides by the properties of a method, which are still unknown, so only rules can allow it.
        return bool(self.has_rules) and self._authorize.decide(identity, method).is_allowed

    def look(self):
        """Check for changed files. Their new content is used from the next call of each connection on."""
        _look(self, now_ns())

    def renew(self, engines not None):
        """Verify all connections again whose decisions are from files that have changed, including idle connections."""
        cdef ServedConnection connection
        for engine in list(engines):
            connection = engine.connection
            if connection.generation != self.generation:
                self._verify_soon(connection, connection)

    def expire(self, ServedConnection connection not None):
        """End the credential of a connection now, and the streams that depend on it."""
        # The connection's `now` instead of the clock, so that a call of the current read is already unauthenticated.
        connection.expires_ns = connection.now
        connection.look_by(connection.now)

    def replace(self, ServedConnection connection not None, identity not None, valid_seconds=None):
        """Replace a caller's identity after a change of files. Calls in progress keep the earlier identity."""
        if identity != connection.identity:
            keep_identities(connection)
            connection.identity = identity
            connection.answers = None
        connection.expires_ns = 0
        if valid_seconds is not None:
            connection.expires_ns = now_ns() + <uint64_t>(max(0.0, <double>valid_seconds) * 1e9)
            connection.look_by(connection.expires_ns)

    def expire_call(self, ServerCall call not None):
        """End the credential of a call now. A stream ends; a running unary call continues."""
        call.own_expires_ns = call.connection.own_due_ns = now_ns()
        call.connection.look_by(call.own_expires_ns)

    cdef int renew_if_due(self, ServedConnection connection) except -1:
        """Apply changed files to a connection, if it was judged by earlier files."""
        return 0 if connection.generation == self.generation else self._renew(connection)

    cdef int _renew(self, ServedConnection connection) except -1:
        """Drop the decisions made from earlier files, and verify the credentials again if they may have become invalid."""
        cdef bint is_proved = connection.generation >= self.proved_since
        cdef ServerCall call
        connection.answers = None
        connection.generation = self.generation
        if is_proved:
            return 0
        if connection.identity is not None:
            self.authentication.again(connection)
        # Verify the calls in progress that have a separate credential.
        for call in [*(connection.held or ()), *(connection.queue or ())]:
            if call.own_identity is not None and call.has_own_credential:
                self._verify_soon(connection, call)
        return 0

    cdef int _verify_soon(self, ServedConnection connection, object outdated) except -1:
        """Verify a connection or a call again, one in each slice: ten thousand signatures would block the loop."""
        self._outdated.append(outdated)
        if len(self._outdated) == 1:
            SlicedWork((<LoopState>connection.gate.loop_state).turns, self._verify_next).begin()
        return 0

    def _verify_next(self):
        cdef object outdated = self._outdated[0]
        cdef ServedConnection connection
        if isinstance(outdated, ServedConnection):
            connection = <ServedConnection>outdated
        else:
            connection = (<ServerCall?>outdated).connection
        try:
            if connection.is_closed:
                pass
            elif connection is outdated:
                connection.now = now_ns()
                self.renew_if_due(connection)
            elif not (<ServerCall>outdated).was_ended:
                self.own_credentials.again(outdated)
        except Exception as error:
            # End the connection: an identity whose credential cannot be verified is not trusted any more.
            connection.crash(error)
        finally:
            self._outdated.popleft()
        return len(self._outdated) > 0


cdef int _look(Access access, uint64_t now) except -1:
    """Check for changed files."""
    access.looked_ns = now
    access.generation = access.authentication.look()
    access.proved_since = access.authentication.proved_since
    return 0
