"""The server's side of a connection: requests into the gate, answers into frames.

::

    frame ──► RpcxServer ──► Gate.pass_in ──► handler          heartbeat ──► the same frame, as an answer
                                                │ answer, fail, refuse
    frame ◄── RpcxServer ◄── RpcxServedConnection ◄─────┘

A request names its method by path and method, `Arith` and `Mul` for `Arith.Mul`. Its payload is one value: `by_value` of
`payload/marshal` says how arguments lie in it. A token comes with each call, so the gate verifies it as the credential of
the call; a call whose token is refused is answered, then the connection closes once the calls under way have ended.

The protocol has neither a cancel nor a goodbye. Only the end of a connection cancels its calls. A connection that drains
serves further calls, and closes when it has had none for a second: by then its peer follows a registry that no longer lists
this server, or is a client of ours, which the metadata of each answer tells to go. A peer that hears of neither and goes on
calling loses the connection at a moment when no call is under way, if there is one: what it sent meanwhile was not read.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from fastrpc._core.base.codec_numbers cimport serialize_of
from fastrpc._core.base.instants cimport earlier
from fastrpc._core.base.status cimport RESOURCE_EXHAUSTED
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport NO_DEADLINE, STATE_ANSWERING
from fastrpc._core.client.client_call cimport ClientCall
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.rpcx.engine cimport LONG_DROPPED, LONG_TAKEN, LONG_WAITS, SHORT_FRAME
from fastrpc._core.rpcx.frames cimport (
    COMPRESSION_BITS,
    FLAGS_AT,
    HEADER_BYTES,
    IS_GZIP,
    IS_HEARTBEAT,
    IS_ONE_WAY,
    IS_RESPONSE,
    LENGTH_BYTES,
    REST_AT,
    STATUS_BITS,
    STATUS_ERROR,
    Profile,
    parse_head,
    put_text,
    store32_big,
    store64_big,
)
from fastrpc._core.rpcx.native_forms cimport Reserved, block_of, entry, find_reserved
from fastrpc._core.rpcx.requests cimport LONGEST_NAME, RpcxRequests, RpcxServedConnection
from fastrpc._core.server.connection_life cimport Facts, new_life
from fastrpc._core.server.engine_served_connection cimport SENDER_ADMITTED, SENDER_REFUSED, SENDER_WAITS, SenderCheck
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.server.served_connection cimport ServedConnection, Failure, process_held
from fastrpc._core.wire.frame cimport ONE_WAY, PUSHBACK_NEVER, REASON_DRAIN, REASON_HANDSHAKE

from fastrpc._core.base.histogram import count_refusal
from fastrpc.errors import EncodeError, RemoteProtocolError
from fastrpc.status import Status

cdef enum:
    GZIP = 1

cdef uint64_t SECOND = 1_000_000_000
# One whose peer goes on calling closes at the first moment without a call after so long, or half of the time for calls.
cdef uint64_t STAY_NS = 10 * SECOND
# Until nothing more is taken, so long before that time is over.
cdef uint64_t DEAF_NS = SECOND
# Tells clients of ours, in answers of a connection that drains, to call elsewhere.
cdef bytes GO_AWAY = entry(b"frpc-goaway", b"1")


cdef class RpcxServer(RpcxRequests):
    """The server's side of one connection."""

    def __init__(self, Profile profile not None, *, Gate gate not None, Openings openings not None, timeouts, keepalive,
                 limits, Profile derived=None):
        cdef RpcxServedConnection connection = RpcxServedConnection(gate, profile.name)
        connection.join(self)
        connection.takes_values = True
        self.connection = connection
        self.profile = profile
        self.derived = derived
        self.gate = gate
        self.openings = openings
        # Path and method, which the limit of metadata holds as well.
        self.most_frame = limits.message_bytes + 2 * limits.metadata_bytes + HEADER_BYTES + 4 * LENGTH_BYTES
        self.life = new_life(self, self.connection)
        self.life.set_rules(timeouts, keepalive)

    # From the frame to the gate

    cdef int on_frame(self, RpcxFrame* frame) except -1:
        cdef int compressor = (frame.flags & COMPRESSION_BITS) >> 2
        if compressor > GZIP:
            raise RemoteProtocolError(f"a frame has the compressor {compressor}, only {<int>GZIP} (gzip) is known")
        if not self.gate.asks_access():
            self.life.leave_opening()
        if frame.flags & IS_HEARTBEAT:
            return self._echo(frame)
        return self._take_call(frame, compressor)

    cdef int _take_call(self, RpcxFrame* frame, int compressor) except -1:
        """Hand a request to the gate."""
        cdef ServedConnection connection = self.connection
        cdef ServerCall call = self.call_of(frame, compressor)
        cdef Py_ssize_t size = self.find_name(frame), calls
        if call.flags & ONE_WAY:
            self.note_unanswered()
        calls = 0 if connection.held is None else len(connection.held)
        calls += 0 if connection.queue is None else len(connection.queue)
        if calls >= self.gate.concurrent_calls:
            text = f"this connection has {calls} calls in progress, the limit is {self.gate.concurrent_calls}"
            return self.refuse(call, size, RESOURCE_EXHAUSTED, f"{text} (Limits.concurrent_calls)")
        if frame.metadata_size and not self.takes_metadata(call, frame, True):
            return 0
        if <uint64_t>frame.payload_size > self.gate.message_bytes:
            text = f"the request has {frame.payload_size} bytes, the limit is {self.gate.message_bytes}"
            return self.refuse(call, size, RESOURCE_EXHAUSTED, f"{text} (Limits.message_bytes)")
        self.gate.pass_in(call, self.name, size, 0, PyBytes_FromStringAndSize(frame.payload, frame.payload_size))
        if connection.ended_ns > self.turn_ends_ns:
            self.messages_left = 0
        # Its handler may go on in the next turn of the loop.
        self.woke = True
        return 0

    cdef int _echo(self, RpcxFrame* frame) except -1:
        """Answer a heartbeat: the same frame, whatever it says."""
        cdef Reserved found
        cdef char* at
        self.note_unanswered()
        if self.gate.asks_access():
            check_heartbeat(frame.size)
        # Checks the lengths: an answer has to be a frame.
        find_reserved(frame.metadata, frame.metadata_size, False, &found)
        at = self.output.out.reserve(frame.size)
        memcpy(at, frame.data, frame.size)
        at[FLAGS_AT] = <char>(frame.flags | IS_RESPONSE)
        return self.written()

    cdef int takes_long_frame(self, const char* data, Py_ssize_t size, Py_ssize_t whole) except -1:
        """Refuse a frame over a limit by its header, an unauthenticated one by its metadata, before any byte is kept."""
        cdef ServerCall call = self._call_of(data)
        cdef int verdict
        if whole > self.most_frame:
            text = f"a frame announces {whole} bytes, the limit is {self.most_frame} (Limits.message_bytes)"
            self.gate.refuse(call, RESOURCE_EXHAUSTED, text, True)
            raise RemoteProtocolError(text)
        if self.gate.asks_access():
            verdict = self._sender_of(call, data, size, whole)
            if verdict != SENDER_ADMITTED:
                return LONG_DROPPED if verdict == SENDER_REFUSED else LONG_WAITS
        # All of it may take longer than an opening.
        self.life.leave_opening()
        return LONG_TAKEN if self._has_room(call, whole, True) else LONG_DROPPED

    cdef int on_cut(self, const char* data, Py_ssize_t size, Py_ssize_t whole) except -1:
        cdef RpcxFrame frame
        cdef Reserved found
        cdef ServerCall call
        if self.cut_ns == self.frame_began_ns or not self.profile.states_deadlines:
            return 0
        if <uint8_t>data[FLAGS_AT] & (IS_HEARTBEAT | IS_ONE_WAY) or not parse_head(data, size, whole, &frame):
            return 0
        self.cut_ns = self.frame_began_ns
        self.cut = None
        find_reserved(frame.metadata, frame.metadata_size, True, &found)
        if found.has_timeout:
            self.cut = call = self.call_of(&frame, 0)
            call.started_ns = self.frame_began_ns
            call.route = self.gate.routes.find(self.name, self.find_name(&frame))
            self.cut_bytes = whole
            self.take_timeout(call, &found)
            self.gate.await_rest(call)
        return 0

    cdef uint64_t _check_cut(self, uint64_t now) except? 0:
        """Answer a request whose deadline passes before the rest of it came; return that deadline, 0 = none."""
        cdef ServerCall call = self.cut
        if call is None or not self.is_partial or self.cut_ns != self.frame_began_ns or self.ignores_input:
            self.cut = None
            return 0
        if now < call.deadline_ns:
            return 0 if call.deadline_ns == NO_DEADLINE else call.deadline_ns
        self.cut = None
        if self.body is not None:
            self.skip_body()
        else:
            # Its beginning is presented once more, with the rest.
            self.skip_left = self.cut_bytes
        self.connection.now = now
        self.gate.refuse_rest(call)
        return 0

    cdef int _sender_of(self, ServerCall nameless, const char* data, Py_ssize_t size, Py_ssize_t whole) except -1:
        """Judge who sends a long frame of which not all is here; SENDER_WAITS: present the same beginning again.

        A call that is refused before its names are known is `nameless`.
        """
        cdef RpcxFrame frame
        cdef ServerCall call
        cdef Py_ssize_t longest
        cdef int verdict = self.sender_verdict
        if self.sender_check is None:
            self.sender_check = SenderCheck.__new__(SenderCheck)
        if self.sender_check.call is not None:
            return SENDER_WAITS
        if verdict != SENDER_WAITS:
            self.sender_verdict = SENDER_WAITS
            return verdict
        if <uint8_t>data[FLAGS_AT] & IS_HEARTBEAT:
            check_heartbeat(whole)
        if not parse_head(data, size, whole, &frame):
            longest = HEADER_BYTES + 3 * LENGTH_BYTES + LONGEST_NAME + <Py_ssize_t>self.gate.metadata_bytes
            if size < longest:
                return SENDER_WAITS
            # Each read would present the request again, and no call that long is taken.
            text = f"path, method and metadata have more than {longest} bytes (Limits.metadata_bytes)"
            self.gate.refuse(nameless, RESOURCE_EXHAUSTED, text, True)
            return SENDER_REFUSED
        call = self.call_of(&frame, 0)
        if frame.metadata_size and not self.takes_metadata(call, &frame, False):
            return SENDER_REFUSED
        size = self.find_name(&frame)
        call.route = self.gate.routes.find(self.name, size)
        return self.sender_check.judge(call, self.name[:size].decode("utf-8", "replace"))

    cdef bint refuses_rest(self) except -1:
        if process_held <= self.gate.memory.process_bytes:
            return False
        # The bytes that are there are counted already. The body owns the block.
        return not self._has_room(self._call_of(PyBytes_AS_STRING(<bytes>self.body._block)), 0, False)

    cdef ServerCall _call_of(self, const char* data):
        """Return a call that stands for a frame of which the header is here, to refuse it."""
        cdef ServerCall call = ServerCall.__new__(ServerCall)
        call.connection = self.connection
        call.head = data[:HEADER_BYTES] + bytes(2 * LENGTH_BYTES)
        call.flags = ONE_WAY if <uint8_t>data[FLAGS_AT] & IS_ONE_WAY else 0
        call.started_ns = self.connection.now = self.now
        return call

    cdef bint _has_room(self, ServerCall call, Py_ssize_t size, bint is_new) except -1:
        problem = self.gate.over_budget(call, size, is_new)
        if problem is None:
            return True
        count_refusal("memory")
        self.gate.refuse(call, RESOURCE_EXHAUSTED, problem)
        return False

    cdef int on_held(self, Py_ssize_t change) except -1:
        return self.gate.memory.count_tail(self.connection, change)

    # From the served connection to the wire

    cdef int send_answer(self, ServerCall call, bytes payload) except -1:
        cdef bytes entries = b"" if call.sent_metadata is None else block_of(call.sent_metadata)
        cdef uint8_t flags = <uint8_t>PyBytes_AS_STRING(call.head)[FLAGS_AT] & ~COMPRESSION_BITS | IS_RESPONSE
        if self.connection.is_draining:
            entries += GO_AWAY
        if call.compressor:
            flags |= IS_GZIP
        self._write(call.head, flags, entries, PyBytes_GET_SIZE(payload))
        # Nothing but its payload can follow.
        call.state = STATE_ANSWERING
        self.send_payload(payload)
        if self.output.size() > self.gate.send_soft:
            self.connection.weigh_answer()
        return self.after_call(True)

    cdef int send_failure(self, ServerCall call, Failure failure) except -1:
        """Answer a call that failed: the text for every peer, and for ours status and details, which Go ignores."""
        cdef uint8_t flags = <uint8_t>PyBytes_AS_STRING(call.head)[FLAGS_AT] & ~(COMPRESSION_BITS | STATUS_BITS)
        cdef bytes text = failure.text.encode("utf-8", "replace")
        cdef list parts = [
            entry(self.profile.error_key, text),
            entry(b"frpc-code", Status(failure.status).name.encode()),
        ]
        if self.derived is not None:
            parts.append(entry(self.derived.error_key, text))
        if not failure.has_run:
            # The protocol has no budget for refusals.
            self.note_unanswered()
            parts.append(entry(b"frpc-processed", b"no"))
        if failure.pushback_ms:
            seconds = "never" if failure.pushback_ms == PUSHBACK_NEVER else f"{failure.pushback_ms}"
            parts.append(entry(b"frpc-retry-after-ms", seconds.encode()))
        if failure.details:
            parts.append(entry(b"frpc-details-bin", failure.details))
        if self.connection.is_draining:
            parts.append(GO_AWAY)
        if call.sent_metadata is not None:
            parts.append(block_of(call.sent_metadata))
        self._write(call.head, flags | IS_RESPONSE | STATUS_ERROR, b"".join(parts), 0)
        call.state = STATE_ANSWERING
        return self.written()

    cdef int _write(self, bytes head, uint8_t flags, bytes entries, Py_ssize_t payload_size) except -1:
        """Write an answer up to its payload."""
        cdef Py_ssize_t head_size = PyBytes_GET_SIZE(head), entries_size = PyBytes_GET_SIZE(entries)
        cdef char* begin = self.output.out.reserve(head_size + entries_size + 2 * LENGTH_BYTES)
        cdef char* at = begin + head_size
        memcpy(begin, PyBytes_AS_STRING(head), head_size)
        begin[FLAGS_AT] = <char>flags
        store32_big(
            begin + REST_AT, <uint32_t>(head_size - HEADER_BYTES + entries_size + 2 * LENGTH_BYTES + payload_size)
        )
        at = put_text(at, PyBytes_AS_STRING(entries), entries_size)
        store32_big(at, <uint32_t>payload_size)
        return 0

    cdef int refused_token(self) except -1:
        """A call was refused as unauthenticated: take nothing more, and close once the calls under way have ended."""
        if self.profile.closes_on_refusal:
            self.ignores_input = True
        return 0

    cdef int sender_known(self, int verdict) except -1:
        self.sender_verdict = verdict
        self.go_on()
        return 0

    cdef int after_call(self, bint was_let_in) except -1:
        """A call has ended."""
        self.life.used_ns = max(self.life.used_ns, self.connection.now, self.connection.stepped_ns)
        if self.ignores_input:
            return 0 if self._is_busy() else self.end(True)
        if self.pause_from_ns and not self.is_reading:
            self._end_at_pause()
        return self.life.leave_opening() if was_let_in else 0

    cdef bint _is_busy(self) noexcept:
        """Return whether a call is under way."""
        return bool(self.connection.held) or bool(self.connection.queue)

    # Pushes

    @property
    def takes_pushes(self):
        """Whether the peer took so much of the output that a push may be added."""
        return self.unsent_output() <= <Py_ssize_t>self.gate.send_soft

    @property
    def peer_takes(self):
        """Return "pushes": nothing tells whether the peer listens."""
        return "pushes"

    def push(self, ClientCall call not None):
        """Send a one-way call of ours: to the peer it is a message of its server."""
        cdef uint64_t _names
        cdef bytes payload = <bytes>call.route.marshal.encode_call(call.args, call.kwargs, &_names)
        cdef bytes entries = b"" if call.sent_metadata is None else block_of(call.sent_metadata)
        cdef bytes head = bytes(HEADER_BYTES)
        cdef char* at = PyBytes_AS_STRING(head)
        cdef int serialize = serialize_of(call.route.marshal.codec_id)
        if serialize < 0:
            raise EncodeError(f"{call.route.method}: {self.profile.name} has no codec {call.route.marshal.coders.codec!r}")
        service, _, name = call.route.name.rpartition(b".")
        self.pushes += 1
        at[0] = <char>self.profile.magic
        at[3] = <char>(serialize << 4)
        store64_big(at + 4, self.pushes)
        head += len(service).to_bytes(4, "big") + service + len(name).to_bytes(4, "big") + name
        call.count_start(payload)
        self._write(head, IS_ONE_WAY, entries, PyBytes_GET_SIZE(payload))
        self.send_payload(payload)
        call.is_settled = True
        call._count(0, now_ns())

    cdef int _tell_pusher(self) except -1:
        """Nothing more can be pushed."""
        pusher, self.pusher = self.pusher, None
        if pusher is not None:
            pusher.on_end()
        return 0

    # The peer

    @property
    def is_opening(self):
        """Whether no call was let in yet, whole or begun."""
        return self.life.openings is not None

    def describe_peer(self):
        """Return the other side of the connection."""
        return self.connection.describe_peer()

    def identify(self, identity not None, valid_seconds=None, *, bint by_certificate=False, uint64_t generation=0):
        """Note who the peer proved to be by its certificate, and until when; a call's own token comes before it."""
        self.connection.certify(identity, valid_seconds, generation)
        return True

    # Opening and leaving

    cdef int connected(self) except -1:
        self.now = now_ns()
        self.connection.peer_info = self.gate.dispatcher.describe_peer(self)
        if self.life.count_in():
            return self.end(True)
        self.life.enter_opening(self.openings)
        (<ByteStream>self._stream).schedule_check(self.life.begin(self.now))
        return 0

    cdef Py_ssize_t receive(self, const char* data, Py_ssize_t size) except -1:
        if not (self.life.has_heard or self.is_closed) and not self.life.hear_first(data, size):
            return 0
        return RpcxRequests.receive(self, data, size)

    def begin_drain(self, reason, text=""):
        """Close when the peer has made no call for a while; calls until then are served."""
        cdef uint64_t now = now_ns(), span = self.life.leave_after_ns
        # A peer that is to use another connection has time for it: only where the server goes, or at its age, does this one
        # end under calls.
        if (reason == REASON_DRAIN or self.life.has_aged) and self.pause_from_ns == 0:
            self.pause_from_ns = now + (STAY_NS if span == 0 else min(STAY_NS, span // 2))
            if span:
                self.last_call_ns = now + span - min(DEAF_NS, span // 4)
        self.connection.note_drain()
        self.life.begin_drain(0)
        if self._stream is not NULL and not self.is_closed:
            (<ByteStream>self._stream).schedule_check(max(now, self.life.left_due()))

    @property
    def has_drained(self):
        """Whether no call is under way, none came for a while, and all output is sent."""
        if self._is_busy() or self.unsent_output() or (self.is_partial and not self.is_closed):
            return False
        return self.is_closed or now_ns() >= self.life.left_due()

    @property
    def is_at_rest(self):
        """Whether it carries nothing; it waits for a last request."""
        return not (self._is_busy() or self.unsent_output() or self.is_partial)

    def end_calls(self, text):
        """Answer every call that is still under way, and stop its handler."""
        self.gate.end_calls(self.connection, text)

    def close(self, reason=0, text=""):
        """Close once all output is sent; the protocol has no word of goodbye."""
        self.end(reason != REASON_HANDSHAKE)

    cdef int end(self, bint lingers) except -1:
        cdef uint64_t now = now_ns()
        if self.is_closed or self._stream is NULL:
            return 0
        self.life.leave_opening()
        self.life.linger(now)
        # Before the stream is told, which may bring its end at once.
        self.gate.leave(self.connection)
        RpcxRequests.end(self, lingers and self.life.linger_ns != 0)
        self._tell_pusher()
        if self._stream is not NULL:
            (<ByteStream>self._stream).schedule_check(self.life.linger_until_ns or now)
        return self.gate.runner.tell_watcher()

    cdef int on_violation(self, object error) except -1:
        self.gate.dispatcher.stranger(self.connection.describe_peer(), f"{self.profile.name}: {error}")
        self.ignores_input = True
        return self.after_call(False)

    def stats(self):
        """Return the calls under way on this connection, as plain data."""
        return self.connection.stats(self.unsent_output())

    # Events of the stream

    cdef int read_done(self) except -1:
        self.connection.received_ns = self.received_ns
        self.connection.read_ended()
        self.life.go_on_opening()
        return self.gate.runner.leave_task()

    cdef int flushed(self) except -1:
        cdef Py_ssize_t unsent = self.unsent_output()
        if unsent or self.connection.output_held:
            self.life.weigh(self.connection.unsent_bytes(), self.now)
        self._heed_output(unsent, self.now)
        if self.pause_from_ns and not self.is_reading:
            # Only now an answer may be with the peer.
            self._end_at_pause()
        return self.gate.runner.tell_watcher() if self.gate.runner.is_watched else 0

    cdef int _heed_output(self, Py_ssize_t unsent, uint64_t now) except -1:
        """Read on, and push on, only while the peer takes the output."""
        if self.life.heed_output(unsent, now) and self.pusher is not None:
            self.pusher.on_room()
        return 0

    cdef int stalled(self) except -1:
        return self.life.note_stall(self.now, self.came_ns)

    cdef int tail_changed(self, Py_ssize_t change) except -1:
        return self.on_held(change)

    cdef bint hears_rest_first(self) except -1:
        # One-way calls may be all that the peer wanted.
        return not self._is_busy()

    cdef int lost(self, object error) except -1:
        self.life.leave_opening()
        if self.body is not None:
            self.on_held(-self.body.filled)
            self.body = None
        self._tell_pusher()
        return self.life.count_out(error)

    # Time

    cdef uint64_t check(self, uint64_t now) except? 0:
        cdef uint64_t due = 0
        if self.is_closed:
            return self._check_life(now)
        if self.connection.output_held:
            self._heed_output(self.unsent_output(), now)
        if self.sender_check is not None:
            due = self.sender_check.check(now)
        if self.life.openings is not None and any(
            (<ServerCall>call).given is not None for call in self.connection.held or ()
        ):
            # Its handler runs, so it was let in.
            self.life.leave_opening()
        due = earlier(due, earlier(self._check_last_call(now), self._check_cut(now)))
        return self.life.linger_until_ns if self.is_closed else earlier(due, self._check_life(now))

    cdef uint64_t _check_life(self, uint64_t now) except? 0:
        """Give the life of the connection its facts; return when to look again."""
        cdef Facts facts
        facts.is_busy = self._is_busy()
        # The rest of a frame that is not read, or not taken, is not waited for.
        facts.is_receiving = self.is_partial and not self.ignores_input
        facts.began_ns = self.frame_began_ns
        facts.heard_ns = self.received_ns
        facts.received = self.frame_bytes
        # Its connection holds nothing once it is closed; its peer may still take the last output.
        facts.unsent = self.unsent_output() if self.is_closed else self.connection.unsent_bytes()
        facts.parked = 0
        return self.life.check(now, &facts)

    cdef uint64_t _check_last_call(self, uint64_t now) except? 0:
        """Take nothing more of a connection shortly before its calls are cut off; return when that is, 0 = never."""
        if self.last_call_ns == 0:
            return 0
        if now < self.last_call_ns:
            return self.last_call_ns
        # Unread calls were not processed, and their callers may know that they can be repeated.
        self.ignores_input = True
        if not (self._is_busy() or self.unsent_output()):
            self.end(True)
        return 0

    cdef int _end_at_pause(self) except -1:
        """Close a connection whose peer goes on calling although it drains for long: no call is under way now."""
        if self.is_closed or self._stream is NULL or now_ns() < self.pause_from_ns:
            return 0
        if self._is_busy() or self.unsent_output() or self.is_partial or (<ByteStream>self._stream).has_unread():
            return 0
        return self.end(True)


cdef int check_heartbeat(Py_ssize_t size) except -1:
    """End a connection by a long heartbeat, whole or not: it names no sender."""
    if size > SHORT_FRAME:
        text = f"a heartbeat has {size} bytes, at most {<int>SHORT_FRAME} are taken where tokens are asked for"
        raise RemoteProtocolError(text)
    return 0
