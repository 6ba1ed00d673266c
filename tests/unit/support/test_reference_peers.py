"""Two references talk to each other: each accepts all frames that the other may send."""

import pytest

from tests.support.wire_reference import (
    FLAG_ONE_WAY,
    FLAG_STREAM_IN,
    FLAG_STREAM_OUT,
    Data,
    Event,
    Reason,
    ReferencePeer,
    Response,
    Setting,
)

MIB = 1024 * 1024


class Pair:
    """A client and a server whose bytes reach each other."""

    def __init__(self, **server_settings: int) -> None:
        changes = {getattr(Setting, name): value for name, value in server_settings.items()}
        self.client = ReferencePeer(False)
        self.server = ReferencePeer(True, changes)
        self.client_events: list[Event] = []
        self.server_events: list[Event] = []

    def settle(self) -> None:
        """Carry bytes until both are silent."""
        while True:
            there = self.client.take_output()
            self.server_events += self.server.receive(there)
            back = self.server.take_output()
            self.client_events += self.client.receive(back)
            if not there and not back:
                return

    def client_names(self) -> list[str]:
        return [event[0] for event in self.client_events]


@pytest.fixture
def pair() -> Pair:
    made = Pair()
    made.settle()
    return made


def test_both_sides_open_and_acknowledge(pair: Pair) -> None:
    opened = {"preface", "settings", "settings_ack", "credit"}
    assert {event[0] for event in pair.server_events} == opened
    assert set(pair.client_names()) == opened


def test_early_call_is_answered_after_the_opening() -> None:
    pair = Pair()
    call = pair.client.open_call(b"arith.mul", b"\x92\x06\x07", codec=1)
    pair.settle()
    assert pair.server_events[-2][:3] == ("request", call, b"arith.mul")
    pair.server.callee.respond(Response(call, payload=b"*", codec=1))
    pair.settle()
    assert pair.client_events[-1][:2] == ("response", call)
    assert len(pair.client.caller) == len(pair.server.callee) == 0


def test_large_messages_cross_in_pieces_both_ways(pair: Pair) -> None:
    content = bytes(range(256)) * (4 * 1024 * 15)
    calls = [pair.client.open_call(b"blob.echo", content) for _ in range(6)]
    pair.settle()
    requests = [event for event in pair.server_events if event[0] == "request"]
    assert [event[1] for event in requests] == calls
    assert all(event[-1] == content for event in requests)
    for call in calls:
        pair.server.callee.respond(Response(call, payload=content))
    pair.settle()
    answers = [event for event in pair.client_events if event[0] == "response"]
    assert [event[-1] == content for event in answers] == [True] * 6


def test_stream_continues_as_messages_are_taken(pair: Pair) -> None:
    call = pair.client.open_call(b"log.append", flags=FLAG_STREAM_IN)
    for number in range(100):
        pair.client.caller.send(Data(call, bytes([number]) * 10_000))
    pair.client.caller.end(call)
    pair.settle()
    received = [event for event in pair.server_events if event[0] == "data"]
    assert 0 < len(received) < 100
    for taken in range(100):
        assert len([event for event in pair.server_events if event[0] == "data"]) > taken
        pair.server.callee.take_message(call)
        pair.settle()
    assert pair.server_events[-1] == ("end", call)


def test_stream_message_larger_than_its_window_is_granted_the_difference(pair: Pair) -> None:
    call = pair.client.open_call(b"blob.get", flags=FLAG_STREAM_OUT)
    pair.settle()
    pair.server.callee.send(Data(call, bytes(MIB)))
    pair.server.callee.send(Data(call, bytes(100)))
    pair.settle()
    assert [event for event in pair.client_events if event[0] == "data"] == [("data", call, 0, 0, bytes(MIB))]
    pair.client.caller.take_message(call)
    pair.settle()
    assert pair.client_events[-1] == ("data", call, 0, 0, bytes(100))


def test_message_too_large_for_the_callee_is_refused_before_its_pieces(pair: Pair) -> None:
    call = pair.client.open_call(b"blob.put", bytes(16 * MIB + 1))
    pair.settle()
    assert ("refused", call, 8) in pair.server_events
    assert ("response", call, 8, 1) in [event[:4] for event in pair.client_events]
    assert pair.server.error is None


