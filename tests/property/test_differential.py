"""The engine agrees with its pure-Python reference: events, reasons, states, bytes consumed and reactions sent."""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from tests.conftest import Scale
from tests.support.exploration import converse, explore
from tests.support.frame_factory import request
from tests.support.lockstep import DifferenceError, Lockstep
from tests.support.scenario import SERVING, Open
from tests.support.traffic import Traffic, damaged, sound_traffic
from tests.support.wire_frames import Auth, Cancel, Credit, Data, Ping, SettingsFrame, Skipped
from tests.support.wire_layout import CONNECTION_WINDOW, FLAG_ONE_WAY, FLAG_STREAM_IN, FLOOR_WINDOW, Kind
from tests.support.wire_link import Event
from tests.support.wire_parser import Preface
from tests.support.wire_peer import ReferencePeer
from tests.support.wire_settings import Setting, encode_settings

#: Inputs of a long run, and how many of them are made from one sound conversation: it and its damaged copies.
INPUTS = 100_000
COPIES = 8

#: The settings of the peer, only the necessary ones: reading them takes most of the time of a short conversation.
ANNOUNCED = SERVING | {Setting.MAX_FRAME: 262_144, Setting.MAX_MESSAGE: 16_777_216, Setting.OPEN_MESSAGES: 4}
OPENING = (
    Preface().encode()
    + SettingsFrame(encode_settings(ANNOUNCED)).encode()
    + Credit(0, CONNECTION_WINDOW - FLOOR_WINDOW).encode()
    + SettingsFrame(ack=True).encode()
)

TIGHT: tuple[dict[int, Any], ...] = (
    {},
    {},
    {},
    {Setting.MAX_FRAME: 16_384, Setting.STREAM_WINDOW: 16_384},
    {Setting.MAX_MESSAGE: 4_096, Setting.MAX_METADATA: 1_024},
    {Setting.OPEN_MESSAGES: 1, Setting.MIN_PING_MS: 3_600_000},
    {Setting.STREAM_WINDOW: 16_384},
)
CALLEE_TIGHT: tuple[dict[int, Any], ...] = (
    {Setting.MAX_CALLS: 2},
    {Setting.MAX_CALLS: 100, Setting.MAX_STREAMS: 1},
    {Setting.MAX_CALLS: 0},
)


def settings_for(random: Random, is_server: bool) -> dict[int, Any]:
    return dict(random.choice(TIGHT + CALLEE_TIGHT if is_server else TIGHT))


def inputs(seed: int, is_server: bool) -> Iterator[tuple[Random, Traffic]]:
    """Yield a sound conversation and damaged copies of it."""
    random = Random(seed)
    traffic = sound_traffic(random, is_server, calls=random.randint(1, 4))
    yield random, traffic
    for _ in range(COPIES - 1):
        yield random, damaged(random, traffic)


def play(random: Random, traffic: Traffic) -> list[Event]:
    """Play a conversation on both sides, the engine getting it in random slices."""
    pair = Lockstep(traffic.is_server, settings_for(random, traffic.is_server))
    pair.highest = 12
    for action in traffic.actions:
        if isinstance(action, Open):
            pair.open_call(action.flags)
        else:
            pair.cancel(action.id)
    events = pair.receive(OPENING + b"".join(traffic.frames), random)
    pair.compare()
    return events


