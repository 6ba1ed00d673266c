"""The caller's state table, PROTOCOL.md section 8: calls that we opened."""

import enum
from dataclasses import dataclass

from tests.support.wire_frames import Cancel, Credit, Data, End, Head, Request, Response
from tests.support.wire_layout import FLAG_ONE_WAY, FLAG_STREAM_OUT, Kind
from tests.support.wire_link import Link, broken
from tests.support.wire_metadata import metadata_problem
from tests.support.wire_settings import Setting
from tests.support.wire_windows import Assembly, ReceiveWindow, SendWindow

__all__ = ["CallerCalls", "CallerState"]

RESOURCE_EXHAUSTED, INTERNAL = 8, 13
CANCEL_DECODE, CANCEL_LOCAL_LIMIT = 3, 4


class CallerState(enum.Enum):
    """Where a call stands; one never opened and one that is gone have no record."""

    WAITING = "waiting"
    STREAMING = "streaming"
    ANSWERING = "answering"
    CANCELLED = "cancelled"


@dataclass(eq=False, slots=True)
class Calling:
    """A call in the caller's table."""

    request: Request
    received: ReceiveWindow
    sent: SendWindow
    state: CallerState = CallerState.WAITING
    #: The first piece of a cut RESPONSE, and its payload so far.
    answer: Response | None = None
    assembly: Assembly | None = None

    @property
    def expects_stream(self) -> bool:
        return bool(self.request.flags & FLAG_STREAM_OUT)


