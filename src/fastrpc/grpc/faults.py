"""The statuses and texts that callers get for faults of generated services, as in gRPC or in grpcio.

::

    Handlers, service      GeneratedFaults    UNKNOWN for an exception, as in gRPC, with our texts
    grpc.aio.server        LoopFaults         the statuses and texts of grpc.aio's server
    grpc.server            ThreadFaults       the statuses and texts of grpc's server for threads
"""

import logging
from abc import ABC, abstractmethod
from typing import Final

from fastrpc.errors import CallError, EncodeError
from fastrpc.grpc.message_limits import TooLargeError
from fastrpc.grpc.metadata import INVALID_METADATA
from fastrpc.rpc.faults import Faults
from fastrpc.status import Status

__all__ = [
    "GENERATED_FAULTS",
    "ITERATING",
    "SERVICING",
    "GeneratedFaults",
    "LoopFaults",
    "ServicerFaults",
    "ThreadFaults",
    "note_stage",
]

logger = logging.getLogger("fastrpc.grpc")

# The stages of a call in a thread. grpcio has a different text for exceptions in each stage.
CALLING: Final = "Exception calling application"
ITERATING: Final = "Exception iterating responses"
SERVICING: Final = "Error in service handler!"

_STAGE: Final = "_fastrpc_stage"


def note_stage(error: BaseException, stage: str) -> None:
    """Record the stage in which an exception was raised. Without a record the stage is `CALLING`."""
    vars(error)[_STAGE] = stage


class GeneratedFaults(Faults):
    """The rules for generated services that are served next to services written for fastrpc."""

    #: Whether an undecodable request, or None from a servicer, ends a stream without an error, as in grpc's server for
    #: threads.
    ends_quietly = False

    def status_of_crash(self, error: BaseException) -> Status:
        return Status.UNKNOWN

    def of_metadata(self, error: Exception, method: str) -> Exception:
        text = getattr(error, "message", error)
        logger.error("%s: the metadata of its answer cannot be sent: %s", method, text)
        return CallError(Status.INTERNAL, INVALID_METADATA)


GENERATED_FAULTS: Final = GeneratedFaults()


class ServicerFaults(GeneratedFaults, ABC):
    """The rules that both servers of grpcio have in common.

    Args:
        exposes: whether callers get the texts of exceptions.
    """

    tells_unimplemented = False

    def __init__(self, *, exposes: bool) -> None:
        self._exposes = exposes

    @abstractmethod
    def text_with_status(self, error: Exception, text: str) -> str | None:
        """Return the text for an exception after a status was set with `text`; None: no text is known."""

    def of_request(self, error: CallError) -> tuple[Status, str] | None:
        over = error.__context__
        if isinstance(over, TooLargeError):
            return over.status, over.message
        # If a limit of the settings refused the message, the error has a text that names the limit.
        return None if error.status is Status.RESOURCE_EXHAUSTED else self.of_decoding(error)

    @abstractmethod
    def of_decoding(self, error: CallError) -> tuple[Status, str]:
        """Return status and text for a message that does not decode."""


class LoopFaults(ServicerFaults):
    """The rules of grpc.aio's server."""

    def text_of_crash(self, error: BaseException) -> str | None:
        return self._unexpected((isinstance(error, EncodeError) and error.__cause__) or error)

    def _unexpected(self, error: BaseException) -> str | None:
        if not self._exposes:
            return None
        try:
            return f"Unexpected {type(error)}: {error}"
        except Exception:
            logger.exception("the text of an exception cannot be read")
            return f"Unexpected {type(error)}"

    def text_with_status(self, error: Exception, text: str) -> str | None:
        return self._unexpected(error) or text

    def of_decoding(self, error: CallError) -> tuple[Status, str]:
        return Status.UNKNOWN, self._unexpected(error.__context__ or error) or error.message

    def of_message(self, error: CallError, method: str) -> BaseException:
        # A servicer of grpc.aio gets the exception that the decoding function raised.
        return error.__context__ or error


class ThreadFaults(ServicerFaults):
    """The rules of grpc's server for threads."""

    ends_quietly = True

    def status_of_crash(self, error: BaseException) -> Status:
        return Status.INTERNAL if isinstance(error, EncodeError) else Status.UNKNOWN

    def text_of_crash(self, error: BaseException) -> str | None:
        if isinstance(error, EncodeError):
            return "Failed to serialize response!"
        stage = vars(error).get(_STAGE, CALLING)
        if stage is SERVICING:
            return SERVICING
        if not self._exposes:
            return None
        try:
            return f"{stage}: {error}"
        except Exception:
            logger.exception("the text of an exception cannot be read")
            return "Calling application raised unprintable Exception!"

    def text_with_status(self, error: Exception, text: str) -> str | None:
        return text or self.text_of_crash(error)

    def of_decoding(self, error: CallError) -> tuple[Status, str]:
        return Status.INTERNAL, "Exception deserializing request!"

    def of_message(self, error: CallError, method: str) -> BaseException:
        return CallError(*(self.of_request(error) or (error.status, error.message)))
