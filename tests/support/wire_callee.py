"""The callee's state table, PROTOCOL.md section 7: calls that the peer opened."""

import enum
from dataclasses import dataclass

from tests.support.wire_frames import Cancel, Credit, Data, End, Head, Request, Response
from tests.support.wire_layout import (
    FLAG_ONE_WAY,
    FLAG_STREAM_IN,
    FLAG_STREAM_OUT,
    Kind,
    Reason,
    WireError,
)
from tests.support.wire_link import Link, broken
from tests.support.wire_metadata import metadata_problem
from tests.support.wire_settings import Setting
from tests.support.wire_windows import Assembly, ReceiveWindow, SendWindow

__all__ = ["CalleeCalls", "CalleeState"]

CANCELLED, INVALID_ARGUMENT, RESOURCE_EXHAUSTED = 1, 3, 8
NOT_STARTED = 1
CANCEL_DEADLINE = 1
#: Beside one for each call the peer may have open.
WAITING_REFUSALS = 1_000


class CalleeState(enum.Enum):
    """Where a call stands; new and gone calls have no record."""

    ASSEMBLING = "assembling"
    OPEN = "open"
    ENDED = "ended"
    CANCELLED = "cancelled"


@dataclass(eq=False, slots=True)
class Answering:
    """A call in the callee's table."""

    request: Request
    state: CalleeState
    received: ReceiveWindow
    sent: SendWindow
    #: When its REQUEST began to come.
    came_at: float
    #: The REQUEST whose pieces are outstanding.
    assembly: Assembly | None = None

    @property
    def is_one_way(self) -> bool:
        return bool(self.request.flags & FLAG_ONE_WAY)

    @property
    def is_streaming(self) -> bool:
        return bool(self.request.flags & (FLAG_STREAM_IN | FLAG_STREAM_OUT))