def test_calls_above_the_limit_are_refused_and_the_other_calls_run() -> None:
    pair = Pair(MAX_CALLS=2)
    calls = [pair.client.open_call(b"arith.mul") for _ in range(4)]
    pair.settle()
    refused = [event[1] for event in pair.server_events if event[0] == "refused"]
    assert refused == calls[2:]


def test_one_way_calls_have_their_own_limit() -> None:
    pair = Pair(MAX_CALLS=1)
    for _ in range(2):
        pair.client.open_call(b"log.write", flags=FLAG_ONE_WAY)
    pair.client.open_call(b"arith.mul")
    pair.settle()
    names = [event[0] for event in pair.server_events]
    assert names.count("request") == 2
    assert names.count("dropped") == 1
    pair.server.callee.finish_one_way(1)
    pair.client.open_call(b"log.write", flags=FLAG_ONE_WAY)
    pair.settle()
    assert pair.server_events[-1][0] == "request"


def test_cancelled_call_keeps_its_place_until_the_answer(pair: Pair) -> None:
    call = pair.client.open_call(b"arith.mul")
    pair.settle()
    pair.client.caller.cancel(call, 1)
    pair.settle()
    assert pair.server_events[-1] == ("cancel", call, 1)
    assert pair.client.caller.state(call) == "cancelled"
    pair.server.callee.respond(Response(call, 1))
    pair.settle()
    assert pair.client_events[-1] == ("freed", call)


def test_cut_answer_is_replaced_by_an_error_after_cancel(pair: Pair) -> None:
    call = pair.client.open_call(b"blob.get")
    pair.settle()
    pair.server.callee.respond(Response(call, payload=bytes(17 * MIB - MIB)))
    pair.client_events += pair.client.receive(pair.server.take_output())
    pair.client.caller.cancel(call)
    pair.settle()
    assert pair.client_events[-1] == ("freed", call)
    assert pair.client.error is pair.server.error is None


def test_drain_in_two_steps_says_which_calls_did_not_start(pair: Pair) -> None:
    first = pair.client.open_call(b"arith.mul")
    pair.settle()
    pair.server.start_drain()
    pair.client_events += pair.client.receive(pair.server.take_output())
    pair.server_events += pair.server.receive(pair.client.take_output())
    assert pair.server_events[-1] == ("pong", bytes(8))
    late = pair.client.open_call(b"arith.mul")
    pair.settle()
    assert ("discarded", "REQUEST", late) in pair.server_events
    assert ("not_started", late) in pair.client_events
    pair.server.callee.respond(Response(first))
    pair.settle()
    assert pair.client_events[-1][:2] == ("response", first)


def test_error_ends_both_sides_and_names_the_last_call(pair: Pair) -> None:
    pair.client.open_call(b"arith.mul")
    pair.settle()
    pair.server_events += pair.server.receive(b"\xff" * 16)
    assert pair.server.error is Reason.FRAME_SIZE
    pair.settle()
    assert pair.client_events[-1][:4] == ("goaway", 1, 3, True)
    assert pair.client.is_over


def test_last_ids_are_used_up_without_a_wrap() -> None:
    server, client = ReferencePeer(True), ReferencePeer(False, first_call_id=2**63 - 3)
    assert [client.open_call(b"arith.mul") for _ in range(2)] == [2**63 - 3, 2**63 - 1]
    events = server.receive(client.take_output())
    assert [event[1] for event in events if event[0] == "request"] == [2**63 - 3, 2**63 - 1]


def test_server_may_call_a_client_that_serves() -> None:
    client, server = ReferencePeer(False, {Setting.MAX_CALLS: 5}), ReferencePeer(True)
    server.receive(client.take_output())
    client.receive(server.take_output())
    call = server.open_call(b"chat.receive", b"hi")
    events = client.receive(server.take_output())
    assert events[-1][:2] == ("request", call)


def test_server_without_authentication_says_so(pair: Pair) -> None:
    pair.client.authenticate(b"bearer", b"s3cret")
    pair.settle()
    assert pair.server_events[-1] == ("auth", 0, b"bearer", b"s3cret")
    assert pair.client_events[-1] == ("verdict", 12, 0, b"authentication is not configured")
