"""Random lives of streams between two connections: credit is always exact to the byte."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from fastrpc_harness.recorded_stream import RecordedStream
from tests.support.linked_streams import LinkedStreams

WINDOW = 16_384
POOL = 67_108_864

SIZES = (0, 1, 100, 1_000, 5_000, 16_300, 20_000, 70_000)

Pair = tuple[RecordedStream, RecordedStream]


class StreamLives:
    """Several streams at once, and all that may happen to them."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.link = LinkedStreams(window=WINDOW, pool=POOL)
        self.live: list[Pair] = []
        self.sent: dict[RecordedStream, list[int]] = {}
        self.taken: dict[RecordedStream, list[int]] = {}

    def act(self) -> None:
        if len(self.live) < 4:
            near, far = self.link.open(with_loop=False)
            self.live.append((near, far))
            for stream in (near, far):
                self.sent[stream], self.taken[stream] = [], []
        pair = self.random.choice(self.live)
        self.random.choice(
            [self.send, self.send, self.take, self.take, self.carry_some, self.cancel, self.answer]
        )(pair)

    def send(self, pair: Pair) -> None:
        stream = self.random.choice(pair)
        for _ in range(self.random.randrange(1, 20)):
            if stream.would_wait:
                return
            size = self.random.choice(SIZES)
            stream.send_message(bytes(size))
            self.sent[stream].append(size)

    def take(self, pair: Pair) -> None:
        stream = self.random.choice(pair)
        for _ in range(self.random.randrange(1, 30)):
            if not stream.waiting:
                stream.wait_now()
                return
            self.taken[stream].append(len(stream.take_now()))

    def carry_some(self, pair: Pair) -> None:
        """Carry a random part of the waiting bytes of either side."""
        for source, target in ((self.link.client, self.link.server), (self.link.server, self.link.client)):
            data = source.data_to_send(self.random.choice((0, 10_000, -1)))
            while data:
                cut = self.random.randrange(1, len(data) + 1)
                target.receive_data(data[:cut])
                data = data[cut:]

    def cancel(self, pair: Pair) -> None:
        if self.random.random() < 0.3:
            self.live.remove(pair)
            near, far = pair
            near.end()
            self.link.client.cancel(near.call)
            self.link.carry()
            far.end()
            self.link.server.respond_error(far.call, 1)
            self.link.carry()

    def answer(self, pair: Pair) -> None:
        """The callee ends the call while messages are under way both ways."""
        if self.random.random() < 0.3:
            self.live.remove(pair)
            near, far = pair
            far.end()
            self.link.server.respond_error(far.call, 5)
            self.carry_some(pair)
            near.end()
            self.link.carry()

    def finish(self) -> None:
        """Take everything until nothing is under way."""
        self.link.carry()
        while any(stream.waiting or stream.has_unsent for pair in self.live for stream in pair):
            for pair in self.live:
                for stream in pair:
                    while stream.waiting:
                        self.taken[stream].append(len(stream.take_now()))
            self.link.carry()


@settings(deadline=None)
@given(st.randoms(use_true_random=False))
def test_credit_is_exact_after_any_life(random: Random) -> None:
    lives = StreamLives(random)
    for _ in range(150):
        lives.act()
        assert not lives.link.client.is_closed
        assert not lives.link.server.is_closed
    lives.finish()
    for near, far in lives.live:
        for sender, receiver in ((near, far), (far, near)):
            assert lives.taken[receiver] == lives.sent[sender]
            may_send = sender.credit[0]
            _, left, owed, granted = receiver.credit
            assert may_send == left
            assert left + owed == receiver.window_bytes
            assert granted == 0
    for connection, side in ((lives.link.client, 0), (lives.link.server, 1)):
        grown = sum(pair[side].window_bytes - WINDOW for pair in lives.live)
        assert connection.assembler.stream_pool_left == POOL - grown
        assert connection.assembler.growth_left == POOL // 2 - grown
        assert connection.calls == sorted(near.call.id for near, _ in lives.live)
        assert connection.waiting == 0


@settings(deadline=None)
@given(st.randoms(use_true_random=False))
def test_messages_that_wait_account_for_the_whole_window(random: Random) -> None:
    lives = StreamLives(random)
    for _ in range(80):
        lives.act()
    lives.link.carry()
    for pair in lives.live:
        for stream in pair:
            _, left, owed, granted = stream.credit
            on_its_way = stream.window_bytes + granted - left - owed - stream.waiting_cost
            # The missing bytes are in a message of which only pieces came.
            assert on_its_way >= 0
            if stream is pair[0] and not pair[1].has_unsent:
                assert on_its_way == 0
