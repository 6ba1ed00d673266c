"""The assembler with the reader and the sender it needs: pieces, windows of streams, the stream pool."""

from typing import Any

from fastrpc._core.wire.settings import WireSettings
from fastrpc_harness.recording_parts import RecordingOwner
from tests.support.engine import frames
from tests.support.frame_factory import cut, piece
from tests.support.wire_frames import Credit, Data, Request, Response

METHOD = b"arith.mul"


def assembler(*, is_client: bool = False, **limits: int) -> RecordingOwner:
    """Return the assembler of a side that announced the usual with changes."""
    ours = WireSettings(not is_client)
    for name, value in {"max_frame": 200_000, "max_message": 200_000, **limits}.items():
        setattr(ours, name, value)
    return RecordingOwner("reader", "sender", "assembler", is_client=is_client, ours=ours)


def kinds(owner: RecordingOwner) -> list[Any]:
    return [event[0] for event in owner.events]


def test_pieces_of_a_request_become_one_message() -> None:
    owner = assembler()
    owner.call(1)
    payload = bytes(range(200)) * 5
    for block in cut(Request(1, METHOD, payload), 300):
        owner.receive_data(block)
    assert kinds(owner) == ["on_piece", "on_piece", "whole_request"]
    assert owner.events[-1] == ("whole_request", 1, METHOD, payload)


def test_pieces_of_an_answer_become_one_message() -> None:
    owner = assembler(is_client=True)
    owner.call(1, is_local=True)
    for block in cut(Response(1, 0, bytes(1000)), 400):
        owner.receive_data(block)
    assert owner.events[-1] == ("whole_response", 1, bytes(1000))


def test_piece_without_a_message_is_a_violation() -> None:
    owner = assembler()
    owner.call(1)
    owner.receive_data(piece(1, b"rest"))
    assert kinds(owner) == ["close_with"]
    assert "continues no message" in str(owner.events[0][2])


def test_more_bytes_than_the_total_are_a_violation() -> None:
    owner = assembler()
    owner.call(1)
    first, *_ = cut(Request(1, METHOD, bytes(1000)), 600)
    owner.receive_data(first + piece(1, bytes(600)))
    assert "pieces of 1200 bytes for a message of 1000" in str(owner.events[-1][2])


def test_many_short_pieces_are_a_flood() -> None:
    owner = assembler()
    owner.call(1)
    first, *_ = cut(Request(1, METHOD, bytes(190_000)), 600)
    owner.receive_data(first)
    told = 0
    while not owner.is_closed:
        told = len(owner.events)
        assert told < 1_000_000
        owner.receive_data(piece(1, b"", more=True) * 1000)
    assert "too many short pieces" in str(owner.events[-1][2])
    assert told > 100_000


def test_message_of_a_stream_takes_from_its_window_and_gives_it_back() -> None:
    owner = assembler()
    call = owner.call(1, window=1000)
    owner.receive_data(Data(1, bytes(600)).encode())
    assert owner.events == [("on_message", 1, bytes(600), 616)]
    assert owner.take() == b""
    owner.take_message(call, 616)
    assert frames(owner.take(), by_server=True) == [Credit(1, 616)]


def test_message_beyond_the_window_of_its_stream_is_a_violation() -> None:
    owner = assembler()
    owner.call(1, window=1000)
    owner.receive_data(Data(1, bytes(1000)).encode())
    assert "its window has 1000 left" in str(owner.events[-1][2])


def test_message_larger_than_the_window_is_let_in_out_of_the_pool() -> None:
    owner = assembler(max_message=5000)
    call = owner.call(1, window=1000)
    first, *rest = cut(Data(1, bytes(4000)), 900)
    owner.receive_data(first)
    # The first piece took 900 bytes, its header and its total from the window: 76 are left for the missing 3100.
    assert frames(owner.take(), by_server=True) == [Credit(1, 3024)]
    assert owner.assembler is not None
    assert owner.assembler.stream_pool_left == 1000
    for block in rest:
        owner.receive_data(block)
    assert owner.events[-1][:3] == ("on_message", 1, bytes(4000))
    owner.take_message(call, int(str(owner.events[-1][3])))
    assert owner.assembler.stream_pool_left == 5000


def test_second_large_message_waits_for_the_pool() -> None:
    owner = assembler(max_message=5000)
    calls = [owner.call(id, window=1000) for id in (1, 3)]
    parts = {id: cut(Data(id, bytes(4000)), 900) for id in (1, 3)}
    for id in (1, 3):
        owner.receive_data(parts[id][0])
    assert [frame.id for frame in frames(owner.take(), by_server=True) if isinstance(frame, Credit)] == [1]
    for block in parts[1][1:]:
        owner.receive_data(block)
    owner.take_message(calls[0], int(str(owner.events[-1][3])))
    assert 3 in [frame.id for frame in frames(owner.take(), by_server=True) if isinstance(frame, Credit)]


def test_stream_message_over_the_limit_ends_its_call() -> None:
    owner = assembler(max_message=500)
    owner.call(1, window=1000)
    owner.receive_data(Data(1, bytes(600)).encode())
    assert owner.events == [("end_served", 1, 8)]
