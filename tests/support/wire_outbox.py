"""The waiting frames: control frames leave at once, messages as the windows allow."""

import dataclasses
from dataclasses import dataclass

from tests.support.wire_frames import Cancel, Data, End, Head, Request, Response
from tests.support.wire_layout import FLOOR_WINDOW, HEADER
from tests.support.wire_windows import SendWindow

__all__ = ["Outbox"]

TOTAL_BYTES = 8
#: Rather than send less than this in the middle of a message it waits for credit; any length would be legal.
SHORTEST_MIDDLE_PIECE = 1_024

Message = Request | Response | Data


@dataclass(slots=True)
class Waiting:
    """A message, or END, that is not wholly sent."""

    frame: Message | Head | End
    window: SendWindow | None
    #: Payload bytes that left already; None before the first piece.
    sent: int | None = None
    #: Whether its next frame waited for the window of its stream.
    has_waited: bool = False

    @property
    def is_begun(self) -> bool:
        return self.sent is not None


class Outbox:
    """Bytes for the transport, and the messages that wait for credit.

    Frames of one id keep their order; ids take turns in the order in which they came.
    """

    def __init__(self) -> None:
        self._ready: list[bytes] = []
        self._waiting: dict[int, list[Waiting]] = {}
        self.window = SendWindow(FLOOR_WINDOW)
        self.max_frame = FLOOR_WINDOW
        self.open_messages = 1
        #: Frames that count on the connection window: the peer's CREDIT budget goes by them.
        self.frames_sent = 0

    def take(self) -> bytes:
        """Return all bytes that may leave now."""
        self.flush()
        ready, self._ready = b"".join(self._ready), []
        return ready

    def control(self, encoded: bytes) -> None:
        """Send a frame that needs no credit, ahead of all that waits."""
        self._ready.append(encoded)

    def queue(self, frame: Message | Head | End, window: SendWindow | None = None) -> None:
        """Send a frame after the frames of its id; DATA of a stream is also held by its `window`."""
        self._waiting.setdefault(frame.id, []).append(Waiting(frame, window))
        self.flush()

    def cancel(self, frame: Cancel) -> bool:
        """Drop the waiting frames of an id and send CANCEL; False if its REQUEST never began."""
        waiting = self._waiting.pop(frame.id, [])
        if waiting and is_new_request(waiting[0]):
            return False
        self.control(frame.encode())
        return True

    def drop(self, call_id: int) -> None:
        """Forget the waiting frames of an id."""
        self._waiting.pop(call_id, None)

    def drop_answer(self, call_id: int) -> tuple[Response, bool] | None:
        """Forget all that waits for an id; return its RESPONSE and whether a piece of it left, if it has one."""
        queue = self._waiting.pop(call_id, [])
        if queue and isinstance(queue[-1].frame, Response):
            return queue[-1].frame, queue[-1].is_begun
        return None

    def unsent(self, call_id: int) -> int:
        """Return how many messages of an id wait, wholly or in part."""
        return len(self._waiting.get(call_id, ()))

    def has_begun(self, call_id: int) -> bool:
        """Say whether the first frame of a call that we opened is on the wire."""
        queue = self._waiting.get(call_id)
        return queue is None or not is_new_request(queue[0])

    def flush(self) -> None:
        """Turn waiting frames into bytes until the windows are used up."""
        moved = True
        while moved:
            moved = False
            for call_id in list(self._waiting):
                moved = self._send_next(call_id) or moved

    def _send_next(self, call_id: int) -> bool:
        queue = self._waiting[call_id]
        entry = queue[0]
        if is_new_request(entry) and call_id != self._lowest_new_request():
            return False
        if isinstance(entry.frame, End):
            self._ready.append(entry.frame.encode())
            is_done = True
        else:
            piece = self._next_piece(entry)
            if piece is None:
                entry.has_waited = entry.has_waited or self._is_held_by_stream(entry)
                return False
            if isinstance(piece, Data) and entry.window is not None:
                piece = dataclasses.replace(piece, waited=entry.has_waited)
                entry.has_waited = False
            self._send_counted(piece.encode(), entry, piece)
            is_done = is_last(piece)
        if is_done:
            queue.pop(0)
            if not queue:
                del self._waiting[call_id]
        return True

    def _send_counted(self, encoded: bytes, entry: Waiting, piece: Message | Head) -> None:
        self.window.left -= len(encoded)
        self.frames_sent += 1
        if entry.window is not None and isinstance(piece, Data):
            entry.window.left -= piece.stream_cost
        self._ready.append(encoded)

    def _next_piece(self, entry: Waiting) -> Message | Head | None:
        """Return the next frame of a message, or None while there is no room for it."""
        frame = entry.frame
        assert not isinstance(frame, End)
        if entry.is_begun:
            assert not isinstance(frame, Head)
            return self._continuation(entry, frame)
        body = len(frame.encode()) - HEADER.size
        room = self._room(entry)
        if body <= room:
            return frame
        if isinstance(frame, Head) or not self._may_cut(entry):
            return None
        first = room - (body - len(frame.payload)) - TOTAL_BYTES
        if first < 0:
            return None
        entry.sent = first
        total = len(frame.payload)
        if isinstance(frame, Data):
            return dataclasses.replace(frame, payload=frame.payload[:first], total=total, more=True)
        return dataclasses.replace(frame, payload=frame.payload[:first], total=total)

    def _continuation(self, entry: Waiting, frame: Message) -> Data | None:
        assert entry.sent is not None
        remaining = len(frame.payload) - entry.sent
        room = min(self.max_frame, self.window.left - HEADER.size)
        if entry.window is not None:
            room = min(room, entry.window.left)
        size = min(remaining, room)
        if size < remaining and size < SHORTEST_MIDDLE_PIECE:
            return None
        start = entry.sent
        entry.sent += size
        payload = frame.payload[start : start + size]
        return Data(frame.id, payload, more=size < remaining, cont=True)

    def _lowest_new_request(self) -> int:
        """Return the id that must appear first on the wire, because ids rise."""
        return min(call_id for call_id, queue in self._waiting.items() if is_new_request(queue[0]))

    def _room(self, entry: Waiting) -> int:
        """Return how large a body may be now."""
        room = min(self.max_frame, self.window.left - HEADER.size)
        if entry.window is not None:
            room = min(room, entry.window.left - HEADER.size)
        return room

    def _is_held_by_stream(self, entry: Waiting) -> bool:
        """Say whether it is the window of its stream that has no room."""
        return entry.window is not None and entry.window.left <= self.window.left

    def _may_cut(self, entry: Waiting) -> bool:
        """Say whether one more message may be in pieces; messages of streams do not count."""
        kind = type(entry.frame)
        if kind is Data:
            return True
        begun = [queue[0] for queue in self._waiting.values() if queue[0].is_begun]
        return sum(type(other.frame) is kind for other in begun) < self.open_messages


def is_new_request(entry: Waiting) -> bool:
    """Say whether nothing of a call is on the wire yet."""
    return isinstance(entry.frame, Request) and not entry.is_begun


def is_last(piece: Message | Head) -> bool:
    """Say whether a message is whole with this frame."""
    if isinstance(piece, Head):
        return True
    return piece.total is None and not (isinstance(piece, Data) and piece.more)
