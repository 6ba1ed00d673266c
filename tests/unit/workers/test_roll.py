"""When a roll begins, and which workers it replaces, wherever the signal arrives that asks for it."""

import logging
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from fastrpc.config import Timeouts
from fastrpc.errors import ConfigError
from fastrpc.workers.crew import Crew
from fastrpc.workers.monitoring.scoreboard import Role
from fastrpc.workers.plan import ExitCode
from fastrpc.workers.roll import Rolling
from fastrpc.workers.systemd import Systemd
from fastrpc.workers.worker_record import WorkerRecord

pytestmark = pytest.mark.one_loop

ALL = "replaced by new ones: worker 1, worker 2, worker 3, worker 4"


def refuse_files() -> None:
    """Give each roll up before it starts a process."""
    raise ConfigError("a certificate has expired")


@pytest.fixture
def crew() -> Iterator[Crew]:
    workers = [
        WorkerRecord(f"worker {number}", lambda *_: ExitCode.DONE, Role.WORKER) for number in range(1, 5)
    ]
    crew = Crew(
        workers,
        (),
        time.monotonic,
        on_report=lambda *_: None,
        on_end=lambda *_: None,
        let_go=lambda *_: None,
    )
    yield crew
    crew.close()


class SignalAt:
    """Asks for a roll before the instruction of this number, as the handler of a signal does."""

    def __init__(self, rolling: Rolling, number: int) -> None:
        self._rolling = rolling
        self._left = number

    @property
    def has_arrived(self) -> bool:
        return self._left < 0

    def __call__(self, frame: FrameType, event: str, _: Any) -> "SignalAt":
        frame.f_trace_opcodes = "/fastrpc/workers/roll.py" in frame.f_code.co_filename
        if event == "opcode":
            self._left -= 1
            if self._left == -1:
                self._rolling.ask()
        return self


def rolls(crew: Crew, number: int) -> bool:
    """Have a signal arrive at an instruction of a turn, continue until nothing is due; return whether it arrived."""
    rolling = Rolling(crew, Systemd({}), Timeouts(), refuse_files)
    signal = SignalAt(rolling, number)
    before = sys.gettrace()
    sys.settrace(signal)
    try:
        rolling.go_on()
    finally:
        sys.settrace(before)
    # At most two rolls, each begun and given up.
    for _ in range(4):
        rolling.go_on()
    return signal.has_arrived


@pytest.mark.parametrize("aged", [False, True], ids=["none_aged", "one_aged"])
def test_a_signal_at_any_instruction_of_a_turn_has_all_workers_replaced(
    crew: Crew, caplog: pytest.LogCaptureFixture, aged: bool
) -> None:
    number = 0
    while True:
        crew.workers[1].wants_successor = aged
        with caplog.at_level(logging.INFO, "fastrpc.server"):
            caplog.clear()
            has_arrived = rolls(crew, number)
            begun = [text for text in caplog.messages if text.startswith("replaced by new ones")]
        if not has_arrived:
            break
        one = ["replaced by new ones: worker 2"] if aged else []
        assert begun in ([ALL], [*one, ALL]), f"instruction {number}"
        assert len(crew.processes) == 4
        number += 1
    # Some instructions for each worker.
    assert number > 30
