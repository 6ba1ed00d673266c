"""However the bytes are sliced, the reference gives the same events, output and count of bytes."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.scenario import Open
from tests.support.traffic import Traffic, damaged, random_slices, sound_traffic
from tests.support.wire_reference import Event, ReferencePeer

Result = tuple[list[Event], bytes, int]


def play(traffic: Traffic, slices: list[bytes]) -> Result:
    peer = ReferencePeer(traffic.is_server)
    for action in traffic.actions:
        if isinstance(action, Open):
            peer.open_call(b"arith.mul", flags=action.flags)
        else:
            peer.take_output()
            peer.caller.cancel(action.id)
    peer.take_output()
    events = [event for data in slices for event in peer.receive(data)]
    return events, peer.take_output(), peer.consumed


@given(seed=st.integers(0, 2**32), is_server=st.booleans(), is_damaged=st.booleans())
def test_any_slices_give_the_same_events(seed: int, is_server: bool, is_damaged: bool) -> None:
    source = random.Random(seed)
    traffic = sound_traffic(source, is_server)
    if is_damaged:
        traffic = damaged(source, traffic)
    whole = play(traffic, [traffic.data])
    assert play(traffic, random_slices(source, traffic.data)) == whole


@pytest.mark.parametrize("is_server", [True, False])
def test_one_byte_at_a_time_gives_the_same_events(is_server: bool) -> None:
    traffic = sound_traffic(random.Random(1), is_server, calls=8)
    singly = [traffic.data[index : index + 1] for index in range(len(traffic.data))]
    assert play(traffic, singly) == play(traffic, [traffic.data])


@given(seed=st.integers(0, 2**32), is_server=st.booleans())
def test_sound_traffic_breaks_no_rule(seed: int, is_server: bool) -> None:
    traffic = sound_traffic(random.Random(seed), is_server)
    events, _, consumed = play(traffic, [traffic.data])
    assert "error" not in {event[0] for event in events}
    assert consumed == len(traffic.data)


@pytest.mark.parametrize("is_server", [True, False])
def test_damage_reaches_most_reasons_and_events(is_server: bool) -> None:
    """Random input that only ever dies at once would prove nothing."""
    source = random.Random(7)
    names: set[str] = set()
    for _ in range(1_500):
        traffic = damaged(source, sound_traffic(source, is_server))
        for event in play(traffic, [traffic.data])[0]:
            names.add(f"CE{event[1]}" if event[0] == "error" else event[0])
    assert {"CE2", "CE3", "CE8", "skipped", "ping", "discarded", "credit", "goaway"} <= names
    as_callee, as_caller = {"request", "refused", "dropped", "end", "cancel"}, {"response", "failed", "freed"}
    assert (as_callee if is_server else as_caller) <= names
