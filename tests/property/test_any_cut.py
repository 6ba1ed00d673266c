"""However the bytes of an exchange are cut, the engine makes the same events, counts and answers of them."""

from collections.abc import Iterator
from random import Random

import pytest

from fastrpc_harness.recording import RecordingConnection
from tests.conftest import Scale
from tests.support.engine import engine_settings
from tests.support.frame_factory import answer, cut, opening, piece, request
from tests.support.golden import read_golden
from tests.support.lockstep import sent_frames
from tests.support.scenario import SERVING
from tests.support.traffic import random_slices
from tests.support.wire_layout import FLAG_STREAM_IN, FLAG_STREAM_OUT
from tests.support.wire_link import Event
from tests.support.wire_names import names_told
from tests.support.wire_reference import Data, End, Head, ReferencePeer, Request, Response

BOTH_WAYS = FLAG_STREAM_IN | FLAG_STREAM_OUT

#: The names that calls 9 and 17 send for their positions.
NAMES = names_told(("name", "data"))

#: The content of the golden files, as one client sends it to a server: about 4 KiB.
TO_SERVER = b"".join(
    (
        opening(False),
        *(
            read_golden(name)
            for name in ("request", "request_traced", "request_stream", "data", "data_empty")
        ),
        *(
            read_golden(name)
            for name in ("data_first_piece", "ping", "data_last_piece", "credit_stream", "end")
        ),
        *(
            read_golden(name)
            for name in ("request_one_way", "request_first_piece", "test", "credit_connection")
        ),
        piece(9, bytes(1_100), more=True) + read_golden("auth") + piece(9, bytes(896)),
        *cut(Request(11, b"blob.put", bytes(range(250)) * 5, metadata=b"\x01\x00\x01\x00kv"), 1_024),
        request(13, metadata=b"\x00") + read_golden("cancel") + read_golden("cancel"),
        read_golden("request_names"),
        *cut(Request(17, b"blob.put", bytes(range(250)) * 5, names=NAMES), 1_024),
        read_golden("goaway_drain"),
    )
)

#: The same the other way: the client under test has opened calls 1, 3, 5 (both ways), 7 and 9.
TO_CLIENT = b"".join(
    (
        opening(True),
        *(read_golden(name) for name in ("response", "response_refused", "head", "data", "credit_stream")),
        *(
            read_golden(name)
            for name in ("data_first_piece", "ping", "data_last_piece", "response_first_piece")
        ),
        piece(9, b"\x01\x02\x03") + read_golden("test") + Data(5, bytes(700)).encode(),
        *cut(Response(7, 0, bytes(range(250)) * 7, metadata=b"\x01\x00\x01\x00kv"), 1_024),
        *cut(Data(5, bytes(1_300)), 1_200),
        answer(5, status=5, message=b"no such room"),
        read_golden("goaway_drain"),
    )
)


def events_of(
    is_server: bool, slices: Iterator[bytes] | list[bytes]
) -> tuple[list[Event], int, list[object]]:
    """Play slices to a new engine; return its events, bytes consumed and the frames it sent back."""
    engine = RecordingConnection(is_client=not is_server, settings=engine_settings(is_server, SERVING))
    if not is_server:
        for flags in (0, 0, BOTH_WAYS, 0, 0):
            engine.open_call(b"arith.mul", flags=flags)
        engine.data_to_send()
    events = [event for data in slices for event in engine.receive_data(data)]
    return events, engine.consumed, list(sent_frames(engine.data_to_send()))


