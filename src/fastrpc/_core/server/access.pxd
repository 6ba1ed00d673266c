"""The rights of callers: authentication, authorisation, and the digests of credentials."""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.calls.call cimport MethodRoute
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.server.served_connection cimport ServedConnection


cdef struct Slot:
    # `words`: a digest; `number`: its number, counted from 1. The slot is empty if the number is 0.
    uint64_t[4] words
    uint64_t number


cdef class DigestTable:
    cdef:
        # `_slots`: the slots, indexed by the first 64 bits of a digest modulo the capacity, which is `_mask` + 1. Spare
        # slots after the last index hold displaced digests.
        Slot* _slots
        uint64_t _mask

        # The number of slots that every search reads.
        readonly int reach

    cdef int _allocate(self, Py_ssize_t count) except -1
    cdef int _place(self, bytes digest, uint64_t number) except -1


cdef enum:
    # Returned instead of a status while the credential of the call is being verified.
    WAITS = -1


@cython.final
cdef class Access:
    cdef:
        # The verifiers of credentials: of connections (`fastrpc.handlers.auth.authentication.Authentication`) and of
        # single calls (`fastrpc.handlers.auth.own_credentials.OwnCredentials`).
        readonly object authentication
        readonly object own_credentials

        # `_authorize`: the rules or the function that authorise calls, or None. `has_rules`: whether these are rules.
        # `keeps_answers`: whether answers may be cached.
        object _authorize
        bint has_rules
        bint keeps_answers

        # For each route, the description of the method that is passed to `authorize`.
        dict _routes

        # Connections (ServedConnection) and calls to be verified again after a change of files.
        object _outdated

        # `looked_ns`: the instant of the last check for changed files; `generation`: the generation of the files, which
        # each change raises; `proved_since`: the first generation since which verdicts about credentials are still
        # valid.
        uint64_t looked_ns
        uint64_t generation
        uint64_t proved_since

    cdef int judge(self, ServerCall call) except? -2
    cdef int take_own(self, ServerCall call, object identity, object seconds) except? -2
    cdef int decide(self, ServerCall call, object identity) except? -2
    cdef int renew_if_due(self, ServedConnection connection) except -1
    cdef int _renew(self, ServedConnection connection) except -1
    cdef int _verify_soon(self, ServedConnection connection, object outdated) except -1
    cdef int _answer(self, object identity, MethodRoute route) except -1
