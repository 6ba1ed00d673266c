"""The contract of a protocol that a connection holds.

::

    ByteStream ──► Link ───── take, check ──────────────► Wire ──► calls for the gate
                    │  ◄───── stamp, request ───────────────┤
                    ├── Intake ◄── is_crowded, charge, … ───┤      number of calls, memory, the sender of a long request
                    ├── Leaving                             │      drain, close
                    │  ─────── answer, fail, refuse ──────►   ──► Link.output
                    │  ─────── tell: Facts ───────────────►        (for idle time, drain, late messages)
                    │
                    ├── place, placed, owner, completes ──► Placing    long payloads
                    ├── unknown names, compressor, … ─────► Dialect    error texts and forms of the protocol
                    ├── protocol, peer, marshal, … ───────► Forms      calls of several protocols on a connection
                    ├── count, admitted, judged, end ─────► Assembling requests that arrive in parts, interleaved
                    ├── push ─────────────────────────────► Pushing    one-way calls to the peer
                    ├── head, message, is_full, taken, … ─► Flow       streams of messages
                    ├── drain, is_told, say ──────────────► Goodbye    the announced end of the connection
                    └── pump, rest, turn_over, queued, … ─► Backlog    output that waits in the wire

The gate passes the end of each call to the `Outcomes` of its connection::

    Gate.begin ──► handler ──► answer, fail      one-way calls: release
         └─► not started ────► refuse
         └─► continues later ► hold, then one of the others

The gate asks each call for its `ContractGroups`: Dialect, Forms, Flow and Handling, for requests that are more than one
message. All calls of a wire have the same groups. Pages beside calls of gRPC have their own.

All connections of one kind share one `Outcomes` object, which finds the connection through the call: `LinkedOutcomes`
(`server/link`) calls the wire, `NativeOutcomes` (`server/served_calls`) and `HttpOutcomes` (`http/http_pages`) write
frames and responses, `PythonOutcomes` (`server/python_served_connection`) calls methods in Python.

`Link` (`server/link`) is final. It is the `Engine` of a byte stream, and has everything that connections of all
protocols share: counting, opening, verdicts, memory, drain, idle time, the order of the rules. A protocol derives from
`Wire`, which cuts bytes into requests and writes answers. A wire has no timers, and calls only its link: it writes to
`Link.output`, and reports that by `written`. HTTP/2 is an exception, since its connections also serve clients, which
have no `Link` yet: `join` gives the engine an output that cuts frames, and the wire asks the byte stream for turns and
checks.

`Placing`, `Dialect` and the groups below them are objects beside the wire, each implemented completely, or None. They
are not default methods of `Wire`: if an author forgets a method of a group, the call of this method raises, instead of
a connection that hangs.

A stream is a call with STREAM_IN or STREAM_OUT in its `flags`, as in its route's flags. A wire sets them before
`Link.request`, and then finds the call's messages in `Call.stream` until the call has ended::

    message received ──► ServedStream.put ──► handler ──► Flow.taken: credit for the peer
    Flow.message ◄── a step of the handler, while Flow.is_full is false
    Flow.await_turn ◄── a sender waits ◄─┘      Flow.room ──► StreamChannel.wake_sender

A wire whose messages may wait for credit, or for the turn of their stream, has a `Backlog`. Before each flush it writes
sendable messages into `Link.output`; the link counts the rest as output that the peer has not received. The link's
rules need only byte counts, so queues stay in the wire.

A wire with a `Goodbye` announces a drain to its peer, and then serves the calls that the peer sent before it knew.
Without a `Goodbye`, a draining connection closes after some time without a call. The interface has only the methods
that some wire in this repository implements.
"""

from fastrpc._core.io.engine cimport NOTHING


