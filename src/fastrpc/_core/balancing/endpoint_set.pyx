"""The endpoints of a client: their states, picks and results.

::

                                              probes
                                                │
    registry ─► filters ─► not leaving ─► neither down nor ejected ─► selector ─► breaker of endpoint and method ─► attempt
                             (if any)       (if half are left)            ▲                                            │
                                                                          └──────────── result ◄───────────────────────┘

The first three steps run on a change, the rest for each attempt. There is no timer: a pick compares the endpoints if
that is due.

Calls on the fast path keep the state of their attempt themselves and read no clock for it. Only calls of the call
runner have a Pick.

Picks, breakers and the counting of results happen for each attempt and are compiled; endpoints are compared once a
second, in Python. All of it is sans-IO, so a client without a loop needs no timer. The endpoint set is in `_core`, although
only clients use it, because each attempt passes through it.

A call on the fast path has no Pick, because an object for each attempt, two clock readings and the look-up of the
connection through Python attributes took a fifth of the call's time. When the session settles the call, it passes the
result and the instants of start and answer to the endpoint set, exactly once. No user code runs then: an ejection takes
effect at the next pick.

A pick that meets an open breaker collects all endpoints with open breakers in one pass. A separate pick for each would
take quadratic time in the outage of a large endpoint set.

Filters run twice: as if all endpoints were healthy, to choose the endpoints to connect to; and with their real health,
to choose another zone when the client's zone is unhealthy. An untried endpoint counts as healthy, or every client would
start in all zones.

Endpoints without a connection count as leaving, so that picks choose among connected endpoints; if none is connected,
all may be picked. User-defined selectors also get endpoints that were never connected.

Key selectors get all endpoints that the filters leave, connected or not: otherwise keys would move whenever a
connection opens or closes. Endpoints that may not be picked now are marked as shut: their keys, and no others, use
other endpoints and return later. An endpoint whose connection is being opened is not shut: its calls wait for it, by
the rules of `client/attempting.py`.

Three outcomes are not counted as faults: a call that a draining server did not start, a call whose connection closed
before it was sent, and a notification. Otherwise one rolling restart would open the breakers of a whole endpoint set.
"""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.balancing.breaker cimport EndpointBreaker
from fastrpc._core.balancing.endpoint_health cimport OutlierDetector
from fastrpc._core.balancing.key_selectors cimport DoubleJumpSelector, JumpHashSelector, KeySelector
from fastrpc._core.balancing.selectors cimport BaseSelector, EndpointState, mark_gone
from fastrpc._core.base.wire cimport now_ns

from fastrpc._core.balancing.endpoint_health import always_sound
from fastrpc.errors import (
    CallError,
    CircuitOpenError,
    ConnectionLostError,
    NoEndpointError,
    UnavailableError,
    is_endpoint_fault,
)
from fastrpc.user_code import plain_error

cdef enum:
    # The most endpoints that an error names: in an outage each call makes an error of this kind.
    NAMED_BREAKERS = 3

cdef tuple NEVER_STARTED = (UnavailableError, ConnectionLostError)


cdef uint64_t NEVER = <uint64_t>-1


@cython.final
cdef class Pick:

    def __cinit__(
        self,
        EndpointSet endpoint_set not None,
        EndpointState endpoint_state not None,
        str method,
        int64_t ticket,
        uint64_t started_ns,
    ):
        self._endpoint_set = endpoint_set
        self.endpoint_state = endpoint_state
        self._method = method
        self._ticket = ticket
        self._started_ns = started_ns

    @property
    def endpoint(self):
        return self.endpoint_state.endpoint

    def ended(self, error=None):
        self.end(error)

    cdef int end(self, object error) except -1:
        cdef EndpointSet endpoint_set = self._endpoint_set
        if endpoint_set is not None:
            self._endpoint_set = None
            endpoint_set.conclude(
                self.endpoint_state, self._method, self._ticket, self._started_ns, endpoint_set.now(), error
            )
        return 0

    def dropped(self):
        cdef EndpointSet endpoint_set = self._endpoint_set
        if endpoint_set is not None:
            self._endpoint_set = None
            endpoint_set.drop(self.endpoint_state, self._method, self._ticket)

    def undone(self):
        cdef EndpointSet endpoint_set = self._endpoint_set
        if endpoint_set is not None:
            self._endpoint_set = None
            endpoint_set.undo(self.endpoint_state, self._method, self._ticket)

    def __del__(self):
        # A pick that is never ended, for example because its task is never resumed, must not occupy its slot forever.
        self.dropped()


