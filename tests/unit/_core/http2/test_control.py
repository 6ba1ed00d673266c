"""Settings, pings and credit of HTTP/2, and the budgets against floods: honest peers never use one up."""

from collections.abc import Callable

import pytest
from h2.errors import ErrorCodes
from h2.events import PingAckReceived, RemoteSettingsChanged
from h2.settings import SettingCodes

from fastrpc_harness.http2_frames import (
    goaway_frame,
    headers_frames,
    ping_frame,
    reset_frame,
    window_update_frame,
)
from fastrpc_harness.recording_http2 import RecordingHttp2
from tests.support.http2_frames import (
    ACK,
    DATA,
    END_STREAM,
    OPENING,
    PADDED,
    PING,
    PRIORITY,
    SETTINGS,
    raw,
)
from tests.support.http2_talk import GET, HEAD, OK, REQUEST, client, pair, server, split, taken, with_h2

SECOND = 1_000_000_000
CALM_DOWN = ErrorCodes.ENHANCE_YOUR_CALM

SETTINGS_ACK = raw(SETTINGS, b"", ACK)


def opened(**options: int) -> RecordingHttp2:
    """Return a server whose client has sent its opening and acknowledged ours."""
    side = server(**options)
    side.now = SECOND
    side.feed(OPENING + SETTINGS_ACK)
    side.take_all()
    taken(side)
    return side


# Settings


def test_h2_reads_our_settings() -> None:
    both = with_h2(server(streams=7, window_bytes=100_000, header_list_bytes=4_000))
    settings = both.h2.remote_settings
    assert settings.max_concurrent_streams == 7
    assert settings.initial_window_size == 100_000
    assert settings.max_header_list_size == 4_000
    assert settings.max_frame_size == 262_144


def test_a_client_wants_no_pushes() -> None:
    both = with_h2(client())
    assert both.h2.remote_settings.enable_push == 0


def test_settings_are_acknowledged_and_told() -> None:
    both = with_h2(client())
    both.h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 3})
    both.talk()
    assert taken(both.side) == [("settings", 3, 65_535)]
    assert both.h2.local_settings.max_concurrent_streams == 3


def test_the_windows_of_open_streams_follow_the_settings() -> None:
    both = with_h2(client())
    both.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
    both.talk()
    id = both.side.open_one()
    both.side.head(id, template=REQUEST)
    both.side.message(id, b"waits")
    both.talk()
    assert both.side.queued == 5
    both.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 8})
    both.talk()
    assert both.side.queued == 2
    both.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 10})
    both.talk()
    assert both.side.queued == 0


def test_our_own_window_counts_once_it_is_acknowledged() -> None:
    side = server(window_bytes=10)
    side.feed(OPENING + headers_frames(1, GET) + raw(DATA, bytes(1_000), 0, 1))
    assert [event[0] for event in taken(side)] == ["settings", "head", "data"]
    side.feed(SETTINGS_ACK + headers_frames(3, GET) + raw(DATA, bytes(11), 0, 3))
    assert [event[0] for event in taken(side)] == ["head", "stream violation", "over"]


def test_the_table_of_the_peer_bounds_ours() -> None:
    both = with_h2(client())
    both.h2.update_settings({SettingCodes.HEADER_TABLE_SIZE: 0})
    both.talk()
    for _ in range(2):
        id = both.side.open_one()
        both.side.head(id, template=REQUEST, ends=True)
        assert not any(isinstance(event, RemoteSettingsChanged) for event in both.talk())
    assert both.h2.decoder.header_table_size == 0


# Pings and silence


def test_pings_are_answered() -> None:
    both = with_h2(server())
    both.h2.ping(b"12345678")
    (event,) = both.talk()
    assert isinstance(event, PingAckReceived)
    assert event.ping_data == b"12345678"


def test_a_silent_peer_is_asked_and_then_dropped() -> None:
    side = opened()
    side.received_ns = SECOND
    side.pings_of(10, 5, 0)
    assert side.check_at(2 * SECOND) == 11 * SECOND
    assert side.check_at(11 * SECOND) == 16 * SECOND
    (ping,) = split(side.take_all())
    assert (ping[3], ping[4]) == (PING, 0)
    # A last look a moment later.
    assert 16 * SECOND < side.check_at(16 * SECOND) < 16 * SECOND + SECOND // 100
    assert not side.is_closed
    side.check_at(17 * SECOND)
    assert side.closed_text == "nothing came for 16.0 s, a ping included"
    assert [event[0] for event in taken(side)] == ["closed"]


