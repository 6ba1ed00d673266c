"""Windows of streams that grow: causes, limits, and their debt to the stream pool."""

import pytest

from fastrpc_harness.recorded_stream import RecordedStream
from tests.support.engine import frames
from tests.support.linked_streams import LinkedStreams
from tests.support.wire_frames import Credit, Data

WINDOW = 65_536
POOL = 33_554_432
MIB = 1_048_576
#: A message with its header is a 64th of the first window.
SIZE = 1_008


def fill(sender: RecordedStream) -> int:
    """Send until the sender has to wait; return how many messages were sent, the one that waits included."""
    count = 0
    while not sender.would_wait:
        sender.send_message(bytes(SIZE))
        count += 1
    return count


def read(reader: RecordedStream, most: int = 1_000_000) -> int:
    """Take the arrived messages; return their number."""
    count = 0
    while reader.waiting and count < most:
        reader.take_now()
        count += 1
    return count


def keep_up(link: LinkedStreams, sender: RecordedStream, reader: RecordedStream, rounds: int) -> list[int]:
    """Let a fast sender meet a reader that takes everything and waits; return the window after each round."""
    sizes = []
    for _ in range(rounds):
        fill(sender)
        link.carry()
        read(reader)
        reader.wait_now()
        sizes.append(reader.window_bytes)
        link.carry()
    return sizes


@pytest.fixture
def link() -> LinkedStreams:
    return LinkedStreams(window=WINDOW, pool=POOL)


def both_ways(link: LinkedStreams) -> list[tuple[RecordedStream, RecordedStream]]:
    near, far = link.open(with_loop=False)
    return [(near, far), (far, near)]


def test_window_doubles_up_to_a_quarter_of_the_pool_while_its_reader_keeps_up(link: LinkedStreams) -> None:
    for sender, reader in both_ways(link):
        sizes = keep_up(link, sender, reader, 40)
        assert sorted(set(sizes) | {WINDOW}) == [WINDOW << step for step in range(8)]
        assert sizes == sorted(sizes)
        assert sizes[-1] == POOL // 4


def test_window_that_grew_takes_messages_up_to_its_new_size(link: LinkedStreams) -> None:
    for sender, reader in both_ways(link):
        keep_up(link, sender, reader, 3)
        read(reader)
        link.carry()
        size = reader.window_bytes
        assert size > WINDOW
        read(reader)
        fill(sender)
        link.carry()
        assert reader.waiting_cost <= size
        assert reader.waiting_cost + reader.credit[1] + reader.credit[2] == size


def test_slow_reader_never_gets_a_larger_window(link: LinkedStreams) -> None:
    for sender, reader in both_ways(link):
        for _ in range(200):
            fill(sender)
            link.carry()
            # It takes half, so that it never has to wait.
            read(reader, 32)
            link.carry()
        assert reader.window_bytes == WINDOW


def test_reader_that_finds_nothing_once_in_a_while_never_gets_a_larger_window(link: LinkedStreams) -> None:
    """It is slow, and its sender stood still for a moment."""
    for sender, reader in both_ways(link):
        for _ in range(20):
            for _ in range(6):
                fill(sender)
                link.carry()
                read(reader, 32)
                link.carry()
            read(reader)
            reader.wait_now()
            link.carry()
            assert reader.window_bytes == WINDOW


def test_reader_that_is_delayed_twice_in_a_row_gets_a_larger_window(link: LinkedStreams) -> None:
    for sender, reader in both_ways(link):
        sizes = keep_up(link, sender, reader, 5)
        assert sizes == [WINDOW, WINDOW, 2 * WINDOW, 2 * WINDOW, 4 * WINDOW]


def test_reader_that_never_reads_holds_its_first_window(link: LinkedStreams) -> None:
    for sender, reader in both_ways(link):
        for _ in range(10):
            fill(sender)
            link.carry()
            reader.wait_now()
        assert reader.window_bytes == WINDOW
        assert reader.waiting_cost <= WINDOW


def test_slow_sender_never_gets_a_larger_window(link: LinkedStreams) -> None:
    for sender, reader in both_ways(link):
        for _ in range(1_000):
            sender.send_message(bytes(SIZE))
            link.carry()
            read(reader)
            reader.wait_now()
        assert reader.window_bytes == WINDOW


def test_sender_that_claims_to_wait_grows_the_window_only_as_far_as_messages_are_taken(
    link: LinkedStreams,
) -> None:
    near, far = link.open(with_loop=False)
    taken = 0
    for _ in range(2_000):
        link.server.receive_data(Data(near.call.id, bytes(SIZE), codec=1, waited=True).encode())
        taken += read(far) * (SIZE + 16)
        far.wait_now()
        link.server.data_to_send()
        assert far.window_bytes <= max(WINDOW, 4 * taken)
    assert far.window_bytes > WINDOW


