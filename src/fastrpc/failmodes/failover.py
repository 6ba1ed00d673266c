"""Another attempt elsewhere."""

from typing import Any

from fastrpc.failmodes.base import Attempt, AttemptedCall, Pick, check_retries, sequential, try_elsewhere

__all__ = ["FailOver"]


class FailOver:
    """Try up to `retries` other endpoints, as far as it is safe and the client's budget allows.

    The first attempt that cost no server any work does not count.
    """

    def __init__(self, retries: int = 3) -> None:
        self.retries = check_retries(retries)

    @sequential
    async def run(self, call: AttemptedCall, pick: Pick, attempt: Attempt) -> Any:
        """Return the first answer, or raise the last error."""
        return await try_elsewhere(call, pick, attempt, self.retries)
