"""One attempt."""

from typing import Any

from fastrpc.failmodes.base import Attempt, AttemptedCall, Pick, sequential, try_elsewhere

__all__ = ["FailFast"]


class FailFast:
    """Fail with the first error.

    Only a call that a leaving server provably did not start is sent once more; for the caller it looks like a call made
    a moment later.
    """

    #: Attempts after the first failed one.
    retries = 0

    @sequential
    async def run(self, call: AttemptedCall, pick: Pick, attempt: Attempt) -> Any:
        """Return the answer, or raise the error of the attempt."""
        return await try_elsewhere(call, pick, attempt, 0)
