"""Retry at the same endpoint."""

from typing import Any

from fastrpc.failmodes.base import Attempt, AttemptedCall, Attempts, Pick, check_retries, sequential

__all__ = ["FailTry"]


class FailTry:
    """Try the same endpoint up to `retries` more times, for services whose endpoints hold different data.

    The first attempt that caused no work at the server does not count, except if the connection failed.
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
            # Avoid a reference cycle: the tracebacks of the errors refer to this frame.
            del attempts
