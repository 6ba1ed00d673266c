from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastrpc._core.base.histogram cimport MethodCounters
from fastrpc._core.calls.call cimport Call
from fastrpc._core.limiting.limiters cimport Permit
from fastrpc._core.link.contract cimport ContractGroups
from fastrpc._core.loop.handler_task cimport HandlerTask
from fastrpc._core.payload.marshal cimport Marshal
from fastrpc._core.server.served_connection cimport ServedConnection


cdef enum Line:
    # The lines in which a call may wait: its connection's, and the line of all calls of another priority than 0.
    AT_CONNECTION
    AMONG_ALL
    LINES


cdef class ServerCall(Call):
    cdef:
        # Its connection, and the protocol's part in this call; its counters, set by the gate; the task of its handler
        # while one runs.
        readonly ServedConnection connection
        readonly ContractGroups groups
        MethodCounters counters
        HandlerTask task

        # Booleans of a byte each, as in Call. Whether the call ended after its handler was told to stop.
        uint8_t was_cancelled
        uint8_t is_running
        uint8_t is_held

        # Whether the caller was notified of its end: later ends are dropped.
        uint8_t was_ended

        # The call keeps its identity when the connection's identity changes.
        uint8_t keeps_identity
        # A credential of the call itself proves its identity.
        uint8_t has_own_credential
        # The log is notified of its end.
        uint8_t is_logged

        # Whether the head of an answer without a stream has left.
        uint8_t has_sent_head

        # Whether the caller asks only for the head of a stream: no handler starts.
        readonly uint8_t wants_head

        # Whether the deadline of the call has passed; whether no handler saw the call, as an interceptor or a full
        # queue refused it.
        readonly bint is_expired
        public bint never_started

        # The status sent to the caller while the handler ran, 0 if the handler's own end decides it.
        int told_status

        # While it is refused, milliseconds after which its caller may retry, 0: not stated.
        readonly uint32_t pushback_ms

        # The client behind a trusted proxy that made the call; None: the connection's peer.
        object client

        # Whether its answer has a head and trailers, as in gRPC (`ServedConnection.has_trailers`): the form of the request
        # decides on a connection that carries several protocols.
        readonly bint has_trailers

        # The name of its method as it was sent, None: the method's own. A refusal shows this name, so no alias, gRPC
        # name or route reveals a method. Noted when access is checked.
        bytes sent_name

        # Its own identity, or None; the instant at which its own credential expires, 0: never.
        object own_identity
        uint64_t own_expires_ns

        # Its slots under limits of concurrency, until its end.
        Permit permit

        # Bytes of its decoded arguments, once known.
        Py_ssize_t weight
        # Bytes that the connection counts for it now, and the bytes of its record.
        Py_ssize_t charge
        Py_ssize_t record

        # While it waits for its start: its payload, the begin of the wait, its place in each line. While it waits or
        # its request is unpacked: the context in which its request was read.
        bytes waiting_payload
        uint64_t queued_ns
        uint64_t places[LINES]
        object waiting_context

        # The job of its handler's part that runs in a thread or waits for one (`handlers/thread_job`).
        public object _thread_job

        # The leading fields of its request that the protocol's answers depend on. In the native protocol None, or the
        # list of a gateway's wishes (`http_answer`).
        object head

        # Its decoded arguments.
        readonly object given

    # By its forms, if it has any: a connection may speak several protocols at once.
    cdef str protocol_name(self)
    cdef Marshal marshal(self)

    cdef int note_name(self, const char* name, Py_ssize_t size) except -1
    cdef int stop(self) except -1
    cdef int answer_late(self, bint has_begun) except -1
    cdef int pack_metadata(self) except -1
    cdef int note_http(self, object status, object headers, object compress, bint is_forwarded) except -1
    cdef int _send_head(self) except -1
    cdef bint make_new(self) noexcept


# Let a call keep its connection's present identity.
cdef inline int keep_identity(ServerCall call) noexcept:
    if not call.keeps_identity:
        call.keeps_identity = True
        call.own_identity = call.connection.identity
    return 0


# Make the client of a trusted proxy the peer of a call, and return the refusal of that client, or None. `found` has
# client and refusal, from `fastrpc.server.http.forwarded`; None without any.
cdef inline tuple take_client(ServerCall call, tuple found, str protocol):
    if found is None:
        return None
    call.client = found[0]
    call.client.protocol = protocol
    # The certificate of the connection belongs to the proxy.
    call.keeps_identity = True
    return found[1]


# Return whether the credential that admitted a call has expired: it would start unauthenticated.
cdef bint has_lapsed(ServerCall call, uint64_t now) noexcept

# Let the calls of a connection keep their identity before it changes.
cdef int keep_identities(ServedConnection connection) except -1


cdef class CallLine:
    cdef:
        # The calls, with None for a call that left; the number of calls; the place of the first.
        list _places
        readonly Py_ssize_t count
        Py_ssize_t _head

        # The number of places removed from the front, and the number of the line. `ServerCall.places` of a call has its
        # place in each line, counted with the removed ones.
        uint64_t _left
        int _line

    cdef list entries(self)
    cdef ServerCall first(self)
    cdef ServerCall last(self)
    cdef int add(self, ServerCall call) except -1
    cdef int drop(self, ServerCall call) except -1
    cdef int _leave(self, Py_ssize_t count) except -1
    cdef int _close_gaps(self) except -1


cdef class WaitingCalls:
    cdef:
        # Calls by priority, in the order of arrival: most have priority 0, and waiting calls seldom share a connection.
        readonly CallLine high
        readonly CallLine normal
        readonly CallLine sheddable

        # The bytes of the sheddable calls: each charge, and each call record.
        readonly int64_t sheddable_bytes
        readonly int64_t sheddable_records

    cdef CallLine of(self, ServerCall call)
    cdef int add(self, ServerCall call) except -1
    cdef int drop(self, ServerCall call) except -1
    cdef ServerCall first(self, int last_rank)
    cdef ServerCall oldest(self)


# The bytes charged for a waiting call.
cdef Py_ssize_t waiting_bytes(ServerCall call) noexcept

cdef bint is_sheddable(ServerCall call) noexcept
cdef int begin_hold(ServedConnection connection, uint64_t hold_ns) except -1
cdef bint is_caught_up(ServedConnection connection, uint64_t hold_ns, uint64_t now) except -1
