"""The client's side: native frames as frames of rpcx, and back."""

import pytest

from fastrpc import Status
from tests.support.frame_factory import cut
from tests.support.rpcx_link import TranslatedRpcx
from tests.support.rpcx_wire import JSON, MSGPACK, PROTOBUF, RAW, Frame, metadata_block
from tests.support.wire_frames import (
    Auth,
    Cancel,
    Credit,
    Data,
    Goaway,
    Ping,
    Request,
    Response,
    SettingsFrame,
    Verdict,
)
from tests.support.wire_layout import FLAG_ONE_WAY, FLAG_STREAM_OUT, FLOOR_WINDOW, NO_TIMEOUT
from tests.support.wire_metadata import encode_metadata
from tests.support.wire_parser import Preface

CODECS = {0: RAW, 1: MSGPACK, 2: JSON, 3: PROTOBUF}


def request(id: int = 1, payload: bytes = b"\x91\x01", **fields: object) -> Request:
    return Request(**{"id": id, "method": b"a.b.Arith.Mul", "payload": payload, "codec": 1, **fields})  # type: ignore[arg-type]


def opened(*requests: Request) -> tuple[TranslatedRpcx, list[Frame]]:
    """Return an open client that made calls, and the frames that it sent for them."""
    client = TranslatedRpcx()
    client.open()
    client.say(*requests)
    return client, client.sent()


def answer(frame: Frame, **fields: object) -> Frame:
    return Frame(**{"response": True, "sequence": frame.sequence, **fields})  # type: ignore[arg-type]


def test_the_connection_above_is_open_at_once_and_no_byte_goes_to_the_server() -> None:
    client = TranslatedRpcx()
    preface, settings, credit, ack = client.open()
    assert isinstance(preface, Preface)
    assert (settings.ack, credit, ack) == (
        False,
        Credit(0, (1 << 30) - FLOOR_WINDOW),
        SettingsFrame(ack=True),
    )
    assert client.sent() == []


@pytest.mark.parametrize(("codec", "serialize"), CODECS.items())
def test_a_request_has_its_names_its_type_and_its_payload(codec: int, serialize: int) -> None:
    _, [frame] = opened(request(codec=codec, timeout_us=2_500_999, metadata=encode_metadata([(b"k", b"v")])))
    assert frame == Frame(
        path="a.b.Arith",
        method="Mul",
        serialize=serialize,
        metadata={"__ServerTimeout": "2500", "k": "v"},
        payload=b"\x91\x01",
    )


@pytest.mark.parametrize("timeout", [0, NO_TIMEOUT])
def test_a_call_without_limit_tells_no_timeout(timeout: int) -> None:
    _, [frame] = opened(request(timeout_us=timeout))
    assert frame.metadata == {}


def test_sequences_count_calls_and_heartbeats_from_zero() -> None:
    client, frames = opened(request(1), Ping(b"12345678"), request(3, flags=FLAG_ONE_WAY), request(5))  # type: ignore[arg-type]
    assert [frame.sequence for frame in frames] == [0, 1, 2, 3]
    assert [frame.heartbeat for frame in frames] == [False, True, False, False]
    assert [frame.one_way for frame in frames] == [False, False, True, False]
    heard = client.hear(answer(frames[3]), answer(frames[1], heartbeat=True), answer(frames[0]))
    assert heard[0] == Ping(b"12345678", ack=True)
    assert [frame.id for frame in heard[1:]] == [5, 1]


def test_any_byte_of_the_server_answers_the_pings_in_their_order() -> None:
    client, [frame, _, _] = opened(request(), Ping(b"12345678"), Ping(b"abcdefgh"))  # type: ignore[arg-type]
    long = answer(frame, payload=bytes(100_000)).encode()
    assert client.hear(long[:1]) == [Ping(b"12345678", ack=True), Ping(b"abcdefgh", ack=True)]
    assert client.hear(long[1:-1]) == []
    assert {got.id for got in client.hear(long[-1:])} == {1}


def test_frames_that_no_call_awaits_are_dropped() -> None:
    client, [frame] = opened(request())
    push = Frame(path="Arith", method="Mul", sequence=frame.sequence, one_way=True)
    assert client.hear(push, answer(frame, sequence=99), answer(frame, sequence=2**64 - 1)) == []
    assert [got.id for got in client.hear(answer(frame), answer(frame))] == [1]


