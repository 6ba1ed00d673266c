"""Which id sends next, and how much: deficit round robin over the ids of a connection, counted in frames and bytes."""

from collections import Counter
from random import Random

from fastrpc._core.wire.settings import WireSettings
from fastrpc_harness.recording_parts import RecordingOwner
from tests.support.engine import frames
from tests.support.wire_frames import Data, Frame, Response

KIB = 1024
QUANTUM = 16 * KIB
TURN = 256 * KIB


def sender(*, is_client: bool = False, credit: int = 2**30, **limits: int) -> RecordingOwner:
    """Return the sender of one side, whose peer accepts much with changes."""
    peer = WireSettings(is_client)
    for name, value in {"max_frame": 256 * KIB, "max_message": 2**30, "open_messages": 4, **limits}.items():
        setattr(peer, name, value)
    owner = RecordingOwner("sender", is_client=is_client, peer=peer)
    owner.raise_credit(None, credit)
    return owner


def sent(owner: RecordingOwner, room: int = TURN) -> list[Frame]:
    """Return the frames of one turn."""
    return frames(owner.take(room), by_server=True)


def payload_sizes(found: list[Frame]) -> list[tuple[int, int]]:
    return [(frame.id, len(frame.payload)) for frame in found if isinstance(frame, Data | Response)]


def bytes_by_id(owner: RecordingOwner, turns: int, room: int = TURN) -> Counter[int]:
    """Return the bytes of payload that each id has sent in the given number of turns."""
    totals: Counter[int] = Counter()
    for _ in range(turns):
        for id, size in payload_sizes(sent(owner, room)):
            totals[id] += size
    return totals


def test_an_id_alone_sends_frames_as_long_as_the_peer_takes_them() -> None:
    owner = sender()
    owner.respond(owner.call(1), bytes(2**20))
    [(_, size)] = payload_sizes(sent(owner))
    assert size > 255 * KIB


def test_ids_take_turns_with_equal_shares_of_the_room() -> None:
    owner = sender()
    for id in (1, 3, 5, 7):
        owner.send_message(owner.call(id, window=2**30), bytes(2**20))
    sizes = payload_sizes(sent(owner))
    assert [id for id, _ in sizes] == [1, 3, 5, 7]
    assert all(60 * KIB <= size <= 64 * KIB for _, size in sizes)


def test_bytes_that_an_id_sent_while_no_other_waited_do_not_delay_it() -> None:
    owner = sender()
    alone = owner.call(1, window=2**40)
    owner.send_message(alone, bytes(20 * KIB))
    sent(owner)
    for _ in range(8 * KIB):
        owner.send_message(alone, bytes(KIB))
        owner.take(TURN)
    for id in (3, 5):
        owner.send_message(owner.call(id, window=2**40), bytes(2**26))
    sent(owner)
    totals: Counter[int] = Counter()
    while not totals[1]:
        if owner.may_send(alone):
            owner.send_message(alone, bytes(KIB))
        totals += bytes_by_id(owner, 1)
        assert totals[3] + totals[5] <= 4 * TURN


def test_many_ids_get_a_quantum_each_and_the_next_turn_continues_where_the_last_one_ended() -> None:
    owner = sender()
    ids = range(1, 81, 2)
    for id in ids:
        owner.send_message(owner.call(id, window=2**30), bytes(2**20))
    first, second = payload_sizes(sent(owner)), payload_sizes(sent(owner))
    assert all(QUANTUM - 64 <= size <= QUANTUM for _, size in first + second)
    assert [id for id, _ in first + second] == [*ids][: len(first + second)]


def test_answers_of_64_kib_go_whole_as_long_as_four_turns_carry_all_of_them() -> None:
    owner = sender(open_messages=64)
    for id in range(1, 33, 2):
        owner.respond(owner.call(id), bytes(64 * KIB))
    sizes = [size for _ in range(5) for _, size in payload_sizes(sent(owner))]
    assert sizes == [64 * KIB] * 16


