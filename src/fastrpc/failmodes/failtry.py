"""Another attempt at the same place."""

from typing import Any

from fastrpc.failmodes.base import Attempt, AttemptedCall, Attempts, Pick, check_retries, sequential

__all__ = ["FailTry"]


class FailTry:
    """Try the same endpoint up to `retries` times more, for services where each endpoint holds its own part.

    The first attempt that cost the server no work does not count, unless it did not connect.
    """

    def __init__(self, retries: int = 3) -> None:
        self.retries = check_retries(retries)

    @sequential
    async def run(self, call: AttemptedCall, pick: Pick, attempt: Attempt) -> Any:
        """Return the first answer, or raise the last error."""
        attempts = Attempts(call, self.retries, elsewhere=False)
        endpoint = pick()
        try:
            while True:
                try:
                    return await attempt(endpoint)
                except Exception as error:
                    pause = attempts.after(error)
                    if pause is None:
                        attempts.final(error)
                        raise
                if pause:
                    await call.sleep(pause)
        finally:
            # The errors' tracebacks reference this frame; a reference back would be a cycle.
            del attempts