def test_a_cancelled_call_ends_at_once_and_its_late_answer_is_dropped() -> None:
    client, frames = opened(request(1), request(3))
    [ended] = client.say(Cancel(1))
    assert (ended.id, ended.status) == (1, Status.CANCELLED)
    assert (client.say(Cancel(1)), client.sent()) == ([], [])
    assert [got.id for got in client.hear(*map(answer, frames))] == [3]


def test_pieces_of_a_request_are_one_frame_and_pieces_of_a_cancelled_one_are_dropped() -> None:
    client, _ = opened()
    payload = bytes(range(256)) * 1_000
    first, *others = cut(request(1, payload), 50_000)
    other_first, *others_of_cancelled = cut(request(3, payload), 50_000)
    client.translation.send(first + other_first + Cancel(3).encode() + b"".join(others))
    client.translation.send(b"".join(others_of_cancelled))
    [frame] = client.sent()
    assert (frame.sequence, frame.payload) == (0, payload)
    assert [(got.id, got.status) for got in client.heard()] == [(3, Status.CANCELLED)]


@pytest.mark.parametrize("size", [1, 7, 16, 1_000])
def test_any_cut_from_above_sends_the_same(size: int) -> None:
    client = TranslatedRpcx()
    data = Preface().encode() + SettingsFrame().encode() + request(1).encode() + request(3).encode()
    for at in range(0, len(data), size):
        client.translation.send(data[at : at + size])
    assert [frame.sequence for frame in client.sent()] == [0, 1]


def test_the_token_of_the_connection_goes_with_each_call_unless_the_call_has_one() -> None:
    client, _ = opened()
    [verdict] = client.say(Auth(b"bearer", b"secret"))
    assert verdict == Verdict()
    own = encode_metadata([(b"authorization", b"Bearer other"), (b"k", b"v")])
    client.say(request(1), request(3, metadata=own))
    first, second = client.sent()
    assert (first.metadata, second.metadata) == ({"__AUTH": "secret"}, {"k": "v", "__AUTH": "other"})


def test_a_stream_is_unimplemented_and_no_byte_of_it_is_sent() -> None:
    client, _ = opened()
    [refused] = client.say(request(1, flags=FLAG_STREAM_OUT))
    assert (refused.status, refused.outcome) == (Status.UNIMPLEMENTED, 1)
    assert client.sent() == []


@pytest.mark.parametrize(
    ("fields", "text"),
    [({"serialize": number}, f"serialize type {number}") for number in (4, 15)]
    + [({"compress": number}, f"compressor {number}") for number in (2, 7)],
)
def test_an_answer_of_an_unknown_type_fails_its_call_alone(fields: dict[str, int], text: str) -> None:
    client, [first, second] = opened(request(1), request(3))
    failed, good = client.hear(answer(first, **fields), answer(second))
    assert (failed.id, failed.status) == (1, Status.INTERNAL)
    assert failed.message == f"the answer has the {text}, which is not known".encode()
    assert (good.id, good.status) == (3, Status.OK)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (None, Status.UNKNOWN),
        ("", Status.UNKNOWN),
        ("OK", Status.UNKNOWN),
        ("ok", Status.UNKNOWN),
        ("NOT_FOUND", Status.NOT_FOUND),
    ],
)
def test_an_error_is_never_taken_for_a_value(code: str | None, status: Status) -> None:
    client, [frame] = opened(request())
    told = {"__rpcx_error__": "boom"} | ({} if code is None else {"frpc-code": code})
    [failed] = client.hear(answer(frame, status=1, metadata=told, payload=b"\x01"))
    assert (failed.status, failed.message, failed.payload) == (status, b"boom", b"")


@pytest.mark.parametrize(
    ("text", "pause"),
    [("250", 250), ("never", 2**32 - 1), ("9" * 11, 2**32 - 3), ("-1", 0), ("x", 0), ("9" * 12, 0)],
)
def test_the_pause_of_an_error_is_a_number_or_never(text: str, pause: int) -> None:
    client, [frame] = opened(request())
    told = {
        "__rpcx_error__": "later",
        "frpc-code": "UNAVAILABLE",
        "frpc-retry-after-ms": text,
        "frpc-processed": "no",
    }
    [failed] = client.hear(answer(frame, status=1, metadata=told))
    assert (failed.pushback_ms, failed.outcome) == (pause, 1)


