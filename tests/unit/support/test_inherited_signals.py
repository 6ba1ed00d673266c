"""A run that ignores signals starts programs that do not."""

import json
import subprocess
import sys

import pytest

from tests.support.inherited_signals import IGNORED
from tests.support.program import WAIT_SECONDS
from tests.support.source_tree import ROOT

#: Tells the signals that its child ignores, then sends itself those that must not end a run.
RUN = '''
import os, signal, subprocess, sys
from tests.support.inherited_signals import catch_ignored

if {catches}:
    catch_ignored()
look = """
import json, signal
print(json.dumps([n for n in signal.valid_signals() if signal.getsignal(n) is signal.SIG_IGN]))
"""
print(subprocess.run([sys.executable, "-S", "-c", look], capture_output=True, text=True, check=True).stdout)
for number in (signal.SIGHUP, signal.SIGQUIT):
    os.kill(os.getpid(), number)
print("goes on")
'''


@pytest.mark.parametrize("catches", [True, False])
def test_program_has_default_signals_though_the_run_ignores_them(catches: bool) -> None:
    ignored = ", ".join(f"signal.{number.name}" for number in IGNORED)
    ignoring = f"import signal\nfor number in ({ignored}): signal.signal(number, signal.SIG_IGN)\n"
    command = [sys.executable, "-c", ignoring + RUN.format(catches=catches)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=WAIT_SECONDS)
    told, goes_on = ran.stdout.split("\n\n")
    assert goes_on == "goes on\n"
    found = set(json.loads(told)) & set(IGNORED)
    assert found == (set() if catches else set(IGNORED))