def test_an_answer_proves_life() -> None:
    side = opened()
    side.received_ns = SECOND
    side.pings_of(10, 5, 0)
    side.check_at(11 * SECOND)
    (ping,) = split(side.take_all())
    side.received_ns = 12 * SECOND
    side.feed(ping_frame(ping[9:], is_ack=True))
    assert side.check_at(16 * SECOND) == 22 * SECOND


def test_time_without_reading_is_forgiven() -> None:
    side = opened()
    side.received_ns = SECOND
    side.pings_of(10, 5, 0)
    side.check_at(11 * SECOND)
    side.be_late(3 * SECOND)
    assert side.check_at(16 * SECOND) == 19 * SECOND


def test_a_client_without_calls_asks_nothing() -> None:
    both = pair()
    both.client.received_ns = SECOND
    both.client.pings_of(10, 5, 0)
    assert both.client.check_at(11 * SECOND) == 21 * SECOND
    assert both.client.take_all() == b""
    both.request()
    both.client.check_at(21 * SECOND)
    assert [frame[3] for frame in split(both.client.take_all())] == [PING]


# Floods: each budget, used up by a peer that does nothing else


def flood(side: RecordingHttp2, frames: bytes, most: int) -> int:
    """Send frames again and again, at one moment; return how often they were taken."""
    for count in range(most + 1):
        if side.is_closed:
            return count - 1
        side.feed(frames)
        side.take_all()
    return most


