"""The interfaces between the parts of a connection, and a side without decisions."""

import pytest

from fastrpc_harness.recording import RecordingConnection
from tests.support import widths
from tests.support.engine import client, frames, server
from tests.support.wire_frames import Auth, Goaway, Verdict
from tests.support.wire_layout import Reason

UNIMPLEMENTED = 12


@pytest.mark.parametrize(
    ("part", "interface"),
    [("FrameRouter", "FrameHandler"), ("CalleeStates", "CalleeHooks"), ("CallerStates", "CallerHooks")],
)
def test_a_part_implements_its_interface_completely(part: str, interface: str) -> None:
    assert widths.bases_of()[part] == interface
    assert widths.own_methods()[interface] <= widths.own_methods()[part]


def test_sides_decide_little() -> None:
    hooks = widths.own_methods()["Side"]
    assert len(hooks) <= 16
    sides = [name for name, base in widths.bases_of().items() if base == "Side"]
    decided = {name: widths.own_methods()[name] & hooks for name in sides}
    assert set().union(*decided.values()) == hooks
    assert all(decided.values())


def test_a_side_without_decisions_verifies_no_credential() -> None:
    connection = server()
    connection.receive_data(Auth(b"bearer", b"secret").encode())
    verdict = frames(connection.data_to_send(), by_server=True)[-1]
    assert isinstance(verdict, Verdict)
    assert (verdict.status, connection.is_closed) == (UNIMPLEMENTED, False)


def test_a_side_without_decisions_sends_no_calls_to_a_peer_that_drains() -> None:
    connection = client()
    connection.receive_data(Goaway(2**63 - 1, Reason.DRAIN).encode())
    assert (connection.peer_drains, connection.is_usable, connection.is_closed) == (True, False, False)
    connection.open_call(b"arith.mul")
    assert connection.data_to_send() == b""


def test_a_connection_without_decisions_ends() -> None:
    connection = RecordingConnection(is_client=True)
    connection.close(Reason.INTERNAL, "enough")
    assert (connection.is_closed, connection.closed_text) == (True, "enough")
