"""Retry at another endpoint."""

from typing import Any

from fastrpc.failmodes.base import Attempt, AttemptedCall, Pick, check_retries, sequential, try_elsewhere

__all__ = ["FailOver"]


class FailOver:
    """Try up to `retries` other endpoints, if that is safe and the client's retry budget allows it.

    The first attempt that caused no work at any server does not count.
    """

    def __init__(self, retries: int = 3) -> None:
        self.retries = check_retries(retries)

    @sequential
    async def run(self, call: AttemptedCall, pick: Pick, attempt: Attempt) -> Any:
        """Return the first answer, or raise the last error."""
        return await try_elsewhere(call, pick, attempt, self.retries)