def test_answers_of_64_kib_are_cut_during_a_stream_and_among_many_answers() -> None:
    for answers, is_beside_stream, longest in (
        (16, True, QUANTUM),
        (17, False, 3 * QUANTUM),
        (80, False, QUANTUM),
    ):
        owner = sender(open_messages=128)
        for id in range(3, 3 + 2 * answers, 2):
            owner.respond(owner.call(id), bytes(64 * KIB))
        if is_beside_stream:
            owner.send_message(owner.call(1, window=2**30), bytes(2**20))
        sizes = {size for _, size in payload_sizes(sent(owner))}
        assert longest - 64 <= max(sizes) <= longest


def test_messages_of_any_size_get_the_same_share() -> None:
    """Messages that are not cut, because their remainder would be small, owe the bytes sent beyond their share."""
    owner = sender()
    sizes = {1: 2**20, 3: 17 * KIB, 5: 24 * KIB, 7: 100 * KIB}
    calls = {id: owner.call(id, window=2**40) for id in sizes}
    for id, size in sizes.items():
        for _ in range(2**24 // size):
            owner.send_message(calls[id], bytes(size))
    totals = bytes_by_id(owner, 60, 64 * KIB)
    assert min(totals.values()) > 0.9 * max(totals.values())


def test_no_small_rest_of_a_message_is_left() -> None:
    owner = sender()
    for id in range(1, 41, 2):
        owner.send_message(owner.call(id, window=2**30), bytes(QUANTUM + 3 * KIB))
    assert {size for _, size in payload_sizes(sent(owner))} == {QUANTUM + 3 * KIB}


def test_a_small_remainder_beyond_the_longest_frame_is_sent_with_it() -> None:
    """Pieces of 256 KiB and their heads are that little longer than a frame may be."""
    owner = sender()
    call = owner.call(1, window=2**30)
    owner.send_message(call, bytes(256 * KIB + 5))
    sizes = [size for _, size in payload_sizes(sent(owner))]
    assert sum(sizes) == 256 * KIB + 5
    assert len(sizes) == 2


def test_priorities_are_shares() -> None:
    owner = sender()
    for id, priority in ((1, 0), (3, 1), (5, 2)):
        owner.send_message(owner.call(id, window=2**30, priority=priority), bytes(2**24))
    totals = bytes_by_id(owner, 40)
    assert 3.8 < totals[5] / totals[1] < 4.2
    assert 3.8 < totals[1] / totals[3] < 4.2


def test_priorities_are_shares_also_where_frames_are_short() -> None:
    owner = sender(max_frame=QUANTUM)
    for id, priority in ((1, 0), (3, 2)):
        owner.send_message(owner.call(id, window=2**30, priority=priority), bytes(2**24))
    totals = bytes_by_id(owner, 40)
    assert 3.5 < totals[3] / totals[1] < 4.5


def test_a_stream_that_becomes_sendable_sends_before_others_have_a_second_turn() -> None:
    owner = sender()
    short, long = owner.call(1, window=2**30), owner.call(3, window=2**30)
    owner.send_message(short, bytes(100 * KIB))
    owner.send_message(long, bytes(2**20))
    assert not owner.may_send(short)
    [first, second] = payload_sizes(sent(owner))
    assert first == (1, 100 * KIB)
    assert second[1] <= TURN // 2
    assert owner.events[-1] == ("on_sendable", 1)
    owner.send_message(short, bytes(100 * KIB))
    assert [id for id, _ in payload_sizes(sent(owner))][:2] == [3, 1]


def test_large_answers_and_streams_get_equal_shares() -> None:
    owner = sender()
    owner.respond(owner.call(1), bytes(2**22))
    owner.send_message(owner.call(3, window=2**30), bytes(2**22))
    totals = bytes_by_id(owner, 10)
    assert 0.95 < totals[1] / totals[3] < 1.05


def test_a_small_answer_is_sent_before_the_remainder_of_large_ones() -> None:
    owner = sender()
    for id in (1, 3):
        owner.send_message(owner.call(id, window=2**30), bytes(2**22))
    sent(owner)
    owner.respond(owner.call(5), b"six")
    assert payload_sizes(sent(owner))[0] == (5, 3)


def test_a_row_of_small_answers_gives_a_large_one_its_turn() -> None:
    owner = sender()
    owner.respond(owner.call(1), bytes(2**22))
    ids = range(3, 103, 2)
    for id in ids:
        owner.respond(owner.call(id), bytes(QUANTUM))
    first = payload_sizes(sent(owner))
    small = [id for id, _ in first if id != 1]
    assert small == [*ids][: TURN // QUANTUM]
    assert first[-1][0] == 1
    rest: list[tuple[int, int]] = []
    while len(small) + len(rest) < len(ids):
        more = payload_sizes(sent(owner))
        assert sum(size for id, size in more if id != 1) <= TURN
        assert more[-1][0] == 1
        rest += [(id, size) for id, size in more if id != 1]
    assert small + [id for id, _ in rest] == [*ids]


def test_small_answers_alone_are_not_delayed() -> None:
    owner = sender()
    ids = [*range(1, 101, 2)]
    for id in ids:
        owner.respond(owner.call(id), bytes(QUANTUM))
    assert [id for id, _ in payload_sizes(sent(owner))] == ids


def test_a_stream_without_window_is_in_nobodys_way() -> None:
    owner = sender()
    unread = owner.call(1, window=10)
    owner.send_message(unread, bytes(2**20))
    owner.send_message(owner.call(3, window=2**30), bytes(2**20))
    assert {id for id, _ in payload_sizes(sent(owner))} == {3}
    owner.raise_credit(unread, 2**20)
    assert {id for id, _ in payload_sizes(sent(owner))} == {1, 3}


def test_a_stream_of_small_messages_waits_for_its_turn_once_its_share_is_used_up() -> None:
    """Beside a large message: both get the same, whichever is written message by message."""
    owner = sender()
    small = owner.call(1, window=2**30)
    owner.send_message(owner.call(3, window=2**30), bytes(2**24))
    totals: Counter[int] = Counter()
    for _ in range(40):
        while owner.may_send(small):
            owner.send_message(small, bytes(1_000))
        for id, size in payload_sizes(sent(owner)):
            totals[id] += size
    assert ("on_sendable", 1) in owner.events
    assert 0.85 < totals[1] / totals[3] < 1.15


def test_streams_of_small_messages_get_equal_shares_in_any_order() -> None:
    owner = sender()
    calls = {id: owner.call(id, window=2**30) for id in (1, 3, 5)}
    totals: Counter[int] = Counter()
    for _ in range(60):
        for call in calls.values():
            while owner.may_send(call):
                owner.send_message(call, bytes(1_000))
        for id, size in payload_sizes(sent(owner)):
            totals[id] += size
    assert min(totals.values()) > 0.8 * max(totals.values())


def test_a_stream_that_sends_now_and_then_waits_for_nobody() -> None:
    owner = sender()
    for id in range(1, 81, 2):
        owner.send_message(owner.call(id, window=2**30), bytes(2**20))
    rare = owner.call(101, window=2**30)
    for _ in range(5):
        assert owner.may_send(rare)
        owner.send_message(rare, b"now")
        assert payload_sizes(sent(owner))[0] == (101, 3)


def test_a_stream_alone_may_fill_the_output() -> None:
    owner = sender()
    call = owner.call(1, window=2**30)
    for _ in range(4):
        size = 0
        while owner.may_send(call):
            owner.send_message(call, bytes(1_000))
            size += 1_000
        assert size > 0.9 * TURN
        sent(owner)


def test_a_stream_alone_fills_the_output_with_large_messages_without_a_turn_for_each() -> None:
    owner = sender()
    call = owner.call(1, window=2**30)
    for _ in range(4):
        count = 0
        while owner.may_send(call):
            owner.send_message(call, bytes(64 * KIB))
            count += 1
        assert TURN < count * 64 * KIB <= TURN + 64 * KIB
        assert payload_sizes(sent(owner)) == [(1, 64 * KIB)] * count


def test_large_messages_wait_for_their_turn_if_others_wait_or_the_output_is_full() -> None:
    owner = sender()
    calls = [owner.call(id, window=2**30) for id in range(1, 21, 2)]
    for call in calls:
        owner.send_message(call, bytes(64 * KIB))
    turns = [sum(size for _, size in payload_sizes(sent(owner))) for _ in range(4)]
    assert max(turns) <= 2 * TURN
    assert sum(turns) == len(calls) * 64 * KIB
    owner.send_message(calls[0], bytes(2**20))
    owner.send_message(calls[1], bytes(64 * KIB))
    assert {id for id, _ in payload_sizes(sent(owner))} == {1, 3}


def test_answers_beyond_the_cut_ones_that_the_peer_takes_wait_by_priority() -> None:
    owner = sender(open_messages=1, max_frame=64 * KIB)
    for id, priority in ((1, 0), (3, 1), (5, 0), (7, 2), (9, 0)):
        owner.respond(owner.call(id, priority=priority), bytes(200 * KIB))
    order: list[int] = []
    for _ in range(40):
        order += [frame.id for frame in sent(owner) if isinstance(frame, Response)]
    assert order == [1, 7, 5, 9, 3]


def test_an_answer_that_fits_one_frame_needs_no_place_among_the_cut_ones() -> None:
    """It saves its shares until they are enough for the whole answer, so it takes only its fair part."""
    owner = sender(open_messages=1)
    owner.respond(owner.call(1), bytes(2**24))
    streams = [owner.call(id, window=2**30) for id in range(3, 33, 2)]
    for call in streams:
        owner.send_message(call, bytes(2**22))
    sent(owner)
    owner.respond(owner.call(101), bytes(100 * KIB))
    turns, found = 0, payload_sizes(sent(owner))
    while all(id != 101 for id, _ in found):
        turns, found = turns + 1, payload_sizes(sent(owner))
    assert (101, 100 * KIB) in found
    assert 4 <= turns <= 8


def test_dropped_messages_leave_the_ring_and_their_places() -> None:
    owner = sender(open_messages=1)
    calls = [owner.call(id) for id in (1, 3)]
    for call in calls:
        owner.respond(call, bytes(2**20))
    assert {id for id, _ in payload_sizes(sent(owner))} == {1}
    owner.drop(calls[0])
    assert {id for id, _ in payload_sizes(sent(owner))} == {3}


def test_messages_that_wait_for_credit_go_by_priority() -> None:
    owner = sender(credit=1)
    for id in range(1, 9, 2):
        owner.respond(owner.call(id), bytes(16_000))
    for id, priority in ((11, 1), (13, 0), (15, 2)):
        owner.respond(owner.call(id, priority=priority), bytes(16_000))
    assert [id for id, _ in payload_sizes(sent(owner))] == [1, 3, 5, 7]
    owner.raise_credit(None, 2**20)
    assert [id for id, _ in payload_sizes(sent(owner))] == [15, 13, 11]


def test_an_id_alone_saves_for_a_message_that_may_begin_only_as_a_whole() -> None:
    owner = sender(max_frame=2**20, open_messages=0)
    owner.respond(owner.call(1), bytes(300 * KIB))
    assert payload_sizes(sent(owner)) == [(1, 300 * KIB)]


def test_a_small_rest_of_a_message_is_never_cut_to_more_than_there_is() -> None:
    """An id that owes gets a share of a few bytes: a piece is longer than that, and the remainder is sent with it."""
    random = Random(7)
    for _ in range(300):
        owner = sender()
        owing = owner.call(1, window=random.randrange(2_000, 40_000))
        for id in (3, 5):
            owner.send_message(owner.call(id, window=2**30), bytes(2**20))
        given = came = b""
        # Its debt has any size when a message comes for which it has no credit yet.
        for size in (*(random.randrange(1, 3_000) for _ in range(random.randrange(1, 20))), 5_003, 7_000):
            given += random.randbytes(size)
            owner.send_message(owing, given[-size:])
        while found := sent(owner, 0):
            came += b"".join(frame.payload for frame in found if isinstance(frame, Data) and frame.id == 1)
            owner.raise_credit(owing, 3_000)
        assert came == given
