"""Process 1 of a container adopts the orphans of all other processes."""

from pathlib import Path

import pytest

from tests.support.program import run_program

pytestmark = pytest.mark.one_loop

#: In a separate process: it would end children of other tests.
PROGRAM = """
import os

from fastrpc.workers.process import reap_adopted


def ended_child():
    child = os.fork()
    if child == 0:
        os._exit(7)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    return child


another = ended_child()
reap_adopted(())
assert os.waitpid(another, 0)[0] == another

os.getpid = lambda: 1
adopted = ended_child()
reap_adopted(())
try:
    os.waitpid(adopted, os.WNOHANG)
    raise AssertionError("the zombie is still there")
except ChildProcessError:
    pass
own = ended_child()
reap_adopted({own})
assert os.waitstatus_to_exitcode(os.waitpid(own, 0)[1]) == 7
reap_adopted(())
print("all is well")
"""


def test_process_1_ends_adopted_zombies_and_no_child_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "adopting.py").write_text(PROGRAM)
    ended = run_program(["adopting.py"], tmp_path)
    assert (ended.code, ended.output) == (0, "all is well\n"), ended