cdef class Outcomes:
    """Sends the outcomes of calls on their connection."""

    cdef int answer(self, Call call, bytes payload) except -1:
        """Send the result of a call."""
        raise lacking(self, "answer")

    cdef int fail(self, Call call, Failure failure) except -1:
        """Send the failure of a call."""
        raise lacking(self, "fail")

    cdef int refuse(self, Call call, int status, str text, bint is_faulty) except -1:
        """Send the refusal of a call that was not started; `call.pushback_ms` is the pause before a retry."""
        raise lacking(self, "refuse")

    cdef int hold(self, Call call) except -1:
        """Note that a call outlasts this turn: a cancellation has to find it until it is answered."""
        raise lacking(self, "hold")

    cdef int release(self, Call call) except -1:
        """Note the end of a one-way call, which has no answer."""
        raise lacking(self, "release")

    cdef bint is_unanswered(self, Call call) except -1:
        """Return whether a failure can still be sent for a call whose answer raised an error."""
        return False

    cdef int judged(self, Call call, int verdict) except -1:
        """Continue an incomplete request after a deferred verdict; a refused request has already been answered."""
        raise lacking(self, "judged")


cdef class Placing:
    """Long payloads, received into their final memory."""

    cdef char* place(self, Py_ssize_t* room) except? NULL:
        """Return the place for the next bytes of a long payload, and its size; NULL if none is being received."""
        raise lacking(self, "place")

    cdef int placed(self, Py_ssize_t size) except -1:
        """Note that `size` bytes arrived at the last place."""
        raise lacking(self, "placed")

    cdef object owner(self):
        """Return the owner of the last place: it has to stay alive while a system call writes there."""
        raise lacking(self, "owner")

    cdef bint completes(self, Py_ssize_t size) except -1:
        """Return whether this many further bytes complete the payload, so that the engine has work to do."""
        raise lacking(self, "completes")


cdef class Dialect:
    """The texts and numbers that a protocol writes for a call: error texts, details, compressors."""

    cdef str unknown_method(self, Call call, str method, object services):
        """Return the error text for an unknown method. `services`: the services that the peer may learn, or None."""
        raise lacking(self, "unknown_method")

    cdef str unknown_codec(self, Call call):
        """Return the error text for an unsupported codec; None: use the text of the dispatcher."""
        raise lacking(self, "unknown_codec")

    cdef str unknown_compressor(self, Call call):
        """Return the error text for an unsupported compressor; None: use the text of the dispatcher."""
        raise lacking(self, "unknown_compressor")

    cdef int corrupt_status(self, Call call) except -1:
        """Return the status for a request, or a message of its stream, that cannot be decompressed."""
        raise lacking(self, "corrupt_status")

    cdef int unfit_status(self, Call call) except -1:
        """Return the status for a request whose shape or form differs from its method's."""
        raise lacking(self, "unfit_status")

    cdef bint has_status_details(self, Call call) except -1:
        """Return whether the details of an error are a google.rpc.Status; if not, they have the codec of the call."""
        raise lacking(self, "has_status_details")

    cdef int compressor(self, Call call, int number) except -1:
        """Return the peer's number for our compressor `number`; 0 if the caller does not accept it."""
        raise lacking(self, "compressor")

    # For the dispatcher, which is written in Python

    def text_for_method(self, Call call not None, str method not None, services):
        """Return the text of `unknown_method`."""
        return self.unknown_method(call, method, services)

    def text_for_codec(self, Call call not None):
        """Return the text of `unknown_codec`."""
        return self.unknown_codec(call)

    def text_for_compressor(self, Call call not None):
        """Return the text of `unknown_compressor`."""
        return self.unknown_compressor(call)

    def status_of_corrupt(self, Call call not None):
        """Return the status of `corrupt_status`."""
        return self.corrupt_status(call)

    def details_are_status(self, Call call not None):
        """Return `has_status_details`."""
        return self.has_status_details(call)


cdef class Forms:
    """Calls of several protocols, or with several kinds of payloads, on one connection. It may outlive the wire."""

    cdef str protocol(self, Call call):
        """Return the name of the protocol of a call."""
        raise lacking(self, "protocol")

    cdef object peer(self, Call call):
        """Return the peer of a call."""
        raise lacking(self, "peer")

    cdef Marshal marshal(self, Call call):
        """Return the marshal of the payloads of a call."""
        raise lacking(self, "marshal")

    cdef uint32_t most_metadata(self) noexcept:
        """Return the most bytes of answer metadata that the peer accepts."""
        return 0

    cdef int check_sent(self, Call call, bytes metadata) except -1:
        """Raise CallError if the answer to a call cannot carry this metadata."""
        raise lacking(self, "check_sent")

    cdef int note_answer(self, Call call, int status, dict fields, object compress) except -1:
        """Store the parts of an HTTP answer that its handler has set.

        Args:
            status: the HTTP status, 0: not set.
            compress: whether to compress the answer; None: as configured.
        """
        raise lacking(self, "note_answer")


