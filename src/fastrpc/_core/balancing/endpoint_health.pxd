"""Outlier detection and health probes of endpoints. Touched with the GIL held."""

cimport cython
from libc.stdint cimport int64_t, uint64_t


@cython.final
cdef class EndpointHealth:
    cdef:
        # Since the last comparison. `attempts`: conclusive attempts. `faults`: the faults among them. `good_seconds`:
        # the total time of attempts without a fault.
        readonly int64_t attempts
        readonly int64_t faults
        readonly double good_seconds

        # The same time in units of each method's average time over all endpoints, so that the mix of methods does not
        # matter.
        double _good_units

        # Faults in a row.
        readonly int64_t faults_in_row

        # `is_ejected`: whether the endpoint is ejected, until `until_ns`. `times`: the number of consecutive ejections.
        # `in_since_ns`: the instant of the last admission.
        readonly bint is_ejected
        uint64_t until_ns
        int64_t times
        uint64_t in_since_ns

        # `is_down`: whether the probes mark the endpoint as down. `failed_probes`: consecutive failed probes.
        # `passed_probes`: consecutive passed probes while it is down.
        readonly bint is_down
        readonly int64_t failed_probes
        readonly int64_t passed_probes

    cdef inline bint is_out(self) noexcept:
        return self.is_ejected or self.is_down

    cdef inline void forget(self) noexcept:
        """Reset the comparison."""
        self.attempts = self.faults = 0
        self.good_seconds = self._good_units = 0.0

    cdef inline void note(self, bint is_fault, double seconds, double units) noexcept:
        self.attempts += 1
        if is_fault:
            self.faults += 1
            self.faults_in_row += 1
        else:
            self.faults_in_row = 0
            self.good_seconds += seconds
            self._good_units += units


@cython.final
cdef class MethodTime:
    cdef:
        # `seconds`: the moving average of attempt times. `attempts`: the number of attempts in it, at most
        # METHOD_ATTEMPTS.
        double seconds
        int64_t attempts


@cython.final
cdef class OutlierDetector:
    cdef:
        # The settings; 0 disables a rule.
        int64_t consecutive
        uint64_t interval_ns
        int64_t _minimum_calls
        double _success_gap
        double _slow_factor
        double _slow_above
        uint64_t _ejection_ns
        uint64_t _longest_ns

        # `_methods`: method -> MethodTime. `_method`, `_method_time`: the last entry that was used, kept to save a
        # look-up.
        dict _methods
        str _method
        MethodTime _method_time

        # The instant of the next comparison; 0: at the next pick.
        uint64_t due_ns

    cdef int eject(self, EndpointHealth health, uint64_t now) except -1
    cdef double units_of(self, str method, double seconds) except -1
    cdef MethodTime _time_of(self, str method)
    cdef bint compare(self, list endpoints, uint64_t now) except -1
    cdef bint _take_back(self, list endpoints, uint64_t now) except -1
