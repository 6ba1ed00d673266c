"""A peer may cut its messages as it likes, as long as the pieces are not a flood."""

import pytest

from tests.support.engine import server
from tests.support.frame_factory import piece, request
from tests.support.wire_layout import CONNECTION_WINDOW, Reason

EMPTY_COST = 64


@pytest.mark.parametrize("size", [1, 63, 64, 1_023])
def test_message_in_short_pieces_arrives(size: int) -> None:
    connection = server()
    payload = bytes(number % 251 for number in range(20_000))
    cuts = [payload[start : start + size] for start in range(size, len(payload), size)]
    frames = request(1, payload[:size], total=len(payload))
    frames += b"".join(piece(1, part, more=True) for part in cuts[:-1]) + piece(1, cuts[-1])
    (event,) = connection.receive_data(frames)
    assert (event[0], event[-1]) == ("request", payload)


def test_empty_pieces_change_nothing() -> None:
    connection = server()
    empty = piece(1, b"", more=True)
    frames = request(1, b"ab", total=4) + empty + piece(1, b"c", more=True) + empty * 3 + piece(1, b"d")
    (event,) = connection.receive_data(frames)
    assert (event[0], event[-1]) == ("request", b"abcd")


def test_long_pieces_refund_the_cost_of_short_ones() -> None:
    connection = server()
    empty, long = piece(1, b"", more=True), piece(1, bytes(40_000), more=True)
    connection.receive_data(request(1, b"", total=16_000_000) + empty * (CONNECTION_WINDOW // EMPTY_COST))
    connection.receive_data(long * 50)
    assert connection.receive_data(empty * (50 * (40_000 - EMPTY_COST) // EMPTY_COST)) == []
    assert connection.receive_data(empty)[-1] == ("error", Reason.CALM_DOWN)
