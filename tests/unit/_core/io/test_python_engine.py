"""An engine in Python below a session: bytes and instants go in, bytes come out, in the turns of the loop."""

import asyncio
import time

import pytest

from fastrpc._core.io.engine import PythonEngine
from fastrpc._core.io.session import Session
from tests.support.still_transport import StillTransport
from tests.support.used_turn import use_up_the_slices, use_up_the_turn
from tests.support.waiting import eventually

#: The bytes that a loop receives at once.
READ_BUFFER = 393_216


class Shouting(PythonEngine):
    """Answers each line in capitals."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.seconds = 0.0

    def connection_made(self) -> None:
        self.heard.append("made")

    def receive_data(self, data: bytes) -> int:
        at = 0
        while (end := data.find(b"\n", at)) >= 0:
            until = time.perf_counter() + self.seconds
            while time.perf_counter() < until:
                pass
            self.send(data[at : end + 1].upper())
            at = end + 1
            if self.turn_is_over():
                break
        return at

    def eof_received(self) -> None:
        self.heard.append("eof")

    def connection_lost(self, error: BaseException | None) -> None:
        self.heard.append(f"lost {error}")


def connected(engine: PythonEngine | None = None) -> tuple[Session, Shouting, StillTransport]:
    chosen = Shouting() if engine is None else engine
    session, transport = Session(chosen, loop=asyncio.get_running_loop()), StillTransport()
    session.connection_made(transport)
    return session, chosen, transport  # type: ignore[return-value]


def receive(session: Session, data: bytes) -> None:
    place = session.get_buffer(65_536)
    place[: len(data)] = data
    session.buffer_updated(len(data))


async def test_lines_cut_anywhere_are_answered() -> None:
    data = b"one\ntwo\nthree\n"
    for cut in range(len(data) + 1):
        session, _, transport = connected()
        receive(session, data[:cut])
        receive(session, data[cut:])
        assert transport.written == b"ONE\nTWO\nTHREE\n"


async def test_output_outside_a_read_leaves_with_the_loop_s_turn() -> None:
    _, engine, transport = connected()
    engine.send(b"hello, ")
    engine.send(b"you")
    assert (transport.written, engine.unsent_bytes()) == (b"", 10)
    await asyncio.sleep(0)
    assert (transport.written, engine.unsent_bytes()) == (b"hello, you", 0)


async def test_lines_that_take_longer_than_a_turn_wait_for_the_next_one() -> None:
    session, engine, transport = connected()
    engine.seconds = 0.000_2
    receive(session, b"line\n" * 100)
    assert session.is_put_off
    assert transport.is_paused
    assert 0 < len(transport.written) < 500
    await eventually(lambda: len(transport.written) == 500)
    assert not transport.is_paused


async def test_a_read_in_a_used_up_turn_waits_unseen() -> None:
    session, _, transport = connected()
    use_up_the_turn()
    receive(session, b"line\n")
    assert (session.is_put_off, transport.written) == (True, b"")
    await eventually(lambda: transport.written == b"LINE\n")


async def test_a_short_read_of_many_messages_takes_a_part_of_the_time_for_short_reads() -> None:
    session, engine, transport = connected()
    engine.seconds = 0.000_5
    use_up_the_slices()
    receive(session, b"line\n" * 100)
    assert session.is_put_off
    assert 0 < transport.written.count(b"\n") <= 10
    await eventually(lambda: len(transport.written) == 500)


async def test_an_error_of_an_engine_ends_its_connection_alone(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(PythonEngine):
        def receive_data(self, data: bytes) -> int:
            raise ValueError("cannot")

    session, _, transport = connected(Broken())
    receive(session, b"x")
    assert transport.is_aborted
    assert [record.message for record in caplog.records] == [
        "fastrpc: internal error on a connection of nobody"
    ]


@pytest.mark.parametrize("consumed", [-1, 2])
async def test_an_impossible_count_of_consumed_bytes_ends_the_connection(consumed: int) -> None:
    class Wrong(PythonEngine):
        def receive_data(self, data: bytes) -> int:
            return consumed

    session, _, transport = connected(Wrong())
    receive(session, b"x")
    assert transport.is_aborted


async def test_an_engine_that_never_consumes_is_closed_at_the_size_of_the_buffer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Hoarding(PythonEngine):
        def receive_data(self, data: bytes) -> int:
            return 0

    session, _, transport = connected(Hoarding())
    received = 0
    while not transport.is_aborted:
        size = min(100_000, len(session.get_buffer(-1)))
        assert size > 0
        session.buffer_updated(size)
        received += size
    assert received == READ_BUFFER
    # It is the peer that sent no end of its message: no error of the program, no traceback.
    [record] = caplog.records
    assert (record.levelname, record.exc_info) == ("WARNING", None)
    assert f"its engine consumed none of {READ_BUFFER} bytes" in caplog.text


async def test_an_engine_checks_the_instants_it_asked_for() -> None:
    class Waiting(PythonEngine):
        looks = 0

        def connection_made(self) -> None:
            self.schedule_check(self.now + 1_000_000)

        def check_at(self, now: int) -> int:
            self.looks += 1
            return now + 1_000_000 if self.looks < 3 else 0

    engine = Waiting()
    session, _, _ = connected(engine)
    await eventually(lambda: engine.looks == 3)
    session.connection_lost(None)


async def test_the_end_of_the_stream_is_reported_and_nothing_is_sent_after_it() -> None:
    session, engine, transport = connected()
    assert session.eof_received() is False
    session.connection_lost(OSError("gone"))
    assert engine.heard == ["made", "eof", "lost gone"]
    engine.send(b"too late")
    await asyncio.sleep(0)
    assert (transport.written, engine.unsent_bytes(), engine.is_closed) == (b"", 0, True)


async def test_close_sends_the_last_words() -> None:
    _, engine, transport = connected()
    engine.send(b"bye")
    engine.close()
    assert (transport.written, transport.is_aborted) == (b"bye", True)