def test_a_refused_token_drains_the_connection_above() -> None:
    client, [frame] = opened(request())
    told = {"__rpcx_error__": "who?", "frpc-code": "UNAUTHENTICATED"}
    goaway, failed = client.hear(answer(frame, status=1, metadata=told))
    assert (goaway, failed.status) == (Goaway(2**63 - 1), Status.UNAUTHENTICATED)
    # Heartbeats would not be answered any more, while calls under way are.
    assert client.say(Ping(b"12345678")) == [Ping(b"12345678", ack=True)]
    assert client.sent() == []


def test_a_server_that_goes_drains_the_connection_above_once() -> None:
    client, [first, second, third] = opened(request(1), request(3), request(5))
    leaving = {"frpc-goaway": "1", "k": "v"}
    failed = {**leaving, "__rpcx_error__": "boom", "frpc-code": "UNAUTHENTICATED"}
    goaway, good = client.hear(answer(first, metadata=leaving))
    assert (goaway, good.status, good.metadata) == (
        Goaway(2**63 - 1),
        Status.OK,
        encode_metadata([(b"k", b"v")]),
    )
    again, bad = client.hear(answer(second, metadata=leaving), answer(third, status=1, metadata=failed))
    assert (again.status, bad.status) == (Status.OK, Status.UNAUTHENTICATED)


def test_a_long_text_of_an_error_is_cut_between_two_letters() -> None:
    client, [frame] = opened(request())
    [failed] = client.hear(answer(frame, status=1, metadata={"__rpcx_error__": "ö" * 5_000}))
    assert len(failed.message) <= 4_096
    assert failed.message.decode().endswith("ö…")


def test_answers_wait_for_credit_in_their_order() -> None:
    client = TranslatedRpcx()
    client.say(Preface(), SettingsFrame(), request(1), request(3))
    first, second = client.sent()
    heard = client.hear(answer(first, payload=bytes(100_000)), answer(second, payload=b"short"))
    assert [(type(frame), frame.id) for frame in heard] == [(Response, 1)]
    heard = client.say(Credit(0, 1_000_000))
    assert [(type(frame), frame.id) for frame in heard] == [(Data, 1), (Data, 1), (Response, 3)]
    assert sum(len(frame.payload) for frame in heard[:2]) == 100_000 - 49_152


def test_metadata_of_an_answer_above_the_size_of_a_native_frame_fails_the_call() -> None:
    client, [frame] = opened(request())
    entries = metadata_block([(f"k{number}", "x" * 1_000) for number in range(66)])
    data = answer(frame).encode()
    rest = bytes(8) + len(entries).to_bytes(4, "big") + entries + bytes(4)
    [failed] = client.hear(data[:12] + len(rest).to_bytes(4, "big") + rest)
    assert (failed.status, failed.message[:27]) == (Status.INTERNAL, b"the metadata of the answer ")


def test_a_frame_is_no_longer_than_the_connection_above_takes() -> None:
    client = TranslatedRpcx(frame_bytes=16_384)
    client.open()
    client.say(request(1), request(3))
    first, second = client.sent()
    client._parser.max_frame = 16_384
    entries = {f"k{number}": "x" * 1_000 for number in range(11)}
    pieces = client.hear(answer(first, metadata=entries, payload=bytes(40_000)))
    assert [type(piece) for piece in pieces] == [Response, Data, Data, Data]
    assert sum(len(piece.payload) for piece in pieces) == 40_000
    [failed] = client.hear(answer(second, metadata={**entries, "more": "x" * 2_000}))
    assert failed.status == Status.INTERNAL
    assert b"the metadata of the answer has 13" in failed.message
    assert b"at most 12200 fit (Limits.frame_bytes)" in failed.message


def test_the_credit_of_requests_is_returned() -> None:
    client, _ = opened()
    heard = [frame for id in range(1, 81, 2) for frame in client.say(request(id, bytes(60_000)))]
    assert [type(frame) for frame in heard] == [Credit, Credit]
    assert all(frame.size >= 1 << 20 for frame in heard)


@pytest.mark.parametrize("wire", ["rpcx", "phobos"])
def test_a_frame_whose_sequence_is_awaited_is_its_answer_even_as_a_request(wire: str) -> None:
    client = TranslatedRpcx(wire=wire)
    client.open()
    client.say(Request(1, b"a.b", codec=1))
    [request] = client.sent()
    [answer] = client.hear(Frame(sequence=request.sequence, path="x", method="y", payload=b"\xc0"))
    assert isinstance(answer, Response)
    assert (answer.id, answer.status, answer.payload) == (1, 0, b"\xc0")