cdef class Handling:
    """Requests of more than one message: forms with files, streams with keep-alive messages, mounted applications.

    The object may outlive the wire.
    """

    cdef object form_of(self, Call call):
        """Return the form whose file is the stream of a call, or None."""
        raise lacking(self, "form_of")

    cdef int note_mistakes(self, Call call, bytes payload, str first) except -1:
        """Store all mistakes in refused arguments for the details of the error; `first` is the error's text."""
        raise lacking(self, "note_mistakes")

    cdef int hold(self, Call call) except -1:
        """Note that a call outlasts this turn: its handler has suspended, or the call waits for its start."""
        raise lacking(self, "hold")

    cdef int leave_handler(self, Call call) except -1:
        """Tell a mounted application, without cancelling it yet, that its client disconnected or its time is over."""
        raise lacking(self, "leave_handler")


cdef class Assembling:
    """Several requests that arrive in parts at the same time, each with a sender to judge.

    Without this group a connection receives one long request at a time, and input waits for the verdict about its
    sender.
    """

    cdef Py_ssize_t count(self) except -1:
        """Return the number of requests that are not calls of the gate: incomplete ones, tunnels, open responses."""
        raise lacking(self, "count")

    cdef int admitted(self, Call call) except -1:
        """The sender of a call is known, and the call outlasts this turn."""
        raise lacking(self, "admitted")

    cdef int judged(self, Call call, int verdict) except -1:
        """Continue an incomplete request by the `Verdict` about its sender (`server/engine_served_connection`)."""
        raise lacking(self, "judged")

    cdef int end(self, str text) except -1:
        """Refuse the calls whose requests are incomplete, since the server stops."""
        raise lacking(self, "end")


cdef class Pushing:
    """One-way calls from this side to the peer: the server's messages to its client."""

    cdef int push(self, Engine link, Call call) except -1:
        """Write a one-way call to the peer."""
        raise lacking(self, "push")


cdef class Flow:
    """Streams of messages: each side sends at the pace of its reader."""

    cdef int head(self, Call call, bytes metadata) except -1:
        """Write the initial metadata of an answer, in the native protocol's encoding, before the first message."""
        raise lacking(self, "head")

    cdef int message(self, Call call, bytes payload, int codec, int compressor) except -1:
        """Write one message of a stream, whose payload has this codec and compressor (0: none)."""
        raise lacking(self, "message")

    cdef bint is_full(self, Call call) noexcept:
        """Return whether the stream is full: then its handler is not stepped, and `await_turn` is called."""
        return True

    cdef int await_turn(self, Call call) except -1:
        """Note that a sender waits. Call `wake_sender` of its stream at its turn once there is room, maybe now."""
        raise lacking(self, "await_turn")

    cdef int room(self) except -1:
        """Wake senders that wait after `await_turn`: all output was flushed, and the peer received enough of it."""
        raise lacking(self, "room")

    cdef int taken(self, Call call, Py_ssize_t cost) except -1:
        """Return the cost of messages (`ServedStream.put`) as credit: the handler took them, or they were dropped."""
        raise lacking(self, "taken")

    cdef int reader(self, Call call, bint waits) except -1:
        """Note that the handler waits for the next message (`waits`), or has stopped waiting without getting one."""
        raise lacking(self, "reader")

    cdef int end_early(self, Call call) except -1:
        """Drop further messages of a caller: `Wire.fail` of its call follows, although the caller may still send."""
        raise lacking(self, "end_early")


cdef class ContractGroups:
    """The groups of the contract that the gate asks about a call."""

    cdef ContractGroups with_own(self, Dialect dialect, Forms forms, Flow flow, Handling handling):
        cdef ContractGroups groups = ContractGroups.__new__(ContractGroups)
        groups.dialect = self.dialect if dialect is None else dialect
        groups.forms = self.forms if forms is None else forms
        groups.flow = self.flow if flow is None else flow
        groups.handling = self.handling if handling is None else handling
        return groups


