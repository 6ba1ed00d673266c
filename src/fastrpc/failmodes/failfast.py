"""One attempt."""

from typing import Any

from fastrpc.failmodes.base import Attempt, AttemptedCall, Pick, sequential, try_elsewhere

__all__ = ["FailFast"]


class FailFast:
    """Fail with the first error.

    One exception: if a server that shuts down provably did not start the call, the call is sent once more. For the
    caller this is the same as calling a moment later.
    """

    #: The number of attempts after the first one.
    retries = 0

    @sequential
    async def run(self, call: AttemptedCall, pick: Pick, attempt: Attempt) -> Any:
        """Return the answer, or raise the error of the attempt."""
        return await try_elsewhere(call, pick, attempt, 0)