class CallerCalls:
    """Reactions to the callee's frames, and the calls themselves."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._calls: dict[int, Calling] = {}

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def ids(self) -> list[int]:
        """Calls in the table."""
        return list(self._calls)

    def state(self, call_id: int) -> str:
        """Return the name of a call's column in the state table."""
        return self._calls[call_id].state.value if call_id in self._calls else "gone"

    def open(self, request: Request) -> None:
        """Send a REQUEST; a ONE_WAY call is gone from the start."""
        if not request.flags & FLAG_ONE_WAY:
            received = self._link.receive_window(request.id, opened_by_peer=False)
            self._calls[request.id] = Calling(request, received, self._link.send_window())
        self._link.outbox.queue(request)

    def send(self, message: Data) -> None:
        """Send one message of a stream."""
        self._link.outbox.queue(message, self._calls[message.id].sent)

    def end(self, call_id: int) -> None:
        """Send nothing more on a stream."""
        self._link.outbox.queue(End(call_id))

    def cancel(self, call_id: int, reason: int = 0) -> None:
        """Give a call up; it keeps its place until the RESPONSE."""
        call = self._calls.get(call_id)
        if call is None or call.state is CallerState.CANCELLED:
            return
        call.received.close()
        call.assembly = None
        if self._link.outbox.cancel(Cancel(call_id, reason)):
            call.state = CallerState.CANCELLED
            self._link.call_ended(cut_short=True)
        else:
            del self._calls[call_id]

    def take_message(self, call_id: int) -> None:
        """Let the application take the oldest message of a stream."""
        call = self._calls.get(call_id)
        if call is not None and call.state is not CallerState.CANCELLED:
            call.received.take_message()

    def settle_windows(self) -> None:
        """Note that the first SETTINGS are acknowledged: a REQUEST that waited comes afterwards."""
        for call_id, call in self._calls.items():
            if not self._link.outbox.has_begun(call_id):
                call.sent.left = self._link.send_window().left

    def wait_for_message(self, call_id: int) -> None:
        """Let the application wait for a message of a stream that has none."""
        call = self._calls.get(call_id)
        if call is not None:
            call.received.wait_for_message(is_open=call.state is CallerState.STREAMING)

    def receive_head(self, head: Head, size: int) -> None:
        """Commit a stream."""
        call = self._find(head.id, Kind.HEAD)
        if call.state is CallerState.CANCELLED:
            self._link.discard(Kind.HEAD, head.id, size)
            return
        if call.state is not CallerState.WAITING or not call.expects_stream:
            raise broken(f"HEAD on call {head.id} in state {call.state.value}")
        call.state = CallerState.STREAMING
        if not self._check_metadata(call, head.metadata):
            self._link.emit("head", head.id, head.metadata)

    def receive_data(self, piece: Data, size: int) -> None:
        """Take a message, or a piece of one or of a RESPONSE."""
        call = self._find(piece.id, Kind.DATA)
        if call.state is CallerState.CANCELLED:
            self._link.discard(Kind.DATA, piece.id, size)
            if call.answer is not None and piece.cont and not piece.more:
                self._free(call)
        elif call.state is CallerState.ANSWERING:
            self._continue_answer(call, piece)
        elif call.expects_stream:
            self._receive_message(call, piece)
        else:
            raise broken(f"DATA on call {piece.id}, which expects none")

    def receive_credit(self, credit: Credit) -> None:
        """Raise the window for our messages on a call."""
        call = self._find(credit.id, Kind.CREDIT)
        if call.state in (CallerState.ANSWERING, CallerState.CANCELLED):
            self._link.emit("ignored", Kind.CREDIT.name, credit.id)
            return
        call.sent.lift(credit.size)
        self._link.emit("credit", credit.id, credit.size)

    def receive_response(self, response: Response) -> None:
        """Finish a call, or begin to assemble its answer."""
        call = self._find(response.id, Kind.RESPONSE)
        is_second = call.answer is not None
        if is_second and (response.status == 0 or response.total is not None):
            raise broken(f"a second RESPONSE on call {response.id}, not a whole error")
        if call.state is CallerState.CANCELLED:
            call.answer = response
            if response.total is None:
                self._free(call)
            return
        if response.status == 0 and call.received.assembly is not None:
            raise broken(f"RESPONSE OK on call {response.id} inside a message")
        if response.total is None:
            self._finish(call, response, response.payload)
        else:
            self._begin_answer(call, response)

    def start_end(self, last_id: int) -> None:
        """Let go of the calls that the peer's GOAWAY FINAL says it did not start."""
        for call_id in sorted(one for one in self._calls if one > last_id):
            self._remove(call_id)
            self._link.emit("not_started", call_id)

    def _find(self, call_id: int, kind: Kind) -> Calling:
        call = self._calls.get(call_id)
        if call is None or not self._link.outbox.has_begun(call_id):
            raise broken(f"{kind.name} on call {call_id}, which is gone or was never opened")
        return call

    def _receive_message(self, call: Calling, piece: Data) -> None:
        received, link = call.received, self._link
        if piece.cont != (received.assembly is not None):
            raise broken(f"DATA on call {piece.id} out of its place in a message")
        received.receive(piece)
        call.state = CallerState.STREAMING
        if piece.cont:
            link.continued(piece)
        size = len(piece.payload) if piece.total is None else piece.total
        if not piece.cont and size > link.stream_message_limit:
            self._fail(call, RESOURCE_EXHAUSTED, CANCEL_LOCAL_LIMIT)
            return
        message = received.assemble(piece)
        if message is not None:
            link.emit("data", piece.id, *message)

    def _begin_answer(self, call: Calling, response: Response) -> None:
        call.answer = response
        if self._check_metadata(call, response.metadata):
            return
        assert response.total is not None
        if response.total > self._link.limit(Setting.MAX_MESSAGE):
            self._fail(call, RESOURCE_EXHAUSTED, CANCEL_LOCAL_LIMIT)
            return
        answering = sum(other.state is CallerState.ANSWERING for other in self._calls.values())
        if answering >= self._link.open_messages:
            raise broken(f"more than {answering} unfinished RESPONSEs")
        call.state = CallerState.ANSWERING
        call.assembly = Assembly(response.total, response.payload)

    def _continue_answer(self, call: Calling, piece: Data) -> None:
        assert call.assembly is not None
        assert call.answer is not None
        if not piece.cont:
            raise broken(f"DATA on call {piece.id}, whose RESPONSE is not whole")
        self._link.continued(piece)
        if call.assembly.add(piece):
            self._finish(call, call.answer, bytes(call.assembly.payload))

    def _finish(self, call: Calling, response: Response, payload: bytes) -> None:
        link = self._link
        self._remove(response.id)
        problem = metadata_problem(response.metadata, link.limit(Setting.MAX_METADATA))
        if problem or len(payload) > link.limit(Setting.MAX_MESSAGE):
            status = INTERNAL if problem == "malformed" else RESOURCE_EXHAUSTED
            link.emit("failed", response.id, status)
            return
        link.emit(
            "response",
            response.id,
            response.status,
            response.outcome,
            response.message,
            response.metadata,
            response.pushback_ms,
            response.elapsed_us,
            response.codec,
            response.compressor,
            payload,
        )

    def _check_metadata(self, call: Calling, metadata: bytes) -> bool:
        """Fail a call whose metadata is beyond the limit or broken, and say whether it was."""
        problem = metadata_problem(metadata, self._link.limit(Setting.MAX_METADATA))
        if problem == "over":
            self._fail(call, RESOURCE_EXHAUSTED, CANCEL_LOCAL_LIMIT)
        elif problem:
            self._fail(call, INTERNAL, CANCEL_DECODE)
        return problem is not None

    def _fail(self, call: Calling, status: int, reason: int) -> None:
        self._link.emit("failed", call.request.id, status)
        self.cancel(call.request.id, reason)

    def _free(self, call: Calling) -> None:
        self._remove(call.request.id)
        self._link.emit("freed", call.request.id)

    def _remove(self, call_id: int) -> None:
        self._calls.pop(call_id).received.close()
        self._link.outbox.drop(call_id)
