"""The pure-Python reference of the wire, written from PROTOCOL.md alone: the oracle of differential tests.

Read in this order: `wire_layout` (numbers), `wire_frames` (one dataclass per frame), `wire_metadata`,
`wire_names`, `wire_settings`, `wire_parser` (bytes to checked frames), `wire_budgets`, `wire_windows`, `wire_outbox`,
`wire_link`, then the state tables `wire_callee` and `wire_caller`, joined by `wire_peer`.

Events of `ReferencePeer.receive`, plain tuples::

    ("preface", version)
    ("settings", ((name, value), …))         known settings in their order; lists are tuples
    ("settings_ack",)
    ("request", id, method, flags, codec, compressor, attempt, priority, timeout_us, names, metadata,
     payload)
                                             whole; flags are bits 4 to 7
    ("refused", id, status)                  by the connection, not started; RESPONSE with outcome 1 was sent
    ("dropped", id)                          a ONE_WAY call that is not run
    ("failed", id, status)                   by the connection: callee answered (outcome 0), caller gave up
    ("data", id, codec, compressor, payload) a whole message of a stream
    ("end", id)
    ("cancel", id, reason)
    ("head", id, metadata)
    ("response", id, status, outcome, message, metadata, pushback_ms, elapsed_us, codec, compressor, payload)
    ("freed", id)                            the RESPONSE of a cancelled call is over
    ("not_started", id)                      our call, above the peer's last id
    ("credit", id, bytes)                    id 0 is the connection
    ("discarded", kind, id)                  came too late; charged to the late budget
    ("ignored", kind, id)                    means nothing in this state
    ("skipped", kind)                        unknown kind, or TEST
    ("ping", content)   ("pong", content)
    ("goaway", last_id, reason, final, retry_after_ms, text)
    ("auth", round, scheme, data)   ("challenge", round, scheme, data)
    ("verdict", status, valid_seconds, message)
    ("error", reason)                        always the last one
"""

from tests.support.wire_frames import (
    Auth,
    Cancel,
    Credit,
    Data,
    End,
    Frame,
    Goaway,
    Head,
    Header,
    Ping,
    Request,
    Response,
    SettingsFrame,
    Skipped,
    Verdict,
    encode_frame,
)
from tests.support.wire_layout import (
    FLAG_ACK,
    FLAG_CONT,
    FLAG_FINAL,
    FLAG_IDEMPOTENT,
    FLAG_MORE,
    FLAG_ONE_WAY,
    FLAG_STREAM_IN,
    FLAG_STREAM_OUT,
    FLAG_SUM,
    Kind,
    Reason,
    WireError,
)
from tests.support.wire_link import Event
from tests.support.wire_metadata import decode_metadata, encode_metadata, metadata_problem
from tests.support.wire_parser import Parser, Preface
from tests.support.wire_peer import ReferencePeer
from tests.support.wire_settings import Setting, decode_settings, encode_settings, floor, usual

__all__ = [
    "FLAG_ACK",
    "FLAG_CONT",
    "FLAG_FINAL",
    "FLAG_IDEMPOTENT",
    "FLAG_MORE",
    "FLAG_ONE_WAY",
    "FLAG_STREAM_IN",
    "FLAG_STREAM_OUT",
    "FLAG_SUM",
    "Auth",
    "Cancel",
    "Credit",
    "Data",
    "End",
    "Event",
    "Frame",
    "Goaway",
    "Head",
    "Header",
    "Kind",
    "Parser",
    "Ping",
    "Preface",
    "Reason",
    "ReferencePeer",
    "Request",
    "Response",
    "Setting",
    "SettingsFrame",
    "Skipped",
    "Verdict",
    "WireError",
    "decode_metadata",
    "decode_settings",
    "encode_frame",
    "encode_metadata",
    "encode_settings",
    "floor",
    "metadata_problem",
    "usual",
]
