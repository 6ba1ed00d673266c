"""The frames of the connection itself: SETTINGS, PING, GOAWAY and drains, with the parts that they concern."""

import sys

import pytest

from fastrpc._core.wire.settings import WireSettings, usual_settings
from fastrpc.errors import LocalProtocolError
from fastrpc_harness.recording_parts import RecordingOwner
from tests.support.engine import frames
from tests.support.wire_frames import Goaway, Ping, SettingsFrame
from tests.support.wire_layout import Reason

PARTS = ("reader", "sender", "slots", "assembler", "callee", "caller", "control")


def client(**options: bool) -> RecordingOwner:
    """Return the client's side of a connection, with nothing sent."""
    peer, ours = WireSettings(True), usual_settings(False)
    peer.max_calls = 2
    peer.max_message = 65_536
    return RecordingOwner(*PARTS, peer=peer, ours=ours, **options)


def test_a_ping_is_answered_with_its_content() -> None:
    owner = client()
    owner.receive_data(Ping(b"12345678").encode())
    assert frames(owner.take()) == [Ping(b"12345678", ack=True)]


def test_pings_that_come_too_fast_end_the_connection() -> None:
    owner = client()
    owner.announce(usual_settings(False))
    for number in range(4):
        owner.now = number + 1
        owner.receive_data(Ping().encode())
    assert owner.events[-1][:2] == ("close_with", Reason.CALM_DOWN)


def test_an_answer_to_no_ping_breaks_the_rules() -> None:
    owner = client()
    owner.receive_data(Ping(ack=True).encode())
    assert owner.events[-1][:2] == ("close_with", Reason.PROTOCOL)


def test_the_first_settings_open_the_connection_and_are_acknowledged() -> None:
    owner = client(is_settled=False)
    owner.receive_data(SettingsFrame().encode())
    assert owner.events == [("on_ready",)]
    assert owner.phase == 2
    assert frames(owner.take()) == [SettingsFrame(ack=True)]


def test_peers_that_announce_the_same_codecs_share_one_table() -> None:
    owners = [client(is_settled=False) for _ in range(3)]
    usual, other = usual_settings(True), usual_settings(True)
    other.codecs = {1: "msgpack", 64: "own"}
    for owner, announced in zip(owners, (usual, usual, other), strict=True):
        owner.receive_data(SettingsFrame(announced.encode()).encode())
    assert owners[0].peer.codecs is owners[1].peer.codecs
    assert owners[0].peer.compressors is owners[1].peer.compressors
    assert owners[0].peer.codecs == usual.codecs
    assert owners[2].peer.codecs == other.codecs


def test_the_table_of_most_peers_stays_shared_despite_peers_with_new_tables() -> None:
    tables = set()
    for number in range(100):
        owner, announced = client(is_settled=False), usual_settings(True)
        if number % 2:
            announced.codecs = {64: f"beside{number}"}
        owner.receive_data(SettingsFrame(announced.encode()).encode())
        if number % 2 == 0:
            tables.add(id(owner.peer.codecs))
    assert len(tables) == 1


def test_tables_that_peers_invent_are_not_kept_for_long() -> None:
    tables = []
    for number in range(1_000):
        owner, announced = client(is_settled=False), usual_settings(True)
        announced.codecs = {64: f"own{number}"}
        owner.receive_data(SettingsFrame(announced.encode()).encode())
        assert owner.peer.codecs == announced.codecs
        tables.append(owner.peer.codecs)
    del owner
    # The references to a table that only a list holds.
    [lonely] = [sys.getrefcount(table) for table in [{64: "own"}]]
    assert sum(sys.getrefcount(table) > lonely for table in tables) <= 16


def test_raised_settings_count_at_once_and_lowered_ones_after_their_acknowledgement() -> None:
    owner = client()
    raised, lowered = usual_settings(False), usual_settings(False)
    raised.open_messages, lowered.open_messages = 9, 1
    owner.announce(raised)
    assert owner.open_messages == 9
    owner.announce(lowered)
    owner.receive_data(SettingsFrame(ack=True).encode())
    assert owner.open_messages == 9
    owner.receive_data(SettingsFrame(ack=True).encode())
    assert owner.open_messages == 1


def test_the_stream_window_is_said_once() -> None:
    owner, other = client(), usual_settings(False)
    other.stream_window += 1
    with pytest.raises(LocalProtocolError, match="for as long as the connection lasts"):
        owner.announce(other)


def test_a_drain_names_its_last_call_once_the_peer_has_read_its_first_step() -> None:
    owner = client()
    owner.begin_drain(Reason.DRAIN, "enough")
    announced, ping = frames(owner.take())
    assert announced == Goaway(2**63 - 1, Reason.DRAIN, text=b"enough")
    assert isinstance(ping, Ping)
    assert owner.drain_step == 1
    owner.receive_data(Ping(ping.content, ack=True).encode())
    assert owner.drain_step == 2
    [final] = frames(owner.take())
    assert isinstance(final, Goaway)
    assert final.last_id == 0


def test_calls_above_the_last_one_taken_by_the_peer_were_not_started() -> None:
    owner = client()
    for _ in range(2):
        owner.request(owner.call(is_local=True), b"")
    owner.take()
    owner.receive_data(Goaway(1, Reason.DRAIN, final=True).encode())
    assert ("on_not_started", 3) in owner.events
    assert owner.events[-1] == ("on_peer_drains",)
    assert (owner.peer_drains, owner.peer_sent_final, owner.peer_last_id) == (True, True, 1)


def test_a_goaway_that_raises_the_last_id_breaks_the_rules() -> None:
    owner = client()
    owner.receive_data(Goaway(1, Reason.DRAIN).encode())
    owner.receive_data(Goaway(3, Reason.DRAIN).encode())
    assert owner.events[-1][:2] == ("close_with", Reason.PROTOCOL)


@pytest.mark.parametrize(
    ("announced", "replaces"),
    [
        ([Goaway(2**63 - 1, Reason.DRAIN)], True),
        ([Goaway(2**63 - 1, Reason.DRAIN), Goaway(0, Reason.DRAIN, final=True)], True),
        ([Goaway(2**63 - 1, Reason.MAX_AGE)], True),
        ([Goaway(0, Reason.DRAIN, final=True)], False),
    ],
)
def test_a_peer_that_drains_asks_for_another_connection(announced: list[Goaway], replaces: bool) -> None:
    owner = client()
    for frame in announced:
        owner.receive_data(frame.encode())
    assert owner.peer_replaces == replaces


def test_a_goaway_for_an_error_ends_the_connection() -> None:
    owner = client()
    owner.receive_data(Goaway(0, Reason.INTERNAL, text=b"oh").encode())
    assert owner.events[-1] == ("end_connection", Reason.INTERNAL, "oh", True)