@pytest.fixture(params=[True, False], ids=["server", "client"])
def is_server(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def exchange(is_server: bool) -> bytes:
    return TO_SERVER if is_server else TO_CLIENT


def test_exchange_is_sound_and_about_4_kib(is_server: bool) -> None:
    events, consumed, _ = events_of(is_server, [exchange(is_server)])
    assert 3_500 < consumed == len(exchange(is_server)) < 6_000
    assert "error" not in {event[0] for event in events}
    assert len({event[0] for event in events}) >= 9


def test_cut_at_every_offset(is_server: bool) -> None:
    data = exchange(is_server)
    whole = events_of(is_server, [data])
    for offset in range(1, len(data)):
        assert events_of(is_server, [data[:offset], data[offset:]]) == whole, f"cut at {offset}"


def test_byte_by_byte(is_server: bool) -> None:
    data = exchange(is_server)
    singly = [data[index : index + 1] for index in range(len(data))]
    assert events_of(is_server, singly) == events_of(is_server, [data])


def test_random_slices(is_server: bool, scale: Scale) -> None:
    data = exchange(is_server)
    whole = events_of(is_server, [data])
    for seed in range(scale(500)):
        assert events_of(is_server, random_slices(Random(seed), data, 40)) == whole, f"seed {seed}"


#: Frames whose payload is longer than the awaited bytes, so that it is received straight into its place.
LONG_TO_SERVER = b"".join(
    (
        opening(False),
        request(1, bytes(40_000), metadata=b"\x01\x00\x01\x00kv"),
        *cut(Request(3, b"blob.put", bytes(120_000)), 50_000),
        request(5, flags=FLAG_STREAM_IN) + Data(5, bytes(30_000)).encode() + Data(5, bytes(20_000)).encode(),
        End(5).encode(),
        request(7, bytes(20_000), metadata=bytes(20_000)),
        request(9, bytes(40_000), names=NAMES),
    )
)
LONG_TO_CLIENT = b"".join(
    (
        opening(True),
        answer(1, bytes(40_000), message=b"x" * 4_000),
        Head(5, bytes(70_000)).encode() + Data(5, bytes(30_000)).encode(),
        *cut(Response(7, 0, bytes(120_000)), 50_000),
        answer(3, bytes(17_000), metadata=bytes(17_000)),
    )
)


def test_long_payloads_cut_anywhere(is_server: bool, scale: Scale) -> None:
    data = LONG_TO_SERVER if is_server else LONG_TO_CLIENT
    whole = events_of(is_server, [data])
    assert whole[0] == reference_events(is_server, data)
    for seed in range(scale(300)):
        assert events_of(is_server, random_slices(Random(seed), data, 20)) == whole, f"seed {seed}"


def reference_events(is_server: bool, data: bytes) -> list[Event]:
    peer = ReferencePeer(is_server, SERVING)
    if not is_server:
        for flags in (0, 0, BOTH_WAYS, 0, 0):
            peer.open_call(b"arith.mul", flags=flags)
        peer.take_output()
    return peer.receive(data)


#: To a client that cancelled call 1 before its answer: a begun answer, and its end instead of the remainder.
GIVEN_UP = b"".join(
    (
        opening(True),
        answer(1, b"x" * 100, total=4_000),
        *[piece(1, bytes(1_024), more=True)] * 2,
        answer(3, b"another"),
        answer(1, status=1),
        answer(5, status=13),
    )
)


def given_up_events(slices: Iterator[bytes] | list[bytes]) -> tuple[list[Event], int, list[object]]:
    engine = RecordingConnection(is_client=True, settings=engine_settings(False, SERVING))
    for _ in range(3):
        engine.open_call(b"arith.mul")
    engine.cancel(1)
    engine.data_to_send()
    events = [event for data in slices for event in engine.receive_data(data)]
    return events, engine.consumed, list(sent_frames(engine.data_to_send()))


def test_end_of_an_abandoned_answer_cut_anywhere() -> None:
    whole = given_up_events([GIVEN_UP])
    assert [event[0] for event in whole[0][4:]] == ["discarded", "discarded", "response", "freed", "response"]
    for offset in range(1, len(GIVEN_UP)):
        assert given_up_events([GIVEN_UP[:offset], GIVEN_UP[offset:]]) == whole, f"cut at {offset}"
    assert given_up_events([GIVEN_UP[index : index + 1] for index in range(len(GIVEN_UP))]) == whole


def test_reference_makes_the_same_of_the_exchange(is_server: bool) -> None:
    assert events_of(is_server, [exchange(is_server)])[0] == reference_events(is_server, exchange(is_server))
