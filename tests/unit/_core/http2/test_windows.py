"""The windows of HTTP/2: both directions, changes of settings, overflow, credit; a plain model as the oracle."""

from random import Random

import pytest
from h2.errors import ErrorCodes

from fastrpc._core.http2.stream_table import FlowControl
from fastrpc_harness.http2_blocks import Http2ViolationError
from fastrpc_harness.http2_windows import (
    FlowedStream,
    change_first_receiving,
    change_first_sending,
    lend,
    pool_of,
    widen,
)
from tests.conftest import Scale

FIRST = 65_535
MOST = 2**31 - 1


def code_of(error: Http2ViolationError) -> str:
    return f"{'C' if error.is_of_connection else 'S'} {ErrorCodes(error.code).name}"


class TestSending:
    def test_both_windows_bound_it(self) -> None:
        stream, other = (FlowedStream(connection := FlowControl()), FlowedStream(connection))
        assert stream.sendable == FIRST
        stream.send(60_000)
        assert (stream.sendable, other.sendable, connection.sending) == (5_535, 5_535, 5_535)
        stream.raise_connection(100_000)
        assert (stream.sendable, other.sendable) == (5_535, FIRST)
        stream.raise_window(1)
        assert stream.sendable == 5_536

    def test_a_lowered_setting_makes_windows_negative(self) -> None:
        connection = FlowControl()
        stream = FlowedStream(connection)
        stream.send(1_000)
        change_first_sending(connection, 0, [stream])
        assert (stream.sending, stream.sendable) == (-1_000, 0)
        stream.raise_window(1_001)
        assert stream.sendable == 1
        change_first_sending(connection, 500, [stream])
        assert (stream.sending, FlowedStream(connection).sending) == (501, 500)

    @pytest.mark.parametrize("is_of_stream", [True, False])
    def test_a_window_at_its_most_is_taken_and_one_more_is_refused(self, is_of_stream: bool) -> None:
        stream = FlowedStream(FlowControl())
        raise_it = stream.raise_window if is_of_stream else stream.raise_connection
        raise_it(MOST - FIRST)
        with pytest.raises(Http2ViolationError, match="raised to 2147483648") as caught:
            raise_it(1)
        assert code_of(caught.value) == ("S" if is_of_stream else "C") + " FLOW_CONTROL_ERROR"

    @pytest.mark.parametrize("is_of_stream", [True, False])
    def test_an_increment_of_nothing_is_refused(self, is_of_stream: bool) -> None:
        stream = FlowedStream(FlowControl())
        with pytest.raises(Http2ViolationError, match="adds 0") as caught:
            (stream.raise_window if is_of_stream else stream.raise_connection)(0)
        assert code_of(caught.value) == ("S" if is_of_stream else "C") + " PROTOCOL_ERROR"

    def test_a_setting_that_overflows_a_window_ends_the_connection(self) -> None:
        connection = FlowControl()
        stream = FlowedStream(connection)
        stream.raise_window(1)
        change_first_sending(connection, MOST - 1, [stream])
        assert stream.sending == MOST
        with pytest.raises(Http2ViolationError, match="raised to 2147483648") as caught:
            change_first_sending(connection, MOST, [stream])
        assert code_of(caught.value) == "C FLOW_CONTROL_ERROR"

    def test_streams_that_are_over_do_not_count_for_it(self) -> None:
        connection = FlowControl()
        FlowedStream(connection).raise_window(1_000)
        # The bound does not settle it: the streams are looked at, once.
        assert change_first_sending(connection, MOST, [])
        assert not change_first_sending(connection, 0, [])
        assert not change_first_sending(connection, MOST, [])

    def test_a_change_needs_no_look_at_the_streams(self) -> None:
        connection = FlowControl()
        streams = [FlowedStream(connection) for _ in range(3)]
        streams[0].raise_window(1 << 20)
        for first in (0, FIRST, 1 << 30, 1):
            assert not change_first_sending(connection, first, streams)