@cython.final
cdef class EndpointSet:

    def __init__(
        self, BaseSelector selector not None, *, breaker=None, outlier=None, clock=None, source="", filters=()
    ):
        self.selector = selector
        self.filters = (*selector.filters, *filters)
        self.source = source
        self._breaker_settings = breaker
        self._generation = 1
        self._detector = None if outlier is None else OutlierDetector(outlier)
        self._clock = clock
        # The jump hashes have a `key_of` that makes the keys of Go rpcx.
        ours = JumpHashSelector if isinstance(selector, JumpHashSelector) else BaseSelector
        self._makes_keys = type(selector).key_of is not ours.key_of
        self._key_selector = selector if isinstance(selector, KeySelector) else None
        self._known = {}
        self.left = []
        self._look_ns = NEVER if outlier is None else 0

    cdef uint64_t now(self) except? 0:
        return now_ns() if self._clock is None else <uint64_t>(self._clock() * 1e9)

    # Updates by the registry and the connections

    @property
    def endpoint_states(self):
        return list(self._known.values())

    @property
    def endpoints(self):
        if self._is_stale:
            self._narrow()
        return self.selector.endpoints

    def reseed(self):
        self.selector.reseed()

    @property
    def places_keys(self):
        return self._key_selector is not None

    def has_key(self, call):
        key = getattr(call, "hash_key", None)
        if self._key_selector is None:
            return False
        if key is None and self._makes_keys:
            key = self.selector.key_of(call)
        return self._key_selector.has_key(call, key)

    @property
    def is_panicking(self):
        if self._is_stale:
            self._narrow()
        return self._is_panicking

    def __len__(self):
        return len(self._known)

    def update(self, endpoints):
        cdef EndpointState endpoint_state
        known = {}
        for endpoint in endpoints:
            name = endpoint.address.place
            endpoint_state = self._known.get(name)
            if endpoint_state is None:
                endpoint_state = EndpointState(endpoint)
            elif endpoint_state.endpoint is not endpoint:
                endpoint_state.renew(endpoint)
            known.setdefault(name, endpoint_state)
        mark_gone(self._known.values(), known)
        self._known = known
        self._changes += 1
        self._narrow()

    def set_leaving(self, EndpointState endpoint_state not None, bint is_leaving):
        if endpoint_state.is_leaving != is_leaving:
            endpoint_state.is_leaving = is_leaving
            self._changes += 1
            self._narrow()

    def set_all_leaving(self, leaving, untried=()):
        cdef EndpointState endpoint_state
        cdef bint has_changed = False
        cdef bint is_leaving, is_untried
        for endpoint_state in self._known.values():
            is_leaving, is_untried = endpoint_state in leaving, endpoint_state in untried
            if endpoint_state.is_leaving != is_leaving or endpoint_state.is_untried != is_untried:
                endpoint_state.is_leaving, endpoint_state.is_untried = is_leaving, is_untried
                has_changed = True
        if has_changed:
            self._changes += 1
            self._narrow()
        return has_changed

    def probe_failed(self, EndpointState endpoint_state not None, int64_t fall):
        return self._probed(endpoint_state.health.probe_failed(fall))

    def probe_passed(self, EndpointState endpoint_state not None, int64_t rise):
        return self._probed(endpoint_state.health.probe_passed(rise))

    cdef bint _probed(self, bint has_changed) noexcept:
        """Make the next pick update the selector, as after an ejection."""
        if has_changed:
            self._is_stale = True
            self._look_ns = 0
        return has_changed

    cdef int _look(self, uint64_t now) except -1:
        """Compare the endpoints if that is due, and update the selector after changes."""
        if self._detector is None:
            self._look_ns = NEVER
        else:
            if now >= self._detector.due_ns and self._detector.compare(
                [(<EndpointState>endpoint_state).health for endpoint_state in self._known.values()], now
            ):
                self._is_stale = True
            self._look_ns = self._detector.due_ns
        return self._narrow() if self._is_stale else 0

    def is_sound(self, endpoint):
        cdef EndpointState endpoint_state = self._known.get(endpoint.address.place)
        if endpoint_state is None or endpoint_state.health.is_out():
            return False
        return not endpoint_state.is_leaving or endpoint_state.is_untried

    cdef int _narrow(self) except -1:
        """Update the selector with the endpoints that may be picked now."""
        cdef uint64_t changes
        cdef list usable
        # Cleared before the filters run, so that the next pick handles an ejection by another thread meanwhile.
        self._is_stale = False
        try:
            while True:
                changes = self._changes
                usable = self._usable()
                if changes != self._changes:
                    # Filters let other threads run, and one of these has changed the endpoints meanwhile.
                    continue
                if self._key_selector is None:
                    self.selector.take_up(usable)
                else:
                    self._key_selector.take_up_list(self.left, usable, self._usual)
                if changes == self._changes:
                    # A user's selector may let other threads run, and so may a canary through its filter.
                    break
        except BaseException as failure:
            # A filter raised: the selector still has the previous endpoints, and the next pick tries again.
            self._is_stale = True
            self._look_ns = 0
            raise plain_error(failure, "a selector or a filter")
        if self.on_narrowed is not None and self.filters:
            self.on_narrowed()
        return 0

    cdef list _usable(self):
        """Return the endpoints that may be picked now."""
        cdef EndpointState endpoint_state
        cdef dict known = self._known
        cdef list endpoint_states = self._filtered(known, self.is_sound)
        self.left = self._usual = endpoint_states
        if isinstance(self.selector, DoubleJumpSelector) and self.filters:
            # The double jump places keys by the history of its lists, so a list in which only health differs must not
            # reach it.
            self._usual = self._filtered(known, always_sound)
        endpoint_states = [each for each in endpoint_states if not each.is_leaving] or endpoint_states
        sound = [endpoint_state for endpoint_state in endpoint_states if not endpoint_state.health.is_out()]
        # If more than half of the endpoints are out, the cause is probably elsewhere, and the rest could not carry the
        # load.
        self._is_panicking = 2 * len(sound) < len(endpoint_states)
        return endpoint_states if self._is_panicking else sound

    cdef list _filtered(self, dict known, object is_sound):
        endpoint_states = list(known.values())
        if not self.filters:
            return endpoint_states
        endpoints = [(<EndpointState>each).endpoint for each in endpoint_states]
        for narrow in self.filters:
            endpoints = narrow(endpoints, is_sound)
        return [known[endpoint.address.place] for endpoint in endpoints]

    # Steps of each attempt

    def pick(self, call, tried=()):
        cdef str method = call.method
        cdef int64_t ticket = 0
        cdef uint64_t now = self.now()
        cdef object key = getattr(call, "hash_key", None)
        cdef EndpointState endpoint_state = self.choose(call, key, method, tuple(tried), now, &ticket)
        if endpoint_state is None:
            if self.selector.size:
                raise self._held(self.selector.endpoint_states, method, now)
            raise self.no_endpoint(method)
        return self._placed(endpoint_state, method, ticket, now)

    def no_endpoint(self, str method):
        if self._known:
            return NoEndpointError(
                f"{method}: the filters leave no endpoint",
                hint="compare the selector's filters with the labels, versions and zones of the servers",
            )
        return NoEndpointError(
            f"{method}: no endpoint serves it{f' ({self.source})' if self.source else ''}",
            hint="check the service's name, and that a server with this service runs and is registered",
        )

    def pick_at(self, call, EndpointState endpoint_state not None):
        cdef str method = call.method
        cdef uint64_t now = self.now()
        cdef int64_t ticket = 0 if endpoint_state.breakers is None else self._enter(endpoint_state, method, now)
        if ticket < 0:
            raise self._held([endpoint_state], method, now)
        self.selector.take(endpoint_state)
        return self._placed(endpoint_state, method, ticket, now)

    def pick_preferred(self, call, str name, tried=()):
        cdef str method = call.method
        cdef uint64_t now = self.now()
        cdef int64_t ticket
        cdef EndpointState endpoint_state
        if now >= self._look_ns:
            self._look(now)
        endpoint_state = self._known.get(name)
        if endpoint_state is None or not self.is_sound(endpoint_state.endpoint):
            return None
        # By address: the record may have changed since the attempt.
        if tried and endpoint_state.name in [each.address.place for each in tried]:
            return None
        ticket = 0 if endpoint_state.breakers is None else self._enter(endpoint_state, method, now)
        if ticket < 0:
            return None
        self.selector.take(endpoint_state)
        return self._placed(endpoint_state, method, ticket, now)

    cdef Pick _placed(self, EndpointState endpoint_state, str method, int64_t ticket, uint64_t now):
        return Pick(self, endpoint_state, method, ticket, now)

    @cython.nonecheck(False)
    cdef EndpointState choose(self, object call, object key, str method, tuple tried, uint64_t now, int64_t* ticket):
        """Pick an endpoint whose breaker admits a call of this method; None if all refuse it."""
        cdef EndpointState endpoint_state
        if now >= self._look_ns:
            self._look(now)
        if not self.selector.size:
            return None
        if key is None and self._makes_keys:
            key = self.selector.key_of(call)
        endpoint_state = self.selector.choose(call, key, tried, now)
        ticket[0] = 0
        if endpoint_state.breakers is None or self._admits(endpoint_state, method, now, ticket):
            return endpoint_state
        return self._pass_by(call, key, method, tried, now, ticket)

    cdef EndpointState _pass_by(self, object call, object key, str method, tuple tried, uint64_t now, int64_t* ticket):
        """Pick again, without the endpoints whose breakers are open.

        In an outage most endpoints have open breakers: they are skipped together, instead of by one pick each.
        """
        cdef EndpointState endpoint_state = None
        cdef tuple held = self._held_back(method, now)
        if <Py_ssize_t>len(held) < self.selector.size:
            endpoint_state = self._choose_one(call, key, method, tried + held if tried else held, now, ticket)
            if endpoint_state is None and tried:
                # A tried endpoint is better than none.
                endpoint_state = self._choose_one(call, key, method, held, now, ticket)
        return endpoint_state

    cdef EndpointState _choose_one(
        self, object call, object key, str method, tuple avoided, uint64_t now, int64_t* ticket
    ):
        """Let the selector pick once; None if the breaker there refuses the call."""
        cdef EndpointState endpoint_state = self.selector.choose(call, key, avoided, now)
        return endpoint_state if self._admits(endpoint_state, method, now, ticket) else None

    cdef bint _admits(self, EndpointState endpoint_state, str method, uint64_t now, int64_t* ticket) except -1:
        """Enter the breaker, if there is one; if it refuses the call, undo the pick."""
        ticket[0] = 0 if endpoint_state.breakers is None else self._enter(endpoint_state, method, now)
        if ticket[0] >= 0:
            return True
        self.selector.refuse(endpoint_state)
        return False

    cdef tuple _held_back(self, str method, uint64_t now):
        """Return the endpoints whose breakers refuse calls of this method now."""
        cdef EndpointState endpoint_state
        cdef EndpointBreaker breaker
        held = []
        for endpoint_state in self.selector.endpoint_states:
            if endpoint_state.breakers is not None:
                breaker = endpoint_state.breakers.get(method)
                if breaker is not None and not breaker.admits(now):
                    held.append(endpoint_state.endpoint)
        return tuple(held)

    cdef int64_t _enter(self, EndpointState endpoint_state, str method, uint64_t now) except -2:
        """Return the ticket of the breaker, 0 without a breaker, -1 if it refuses the call."""
        cdef EndpointBreaker breaker = endpoint_state.breakers.get(method)
        if breaker is None:
            return 0
        return breaker.enter(now) or -1

    def _held(self, list endpoint_states, str method, uint64_t now):
        cdef EndpointState endpoint_state
        cdef EndpointBreaker breaker
        waits = []
        for endpoint_state in endpoint_states[:NAMED_BREAKERS]:
            breaker = None if endpoint_state.breakers is None else endpoint_state.breakers.get(method)
            if breaker is not None:
                waits.append(f"{endpoint_state.endpoint.address} for {breaker.opens_in(<double>now * 1e-9):.3g} s")
        if len(endpoint_states) > NAMED_BREAKERS:
            waits.append(f"{len(endpoint_states) - NAMED_BREAKERS} more")
        return CircuitOpenError(
            f"{method}: the breaker holds calls back at {'; '.join(waits)}",
            hint="the calls before this one failed there; see their errors",
        )

    cdef int drop(self, EndpointState endpoint_state, str method, int64_t ticket) except -1:
        # A user's selector may raise here.
        self._forget(endpoint_state, method, ticket)
        return self.selector.take_back(endpoint_state)

    cdef int undo(self, EndpointState endpoint_state, str method, int64_t ticket) except -1:
        # As in `drop`.
        self._forget(endpoint_state, method, ticket)
        return self.selector.undo(endpoint_state)

    cdef int _forget(self, EndpointState endpoint_state, str method, int64_t ticket) except -1:
        """Release the ticket, so that another attempt may probe."""
        cdef dict breakers = endpoint_state.breakers
        cdef EndpointBreaker breaker = breakers.get(method) if ticket and breakers is not None else None
        if breaker is not None:
            breaker.forget(ticket)
        return 0

    @cython.nonecheck(False)
    cdef int conclude(
        self, EndpointState endpoint_state, str method, int64_t ticket, uint64_t began, uint64_t ended, object error
    ) except -1:
        cdef double seconds = <double>(ended - min(began, ended)) * 1e-9
        if error is None and endpoint_state.breakers is None:
            # Most attempts end here.
            endpoint_state.health.note(
                False, seconds, 0.0 if self._detector is None else self._detector.units_of(method, seconds)
            )
        elif error is None:
            self._note(endpoint_state, method, ticket, False, seconds, ended)
        elif type(error) in NEVER_STARTED and error.processed != "unknown":
            # Not the endpoint's fault: the server is draining (it ends its streams, too), or the connection closed
            # before the request was sent.
            return self.drop(endpoint_state, method, ticket)
        elif is_endpoint_fault(error):
            self._note(endpoint_state, method, ticket, True, seconds, ended)
        elif isinstance(error, CallError):
            self._note(endpoint_state, method, ticket, False, seconds, ended)
        else:
            # Cancelled, or our own mistake: that says nothing about the endpoint.
            self._forget(endpoint_state, method, ticket)
        return self.selector.settle(endpoint_state, seconds, error, ended)

    cdef int _note(
        self, EndpointState endpoint_state, str method, int64_t ticket, bint is_fault, double seconds, uint64_t now
    ) except -1:
        """Count an attempt whose outcome concerns its endpoint."""
        cdef EndpointBreaker breaker
        cdef double units = 0.0
        if self._detector is not None and not is_fault:
            units = self._detector.units_of(method, seconds)
        endpoint_state.health.note(is_fault, seconds, units)
        if endpoint_state.breakers is None:
            if not is_fault or self._breaker_settings is None:
                return self._judge(endpoint_state, is_fault, now)
            endpoint_state.breakers = {}
        breaker = endpoint_state.breakers.get(method)
        if breaker is None and is_fault:
            breaker = endpoint_state.breakers[method] = EndpointBreaker(self._breaker_settings)
            breaker.begin(self._generation)
        if breaker is not None:
            # An attempt that began before the breaker existed counts in its first generation.
            breaker.leave(ticket or breaker.first_generation, is_fault, now)
            if not is_fault and breaker.is_idle(now):
                self._generation = max(self._generation, breaker.generation + 1)
                del endpoint_state.breakers[method]
                if not endpoint_state.breakers:
                    endpoint_state.breakers = None
        return self._judge(endpoint_state, is_fault, now)

    cdef int _judge(self, EndpointState endpoint_state, bint is_fault, uint64_t now) except -1:
        """Eject an endpoint that failed too often in a row; the next pick updates the selector.

        An update here would run the user's filters inside a connection's callback; the next pick runs them in its
        caller.
        """
        if (
            is_fault
            and self._detector is not None
            and 0 < self._detector.consecutive <= endpoint_state.health.faults_in_row
            and not endpoint_state.health.is_ejected
        ):
            self._detector.eject(endpoint_state.health, now)
            self._is_stale = True
            self._look_ns = 0
        return 0