class CalleeCalls:
    """Reactions to the caller's frames, and the answers to them."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._calls: dict[int, Answering] = {}
        self._one_way: set[int] = set()
        #: Calls in the table that get an answer, that stream, whose REQUEST is not whole.
        self._awaited = self._streams = self._assembling = 0
        #: Calls whose RESPONSE is on its way out.
        self._answered: set[int] = set()
        #: Highest REQUEST id seen; ids above it are new.
        self.highest_seen = 0
        #: The same, except calls discarded after GOAWAY FINAL.
        self.highest_started = 0
        #: last_id of the GOAWAY FINAL we sent.
        self.last_id: int | None = None
        #: Refused calls whose RESPONSE waits for credit.
        self._refused: set[int] = set()

    def __len__(self) -> int:
        return len(self._calls)

    def __contains__(self, call_id: int) -> bool:
        return call_id in self._calls

    def state(self, call_id: int) -> str:
        """Return the name of a call's column in the state table."""
        if call_id > self.highest_seen:
            return "new"
        return self._calls[call_id].state.value if call_id in self._calls else "gone"

    def receive_request(self, request: Request, size: int) -> None:
        """Start a call, refuse it or discard it."""
        link = self._link
        if request.id <= self.highest_seen:
            raise broken(f"REQUEST with id {request.id}, {self.highest_seen} came before")
        if not link.most_calls:
            raise broken("REQUEST to a side that serves no calls")
        self.highest_seen = request.id
        if self.last_id is not None and request.id > self.last_id:
            link.discard(Kind.REQUEST, request.id, size)
            return
        self.highest_started = request.id
        status = self._crowded(request)
        if status:
            self._refuse(request, status, is_faulty=self._is_greedy(request))
            return
        status = self._unfit(request)
        if status:
            self._refuse(request, status, is_faulty=True)
            return
        if request.total is not None:
            self._assemble(request)
        else:
            self._begin(self._new_call(request), request.payload)

    def receive_data(self, piece: Data, size: int) -> None:
        """Take a message or a piece of one."""
        call = self._find(piece.id, Kind.DATA)
        if call is None or call.state is CalleeState.CANCELLED:
            self._link.discard(Kind.DATA, piece.id, size)
        elif call.state is CalleeState.ASSEMBLING:
            self._continue_request(call, piece)
        elif call.state is CalleeState.ENDED:
            raise broken(f"DATA on call {piece.id}, whose input ended")
        else:
            self._receive_message(call, piece)

    def receive_end(self, end: End) -> None:
        """Note that the caller sends nothing more."""
        call = self._find(end.id, Kind.END)
        if call is None or call.state is CalleeState.CANCELLED:
            self._link.discard(Kind.END, end.id)
        elif call.state is not CalleeState.OPEN or call.received.assembly is not None:
            raise broken(f"END on call {end.id} in state {call.state.value}, or inside a message")
        else:
            call.state = CalleeState.ENDED
            self._link.emit("end", end.id)

    def receive_cancel(self, cancel: Cancel) -> None:
        """Tell the handler, or drop the call when it did not start."""
        call = self._find(cancel.id, Kind.CANCEL)
        if call is None or call.state is CalleeState.CANCELLED:
            self._link.discard(Kind.CANCEL, cancel.id)
            return
        idle = self._link.idle
        if cancel.reason != CANCEL_DEADLINE or not idle.has_passed(call.came_at, call.request.timeout_us):
            idle.take()
        if call.state is CalleeState.ASSEMBLING:
            self._refuse(call.request, CANCELLED)
        else:
            call.state = CalleeState.CANCELLED
            call.received.close()
            self._end_answer(cancel.id)
            self._link.emit("cancel", cancel.id, cancel.reason)

    def receive_credit(self, credit: Credit) -> None:
        """Raise the window for our messages on a call."""
        call = self._find(credit.id, Kind.CREDIT)
        if call is None or call.state is CalleeState.CANCELLED:
            self._link.discard(Kind.CREDIT, credit.id)
        else:
            call.sent.lift(credit.size)
            self._link.emit("credit", credit.id, credit.size)

    def send_head(self, call_id: int, metadata: bytes = b"") -> None:
        """Commit an answering stream."""
        self._link.outbox.queue(Head(call_id, metadata))

    def send(self, message: Data) -> None:
        """Send one message of a stream, in pieces where the windows ask for it."""
        self._link.outbox.queue(message, self._calls[message.id].sent)

    def respond(self, response: Response) -> None:
        """Give the final answer; an error replaces all unsent frames of the call."""
        if self._calls[response.id].state is CalleeState.CANCELLED:
            response = unwanted(response, is_begun=False)
        if response.status:
            self._link.outbox.drop(response.id)
        self._link.outbox.queue(response)
        self._answered.add(response.id)
        self.settle()

    def settle(self) -> None:
        """Let go of the calls whose RESPONSE has wholly left."""
        for call_id in [one for one in self._answered if not self._link.outbox.unsent(one)]:
            self._answered.discard(call_id)
            if self._calls[call_id].state is not CalleeState.CANCELLED:
                self._link.idle.answered()
            self._end(call_id)

    def take_message(self, call_id: int) -> None:
        """Let the application take the oldest message of a stream."""
        call = self._calls.get(call_id)
        if call is not None and call.state is not CalleeState.CANCELLED:
            call.received.take_message(is_open=call.state is CalleeState.OPEN)

    def wait_for_message(self, call_id: int) -> None:
        """Let the application wait for a message of a stream that has none."""
        call = self._calls.get(call_id)
        if call is not None:
            call.received.wait_for_message(is_open=call.state is CalleeState.OPEN)

    def finish_one_way(self, call_id: int) -> None:
        """Note that the handler of a ONE_WAY call ended."""
        self._one_way.discard(call_id)

    def _end_answer(self, call_id: int) -> None:
        """End an answer that nobody wants any more by a whole RESPONSE."""
        dropped = self._link.outbox.drop_answer(call_id)
        if dropped is not None:
            response, is_begun = dropped
            self._link.outbox.queue(unwanted(response, is_begun=is_begun))

    def _find(self, call_id: int, kind: Kind) -> Answering | None:
        if call_id > self.highest_seen:
            raise broken(f"{kind.name} on call {call_id}, which was never opened")
        return self._calls.get(call_id)

    def _crowded(self, request: Request) -> int:
        """Return the status that refuses a call for which there is no place, 0 where there is one."""
        limit = self._link.limit
        is_streaming = request.flags & (FLAG_STREAM_IN | FLAG_STREAM_OUT)
        running = len(self._one_way) if request.flags & FLAG_ONE_WAY else self._awaited
        if running >= limit(Setting.MAX_CALLS):
            return RESOURCE_EXHAUSTED
        if is_streaming and self._streams >= limit(Setting.MAX_STREAMS):
            return RESOURCE_EXHAUSTED
        return 0

    def _is_greedy(self, request: Request) -> bool:
        """Say whether the caller of a refused call could know that there is no place for it."""
        if request.flags & FLAG_ONE_WAY:
            return False
        generous = self._link.ours.most_generous
        if self._awaited >= self._link.limit(Setting.MAX_CALLS):
            return self._awaited >= generous(Setting.MAX_CALLS)
        return self._streams >= generous(Setting.MAX_STREAMS)

    def _unfit(self, request: Request) -> int:
        """Return the status that refuses an invalid call, 0 to let it start."""
        limit = self._link.limit
        problem = metadata_problem(request.metadata, limit(Setting.MAX_METADATA))
        if problem:
            return RESOURCE_EXHAUSTED if problem == "over" else INVALID_ARGUMENT
        size = len(request.payload) if request.total is None else request.total
        return RESOURCE_EXHAUSTED if size > limit(Setting.MAX_MESSAGE) else 0

    def _refuse(self, request: Request, status: int, *, is_faulty: bool = False) -> None:
        link = self._link
        if request.flags & FLAG_ONE_WAY:
            link.emit("dropped", request.id)
        else:
            link.emit("refused", request.id, status)
            link.outbox.queue(Response(request.id, status, outcome=NOT_STARTED))
            self._note_refusal(request.id)
        # Gone at once, though its RESPONSE may wait for credit.
        if request.id in self._calls:
            self._end(request.id)
        else:
            has_input = request.total is not None or bool(request.flags & FLAG_STREAM_IN)
            link.call_ended(cut_short=has_input)
        if is_faulty:
            link.idle.take()

    def _note_refusal(self, call_id: int) -> None:
        """Bound the answers that wait although their calls are gone."""
        self._refused.add(call_id)
        self._refused = {one for one in self._refused if self._link.outbox.unsent(one)}
        if len(self._refused) > WAITING_REFUSALS + self._link.most_calls:
            raise WireError(Reason.CALM_DOWN, f"{len(self._refused)} refusals wait for credit")

    def _assemble(self, request: Request) -> None:
        if self._assembling >= self._link.open_messages:
            raise broken(f"more than {self._assembling} unfinished REQUESTs")
        call = self._new_call(request)
        assert request.total is not None
        call.assembly = Assembly(request.total, request.payload)
        self._assembling += 1

    def _new_call(self, request: Request) -> Answering:
        link = self._link
        received = link.receive_window(request.id, opened_by_peer=True)
        call = Answering(request, CalleeState.ASSEMBLING, received, link.send_window(), link.clock())
        self._calls[request.id] = call
        self._streams += call.is_streaming
        if call.is_one_way:
            self._one_way.add(request.id)
        else:
            self._awaited += 1
        return call

    def _continue_request(self, call: Answering, piece: Data) -> None:
        assert call.assembly is not None
        if not piece.cont:
            raise broken(f"DATA on call {piece.id}, whose REQUEST is not whole")
        self._link.continued(piece)
        if call.assembly.add(piece):
            payload = bytes(call.assembly.payload)
            call.assembly = None
            self._assembling -= 1
            self._begin(call, payload)

    def _begin(self, call: Answering, payload: bytes) -> None:
        request = call.request
        self._link.emit(
            "request",
            request.id,
            request.method,
            request.flags,
            request.codec,
            request.compressor,
            request.attempt,
            request.priority,
            request.timeout_us,
            request.names,
            request.metadata,
            payload,
        )
        if call.is_one_way:
            del self._calls[request.id]
            self._link.call_ended(cut_short=False)
        else:
            takes_input = request.flags & FLAG_STREAM_IN
            call.state = CalleeState.OPEN if takes_input else CalleeState.ENDED

    def _receive_message(self, call: Answering, piece: Data) -> None:
        received, link = call.received, self._link
        if piece.cont != (received.assembly is not None):
            raise broken(f"DATA on call {piece.id} out of its place in a message")
        received.receive(piece)
        if piece.cont:
            link.continued(piece)
        size = len(piece.payload) if piece.total is None else piece.total
        if not piece.cont and size > link.stream_message_limit:
            self._fail(piece.id, RESOURCE_EXHAUSTED)
            return
        message = received.assemble(piece)
        if message is not None:
            link.emit("data", piece.id, *message)

    def _fail(self, call_id: int, status: int) -> None:
        """Answer a call whose handler runs, because its peer went over a limit."""
        link = self._link
        link.emit("failed", call_id, status)
        link.outbox.drop(call_id)
        link.outbox.queue(Response(call_id, status))
        self._answered.discard(call_id)
        self._end(call_id)
        self._note_refusal(call_id)

    def _end(self, call_id: int) -> None:
        call = self._calls.pop(call_id)
        self._one_way.discard(call_id)
        self._awaited -= not call.is_one_way
        self._streams -= call.is_streaming
        self._assembling -= call.state is CalleeState.ASSEMBLING
        call.received.close()
        has_input = call.state in (CalleeState.ASSEMBLING, CalleeState.OPEN)
        self._link.call_ended(cut_short=has_input)


def unwanted(response: Response, *, is_begun: bool) -> Response:
    """Return the reduced answer once its caller has cancelled: no value, details or metadata."""
    status = CANCELLED if is_begun else response.status or CANCELLED
    return Response(response.id, status, outcome=response.outcome)