def test_growth_and_owed_credit_are_sent_in_one_credit(link: LinkedStreams) -> None:
    near, far = link.open(with_loop=False)
    keep_up(link, near, far, 2)
    fill(near)
    link.server.receive_data(link.client.data_to_send())
    assert read(far, 63) == 63
    half, *_ = frames(link.server.data_to_send(), by_server=True)
    link.client.receive_data(half.encode())
    link.server.receive_data(link.client.data_to_send())
    read(far)
    link.server.data_to_send()
    _, left, owed, _ = far.credit
    far.wait_now()
    assert frames(link.server.data_to_send(), by_server=True) == [Credit(near.call.id, owed + WINDOW)]
    assert far.credit[1:3] == (left + owed + WINDOW, 0)


def test_window_that_is_not_needed_gives_its_growth_back(link: LinkedStreams) -> None:
    for connection, (sender, reader) in zip((link.server, link.client), both_ways(link), strict=True):
        keep_up(link, sender, reader, 6)
        grown = reader.window_bytes
        assert grown > WINDOW
        while reader.window_bytes > WINDOW:
            before, passed = reader.window_bytes, 0
            while reader.window_bytes == before:
                sender.send_message(bytes(SIZE))
                link.carry()
                passed += SIZE + 16
                read(reader)
                reader.wait_now()
            assert before == 2 * reader.window_bytes
            assert 14 * before <= passed <= 17 * before
            link.carry()
            assert sender.credit[0] + reader.credit[2] == reader.window_bytes
        assert connection.assembler.stream_pool_left == POOL
        assert connection.assembler.growth_left == POOL // 2


@pytest.mark.parametrize("end", ["answer", "cancel", "refusal of a message"])
def test_growth_goes_back_to_the_pool_with_the_call(link: LinkedStreams, end: str) -> None:
    near, far = link.open(with_loop=False)
    for sender, reader in ((near, far), (far, near)):
        keep_up(link, sender, reader, 4)
        fill(sender)
        link.carry()
        assert reader.window_bytes > WINDOW
    near.end()
    if end == "cancel":
        link.client.cancel(near.call)
        link.carry()
    far.end()
    link.server.respond_error(far.call, 5)
    link.carry()
    for connection in (link.client, link.server):
        assert connection.calls == []
        assert connection.assembler.stream_pool_left == POOL
        assert connection.assembler.growth_left == POOL // 2


def test_one_stream_leaves_room_for_other_streams_to_grow(link: LinkedStreams) -> None:
    sizes = []
    for _ in range(6):
        near, far = link.open(with_loop=False)
        sizes.append(keep_up(link, near, far, 40)[-1])
    assert sizes == [8 * MIB, 4 * MIB, 2 * MIB, MIB, MIB // 2, MIB // 2]
    assert link.server.assembler.growth_left == 16 * MIB - sum(sizes) + 6 * WINDOW
    assert link.server.assembler.stream_pool_left == POOL - 16 * MIB + link.server.assembler.growth_left


def test_message_of_maximum_size_finds_room_next_to_grown_windows() -> None:
    link = LinkedStreams(window=WINDOW, pool=65_536)
    assert link.server.assembler.stream_pool_left == 32_768 + 16 * MIB
    link = LinkedStreams(window=16_384, pool=POOL)
    for _ in range(8):
        keep_up(link, *link.open(with_loop=False), 40)
    near, far = link.open(with_loop=False)
    near.send_message(bytes(16 * MIB))
    link.carry()
    assert len(far.take_now()) == 16 * MIB


def test_window_does_not_change_while_a_large_message_waits_for_the_pool(link: LinkedStreams) -> None:
    holders = [link.open(with_loop=False) for _ in range(3)]
    for near, _ in holders:
        near.send_message(bytes(16 * MIB))
    link.server.receive_data(link.client.data_to_send())
    for near, _ in holders:
        assert near.has_unsent
    assert link.server.assembler.stream_pool_left == 0
    near, far = link.open(with_loop=False)
    fill(near)
    link.server.receive_data(link.client.data_to_send())
    read(far)
    far.wait_now()
    assert far.window_bytes == WINDOW


def test_ceiling_of_a_connection_binds_every_window_of_it(link: LinkedStreams) -> None:
    link.server.assembler.most_window = WINDOW
    near, far = link.open(with_loop=False)
    assert set(keep_up(link, near, far, 20)) == {WINDOW}


def test_large_messages_make_their_window_grow_until_no_message_is_delayed(link: LinkedStreams) -> None:
    near, far = link.open(with_loop=False)
    for _ in range(40):
        near.send_message(bytes(MIB))
        link.carry()
        assert len(far.take_now()) == MIB
        far.wait_now()
    link.carry()
    assert far.window_bytes >= 2 * MIB
    near.send_message(bytes(MIB))
    while near.has_unsent:
        data = link.client.data_to_send()
        assert data
        link.server.receive_data(data)
        link.server.data_to_send()