@pytest.mark.parametrize("is_server", [True, False], ids=["server", "client"])
def test_valid_and_damaged_input_means_the_same_to_both(is_server: bool, scale: Scale) -> None:
    reached: set[str] = set()
    for seed in scale.seeds(INPUTS // 2 // COPIES):
        for number, (random, traffic) in enumerate(inputs(seed, is_server)):
            try:
                events = play(random, traffic)
            except DifferenceError as difference:
                pytest.fail(f"seed {seed}, input {number}: {difference}")
            reached.update(f"CE{event[1]}" if event[0] == "error" else event[0] for event in events)
    if scale.factor >= 1:
        assert {"CE2", "CE3", "CE4", "CE8", "skipped", "ping", "discarded", "credit", "goaway"} <= reached
        as_callee = {"request", "refused", "dropped", "end", "cancel", "data", "failed"}
        as_caller = {"response", "failed", "freed", "head", "data", "ignored", "not_started"}
        assert (as_callee if is_server else as_caller) <= reached


@pytest.mark.parametrize("is_server", [True, False], ids=["server", "client"])
def test_both_implementations_agree_after_any_action_between_frames(is_server: bool, scale: Scale) -> None:
    for seed in scale.seeds(1_000):
        random = Random(seed)
        try:
            explore(random, Lockstep(is_server, settings_for(random, is_server)), OPENING)
        except DifferenceError as difference:
            pytest.fail(f"seed {seed}: {difference}")


@pytest.mark.parametrize("is_server", [True, False], ids=["server", "client"])
def test_both_give_the_same_credit_for_streams_larger_than_their_windows(
    is_server: bool, scale: Scale
) -> None:
    for seed in scale.seeds(400):
        random = Random(seed)
        changes = SERVING | {
            Setting.MAX_MESSAGE: 50_000,
            Setting.MAX_FRAME: random.choice((16_384, 262_144)),
            Setting.STREAM_WINDOW: random.choice((16_384, 65_536)),
        }
        pair = Lockstep(is_server, changes, stream_pool=random.choice((50_000, 100_000, 400_000, 4_000_000)))
        peer = ReferencePeer(not is_server, SERVING | {Setting.MIN_PING_MS: 0})
        try:
            converse(random, pair, peer)
        except DifferenceError as difference:
            pytest.fail(f"seed {seed}: {difference}")
        assert peer.error is pair.reference.error is None


@pytest.mark.parametrize("is_server", [True, False], ids=["server", "client"])
def test_both_implementations_end_a_cancelled_answer_in_the_same_way_at_any_point(
    is_server: bool, scale: Scale
) -> None:
    opening = Preface().encode() + SettingsFrame(encode_settings(ANNOUNCED)).encode()
    opening += SettingsFrame(ack=True).encode()
    for seed in scale.seeds(300):
        random = Random(seed)
        # The window stays at 65,536 bytes: an answer waits, is begun, or is out when its CANCEL comes.
        pair = Lockstep(is_server, SERVING)
        call = 1 if is_server else 2
        pair.receive(opening + request(call), random)
        size = random.choice((0, 100, 20_000, 65_000, 65_521, 70_000, 200_000))
        acts: list[Callable[[], object]] = [
            lambda pair=pair, call=call, size=size: pair.respond(call, bytes(size)),
            lambda pair=pair, call=call: pair.receive(Cancel(call).encode()),
            lambda pair=pair: pair.receive(Credit(0, 50_000).encode()),
        ]
        random.shuffle(acts)
        try:
            for act in acts:
                act()
                pair.compare()
            pair.receive(Credit(0, 1_000_000).encode() + Cancel(call).encode() + request(call + 2))
            pair.compare()
        except DifferenceError as difference:
            pytest.fail(f"seed {seed}: {difference}")
        assert not pair.is_over


FLOODS = {
    "TEST": Skipped(Kind.TEST).encode(),
    "SETTINGS": SettingsFrame().encode(),
    "AUTH": Auth(b"bearer").encode(),
    "PING": Ping().encode(),
    "CREDIT": Credit(0, 1).encode(),
    "late CANCEL": Cancel(1).encode(),
    "late DATA": Data(1, bytes(40_000)).encode(),
    "refused call": b"",
}


@pytest.mark.parametrize("flood", FLOODS)
def test_both_lose_patience_with_a_flood_at_the_same_frame(flood: str, scale: Scale) -> None:
    ends = 0
    for seed in range(scale(3)):
        random = Random(seed)
        pair = Lockstep(True, {Setting.MIN_PING_MS: 1_000})
        pair.receive(OPENING + request(1, flags=FLAG_STREAM_IN))
        pair.respond(1)
        call = 1
        for _ in range(150):
            if pair.is_over:
                break
            frames = b""
            for _ in range(random.choice((1, 10, 60))):
                call += 2
                frames += FLOODS[flood] or request(call, metadata=b"\0") + Cancel(call).encode() * 5
            try:
                pair.receive(frames, random)
                pair.compare()
            except DifferenceError as difference:
                pytest.fail(f"seed {seed}: {difference}")
            pair.advance(random.choice((0, 0, 0, 0, 0.125)))
        ends += pair.is_over
    # Refusals are answered as long as the peer reads; only later frames on their ids are bounded, by time.
    assert ends or flood == "refused call"


def idle_work(random: Random, call: int) -> bytes:
    """Return a call that mostly comes to nothing."""
    return random.choice(
        (
            request(call),
            request(call) + Cancel(call, random.randrange(3)).encode(),
            request(call, timeout_us=100_000) + Cancel(call, 1).encode(),
            request(call, total=9_000) + Cancel(call).encode(),
            request(call, metadata=b"\0"),
            request(call, total=10_000),
            request(call, metadata=b"\0", flags=FLAG_ONE_WAY),
        )
    )


def test_both_exhaust_the_idle_work_budget_at_the_same_frame(scale: Scale) -> None:
    ends = 0
    for seed in range(scale(4)):
        random = Random(seed)
        pair = Lockstep(True, {Setting.MAX_CALLS: random.choice((0, 5, 40)) or 1, Setting.MAX_MESSAGE: 9_500})
        pair.receive(OPENING)
        call, late = 1, 0
        while not pair.is_over and call < 12_000:
            frames = b""
            if late:
                frames, late = Cancel(late, 1).encode(), 0
            for _ in range(random.choice((1, 10, 40))):
                call += 2
                frames += idle_work(random, call)
            if random.random() < 0.3:
                call += 2
                frames += request(call, timeout_us=random.choice((1, 200_000, 400_000)))
                late = call
            try:
                pair.highest = call
                pair.receive(frames, random)
                for number in range(max(1, call - 100), call + 2, 2):
                    state = pair.reference.callee.state(number)
                    if state == "cancelled" or (state == "ended" and number != late):
                        if random.random() < 0.5:
                            pair.respond(number)
                        else:
                            pair.respond_error(number, 1)
                pair.highest = 0
                pair.compare()
            except DifferenceError as difference:
                pytest.fail(f"seed {seed}: {difference}")
            if random.random() < 0.1:
                pair.advance(random.choice((1 / 512, 1 / 256)))
        ends += pair.is_over
    assert ends
