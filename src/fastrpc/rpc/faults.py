"""Statuses and texts of errors that a method did not raise on purpose.

::

    a request, or a message of one, that does not decode ──► `of_request`, `of_message`
    an exception that is not an answer, a value that does not encode ──► `status_of_crash`, `text_of_crash`
    metadata that cannot be sent ──► `of_metadata`

These are the rules for services written for fastrpc. Services of generated code follow other rules
(`fastrpc.grpc.faults`).
"""

from fastrpc.errors import CallError
from fastrpc.status import Status

__all__ = ["OWN_FAULTS", "Faults"]


class Faults:
    """The rules for services written for fastrpc. A caller never receives the text of an exception."""

    #: True if NotImplementedError is reported with the status UNIMPLEMENTED.
    tells_unimplemented = True

    def status_of_crash(self, error: BaseException) -> Status:
        """Return the status for an exception other than CallError."""
        return Status.INTERNAL

    def text_of_crash(self, error: BaseException) -> str | None:
        """Return the text for an exception other than CallError. None: the text has the ID of the logged error."""
        return None

    def of_request(self, error: CallError) -> tuple[Status, str] | None:
        """Return status and text for a request that cannot be decoded; None to use status and text of the error."""
        return None

    def of_message(self, error: CallError, method: str) -> BaseException:
        """Return the error that the handler receives for a message of its stream that cannot be decoded."""
        return CallError(error.status, f"{method}: {error.message}")

    def of_metadata(self, error: Exception, method: str) -> Exception:
        """Return the error for metadata of the answer that cannot be sent."""
        return error


OWN_FAULTS = Faults()
