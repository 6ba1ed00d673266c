"""Fail modes decide what follows a failed attempt: the interface, the rules of safe retries, the built-in modes.

Depends on calls and endpoints, not on clients or the network: picking and attempting are passed in.
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
