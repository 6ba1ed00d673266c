from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastrpc._core.base.histogram cimport MethodCounters
from fastrpc._core.calls.call cimport Call
from fastrpc._core.limiting.limiters cimport Permit
from fastrpc._core.link.contract cimport ContractGroups
from fastrpc._core.loop.handler_task cimport HandlerTask
from fastrpc._core.payload.marshal cimport Marshal
from fastrpc._core.server.served_connection cimport ServedConnection


cdef enum Line:
    # The lines in which a call may wait: the line of its connection and, if its priority is not 0, the line of the server.
    AT_CONNECTION
    AMONG_ALL
    LINES


cdef class ServerCall(Call):
    cdef:
        # `connection`: the call's connection; `groups`: the protocol's part in this call; `counters`: set by the gate;
        # `task`: the task of the handler while it runs.
        readonly ServedConnection connection
        readonly ContractGroups groups
        MethodCounters counters
        HandlerTask task

        # Booleans of a byte each, as in Call. `was_cancelled`: whether the handler has to stop because the call was
        # ended. `is_running`: whether the handler runs in a thread or its answer is being compressed. `is_held`:
        # whether the call is in `ServedConnection.held`.
        uint8_t was_cancelled
        uint8_t is_running
        uint8_t is_held

        # Whether the call was answered or refused, so that later answers are dropped.
        uint8_t was_ended

        # Whether the call keeps its identity when the connection's identity changes.
        uint8_t keeps_identity
        # Whether the call has a separate credential, which proves its identity.
        uint8_t has_own_credential
        # Whether the log is notified of the call's end: 0 = no, 1 = with a request id, 2 = without.
        uint8_t is_logged

        # Whether the head of a unary answer was sent.
        uint8_t has_sent_head

        # Whether the caller asks only for the head of a stream, so that no handler starts.
        readonly uint8_t wants_head

        # `is_expired`: whether the deadline of the call has passed; `never_started`: whether no handler saw the call,
        # as an interceptor or a full queue refused it.
        readonly bint is_expired
        public bint never_started

        # The status sent to the caller while the handler ran; 0 if the status depends on the handler's result.
        int told_status

        # While the call is refused: milliseconds after which the caller may retry, 0 = not stated.
        readonly uint32_t pushback_ms

        # The client behind a trusted proxy that made the call; None if the connection's peer made it.
        object client

        # Whether the answer has a head and trailers, as in gRPC (`ServedConnection.has_trailers`). On a connection with
        # several protocols this depends on the request.
        readonly bint has_trailers

        # The method name that the caller sent, or None if it is the method's own name. A refusal shows this name, so that
        # an alias, gRPC name or route does not reveal the method. Set only if access is checked.
        bytes sent_name

        # `own_identity`: the identity of this call, if `keeps_identity`. `own_expires_ns`: the instant at which the
        # separate credential of the call expires, 0 = never.
        object own_identity
        uint64_t own_expires_ns

        # The slots that the call holds under concurrency limits until its end, or None.
        Permit permit

        # The bytes of the decoded arguments, when they are known.
        Py_ssize_t weight
        # `charge`: the bytes that the connection counts for the call now; `record`: the bytes of the call's record.
        Py_ssize_t charge
        Py_ssize_t record

        # While the call waits for its start. `waiting_payload`: the payload. `queued_ns`: the instant since which it
        # waits. `places`: its place in each line. `waiting_context`: the context in which its request was read, also
        # while it is decompressed.
        bytes waiting_payload
        uint64_t queued_ns
        uint64_t places[LINES]
        object waiting_context

        # The job of the handler that runs in a thread or waits for a thread (`handlers/thread_job`), or None.
        public object _thread_job

        # The first fields of the request, if the protocol's answers depend on them. In the native protocol: None, or the
        # status, fields and compression for a gateway (`http_answer`).
        object head

        # The decoded arguments, None before they are decoded.
        readonly object given

    # The protocol and the marshal are chosen by the call's forms, if it has any: a connection may speak several
    # protocols at once.
    cdef str protocol_name(self)
    cdef Marshal marshal(self)

    cdef int note_name(self, const char* name, Py_ssize_t size) except -1
    cdef int stop(self) except -1
    cdef int answer_late(self, bint has_begun) except -1
    cdef int pack_metadata(self) except -1
    cdef int note_http(self, object status, object headers, object compress, bint is_forwarded) except -1
    cdef int _send_head(self) except -1
    cdef bint make_new(self) noexcept


# Make a call keep the identity that its connection has now.
cdef inline int keep_identity(ServerCall call) noexcept:
    if not call.keeps_identity:
        call.keeps_identity = True
        call.own_identity = call.connection.identity
    return 0


# Make the client behind a trusted proxy the peer of a call, and return the refusal of that client, or None. `found` is the
# client and the refusal, from `fastrpc.server.http.forwarded`, or None.
cdef inline tuple take_client(ServerCall call, tuple found, str protocol):
    if found is None:
        return None
    call.client = found[0]
    call.client.protocol = protocol
    # The certificate of the connection belongs to the proxy.
    call.keeps_identity = True
    return found[1]


# Return whether the credential that admitted a call has expired, so that the call must not start.
cdef bint has_lapsed(ServerCall call, uint64_t now) noexcept

# Make the calls of a connection keep their identity, before the connection's identity changes.
cdef int keep_identities(ServedConnection connection) except -1


cdef class CallLine:
    cdef:
        # `_places`: the calls, with None in the place of a removed call; `count`: the number of calls; `_head`: the
        # index of the first call.
        list _places
        readonly Py_ssize_t count
        Py_ssize_t _head

        # `_left`: the number of places removed from the front; `_line`: the number of the line (Line).
        # `ServerCall.places[line]` is the index of a call plus the removed places.
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
        # The calls of each priority, in order of arrival.
        readonly CallLine high
        readonly CallLine normal
        readonly CallLine sheddable

        # `sheddable_bytes`: the bytes that are counted for the sheddable calls. `sheddable_records`: the bytes of their
        # call records.
        readonly int64_t sheddable_bytes
        readonly int64_t sheddable_records

    cdef CallLine of(self, ServerCall call)
    cdef int add(self, ServerCall call) except -1
    cdef int drop(self, ServerCall call) except -1
    cdef ServerCall first(self, int last_rank)
    cdef ServerCall oldest(self)


# Return the bytes that are counted for a waiting call.
cdef Py_ssize_t waiting_bytes(ServerCall call) noexcept

cdef bint is_sheddable(ServerCall call) noexcept
cdef int begin_hold(ServedConnection connection, uint64_t hold_ns) except -1
cdef bint is_caught_up(ServedConnection connection, uint64_t hold_ns, uint64_t now) except -1
