"""Outlier detection and health probes of endpoints.

An endpoint is ejected for a while when it faults several times in a row, fails more calls than all endpoints do, or
takes several times as long for the same methods. The last two are found by comparing all endpoints at intervals.

Health probes are independent of ejection (`Pool.probes`). Both states have to be good:

::

            fall failed probes in a row, or an answer other than SERVING
       up ──────────────────────────────────────────────────────────────────────► down
          ◄──────────────────────────────────────────────────────────────────────
                              rise passed probes in a row

             faults in a row, fails or takes longer than the endpoint set
       in ───────────────────────────────────────────────────────► ejected
          ◄───────────────────────────────────────────────────────
               its ejection is over, and the last probe did not fail

Endpoints are compared in units of each method's average time. Plain seconds would reflect the mix of methods: with
three methods called in turn, round robin over three endpoints sends each method to one endpoint only, and the endpoint of
the slow method would be ejected.

In Envoy a passed check ends an ejection, so a faulty server whose health check passes is readmitted at each interval.
Here a passed probe ends no ejection, and a failed probe prolongs it. If more than half of the endpoints are down or
ejected, all are used.
"""

cimport cython
from libc.stdint cimport int64_t, uint64_t

cdef enum:
    # Most methods with their own average time; further methods share one.
    MOST_METHODS = 1000
    # Attempts over which the time of a method is averaged.
    METHOD_ATTEMPTS = 50


def always_sound(endpoint):
    """Return True, as the health of every endpoint for filters that must ignore health."""
    return True


@cython.final
cdef class EndpointHealth:

    def record(self, bint is_fault, double seconds):
        self.note(is_fault, seconds, seconds)

    def probe_failed(self, int64_t fall):
        self.passed_probes = 0
        self.failed_probes += 1
        if self.is_down or self.failed_probes < fall:
            return False
        self.is_down = True
        return True

    def probe_passed(self, int64_t rise):
        self.failed_probes = 0
        if not self.is_down:
            return False
        self.passed_probes += 1
        if self.passed_probes < rise:
            return False
        self.is_down = False
        self.passed_probes = 0
        return True


@cython.final
cdef class MethodTime:
    """The average time of one method over all endpoints."""


@cython.final
cdef class OutlierDetector:

    def __init__(self, settings):
        self.consecutive = settings.consecutive or 0
        self.interval_ns = <uint64_t>(settings.interval * 1e9)
        self._minimum_calls = settings.minimum_calls
        self._success_gap = settings.success_gap or 0.0
        self._slow_factor = settings.slow_factor or 0.0
        self._slow_above = settings.slow_above
        self._ejection_ns = <uint64_t>(settings.ejection * 1e9)
        self._longest_ns = <uint64_t>(settings.longest_ejection * 1e9)
        self._methods = {}
        # The argument is never None, so it is not checked for None.
        self._method, self._method_time = "", self._time_of("")

    def sweep(self, endpoints, double now):
        return self.compare(list(endpoints), <uint64_t>(now * 1e9))

    @cython.nonecheck(False)
    cdef double units_of(self, str method, double seconds) except -1:
        """Return the time of an attempt in units of its method's average, and update the average."""
        cdef MethodTime usual
        if method is not self._method:
            self._method_time = self._time_of(method)
            self._method = method
        usual = self._method_time
        usual.attempts = min(usual.attempts + 1, <int64_t>METHOD_ATTEMPTS)
        usual.seconds += (seconds - usual.seconds) / <double>usual.attempts
        return seconds / usual.seconds if usual.seconds > 0.0 else 1.0

    cdef MethodTime _time_of(self, str method):
        cdef MethodTime found = self._methods.get(method)
        if found is not None:
            return found
        return self._methods.setdefault(method if len(self._methods) < MOST_METHODS else "", MethodTime())

    cdef int eject(self, EndpointHealth health, uint64_t now) except -1:
        """Eject an endpoint, each time for longer than before."""
        health.times += 1
        health.is_ejected = True
        health.until_ns = now + min(self._ejection_ns * <uint64_t>min(health.times, 1000), self._longest_ns)
        health.faults_in_row = 0
        return 0

    cdef bint compare(self, list endpoints, uint64_t now) except -1:
        """Eject the outliers; return whether any endpoint changed."""
        cdef EndpointHealth health
        cdef bint has_changed = self._take_back(endpoints, now)
        cdef int64_t attempts = 0
        cdef int64_t faults = 0
        compared = []
        times = []
        for health in endpoints:
            attempts += health.attempts
            faults += health.faults
            if health.attempts >= self._minimum_calls:
                compared.append(health)
                if health.attempts > health.faults:
                    times.append(health._good_units / <double>(health.attempts - health.faults))
        times.sort()
        usual = times[(len(times) - 1) // 2] if times else 0.0
        for health in compared if len(compared) > 1 else ():
            if health.is_ejected:
                continue
            if self._fails(health, <double>faults / <double>attempts) or self._is_slow(health, usual):
                self.eject(health, now)
                has_changed = True
        for health in endpoints:
            health.forget()
        self.due_ns = now + self.interval_ns
        return has_changed

    cdef bint _take_back(self, list endpoints, uint64_t now) except -1:
        """Readmit endpoints whose ejection is over; lower the ejection count of endpoints that did well since."""
        cdef EndpointHealth health
        cdef bint has_changed = False
        for health in endpoints:
            if health.is_ejected:
                if now >= health.until_ns and not health.failed_probes:
                    health.is_ejected = False
                    health.in_since_ns = now
                    # Drop the counts from before the ejection: if no pick happened during it, they are still there.
                    health.faults_in_row = 0
                    health.forget()
                    has_changed = True
            elif health.times and now >= health.in_since_ns + self._ejection_ns * <uint64_t>min(health.times, 1000):
                health.times -= 1
                health.in_since_ns = now
        return has_changed

    def _fails(self, EndpointHealth health not None, double usual_share):
        share = <double>health.faults / <double>health.attempts
        return self._success_gap > 0 and share - usual_share >= self._success_gap

    def _is_slow(self, EndpointHealth health not None, double usual_units):
        good = <double>(health.attempts - health.faults)
        if self._slow_factor == 0 or good == 0:
            return False
        return (
            health.good_seconds >= self._slow_above * good
            and health._good_units >= self._slow_factor * usual_units * good
        )
