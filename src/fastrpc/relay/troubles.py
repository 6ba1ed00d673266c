"""The failures of a claim, for the operator of its server: the reason, the remedy, and the log."""

import errno
import logging
import re
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from fastrpc.config_errors import mark_shown_at_program
from fastrpc.endpoint import Address
from fastrpc.errors import CallError, ConfigError, FastRPCError
from fastrpc.relay.place import RelayPlace
from fastrpc.relay.told import ToldReasons
from fastrpc.status import Status

__all__ = ["ClaimLog", "ClaimTrouble", "start_error", "trouble_of"]

logger = logging.getLogger("fastrpc.relay")

#: The system's error number for each refusal.
_NUMBERS: Final = {
    Status.UNAUTHENTICATED: errno.EPERM,
    Status.PERMISSION_DENIED: errno.EPERM,
    Status.ALREADY_EXISTS: errno.EADDRINUSE,
    Status.INVALID_ARGUMENT: errno.EINVAL,
    Status.UNIMPLEMENTED: errno.EPROTONOSUPPORT,
    Status.RESOURCE_EXHAUSTED: errno.ENOSPC,
}
#: Refusals that pass without an operator, once other programs give up their names.
_PASSING: Final = frozenset({Status.ALREADY_EXISTS, Status.RESOURCE_EXHAUSTED})

#: The name of the call, in texts about the connection that it waits for.
_CALL: Final = "fastrpc.relay.claim: "

#: Matches numbers in texts: times and ports, which differ between two failures for the same reason.
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?")


class ClaimTrouble(NamedTuple):
    """A failed claim, in words."""

    reason: str
    hint: str | None = None
    #: The system's number for a refusal; None: the relay cannot be reached.
    number: int | None = None
    #: Whether the next claim fails in the same way until an operator changes something.
    is_lasting: bool = False

    @property
    def text(self) -> str:
        """The reason with the remedy."""
        return f"{self.reason} ({self.hint})" if self.hint else self.reason


def trouble_of(failure: FastRPCError, place: RelayPlace) -> ClaimTrouble:
    """Return a failed claim in words."""
    # If a call waited for the connection, its refusal names the call. The reason is the same without that name.
    message = failure.message.removeprefix(_CALL)
    if isinstance(failure, ConfigError):
        return ClaimTrouble(message, failure.hint, errno.EINVAL, True)
    if isinstance(failure, CallError) and failure.status in _NUMBERS:
        return ClaimTrouble(
            f"the relay refuses: {message}",
            _hint(failure, place),
            _NUMBERS[failure.status],
            failure.status not in _PASSING,
        )
    if failure.is_lasting:
        hint = f"is {place.relay} the relay, by its --name, and ?ca_file= the authority of its certificate?"
        return ClaimTrouble(message, hint, errno.EPROTO, True)
    return ClaimTrouble(message)


def start_error(trouble: ClaimTrouble, address: Address) -> OSError:
    """Return the error of a `listen` that fails with a trouble."""
    error = OSError(trouble.number, f"cannot listen at {address}: {trouble.reason}")
    if trouble.hint is not None:
        error.add_note(f"hint: {trouble.hint}")
    mark_shown_at_program(error)
    return error


class ClaimLog:
    """Logs the troubles of one claim: each reason once a minute."""

    def __init__(self, address: Address, clock: Callable[[], float] = time.monotonic) -> None:
        self._address = address
        self._told = ToldReasons(clock)
        self._is_lost = False

    def lost(self, trouble: ClaimTrouble, *, stood: bool) -> None:
        """Log a failed or a lost claim, unless its reason was logged in the last minute.

        Args:
            stood: whether the claim has held before.
        """
        times = self._told.note(_NUMBER.sub("#", trouble.reason))
        if times is None:
            return
        self._is_lost = True
        done = (
            "the claim is lost, and made again" if stood else "the name is not claimed yet, and tried again"
        )
        logger.log(
            logging.ERROR if trouble.is_lasting else logging.WARNING,
            "%s: %s: %s%s",
            self._address,
            done,
            trouble.text,
            f" ({times} more times since the last line)" if times else "",
            extra={"event": "unclaimed"},
        )

    def stands(self) -> None:
        """Log that a lost claim holds again."""
        if self._is_lost:
            self._is_lost = False
            logger.info("%s: claimed again", self._address, extra={"event": "claimed"})


def _hint(failure: CallError, place: RelayPlace) -> str | None:
    match failure.status:
        case Status.UNIMPLEMENTED:
            return f"is {place.relay} the port of `fastrpc relay`?"
        case Status.UNAUTHENTICATED if place.credentials is None:
            return "give the server its token: ?token_file=FILE after the address, or --token-file FILE"
        case Status.UNAUTHENTICATED:
            return "the token file of the server must hold a token of the relay's --tokens file"
        case Status.ALREADY_EXISTS | Status.RESOURCE_EXHAUSTED:
            return "it is tried again: other programs leave their names when they end"
        case _:
            return failure.hint