FLOODS = {
    "settings": (raw(SETTINGS), 31),
    "unknown": (raw(0x77), 1_000),
    "priority": (raw(PRIORITY, b"\0\0\0\x09\0", 0, 1), 1_000),
    "goaway": (goaway_frame(0, 0), 1_000),
    "empty data": (raw(DATA, b"", 0, 1), 1_000),
    "padding alone": (raw(DATA, b"\x05" + bytes(5), PADDED, 1), 1_000),
    "answers to no ping": (ping_frame(bytes(8), is_ack=True), 1_000),
    "credit": (window_update_frame(0, 1), 110),
    "credit of a stream": (window_update_frame(1, 1), 110),
    "pings": (ping_frame(bytes(8)), 3),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_ends_the_connection(name: str) -> None:
    frames, allowed = FLOODS[name]
    side = opened()
    side.pings_of(0, 0, 0.5)
    side.feed(headers_frames(1, GET))
    assert flood(side, frames, 3_000) == allowed
    assert side.closed_code == CALM_DOWN


@pytest.mark.parametrize("name", ["settings", "unknown", "priority", "pings"])
def test_the_same_frames_over_time_do_not(name: str) -> None:
    frames, _ = FLOODS[name]
    side = opened()
    side.pings_of(0, 0, 0.5)
    side.feed(headers_frames(1, GET))
    for _ in range(3_000):
        side.now += 2 * SECOND
        side.feed(frames)
        side.take_all()
    assert not side.is_closed


def test_too_many_pings_has_the_text_that_clients_look_for() -> None:
    side = opened()
    side.pings_of(0, 0, 0.5)
    flood(side, ping_frame(bytes(8)), 10)
    assert side.closed_text == "too_many_pings"


def test_a_peer_that_gets_messages_may_ping_as_often() -> None:
    both = pair()
    both.server.pings_of(0, 0, 0.5)
    for _ in range(100):
        both.answer(both.request())
        both.server.feed(ping_frame(bytes(8)))
    assert not both.server.is_closed


def rapid_resets(side: RecordingHttp2, first: int, count: int) -> int:
    """Open streams to reset them; return the id of the next one."""
    for id in range(first, first + 2 * count, 2):
        side.feed(headers_frames(id, GET) + reset_frame(id, ErrorCodes.CANCEL))
        side.take_all()
    return first + 2 * count


def test_rapid_resets_end_the_connection() -> None:
    side = opened(streams=100)
    id = rapid_resets(side, 1, 1_400)
    assert not side.is_closed
    rapid_resets(side, id, 1)
    assert side.closed_code == CALM_DOWN


def test_an_honest_client_cancels_two_hundred_calls_a_second() -> None:
    side = opened(streams=100)
    id = 1
    for _ in range(100):
        id = rapid_resets(side, id, 200)
        side.now += SECOND
    assert not side.is_closed


def test_answered_calls_return_tokens_that_cancelled_calls_took() -> None:
    side = opened(streams=100)
    id = 1
    for _ in range(3_000):
        id = rapid_resets(side, id, 1)
        side.note_answer()
    assert not side.is_closed


def test_streams_that_we_have_to_reset_count_as_well() -> None:
    faults: list[tuple[int, Callable[[int], bytes]]] = [
        # A window of the stream overflows.
        (0, lambda id: window_update_frame(id, 2**31 - 1)),
        (END_STREAM, lambda id: raw(DATA, b"", END_STREAM, id)),
    ]
    for flags, fault in faults:
        side = opened(streams=100)
        id = 1
        while not side.is_closed:
            side.feed(headers_frames(id, GET, flags) + fault(id))
            side.take_all()
            id += 2
        assert id == 2 * 1_401 + 1


def test_refused_streams_count_once_the_limit_is_known() -> None:
    for acknowledged, allowed in ((b"", 10_000 + 1_000 + 4), (SETTINGS_ACK, 1_000 + 4)):
        side = server(streams=1)
        side.feed(OPENING + acknowledged + headers_frames(1, GET))
        count = 0
        while not side.is_closed:
            count += 1
            side.feed(headers_frames(1 + 2 * count, GET))
            side.take_all()
        assert count - 1 == allowed


def test_frames_for_streams_that_are_over_have_a_budget() -> None:
    side = opened()
    side.feed(headers_frames(1, GET) + reset_frame(1, 8))
    # The stream itself has added four.
    assert flood(side, window_update_frame(1, 1), 3_000) == 110
    side = opened()
    side.feed(headers_frames(1, GET) + reset_frame(1, 8))
    assert flood(side, reset_frame(1, 8), 3_000) == 1_004


def test_bytes_for_streams_that_are_over_have_a_budget() -> None:
    side = opened()
    side.widen_now()
    side.feed(headers_frames(1, GET))
    side.reset_stream(1, 8)
    assert flood(side, raw(DATA, bytes(16_384), 0, 1), 3_000) == 1_024


def test_windows_of_a_few_bytes_end_the_connection() -> None:
    both = pair()
    id = both.request()
    both.server.head(id, template=HEAD)
    both.server.message(id, bytes(3_000_000))
    for _ in range(10):
        both.server.take_all()
    assert both.server.queued > 0
    count = 0
    while not both.server.is_closed:
        both.server.feed(window_update_frame(0, 1) + window_update_frame(id, 1))
        both.server.take_all()
        count += 1
    # 16 MiB at 63 bytes each.
    assert 250_000 < count < 280_000


def test_a_client_survives_a_server_that_resets_all_calls() -> None:
    side = client()
    side.feed(raw(SETTINGS))
    for _ in range(3_000):
        id = side.open_one()
        side.head(id, template=REQUEST, ends=True)
        side.take_all()
        side.feed(reset_frame(id, ErrorCodes.REFUSED_STREAM))
    assert not side.is_closed


def test_credit_for_each_message_is_honest() -> None:
    both = pair()
    for _ in range(1_000):
        id = both.request()
        both.server.head(id, template=HEAD)
        both.server.message(id, b"answer")
        both.server.feed(window_update_frame(0, 11) + window_update_frame(id, 11))
        both.server.trailers(id, template=OK)
        both.talk()
    assert not both.server.is_closed


def test_credit_for_each_stream_before_its_answer_is_honest() -> None:
    """gRPC's core raises the window of a stream as it opens it; of a server that is slow hundreds wait."""
    side = opened()
    for number in range(90):
        id = 1 + 2 * number
        side.feed(
            headers_frames(id, GET, END_STREAM) + window_update_frame(id, 5) + window_update_frame(0, 5)
        )
    assert not side.is_closed


def test_skipped_ids_of_streams_give_no_credit() -> None:
    side = opened()
    side.feed(headers_frames(2**31 - 1, GET))
    assert flood(side, window_update_frame(0, 1), 3_000) == 110


def test_credit_for_each_of_the_messages_that_share_a_frame_is_honest() -> None:
    both = pair()
    id = both.client.open_one()
    both.client.head(id, template=REQUEST)
    for _ in range(100):
        for _ in range(100):
            both.client.message(id, b"")
        both.talk()
        both.client.feed((window_update_frame(0, 5) + window_update_frame(id, 5)) * 100)
    assert not both.client.is_closed
