"""Statuses and texts for faults of a method, except the errors that it raises itself.

::

    a request, or a message of one, that does not decode ──► `of_request`, `of_message`
    an exception that is not an answer, a value that does not encode ──► `status_of_crash`, `text_of_crash`
    metadata that cannot be sent ──► `of_metadata`

These are the rules of services written for fastrpc. Services of generated code have others (`fastrpc.grpc.faults`).
"""

from fastrpc.errors import CallError
from fastrpc.status import Status

__all__ = ["OWN_FAULTS", "Faults"]


class Faults:
    """The rules for services written for fastrpc: a caller gets no text of an exception."""

    #: Whether NotImplementedError has the status UNIMPLEMENTED.
    tells_unimplemented = True

    def status_of_crash(self, error: BaseException) -> Status:
        """Return the status for an exception that is not an answer."""
        return Status.INTERNAL

    def text_of_crash(self, error: BaseException) -> str | None:
        """Return the text for an exception that is not an answer; None: a text with the id in the log."""
        return None

    def of_request(self, error: CallError) -> tuple[Status, str] | None:
        """Return status and text for a request that does not decode; None if the error itself has both."""
        return None

    def of_message(self, error: CallError, method: str) -> BaseException:
        """Return the error that the handler gets for a message of its stream that does not decode."""
        return CallError(error.status, f"{method}: {error.message}")

    def of_metadata(self, error: Exception, method: str) -> Exception:
        """Return the error for metadata of the answer that cannot be sent."""
        return error


OWN_FAULTS = Faults()
