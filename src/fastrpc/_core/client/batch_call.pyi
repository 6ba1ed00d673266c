from collections.abc import Iterable
from typing import Any, final

from fastrpc._core.client.client_call import ClientCall
from fastrpc.errors import FastRPCError

def sent_failure(outcomes: Iterable[Any]) -> FastRPCError | None:
    """Return the error of a batch as one attempt: the first error of a sent call, or None."""

@final
class BatchMember(ClientCall):
    """One call of a batch."""

class BatchCall:
    """The calls of a batch, and the data they send."""

    @property
    def size(self) -> int:
        """The number of calls in the batch."""

    @property
    def returns_errors(self) -> bool:
        """Whether errors are results."""

    def single(self, head: ClientCall, index: int) -> Any:
        """Return one of the calls, to be made anew within the batch's deadline."""

    def attempted(self, head: ClientCall, index: int) -> Any:
        """Return one of the calls for the runner to continue; the batch made its first attempt."""
