"""Fail modes, which decide whether and where a failed attempt is repeated.

The package has the interface, the rules for safe retries, and the built-in modes. It depends on calls and endpoints,
but not on clients or the network: the functions that pick an endpoint and make an attempt are passed in.
"""

from typing import TYPE_CHECKING

from fastrpc.first_use import names_on_first_use

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

if TYPE_CHECKING:
    from fastrpc.failmodes.base import Attempts, FailMode, RetryPolicy, fail_mode_for
    from fastrpc.failmodes.failbackup import FailBackup
    from fastrpc.failmodes.failfast import FailFast
    from fastrpc.failmodes.failover import FailOver
    from fastrpc.failmodes.failtry import FailTry
else:  # Type checkers would accept any attribute name.
    __getattr__ = names_on_first_use(
        __name__,
        {
            "base": "Attempts FailMode RetryPolicy fail_mode_for",
            "failbackup": "FailBackup",
            "failfast": "FailFast",
            "failover": "FailOver",
            "failtry": "FailTry",
        },
    )


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