class TestReceiving:
    def test_data_up_to_the_windows_is_taken(self) -> None:
        connection = FlowControl()
        stream = FlowedStream(connection)
        stream.receive(FIRST)
        stream.receive(0)
        assert (stream.receiving, stream.connection_receiving) == (0, 0)

    def test_data_beyond_the_window_of_the_connection_ends_it(self) -> None:
        connection = FlowControl()
        FlowedStream(connection).receive(FIRST)
        with pytest.raises(
            Http2ViolationError, match="DATA of 1 bytes exceeds the connection's window of 0"
        ) as caught:
            FlowedStream(connection).receive(1)
        assert code_of(caught.value) == "C FLOW_CONTROL_ERROR"

    def test_data_beyond_the_window_of_a_stream_ends_it_alone(self) -> None:
        connection = FlowControl()
        assert widen(connection, 1 << 20) == (1 << 20) - FIRST
        stream = FlowedStream(connection)
        stream.receive(FIRST - 9)
        with pytest.raises(Http2ViolationError, match="exceeds the stream's window of 9") as caught:
            stream.receive(10)
        assert code_of(caught.value) == "S FLOW_CONTROL_ERROR"
        # The connection has counted it.
        assert stream.connection_receiving == (1 << 20) - FIRST - 1

    def test_data_of_a_stream_that_is_over_counts_for_the_connection(self) -> None:
        connection = FlowControl()
        stream = FlowedStream(connection)
        stream.receive_late(FIRST)
        with pytest.raises(Http2ViolationError, match="connection's window"):
            stream.receive_late(1)

    def test_a_lowered_setting_makes_windows_negative(self) -> None:
        connection = FlowControl()
        stream = FlowedStream(connection)
        stream.receive(1_000)
        change_first_receiving(connection, 0)
        assert stream.receiving == -1_000
        stream.receive(0)
        with pytest.raises(Http2ViolationError, match="exceeds the stream's window of -1000"):
            stream.receive(1)

    def test_credit_is_returned_by_half_a_window(self) -> None:
        connection = FlowControl()
        stream = FlowedStream(connection)
        stream.receive(40_000)
        assert stream.place(32_767) == (0, 0)
        assert stream.place(1) == (32_768, 32_768)
        assert (stream.receiving, stream.connection_receiving) == (FIRST - 7_232, FIRST - 7_232)
        assert stream.place(7_232) == (0, 0)

    def test_a_window_of_nothing_returns_all(self) -> None:
        connection = FlowControl()
        stream = FlowedStream(connection)
        stream.receive(10)
        change_first_receiving(connection, 0)
        assert stream.place(0) == (0, 0)
        assert stream.place(10) == (0, 10)

    def test_a_message_may_be_granted_more_than_the_window(self) -> None:
        connection = FlowControl()
        widen(connection, 1 << 24)
        stream = FlowedStream(connection)
        assert stream.grant(1 << 20) == 1 << 20
        stream.receive(FIRST + (1 << 20))
        assert stream.receiving == 0

    def test_no_grant_overflows_the_window_of_the_peer(self) -> None:
        stream = FlowedStream(FlowControl())
        assert stream.grant(2**40) == MOST - FIRST
        assert stream.receiving == MOST
        assert stream.grant(1) == 0

    def test_the_window_of_the_connection_only_widens(self) -> None:
        connection = FlowControl()
        assert widen(connection, 1 << 24) == (1 << 24) - FIRST
        assert widen(connection, 1 << 20) == 0
        assert widen(connection, 1 << 24) == 0