cdef class Goodbye:
    """Announces the end of the connection and its reason to the peer."""

    cdef int drain(self, str text) except -1:
        """Announce a drain to the peer, once: it is to send no further calls."""
        raise lacking(self, "drain")

    cdef bint is_told(self) except -1:
        """Return whether the drain was announced, so that the peer expects further calls to be refused."""
        raise lacking(self, "is_told")

    cdef int say(self, int reason, str text) except -1:
        """Write why the connection closes (`REASON_DRAIN` and others of `wire/frame`). Nothing is written afterwards.

        The goodbye overtakes a `Backlog`, which is dropped: a closed link pumps no more. A wire that has ended the
        connection itself, through `Leaving.finish`, has already written its goodbye.
        """
        raise lacking(self, "say")


cdef class Backlog:
    """Output that waits in the wire for credit of the peer or for its turn.

    The link counts this output at each flush. If messages begin to wait without a flush, the wire calls `weigh_answer`
    of its connection.
    """

    cdef bint pump(self) except -1:
        """Move sendable messages into the link's output; return whether messages, or senders, still wait."""
        raise lacking(self, "pump")

    cdef int rest(self) noexcept:
        """Return what a further `pump` may find once the stream has taken the output: NOTHING, LITTLE, or MUCH."""
        return NOTHING

    cdef int turn_over(self) except -1:
        """Note that the turn of the loop that `ByteStream.ask_turn` asked for is over; a flush follows."""
        raise lacking(self, "turn_over")

    cdef int64_t queued(self) except? -1:
        """Return the bytes of all waiting messages."""
        raise lacking(self, "queued")

    cdef int64_t passed(self) except? -1:
        """Return how many of these bytes other answers can overtake: they block no call."""
        raise lacking(self, "passed")

    cdef int64_t credit(self) except? -1:
        """Return how many bytes the peer accepts now, for statistics."""
        raise lacking(self, "credit")


cdef class Wire:
    """A protocol on one connection: it parses requests and writes outcomes."""

    cdef int join(self, Engine link) except -1:
        """Set the link, which holds this wire from now on. Called once, before any other method."""
        raise lacking(self, "join")

    cdef int lost(self) except -1:
        """Handle the end of the stream: free incomplete input and its share of the memory budget."""
        raise lacking(self, "lost")

    cdef Py_ssize_t take(self, const char* data, Py_ssize_t size) except -1:
        """Handle received bytes; return how many were consumed. The rest is passed again, with further bytes.

        Each request reduces `messages_left` of the link by one, and the wire stops while the link `has_to_wait`:
        otherwise one client would block the loop. After a message that makes no call, such as a heartbeat, call
        `leave_opening` of the connection's life. A RemoteProtocolError ends the connection once the calls under way
        have ended; the link logs it.
        """
        raise lacking(self, "take")

    cdef int answer(self, Call call, bytes payload) except -1:
        """Write the result of a call. Set the call's state before any step that may fail.

        The state is STATE_ANSWERING, or STATE_GONE if nothing more of the call can follow.
        """
        raise lacking(self, "answer")

    cdef int fail(self, Call call, Failure failure) except -1:
        """Write the failure of a call. Set the call's state as `answer` does."""
        raise lacking(self, "fail")

    cdef int refuse(self, Call call, Failure failure, bint is_faulty) except -1:
        """Write the failure of a call that was not started; with `is_faulty` its caller is at fault."""
        raise lacking(self, "refuse")

    cdef int tell(self, Facts* facts) except -1:
        """Set `is_receiving` if a message is incomplete, and then `began_ns` and `received` as well; set `parked`."""
        raise lacking(self, "tell")

    cdef uint64_t check(self, uint64_t now) except? 0:
        """Compare the deadlines of the protocol with now; return the next one, 0 = none.

        The first call comes when the stream is connected: a protocol whose server sends first does so here. To refuse a
        request here, set `connection.now` first.
        """
        raise lacking(self, "check")

    cdef int forgive(self, uint64_t late) except -1:
        """Add `late` nanoseconds to the deadlines of the peer: no input was read during that time."""
        raise lacking(self, "forgive")


cdef object lacking(object part, str method):
    return NotImplementedError(f"{type(part).__name__} does not implement {method}()")
