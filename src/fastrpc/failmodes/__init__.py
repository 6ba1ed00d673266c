"""What follows a failed attempt: the interface, the rules of safe retrying, and the built-in fail modes.

Knows calls and endpoints, and neither client nor network: picking and attempting are passed in.
"""

from fastrpc.failmodes.base import Attempts, FailMode, RetryPolicy, fail_mode_for
from fastrpc.failmodes.failbackup import FailBackup
from fastrpc.failmodes.failfast import FailFast
from fastrpc.failmodes.failover import FailOver
from fastrpc.failmodes.failtry import FailTry

__all__ = [
    "Attempts",
    "FailBackup",
    "FailFast",
    "FailMode",
    "FailOver",
    "FailTry",
    "RetryPolicy",
    "fail_mode_for",
]