class TestGrowth:
    """HTTP/2 alone; the rule itself is tested with all wires side by side."""

    @pytest.fixture
    def connection(self) -> FlowControl:
        connection = FlowControl()
        widen(connection, 1 << 30)
        lend(connection, 1 << 22, 1 << 20)
        return connection

    def take_all(self, stream: FlowedStream, limit: int) -> int:
        """Receive DATA up to a limit that the peer knows and one byte less, take it and wait; return the growth."""
        stream.receive(1_000)
        stream.receive(limit - 1_000)
        stream.place(limit)
        return stream.wait()

    def test_a_stream_that_fills_its_window_twice_grows(self, connection: FlowControl) -> None:
        stream = FlowedStream(connection)
        assert (self.take_all(stream, FIRST), self.take_all(stream, FIRST)) == (0, FIRST)
        assert (stream.size, stream.receiving) == (2 * FIRST, 2 * FIRST)

    def test_a_stream_that_almost_fills_its_window_stays(self, connection: FlowControl) -> None:
        stream = FlowedStream(connection)
        for _ in range(20):
            size = stream.receiving - 1
            stream.receive(size)
            stream.place(size)
            assert stream.wait() == 0

    def test_a_limit_that_credit_has_replaced_meanwhile_counts(self, connection: FlowControl) -> None:
        """On a long line the peer reaches its limit while credit is on its way: we never see the window used up."""
        stream = FlowedStream(connection)
        limit = FIRST
        for _ in range(6):
            # The peer gets credit once it has used up its known window.
            at, known, limit = 0, limit, 0
            while at < known:
                size = min(9_999, known - at)
                stream.receive(size)
                at += size
                limit += stream.place(size)[1] + stream.wait()
                assert stream.receiving > 0
        assert stream.size > FIRST

    def test_growth_is_bound_by_the_pool_and_goes_back(self, connection: FlowControl) -> None:
        streams = [FlowedStream(connection) for _ in range(8)]
        for stream in streams:
            for _ in range(40):
                self.take_all(stream, stream.receiving)
        grown = sum(stream.size - FIRST for stream in streams)
        assert max(stream.size for stream in streams) <= 1 << 20
        assert pool_of(connection) == ((1 << 22) - grown, (1 << 21) - grown)
        for stream in streams:
            stream.end()
        assert pool_of(connection) == (1 << 22, 1 << 21)

    def test_with_little_memory_no_window_grows_and_grown_windows_shrink(
        self, connection: FlowControl
    ) -> None:
        stream = FlowedStream(connection)
        stream.receive(FIRST)
        stream.place(FIRST)
        stream.wait()
        stream.receive(FIRST)
        stream.place(FIRST)
        assert stream.wait(may_lend=False) == 0
        self.take_all(stream, FIRST)
        self.take_all(stream, FIRST)
        assert stream.size == 2 * FIRST
        stream.receive(FIRST)
        stream.place(FIRST, may_lend=False)
        assert stream.size == FIRST
        assert pool_of(connection) == (1 << 22, 1 << 21)

    def test_no_growth_overflows_the_window_of_the_peer(self) -> None:
        connection = FlowControl()
        widen(connection, MOST)
        change_first_receiving(connection, 1 << 30)
        lend(connection, 1 << 40, 1 << 20)
        stream = FlowedStream(connection)
        for _ in range(6):
            stream.receive(1 << 30)
            assert stream.place(1 << 30)[1] == 1 << 30
            assert stream.wait() == 0
        assert stream.size == 1 << 30


def test_sending_windows_match_a_plain_model(scale: Scale) -> None:
    for seed in scale.seeds(2_000):
        random, connection = Random(seed), FlowControl()
        streams = [FlowedStream(connection) for _ in range(4)]
        first, windows = FIRST, [FIRST] * 4
        for _ in range(100):
            at = random.randrange(4)
            step = random.random()
            if step < 0.3:
                size = random.randrange(streams[at].sendable + 1)
                streams[at].send(size)
                windows[at] -= size
                streams[at].raise_connection(size + 1)
            elif step < 0.6:
                increment = random.choice((1, 1_000, 1 << 29, MOST))
                if windows[at] + increment > MOST:
                    with pytest.raises(Http2ViolationError):
                        streams[at].raise_window(increment)
                else:
                    streams[at].raise_window(increment)
                    windows[at] += increment
            elif step < 0.8:
                changed = random.choice((0, 1, FIRST, 1 << 30, MOST))
                if max(*windows, first) + changed - first > MOST:
                    with pytest.raises(Http2ViolationError):
                        change_first_sending(connection, changed, streams)
                else:
                    change_first_sending(connection, changed, streams)
                    windows = [window + changed - first for window in windows]
                    first = changed
            else:
                # A stream ends, and the next one takes its place.
                streams[at], windows[at] = FlowedStream(connection), first
            assert [stream.sending for stream in streams] == windows
