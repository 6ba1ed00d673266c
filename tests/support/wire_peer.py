"""One side of a connection: opening, connection frames, and the two call tables."""

from collections import deque
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from tests.support.wire_budgets import REFILL_FRAMES, Bucket, PingBudget
from tests.support.wire_callee import CalleeCalls
from tests.support.wire_caller import CallerCalls
from tests.support.wire_frames import (
    Auth,
    Cancel,
    Credit,
    Data,
    End,
    Frame,
    Goaway,
    Head,
    Ping,
    Request,
    Response,
    SettingsFrame,
    Skipped,
    Verdict,
)
from tests.support.wire_layout import (
    CONNECTION_WINDOW,
    FLOOR_WINDOW,
    HEADER,
    HIGHEST_ID,
    VERSION,
    Reason,
    WireError,
    is_client_id,
)
from tests.support.wire_link import Event, Link, broken
from tests.support.wire_parser import Parser, Preface
from tests.support.wire_settings import Setting, decode_settings, encode_settings, usual
from tests.support.wire_windows import StreamPool

__all__ = ["ReferencePeer"]

UNIMPLEMENTED = 12
PING_ANSWERS = 1_000
DRAINS = 2


class ReferencePeer:
    """A client or server that reacts to every frame as PROTOCOL.md says.

    Bytes go in by `receive`, which returns events (plain tuples, listed in `wire_reference`); bytes come
    out by `take_output`. After an error the last event is ("error", reason) and nothing more is parsed.
    """

    def __init__(
        self,
        is_server: bool,
        settings: Mapping[int, Any] | None = None,
        *,
        clock: Callable[[], float] = lambda: 0.0,
        first_call_id: int | None = None,
        window: int = CONNECTION_WINDOW,
        stream_pool: int = 32 * 1024 * 1024,
    ) -> None:
        values = usual(is_server) | dict(settings or {})
        self._window = max(window, values[Setting.MAX_FRAME] + HEADER.size)
        pool = StreamPool(stream_pool, values[Setting.MAX_MESSAGE])
        self._link = Link(is_server, self._window, pool, clock)
        self._first_settings = values
        self._parser = Parser(is_server)
        self.callee = CalleeCalls(self._link)
        self.caller = CallerCalls(self._link)
        self._budgets = {
            "SETTINGS": Bucket("SETTINGS", 32, Fraction(32, 60), clock),
            "AUTH": Bucket("AUTH", 10, Fraction(10, 60), clock),
            "skipped": Bucket("unknown frames", 1_000, REFILL_FRAMES, clock),
        }
        self._pings = PingBudget(clock)
        self._owed = 0
        self._unanswered_pings: deque[bytes] = deque()
        self._pings_sent = 0
        #: The PING after GOAWAY step 1, counted from the oldest; 0: none.
        self._drain_ping = 0
        self._is_output_blocked = False
        self._unsent_ping_answers = 0
        self._drains_received = 0
        self._peer_last_id: int | None = None
        self._peer_is_final = False
        self._awaits_verdict = False
        self._settings_received = False
        parity = 0 if is_server else 1
        self._next_id = first_call_id if first_call_id is not None else (parity or 2)
        self.error: Reason | None = None
        #: No more bytes are looked at: an error here, or an error GOAWAY from the peer.
        self.is_over = False
        if not is_server:
            self._open()

    @property
    def consumed(self) -> int:
        """Bytes of good frames so far."""
        return self._parser.consumed

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes from the peer and return their events."""
        events: list[Event] = []
        self._link.events = events
        if not self.is_over:
            self._parser.feed(data)
        try:
            while not self.is_over and (frame := self._parser.next_frame()) is not None:
                self._react(frame)
        except WireError as error:
            self._fail(error)
        return events

    def take_output(self) -> bytes:
        """Return the bytes that the peer should get."""
        return b"" if self._is_output_blocked else self._link.outbox.take()

    def block_output(self) -> None:
        """Pretend that the transport takes nothing."""
        self._is_output_blocked = True

    def unblock_output(self) -> None:
        """Let the transport take bytes again."""
        self._is_output_blocked = False
        self._unsent_ping_answers = 0

    def open_call(self, method: bytes, payload: bytes = b"", *, flags: int = 0, **fields: Any) -> int:
        """Send a REQUEST and return its id."""
        call_id = self._next_id
        self._next_id += 2
        self.caller.open(Request(call_id, method, payload, flags=flags, **fields))
        return call_id

    def announce(self, values: Mapping[int, Any]) -> None:
        """Send SETTINGS."""
        self._link.outbox.control(SettingsFrame(encode_settings(values)).encode())
        self._link.ours.announce(values)
        self._link.idle.widen(self._link.most_calls)
        self._parser.max_frame = self._link.ours.most_generous(Setting.MAX_FRAME)

    def ping(self, content: bytes = bytes(8)) -> None:
        """Send a PING."""
        self._pings_sent += 1
        self._unanswered_pings.append(content)
        self._link.outbox.control(Ping(content).encode())

    def authenticate(self, scheme: bytes, data: bytes = b"", round: int = 0) -> None:
        """Send a credential."""
        self._awaits_verdict = True
        self._link.outbox.control(Auth(scheme, data, round).encode())

    def start_drain(self) -> None:
        """Send GOAWAY step 1 and the PING after it, whose answer leads to step 2."""
        self._link.outbox.control(Goaway(HIGHEST_ID).encode())
        self.ping(self._pings_sent.to_bytes(8, "little"))
        self._drain_ping = len(self._unanswered_pings)

    def finish_drain(self, reason: Reason = Reason.DRAIN) -> None:
        """Send GOAWAY step 2 with the true last id, once."""
        self._drain_ping = 0
        if self.callee.last_id is not None:
            return
        self.callee.last_id = self.callee.highest_started
        self._link.outbox.control(Goaway(self.callee.last_id, reason, final=True).encode())
        self._link.late.cut_short()

    def _open(self) -> None:
        self._link.outbox.control(Preface(VERSION, VERSION).encode())
        self.announce(self._first_settings)
        self._parser.window_left += self._window - FLOOR_WINDOW
        self._link.outbox.control(Credit(0, self._window - FLOOR_WINDOW).encode())

    def _fail(self, error: WireError) -> None:
        self.error = error.reason
        self.is_over = True
        self._link.emit("error", int(error.reason))
        if error.announced:
            last_id = self.callee.highest_started
            text = error.text.encode()[:1_024]
            self._link.outbox.control(Goaway(last_id, error.reason, True, 0, text).encode())

    def _react(self, frame: Preface | Frame) -> None:
        match frame:
            case Preface():
                self._receive_preface(frame)
            case Skipped():
                self._budgets["skipped"].take()
                self._link.emit("skipped", frame.kind)
            case Request() | Response() | Head() | Data():
                self._receive_counted(frame, self._parser.last_size)
            case End():
                self.callee.receive_end(frame)
            case Cancel():
                self.callee.receive_cancel(frame)
            case Credit():
                self._receive_credit(frame)
            case SettingsFrame():
                self._receive_settings(frame)
            case Ping():
                self._receive_ping(frame)
            case Goaway():
                self._receive_goaway(frame)
            case Auth() | Verdict():
                self._receive_auth(frame)
        self.callee.settle()

    def _receive_preface(self, preface: Preface) -> None:
        if self._link.is_server:
            speaks = 0 < preface.lowest <= VERSION <= preface.highest
            if not speaks or preface.features:
                self._link.outbox.control(Preface(0, VERSION).encode())
                raise WireError(Reason.PROTOCOL, "no version in common", announced=False)
            self._open()
        elif preface.lowest != VERSION or preface.highest < VERSION or preface.features:
            raise WireError(Reason.PROTOCOL, "no version in common", announced=False)
        self._link.emit("preface", VERSION)

    def _receive_counted(self, frame: Request | Response | Head | Data, size: int) -> None:
        match frame:
            case Request():
                self.callee.receive_request(frame, size)
            case Response():
                self.caller.receive_response(frame)
            case Head():
                self.caller.receive_head(frame, size)
            case Data():
                self._table(frame.id).receive_data(frame, size)
        self._owed += size
        if self._owed >= self._window / 2:
            self._link.outbox.control(Credit(0, self._owed).encode())
            self._parser.window_left += self._owed
            self._owed = 0

    def _table(self, call_id: int) -> CalleeCalls | CallerCalls:
        """Return the table of a call: the ids of the peer's calls have its parity."""
        opened_by_peer = is_client_id(call_id) == self._link.is_server
        return self.callee if opened_by_peer else self.caller

    def _receive_credit(self, credit: Credit) -> None:
        link = self._link
        link.credit_budget.frames_sent = link.outbox.frames_sent
        link.credit_budget.take()
        if credit.size == 0:
            raise WireError(Reason.CREDIT, "CREDIT of 0 bytes")
        if credit.id:
            self._table(credit.id).receive_credit(credit)
        else:
            link.outbox.window.lift(credit.size)
            link.emit("credit", 0, credit.size)
        link.outbox.flush()

    def _receive_settings(self, frame: SettingsFrame) -> None:
        link = self._link
        if frame.ack:
            link.ours.acknowledge()
            self._parser.max_frame = link.ours.most_generous(Setting.MAX_FRAME)
            link.emit("settings_ack")
            return
        self._budgets["SETTINGS"].take()
        values = decode_settings(frame.body, is_first=not self._settings_received)
        self._settings_received = True
        link.theirs.newest |= dict(values)
        link.outbox.max_frame = link.theirs.newest[Setting.MAX_FRAME]
        link.outbox.open_messages = link.theirs.newest[Setting.OPEN_MESSAGES]
        link.outbox.control(SettingsFrame(ack=True).encode())
        self.caller.settle_windows()
        link.emit("settings", values)

    def _receive_ping(self, ping: Ping) -> None:
        if ping.ack:
            if not self._unanswered_pings or self._unanswered_pings[0] != ping.content:
                raise broken("a PING ACK that answers no PING")
            self._unanswered_pings.popleft()
            self._link.emit("pong", ping.content)
            if self._drain_ping:
                self._drain_ping -= 1
                if not self._drain_ping:
                    self.finish_drain()
            return
        self._pings.take(self._link.ours.shortest_ping_ms())
        if self._is_output_blocked:
            self._unsent_ping_answers += 1
            if self._unsent_ping_answers > PING_ANSWERS:
                raise WireError(Reason.CALM_DOWN, f"more than {PING_ANSWERS} PING answers wait")
        self._link.outbox.control(Ping(ping.content, ack=True).encode())
        self._link.emit("ping", ping.content)

    def _receive_goaway(self, goaway: Goaway) -> None:
        is_drain = goaway.reason in (Reason.DRAIN, Reason.MAX_AGE)
        if is_drain:
            self._check_drain(goaway)
        self._link.emit(
            "goaway", goaway.last_id, goaway.reason, goaway.final, goaway.retry_after_ms, goaway.text
        )
        self._peer_last_id = goaway.last_id
        self._peer_is_final = goaway.final
        self.is_over = not is_drain
        if goaway.final or not is_drain:
            self.caller.start_end(goaway.last_id)

    def _check_drain(self, goaway: Goaway) -> None:
        if self._peer_is_final:
            raise broken("GOAWAY behind a final one")
        self._drains_received += 1
        if self._drains_received > DRAINS:
            raise WireError(Reason.CALM_DOWN, f"more than {DRAINS} GOAWAY frames")
        if self._peer_last_id is not None and goaway.last_id > self._peer_last_id:
            raise broken(f"GOAWAY last_id rises from {self._peer_last_id} to {goaway.last_id}")

    def _receive_auth(self, frame: Auth | Verdict) -> None:
        link = self._link
        self._budgets["AUTH"].take()
        if link.is_server:
            if isinstance(frame, Verdict):
                raise broken("a verdict from the client")
            link.emit("auth", frame.round, frame.scheme, frame.data)
            link.outbox.control(Verdict(UNIMPLEMENTED, b"authentication is not configured").encode())
            return
        if not self._awaits_verdict:
            raise broken("AUTH from the server that answers none")
        if isinstance(frame, Verdict):
            self._awaits_verdict = False
            link.emit("verdict", frame.status, frame.valid_seconds, frame.message)
        else:
            link.emit("challenge", frame.round, frame.scheme, frame.data)
