"""The instant of a start, whose clock is set meanwhile."""

from fastrpc.server.admin.start_instant import StartInstant


class Clocks:
    wall, steady = 1_000.0, 50.0

    def passes(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


def test_the_age_of_a_server_stays_true_after_its_clock_was_set() -> None:
    clocks = Clocks()
    started = StartInstant(lambda: clocks.wall, lambda: clocks.steady)
    clocks.passes(60)
    for jump in (3_600.0, -7_200.0):
        clocks.wall += jump
        assert clocks.wall - started.seconds() == 60


def test_the_instant_stays_the_same_while_the_clock_is_slewed() -> None:
    clocks = Clocks()
    started = StartInstant(lambda: clocks.wall, lambda: clocks.steady)
    for _ in range(9):
        clocks.passes(10)
        clocks.wall += 0.1
        assert started.seconds() == 1_000.0
